//! Runs [`flumen_crash::decoders::chunk`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flumen_crash::decoders::chunk(bytes));
