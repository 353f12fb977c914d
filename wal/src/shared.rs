//! What the callers, the submitter and the keeper share.
//!
//! One lock, [`Shared::inner`], held for no I/O and for no copy of a payload. The reader has a lock of its own, and so has the
//! writer, both taken before this one; the file work of the keeper, of a reopen and of a reader that sets damage aside excludes
//! each other by [`Shared::files`], which comes between: writer, files, inner. Who has it does not take the reader's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::append::gather::Gathering;
use crate::append::room::Room;
use crate::append::staging::{OpenFrame, Pending, Pool, Span, Staged};
use crate::append::ticket::Ticket;
use crate::append::unsynced::{SyncEnd, SyncJob};
use crate::directories::Directories;
use crate::environment::Environment;
use crate::error::{Damage, Failure, LogError};
use crate::format::checkpoint::Checkpoint;
use crate::format::segment::KeyTable;
use crate::options::Options;
use crate::read::cache::Cache;
use crate::recovery::life::NewLife;
use crate::segment::set::Segments;
use crate::state::State;
use crate::storage::Wake;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

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
    /// Threads may be started. A log that is driven by hand has none.
    pub threaded: bool,
    /// Events below this number are acked and may be read. They are synced, or only written where that is all that an ack
    /// waits for.
    pub synced_event: AtomicU64,
}

/// Why there is no further segment.
#[derive(Clone, Debug)]
pub struct PrepareFailure {
    pub at: Duration,
    pub why: String,
    /// The disk is full: takes and time help. Anything else is for somebody to look at.
    pub lacks_space: bool,
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
    /// Feature bits of this life's segments, and the keys that their headers name.
    pub features: (u32, KeyTable),
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
    /// A sync for the keeper to carry out, and how the last one ended.
    pub sync_due: Option<SyncJob>,
    pub sync_end: Option<SyncEnd>,
    /// Bytes of frames that are acked and not synced.
    pub unsynced_bytes: u64,
    /// The cursor's low mark that is durable.
    pub synced_low: u64,
    /// A checkpoint to be written, and the one written last.
    pub checkpoint_due: Option<Checkpoint>,
    pub checkpoint: Option<(u64, usize)>,
    pub checkpoint_errors: u64,
    /// Damaged places, and the event below which events went missing, that reopens of this process found.
    pub found_damage: Vec<Damage>,
    pub found_missing: Option<u64>,
    /// Who waits for events, for a failure or for the end.
    pub readers: Vec<Waker>,
    /// (end event, when it was synced), sparse: for the age of the oldest event.
    pub ages: VecDeque<(u64, Duration)>,
    /// The keeper could not prepare a segment: when, and why.
    pub prepare_failed: Option<PrepareFailure>,
    pub counters: Counters,
    /// Frames of commits in flight: what else is in flight holds no commit up.
    pub commits_in_flight: usize,
    pub gathering: Gathering,
    /// The failed log shall end: without a proper close, unless a reopen that is under way makes one possible.
    pub abandoned: bool,
    /// The failure that the log was closed with: what was on its way then is unknown, and what was acked before its sync was
    /// not synced.
    pub closed_by: Option<Arc<Failure>>,
    /// A thread panicked while it wrote; the log is closed.
    pub panicked: bool,
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub frames: u64,
    pub frame_bytes: u64,
    /// Of bodies with events: in the file, and decompressed.
    pub stored_bytes: u64,
    pub raw_bytes: u64,
    pub control_frames: u64,
    pub rolls: u64,
    /// Times the state was encoded for a roll.
    pub snapshots: u64,
    pub reopens: u64,
    pub recycled: u64,
    /// Events that were damaged, set aside and passed over.
    pub given_up: u64,
    /// Files in the quarantine for them.
    pub set_aside: u64,
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

    /// Whether what is staged would be written now if anybody looked.
    pub fn wants_writer(&self, options: &Options) -> bool {
        self.in_flight < options.in_flight
            && (!self.staged.is_empty()
                || self
                    .open
                    .as_ref()
                    .is_some_and(|open| self.goes(open, self.commits_in_flight == 0, options)))
    }

    /// Whether an open frame goes out now. Else it gathers more: while the device is busy, or for the moment that those
    /// need to come back whose commits were synced last. One write for all is cheaper than one for the first of them and
    /// another for the rest.
    pub fn goes(&self, open: &OpenFrame, free: bool, options: &Options) -> bool {
        open.len >= options.eager_bytes
            || match open.committers.and_then(|committers| self.gathering.waits(committers)) {
                Some(waits) => !waits,
                None => free,
            }
    }

