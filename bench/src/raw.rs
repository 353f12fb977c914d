//! The device's own aligned write as a contender: what one commit costs where nothing but the write is done.
//!
//! ```text
//!   commit = pwritev2(O_DIRECT, RWF_DSYNC) of its records, padded to 4 KiB, behind the last one in a prewritten file
//! ```

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ceiling::{Aligned, BLOCK, RawFile};
use crate::contender::{Contender, DurableLog, RECORD_BYTES};
use crate::failure::Failure;

/// Keeps nothing that could be read again.
#[derive(Debug)]
pub struct Raw;

impl Contender for Raw {
    fn name(&self) -> &str {
        "raw write"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        Ok(Box::new(Open { file: RawFile::prewrite(directory)?, written: AtomicU64::new(0) }))
    }
}

struct Open {
    file: RawFile,
    written: AtomicU64,
}

thread_local! {
    /// Of the calling thread, as long as its largest commit.
    static BUFFER: RefCell<Option<Aligned>> = const { RefCell::new(None) };
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let len = records.as_flattened().len().next_multiple_of(BLOCK);
        let offset = self.written.fetch_add(len as u64, Ordering::Relaxed);
        BUFFER.with_borrow_mut(|buffer| {
            let buffer = match buffer {
                Some(buffer) if buffer.bytes().len() == len => buffer,
                other => other.insert(Aligned::new(len)),
            };
            buffer.fill(records.as_flattened());
            self.file.write_durable(buffer, offset)
        })
    }

    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
