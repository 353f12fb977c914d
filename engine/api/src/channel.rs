//! What a channel is: reserve, append and ticket on one side; take, release and rollback on the other.
//!
//! ```text
//!   source side                                   sink side
//!   reserve(events, bytes)   waits for room       take(limit) -> Taken { events, … }
//!   append(room, put)        copies, cannot fail  taken.release(sink progress)   delivered: forget them
//!     -> Ticket              for lack of room     drop(taken)                    rollback: they go out again, first
//!   ticket.await             durable
//! ```
//!
//! *Reserve* on every required channel comes before the first *append*, so lack of room never leaves a batch in some
//! channels only. Appending is synchronous and cannot be cancelled; dropping a ticket does not undo the put. A put that
//! fails after its append is *unknown*: its events may still appear.
//!
//! Order is promised to a single taker: events go out in the order of their puts. Several takers compete; each event
//! goes to one. Events that were rolled back go out again before newer ones.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;

use crate::batch::Batch;
use crate::chunk::Events;
use crate::progress::{Position, Positions, Progress};

/// What a put asks of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Events, against `capacity` and `transactionCapacity`.
    pub events: usize,
    /// Encoded chunk length, or an upper bound of it.
    pub chunk_bytes: u64,
    /// Sum of the bodies' lengths, against `byteCapacity`.
    pub body_bytes: u64,
}

/// Room promised to one append. Dropping it gives the room back.
pub struct Reservation {
    /// What was asked for.
    pub space: Space,
    room: Option<Box<dyn Room>>,
}

/// A channel's own share of a [`Reservation`]: given back when dropped, unless the append took it over.
pub trait Room: Send + 'static {
    /// For the channel to recognise its own type in `append`.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

impl Reservation {
    /// A reservation of `space` for which the channel keeps `room`.
    pub fn new(space: Space, room: Box<dyn Room>) -> Self {
        Self { space, room: Some(room) }
    }

    /// The channel's own share, for its `append`.
    pub fn into_room<R: 'static>(mut self) -> Option<Box<R>> {
        self.room.take()?.into_any().downcast().ok()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.space).finish()
    }
}

/// What one append writes.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The source's name: progress is kept by source and key.
    pub source: &'a str,
    /// The batch, with the progress that it makes.
    pub batch: &'a Batch,
    /// Indexes of the events that go to this channel, rising; `None` is all. Progress is written either way.
    pub selection: Option<&'a [u32]>,
}

/// Why a channel cannot be opened. Nothing that it found was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has its directory: it may be free later.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// What lies in its directories is not this version's, or not all of it: opening would lose or hide events.
    #[error("{0}")]
    Foreign(String),
    /// Its keys cannot be followed.
    #[error("{0}")]
    Config(String),
    /// Anything else: the disk, the kernel, a panic.
    #[error("{0}")]
    Other(String),
}

/// Why a put was refused, or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutError {
    /// No room came within `keep-alive`. Nothing was appended; the same put may be tried again.
    #[error("channel {channel} is full: {reason}")]
    Full {
        /// The channel's name.
        channel: Arc<str>,
        /// Which limit, with the key that raises it.
        reason: String,
    },
    /// The put can never fit: more events than `transactionCapacity`, or an event beyond the largest allowed.
    #[error("channel {channel} refuses the put: {reason}")]
    TooLarge {
        /// The channel's name.
        channel: Arc<str>,
        /// Which limit, with the key that raises it.
        reason: String,
    },
    /// The channel's storage failed. Whether the events are in the channel is unknown; they may be put again.
    #[error("channel {channel} failed: {reason}")]
    Failed {
        /// The channel's name.
        channel: Arc<str>,
        /// Stage, path, offset and error of the first failure.
        reason: String,
    },
    /// The channel is closed or closing.
    #[error("channel {channel} is closed")]
    Closed {
        /// The channel's name.
        channel: Arc<str>,
    },
}

impl PutError {
    /// Whether trying the same put again later can succeed.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Failed { .. })
    }
}

/// Resolves when a put is durable in its channel: synced for a durable channel, at once for one in memory.
///
/// Dropping it undoes nothing.
#[must_use = "a put is acked only when its ticket has resolved"]
pub struct Ticket(State);

enum State {
    Done(Option<Result<(), PutError>>),
    Pending(Pin<Box<dyn Future<Output = Result<(), PutError>> + Send>>),
}

