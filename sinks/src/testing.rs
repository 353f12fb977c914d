//! What the sinks' tests share: events, a context over a channel that only keeps positions, and the log lines.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, Put, PutError, Reservation, SinkProgress, Space, Taker, Ticket,
};
use flumen_api::metrics::SinkMetrics;
use flumen_api::progress::{Positions, Progress};
use flumen_api::registry::Registry;
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_api::sink::Sink;
use flumen_api::{Batch, Events, SinkContext};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};

#[path = "../../tests/support/ports.rs"]
mod ports;

pub use ports::free_port;

/// Far above what any step takes on a busy machine; only a failure waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sink's keys.
pub fn config(pairs: &[(&str, &str)]) -> ComponentConfig {
    let types = Registry::empty().with_all(crate::specs());
    ComponentConfig { types, ..ComponentConfig::of(Kind::Sink, "k1", pairs) }
}

/// Events without headers, put as lines that were read in one piece.
pub fn events(bodies: &[&str]) -> Events {
    let text: String = bodies.iter().flat_map(|body| [*body, "\n"]).collect();
    let mut batch = Batch::over(text.into());
    let mut start = 0;
    for body in bodies {
        batch.push_slice(start, body.len());
        start += body.len() + 1;
    }
    Events::from_batch(&batch)
}

/// Lets a sink drain these events as the runner does, without its rests: what it refused.
pub async fn drain(sink: &mut impl Sink, bodies: &[&str]) -> Vec<String> {
    let (mut left, mut refused) = (bodies, Vec::new());
    for _ in 0..200 {
        if left.is_empty() {
            return refused;
        }
        let take = &left[..sink.take_limit().events.min(left.len())];
        let delivered = sink.deliver(&events(take)).await;
        let flushed = sink.flush().await;
        match delivered {
            Ok(()) if flushed.is_ok() => left = &left[take.len()..],
            Err(error) if !error.refused.is_empty() => {
                refused.extend(error.refused.iter().map(|at| take[*at as usize].to_string()));
                left = &left[take.len()..];
            }
            _ => {}
        }
    }
    panic!("{} events are never taken in", left.len());
}

/// Called with the progress of each `record`; says whether it becomes durable.
type OnRecord = Box<dyn FnMut(&[SinkProgress]) -> Result<(), PutError> + Send>;

/// A channel of which a sink sees nothing but its positions.
#[derive(Default)]
pub struct FakeChannel {
    positions: Mutex<Positions>,
    on_record: Mutex<Option<OnRecord>>,
    is_volatile: bool,
}

impl FakeChannel {
    /// A channel that holds nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A channel that is not durable.
    pub fn volatile() -> Arc<Self> {
        Arc::new(Self { is_volatile: true, ..Self::default() })
    }

    /// What a durable release with `progress` leaves.
    pub fn release(&self, progress: Vec<SinkProgress>) {
        let mut positions = self.positions.lock();
        for SinkProgress { key, position } in progress {
            match position {
                Some(position) => positions.insert(key, position),
                None => positions.remove(&key),
            };
        }
    }

    /// Sees each `record` before it becomes durable, or fails.
    pub fn on_record(&self, see: impl FnMut(&[SinkProgress]) -> Result<(), PutError> + Send + 'static) {
        *self.on_record.lock() = Some(Box::new(see));
    }
}

#[async_trait]
impl Channel for FakeChannel {
    fn name(&self) -> &str {
        "c1"
    }

    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            transaction_capacity: usize::MAX,
            keep_alive: Duration::ZERO,
            durable: !self.is_volatile,
        }
    }

    fn try_reserve(&self, _: Space) -> Result<Reservation, PutError> {
        unreachable!("a sink puts nothing")
    }

    async fn reserve(&self, _: Space) -> Result<Reservation, PutError> {
        unreachable!("a sink puts nothing")
    }

    fn append(&self, _: Reservation, _: Put<'_>) -> Result<Ticket, PutError> {
        unreachable!("a sink puts nothing")
    }

    fn taker(&self) -> Box<dyn Taker> {
        unreachable!("the runner takes")
    }

    fn source_positions(&self, _: &str) -> Option<Positions> {
        None
    }

    fn sink_positions(&self, sink: &str) -> Positions {
        assert_eq!(sink, "k1");
        self.positions.lock().clone()
    }

    fn record(&self, sink: &str, progress: Vec<SinkProgress>) -> Ticket {
        assert_eq!(sink, "k1");
        if let Some(see) = self.on_record.lock().as_mut()
            && let Err(error) = see(&progress)
        {
            return Ticket::pending(std::future::ready(Err(error)));
        }
        self.release(progress);
        Ticket::done()
    }

    fn mark_source(&self, _: &str, _: Vec<Progress>) -> Ticket {
        unreachable!("a sink marks no source")
    }

    fn status(&self) -> ChannelStatus {
        ChannelStatus::default()
    }

    fn reconfigure(&self, _: &ComponentConfig) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {}
}

/// A context over a channel that holds nothing.
pub fn context() -> SinkContext {
    context_over(&FakeChannel::new())
}

/// A context over `channel`.
pub fn context_over(channel: &Arc<FakeChannel>) -> SinkContext {
    let channel: Arc<dyn Channel> = channel.clone();
    SinkContext::new("a1".into(), "k1".into(), CancellationToken::new(), SinkMetrics::default(), channel)
}

/// The lines that this thread logs while it lives: target and message.
pub struct Logged {
    lines: Arc<Mutex<Vec<(String, String)>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logged {
    /// Captures from now on.
    pub fn capture() -> Self {
        let lines = Arc::default();
        let guard = tracing::subscriber::set_default(Capture(Arc::clone(&lines)));
        Self { lines, _guard: guard }
    }

    /// What was logged so far.
    pub fn lines(&self) -> Vec<(String, String)> {
        self.lines.lock().clone()
    }
}

struct Capture(Arc<Mutex<Vec<(String, String)>>>);

impl tracing::Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().push((event.metadata().target().to_string(), message.0));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").expect("a String takes all that is written");
        }
    }
}
