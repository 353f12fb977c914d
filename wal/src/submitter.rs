//! The one thread that writes frames.
//!
//! ```text
//!   take what is staged -> append pending control records -> seal -> submit      several in flight
//!   completion -> in order: synced claim rises, tickets resolve, events become readable
//!   segment full -> wait until nothing is in flight -> snapshot frame in the next prepared segment -> go on at once
//!   error -> fail every commit at or above it -> reap all writes -> recover and begin a new life, in process
//! ```
//!
//! There is no timer on the append path: frames gather commits while the device is busy. A further write goes out at once
//! if nothing is in flight; else when enough waits or a slot came free.
//!
//! At a roll the snapshot is submitted only when everything before it is synced: it vouches for all below, and its own
//! loss loses nothing. The frames behind it need not wait, for acks come in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::error::Failure;
use crate::format::checkpoint::Checkpoint;
use crate::format::frame::{self, FLAG_MORE, FLAG_SPAN, FrameHeader, Seed};
use crate::format::record::{self, SegmentSummary, Snapshot};
use crate::life::{self, NewLife};
use crate::numbers::{FrameNumber, Place};
use crate::recovery;
use crate::segment::{SegmentFile, path_of};
use crate::shared::{Inner, Shared, Status};
use crate::staging::{OpenFrame, Pending, Span, Staged};
use crate::state::State;
use crate::storage::{AlignedBuf, Completion, Lock, Write, WriteQueue};
use crate::ticket::Stage;

/// Owns the write queue and everything that only the writing side knows.
#[derive(Debug)]
pub struct Submitter {
    shared: Arc<Shared>,
    queue: Box<dyn WriteQueue>,
    /// The checkpoint directory's lock; the data directory's is held by the queue.
    _checkpoint_lock: Option<Box<dyn Lock>>,
    active: SegmentFile,
    summary: SegmentSummary,
    offset: u64,
    last_frame: FrameNumber,
    last_crc: u32,
    synced_frame: FrameNumber,
    synced_event: u64,
    /// Number of the event after the last sealed one.
    sealed_event: u64,
    /// The state behind the last sealed frame.
    sealed: State,
    /// Frames that were submitted, oldest first.
    in_flight: VecDeque<Sent>,
    next_token: u64,
    /// A commit of several frames of which some are submitted: nothing else may come between.
    span: Option<Span>,
    /// A slot came free since the last submission.
    slot_freed: bool,
    /// When the last frame became synced, if no later frame has claimed it yet.
    unclaimed_since: Option<Duration>,
    last_control_on_full: Option<Duration>,
    last_checkpoint: Duration,
    /// The frame that it speaks of.
    checkpoint_frame: FrameNumber,
    /// Written when the log is closed and before the lock goes.
    last_checkpoint_of_all: Option<Checkpoint>,
    reopen_delay: Duration,
    reopen_at: Option<Duration>,
    close_marked: bool,
    done: Vec<Completion>,
}

/// A frame in flight.
#[derive(Debug)]
struct Sent {
    token: u64,
    header: FrameHeader,
    offset: u64,
    buffer: Arc<AlignedBuf>,
    /// Commits whose fate this frame decides.
    stage: Option<Arc<Stage>>,
    reserved: u64,
    /// Control records in it, and who waits for them.
    controls: Pending,
    /// The cursor's low mark behind it.
    low: u64,
    /// Its state as a checkpoint, if it is a segment's first frame.
    checkpoint: Option<Checkpoint>,
    /// The close mark.
    closes: bool,
    done: bool,
}

/// What to write next.
enum Next {
    Frame(OpenFrame),
    Span(Span),
    Control,
    Close,
}

const REOPEN_DELAY_MIN: Duration = Duration::from_millis(10);
/// While the disk is full, control frames share a reserve that is not refilled: fewer of them make it last.
const FULL_DISK_CONTROL_INTERVAL: Duration = Duration::from_secs(1);

