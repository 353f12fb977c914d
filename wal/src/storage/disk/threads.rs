//! The queue without io_uring: each write is carried out by one of a few threads.
//!
//! The lock needs no help here: it is a descriptor of the process, and those of a killed process are closed when its last
//! thread is gone, hence after the last system call that could still write.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::mailbox::Mailbox;
use crate::storage::{Completion, Lock, Wake, Write, WriteQueue};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

/// More do not make a disk faster; queued writes beyond wait for a thread.
const THREADS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct ThreadQueue {
    depth: usize,
    in_flight: usize,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Given back after the threads are joined.
    _lock: Box<dyn Lock>,
}

#[derive(Debug)]
struct Shared {
    alignment: usize,
    jobs: Mutex<Jobs>,
    more: Condvar,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Write>,
    closed: bool,
}

impl ThreadQueue {
    pub(crate) fn new(lock: Box<dyn Lock>, depth: usize, alignment: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            alignment,
            jobs: Mutex::new(Jobs::default()),
            more: Condvar::new(),
            mailbox: Arc::default(),
        });
        let mut queue = Self { depth, in_flight: 0, shared, threads: Vec::new(), _lock: lock };
        for number in 0..depth.clamp(1, THREADS_MAX) {
            let shared = queue.shared.clone();
            let builder = thread::Builder::new().name(format!("wal-write-{number}"));
            // Those that were started before a failure end with `queue`.
            queue.threads.push(builder.spawn(move || shared.work())?);
        }
        Ok(queue)
    }
}

impl Shared {
    fn work(&self) {
        while let Some(write) = self.next() {
            let result = write.carry_out(self.alignment);
            let token = write.token;
            // The completion says that the buffer is free.
            drop(write);
            self.mailbox.post(Completion { token, result });
        }
    }

    fn next(&self) -> Option<Write> {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(write) = jobs.waiting.pop_front() {
                return Some(write);
            }
            if jobs.closed {
                return None;
            }
            self.more.wait(&mut jobs);
        }
    }
}

impl WriteQueue for ThreadQueue {
    fn submit(&mut self, write: Write) {
        assert!(self.in_flight < self.depth, "more than {} writes in flight", self.depth);
        self.in_flight += 1;
        self.shared.jobs.lock().waiting.push_back(write);
        self.shared.more.notify_one();
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        self.in_flight -= self.shared.mailbox.collect(timeout, done);
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.shared.mailbox.clone()
    }
}

impl Drop for ThreadQueue {
    fn drop(&mut self) {
        self.shared.jobs.lock().closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has no write in flight any more, which is all that matters here.
            thread.join().ok();
        }
    }
}
