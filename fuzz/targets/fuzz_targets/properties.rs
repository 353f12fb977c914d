//! Runs [`flumen_crash::decoders::properties`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flumen_crash::decoders::properties(bytes));
