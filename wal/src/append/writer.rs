//! What goes where next: the one place that numbers, seals and acks frames.
//!
//! ```text
//!   take what is staged -> append pending control records -> seal -> hand out as a write        several in flight
//!   completion -> in order: synced claim rises, tickets resolve, events become readable
//!   segment full -> wait until nothing is in flight -> snapshot frame in the next prepared segment -> go on at once
//!   error -> fail every commit at or above it -> reap all writes -> recover and begin a new life, in process
//! ```
//!
//! It does no I/O but in a reopen: its writes are carried out by the submitter's queue or by a committer. There is no timer
//! on the append path: frames gather commits while the device is busy. A further write goes out at once if nothing is in
//! flight; else when enough waits or a slot came free.
//!
//! At a roll the snapshot is submitted only when everything before it is synced: it vouches for all below, and its own
//! loss loses nothing. The frames behind it need not wait, for acks come in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::append::staging::{OpenFrame, Pending, Span, Staged};
use crate::append::ticket::Stage;
use crate::append::unsynced::Unsynced;
use crate::broken;
use crate::format::checkpoint::Checkpoint;
use crate::format::codec::Compressor;
use crate::format::frame::{self, FrameHeader};
use crate::format::record::{SegmentSummary, Snapshot};
use crate::numbers::{FrameNumber, Place};
use crate::recovery::life::{self, NewLife};
use crate::segment::file::SegmentFile;
use crate::shared::{Inner, Shared, Status};
use crate::state::State;
use crate::storage::{AlignedBuf, Write};

/// Everything that only the writing side knows. Its lock is taken before [`Shared::inner`].
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: SegmentFile,
    pub(super) summary: SegmentSummary,
    pub(super) offset: u64,
    pub(super) last_frame: FrameNumber,
    pub(super) last_crc: u32,
    pub(super) synced_frame: FrameNumber,
    /// Events below this number are synced.
    pub(super) synced_event: u64,
    /// Events below this number are acked.
    pub(super) acked_event: u64,
    /// Acked frames that are not synced, and those that a sync under way covers.
    pub(super) unsynced: Unsynced,
    pub(super) syncing: Option<Unsynced>,
    /// Number of the event after the last sealed one.
    pub(super) sealed_event: u64,
    /// The state behind this frame as a roll that must wait has encoded it.
    pub(super) snapshot: Option<(FrameNumber, Vec<u8>)>,
    /// The state behind the last sealed frame.
    pub(super) sealed: State,
    /// Frames that were submitted, oldest first.
    pub(super) in_flight: VecDeque<Sent>,
    pub(super) next_token: u64,
    /// A commit of several frames of which some are submitted: nothing else may come between.
    pub(super) span: Option<Span>,
    /// A slot came free since the last submission.
    pub(super) slot_freed: bool,
    /// When the last frame became synced, if no later frame has claimed it yet.
    pub(super) unclaimed_since: Option<Duration>,
    pub(super) last_control_on_full: Option<Duration>,
    pub(super) last_checkpoint: Duration,
    /// The frame that it speaks of.
    pub(super) checkpoint_frame: FrameNumber,
    /// Written when the log is closed and before the lock goes.
    pub(super) last_checkpoint_of_all: Option<Checkpoint>,
    pub(super) reopen_delay: Duration,
    pub(super) reopen_at: Option<Duration>,
    pub(super) close_marked: bool,
    /// `None`: everything is stored plain.
    pub(super) compressor: Option<Compressor>,
    /// Sealed, and not yet handed to who carries it out.
    pub(super) outgoing: Vec<Write>,
    /// Writes in flight that committers carry out themselves.
    pub(super) led: usize,
    /// When the submitter looks again by itself; `None`: only when woken.
    pub(super) alarm: Option<Duration>,
}

impl Next {
    fn is_spoilt(&self) -> bool {
        matches!(self, Self::Frame(frame) if frame.stage.is_spoilt())
    }
}

