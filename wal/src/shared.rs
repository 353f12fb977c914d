//! What the callers, the submitter and the keeper share.
//!
//! One lock, [`Shared::inner`], held for no I/O and for no more than a copy of one commit. The reader has a lock of its own,
//! taken before this one; the keeper's and the submitter's file work excludes each other by [`Shared::files`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::cache::Cache;
use crate::environment::Environment;
use crate::error::{Failure, LogError};
use crate::format::checkpoint::Checkpoint;
use crate::log::Directories;
use crate::options::Options;
use crate::room::Room;
use crate::segments::Segments;
use crate::staging::{OpenFrame, Pending, Pool, Staged};
use crate::state::State;
use crate::storage::Wake;

#[derive(Debug)]
pub struct Shared {
    pub dirs: Directories,
    pub options: Options,
    pub environment: Arc<dyn Environment>,
    pub inner: Mutex<Inner>,
    /// Held during file operations that are not frame writes.
    pub files: Mutex<()>,
    /// The keeper waits here with `inner`.
    pub keeper: Condvar,
    /// Those who wait for the log to be closed.
    pub closed: Condvar,
    /// Ends the submitter's wait.
    pub wake: Arc<dyn Wake>,
    pub pool: Arc<Pool>,
    /// Events below this number may be read.
    pub synced_event: AtomicU64,
}

/// Whether the log works.
#[derive(Clone, Debug)]
pub enum Status {
    Open,
    /// Closing: nothing new is accepted.
    Closing,
    /// A write failed; the submitter is reopening the log.
    Failed(Arc<Failure>),
    /// All is written and the lock is free.
    Closed,
}

#[derive(Debug)]
pub struct Inner {
    pub status: Status,
    pub log_id: u128,
    /// Number of the next event to be appended.
    pub appended_event: u64,
    pub open: Option<OpenFrame>,
    /// Full frames and spans, in order, before `open`.
    pub staged: VecDeque<Staged>,
    pub pending: Pending,
    /// Control records that the submitter has sealed and not yet synced are also here, for callers ask for what was said.
    pub visible: State,
    pub room: Room,
    /// Writes in flight, for deciding whether to wake the submitter.
    pub in_flight: usize,
    pub cache: Cache,
    pub segments: Segments,
    /// The cursor's low mark that is durable.
    pub synced_low: u64,
    /// A checkpoint to be written, and the one written last.
    pub checkpoint_due: Option<Checkpoint>,
    pub checkpoint: Option<(u64, usize)>,
    pub checkpoint_errors: u64,
    /// Who waits for events, for a failure or for the end.
    pub readers: Vec<Waker>,
    /// (end event, when it was synced), sparse: for the age of the oldest event.
    pub ages: VecDeque<(u64, Duration)>,
    /// The keeper could not prepare a segment: when, and why.
    pub prepare_failed: Option<(Duration, String)>,
    pub counters: Counters,
    /// Threads shall end without closing the log properly.
    pub abandoned: bool,
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub frames: u64,
    pub frame_bytes: u64,
    pub control_frames: u64,
    pub rolls: u64,
    pub reopens: u64,
    pub recycled: u64,
}

impl Shared {
    pub fn now(&self) -> Duration {
        self.environment.now()
    }

    pub fn readable_end(&self) -> u64 {
        self.synced_event.load(Ordering::Acquire)
    }
}

impl Inner {
    /// An error unless the log accepts commits and records.
    pub fn check_open(&self) -> Result<(), LogError> {
        match &self.status {
            Status::Open => Ok(()),
            Status::Failed(failure) => Err(LogError::Failed(Arc::clone(failure))),
            Status::Closing | Status::Closed => Err(LogError::Closed),
        }
    }

    /// Whether the submitter would write now if it were awake.
    pub fn wants_submitter(&self, options: &Options) -> bool {
        let free = self.in_flight < options.in_flight;
        let waiting = self.open.as_ref().map_or(0, |open| open.len);
        free && (self.in_flight == 0 || !self.staged.is_empty() || waiting >= options.eager_bytes)
    }
}
