//! Tickets: who appended learns when it is durable.
//!
//! One [`Stage`] for each frame of commits, shared by all its tickets: a completion wakes only those whose frame is done. The
//! stage goes with the frame, the tickets hold the [`Fate`] alone. So a frame that is dropped wherever a panic met it leaves
//! nobody waiting.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::LogError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, Mutex, thread};

/// Decides the fate of the commits that share a frame; held by what is to be written.
#[derive(Debug, Default)]
pub struct Stage {
    /// A commit's bytes are not what its caller meant to append.
    spoilt: AtomicBool,
    fate: Arc<Fate>,
}

/// The fate of the commits that share a frame.
#[derive(Debug, Default)]
struct Fate {
    /// Set after `decided`, so that a ticket that is done costs no lock.
    synced: AtomicBool,
    decided: Mutex<Decided>,
}

#[derive(Debug, Default)]
struct Decided {
    result: Option<Result<(), LogError>>,
    waiting: Vec<Waker>,
}

impl Stage {
    /// The frame must not be written.
    pub fn spoil(&self) {
        self.spoilt.store(true, Ordering::Release);
    }

    pub fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Acquire)
    }

    /// Decides the fate. Returns who waits, to be woken without any lock held.
    #[must_use]
    pub fn decide(&self, result: Result<(), LogError>) -> Vec<Waker> {
        let mut decided = self.fate.decided.lock();
        debug_assert!(decided.result.is_none(), "a frame's fate is decided once");
        let synced = result.is_ok();
        decided.result = Some(result);
        if synced {
            self.fate.synced.store(true, Ordering::Release);
        }
        std::mem::take(&mut decided.waiting)
    }
}

impl Drop for Stage {
    /// Nobody is left who could decide: a panic took the frame, or the log's working parts were dropped as they stood. The
    /// commits are unknown, and the log is closed or about to be.
    fn drop(&mut self) {
        if self.fate.synced.load(Ordering::Acquire) {
            return;
        }
        let mut decided = self.fate.decided.lock();
        if decided.result.is_none() {
            decided.result = Some(Err(LogError::Closed));
            let waiting = std::mem::take(&mut decided.waiting);
            drop(decided);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

/// Resolves when the commit is synced, or with the error that made its fate unknown. Dropping it undoes nothing.
#[derive(Clone, Debug)]
#[must_use = "a commit is acked only when its ticket has resolved"]
pub struct Ticket(Arc<Fate>);

impl Ticket {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        Self(Arc::clone(&stage.fate))
    }

    /// Waits on this thread.
    pub fn wait(self) -> Result<(), LogError> {
        loop {
            if let Some(result) = self.wait_for(Duration::from_secs(3600)) {
                return result;
            }
        }
    }

    /// Waits on this thread, at most for `time`; `None` if the fate is not decided then.
    pub fn wait_for(&self, time: Duration) -> Option<Result<(), LogError>> {
        struct Unpark(thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let deadline = Instant::now() + time;
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(result) = self.look(&mut context) {
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }

    fn look(&self, cx: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        if self.0.synced.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut decided = self.0.decided.lock();
        if let Some(result) = &decided.result {
            return Poll::Ready(result.clone());
        }
        if !decided.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            decided.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The fate, if it is decided.
    pub fn try_wait(&self) -> Option<Result<(), LogError>> {
        if self.0.synced.load(Ordering::Acquire) {
            return Some(Ok(()));
        }
        self.0.decided.lock().result.clone()
    }
}

impl Future for Ticket {
    type Output = Result<(), LogError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(cx)
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// Wherever a frame is: taken out of what is staged and not yet in flight, nobody else knows of it.
    #[test]
    fn a_frame_that_is_dropped_undecided_leaves_nobody_waiting() {
        let stage = Arc::new(Stage::default());
        let (ticket, waits) = (Ticket::new(&stage), Ticket::new(&stage));
        let waiter = thread::spawn(move || waits.wait());
        assert!(ticket.try_wait().is_none());
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _frame = stage;
            panic!("on purpose");
        }));
        assert!(broken.is_err());
        assert!(matches!(ticket.try_wait(), Some(Err(LogError::Closed))));
        assert!(matches!(waiter.join().unwrap(), Err(LogError::Closed)));
    }
}