impl Submitter {
    pub fn new(
        shared: Arc<Shared>,
        queue: Box<dyn WriteQueue>,
        checkpoint_lock: Option<Box<dyn Lock>>,
        life: NewLife,
    ) -> Self {
        Self {
            last_checkpoint: shared.now(),
            checkpoint_frame: life.last_frame,
            last_checkpoint_of_all: None,
            synced_event: life.next_event,
            sealed_event: life.next_event,
            summary: life.summary,
            offset: life.offset,
            last_frame: life.last_frame,
            last_crc: life.last_crc,
            synced_frame: life.last_frame,
            sealed: life.state,
            active: life.active,
            shared,
            queue,
            _checkpoint_lock: checkpoint_lock,
            in_flight: VecDeque::new(),
            next_token: 0,
            span: None,
            slot_freed: false,
            unclaimed_since: None,
            last_control_on_full: None,
            reopen_delay: REOPEN_DELAY_MIN,
            reopen_at: None,
            close_marked: false,
            done: Vec::new(),
        }
    }

    /// Works until the log is closed.
    pub fn run(&mut self) {
        while !matches!(self.status(), Status::Closed) {
            self.turn(None);
        }
        self.write_last_checkpoint();
    }

    /// The keeper may be gone when the log is closed, and the lock goes with this thread.
    fn write_last_checkpoint(&mut self) -> bool {
        let Some(checkpoint) = self.last_checkpoint_of_all.take() else { return false };
        let _files = self.shared.files.lock();
        let newest = self.shared.inner.lock().checkpoint;
        if life::write_checkpoint(&*self.shared.dirs.checkpoint, &checkpoint, newest).is_err() {
            self.shared.inner.lock().checkpoint_errors += 1;
        }
        true
    }

    /// Submits what can be submitted, then waits for completions: at most `wait` (`None`: as long as nothing is due).
    /// Returns whether anything was done.
    pub fn turn(&mut self, wait: Option<Duration>) -> bool {
        let (mut worked, due) = match self.status() {
            Status::Closed => return self.write_last_checkpoint(),
            Status::Failed(_) => self.try_reopen(),
            Status::Open | Status::Closing => self.submit_all(),
        };
        if matches!(self.status(), Status::Closed) {
            return true;
        }
        let timeout = match (wait, due) {
            (Some(wait), _) => Some(wait),
            // Something may become due while writes are in flight, but a completion comes first.
            (None, _) if !self.in_flight.is_empty() => None,
            (None, due) => due,
        };
        self.queue.wait(timeout, &mut self.done);
        worked |= !self.done.is_empty();
        self.complete();
        worked
    }

    fn status(&self) -> Status {
        self.shared.inner.lock().status.clone()
    }

    /// Submits frames as long as there is something to submit and a slot for it. Returns whether it did, and how long
    /// until something is due.
    fn submit_all(&mut self) -> (bool, Option<Duration>) {
        let shared = Arc::clone(&self.shared);
        let mut worked = false;
        loop {
            if self.in_flight.len() >= shared.options.in_flight {
                return (worked, None);
            }
            let mut inner = shared.inner.lock();
            let now = shared.now();
            let (next, due) = self.choose(&mut inner, now);
            inner.in_flight = self.in_flight.len() + usize::from(next.is_some());
            drop(inner);
            let Some(next) = next else {
                return (worked, due);
            };
            match next {
                Next::Frame(frame) => self.submit_frame(frame),
                Next::Span(span) => self.submit_span_piece(span),
                Next::Control => self.submit_control(false),
                Next::Close => self.submit_control(true),
            }
            self.slot_freed = false;
            worked = true;
        }
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
        let open_len = inner.open.as_ref().map_or(0, |open| open.len);
        let eager = idle || self.slot_freed || closing || open_len >= options.eager_bytes;
        if inner.staged.is_empty() && open_len > 0 && eager {
            let open = inner.open.take().expect("it has a length");
            inner.staged.push_back(Staged::Frame(open));
        }
        if let Some(staged) = inner.staged.front() {
            let padded = self.padded_bytes(staged);
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
            let bytes = frame::HEADER_LEN + inner.pending.encode().len();
            return match self.make_room(inner, bytes as u64, false) {
                Fit::Now => {
                    self.last_control_on_full = blocked.then_some(now);
                    (Some(Next::Control), None)
                }
                // Woken by a completion.
                Fit::Later => (None, None),
                Fit::NoSpace => (None, Some(FULL_DISK_CONTROL_INTERVAL)),
            };
        }
        if closing && idle && (!staged || blocked) {
            return self.choose_close(inner);
        }
        let due = [due, self.quiet_checkpoint(inner, now)].into_iter().flatten().min();
        (None, due.map(|due| due.saturating_sub(now)))
    }

