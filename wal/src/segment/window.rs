//! Sequential reading of a file through one aligned buffer.

use std::io;
use std::sync::Arc;

use crate::storage::{AlignedBuf, File};

/// Read at once: large enough to run at the device's sequential speed, small enough to be one of several.
pub const WINDOW_BYTES: usize = 1 << 20;

/// Part of a file, in a buffer that may be lent on.
#[derive(Debug)]
pub struct Window {
    buffer: Arc<AlignedBuf>,
    start: u64,
    len: usize,
    alignment: usize,
}

impl Window {
    /// An empty window for files of this alignment.
    pub fn new(alignment: usize) -> Self {
        Self { buffer: Arc::new(AlignedBuf::zeroed(alignment)), start: 0, len: 0, alignment }
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The same buffer for another file.
    #[must_use]
    pub fn cleared(mut self) -> Self {
        self.clear();
        self
    }

    /// `len` bytes at `offset` (aligned), or fewer where the file ends: the buffer with the range in it.
    pub fn get(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
    ) -> io::Result<(&Arc<AlignedBuf>, std::ops::Range<usize>)> {
        debug_assert_eq!(offset % self.alignment as u64, 0);
        let covered = offset >= self.start && offset + len as u64 <= self.start + self.len as u64;
        if !covered {
            let want = len.max(WINDOW_BYTES).next_multiple_of(self.alignment);
            // A buffer that is lent on stays as it is; only one that nobody else holds is read into again.
            match Arc::get_mut(&mut self.buffer) {
                Some(buffer) if buffer.len() == want => {}
                _ => self.buffer = Arc::new(AlignedBuf::zeroed(want)),
            }
            let buffer = Arc::get_mut(&mut self.buffer).expect("held by nobody else");
            self.len = 0;
            self.len = file.read_at(buffer, offset)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok((&self.buffer, at..(at + len).min(self.len).max(at)))
    }
}
