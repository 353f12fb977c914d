//! What every log under measurement can do: commit records durably from many threads, and forget what was consumed.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::failure::Failure;

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

    /// Closes it.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// A kind of log.
pub trait Contender {
    /// Name in tables.
    fn name(&self) -> &str;

    /// Opens a log in an empty directory.
    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure>;
}
