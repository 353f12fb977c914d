//! The memory channel: Flume's, holding chunks.
//!
//! ```text
//!   reserve ── gate: capacity, byteCapacity ──> append: encode once, outside any lock; push the chunk
//!   take: pieces of chunks, nothing copied ──> release | rollback
//! ```
//!
//! Its events are gone when the process is. It keeps no progress, so it never votes on where a source resumes.
//!
//! One lock around the queue, one around the gate, never the gate's inside the queue's.

mod queue;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::batch::Batch;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, OpenError, Put, PutError, Receipt, Reservation, Room,
    SinkProgress, Space, TakeError, TakeLimit, Taken, Taker, Ticket,
};
use flumen_api::chunk::{Chunk, ChunkWriter, Events};
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::{Positions, Progress};
use flumen_api::registry::{ChannelContext, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::gate::{self, Amount, Gate, Grant, Refused};
use queue::{Piece, Queue};
use settings::MemorySettings;
pub(super) use settings::{ByteCapacity, SLOT_BYTES, SLOTS_MAX};

/// The type as the registry has it.
pub(super) fn spec() -> Spec {
    Spec {
        alias: "memory",
        class_names: &["org.apache.flume.channel.MemoryChannel"],
        keys: MemorySettings::KEYS,
        doc: "Keeps events in memory: fast, and lost with the process.",
        factory: Factory::Channel { check, open, directories: |_| Vec::<PathBuf>::new() },
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    MemorySettings::read(config, problems).map(|settings| settings.transaction_capacity)
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    Ok(Arc::new(MemoryChannel::new(config, context).map_err(OpenError::Config)?))
}

/// See the [module](self).
pub struct MemoryChannel(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    metrics: ChannelMetrics,
    memory_limit: u64,
    slot_bytes: u64,
    limits: RwLock<ChannelLimits>,
    gate: Arc<Gate<Store>>,
    store: Arc<Store>,
}

/// The events, and who waits for them.
#[derive(Default)]
struct Store {
    content: Mutex<Content>,
    /// Takers that found nothing.
    arrived: Notify,
}

#[derive(Default)]
struct Content {
    queue: Queue,
    closed: bool,
}

impl gate::Positions for Store {
    fn held(&self) -> Amount {
        let content = self.content.lock();
        Amount { events: content.queue.events(), slots: content.queue.slots() }
    }
}

struct MemoryRoom(Grant<Store>);

impl Room for MemoryRoom {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl MemoryChannel {
    /// A channel with the keys of `config`.
    pub fn new(config: &ComponentConfig, context: ChannelContext) -> Result<Self, String> {
        let settings = read(config)?;
        let limits = limits(&settings, context.memory_limit);
        Ok(Self::start(config.name.clone(), limits, context.memory_limit, context.metrics))
    }

    /// A channel with these limits, which somebody else's keys tell.
    pub(super) fn with(name: Arc<str>, limits: Limits, metrics: ChannelMetrics) -> Self {
        Self::start(name, limits, 0, metrics)
    }

    fn start(name: Arc<str>, limits: Limits, memory_limit: u64, metrics: ChannelMetrics) -> Self {
        let store = Arc::new(Store::default());
        let gate = Gate::new(limits.amount, store.clone());
        Self(Arc::new(Shared {
            name,
            metrics,
            memory_limit,
            slot_bytes: limits.slot_bytes,
            limits: RwLock::new(limits.of_channel()),
            gate,
            store,
        }))
    }

    /// Changes the limits; what is there stays. Slots stay as large as they are.
    pub(super) fn set_limits(&self, limits: Limits) {
        *self.0.limits.write() = limits.of_channel();
        self.0.gate.set_limit(limits.amount);
    }

    /// Whether a put ever has room here.
    pub(super) fn may_hold(&self, space: Space) -> bool {
        let slots = (space.body_bytes / self.0.slot_bytes).max(space.events as u64);
        self.0.gate.limit().covers(Amount { events: space.events as u64, slots })
    }

    /// How much is free, of events or of bytes, whichever is less.
    pub(super) fn free_percent(&self) -> u64 {
        let (held, limit) = (gate::Positions::held(&*self.0.store), self.0.gate.limit());
        let free = |held: u64, limit: u64| {
            u64::try_from(u128::from(limit.saturating_sub(held)) * 100 / u128::from(limit.max(1)))
                .unwrap_or(100)
        };
        free(held.events, limit.events).min(free(held.slots, limit.slots))
    }

    /// As [`Channel::append`]; with the number of the first event.
    pub(super) fn append_numbered(&self, room: Reservation, put: Put<'_>) -> Result<(Ticket, u64), PutError> {
        let shared = &*self.0;
        let foreign = || PutError::Failed {
            channel: shared.name.clone(),
            reason: "the reservation is of another channel".into(),
        };
        let MemoryRoom(grant) = *room.into_room::<MemoryRoom>().ok_or_else(foreign)?;
        let writer = ChunkWriter::new(put.batch, put.selection);
        let events = writer.events() as u64;
        if events == 0 {
            return Ok((Ticket::done(), shared.store.content.lock().queue.appended()));
        }
        let chunk = Chunk::decode(writer.to_bytes())
            .map_err(|error| PutError::Failed { channel: shared.name.clone(), reason: error.to_string() })?;
        let slots = slots(put.batch, put.selection, shared.slot_bytes);
        let first = {
            let mut content = shared.store.content.lock();
            if content.closed {
                return Err(PutError::Closed { channel: shared.name.clone() });
            }
            let first = content.queue.appended();
            content.queue.append(chunk, slots, Instant::now());
            first
        };
        drop(grant);
        shared.store.arrived.notify_waiters();
        shared.metrics.event_put_success.add(events);
        Ok((Ticket::done(), first))
    }
}

/// What a channel in memory may hold.
pub(super) struct Limits {
    /// Events and slots.
    pub amount: Amount,
    /// Bytes of a slot: a body takes as many as it needs, and at least one.
    pub slot_bytes: u64,
    /// Most events of one put or take.
    pub transaction_capacity: usize,
    /// How long a put waits for room.
    pub keep_alive: Duration,
}

impl Limits {
    fn of_channel(&self) -> ChannelLimits {
        ChannelLimits {
            transaction_capacity: self.transaction_capacity,
            keep_alive: self.keep_alive,
            durable: false,
        }
    }
}

fn read(config: &ComponentConfig) -> Result<MemorySettings, String> {
    let mut problems = Problems::default();
    MemorySettings::read(config, &mut problems).ok_or_else(|| super::errors(&problems))
}

fn limits(settings: &MemorySettings, memory_limit: u64) -> Limits {
    Limits {
        amount: settings.limit(memory_limit),
        slot_bytes: SLOT_BYTES,
        transaction_capacity: settings.transaction_capacity,
        // Flume's wait for a negative time ends at once.
        keep_alive: Duration::from_secs(settings.keep_alive.max(0).unsigned_abs()),
    }
}

impl Shared {
    /// Upper bound of the slots that bodies of these lengths take.
    fn amount(&self, space: Space) -> Result<Amount, PutError> {
        let transaction_capacity = self.limits.read().transaction_capacity;
        if space.events > transaction_capacity {
            return Err(self.too_large(super::over_transaction_capacity(space.events, transaction_capacity)));
        }
        let events = space.events as u64;
        let amount = Amount { events, slots: events + space.body_bytes / self.slot_bytes };
        let limit = self.gate.limit();
        // The bound may exceed the truth by one slot for each event; only what surely never fits is refused for good.
        let least = (space.body_bytes / self.slot_bytes).max(events);
        if least > limit.slots {
            return Err(self.too_large(format!(
                "bodies of {} bytes; byteCapacity (less byteCapacityBufferPercentage) holds {}",
                space.body_bytes,
                limit.slots.saturating_mul(self.slot_bytes)
            )));
        }
        Ok(Amount { slots: amount.slots.min(limit.slots), ..amount })
    }

    fn too_large(&self, reason: String) -> PutError {
        PutError::TooLarge { channel: self.name.clone(), reason }
    }

    fn refusal(&self, refused: Refused, amount: Amount, waited: Duration) -> PutError {
        let channel = self.name.clone();
        if refused == Refused::Closed {
            return PutError::Closed { channel };
        }
        let held = gate::Positions::held(&*self.store);
        let limit = self.gate.limit();
        let key = match held.slots + amount.slots > limit.slots {
            true => {
                format!(
                    "byteCapacity: {} of {} slots of {} bytes are taken",
                    held.slots, limit.slots, self.slot_bytes
                )
            }
            false => format!("capacity: {} of {} events are there", held.events, limit.events),
        };
        PutError::Full {
            channel,
            reason: format!("{key}; no room for {} more{}", amount.events, super::after(waited)),
        }
    }

    fn reservation(&self, space: Space, grant: Grant<Store>) -> Reservation {
        Reservation::new(space, Box::new(MemoryRoom(grant)))
    }
}

#[async_trait]
impl Channel for MemoryChannel {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn limits(&self) -> ChannelLimits {
        *self.0.limits.read()
    }

    fn lacks_room(&self) -> bool {
        self.0.gate.lacks_room()
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let amount = self.0.amount(space)?;
        match self.0.gate.try_acquire(amount) {
            Ok(grant) => {
                // Who finds no room here asks again with `reserve`, which counts.
                self.0.metrics.event_put_attempt.add(space.events as u64);
                Ok(self.0.reservation(space, grant))
            }
            Err(refused) => Err(self.0.refusal(refused, amount, Duration::ZERO)),
        }
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        self.0.metrics.event_put_attempt.add(space.events as u64);
        let amount = self.0.amount(space)?;
        let keep_alive = self.0.limits.read().keep_alive;
        match tokio::time::timeout(keep_alive, self.0.gate.acquire(amount)).await {
            Ok(Ok(grant)) => Ok(self.0.reservation(space, grant)),
            Ok(Err(refused)) => Err(self.0.refusal(refused, amount, Duration::ZERO)),
            Err(_elapsed) => Err(self.0.refusal(Refused::Full, amount, keep_alive)),
        }
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.append_numbered(room, put).map(|(ticket, _)| ticket)
    }

    fn taker(&self) -> Box<dyn Taker> {
        Box::new(MemoryTaker(self.0.clone()))
    }

    fn source_positions(&self, _source: &str) -> Option<Positions> {
        None
    }

    fn sink_positions(&self, _sink: &str) -> Positions {
        Positions::new()
    }

    fn record(&self, _sink: &str, _progress: Vec<SinkProgress>) -> Ticket {
        Ticket::done()
    }

    fn mark_source(&self, _source: &str, _positions: Vec<Progress>) -> Ticket {
        Ticket::done()
    }

    fn status(&self) -> ChannelStatus {
        let limit = self.0.gate.limit();
        let content = self.0.store.content.lock();
        ChannelStatus {
            events: content.queue.events(),
            capacity: limit.events,
            oldest: content.queue.oldest().map(|at| at.elapsed()),
            failure: None,
            gauges: vec![
                ("body_bytes", (content.queue.slots() * self.0.slot_bytes) as f64),
                ("body_bytes_max", limit.slots.saturating_mul(self.0.slot_bytes) as f64),
            ],
        }
    }

    fn reconfigure(&self, config: &ComponentConfig) -> Result<(), String> {
        self.set_limits(limits(&read(config)?, self.0.memory_limit));
        Ok(())
    }

    async fn close(&self) {
        self.0.gate.close();
        self.0.store.content.lock().closed = true;
        self.0.store.arrived.notify_waiters();
    }
}

/// As Flume counts: each body in steps of a slot's bytes, and at least one.
fn slots(batch: &Batch, selection: Option<&[u32]>, slot_bytes: u64) -> u64 {
    let slots = |len: u32| u64::from(len).div_ceil(slot_bytes).max(1);
    let spans = batch.spans();
    match selection {
        None => spans.iter().map(|span| slots(span.len)).sum(),
        Some(selection) => selection.iter().map(|&i| slots(spans[i as usize].len)).sum(),
    }
}

struct MemoryTaker(Arc<Shared>);

#[async_trait]
impl Taker for MemoryTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        let shared = &self.0;
        let events = limit.events.min(shared.limits.read().transaction_capacity);
        let pieces = {
            let mut content = shared.store.content.lock();
            if content.closed {
                return Err(TakeError::Closed { channel: shared.name.clone() });
            }
            content.queue.take(TakeLimit { events, ..limit })
        };
        let Some(first_event) = pieces.first().map(|piece| piece.first_event) else {
            shared.metrics.event_take_attempt.inc();
            return Ok(None);
        };
        let mut events = Events::new();
        for piece in &pieces {
            events.push(piece.chunk.slice(piece.skip, piece.events));
        }
        shared.metrics.event_take_attempt.add(events.len() as u64);
        let receipt = MemoryReceipt { shared: shared.clone(), pieces };
        Ok(Some(Taken::new(events, first_event, Box::new(receipt))))
    }

    async fn ready(&mut self) {
        let mut arrived = std::pin::pin!(self.0.store.arrived.notified());
        // From here on an arrival is noticed, so none can fall between the look and the wait.
        arrived.as_mut().enable();
        {
            let content = self.0.store.content.lock();
            if content.closed || content.queue.has_events() {
                return;
            }
        }
        arrived.await;
    }
}

struct MemoryReceipt {
    shared: Arc<Shared>,
    pieces: Vec<Piece>,
}

impl Receipt for MemoryReceipt {
    /// Progress of a sink dies with the process, as the events do.
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, _sink: &str, _progress: Vec<SinkProgress>) {
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        for receipt in std::iter::once(self).chain(rest) {
            let events: usize = receipt.pieces.iter().map(|piece| piece.events).sum();
            receipt.shared.store.content.lock().queue.release(&receipt.pieces);
            receipt.shared.gate.released();
            receipt.shared.metrics.event_take_success.add(events as u64);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        let Self { shared, pieces } = *self;
        shared.store.content.lock().queue.give_back(pieces);
        shared.store.arrived.notify_waiters();
    }
}