impl Ticket {
    /// A put that is as durable as it will ever be.
    pub fn done() -> Self {
        Self(State::Done(Some(Ok(()))))
    }

    /// A put that is durable when `future` is ready.
    pub fn pending(future: impl Future<Output = Result<(), PutError>> + Send + 'static) -> Self {
        Self(State::Pending(Box::pin(future)))
    }

    /// One ticket for several channels; fails with the first failure, after all have resolved.
    pub fn all(mut tickets: Vec<Ticket>) -> Self {
        match tickets.len() {
            0 => Self::done(),
            1 => tickets.remove(0),
            _ => Self::pending(async move {
                let mut result = Ok(());
                for ticket in tickets {
                    result = result.and(ticket.await);
                }
                result
            }),
        }
    }
}

impl Future for Ticket {
    type Output = Result<(), PutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            State::Done(result) => Poll::Ready(result.take().expect("ticket polled after it resolved")),
            State::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Done(_) => "Ticket(done)",
            State::Pending(_) => "Ticket(pending)",
        })
    }
}

/// How much one take may return.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimit {
    /// At most this many events.
    pub events: usize,
    /// At most about this many bytes, but at least one event.
    pub bytes: usize,
}

impl TakeLimit {
    /// Bytes of a take where a sink does not say otherwise.
    pub const BYTES_DEFAULT: usize = 4 << 20;

    /// `events` events and the default number of bytes.
    pub fn events(events: usize) -> Self {
        Self { events, bytes: Self::BYTES_DEFAULT }
    }
}

/// Why a take failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TakeError {
    /// Damaged or unreadable bytes: takes stop here until somebody repairs the channel. Puts go on.
    #[error("channel {channel} cannot be read on: {reason}")]
    Damaged {
        /// The channel's name.
        channel: Arc<str>,
        /// File, offset, event numbers and the command that repairs.
        reason: String,
    },
    /// The channel's storage failed; it is being reopened.
    #[error("channel {channel} failed: {reason}")]
    Failed {
        /// The channel's name.
        channel: Arc<str>,
        /// Stage, path, offset and error of the first failure.
        reason: String,
    },
    /// The channel is closed or closing.
    #[error("channel {channel} is closed")]
    Closed {
        /// The channel's name.
        channel: Arc<str>,
    },
}

/// A sink's progress, to be made durable together with a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkProgress {
    /// One of the sink's keys. At most 1024 bytes.
    pub key: String,
    /// What holds once the release is durable; `None` forgets the key.
    pub position: Option<Position>,
}

/// The channel's side of a take.
pub trait Receipt: Send + 'static {
    /// Delivered by the sink of this name, with the events of `rest`, all takes of the same channel: they are forgotten
    /// together, and `progress` holds from that very moment. In parts, a crash between two of them would leave released
    /// events that the progress does not cover, or the other way round.
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, sink: &str, progress: Vec<SinkProgress>);
    /// For the channel to recognise its own type in `rest`.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
    /// Not delivered: the events go out again, before newer ones.
    fn rollback(self: Box<Self>);
}

/// Events taken and not yet released. Dropping it is a rollback.
pub struct Taken {
    events: Events,
    first_event: u64,
    receipt: Option<Box<dyn Receipt>>,
}

impl Taken {
    /// `events`, the first of which has the channel's number `first_event`.
    pub fn new(events: Events, first_event: u64, receipt: Box<dyn Receipt>) -> Self {
        Self { events, first_event, receipt: Some(receipt) }
    }

    /// The events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The first event's number in its channel: with the channel's name it identifies the event for ever.
    pub fn first_event(&self) -> u64 {
        self.first_event
    }

    /// Lets go of the events, which may be in large buffers; the take itself stays out.
    pub fn forget_events(&mut self) {
        self.events = Events::new();
    }

    /// The sink of this name has delivered the events durably; its `progress` becomes durable with the release.
    pub fn release(mut self, sink: &str, progress: Vec<SinkProgress>) {
        if let Some(receipt) = self.receipt.take() {
            receipt.release(Vec::new(), sink, progress);
        }
    }

