//! A committer that writes for itself.
//!
//! A blocking append has a thread that can do nothing but wait. Where its frame may go out at once, that thread seals and
//! writes it: a hand-over to the submitter and the way back would cost a lone commit a fifth of its time. Everybody else
//! whose commits share the frame is woken by it. What the submitter alone may do (rolling, spans, control frames, the close
//! mark) it leaves to the submitter, and so it does with what was staged while it wrote.
//!
//! A process that is killed here holds the directory's lock until the write has ended: the lock is a descriptor of the
//! process, whose last thread ends with the system call.

use std::sync::Arc;
use std::task::Waker;

use crate::append::writer::{EVENTS_RESERVE, Writer};
use crate::format::frame;
use crate::shared::{Inner, Shared, Status};
use crate::storage::{Completion, Write};
use crate::sync::{Mutex, thread};

/// Writes the open frame on this thread, or wakes the submitter to do it.
pub fn write_here(shared: &Shared, writer: &Mutex<Writer>) {
    let mut guard = Guard { writer, leads: false };
    let sealed = writer.try_lock().and_then(|mut writer| writer.seal_for_committer());
    let Some(write) = sealed else { return shared.wake.wake() };
    guard.leads = true;
    let bytes = &write.buffer[write.from..write.from + write.len];
    let result = match write.durable {
        true => write.file.write_durable_at(bytes, write.offset),
        false => write.file.write_at(bytes, write.offset),
    };
    let completion = Completion { token: write.token, result };
    // The buffer is lent to readers, and goes back to the pool, only by who holds it alone.
    drop(write);
    guard.leads = false;
    let (wakers, wanted) = writer.lock().complete_led(completion);
    if wanted {
        shared.wake.wake();
    }
    wakers.into_iter().for_each(Waker::wake);
}

impl Writer {
    /// Seals the open frame for the caller to write, if it may go out now and nothing comes before it.
    fn seal_for_committer(&mut self) -> Option<Write> {
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
        let ready = matches!(inner.status, Status::Open)
            && self.in_flight.len() < shared.options.in_flight
            && self.span.is_none()
            && inner.staged.is_empty()
            && !inner.room.closed
            && inner.segments.reserve() >= EVENTS_RESERVE;
        if !ready || !inner.open.as_ref().is_some_and(|open| self.goes(&inner, open)) {
            return None;
        }
        let now = shared.now();
        let left = self.active.len - self.offset;
        if inner.open.as_ref().is_some_and(|open| self.overtakes(&inner, self.room_beside(open), now)) {
            return None;
        }
        // This thread would write the parts of a large one, for several disks, one after the other.
        let at_once =
            |len: u64| self.active.file.parts(self.offset, len as usize).is_none_or(|parts| parts.len() < 2);
        let open = inner.open.take_if(|open| {
            let len = self.framed(open.len - frame::HEADER_LEN);
            open.is_whole() && !open.stage.is_spoilt() && len <= left && at_once(len)
        })?;
        inner.gathering.goes(open.committers.unwrap_or(0));
        inner.in_flight = self.in_flight.len() + 1;
        inner.commits_in_flight = self.commits_in_flight() + 1;
        drop(inner);
        self.seal(super::writer::Next::Frame(open));
        self.led += 1;
        self.outgoing.pop()
    }

    /// Returns who is to be woken, and whether the submitter has something to do.
    fn complete_led(&mut self, completion: Completion) -> (Vec<Waker>, bool) {
        self.led -= 1;
        // After a failure nothing is in flight any more: the write's fate is decided, and its result is nobody's.
        let known = self.in_flight.iter().any(|sent| sent.token == completion.token);
        let wakers = if known { self.complete([completion]) } else { Vec::new() };
        let shared = Arc::clone(&self.shared);
        let inner = shared.inner.lock();
        let waiting = inner.open.as_ref().is_some_and(|open| self.goes(&inner, open));
        let wanted = !matches!(inner.status, Status::Open)
            || ((waiting || !inner.staged.is_empty()) && self.in_flight.len() < shared.options.in_flight)
            || self.alarm_is_late(&inner);
        (wakers, wanted)
    }

    /// Whether something is due before the submitter looks again by itself.
    fn alarm_is_late(&self, inner: &Inner) -> bool {
        let options = &self.shared.options;
        let control = inner.pending.since.map(|since| since + options.release_delay);
        let claim = self.unclaimed_since.map(|since| since + options.idle_delay);
        let due = control.into_iter().chain(claim).chain(self.sync_due()).min();
        due.is_some_and(|due| self.alarm.is_none_or(|alarm| alarm > due))
    }
}

struct Guard<'a> {
    writer: &'a Mutex<Writer>,
    /// A write of this thread counts as one in flight.
    leads: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut writer = self.writer.lock();
            writer.led -= usize::from(self.leads);
            writer.abandon();
        }
    }
}
