//! Flumen's own log, over one of its storage backends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flumen_wal::storage::metered::Meters;
use flumen_wal::storage::{self, Backend};
use flumen_wal::{Commit, Directories, Log, Options, Payload};

use crate::contender::{Contender, DurableLog, RECORD_BYTES, Writes};
use crate::failure::{Context, Failure};

/// Bytes that the consumer asks for in one take: what a file channel asks for at most.
const TAKE_BYTES: usize = 4 << 20;

/// Pause of a consumer that found nothing: long against a commit, so that polling costs the writers nothing.
const IDLE: Duration = Duration::from_micros(300);

/// The log with its default options.
pub struct Ours {
    name: &'static str,
    backend: Backend,
}

impl Ours {
    /// Over io_uring.
    pub const URING: Self = Self { name: "flumen uring", backend: Backend::Uring };
    /// Over plain system calls.
    pub const STD: Self = Self { name: "flumen std", backend: Backend::Std };
}

impl Contender for Ours {
    fn name(&self) -> &str {
        self.name
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let open = |name: &str| {
            let path = directory.join(name);
            std::fs::create_dir(&path).context(|| format!("create {}", path.display()))?;
            let (directory, _start_line) =
                storage::open(&path, self.backend).context(|| format!("open {}", path.display()))?;
            Ok::<_, Failure>(directory)
        };
        let meters = Arc::<Meters>::default();
        let directories = Directories { data: meters.of(open("data")?), checkpoint: open("checkpoint")? };
        let log = Log::open(directories, Options::default())
            .context(|| format!("open the log in {}", directory.display()))?;
        Ok(Box::new(OurLog { log, meters }))
    }
}

struct OurLog {
    log: Log,
    meters: Arc<Meters>,
}

impl DurableLog for OurLog {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let payload = Records(records);
        let commit = Commit { events: records.len() as u32, payload: &payload, progress: Vec::new() };
        self.log.append_and_wait(commit).context(|| "commit".into())
    }

    fn consume(&self, stop: &AtomicBool) -> Result<(), Failure> {
        let cursor = self.log.cursor();
        while !stop.load(Ordering::Relaxed) {
            match cursor.try_take(usize::MAX, TAKE_BYTES).context(|| "take".into())? {
                Some(take) => cursor.release(take.first_event, take.events, Vec::new()),
                None => std::thread::sleep(IDLE),
            }
        }
        Ok(())
    }

    fn backlog_events(&self) -> u64 {
        let stats = self.log.stats();
        stats.synced_event - stats.first_event
    }

    fn writes(&self) -> Option<Writes> {
        let meter = &self.meters.durable_writes;
        Some(Writes { count: meter.count(), bytes: meter.bytes(), in_flight: meter.latencies().total })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.log.close();
        Ok(())
    }
}

/// Each record behind its length, so that a reader could tell them apart.
struct Records<'a>(&'a [[u8; RECORD_BYTES]]);

impl Payload for Records<'_> {
    fn len(&self) -> usize {
        self.0.len() * (4 + RECORD_BYTES)
    }

    fn write_to(&self, out: &mut [u8]) {
        for (record, out) in self.0.iter().zip(out.chunks_exact_mut(4 + RECORD_BYTES)) {
            out[..4].copy_from_slice(&(RECORD_BYTES as u32).to_le_bytes());
            out[4..].copy_from_slice(record);
        }
    }
}