    /// Nothing is left to write but the close mark; behind it the log is closed.
    fn choose_close(&mut self, inner: &mut Inner) -> (Option<Next>, Option<Duration>) {
        if !self.close_marked
            && matches!(self.make_room(inner, frame::HEADER_LEN as u64 + 32, false), Fit::Now)
        {
            // The mark claims everything before it: also a snapshot that a roll has just submitted.
            return (self.in_flight.is_empty().then_some(Next::Close), None);
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

    fn finish(&mut self, inner: &mut Inner, mut wakers: Vec<Waker>) {
        if self.shared.options.checkpoint_on_close && !inner.abandoned {
            self.last_checkpoint_of_all = Some(self.checkpoint_now(inner));
        }
        inner.checkpoint_due = None;
        if let Some(stage) = inner.pending.stage.take() {
            wakers.extend(stage.decide(Err(crate::error::LogError::Closed)));
        }
        inner.status = Status::Closed;
        wakers.append(&mut inner.readers);
        wakers.into_iter().for_each(Waker::wake);
        self.shared.keeper.notify_all();
        self.shared.closed.notify_all();
    }

    /// The state behind the last sealed frame, all of which are synced.
    fn checkpoint_now(&self, inner: &Inner) -> Checkpoint {
        debug_assert!(self.in_flight.is_empty());
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
        let news = self.in_flight.is_empty() && self.checkpoint_frame != self.last_frame;
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

    fn align(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(u64::from(self.active.header.alignment))
    }

    fn padded_bytes(&self, staged: &Staged) -> u64 {
        match staged {
            Staged::Frame(frame) => self.align(frame.len as u64),
            Staged::Span(span) => {
                let piece = (self.shared.options.frame_bytes - frame::HEADER_LEN) as u64;
                span.bytes.len() as u64 / piece * (piece + frame::HEADER_LEN as u64)
                    + self.align(frame::HEADER_LEN as u64 + span.bytes.len() as u64 % piece)
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
        // A segment must hold its header, the snapshot, and what we came for.
        let snapshot = self.encode_snapshot(inner);
        let snapshot_len = self.align((frame::HEADER_LEN + snapshot.len()) as u64);
        let wanted = self.active.header.data_offset() + snapshot_len + padded;
        let left = inner.segments.reserve().saturating_sub(1);
        let reserve = if events { EVENTS_RESERVE } else { CONTROL_RESERVE };
        let fits = inner.segments.prepared.front().is_some_and(|next| next.len >= wanted);
        if left < reserve || !fits {
            inner.segments.wanted_bytes = if fits { 0 } else { wanted };
            self.shared.keeper.notify_all();
            let failed = inner.prepare_failed.is_some();
            if events && failed {
                inner.room.closed = true;
            }
            return if failed { Fit::NoSpace } else { Fit::Later };
        }
        if !self.in_flight.is_empty() {
            return Fit::Later;
        }
        self.roll(inner, snapshot);
        Fit::Now
    }

    fn encode_snapshot(&self, inner: &Inner) -> Vec<u8> {
        let mut segments = inner.segments.table();
        if segments.len() == Snapshot::SEGMENTS_MAX {
            segments.remove(0);
        }
        segments.push(self.summary);
        let snapshot = Snapshot { next_event: self.sealed_event, state: self.sealed.clone(), segments };
        let mut bytes = Vec::new();
        record::put_snapshot(&mut bytes, &snapshot);
        bytes
    }

    /// Goes over to the next prepared segment and submits its snapshot.
    fn roll(&mut self, inner: &mut Inner, snapshot: Vec<u8>) {
        let next = inner.segments.prepared.pop_front().expect("checked by the caller");
        inner.segments.sealed.insert(self.active.number(), Some(self.summary));
        inner.segments.active = next.number();
        inner.segments.snapshot_synced = false;
        inner.segments.wanted_bytes = 0;
        inner.counters.rolls += 1;
        let table = inner.segments.table();
        self.offset = next.header.data_offset();
        self.summary = SegmentSummary {
            segment: next.number(),
            salt: next.header.salt,
            first_frame: self.last_frame.next(),
            first_event: self.sealed_event,
            end_event: self.sealed_event,
            ..SegmentSummary::default()
        };
        self.active = next;
        let mut buffer = AlignedBuf::zeroed(self.align((frame::HEADER_LEN + snapshot.len()) as u64) as usize);
        buffer[frame::HEADER_LEN..frame::HEADER_LEN + snapshot.len()].copy_from_slice(&snapshot);
        let place = Place { segment: self.active.number(), offset: self.offset + buffer.len() as u64 };
        let checkpoint = Checkpoint {
            log_id: inner.log_id,
            frame: self.last_frame.next(),
            place,
            snapshot: Snapshot { next_event: self.sealed_event, state: self.sealed.clone(), segments: table },
        };
        inner.in_flight = self.in_flight.len() + 1;
        self.submit(buffer, snapshot.len(), 0, (self.sealed_event, 0), |sent| {
            sent.checkpoint = Some(checkpoint);
        });
        self.shared.keeper.notify_all();
    }

    fn submit_frame(&mut self, mut frame: OpenFrame) {
        for update in &frame.updates {
            self.sealed.apply_progress(update);
        }
        let controls = self.take_pending(frame.buffer.len() - frame.len);
        frame.put(&controls.encode());
        let body_len = frame.len - frame::HEADER_LEN;
        let events = (frame.first_event, frame.events);
        self.submit(frame.buffer, body_len, 0, events, |sent| {
            sent.stage = Some(frame.stage);
            sent.reserved = frame.reserved;
            sent.controls = controls;
        });
    }

    fn submit_span_piece(&mut self, mut span: Span) {
        let mut buffer = self.shared.pool.get();
        let room = buffer.len() - frame::HEADER_LEN;
        let rest = &span.bytes[span.sent..];
        let piece = &rest[..rest.len().min(room)];
        buffer[frame::HEADER_LEN..frame::HEADER_LEN + piece.len()].copy_from_slice(piece);
        let piece_len = piece.len();
        span.sent += piece_len;
        if span.sent < span.bytes.len() {
            self.submit(buffer, piece_len, FLAG_SPAN | FLAG_MORE, (span.first_event, 0), |_| {});
            self.span = Some(span);
            return;
        }
        for update in &span.updates {
            self.sealed.apply_progress(update);
        }
        let events = (span.first_event, span.events);
        self.submit(buffer, piece_len, FLAG_SPAN, events, |sent| {
            sent.stage = Some(span.stage);
            sent.reserved = span.reserved;
        });
    }

    /// A frame of control records alone; also the housekeeping frame that vouches for a burst's end, and the close mark.
    fn submit_control(&mut self, close: bool) {
        let controls = self.take_pending(usize::MAX);
        let mut body = controls.encode();
        if close {
            assert_eq!(self.synced_frame, self.last_frame, "a close mark claims what is synced");
            record::put_close(&mut body, self.synced_frame);
            self.close_marked = true;
        }
        let mut buffer = AlignedBuf::zeroed(self.align((frame::HEADER_LEN + body.len()) as u64) as usize);
        buffer[frame::HEADER_LEN..frame::HEADER_LEN + body.len()].copy_from_slice(&body);
        self.shared.inner.lock().counters.control_frames += 1;
        self.submit(buffer, body.len(), 0, (self.sealed_event, 0), |sent| {
            sent.controls = controls;
            sent.closes = close;
        });
    }

    /// Pending control records if they fit in `room` bytes; they are sealed now.
    fn take_pending(&mut self, room: usize) -> Pending {
        let mut inner = self.shared.inner.lock();
        if inner.pending.is_empty() {
            return Pending::default();
        }
        let len = 16
            + 16 * inner.pending.released.len()
            + inner.pending.updates.iter().map(crate::state::ProgressUpdate::encoded_len).sum::<usize>();
        if len + 64 > room {
            return Pending::default();
        }
        let pending = std::mem::take(&mut inner.pending);
        drop(inner);
        for &(first, end) in &pending.released {
            self.sealed.apply_release(first, end);
        }
        for update in &pending.updates {
            self.sealed.apply_progress(update);
        }
        pending
    }

    /// Seals and submits one frame whose body stands in `buffer` behind the header's place.
    fn submit(
        &mut self,
        mut buffer: AlignedBuf,
        body_len: usize,
        flags: u8,
        (first_event, event_count): (u64, u32),
        fill: impl FnOnce(&mut Sent),
    ) {
        // A queue may start a write as late as its next wait: the disk shall work while this frame is sealed.
        self.queue.start();
        let end = frame::HEADER_LEN + body_len;
        let padded = self.align(end as u64) as usize;
        buffer[end..padded].fill(0);
        let header = FrameHeader {
            body_crc: 0,
            stored_len: u32::try_from(body_len).expect("a frame below 4 GiB"),
            flags,
            frame: self.last_frame.next(),
            first_event,
            event_count,
            previous_crc: self.last_crc,
            synced_frame: self.synced_frame,
        };
        // Dense event numbers are what a reader finds its place by.
        assert_eq!(first_event, self.sealed_event, "events are sealed in the order of their numbers");
        assert!(self.offset + padded as u64 <= self.active.len, "a frame within its segment");
        let seed = Seed::new(self.active.header.salt, self.active.number(), self.offset);
        self.last_crc = header.seal(&mut buffer, seed);
        self.last_frame = header.frame;
        self.sealed_event = header.end_event();
        let buffer = Arc::new(buffer);
        let token = self.next_token;
        self.next_token += 1;
        let mut sent = Sent {
            token,
            header,
            offset: self.offset,
            buffer: Arc::clone(&buffer),
            stage: None,
            reserved: 0,
            controls: Pending::default(),
            low: self.sealed.cursor.low,
            checkpoint: None,
            closes: false,
            done: false,
        };
        fill(&mut sent);
        self.in_flight.push_back(sent);
        self.unclaimed_since = None;
        let file = Arc::clone(&self.active.file);
        let offset = self.offset;
        self.offset += padded as u64;
        self.summary.last_frame = header.frame;
        self.summary.end_event = self.sealed_event;
        self.summary.end_offset = self.offset;
        self.queue.submit(Write { token, file, buffer, len: padded, offset });
    }

    /// Takes completions; acks the unbroken prefix.
    fn complete(&mut self) {
        let mut done = std::mem::take(&mut self.done);
        for completion in done.drain(..) {
            let sent = self.in_flight.iter_mut().find(|sent| sent.token == completion.token);
            let sent = sent.expect("a completion of a frame in flight");
            match completion.result {
                Ok(()) => sent.done = true,
                Err(source) => {
                    let offset = sent.offset;
                    return self.fail("write", offset, source);
                }
            }
        }
        self.done = done;
        if !self.in_flight.front().is_some_and(|sent| sent.done) {
            return;
        }
        let mut wakers = Vec::new();
        let now = self.shared.now();
        let mut inner = self.shared.inner.lock();
        let mut readable = false;
        while self.in_flight.front().is_some_and(|sent| sent.done)
            && let Some(sent) = self.in_flight.pop_front()
        {
            self.synced_frame = sent.header.frame;
            inner.counters.frames += 1;
            inner.counters.frame_bytes += sent.header.padded_len(self.active.header.alignment);
            wakers.extend(inner.room.give(sent.reserved));
            inner.synced_low = inner.synced_low.max(sent.low);
            for stage in sent.stage.iter().chain(&sent.controls.stage) {
                wakers.extend(stage.decide(Ok(())));
            }
            if sent.header.event_count > 0 {
                readable = true;
                let end = sent.header.end_event();
                self.synced_event = end;
                if sent.header.is_span() {
                    self.shared.recycle(sent.buffer);
                } else {
                    let body_len = sent.header.stored_len as usize;
                    inner.cache.insert(
                        sent.buffer,
                        body_len,
                        sent.header.first_event,
                        end,
                        &self.shared.pool,
                    );
                }
                if inner.ages.back().is_none_or(|(_, since)| now - *since >= AGE_STEP) {
                    inner.ages.push_back((end, now));
                } else if let Some(last) = inner.ages.back_mut() {
                    last.0 = end;
                }
            } else {
                self.shared.recycle(sent.buffer);
            }
            if let Some(checkpoint) = sent.checkpoint {
                inner.segments.snapshot_synced = true;
                // The snapshot itself bounds recovery: a checkpoint at each roll of a fast log would only cost syncs.
                if now - self.last_checkpoint >= ROLL_CHECKPOINT_INTERVAL {
                    self.checkpoint_frame = checkpoint.frame;
                    inner.checkpoint_due = Some(checkpoint);
                    self.last_checkpoint = now;
                }
            }
            // A close mark, or a frame that only vouched for others, needs nobody to vouch for it.
            let has_content = sent.header.event_count > 0 || !sent.controls.is_empty();
            if has_content && self.in_flight.is_empty() && !sent.closes {
                self.unclaimed_since = Some(now);
            }
        }
        self.slot_freed = true;
        inner.in_flight = self.in_flight.len();
        if readable {
            wakers.extend(self.shared.publish(&mut inner, self.synced_event));
        }
        let low = inner.visible.cursor.low;
        while inner.ages.front().is_some_and(|(end, _)| *end <= low) {
            inner.ages.pop_front();
        }
        let keep = inner.segments.releasable(inner.synced_low).is_some() || inner.checkpoint_due.is_some();
        drop(inner);
        if keep {
            self.shared.keeper.notify_all();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The log has failed: everything on its way is unknown.
    fn fail(&mut self, stage: &'static str, offset: u64, source: std::io::Error) {
        let path = path_of(&*self.shared.dirs.data, &self.active.number().file_name());
        let failure = Arc::new(Failure { stage, path, offset, source });
        let error = crate::error::LogError::Failed(Arc::clone(&failure));
        let mut wakers = Vec::new();
        let now = self.shared.now();
        let mut inner = self.shared.inner.lock();
        let closing = matches!(inner.status, Status::Closing);
        inner.abandoned |= closing;
        inner.status = Status::Failed(failure);
        let mut reserved = 0;
        let carried = std::mem::take(&mut inner.pending);
        let mut pending = Pending::default();
        for sent in self.in_flight.drain(..) {
            reserved += sent.reserved;
            if let Some(stage) = sent.stage {
                wakers.extend(stage.decide(Err(error.clone())));
            }
            if let Some(stage) = sent.controls.stage {
                wakers.extend(stage.decide(Err(error.clone())));
            }
            // Releases and sinks' progress are carried over: they speak of events by number.
            sent.controls.released.iter().for_each(|&(first, end)| pending.release(first, end, now));
            sent.controls.updates.into_iter().for_each(|update| pending.update(update, now));
        }
        carried.released.iter().for_each(|&(first, end)| pending.release(first, end, now));
        carried.updates.into_iter().for_each(|update| pending.update(update, now));
        if let Some(stage) = carried.stage {
            wakers.extend(stage.decide(Err(error.clone())));
        }
        inner.pending = pending;
        let open = inner.open.take().map(Staged::Frame);
        let span = self.span.take().map(Staged::Span);
        let staged: Vec<_> = span.into_iter().chain(inner.staged.drain(..)).chain(open).collect();
        for staged in staged {
            reserved += staged.reserved();
            wakers.extend(staged.stage().decide(Err(error.clone())));
        }
        wakers.extend(inner.room.give(reserved));
        wakers.extend(inner.room.wakers());
        wakers.append(&mut inner.readers);
        inner.in_flight = 0;
        drop(inner);
        self.reopen_at = Some(now);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Recovers in process: the same path as a start, but for the lock. Returns whether anything was done, and how long
    /// until the next attempt.
    fn try_reopen(&mut self) -> (bool, Option<Duration>) {
        let mut worked = false;
        // No write of the failed life may land in what recovery reads.
        while self.queue.in_flight() > 0 {
            self.queue.wait(None, &mut self.done);
            self.done.clear();
            worked = true;
        }
        let now = self.shared.now();
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
        if inner.abandoned {
            self.finish(&mut inner, Vec::new());
            return (true, None);
        }
        drop(inner);
        if let Some(at) = self.reopen_at.filter(|at| now < *at) {
            return (worked, Some(at - now));
        }
        let files = self.shared.files.lock();
        let begun = recovery::recover(&self.shared.dirs).and_then(|recovered| {
            life::begin(&self.shared.dirs, &self.shared.options, &*self.shared.environment, recovered)
        });
        let life = match begun {
            Ok(life) => life,
            Err(_again) => {
                drop(files);
                // The first failure stays the one that is reported: it is the cause.
                self.reopen_at = Some(now + self.reopen_delay);
                self.reopen_delay = (self.reopen_delay * 2).min(self.shared.options.reopen_delay_max);
                return (true, Some(self.reopen_delay));
            }
        };
        self.reopen_delay = REOPEN_DELAY_MIN;
        let mut inner = self.shared.inner.lock();
        inner.renew(&life, &self.shared.options, now);
        let mut wakers = self.shared.publish(&mut inner, life.next_event);
        wakers.extend(inner.room.wakers());
        drop(inner);
        drop(files);
        self.synced_event = life.next_event;
        self.sealed_event = life.next_event;
        self.summary = life.summary;
        self.offset = life.offset;
        self.last_frame = life.last_frame;
        self.last_crc = life.last_crc;
        self.synced_frame = life.last_frame;
        self.sealed = life.state;
        self.active = life.active;
        self.slot_freed = false;
        self.unclaimed_since = None;
        self.close_marked = false;
        self.shared.keeper.notify_all();
        wakers.into_iter().for_each(Waker::wake);
        (true, None)
    }
}

/// A submitter that panics takes nobody along who waits for it.
impl Drop for Submitter {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut wakers = Vec::new();
        let mut inner = self.shared.inner.lock();
        let staged = inner.staged.drain(..).collect::<Vec<_>>();
        let open = inner.open.take().map(Staged::Frame);
        let span = self.span.take().map(Staged::Span);
        let stages = staged.into_iter().chain(open).chain(span).map(|staged| Arc::clone(staged.stage()));
        let sent = self.in_flight.drain(..).filter_map(|sent| sent.stage);
        for stage in sent.chain(stages).chain(inner.pending.stage.take()) {
            wakers.extend(stage.decide(Err(crate::error::LogError::Closed)));
        }
        inner.status = Status::Closed;
        wakers.extend(inner.room.wakers());
        wakers.append(&mut inner.readers);
        drop(inner);
        self.shared.keeper.notify_all();
        wakers.into_iter().for_each(Waker::wake);
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
const EVENTS_RESERVE: usize = 2;
/// Segments that control frames leave untouched: the one for the next start.
const CONTROL_RESERVE: usize = 1;

/// Checkpoints at rolls come no more often than this.
const ROLL_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(250);

/// Resolution of the age of the oldest event.
const AGE_STEP: Duration = Duration::from_millis(100);

impl Shared {
    fn recycle(&self, buffer: Arc<AlignedBuf>) {
        if let Some(buffer) = Arc::into_inner(buffer) {
            self.pool.put(buffer);
        }
    }
}
