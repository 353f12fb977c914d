//! raft-engine: TiKV's log of many Raft groups, with an index of all entries in memory.
//!
//! A commit is one batch with an entry for each record, of a group of the committer's own: that is how its user has it.
//! `write` with `sync` returns after fdatasync, shared by the writers that wait for it. Payloads have no pattern, so
//! compression, which begins at 8 KiB as it comes, would only cost: it is off. From the consumer's arrival on all groups are
//! compacted and the files behind them purged, which renames them into use again; for that to happen within seconds its
//! files have 32 MiB and it purges from 64 MiB on, not 128 MiB and 10 GiB.

use std::cell::Cell;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

/// How often the consumer compacts and purges.
const PURGE_PAUSE: Duration = Duration::from_millis(5);

/// raft-engine 0.4.
pub struct RaftEngine;

impl Contender for RaftEngine {
    fn name(&self) -> &str {
        "raft-engine 0.4"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let config = Config {
            dir: directory.join("log").to_string_lossy().into_owned(),
            batch_compression_threshold: ReadableSize::kb(0),
            target_file_size: ReadableSize::mb(32),
            purge_threshold: ReadableSize::mb(64),
            ..Config::default()
        };
        let engine =
            Engine::open(config).context(|| format!("open raft-engine in {}", directory.display()))?;
        Ok(Box::new(Open { engine, groups: Mutex::default() }))
    }
}

struct Open {
    engine: Engine,
    /// Each group with its last durable index.
    groups: Mutex<Vec<(u64, u64)>>,
}

/// An entry: eight bytes of its index, then the record.
struct Numbered;

impl MessageExt for Numbered {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

static GROUPS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// This thread's group and the index of its last entry. A committer belongs to one log for its life.
    static GROUP: Cell<(u64, u64)> = Cell::new((GROUPS.fetch_add(1, Ordering::Relaxed), 0));
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let (group, mut index) = GROUP.get();
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            index += 1;
            let mut entry = BytesValue::new();
            entry.value = [&index.to_le_bytes()[..], record].concat();
            entries.push(entry);
        }
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Numbered>(group, &entries).context(|| "raft-engine batch".into())?;
        self.engine.write(&mut batch, true).context(|| "raft-engine write".into())?;
        GROUP.set((group, index));
        let mut groups = self.groups.lock().expect("nobody panics with it");
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, last)) => *last = index,
            None => groups.push((group, index)),
        }
        Ok(())
    }

    fn consume(&self, stop: &AtomicBool) -> Result<(), Failure> {
        while !stop.load(Ordering::Relaxed) {
            let groups = self.groups.lock().expect("nobody panics with it").clone();
            for (group, last) in groups {
                self.engine.compact_to(group, last + 1);
            }
            self.engine.purge_expired_files().context(|| "raft-engine purge".into())?;
            std::thread::sleep(PURGE_PAUSE);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
