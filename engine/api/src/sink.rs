//! What a sink is: something that delivers events and can say when they are durable at the destination.
//!
//! The runner owns the takes. It calls
//!
//! ```text
//!   start(context)                          open, connect, look at what was released last
//!   deliver(events)  deliver(events) …      hand over; need not be durable yet
//!   flush() -> future                       everything delivered before the call is durable when it is ready;
//!                                           the runner goes on delivering meanwhile, and releases in order
//!   idle()                                  nothing to take: time for rolling and closing
//!   stop()
//! ```
//!
//! It flushes when the sink's [`Window`] is full (events, bytes or time), when the channel is empty, and at the end, so
//! several small takes share one sync. After a failed `deliver` or `flush` all takes that are not released roll back,
//! and the sink is asked again after a back-off; what it delivered of them it may deliver twice, unless it kept
//! progress (see [`Flushed`]).
//!
//! A sink may rely on this, in all cases but a panic or a kill:
//!
//! - What a flush covers is released exactly when its future and those of all flushes before it have returned `Ok`: in
//!   that order, and before the next call of any method of the sink. An `Ok` behind a failed flush releases nothing.
//! - A flush's future that is dropped before it has returned: its events have gone back to the channel.
//! - After an error from [`deliver`](Sink::deliver) or [`idle`](Sink::idle), flushes on their way are waited for, and count
//!   as above; then everything that is not released goes back, delivered or in a flight. After an error from a flush,
//!   nothing is waited for.
//! - [`SinkContext::record`] and releases take effect in the order of the calls: none ever holds without the ones before
//!   it, whatever happens in between. What a release carries holds from the very moment that its events are released.
//!
//! - A delivery that failed with [`refused`](SinkError::refused) events, by way of [`SinkContext::refuse`], counts as
//!   delivered: before anything of it is released, those events are durable in the sink's dead letter.
//!
//! After a panic or a kill only [`SinkContext::positions`] tells what was released.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, SinkProgress, TakeLimit, Ticket};
use crate::chunk::Events;
use crate::metrics::SinkMetrics;
use crate::progress::Positions;
use crate::quiet::Quiet;

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What happened, with path or peer.
    pub message: String,
    /// Wait at least this long before the next try; `None` leaves it to the runner's back-off.
    pub retry_after: Option<Duration>,
    /// From a delivery: indexes, rising, of the events that the destination refused for good; the others were delivered.
    /// Set by [`SinkContext::refuse`], which knows whether there is somewhere else for them to go.
    pub refused: Vec<u32>,
    /// The error beneath.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SinkError {
    /// An error with a cause.
    pub fn new(message: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Box::new(cause)), ..Self::plain(message) }
    }

    /// An error of our own finding.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, refused: Vec::new(), cause: None }
    }
}

/// What a completed flush says: with `Ok`, all that was delivered before it began is durable at the destination, and the
/// progress is kept with the release of exactly these events.
pub type Flushed = Result<Vec<SinkProgress>, SinkError>;

/// A flush on its way. It borrows nothing of the sink, which goes on delivering meanwhile.
pub type FlushFuture = Pin<Box<dyn Future<Output = Flushed> + Send>>;

/// How much may be delivered and not yet flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Events delivered.
    pub events: usize,
    /// Body bytes delivered.
    pub bytes: usize,
    /// Age of the oldest delivery.
    pub time: Duration,
    /// How many flushes may be on their way while deliveries go on. 1: the runner waits for each.
    pub flushes: usize,
}

impl Window {
    /// Every take is flushed and released by itself, as Flume's sinks do.
    pub const EACH_TAKE: Self = Self { events: 1, bytes: 1, time: Duration::ZERO, flushes: 1 };
}

/// What a sink works with.
#[derive(Clone)]
pub struct SinkContext {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The sink's name.
    pub name: Arc<str>,
    /// Cancelled when the sink shall stop: long waits end early.
    pub shutdown: CancellationToken,
    /// Flume's counters.
    pub metrics: SinkMetrics,
    /// What is said in the log of failures, by the sink's own tasks as by its runner: in an outage of whatever it delivers to,
    /// both together say a line in ten seconds at most.
    pub quiet: Arc<Quiet>,
    channel: Arc<dyn Channel>,
    dead_letter: bool,
}

impl SinkContext {
    /// A context over the sink's channel.
    pub fn new(
        agent: Arc<str>,
        name: Arc<str>,
        shutdown: CancellationToken,
        metrics: SinkMetrics,
        channel: Arc<dyn Channel>,
    ) -> Self {
        Self { agent, name, shutdown, metrics, quiet: Arc::default(), channel, dead_letter: false }
    }

    /// The same, for a sink that has a dead letter (`deadLetter.type`), or not.
    #[must_use]
    pub fn with_dead_letter(self, dead_letter: bool) -> Self {
        Self { dead_letter, ..self }
    }

    /// The error of a delivery all of which was delivered but the events `refused` (indexes, rising), which the destination
    /// will never take for the reason `why`.
    ///
    /// With a dead letter they go there, and the delivery counts. Without one this is a failure like any other:
    /// [`SinkError::refused`] is empty, everything goes back, and the events are tried again, for ever if need be. A sink
    /// that keeps a position looks at that.
    pub fn refuse(&self, why: impl Into<String>, refused: Vec<u32>) -> SinkError {
        let refused = if self.dead_letter { refused } else { Vec::new() };
        SinkError { refused, ..SinkError::plain(why) }
    }

    /// Whether the channel keeps events, and this sink's progress, when the process ends.
    pub fn is_durable(&self) -> bool {
        self.channel.limits().durable
    }

    /// Whether the channel has no room for a put before something is released.
    pub fn channel_lacks_room(&self) -> bool {
        self.channel.lacks_room()
    }

    /// The progress released last, by key. Empty over a channel that is not durable.
    pub fn positions(&self) -> Positions {
        self.channel.sink_positions(&self.name)
    }

    /// Makes progress durable by itself, before the release that it belongs to (a file that is about to be created).
    pub fn record(&self, progress: Vec<SinkProgress>) -> Ticket {
        self.channel.record(&self.name, progress)
    }
}

/// A sink. Built from its keys without touching anything outside.
#[async_trait]
pub trait Sink: Send {
    /// What one take may hold; asked before each, for a destination may take less for a while.
    fn take_limit(&self) -> TakeLimit;

    /// What may be delivered and not yet flushed.
    fn window(&self) -> Window {
        Window::EACH_TAKE
    }

    /// Opens and connects. An error is logged and the start tried again after a back-off.
    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError>;

    /// Hands over events. Runs on a thread of the sink's own and may block it.
    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError>;

    /// Whether what was delivered is kept unreleased for longer, though the window is full or the channel empty. It is asked again after
    /// each delivery and while idle; a stop, a change of sinks, and a channel that has no more room for its sources flush all the same.
    /// What is kept goes back as a whole, if anything fails.
    fn holds(&mut self) -> bool {
        false
    }

    /// Begins to make durable all that was delivered. The runner polls the future from then on, also between deliveries;
    /// what it should do before that, it has to do here.
    fn flush(&mut self) -> FlushFuture {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Nothing was there to take: rolls and closes by time. Called at least every 500 ms while idle. An error takes back
    /// everything that is not released, as one from [`deliver`](Self::deliver) does.
    async fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Whether the runner counts what it releases as drained (Flume's `EventDrainSuccessCount`). `false`: the sink counts
    /// for itself.
    fn is_counted_by_runner(&self) -> bool {
        true
    }

    /// Closes. Everything delivered has been flushed, or was given back.
    async fn stop(&mut self) {}
}
