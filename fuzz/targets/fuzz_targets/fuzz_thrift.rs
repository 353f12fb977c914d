//! Runs [`flumen_decoders::thrift`].
#![no_main]

use flumen_fuzz_targets::bounded;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bounded(flumen_decoders::thrift, bytes));