/// A frame in flight.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) token: u64,
    pub(super) header: FrameHeader,
    pub(super) offset: u64,
    pub(super) buffer: Arc<AlignedBuf>,
    /// The body for readers, where the buffer holds it compressed or encrypted.
    pub(super) body: Option<Arc<AlignedBuf>>,
    /// Commits whose fate this frame decides.
    pub(super) stage: Option<Arc<Stage>>,
    pub(super) reserved: u64,
    /// Threads that wait for it.
    pub(super) committers: u32,
    /// Control records in it, and who waits for them.
    pub(super) controls: Pending,
    /// The cursor's low mark behind it.
    pub(super) low: u64,
    /// It is a segment's first frame.
    pub(super) snapshot: bool,
    /// Its state as a checkpoint, if one is due with it.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The close mark.
    pub(super) closes: bool,
    /// Synced by the write itself.
    pub(super) durable: bool,
    pub(super) done: bool,
}

/// What to write next.
pub(super) enum Next {
    Frame(OpenFrame),
    Span(Span),
    Control,
    Close,
}

pub(super) const REOPEN_DELAY_MIN: Duration = Duration::from_millis(10);
/// While the disk is full, control frames share a reserve that is not refilled: fewer of them make it last.
const FULL_DISK_CONTROL_INTERVAL: Duration = Duration::from_secs(1);

impl Writer {
    pub fn new(shared: Arc<Shared>, life: NewLife) -> Self {
        Self {
            last_checkpoint: shared.now(),
            checkpoint_frame: life.last_frame,
            last_checkpoint_of_all: None,
            synced_event: life.next_event,
            acked_event: life.next_event,
            unsynced: Unsynced::default(),
            syncing: None,
            sealed_event: life.next_event,
            snapshot: None,
            summary: life.summary,
            offset: life.offset,
            last_frame: life.last_frame,
            last_crc: life.last_crc,
            synced_frame: life.last_frame,
            sealed: life.state,
            active: life.active,
            compressor: Compressor::new(shared.options.compression),
            shared,
            in_flight: VecDeque::new(),
            next_token: 0,
            span: None,
            slot_freed: false,
            unclaimed_since: None,
            last_control_on_full: None,
            reopen_delay: REOPEN_DELAY_MIN,
            reopen_at: None,
            close_marked: false,
            outgoing: Vec::new(),
            led: 0,
            alarm: None,
        }
    }

    /// Returns whether there was one to write.
    pub(super) fn write_last_checkpoint(&mut self) -> bool {
        let Some(checkpoint) = self.last_checkpoint_of_all.take() else { return false };
        let shared = Arc::clone(&self.shared);
        let _files = shared.files.lock();
        let newest = shared.inner.lock().checkpoint;
        if life::write_checkpoint(&*shared.dirs.checkpoint, &checkpoint, newest, &*shared.environment)
            .is_err()
        {
            self.shared.inner.lock().checkpoint_errors += 1;
        }
        true
    }

    /// What to write next, if there is something and a slot for it, and how long until something is due. A roll's
    /// snapshot may be outgoing behind it.
    pub(super) fn next(&mut self) -> (Option<Next>, Option<Duration>) {
        let shared = Arc::clone(&self.shared);
        self.take_sync_end();
        let mut inner = shared.inner.lock();
        let fails = matches!(inner.status, Status::Failed(_));
        if fails || self.in_flight.len() >= shared.options.in_flight {
            return (None, None);
        }
        let now = shared.now();
        self.sync_in_time(&mut inner, now);
        let (mut next, due) = self.choose(&mut inner, now);
        if let Some(Next::Frame(frame)) = next.take_if(|next| next.is_spoilt()) {
            inner.staged.push_front(Staged::Frame(frame));
            drop(inner);
            self.fail("gather", self.offset, std::io::Error::other("a payload panicked while it was copied"));
            return (None, None);
        }
        inner.in_flight = self.in_flight.len() + usize::from(next.is_some());
        let commits = matches!(next, Some(Next::Frame(_) | Next::Span(_)));
        inner.commits_in_flight = self.commits_in_flight() + usize::from(commits);
        (next, due)
    }

