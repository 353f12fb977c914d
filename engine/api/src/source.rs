//! What a source is: something that runs until it is told to stop, and puts batches.
//!
//! ```text
//!   loop: read input -> build a Batch -> context.put(batch).await -> PutTicket
//!                                         (interceptors, selector, room, append)
//!   keep several tickets; when the oldest resolves, the source's input up to there is acked
//! ```
//!
//! A source that can seek reads several batches ahead ([`InFlight`]) and goes back to its last acked position when a
//! ticket fails. A source that answers a client answers when the ticket has resolved.
//!
//! [`SourceContext`] is the engine's side: what is the same for all sources (interceptors, selection, waiting for room,
//! metrics, stopping) lives behind it and is written once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::channel::{PutError, Ticket};
use crate::metrics::SourceMetrics;
use crate::progress::Positions;

/// How many puts a source may have on their way where its keys do not say otherwise.
pub const TICKETS_DEFAULT: usize = 8;

/// Why a source stopped. The supervisor logs it and starts the source again after a delay that grows to a cap.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What happened, with path or peer.
    pub message: String,
    /// The error beneath.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// An error with a cause.
    pub fn new(message: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: message.into(), cause: Some(Box::new(cause)) }
    }

    /// An error of our own finding.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None }
    }
}

/// A put that was refused before anything was appended: the batch comes back, to be tried again or dropped.
///
/// A refusal for [`Full`](PutError::Full) may be tried again as it is. After [`Failed`](PutError::Failed) look at the
/// tickets of the earlier puts first: a channel that lost one of them takes in no later one, and the source has to go back.
#[derive(Debug)]
pub struct PutRefused {
    /// The batch, as the interceptors left it. They will not see it twice.
    pub batch: Batch,
    /// Why.
    pub error: PutError,
}

/// Resolves when a put is durable in all required channels.
pub type PutTicket = Ticket;

/// The engine's side of a source.
#[async_trait]
pub trait SourceEngine: Send + Sync {
    /// See [`SourceContext::put`].
    async fn put(&self, batch: Batch) -> Result<PutTicket, PutRefused>;
    /// See [`SourceContext::positions`].
    fn positions(&self) -> Option<Positions>;
    /// Waits for `time` to pass: the one clock of sources, so that a test can make it run as it likes.
    async fn sleep(&self, time: Duration);
    /// See [`SourceContext::report`].
    fn report(&self, _trouble: Option<String>) {}
    /// See [`SourceContext::lag`].
    fn lag(&self, _part: &str, _seconds: Option<u64>) {}
}

/// Pauses that double from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// `first`, then twice as long each time, up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// How long to rest now.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }

    /// All went well: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// What a source works with. Cheap to clone: a server hands one to each connection.
#[derive(Clone)]
pub struct SourceContext {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The source's name.
    pub name: Arc<str>,
    /// Cancelled when the source shall stop: finish what is at hand, wait for its tickets, return.
    pub shutdown: CancellationToken,
    /// Flume's counters.
    pub metrics: SourceMetrics,
    engine: Arc<dyn SourceEngine>,
}

impl SourceContext {
    /// A context over `engine`; components never build one outside tests.
    pub fn new(
        agent: Arc<str>,
        name: Arc<str>,
        shutdown: CancellationToken,
        metrics: SourceMetrics,
        engine: Arc<dyn SourceEngine>,
    ) -> Self {
        Self { agent, name, shutdown, metrics, engine }
    }

    /// Runs the interceptors, selects channels, waits for room in all required ones, and appends.
    ///
    /// Room is waited for at most each channel's `keep-alive`; on [`PutRefused`] nothing was appended. Events and their
    /// progress are durable when the ticket resolves. Counts received and accepted events.
    pub async fn put(&self, batch: Batch) -> Result<PutTicket, PutRefused> {
        self.engine.put(batch).await
    }

