//! What a caller appends.

use crate::state::ProgressUpdate;

/// The bytes of a commit.
#[allow(clippy::len_without_is_empty, reason = "a payload's emptiness means nothing to the log")]
pub trait Payload {
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// Writes exactly that many.
    fn write_to(&self, out: &mut [u8]);
}

impl Payload for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn write_to(&self, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
}

/// What is appended atomically.
pub struct Commit<'a> {
    /// How many events the payload holds; 0 for progress alone, and the payload is ignored.
    pub events: u32,
    /// The events' bytes, opaque to the log and given back in one piece.
    pub payload: &'a dyn Payload,
    /// Progress that is durable together with the events, or not at all.
    pub progress: Vec<ProgressUpdate>,
}
