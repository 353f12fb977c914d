//! Tickets: who appended learns when it is durable.
//!
//! One [`Stage`] for each frame of commits, shared by all its tickets: a completion wakes only those whose frame is done.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::LogError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, Mutex, thread};

/// The fate of the commits that share a frame.
#[derive(Debug, Default)]
pub struct Stage {
    /// Set after `fate`, so that a ticket that is done costs no lock.
    synced: AtomicBool,
    /// A commit's bytes are not what its caller meant to append.
    spoilt: AtomicBool,
    fate: Mutex<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
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
        let mut fate = self.fate.lock();
        debug_assert!(fate.result.is_none(), "a frame's fate is decided once");
        let synced = result.is_ok();
        fate.result = Some(result);
        if synced {
            self.synced.store(true, Ordering::Release);
        }
        std::mem::take(&mut fate.waiting)
    }
}

/// Resolves when the commit is synced, or with the error that made its fate unknown. Dropping it undoes nothing.
#[derive(Clone, Debug)]
#[must_use = "a commit is acked only when its ticket has resolved"]
pub struct Ticket(Arc<Stage>);

impl Ticket {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        Self(Arc::clone(stage))
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
        let mut fate = self.0.fate.lock();
        if let Some(result) = &fate.result {
            return Poll::Ready(result.clone());
        }
        if !fate.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            fate.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The fate, if it is decided.
    pub fn try_wait(&self) -> Option<Result<(), LogError>> {
        if self.0.synced.load(Ordering::Acquire) {
            return Some(Ok(()));
        }
        self.0.fate.lock().result.clone()
    }
}

impl Future for Ticket {
    type Output = Result<(), LogError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(cx)
    }
}
