//! okaywal: a log of entries made of chunks, checkpointed and recycled segment by segment.
//!
//! A commit is one entry with a chunk for each record. `commit` returns after fdatasync, shared by the entries that wait
//! for it. It stands in the table twice, with its default segments of 1 MiB and with 32 MiB: neither is the faster one in
//! every shape.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};
use okaywal::{Configuration, LogVoid, WriteAheadLog};

/// okaywal with segments of so many bytes.
pub struct OkayWal {
    /// Bytes of a segment; a checkpoint begins at three quarters of it, as in its defaults.
    pub segment_bytes: u32,
    /// Name in tables.
    pub name: &'static str,
}

impl Contender for OkayWal {
    fn name(&self) -> &str {
        self.name
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let log = Configuration::default_for(directory)
            .preallocate_bytes(self.segment_bytes)
            .checkpoint_after_bytes(u64::from(self.segment_bytes) / 4 * 3)
            .open(LogVoid)
            .context(|| format!("open okaywal in {}", directory.display()))?;
        Ok(Box::new(Open(log)))
    }
}

struct Open(WriteAheadLog);

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let mut entry = self.0.begin_entry().context(|| "okaywal begin".into())?;
        for record in records {
            entry.write_chunk(record).context(|| "okaywal write".into())?;
        }
        entry.commit().context(|| "okaywal commit".into())?;
        Ok(())
    }

    /// Its checkpoints forget by themselves.
    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.0.shutdown().context(|| "okaywal shutdown".into())
    }
}
