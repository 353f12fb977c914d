//! The thread that keeps writes in flight.
//!
//! ```text
//!   submit what is staged -> wake whose commits are synced -> wait for completions or a wake -> complete
//! ```
//!
//! It shares the [`Writer`] with committers that write for themselves (see [`super::lead`]) and holds its lock for no I/O
//! but that of a reopen and of the last checkpoint.
//! The next write goes to the device before anybody is woken: the device shall not wait for them.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::append::writer::Writer;
use crate::shared::{Shared, Status};
use crate::storage::{Completion, Lock, WriteQueue};
use crate::sync::{Mutex, thread};

/// Owns the write queue.
#[derive(Debug)]
pub struct Submitter {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    queue: Box<dyn WriteQueue>,
    /// The checkpoint directory's lock; the data directory's is held by the queue.
    _checkpoint_lock: Option<Box<dyn Lock>>,
    done: Vec<Completion>,
    /// Who is to be told of what was completed.
    wakers: Vec<Waker>,
}

impl Submitter {
    pub fn new(
        shared: Arc<Shared>,
        writer: Arc<Mutex<Writer>>,
        queue: Box<dyn WriteQueue>,
        checkpoint_lock: Option<Box<dyn Lock>>,
    ) -> Self {
        Self {
            shared,
            writer,
            queue,
            _checkpoint_lock: checkpoint_lock,
            done: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// Works until the log is closed.
    pub fn run(&mut self) {
        while !matches!(self.status(), Status::Closed) {
            self.turn(None);
        }
        self.turn(None);
    }

    /// Submits what can be submitted, then waits for completions: at most `wait` (`None`: as long as nothing is due).
    /// Returns whether anything was done.
    pub fn turn(&mut self, wait: Option<Duration>) -> bool {
        let shared = Arc::clone(&self.writer);
        let mut writer = shared.lock();
        let (mut worked, due) = match self.status() {
            // The keeper may be gone when the log is closed, and the lock goes with this thread.
            Status::Closed => (writer.write_last_checkpoint(), None),
            // A committer's write: its end wakes us.
            Status::Failed(_) if writer.led > 0 => (false, None),
            Status::Failed(_) => {
                let drained = self.drain();
                let (reopened, due) = writer.try_reopen(self.queue.broken());
                (drained || reopened, due)
            }
            Status::Open | Status::Closing => self.submit_all(&mut writer),
        };
        worked |= !self.wakers.is_empty();
        let after = self.status();
        let closed = matches!(after, Status::Closed);
        // Failed just now, and not by a completion: the next turn reopens.
        let failed = due.is_none() && writer.led == 0 && matches!(after, Status::Failed(_));
        worked |= failed;
        let timeout = match (wait, due) {
            (Some(wait), _) => Some(wait),
            _ if failed => Some(Duration::ZERO),
            // Something may become due while writes are in flight, but a completion comes first.
            (None, _) if self.queue.in_flight() > 0 => None,
            (None, due) => due,
        };
        writer.alarm = timeout.map(|timeout| self.shared.now() + timeout);
        drop(writer);
        if !self.wakers.is_empty() {
            self.queue.start();
            self.wakers.drain(..).for_each(Waker::wake);
        }
        if closed {
            return worked;
        }
        self.queue.wait(timeout, &mut self.done);
        if !self.done.is_empty() {
            worked = true;
            self.wakers = shared.lock().complete(self.done.drain(..));
        }
        worked
    }

    fn submit_all(&mut self, writer: &mut Writer) -> (bool, Option<Duration>) {
        let mut worked = false;
        loop {
            let (next, due) = writer.next();
            worked |= self.hand_over(writer);
            let Some(next) = next else { return (worked, due) };
            // A queue may start a write as late as its next wait: the disk shall work while this frame is sealed.
            self.queue.start();
            writer.seal(next);
            worked |= self.hand_over(writer);
        }
    }

    fn hand_over(&mut self, writer: &mut Writer) -> bool {
        let some = !writer.outgoing.is_empty();
        writer.outgoing.drain(..).for_each(|write| self.queue.submit(write));
        some
    }

    /// Reaps what the failed life has in flight: none of it may land in what recovery reads.
    fn drain(&mut self) -> bool {
        let some = self.queue.in_flight() > 0;
        while self.queue.in_flight() > 0 {
            self.queue.wait(None, &mut self.done);
            self.done.clear();
        }
        some
    }

    fn status(&self) -> Status {
        self.shared.inner.lock().status.clone()
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        if thread::panicking() {
            self.writer.lock().abandon();
        }
        // The lock goes with the queue. What is still going on must not land in what somebody else opens: a job of the keeper,
        // and after a panic writes of committers.
        drop(self.shared.files.lock());
        while self.writer.lock().led > 0 {
            self.queue.wait(Some(LED_WAIT), &mut self.done);
            self.done.clear();
        }
    }
}

/// How long to wait before looking again whether committers still write: none of them says so.
const LED_WAIT: Duration = Duration::from_millis(5);
