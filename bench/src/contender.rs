//! What every log under measurement can do: commit records durably from many threads, and forget what was consumed.

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::options::Options;

/// How the writers commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Threads that commit; each waits until its commit is durable before it begins the next.
    pub threads: usize,
    /// Records in a commit.
    pub records: usize,
}

impl Shape {
    /// The four shapes of the table: a lone tailer, a few, a few with large batches, many small ones.
    pub const ALL: [Self; 4] = [
        Self { threads: 1, records: 100 },
        Self { threads: 4, records: 100 },
        Self { threads: 4, records: 1000 },
        Self { threads: 16, records: 10 },
    ];

    /// Name in tables: threads × records.
    pub fn name(self) -> String {
        format!("{}x{}", self.threads, self.records)
    }

    /// Payload bytes of one commit.
    pub fn commit_bytes(self) -> usize {
        self.records * RECORD_BYTES
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let numbers = name
            .split_once('x')
            .and_then(|(threads, records)| Some((threads.parse().ok()?, records.parse().ok()?)));
        match numbers {
            Some((threads @ 1.., records @ 1..)) => Ok(Self { threads, records }),
            _ => Err(format!("`{name}` is not threads x records")),
        }
    }
}

/// Bytes of one record's body.
pub const RECORD_BYTES: usize = 512;

/// A log that is open in a directory of its own.
pub trait DurableLog: Sync {
    /// Commits `records`, and returns when they would survive a power cut on a medium that keeps what it says it synced.
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure>;

    /// Consumes and forgets what was appended until `stop` is set, so that the log may reuse its space. A log that does
    /// so by itself returns at once.
    fn consume(&self, stop: &AtomicBool) -> Result<(), Failure>;

    /// Events appended and not yet consumed, as far as the log knows; 0 where it consumes by itself.
    fn backlog_events(&self) -> u64 {
        0
    }

    /// The durable writes that it made so far, where it counts them.
    fn writes(&self) -> Option<Writes> {
        None
    }

    /// Closes it.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// Durable writes of a log, counted since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writes {
    /// How many.
    pub count: u64,
    /// Their bytes, padding included.
    pub bytes: u64,
    /// The time that each of them was in flight, summed up.
    pub in_flight: Duration,
}

impl Writes {
    /// What was written since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            bytes: self.bytes - before.bytes,
            in_flight: self.in_flight.saturating_sub(before.in_flight),
        }
    }
}

/// A kind of log.
pub trait Contender {
    /// Name in tables.
    fn name(&self) -> &str;

    /// Whether it uses its files again once what they held is consumed; otherwise it has a first life only.
    fn recycles(&self) -> bool {
        true
    }

    /// Opens a log in an empty directory.
    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure>;
}

/// Those of `all` whose names hold one of the words of `--only`; all without it. The first two, which are ours, always stay:
/// every ratio is against them.
pub fn chosen<'a>(all: &[&'a dyn Contender], options: &Options) -> Result<Vec<&'a dyn Contender>, Failure> {
    let only: Vec<String> = options.list("only", &[])?;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word.as_str()));
    Ok(all.iter().enumerate().filter(|(n, c)| *n < 2 || wanted(c.name())).map(|(_, c)| *c).collect())
}
