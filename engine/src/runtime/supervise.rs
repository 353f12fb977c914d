//! What every component's keeper needs: catching panics, growing pauses, threads that an async stop can wait for.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long a component that failed rests before it is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// After the first failure; doubles with each further one.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
    /// A component that ran this long was healthy: the next failure counts as the first.
    pub healthy: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30), healthy: Duration::from_secs(60) }
    }
}

/// Counts failures in a row and says how long to rest.
#[derive(Debug)]
pub(super) struct Backoff {
    pauses: Pauses,
    next: Duration,
    /// Failures in a row.
    pub failures: u32,
}

impl Backoff {
    pub fn new(pauses: Pauses) -> Self {
        Self { pauses, next: pauses.first, failures: 0 }
    }

    /// A failure of something that had run since `started`, if it ran at all.
    pub fn failed(&mut self, started: Option<Instant>) -> Duration {
        if started.is_some_and(|started| started.elapsed() >= self.pauses.healthy) {
            *self = Self::new(self.pauses);
        }
        self.failures = self.failures.saturating_add(1);
        let pause = self.next;
        self.next = (self.next * 2).min(self.pauses.max);
        pause
    }
}

/// Sleeps, unless a stop comes first; returns whether one has.
pub(super) async fn sleep_or_stop(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// Runs `future`; a panic in it is an error with the panic's text, and what the future held is dropped.
pub(super) async fn catch<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    // Unwind safety: a future that panicked is never polled again; what it borrowed belongs to the component that
    // panicked and is given a fresh start.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(panic_text(payload.as_ref()))),
    })
    .await
}

/// The same for something that does not wait.
pub(super) fn catch_now<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| panic_text(payload.as_ref()))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("panicked: {text}")
}

/// A keeper on its way, which ends some time after its stop token is cancelled.
#[derive(Debug)]
pub(super) struct Running {
    stop: CancellationToken,
    done: oneshot::Receiver<()>,
}

impl Running {
    /// Runs a keeper as a task.
    pub fn task(stop: CancellationToken, keeper: impl Future<Output = ()> + Send + 'static) -> Self {
        let (ended, done) = oneshot::channel();
        tokio::spawn(async move {
            keeper.await;
            drop(ended);
        });
        Self { stop, done }
    }

    /// Runs a keeper on an OS thread named `name`, on which it may block.
    pub fn thread(
        name: &str,
        stop: CancellationToken,
        keeper: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ended, done) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::Builder::new().name(name.to_string()).spawn(move || {
            // The keeper is alone on its thread: tokio's budget, which makes ready things look pending so that other
            // tasks get their turn, would only stall it.
            runtime.block_on(tokio::task::unconstrained(keeper));
            drop(ended);
        })?;
        Ok(Self { stop, done })
    }

    /// Asks for the end without waiting for it.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Asks for the end and waits for it, at most until `deadline`; returns whether it came. What did not end is left
    /// to itself: a thread cannot be taken away.
    pub async fn stop(&mut self, deadline: tokio::time::Instant) -> bool {
        self.stop.cancel();
        tokio::time::timeout_at(deadline, &mut self.done).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_healthy_while() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(Pauses { first: second, max: second * 5, healthy: Duration::ZERO });
        let pauses: Vec<_> = (0..4).map(|_| backoff.failed(None).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5]);
        assert_eq!(backoff.failures, 4);
        assert_eq!(backoff.failed(Some(Instant::now())), second, "it had run as long as a healthy one does");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_text() {
        let number = 7;
        assert_eq!(
            catch(async { panic!("number {number}") }).await,
            Err::<(), _>("panicked: number 7".into())
        );
        assert_eq!(catch(async { 5 }).await, Ok(5));
    }
}
