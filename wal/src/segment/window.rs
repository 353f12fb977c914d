//! Sequential reading of a file through one aligned buffer.

use std::io;
use std::sync::Arc;

use crate::format::segment::ALIGNMENT_MIN;
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
    /// How much is read at once, or what is asked for if that is more.
    ahead: u64,
}

impl Window {
    /// An empty window for files of this alignment.
    pub fn new(alignment: usize) -> Self {
        let ahead = WINDOW_BYTES as u64;
        Self { buffer: Arc::new(AlignedBuf::zeroed(alignment)), start: 0, len: 0, alignment, ahead }
    }

    /// One that reads no more than it is asked for: for one frame of a file.
    pub fn narrow(alignment: usize) -> Self {
        Self { ahead: 0, ..Self::new(alignment) }
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The same buffer for another file, whose alignment may be another.
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
        debug_assert!(offset.is_multiple_of(ALIGNMENT_MIN as u64));
        let covered = offset >= self.start && offset + len as u64 <= self.start + self.len as u64;
        if !covered {
            // No more than there is: a buffer costs the kernel a page fault for each of its pages, read into or not.
            let rest = file.len()?.saturating_sub(offset).min(self.ahead) as usize;
            let want = len.max(rest).next_multiple_of(self.alignment);
            // A buffer that is lent on stays as it is; only one that nobody else holds is read into again.
            match Arc::get_mut(&mut self.buffer) {
                Some(buffer) if buffer.len() >= want => {}
                _ => self.buffer = Arc::new(AlignedBuf::zeroed(want)),
            }
            let buffer = Arc::get_mut(&mut self.buffer).expect("held by nobody else");
            self.len = 0;
            let read = read_full(file, &mut buffer[..want], offset)?;
            self.len = read;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok((&self.buffer, at..(at + len).min(self.len).max(at)))
    }
}

/// Reads until the buffer is full or the file ends. A disk that ends the read before is an error like any other of its
/// errors: taken for the file's end it would look like a torn tail, and cut what was acked.
pub fn read_full(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let stands = file.len()?.saturating_sub(offset).min(buffer.len() as u64);
    let read = file.read_at(buffer, offset)?;
    if (read as u64) < stands {
        let why = format!("{read} bytes were read at {offset} where {stands} stand");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(read)
}
