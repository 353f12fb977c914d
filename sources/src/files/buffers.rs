//! Read buffers that come back by themselves once the last batch over them is gone.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::buffer::spare_capacity;

/// How many free buffers are kept. Channels copy at the put, so one or two are in use.
const FREE_MAX: usize = 3;

/// A small pool of buffers of one size.
#[derive(Debug)]
pub struct Buffers {
    chunk_bytes: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// Buffers of `chunk_bytes` each, made when first needed.
    pub fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes, free: Arc::default() }
    }

    /// The size of a full read.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// What `file` has from `offset` on, at most one chunk; less only at the end of the file.
    pub fn read(&self, file: &File, offset: u64) -> io::Result<Bytes> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lent = Lent { bytes: free.unwrap_or_default(), home: self.free.clone() };
        lent.bytes.clear();
        lent.bytes.reserve_exact(self.chunk_bytes);
        while lent.bytes.len() < self.chunk_bytes {
            let at = offset + lent.bytes.len() as u64;
            match rustix::io::pread(file, spare_capacity(&mut lent.bytes), at) {
                Ok(0) => break,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if lent.bytes.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(Bytes::from_owner(lent))
    }
}

/// A buffer on loan.
struct Lent {
    bytes: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_looks_at_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let buffers = Buffers::new(4);
        let first = buffers.read(&file, 0).unwrap();
        assert_eq!(first, "0123");
        let slice = first.slice(1..);
        let at = first.as_ptr();
        drop(first);
        assert_ne!(buffers.read(&file, 4).unwrap().as_ptr(), at);
        assert_eq!(slice, "123");
        drop(slice);
        let last = buffers.read(&file, 8).unwrap();
        assert_eq!(last, "89");
        assert!(buffers.read(&file, 10).unwrap().is_empty());
    }
}
