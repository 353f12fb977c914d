//! The log as its callers see it.
//!
//! ```text
//!   append(commit) -> ticket           submitter (one thread)              cursor
//!     copies into the open frame   ->   seals, writes durably, in order ->  takes what is synced
//!                                       acks tickets                        releases ride in later frames
//! ```
//!
//! Free of I/O is every public call but [`Log::open`], [`Log::close`], reads of a lagging [`Cursor`] and
//! [`Log::append_and_wait`], which writes on its caller's thread where it can.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::append::lead;
use crate::append::staging::{Pool, Span};
use crate::append::submitter::Submitter;
use crate::append::ticket::{Stage, Ticket};
use crate::append::writer::Writer;
use crate::commit::Commit;
use crate::directories::Directories;
use crate::environment::{Environment, System};
use crate::error::{LogError, OpenError};
use crate::format::record::{self, COMMIT_PREFIX_LEN, HEADER_LEN};
use crate::options::Options;
use crate::read::cursor::{Cursor, Reader};
use crate::recovery;
use crate::recovery::life;
use crate::segment::keeper::Keeper;
use crate::shared::{Inner, Shared, Status};
use crate::state::{ProgressUpdate, ProgressValue, Space};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Condvar, Mutex, thread};

/// Room for one commit. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reserved {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let next = self.shared.inner.lock().room.give(self.bytes);
            next.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// Waits for room. Dropping it stops waiting.
#[derive(Debug)]
pub struct Reserve {
    shared: Arc<Shared>,
    bytes: u64,
    id: Option<u64>,
}

impl Future for Reserve {
    type Output = Result<Reserved, LogError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut inner = this.shared.inner.lock();
        inner.check_open()?;
        let (taken, next) = inner.room.poll(&mut this.id, this.bytes, cx.waker());
        drop(inner);
        next.into_iter().for_each(std::task::Waker::wake);
        if taken {
            return Poll::Ready(Ok(Reserved { shared: Arc::clone(&this.shared), bytes: this.bytes }));
        }
        Poll::Pending
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let next = self.shared.inner.lock().room.forget(id);
            next.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Events in the log that are not released.
    pub backlog: u64,
    /// Frames written again because nothing vouched for them.
    pub rewritten: u64,
    /// Frames cut off at the end: never acked.
    pub cut: u64,
    /// Damaged places, still in their files.
    pub damage: Vec<crate::error::Damage>,
    /// Events below this number were not released and are missing with their files.
    pub missing_below: Option<u64>,
    /// Time from the lock to the first frame of the new life.
    pub took: Duration,
    /// Time spent waiting for the lock.
    pub waited_for_lock: Duration,
}

/// Figures of a running log.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Number of the first event not released.
    pub first_event: u64,
    /// Events below this number are acked, and can be taken. Under [`Durability::Written`](crate::Durability::Written) the
    /// youngest of them are written and not yet synced: see [`unsynced_bytes`](Self::unsynced_bytes).
    pub synced_event: u64,
    /// Number of the next event to be appended.
    pub appended_event: u64,
    /// Events above `first_event` that are released.
    pub released_above: u64,
    /// Bytes of all files, about.
    pub disk_bytes: u64,
    /// Segments that hold frames.
    pub segments: u64,
    /// Segments prepared and spare.
    pub reserve_segments: u64,
    /// Bytes reserved or appended and not yet synced.
    pub staged_bytes: u64,
    /// Bytes of frames that are acked and not yet synced ([`Durability::Written`](crate::Durability::Written)).
    pub unsynced_bytes: u64,
    /// Bytes of synced frames in memory.
    pub cached_bytes: u64,
    /// Set while the log is failed and being reopened, and for good when a thread of it panicked or it was closed while it was
    /// failed: then what was acked before its sync is not synced.
    pub failure: Option<String>,
    /// Why no further segment can be prepared, if it is not for lack of space: puts go on for as long as there are prepared
    /// ones.
    pub cannot_grow: Option<String>,
    /// The disk has no space for events; why.
    pub full: Option<String>,
    /// Time since the oldest unreleased event was synced; for one of an earlier life, since this life's start.
    pub oldest: Option<Duration>,
    /// Keys of progress.
    pub progress_keys: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes written in them, padding included.
    pub frame_bytes: u64,
    /// Bytes of the bodies of frames with events, as they stand in the files.
    pub stored_bytes: u64,
    /// Bytes of the same bodies without compression.
    pub raw_bytes: u64,
    /// Frames without events.
    pub control_frames: u64,
    /// Times the log was reopened after a failure.
    pub reopens: u64,
    /// Checkpoints that could not be written.
    pub checkpoint_errors: u64,
    /// Damaged places that reopens found; those of the start are in [`Recovery::damage`].
    pub reopen_damage: Vec<crate::error::Damage>,
    /// As [`Recovery::missing_below`], found by a reopen.
    pub reopen_missing_below: Option<u64>,
    /// Events that were damaged, set aside and passed over, in this process.
    pub given_up_events: u64,
    /// Places that were set aside for them.
    pub set_aside_places: u64,
}

