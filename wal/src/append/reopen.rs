//! A log that failed: every commit on its way is told so, and the log is opened again in process.
//!
//! A failed commit is unknown, not undone: its frame may be on the disk, and recovery decides by what it reads there. What
//! callers said and is not durable yet (releases, sinks' progress) is carried over, for it speaks of events by number.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::staging::{Pending, Staged};
use super::writer::{REOPEN_DELAY_MIN, Writer};
use crate::error::Failure;
use crate::recovery::{self, life};
use crate::segment::file::path_of;
use crate::shared::Status;
use crate::sync::{Mutex, thread};

/// What cannot be done any more, in the failure of a log whose queue is broken.
const BROKEN: &str = "use the write queue of";

/// How long a log whose queue is broken waits: whoever closes it wakes it.
const UNTIL_CLOSED: Duration = Duration::from_secs(3600);

impl Writer {
    /// The log has failed: everything on its way is unknown.
    pub(super) fn fail(&mut self, stage: &'static str, offset: u64, source: io::Error) {
        let path = path_of(&*self.shared.dirs.data, &self.active.number().file_name());
        let failure = Arc::new(Failure { stage, path, offset, source });
        let error = crate::error::LogError::Failed(Arc::clone(&failure));
        let mut wakers = Vec::new();
        let now = self.shared.now();
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
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
        inner.commits_in_flight = 0;
        self.forget_unsynced(&mut inner);
        drop(inner);
        let again = self.reopen_delay > REOPEN_DELAY_MIN;
        self.reopen_at = Some(if again { now + self.reopen_delay } else { now });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Recovers in process: the same path as a start, but for the lock. No write is in flight. Returns whether anything was done,
    /// and how long until the next attempt.
    ///
    /// `broken`: writes that count as failed may still land, in what a recovery would read and truncate. Then there is none: the
    /// log stays failed and says why until it is closed, and the next opening waits for the lock, which is held until the
    /// kernel has ended those writes.
    pub(super) fn try_reopen(&mut self, broken: Option<io::Error>) -> (bool, Option<Duration>) {
        let now = self.shared.now();
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
        if inner.abandoned {
            self.finish(&mut inner, Vec::new());
            return (true, None);
        }
        if let Some(broken) = broken {
            let known = matches!(&inner.status, Status::Failed(failure) if failure.stage == BROKEN);
            if !known {
                let why = format!("{broken}; writes may still be on their way: restart the process");
                let path = self.shared.dirs.data.path().to_path_buf();
                let source = io::Error::new(broken.kind(), why);
                let failure = Failure { stage: BROKEN, path, offset: self.offset, source };
                inner.status = Status::Failed(Arc::new(failure));
            }
            return (!known, Some(UNTIL_CLOSED));
        }
        drop(inner);
        if let Some(at) = self.reopen_at.filter(|at| now < *at) {
            return (false, Some(at - now));
        }
        // Also of files in the page cache: before a sync that said yes, none of the file's writes had failed.
        let known = recovery::Known {
            synced_frame: self.synced_frame,
            synced_event: self.synced_event,
            acked_event: self.acked_event,
        };
        let files = self.shared.files.lock();
        let mut found = (Vec::new(), None);
        let begun = recovery::recover(&self.shared.dirs, known).and_then(|mut recovered| {
            found = (std::mem::take(&mut recovered.damage), recovered.missing_below);
            life::begin(&self.shared.dirs, &self.shared.options, &*self.shared.environment, recovered)
        });
        {
            // An attempt that fails later may have written enough for the next one to begin behind what this one found.
            let mut inner = self.shared.inner.lock();
            let known = std::mem::take(&mut inner.found_damage);
            let new = found.0.into_iter().filter(|damage| !known.contains(damage)).collect::<Vec<_>>();
            inner.found_damage = known.into_iter().chain(new).collect();
            inner.found_missing = found.1.max(inner.found_missing);
        }
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
        // A disk that can be read and not written must not be reopened over and over: the first synced frame ends this.
        self.reopen_delay = (self.reopen_delay * 2).min(self.shared.options.reopen_delay_max);
        let mut inner = self.shared.inner.lock();
        inner.renew(&life, &self.shared.options, now);
        let mut wakers = self.shared.publish(&mut inner, life.next_event);
        wakers.extend(inner.room.wakers());
        drop(inner);
        drop(files);
        self.acked_event = life.next_event;
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
        // What was carried over is due, and the log may have been closed meanwhile.
        (true, Some(Duration::ZERO))
    }
}

impl Writer {
    /// Somebody panicked with the writer in hand, or with what it needs: what it says is not to be trusted any more. Nobody
    /// waits for it in vain: frames that nobody will write decide their commits' fate when they are dropped.
    pub(super) fn abandon(&mut self) {
        let mut inner = self.shared.inner.lock();
        let staged = std::mem::take(&mut inner.staged);
        let undecided = (staged, inner.open.take(), inner.pending.stage.take(), self.span.take());
        let sent = std::mem::take(&mut self.in_flight);
        inner.status = Status::Closed;
        inner.panicked = true;
        let mut wakers = inner.room.wakers();
        wakers.append(&mut inner.readers);
        drop(inner);
        drop((undecided, sent));
        self.shared.keeper.notify_all();
        self.shared.closed.notify_all();
        // The lock goes with the submitter.
        self.shared.wake.wake();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Closes the log if the thread that holds this panics.
#[derive(Debug)]
pub struct Guard(Arc<Mutex<Writer>>);

impl Guard {
    pub fn new(writer: Arc<Mutex<Writer>>) -> Self {
        Self(writer)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().abandon();
        }
    }
}
