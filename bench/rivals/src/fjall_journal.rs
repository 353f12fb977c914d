//! fjall: an LSM tree's journal, made durable with each commit.
//!
//! A commit is one write batch with a key for each record, with `PersistMode::SyncAll`. The tree's own work, memtables and
//! flushes of them to sorted tables, goes on beside it: that cannot be taken away from its journal. It removes journals and
//! never writes into one again, so it has a first life only.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};

/// fjall 3.
pub struct Fjall;

impl Contender for Fjall {
    fn name(&self) -> &str {
        "fjall 3"
    }

    fn recycles(&self) -> bool {
        false
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let what = || format!("open fjall in {}", directory.display());
        let database = Database::builder(directory.join("fjall")).open().context(what)?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default).context(what)?;
        Ok(Box::new(Open { database, events, next: AtomicU64::new(0) }))
    }
}

struct Open {
    database: Database,
    events: Keyspace,
    next: AtomicU64,
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, record) in (first..).zip(records) {
            batch.insert(&self.events, key.to_be_bytes(), &record[..]);
        }
        batch.commit().context(|| "fjall commit".into())
    }

    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