/// A durable log. Cheap to clone; closed by [`close`](Self::close), or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    reader: Arc<Mutex<Reader>>,
    recovery: Recovery,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// The log's working parts, for a caller that is its own scheduler: simulations, and tests with their own time.
#[derive(Debug)]
pub struct Driver {
    submitter: Submitter,
    keeper: Keeper,
}

impl Driver {
    /// Does what can be done now, waiting for nothing but writes in flight. Returns whether anything was done.
    pub fn turn(&mut self) -> bool {
        let submitted = self.submitter.turn(Some(Duration::ZERO));
        let kept = self.keeper.turn();
        submitted || kept
    }

    /// Turns until nothing is left to do at the present time, at most `turns` times. Returns whether it came to rest.
    pub fn settle(&mut self, turns: usize) -> bool {
        (0..turns).any(|_| !self.turn())
    }
}

impl Log {
    /// Takes the lock, recovers, and starts the log's two threads. Blocks for as long as that takes.
    pub fn open(dirs: Directories, options: Options) -> Result<Self, OpenError> {
        let (log, driver) = Self::open_with(dirs, options, Arc::new(System::default()), true)?;
        let Driver { mut submitter, mut keeper } = driver;
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_string()).spawn(body).map_err(|source| OpenError::Io {
                action: "start a thread for",
                path: log.0.shared.dirs.data.path().to_path_buf(),
                source,
            })
        };
        let threads = [
            spawn("log-submitter", Box::new(move || submitter.run()))?,
            spawn("log-keeper", Box::new(move || keeper.run()))?,
        ];
        log.0.threads.lock().extend(threads);
        Ok(log)
    }

    /// Like [`open`](Self::open), but nothing moves unless the returned driver is turned.
    pub fn open_driven(
        dirs: Directories,
        options: Options,
        environment: Arc<dyn Environment>,
    ) -> Result<(Self, Driver), OpenError> {
        Self::open_with(dirs, options, environment, false)
    }

    fn open_with(
        dirs: Directories,
        options: Options,
        environment: Arc<dyn Environment>,
        threaded: bool,
    ) -> Result<(Self, Driver), OpenError> {
        let alignment = dirs.data.alignment().max(dirs.checkpoint.alignment());
        let options = options.bounded(alignment);
        let dirs = dirs.with_keys(&options.keys);
        let started = environment.now();
        let (lock, checkpoint_lock) = dirs.lock(&options, &*environment)?;
        let locked = environment.now();
        let recovered = recovery::recover(&dirs, recovery::Known::default())?;
        let mut report = Recovery {
            rewritten: recovered.unvouched.len() as u64,
            cut: recovered.cut,
            damage: recovered.damage.clone(),
            missing_below: recovered.missing_below,
            waited_for_lock: locked - started,
            ..Recovery::default()
        };
        let life = life::begin(&dirs, &options, &*environment, recovered)?;
        let queue = dirs.data.write_queue(lock, options.in_flight).map_err(|source| OpenError::Io {
            action: "set up writing to",
            path: dirs.data.path().to_path_buf(),
            source,
        })?;
        report.took = environment.now() - locked;
        report.backlog = life.next_event - life.state.cursor.low - life.state.cursor.released_above();
        let pool = Pool::new(options.frame_bytes, options.keys.overhead(), options.in_flight + 4);
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner::new(&life, &options, environment.now())),
            files: Mutex::new(()),
            keeper: Condvar::new(),
            closed: Condvar::new(),
            wake: queue.waker(),
            pool: Arc::new(pool),
            // A scheduler that chooses who runs knows nothing of a thread that waits for another by a channel.
            threaded: threaded && !cfg!(feature = "shuttle"),
            synced_event: AtomicU64::new(life.next_event),
            dirs,
            options,
            environment,
        });
        let reader = Arc::new(Mutex::new(Reader::new(&life.state.cursor)));
        let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&shared), life)));
        let submitter = Submitter::new(Arc::clone(&shared), Arc::clone(&writer), queue, checkpoint_lock);
        let keeper = Keeper::new(Arc::clone(&shared), Arc::clone(&writer));
        let handle = Handle { shared, writer, reader, recovery: report, threads: Mutex::default() };
        Ok((Self(Arc::new(handle)), Driver { submitter, keeper }))
    }

    /// What recovery found when the log was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.0.recovery
    }

    /// Room for a commit of `bytes` payload bytes, or [`LogError::Full`] at once.
    pub fn try_reserve(&self, bytes: u64) -> Result<Reserved, LogError> {
        let shared = &self.0.shared;
        self.check_size(bytes)?;
        let mut inner = shared.inner.lock();
        inner.check_open()?;
        if inner.room.try_take(bytes) {
            return Ok(Reserved { shared: Arc::clone(shared), bytes });
        }
        let reason = match &inner.prepare_failed {
            Some(failure) if inner.room.closed && !failure.lacks_space => failure.why.clone().into(),
            _ if inner.room.closed => DISK_FULL.into(),
            _ => BUDGET_FULL.into(),
        };
        Err(LogError::Full { reason })
    }

    /// Waits for room, for as long as it takes; dropping the future stops waiting.
    pub fn reserve(&self, bytes: u64) -> Result<Reserve, LogError> {
        self.check_size(bytes)?;
        Ok(Reserve { shared: Arc::clone(&self.0.shared), bytes, id: None })
    }

    fn check_size(&self, bytes: u64) -> Result<(), LogError> {
        let max = self.0.shared.options.commit_bytes_max;
        if bytes > max { Err(LogError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// Appends a commit: copies it, waits for nothing. Order of appends is order in the log.
    pub fn append(&self, room: Reserved, commit: Commit<'_>) -> Result<Ticket, LogError> {
        let Staged { ticket, wanted, .. } = self.stage(room, commit, false)?;
        if wanted {
            self.0.shared.wake.wake();
        }
        Ok(ticket)
    }

    /// Reserves, appends and waits until the commit is synced. This thread writes the frame itself where it may go out at
    /// once.
    pub fn append_and_wait(&self, commit: Commit<'_>) -> Result<(), LogError> {
        let bytes = commit.payload.len() as u64;
        let room = match self.try_reserve(bytes) {
            Err(LogError::Full { .. }) => block_on(self.reserve(bytes)?)?,
            room => room?,
        };
        let Staged { ticket, mut wanted, is_first } = self.stage(room, commit, true)?;
        let mut patience = PATIENCE_MIN;
        loop {
            if wanted {
                lead::write_here(&self.0.shared, &self.0.writer);
            }
            // One of those who share a frame looks after it.
            if !is_first {
                return ticket.wait();
            }
            if let Some(result) = ticket.wait_for(patience) {
                return result;
            }
            patience = (patience * 2).min(PATIENCE_MAX);
            wanted = self.0.shared.inner.lock().give_up_gathering();
        }
    }

    /// Copies a commit to where it is written from.
    fn stage(
        &self,
        mut room: Reserved,
        mut commit: Commit<'_>,
        committer_waits: bool,
    ) -> Result<Staged, LogError> {
        let shared = &*self.0.shared;
        let payload_len = if commit.events > 0 { commit.payload.len() } else { 0 };
        self.check_size(payload_len as u64)?;
        let updates = std::mem::take(&mut commit.progress);
        let mut progress = Vec::new();
        updates.iter().for_each(|update| record::put_progress(&mut progress, update));
        let commit_len = if commit.events > 0 { HEADER_LEN + COMMIT_PREFIX_LEN + payload_len } else { 0 };
        let bytes = commit_len + progress.len();
        let fill = |out: &mut [u8]| {
            if commit_len > 0 {
                record::write_commit_prefix(out, commit.events, payload_len);
                commit.payload.write_to(&mut out[HEADER_LEN + COMMIT_PREFIX_LEN..commit_len]);
            }
            out[commit_len..].copy_from_slice(&progress);
        };
        let is_span = bytes > shared.options.body_bytes_max();
        let mut span_bytes = Vec::new();
        if is_span {
            span_bytes.resize(bytes, 0);
            fill(&mut span_bytes);
        }
        let mut inner = shared.inner.lock();
        inner.check_open()?;
        let first_event = inner.appended_event;
        inner.appended_event += u64::from(commit.events);
        updates.iter().for_each(|update| inner.visible.apply_progress(update));
        let reserved = std::mem::take(&mut room.bytes);
        if is_span {
            let ticket = inner.stage_span(Span {
                bytes: span_bytes,
                sent: 0,
                first_event,
                events: commit.events,
                updates,
                stage: Arc::default(),
                reserved,
            });
            return Ok(Staged { ticket, wanted: inner.wants_writer(&shared.options), is_first: true });
        }
        let frame = inner.open_frame(bytes, first_event, &shared.pool);
        let mut region = frame.region(bytes);
        frame.events += commit.events;
        frame.updates.extend(updates);
        frame.reserved += reserved;
        let is_first = frame.committers == Some(0);
        frame.committers =
            frame.committers.filter(|_all_wait| committer_waits).map(|committers| committers + 1);
        let stage = Arc::clone(&frame.stage);
        drop(inner);
        let copied = catch_unwind(AssertUnwindSafe(|| fill(region.bytes())));
        if copied.is_err() {
            stage.spoil();
        }
        drop(region);
        let wanted = shared.inner.lock().wants_writer(&shared.options);
        if let Err(panic) = copied {
            shared.wake.wake();
            resume_unwind(panic);
        }
        Ok(Staged { ticket: Ticket::new(&stage), wanted, is_first })
    }

    /// Where an owner stands, as of the latest append; `None` if it was never marked and never set.
    pub fn progress(&self, space: Space, owner: &str) -> Option<BTreeMap<String, ProgressValue>> {
        self.0.shared.inner.lock().visible.owner(space, owner).map(|owner| owner.keys.clone())
    }

    /// Where an owner stands along one key.
    pub fn progress_of(&self, space: Space, owner: &Arc<str>, key: &str) -> Option<ProgressValue> {
        let inner = self.0.shared.inner.lock();
        inner.visible.owners.get(&(space, Arc::clone(owner)))?.keys.get(key).cloned()
    }

    /// Progress alone. A source's keeps its place behind the commits appended before it: ahead of them, a crash would
    /// leave a position past events that the log lacks. While twice [`staged_bytes_max`](Options::staged_bytes_max) wait to be
    /// written it is refused with [`LogError::Full`], and nothing of `updates` is known then. A sink's rides the next frame, at
    /// latest after the release delay.
    pub fn record(&self, updates: Vec<ProgressUpdate>) -> Result<Ticket, LogError> {
        let shared = &*self.0.shared;
        let now = shared.now();
        let (sources, sinks): (Vec<_>, Vec<_>) =
            updates.into_iter().partition(|update| update.space == Space::Source);
        let mut records = Vec::new();
        sources.iter().for_each(|update| record::put_progress(&mut records, update));
        let mut inner = shared.inner.lock();
        inner.check_open()?;
        let reserved = records.len() as u64;
        if reserved > 0 && !inner.room.take_beside(reserved) {
            let reason = if inner.room.closed { DISK_FULL } else { BUDGET_FULL };
            return Err(LogError::Full { reason: reason.into() });
        }
        sources.iter().chain(&sinks).for_each(|update| inner.visible.apply_progress(update));
        let mut ticket = None;
        if !sinks.is_empty() || sources.is_empty() {
            inner.pending.since.get_or_insert(now);
            sinks.into_iter().for_each(|update| inner.pending.update(update, now));
            ticket = Some(Ticket::new(inner.pending.stage.get_or_insert_with(Arc::<Stage>::default)));
        }
        if !sources.is_empty() {
            let first_event = inner.appended_event;
            ticket = Some(if records.len() > shared.options.body_bytes_max() {
                inner.stage_span(Span {
                    bytes: records,
                    sent: 0,
                    first_event,
                    events: 0,
                    updates: sources,
                    stage: Arc::default(),
                    reserved,
                })
            } else {
                let frame = inner.open_frame(records.len(), first_event, &shared.pool);
                frame.committers = None;
                frame.reserved += reserved;
                frame.region(records.len()).bytes().copy_from_slice(&records);
                frame.updates.extend(sources);
                Ticket::new(&frame.stage)
            });
        }
        let ticket = ticket.expect("one of both");
        // Nobody would tell an idle submitter that a record is due.
        let wake = inner.in_flight == 0 || inner.wants_writer(&shared.options);
        drop(inner);
        if wake {
            shared.wake.wake();
        }
        Ok(ticket)
    }

    /// The consumer's position. All handles share it; takes of several handles compete.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(Arc::clone(&self.0.shared), Arc::clone(&self.0.reader))
    }

    /// How far the consumer is behind, as a share of [`cache_bytes`](Options::cache_bytes); `None` while it reads the disk, as
    /// it does from 1 on. A producer that can wait keeps the consumer in memory by waiting before that.
    pub fn consumer_behind(&self) -> Option<f64> {
        self.0.shared.inner.lock().cache.behind()
    }

    /// Figures of now.
    pub fn stats(&self) -> Stats {
        let shared = &*self.0.shared;
        let now = shared.now();
        let inner = shared.inner.lock();
        let first_event = inner.visible.cursor.low;
        let synced_event = shared.readable_end();
        let ages = inner.ages.iter().find(|(end, _)| *end > first_event);
        Stats {
            first_event,
            synced_event,
            appended_event: inner.appended_event,
            released_above: inner.visible.cursor.released_above(),
            disk_bytes: inner.segments.disk_bytes,
            segments: inner.segments.sealed.len() as u64 + 1,
            reserve_segments: inner.segments.reserve() as u64,
            staged_bytes: inner.room.used(),
            unsynced_bytes: inner.unsynced_bytes,
            cached_bytes: inner.cache.bytes() as u64,
            failure: match &inner.status {
                Status::Failed(failure) => Some(failure.to_string()),
                _ if inner.panicked => Some(PANICKED.to_string()),
                _ => inner.closed_by.as_ref().map(ToString::to_string),
            },
            cannot_grow: inner
                .prepare_failed
                .as_ref()
                .filter(|failure| !failure.lacks_space)
                .map(|failure| failure.why.clone()),
            full: inner.room.closed.then(|| match &inner.prepare_failed {
                Some(failure) => failure.why.clone(),
                None => DISK_FULL.to_string(),
            }),
            oldest: ages.filter(|_| first_event < synced_event).map(|(_, since)| now.saturating_sub(*since)),
            progress_keys: inner.visible.owners.values().map(|owner| owner.keys.len() as u64).sum(),
            frames: inner.counters.frames,
            frame_bytes: inner.counters.frame_bytes,
            stored_bytes: inner.counters.stored_bytes,
            raw_bytes: inner.counters.raw_bytes,
            control_frames: inner.counters.control_frames,
            reopens: inner.counters.reopens,
            checkpoint_errors: inner.checkpoint_errors,
            reopen_damage: inner.found_damage.clone(),
            reopen_missing_below: inner.found_missing,
            given_up_events: inner.counters.given_up,
            set_aside_places: inner.counters.set_aside,
        }
    }

    /// Writes what is staged, a close mark and a checkpoint, and lets go of the lock. Later calls fail with
    /// [`LogError::Closed`].
    pub fn close(&self) {
        self.begin_close();
        let threads = std::mem::take(&mut *self.0.threads.lock());
        for thread in threads {
            // A panic of the submitter was printed where it happened; there is nothing left to close.
            if thread.join().is_err() {
                break;
            }
        }
    }

    /// Begins to close; for a driven log, whose driver then ends the work.
    pub fn begin_close(&self) {
        self.0.begin_close();
    }
}

impl Handle {
    fn begin_close(&self) {
        let mut inner = self.shared.inner.lock();
        match inner.status {
            Status::Open => inner.status = Status::Closing,
            // A failed log has nothing to write: what was on its way is lost to its callers, and they know.
            Status::Failed(_) => inner.abandoned = true,
            Status::Closing | Status::Closed => {}
        }
        let waiting = inner.room.wakers();
        drop(inner);
        waiting.into_iter().for_each(std::task::Waker::wake);
        self.shared.wake.wake();
        self.shared.keeper.notify_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.begin_close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                break;
            }
        }
    }
}

pub(crate) const DISK_FULL: &str = "the disk has no space for another segment; released events free some";
/// A commit that waits to be written.
struct Staged {
    ticket: Ticket,
    /// Somebody shall write now.
    wanted: bool,
    /// It is the first of its frame.
    is_first: bool,
}

/// How long a committer waits before it looks whether everybody waits for somebody who does not come: about as long as a
/// write. Then twice as long each time, for a device that is slow is no reason to look often.
const PATIENCE_MIN: Duration = Duration::from_micros(100);
const PATIENCE_MAX: Duration = Duration::from_millis(10);

const PANICKED: &str = "a thread panicked while it wrote to the log, which is closed until the next start";
const BUDGET_FULL: &str = "too many bytes wait to be written";

/// Runs a future on this thread.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut future).poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
