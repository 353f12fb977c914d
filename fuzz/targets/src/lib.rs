//! What every target has in common.

use std::time::Duration;

use flumen_decoders::Decoder;

/// Processor time of one input.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Runs `decoder`; panics if it takes too long or too much memory.
pub fn bounded(decoder: Decoder, bytes: &[u8]) {
    flumen_decoders::bounded(decoder, bytes, TIME_MAX);
}
