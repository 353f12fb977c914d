//! Writes in flight to files in pieces: each part of a write is a write of its own in one queue beneath, which does not ask
//! in which directory a file lies. A write completes when all of its parts have, and has failed if one of them has.
//!
//! The queue beneath returns for each part. Only what is whole is handed on, so that a wake that came together with a part
//! is remembered here until the caller has heard of it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::storage::{Completion, Wake, Write, WriteQueue, aligned};

/// How many parts of one write are in flight at once; others wait for these.
pub(super) const PARTS_IN_FLIGHT: usize = 8;

pub(super) struct StripedQueue {
    inner: Box<dyn WriteQueue>,
    alignment: usize,
    depth: usize,
    inner_depth: usize,
    /// By the number that is the inner token's upper part.
    writes: Vec<Option<Whole>>,
    in_flight: usize,
    /// Parts that found no room in the queue beneath.
    waiting: VecDeque<Write>,
    refused: Vec<Completion>,
    /// What the queue beneath completed.
    parts: Vec<Completion>,
    waker: Arc<StripedWake>,
    user: Option<ThreadId>,
}

/// A write of which some parts are not done.
#[derive(Debug)]
struct Whole {
    token: u64,
    left: usize,
    result: io::Result<()>,
}

impl fmt::Debug for StripedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripedQueue")
            .field("inner", &self.inner)
            .field("in_flight", &self.in_flight)
            .finish()
    }
}

impl StripedQueue {
    /// `inner` takes `depth` times [`PARTS_IN_FLIGHT`] writes.
    pub(super) fn new(inner: Box<dyn WriteQueue>, depth: usize, alignment: usize) -> Self {
        let waker = Arc::new(StripedWake { woken: AtomicBool::new(false), inner: inner.waker() });
        Self {
            inner,
            alignment,
            depth,
            inner_depth: depth * PARTS_IN_FLIGHT,
            writes: (0..depth).map(|_| None).collect(),
            in_flight: 0,
            waiting: VecDeque::new(),
            refused: Vec::new(),
            parts: Vec::new(),
            waker,
            user: None,
        }
    }

    fn hand_down(&mut self) {
        while self.inner.in_flight() < self.inner_depth {
            let Some(part) = self.waiting.pop_front() else { return };
            self.inner.submit(part);
        }
    }

    /// Waits in the queue beneath, and hands on what is whole. Returns whether anything was done.
    fn wait_for_parts(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> bool {
        self.hand_down();
        self.inner.wait(timeout, &mut self.parts);
        let some = !self.parts.is_empty();
        for part in self.parts.drain(..) {
            let index = (part.token >> PART_BITS) as usize;
            let Some(whole) = self.writes.get_mut(index).and_then(Option::as_mut) else { continue };
            if whole.result.is_ok() {
                whole.result = part.result;
            }
            whole.left -= 1;
            if whole.left == 0
                && let Some(Whole { token, result, .. }) = self.writes[index].take()
            {
                self.in_flight -= 1;
                done.push(Completion { token, result });
            }
        }
        self.hand_down();
        some
    }
}

/// Lower bits of a token beneath, for the part; the rest is the write's index.
const PART_BITS: u32 = 32;

impl WriteQueue for StripedQueue {
    fn submit(&mut self, write: Write) {
        assert!(self.in_flight() < self.depth, "more than {} writes in flight", self.depth);
        if let Err(error) = aligned::bytes_of(self.alignment, &write) {
            self.refused.push(Completion { token: write.token, result: Err(error) });
            return;
        }
        self.user.get_or_insert_with(|| thread::current().id());
        let index = self.writes.iter().position(Option::is_none).expect("fewer writes in flight than places");
        let before = self.waiting.len();
        match write.file.parts(write.offset, write.len) {
            None => self.waiting.push_back(Write { token: (index as u64) << PART_BITS, ..write }),
            Some(parts) => {
                let mut from = write.from;
                for (number, part) in (0..).zip(parts) {
                    self.waiting.push_back(Write {
                        token: (index as u64) << PART_BITS | number,
                        file: part.file,
                        buffer: Arc::clone(&write.buffer),
                        from,
                        len: part.len,
                        offset: part.offset,
                        durable: write.durable,
                    });
                    from += part.len;
                }
            }
        }
        let left = self.waiting.len() - before;
        if left == 0 {
            self.refused.push(Completion { token: write.token, result: Ok(()) });
            return;
        }
        self.writes[index] = Some(Whole { token: write.token, left, result: Ok(()) });
        self.in_flight += 1;
        self.hand_down();
    }

    fn start(&mut self) {
        self.inner.start();
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        self.user.get_or_insert_with(|| thread::current().id());
        let before = done.len();
        done.append(&mut self.refused);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let rest = match deadline {
                _ if done.len() > before => Some(Duration::ZERO),
                Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                None => None,
            };
            let some = self.wait_for_parts(rest, done);
            let woken = self.waker.woken.swap(false, Ordering::Acquire);
            // Without a part, the queue beneath has waited as long as it was to, or was woken.
            if done.len() > before || woken || !some {
                return;
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight + self.refused.len()
    }

    fn broken(&self) -> Option<io::Error> {
        self.inner.broken()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }
}

impl Drop for StripedQueue {
    /// All that was submitted lands, and nothing afterwards.
    fn drop(&mut self) {
        // A queue may be used by one thread only: what waits still is then never written, which is as good.
        if self.user.is_none_or(|user| user == thread::current().id()) {
            let mut done = Vec::new();
            while !self.waiting.is_empty() {
                self.wait_for_parts(None, &mut done);
            }
        }
    }
}

#[derive(Debug)]
struct StripedWake {
    woken: AtomicBool,
    inner: Arc<dyn Wake>,
}

impl Wake for StripedWake {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.inner.wake();
    }
}