    /// Stops waiting for committers that do not come. Returns whether somebody was waited for.
    pub fn give_up_gathering(&mut self) -> bool {
        let waits =
            self.open.as_ref().is_some_and(|open| self.commits_in_flight == 0 && open.committers.is_some());
        if waits {
            self.gathering.give_up();
        }
        waits
    }
}

impl Inner {
    pub fn new(life: &NewLife, options: &Options, now: Duration) -> Self {
        let known: BTreeMap<_, _> = life.segments.iter().map(|summary| (summary.segment, *summary)).collect();
        let segments = Segments {
            sealed: life.live.iter().map(|number| (*number, known.get(number).copied())).collect(),
            bounds: BTreeMap::new(),
            active: life.active.number(),
            prepared: VecDeque::new(),
            spares: life.spares.clone(),
            stuck: Vec::new(),
            highest: life.highest_number,
            wanted_bytes: 0,
            snapshot_synced: true,
            disk_bytes: life.active.len
                + options.segment_bytes * (life.live.len() + life.spares.len()) as u64,
        };
        let backlog = life.state.cursor.low < life.next_event;
        Self {
            status: Status::Open,
            log_id: life.log_id,
            features: (life.active.header.features, life.active.header.keys),
            appended_event: life.next_event,
            open: None,
            staged: VecDeque::new(),
            pending: Pending::default(),
            visible: life.state.clone(),
            room: Room::new(options.staged_bytes_max),
            in_flight: 0,
            cache: Cache::new(options.cache_bytes),
            segments,
            sync_due: None,
            sync_end: None,
            unsynced_bytes: 0,
            synced_low: life.state.cursor.low,
            checkpoint_due: None,
            checkpoint: life.checkpoint,
            checkpoint_errors: 0,
            found_damage: Vec::new(),
            found_missing: None,
            readers: Vec::new(),
            ages: backlog.then_some((life.next_event, now)).into_iter().collect(),
            prepare_failed: None,
            counters: Counters::default(),
            commits_in_flight: 0,
            gathering: Gathering::default(),
            abandoned: false,
            closed_by: None,
            panicked: false,
        }
    }

    /// The open frame, with room for `bytes` more.
    pub fn open_frame(&mut self, bytes: usize, first_event: u64, pool: &Pool) -> &mut OpenFrame {
        if let Some(full) = self.open.take_if(|open| !open.fits(bytes)) {
            self.staged.push_back(Staged::Frame(full));
        }
        self.open.get_or_insert_with(|| OpenFrame::new(pool, first_event))
    }

    /// Puts a commit too large for one frame behind everything that is staged.
    pub fn stage_span(&mut self, span: Span) -> Ticket {
        if let Some(before) = self.open.take() {
            self.staged.push_back(Staged::Frame(before));
        }
        let ticket = Ticket::new(&span.stage);
        self.staged.push_back(Staged::Span(span));
        ticket
    }

    /// Rebuilds everything from a life that began after a failure; what callers said and is not durable yet stays pending.
    pub fn renew(&mut self, life: &NewLife, options: &Options, now: Duration) {
        let pending = std::mem::take(&mut self.pending);
        let readers = std::mem::take(&mut self.readers);
        let counters = self.counters;
        let checkpoint_errors = self.checkpoint_errors;
        let (found_damage, found_missing) = (std::mem::take(&mut self.found_damage), self.found_missing);
        let room = std::mem::replace(&mut self.room, Room::new(options.staged_bytes_max));
        let ages = std::mem::take(&mut self.ages);
        // Whoever closed the log while it was being reopened waits for its end: what was said meanwhile holds for the new life.
        let closing = self.abandoned;
        *self = Self::new(life, options, now);
        if closing {
            self.status = Status::Closing;
        }
        for &(first, end) in &pending.released {
            self.visible.apply_release(first, end);
        }
        pending.updates.iter().for_each(|update| self.visible.apply_progress(update));
        self.pending = pending;
        self.readers = readers;
        self.counters = counters;
        self.counters.reopens += 1;
        self.checkpoint_errors = checkpoint_errors;
        (self.found_damage, self.found_missing) = (found_damage, found_missing);
        self.room = room;
        self.room.closed = false;
        if !ages.is_empty() {
            self.ages = ages;
        }
    }
}

impl Shared {
    /// Publishes how far events may be read, and returns who waits for that.
    pub fn publish(&self, inner: &mut Inner, synced_event: u64) -> Vec<std::task::Waker> {
        self.synced_event.store(synced_event, Ordering::Release);
        std::mem::take(&mut inner.readers)
    }
}
