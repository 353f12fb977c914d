//! Runs [`flumen_crash::decoders::frame_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flumen_crash::decoders::frame_header(bytes));