    /// Like [`put`](Self::put), trying again for as long as there is no room. `None`: a stop was asked for before there
    /// was, and nothing was appended. Any other refusal comes back at once, for only the source can tell whether the put
    /// may be tried again (see [`PutRefused`]).
    pub async fn put_until_stopped(
        &self,
        mut batch: Batch,
        mut backoff: Backoff,
    ) -> Result<Option<PutTicket>, PutRefused> {
        loop {
            match self.shutdown.run_until_cancelled(self.put(batch)).await {
                None => return Ok(None),
                Some(Ok(ticket)) => return Ok(Some(ticket)),
                Some(Err(PutRefused { batch: back, error: error @ PutError::Full { .. } })) => {
                    tracing::warn!(source = %self.name, %error, "put refused, tried again");
                    batch = back;
                }
                Some(Err(refused)) => return Err(refused),
            }
            if self.sleep(backoff.pause()).await {
                return Ok(None);
            }
        }
    }

    /// Waits for `time` to pass or a stop to be asked for; returns whether it was.
    pub async fn sleep(&self, time: Duration) -> bool {
        self.shutdown.run_until_cancelled(self.engine.sleep(time)).await.is_none()
    }

    /// Says what is wrong while the source runs all the same, or has finished, and a person should see to it (a file that
    /// was set aside), or that nothing is any more. `/readyz` shows it.
    pub fn report(&self, trouble: Option<String>) {
        self.engine.report(trouble);
    }

    /// Says by how many seconds the source is behind what there is to read in `part` of its input (a shard, a partition), or that
    /// it reads that part no longer, or cannot tell. Metrics show it.
    pub fn lag(&self, part: &str, seconds: Option<u64>) {
        self.engine.lag(part, seconds);
    }

    /// Where to resume: for each key the *oldest* position of the source's durable required channels; each channel drops
    /// the events that it already has. `None`: no channel knows this source (first start, or nothing durable), so the
    /// source's own position file, if any, decides.
    pub fn positions(&self) -> Option<Positions> {
        self.engine.positions()
    }
}

/// Whether a source's `run` gets a thread of its own, on which it may block, or shares the runtime's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// An ordinary task: never blocks.
    Task,
    /// A thread of its own.
    Thread,
}

/// A source. Built from its keys without touching anything outside; files and ports are opened in [`run`](Self::run).
#[async_trait]
pub trait Source: Send {
    /// Runs until [`SourceContext::shutdown`] is cancelled, or until it fails or has nothing more to do.
    ///
    /// A returned error (or a panic) restarts it later with the same object; `Ok` before a stop was asked for means that
    /// the source has finished for good.
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError>;
}

/// Puts on their way, oldest first, each with what its source wants back when it is acked (a position, an answer).
///
/// Acks come in order; after a failure every later put counts as failed too, and the source goes back to what was acked.
#[derive(Debug)]
pub struct InFlight<T> {
    tickets: VecDeque<(PutTicket, T)>,
    limit: usize,
}

impl<T> InFlight<T> {
    /// At most `limit` puts on their way.
    pub fn new(limit: usize) -> Self {
        assert!(limit > 0, "no put could ever be on its way");
        Self { tickets: VecDeque::with_capacity(limit), limit }
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Adds a put, once there is room for it; `acked` is called for each one that resolves on the way.
    pub async fn push(
        &mut self,
        ticket: PutTicket,
        tag: T,
        mut acked: impl FnMut(T),
    ) -> Result<(), PutError> {
        while self.tickets.len() >= self.limit {
            acked(self.next().await?);
        }
        self.tickets.push_back((ticket, tag));
        Ok(())
    }

    /// Waits for the oldest put. Must not be called when there is none.
    pub async fn next(&mut self) -> Result<T, PutError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whatever has resolved by now, without waiting.
    pub fn acked_now(&mut self, mut acked: impl FnMut(T)) -> Result<(), PutError> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !self.tickets.is_empty() {
            match self.poll_next(&mut cx) {
                Poll::Ready(tag) => acked(tag?),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Waits for all of them.
    pub async fn drain(&mut self, mut acked: impl FnMut(T)) -> Result<(), PutError> {
        while !self.tickets.is_empty() {
            acked(self.next().await?);
        }
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, PutError>> {
        let (ticket, _) = self.tickets.front_mut().expect("a put on its way");
        match Pin::new(ticket).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.tickets.pop_front().expect("the front").1)),
            Poll::Ready(Err(error)) => {
                self.tickets.clear();
                Poll::Ready(Err(error))
            }
        }
    }
}
