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
    /// Buffers of before, which others may hold still: one that nobody holds any more is read into again.
    before: Vec<Arc<AlignedBuf>>,
}

/// A new buffer costs the kernel a page fault for each of its pages; more than so many are not waited for.
const BEFORE_MAX: usize = 4;

impl Window {
    /// An empty window for files of this alignment.
    pub fn new(alignment: usize) -> Self {
        let ahead = WINDOW_BYTES as u64;
        Self {
            buffer: Arc::new(AlignedBuf::zeroed(alignment)),
            start: 0,
            len: 0,
            alignment,
            ahead,
            before: Vec::new(),
        }
    }

    /// One that reads no more than it is asked for: for one frame of a file.
    pub fn narrow(alignment: usize) -> Self {
        Self { ahead: 0, ..Self::new(alignment) }
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The same buffers for another file.
    #[must_use]
    pub fn cleared(mut self, alignment: usize) -> Self {
        self.clear();
        self.alignment = alignment;
        self
    }

    /// Whether `len` bytes at `offset` are there.
    pub fn covers(&self, offset: u64, len: usize) -> bool {
        offset >= self.start && offset + len as u64 <= self.start + self.len as u64
    }

    /// What is there, and from which offset on; `None` if that is nothing.
    pub fn bytes(&self) -> Option<(&[u8], u64)> {
        (self.len > 0).then(|| (&self.buffer[..self.len], self.start))
    }

    /// Takes what somebody else has read.
    pub fn fill(&mut self, buffer: Arc<AlignedBuf>, start: u64, len: usize) {
        let before = std::mem::replace(&mut self.buffer, buffer);
        self.keep(before);
        (self.start, self.len) = (start, len);
    }

    /// Keeps a buffer to be read into again.
    pub fn keep(&mut self, buffer: Arc<AlignedBuf>) {
        if self.before.len() == BEFORE_MAX {
            self.before.remove(0);
        }
        self.before.push(buffer);
    }

    /// A buffer of at least `bytes` that nobody else holds; what is in it is not defined.
    pub fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuf> {
        let free = |buffer: &mut Arc<AlignedBuf>| buffer.len() >= bytes && Arc::get_mut(buffer).is_some();
        match self.before.iter_mut().position(free) {
            Some(at) => self.before.swap_remove(at),
            None => Arc::new(AlignedBuf::zeroed(bytes.next_multiple_of(self.alignment))),
        }
    }

    /// `len` bytes at `offset` (aligned), or fewer where the file ends: the buffer with the range in it.
    pub fn get(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
    ) -> io::Result<(&Arc<AlignedBuf>, std::ops::Range<usize>)> {
        debug_assert!(offset.is_multiple_of(ALIGNMENT_MIN as u64));
        if !self.covers(offset, len) {
            // No more than there is: a buffer costs the kernel a page fault for each of its pages, read into or not.
            let rest = file.len()?.saturating_sub(offset).min(self.ahead) as usize;
            let want = len.max(rest).next_multiple_of(self.alignment);
            // A buffer that is lent on stays as it is; only one that nobody else holds is read into again.
            self.len = 0;
            let fits = self.buffer.len() >= want && Arc::get_mut(&mut self.buffer).is_some();
            if !fits {
                let buffer = self.buffer(want);
                self.fill(buffer, 0, 0);
            }
            let buffer = Arc::get_mut(&mut self.buffer).expect("held by nobody else");
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