    /// The same for several takes of one channel, as one release.
    pub fn release_all(takes: impl IntoIterator<Item = Taken>, sink: &str, progress: Vec<SinkProgress>) {
        let mut receipts = takes.into_iter().filter_map(|mut taken| taken.receipt.take());
        if let Some(first) = receipts.next() {
            first.release(receipts.collect(), sink, progress);
        }
    }

    /// Gives the events back.
    pub fn rollback(self) {}
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.rollback();
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Taken({}+{})", self.first_event, self.events.len())
    }
}

/// One consumer of a channel. Several takers of one channel compete for its events.
#[async_trait]
pub trait Taker: Send {
    /// Takes what is there, or `None` at once. May read a disk: call it from a thread that may block.
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError>;

    /// Returns once events may be there, or the channel has failed or closed. May return without cause.
    async fn ready(&mut self);
}

/// What a channel reports of itself, all from positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelStatus {
    /// Events put (durable) and not yet released.
    pub events: u64,
    /// Most events it will hold.
    pub capacity: u64,
    /// Age of the oldest unreleased event, if there is one and the channel knows.
    pub oldest: Option<Duration>,
    /// Since when it cannot work, and why.
    pub failure: Option<String>,
    /// Further figures of this type of channel: metric name without prefix (`disk_bytes`), value.
    pub gauges: Vec<(&'static str, f64)>,
}

/// What callers must know of a channel's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Most events of one put or take.
    pub transaction_capacity: usize,
    /// How long a put waits for room.
    pub keep_alive: Duration,
    /// Events survive the process: such a channel votes on its sources' progress.
    pub durable: bool,
}

/// A channel between sources and sinks. See the [module](self) for the order of calls.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// The configured name.
    fn name(&self) -> &str;

    /// The limits that callers must keep.
    fn limits(&self) -> ChannelLimits;

    /// How far the takers are behind with what they can take from memory, from 0 to 1; `None` if that makes no difference, or
    /// they are further behind. At 1 they go on from the disk, which then is read and written for each event: a source that
    /// waits a moment before is faster in the end.
    fn takers_behind(&self) -> Option<f64> {
        None
    }

    /// Whether a put waits for room that only releases give, or was refused for lack of it since the last one; or the channel has as much
    /// in memory for the sake of takes that are not released as it wants to. A sink that keeps back its releases must let go of
    /// them then. `false` where a channel cannot tell.
    fn lacks_room(&self) -> bool {
        false
    }

    /// Room for a put, or [`PutError::Full`] at once.
    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError>;

    /// Room for a put, waited for at most `keep_alive`, then [`PutError::Full`].
    async fn reserve(&self, space: Space) -> Result<Reservation, PutError>;

    /// Appends a put for which there is room.
    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError>;

    /// Appends a put that its source does not repeat when this channel loses it: what comes behind a lost one is welcome.
    /// The same as [`append`](Self::append) for a channel that keeps no order of what sources say.
    fn append_optional(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.append(room, put)
    }

    /// A new consumer.
    fn taker(&self) -> Box<dyn Taker>;

    /// `source` is about to run, for the first time or again: returns when none of its earlier puts can fail any more, and
    /// what [`source_positions`](Self::source_positions) says then holds. From there the source goes on, so that a put that
    /// was lost before leaves no gap any more.
    async fn settle_source(&self, _source: &str) {}

    /// Where the channel stands along the keys of `source`; `None` if this channel never saw the source.
    ///
    /// A channel that is not durable, or that never saw the source, returns `None`.
    fn source_positions(&self, source: &str) -> Option<Positions>;

    /// What was released last for the keys of `sink`.
    fn sink_positions(&self, sink: &str) -> Positions;

    /// Makes sink progress durable by itself, without a release.
    fn record(&self, sink: &str, progress: Vec<SinkProgress>) -> Ticket;

    /// Says at a source's start that the channel now knows it, standing at `positions` (what other channels hold, or
    /// nothing): from here on [`source_positions`](Self::source_positions) is `Some`.
    fn mark_source(&self, source: &str, positions: Vec<Progress>) -> Ticket;

    /// Figures for metrics, health and people.
    fn status(&self) -> ChannelStatus;

    /// The resolved keys changed and all changed keys are live: takes them over, keeping all events.
    fn reconfigure(&self, config: &crate::settings::ComponentConfig) -> Result<(), String>;

    /// Stops taking puts, makes durable what was appended, and lets go of the storage.
    async fn close(&self);
}
