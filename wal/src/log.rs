use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::Directory;

/// Where a log lives: both directories exist.
#[derive(Clone, Debug)]
pub struct Directories {
    pub data: Arc<dyn Directory>,
    pub checkpoint: Arc<dyn Directory>,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of an ordinary segment. A spanning commit makes a larger one.
    pub segment_bytes: u64,
    /// Most bytes of one commit (payload).
    pub commit_bytes_max: u64,
    /// Fewer free bytes than this: no new segments, reservations wait.
    pub free_bytes_min: u64,
    /// Bytes appended and not yet synced, at most.
    pub staged_bytes_max: u64,
    /// Bytes of synced frames kept in memory for readers.
    pub cache_bytes: usize,
    pub checkpoint_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        todo!()
    }
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The log as a whole failed (write, sync); it is being reopened in process. Or it is closed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    #[error("{reason}")]
    Failed { reason: String },
    #[error("commit of {bytes} bytes; the largest allowed is {max}")]
    TooLarge { bytes: u64, max: u64 },
    #[error("no room: {reason}")]
    Full { reason: String },
    #[error("log is closed")]
    Closed,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("damaged: {reason}")]
    Damaged { reason: String },
    #[error("{reason}")]
    Failed { reason: String },
    #[error("log is closed")]
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    Source,
    Sink,
}

#[derive(Clone, Debug)]
pub enum ProgressOp {
    /// Set the key: generation, from, to, rest.
    Set { generation: u64, from: u64, to: u64, rest: Bytes },
    /// Forget the key.
    Retire,
    /// No key: says that the log knows the owner from now on.
    Mark,
}

#[derive(Clone, Debug)]
pub struct ProgressUpdate {
    pub space: Space,
    pub owner: Arc<str>,
    pub key: String,
    pub op: ProgressOp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressValue {
    pub generation: u64,
    pub to: u64,
    pub rest: Bytes,
}

/// What a commit writes: exactly `len()` bytes, once.
pub trait Payload {
    fn len(&self) -> usize;
    fn write_to(&self, out: &mut [u8]);
}

pub struct Commit<'a> {
    /// May be 0 for a commit of progress alone (then `payload` is ignored).
    pub events: u32,
    pub payload: &'a dyn Payload,
    /// Durable together with the events, or not at all. Visible through `Log::progress` as soon as appended.
    pub progress: Vec<ProgressUpdate>,
}

/// Room in memory and on the disk for one commit; given back on drop.
#[derive(Debug)]
pub struct Reserved {}

/// Future: Ok when synced. Also `wait()` for threads.
#[derive(Debug)]
pub struct Ticket {}
impl Ticket {
    pub fn wait(self) -> Result<(), LogError> {
        todo!()
    }
}
impl Future for Ticket {
    type Output = Result<(), LogError>;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        todo!()
    }
}

#[derive(Clone, Debug)]
pub struct Log {}

#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Number of the first event not yet released by the cursor (low-water mark).
    pub first_event: u64,
    /// Events synced: the next to be readable has this number.
    pub synced_event: u64,
    /// Events appended: the next to be appended gets this number.
    pub appended_event: u64,
    /// Released events above `first_event`.
    pub released_above: u64,
    pub disk_bytes: u64,
    pub segments: u64,
    pub staged_bytes: u64,
    /// Set while the log is failed and being reopened.
    pub failure: Option<String>,
    /// Age of the oldest unreleased event, to the resolution of a segment... (monotonic since append in this life)
    pub oldest: Option<Duration>,
    /// (name, value) of further gauges for metrics.
    pub gauges: Vec<(&'static str, f64)>,
}

impl Log {
    /// Locks, recovers, and starts the submitter thread. Blocks for as long as recovery takes.
    pub fn open(_dirs: Directories, _options: Options) -> Result<Self, OpenError> {
        todo!()
    }
    /// What recovery did, one line for the agent's log.
    pub fn recovery(&self) -> String {
        todo!()
    }
    pub fn try_reserve(&self, _bytes: u64) -> Result<Reserved, LogError> {
        todo!()
    }
    /// Waits for room without limit; drop it to stop waiting.
    pub async fn reserve(&self, _bytes: u64) -> Result<Reserved, LogError> {
        todo!()
    }
    /// Copies the payload into the open frame. Never waits.
    pub fn append(&self, _room: Reserved, _commit: Commit<'_>) -> Result<Ticket, LogError> {
        todo!()
    }
    /// Positions of an owner; `None` if it was never marked and never set.
    pub fn progress(&self, _space: Space, _owner: &str) -> Option<BTreeMap<String, ProgressValue>> {
        todo!()
    }
    /// Progress alone, in the next frame (at latest 20 ms from now).
    pub fn record(&self, _updates: Vec<ProgressUpdate>) -> Result<Ticket, LogError> {
        todo!()
    }
    /// The one consumer position. All handles share it; several takers compete.
    pub fn cursor(&self) -> Cursor {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
    /// Writes what is staged, a close mark and a checkpoint; releases the lock. Blocks.
    pub fn close(&self) {
        todo!()
    }
}

#[derive(Clone, Debug)]
pub struct Cursor {}

/// Consecutive events `first_event .. first_event + events`.
#[derive(Debug)]
pub struct Take {
    pub first_event: u64,
    pub events: u64,
    pub pieces: Vec<Piece>,
}

/// Some events of one commit: `events` of them after skipping `skip`, in the commit's very payload.
#[derive(Clone, Debug)]
pub struct Piece {
    pub payload: Bytes,
    pub skip: u32,
    pub events: u32,
}

impl Cursor {
    /// The next synced events that nobody has taken, rolled-back ones first; `None` if there are none now.
    /// At most `events`, and about `bytes` (judged by each commit's mean event size), but at least one event. May read the disk.
    pub fn try_take(&self, _events: usize, _bytes: usize) -> Result<Option<Take>, ReadError> {
        todo!()
    }
    /// Resolves when `try_take` may return something else than `None`. May resolve without cause.
    pub async fn ready(&self) {
        todo!()
    }
    /// Delivered: events `first_event .. first_event + events`. Rides the next frame, at latest 20 ms from now, with `progress`.
    pub fn release(&self, _first_event: u64, _events: u64, _progress: Vec<ProgressUpdate>) {
        todo!()
    }
    /// Not delivered: they go out again, before newer ones.
    pub fn rollback(&self, _first_event: u64, _events: u64) {
        todo!()
    }
}
