//! okaywal: a log of entries made of chunks, checkpointed and recycled segment by segment.
//!
//! A commit is one entry with a chunk for each record. `commit` returns after fdatasync, shared by the entries that wait
//! for it. Like ours, it keeps everything until a consumer joins: its checkpoints wait until then, and each file that is full
//! is followed by a new one. From then on a checkpoint forgets at once, without reading. It stands in the table twice, with its default segments of 1 MiB and with 32 MiB: neither is the faster one in
//! every shape.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};

use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

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
        let gate = Arc::<Gate>::default();
        let log = Configuration::default_for(directory)
            .preallocate_bytes(self.segment_bytes)
            .checkpoint_after_bytes(u64::from(self.segment_bytes) / 4 * 3)
            .open(Forget(Arc::clone(&gate)))
            .context(|| format!("open okaywal in {}", directory.display()))?;
        Ok(Box::new(Open { log, gate }))
    }
}

struct Open {
    log: WriteAheadLog,
    gate: Arc<Gate>,
}

/// Whether checkpoints may go on.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }
}

/// Forgets what is checkpointed, once the gate is open.
#[derive(Debug)]
struct Forget(Arc<Gate>);

impl LogManager for Forget {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last_checkpointed_id: EntryId,
        _checkpointed_entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> io::Result<()> {
        let mut open = self.0.open.lock().expect("nobody panics with it");
        while !*open {
            open = self.0.opened.wait(open).expect("nobody panics with it");
        }
        Ok(())
    }
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let mut entry = self.log.begin_entry().context(|| "okaywal begin".into())?;
        for record in records {
            entry.write_chunk(record).context(|| "okaywal write".into())?;
        }
        entry.commit().context(|| "okaywal commit".into())?;
        Ok(())
    }

    /// Its checkpoints forget by themselves from here on.
    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        self.gate.open();
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.gate.open();
        self.log.shutdown().context(|| "okaywal shutdown".into())
    }
}