    /// Seals it; the write is outgoing.
    pub(super) fn seal(&mut self, next: Next) {
        match next {
            Next::Frame(frame) => self.seal_frame(frame),
            Next::Span(span) => self.seal_span_piece(span),
            Next::Control => self.seal_control(false),
            Next::Close => self.seal_control(true),
        }
        self.slot_freed = false;
    }

    /// Decides what to write next, rolling to another segment where it must. `None`: nothing now; the duration says when
    /// to look again.
    fn choose(&mut self, inner: &mut Inner, now: Duration) -> (Option<Next>, Option<Duration>) {
        if let Some(span) = self.span.take() {
            return (Some(Next::Span(span)), None);
        }
        let shared = Arc::clone(&self.shared);
        let options = &shared.options;
        let idle = self.in_flight.is_empty();
        let closing = matches!(inner.status, Status::Closing);
        let eager = closing || inner.open.as_ref().is_some_and(|open| self.goes(inner, open));
        if inner.staged.is_empty()
            && eager
            && let Some(open) = inner.open.take()
        {
            inner.gathering.goes(open.committers.unwrap_or(0));
            inner.staged.push_back(Staged::Frame(open));
        }
        if let Some(staged) = inner.staged.front_mut() {
            if !staged.is_whole() {
                // Who ends the copy looks whether a writer is wanted.
                return (None, None);
            }
            let staged = &*staged;
            let padded = self.padded_bytes(staged);
            let room = match staged {
                Staged::Frame(frame) => self.room_beside(frame),
                // A span shares no frame.
                Staged::Span(_) => 0,
            };
            if self.overtakes(inner, room, now) {
                let bytes = self.framed(inner.pending.encoded_len_max());
                match self.make_room(inner, bytes, false) {
                    Fit::Now => return (Some(Next::Control), None),
                    Fit::Later => return (None, None),
                    Fit::NoSpace => {}
                }
            }
            match self.make_room(inner, padded, true) {
                Fit::Now => {
                    inner.room.closed = false;
                    let next = match inner.staged.pop_front().expect("the front") {
                        Staged::Frame(frame) => Next::Frame(frame),
                        Staged::Span(span) => Next::Span(span),
                    };
                    return (Some(next), None);
                }
                Fit::Later => return (None, None),
                Fit::NoSpace => {}
            }
        }
        let blocked = inner.room.closed;
        if blocked {
            // What gives a full disk its space back are releases that are synced.
            self.ask_for_sync(inner);
        }
        let control_due = inner.pending.since.map(|since| since + options.release_delay);
        let claim_due = self.unclaimed_since.map(|since| since + options.idle_delay).filter(|_| idle);
        let mut due = match (control_due, claim_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if blocked {
            due = due.map(|due| {
                due.max(
                    self.last_control_on_full
                        .map_or(Duration::ZERO, |last| last + FULL_DISK_CONTROL_INTERVAL),
                )
            });
        }
        let staged = !inner.staged.is_empty() || inner.open.is_some();
        let flush = closing && (!inner.pending.is_empty());
        if flush || due.is_some_and(|due| due <= now) {
            let bytes = self.framed(inner.pending.encode().len());
            return match self.make_room(inner, bytes, false) {
                Fit::Now => {
                    self.last_control_on_full = blocked.then_some(now);
                    (Some(Next::Control), None)
                }
                // Woken by a completion.
                Fit::Later => (None, None),
                // The last checkpoint carries what no frame has room for.
                // What is in flight comes first: the last checkpoint vouches for all that is sealed.
                Fit::NoSpace if closing && !idle => (None, None),
                Fit::NoSpace if closing => {
                    self.seal_pending(inner);
                    self.choose_close(inner)
                }
                Fit::NoSpace => (None, Some(FULL_DISK_CONTROL_INTERVAL)),
            };
        }
        if closing && idle && (!staged || blocked) {
            return self.choose_close(inner);
        }
        let due = [due, self.quiet_checkpoint(inner, now), self.sync_due()].into_iter().flatten().min();
        (None, due.map(|due| due.saturating_sub(now)))
    }

    /// Bytes that a frame of commits has for control records: what the segment still holds bounds it as its buffer does.
    pub(super) fn room_beside(&self, frame: &OpenFrame) -> usize {
        let left = (self.active.len - self.offset).saturating_sub(self.shared.options.keys.overhead() as u64);
        ((frame.capacity() as u64).min(left) as usize).saturating_sub(frame.len)
    }

    /// Whether releases and progress are overdue, and do not ride in a frame that has so much room for them: they go before it.
    /// Commits that leave no room could hold them back for as long as there are more of them. On a full disk they go by its
    /// own interval.
    pub(super) fn overtakes(&self, inner: &Inner, room: usize, now: Duration) -> bool {
        let due = inner.pending.since.is_some_and(|since| since + self.shared.options.release_delay <= now);
        due && !inner.room.closed && inner.pending.encoded_len_max() > room
    }

    /// Frames in flight that hold commits, or a part of one.
    pub(super) fn commits_in_flight(&self) -> usize {
        self.in_flight.iter().filter(|sent| sent.stage.is_some() || sent.header.is_span()).count()
    }

    pub(super) fn goes(&self, inner: &Inner, open: &OpenFrame) -> bool {
        inner.goes(open, self.commits_in_flight() == 0 || self.slot_freed, &self.shared.options)
    }

    /// Takes pending releases and progress over into the state without a frame.
    fn seal_pending(&mut self, inner: &mut Inner) {
        let pending = std::mem::take(&mut inner.pending);
        pending.released.iter().for_each(|&(first, end)| self.sealed.apply_release(first, end));
        pending.updates.iter().for_each(|update| self.sealed.apply_progress(update));
        inner.pending.stage = pending.stage;
        self.snapshot = None;
    }

    /// Nothing is left to write but the close mark; behind it the log is closed.
    fn choose_close(&mut self, inner: &mut Inner) -> (Option<Next>, Option<Duration>) {
        if self.has_unsynced() {
            self.ask_for_sync(inner);
            return (None, None);
        }
        if !self.close_marked {
            let fit = self.make_room(inner, self.framed(32), false);
            // The mark claims everything before it: also a snapshot that a roll has just submitted.
            if !self.in_flight.is_empty() {
                return (None, None);
            }
            if matches!(fit, Fit::Now) {
                return (Some(Next::Close), None);
            }
        }
        let lost: Vec<_> = inner.staged.drain(..).collect();
        let open = inner.open.take();
        let error = crate::error::LogError::Closed;
        let mut wakers: Vec<Waker> = Vec::new();
        for staged in lost.into_iter().chain(open.map(Staged::Frame)) {
            wakers.extend(staged.stage().decide(Err(error.clone())));
        }
        self.finish(inner, wakers);
        (None, None)
    }

    pub(super) fn finish(&mut self, inner: &mut Inner, mut wakers: Vec<Waker>) {
        if self.shared.options.checkpoint_on_close && !inner.abandoned {
            self.last_checkpoint_of_all = Some(self.checkpoint_now(inner));
        }
        inner.checkpoint_due = None;
        if let Some(stage) = inner.pending.stage.take() {
            wakers.extend(stage.decide(Err(crate::error::LogError::Closed)));
        }
        if let Status::Failed(failure) = &inner.status {
            inner.closed_by = Some(Arc::clone(failure));
        }
        inner.status = Status::Closed;
        wakers.append(&mut inner.readers);
        wakers.into_iter().for_each(Waker::wake);
        self.shared.keeper.notify_all();
        self.shared.closed.notify_all();
    }

    /// The state behind the last sealed frame, all of which are synced.
    fn checkpoint_now(&self, inner: &Inner) -> Checkpoint {
        debug_assert!(self.in_flight.is_empty() && !self.has_unsynced());
        Checkpoint {
            log_id: inner.log_id,
            frame: self.last_frame,
            place: Place { segment: self.active.number(), offset: self.offset },
            snapshot: Snapshot {
                next_event: self.sealed_event,
                state: self.sealed.clone(),
                segments: inner.segments.table(),
            },
        }
    }

    /// Writes a checkpoint now and then while nothing is in flight. Returns when the next one is due.
    fn quiet_checkpoint(&mut self, inner: &mut Inner, now: Duration) -> Option<Duration> {
        let due = self.last_checkpoint + self.shared.options.checkpoint_interval;
        let quiet = self.in_flight.is_empty() && !self.has_unsynced();
        let news = quiet && self.checkpoint_frame != self.last_frame;
        if !news || !matches!(inner.status, Status::Open) {
            return None;
        }
        if due > now {
            return Some(due);
        }
        self.last_checkpoint = now;
        self.checkpoint_frame = self.last_frame;
        inner.checkpoint_due = Some(self.checkpoint_now(inner));
        self.shared.keeper.notify_all();
        None
    }

    pub(super) fn align(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(u64::from(self.active.header.alignment))
    }

    /// Bytes in the file of a frame with a body of `body_len` bytes.
    pub(super) fn framed(&self, body_len: usize) -> u64 {
        self.align((frame::HEADER_LEN + self.shared.options.keys.overhead() + body_len) as u64)
    }

    fn padded_bytes(&self, staged: &Staged) -> u64 {
        match staged {
            Staged::Frame(frame) => self.framed(frame.len - frame::HEADER_LEN),
            Staged::Span(span) => {
                let piece = self.shared.options.body_bytes_max();
                let pieces = (span.bytes.len() / piece) as u64;
                pieces * self.framed(piece) + self.framed(span.bytes.len() % piece)
            }
        }
    }

    /// Sees to it that `padded` bytes fit in the active segment, rolling if they do not.
    fn make_room(&mut self, inner: &mut Inner, padded: u64, events: bool) -> Fit {
        let padded = self.align(padded);
        // Without the reserve no event is let in: what the active segment still holds belongs to control frames.
        if events && inner.segments.reserve() < EVENTS_RESERVE {
            let failed = inner.prepare_failed.is_some();
            inner.room.closed |= failed;
            self.shared.keeper.notify_all();
            return if failed { Fit::NoSpace } else { Fit::Later };
        }
        if self.offset + padded <= self.active.len {
            return Fit::Now;
        }
        // Woken by their end; what comes now is long to work out, and would be worked out again.
        if self.in_flight.len() > broken::IN_FLIGHT_AT_A_ROLL {
            return Fit::Later;
        }
        if self.has_unsynced() {
            self.ask_for_sync(inner);
            return Fit::Later;
        }
        // A segment must hold its header, the snapshot, and what we came for.
        let snapshot = self.encoded_snapshot(inner);
        let snapshot_len = self.framed(snapshot.len());
        let wanted = self.active.header.data_offset() + snapshot_len + padded;
        let left = inner.segments.reserve().saturating_sub(1);
        let reserve = if events { EVENTS_RESERVE } else { CONTROL_RESERVE };
        let fits = inner.segments.prepared.front().is_some_and(|next| next.len >= wanted);
        if left < reserve || !fits {
            if !fits {
                inner.segments.wanted_bytes = inner.segments.wanted_bytes.max(wanted);
            }
            self.shared.keeper.notify_all();
            let failed = inner.prepare_failed.is_some();
            if events && failed {
                inner.room.closed = true;
            }
            self.snapshot = Some((self.last_frame, snapshot));
            return if failed { Fit::NoSpace } else { Fit::Later };
        }
        self.roll(inner, &snapshot);
        // The snapshot may have taken the last slot.
        if self.in_flight.len() < self.shared.options.in_flight { Fit::Now } else { Fit::Later }
    }
}

/// Whether a frame can be written.
enum Fit {
    Now,
    /// When writes in flight are done, or the keeper has prepared a segment: both wake us.
    Later,
    /// The disk is full.
    NoSpace,
}

/// Segments that events leave untouched: one for control frames, one for the next start.
pub(super) const EVENTS_RESERVE: usize = 2;
/// Segments that control frames leave untouched: the one for the next start.
const CONTROL_RESERVE: usize = 1;
