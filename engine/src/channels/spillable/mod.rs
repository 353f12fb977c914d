//! The spillable memory channel: Flume's, a memory channel in front of a file channel.
//!
//! ```text
//!   put ── room in memory? ── yes ──────────────────────> memory ──┐
//!          │ no: wait overflowTimeout, then spill                  ├── order of the puts ──> take
//!          └── until overflowDeactivationThreshold is free ──> file┘
//! ```
//!
//! A put goes to one part as a whole. Events come out in the order of their puts, across both parts: Flume's drain order. What
//! is in memory is lost with the process though it was acknowledged, so the channel promises no durability, keeps no positions,
//! and takes in what a source puts a second time: the part that knew it first may be gone.
//!
//! With `memoryCapacity = 0` there is nothing in front, and the channel is the file channel. At a start the overflow may hold what
//! an earlier process left; it goes out first.
//!
//! Locks: `takes` before `order`; neither is held while somebody waits, but for a take's reading.

mod order;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, OpenError, Put, PutError, Receipt, Reservation, Room,
    SinkProgress, Space, TakeError, TakeLimit, Taken, Taker, Ticket,
};
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::{Positions, Progress};
use flumen_api::registry::{ChannelContext, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::file::FileChannel;
use super::memory::{Limits as MemoryLimits, MemoryChannel};
use order::{Order, Part, Run};
use settings::{KEYS, SpillableSettings};

/// The type as the registry has it.
pub(super) fn spec() -> Spec {
    Spec {
        alias: "spillablememory",
        class_names: &["org.apache.flume.channel.SpillableMemoryChannel"],
        keys: &KEYS,
        doc: "Keeps events in memory, and on disk what memory has no room for. What is in memory is lost with the process.",
        factory: Factory::Channel { check, open, directories },
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    SpillableSettings::read(config, problems).map(|(_, file)| file.transaction_capacity())
}

fn directories(config: &ComponentConfig) -> Vec<PathBuf> {
    let settings = SpillableSettings::read(config, &mut Problems::default());
    settings.map(|(_, file)| file.directories()).unwrap_or_default()
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    let (settings, _) = read(config).map_err(OpenError::Config)?;
    let overflow = settings.of_overflow(config);
    if settings.memory_capacity == 0 {
        return Ok(Arc::new(FileChannel::open(&overflow, context)?));
    }
    Ok(Arc::new(SpillableChannel::open(config, &settings, &overflow, context)?))
}

fn read(config: &ComponentConfig) -> Result<(SpillableSettings, super::file::FileSettings), String> {
    let mut problems = Problems::default();
    SpillableSettings::read(config, &mut problems).ok_or_else(|| super::errors(&problems))
}

/// See the [module](self).
pub struct SpillableChannel(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    metrics: ChannelMetrics,
    process_limit: u64,
    settings: RwLock<SpillableSettings>,
    memory: MemoryChannel,
    overflow: FileChannel,
    /// Puts go to the overflow until there is room in memory again.
    spills: AtomicBool,
    order: Mutex<Order>,
    /// One take or rollback at a time: a part's next event and the order's must be the same.
    takes: Mutex<()>,
    /// Takers that found nothing.
    arrived: Notify,
}

/// Room in one of the parts.
struct SpillableRoom(Part, Reservation);

impl Room for SpillableRoom {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl SpillableChannel {
    fn open(
        config: &ComponentConfig,
        settings: &SpillableSettings,
        overflow: &ComponentConfig,
        context: ChannelContext,
    ) -> Result<Self, OpenError> {
        // Both parts count for themselves what this channel counts as one.
        let of_part = ChannelContext { metrics: ChannelMetrics::default(), ..context.clone() };
        let overflow = FileChannel::open(overflow, of_part)?;
        let memory = MemoryChannel::with(
            config.name.clone(),
            memory_limits(settings, &overflow, context.memory_limit),
            ChannelMetrics::default(),
        );
        let (first, end) = overflow.numbers();
        let mut order = Order::default();
        order.appended(Run { part: Part::Overflow, first, events: end.saturating_sub(first) });
        Ok(Self(Arc::new(Shared {
            name: config.name.clone(),
            metrics: context.metrics,
            process_limit: context.memory_limit,
            settings: RwLock::new(settings.clone()),
            memory,
            overflow,
            spills: AtomicBool::new(false),
            order: Mutex::new(order),
            takes: Mutex::new(()),
            arrived: Notify::new(),
        })))
    }
}

fn memory_limits(settings: &SpillableSettings, overflow: &FileChannel, process_limit: u64) -> MemoryLimits {
    MemoryLimits {
        amount: settings.memory_limit(process_limit),
        slot_bytes: settings.avg_event_size,
        transaction_capacity: overflow.limits().transaction_capacity,
        keep_alive: settings.timeout(),
    }
}

impl Shared {
    /// Whether a put goes to the overflow without a look at memory.
    fn spills(&self) -> bool {
        if !self.spills.load(Ordering::Acquire) {
            return false;
        }
        let threshold = self.settings.read().overflow_deactivation_threshold;
        if self.memory.free_percent() < threshold.max(1) {
            return true;
        }
        self.spills.store(false, Ordering::Release);
        tracing::debug!(channel = &*self.name, "memory has room again");
        false
    }

    fn room(space: Space, part: Part, room: Reservation) -> Reservation {
        Reservation::new(space, Box::new(SpillableRoom(part, room)))
    }

    /// The overflow had nothing to hand out below `synced`: what the order knows of there was released by an earlier process or
    /// given up. From its end on it knows of events that were never synced, and that a failure of the log took.
    fn pass_over(&self, synced: u64) {
        let (_, end) = self.overflow.numbers();
        let mut order = self.order.lock();
        order.end_at(Part::Overflow, end);
        order.taken(Part::Overflow, synced, 0);
    }
}

#[async_trait]
impl Channel for SpillableChannel {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            transaction_capacity: self.0.overflow.limits().transaction_capacity,
            keep_alive: self.0.settings.read().timeout(),
            durable: false,
        }
    }

    fn lacks_room(&self) -> bool {
        match self.0.settings.read().overflows() {
            true => self.0.overflow.lacks_room(),
            false => self.0.memory.lacks_room(),
        }
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let shared = &*self.0;
        let overflows = shared.settings.read().overflows();
        let reserved = match overflows && (shared.spills() || !shared.memory.may_hold(space)) {
            true => Shared::room(space, Part::Overflow, shared.overflow.try_reserve(space)?),
            false => Shared::room(space, Part::Memory, shared.memory.try_reserve(space)?),
        };
        // Who finds no room here asks again with `reserve`, which counts.
        shared.metrics.event_put_attempt.add(space.events as u64);
        Ok(reserved)
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let shared = &*self.0;
        shared.metrics.event_put_attempt.add(space.events as u64);
        let overflows = shared.settings.read().overflows();
        if !overflows {
            return Ok(Shared::room(space, Part::Memory, shared.memory.reserve(space).await?));
        }
        if !shared.spills() && shared.memory.may_hold(space) {
            match shared.memory.reserve(space).await {
                Ok(room) => return Ok(Shared::room(space, Part::Memory, room)),
                Err(PutError::Full { reason, .. }) => {
                    if !shared.spills.swap(true, Ordering::AcqRel) {
                        tracing::info!(channel = &*shared.name, "events go to the overflow: {reason}");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Shared::room(space, Part::Overflow, shared.overflow.reserve(space).await?))
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        let shared = &*self.0;
        let room = room.into_room::<SpillableRoom>().ok_or_else(|| PutError::Failed {
            channel: shared.name.clone(),
            reason: "the reservation is of another channel".into(),
        })?;
        let SpillableRoom(part, room) = *room;
        let events = put.selection.map_or(put.batch.len(), <[u32]>::len) as u64;
        // Held over the append: the order of the parts is that of the puts.
        let mut order = shared.order.lock();
        let (ticket, first) = match part {
            Part::Memory => shared.memory.append_numbered(room, put)?,
            Part::Overflow => shared.overflow.append_numbered(room, put)?,
        };
        order.appended(Run { part, first, events });
        drop(order);
        shared.arrived.notify_waiters();
        let success = shared.metrics.event_put_success.clone();
        Ok(Ticket::pending(async move {
            ticket.await?;
            success.add(events);
            Ok(())
        }))
    }

    fn taker(&self) -> Box<dyn Taker> {
        Box::new(SpillableTaker {
            memory: self.0.memory.taker(),
            overflow: self.0.overflow.taker(),
            shared: self.0.clone(),
        })
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
        let (memory, overflow) = (self.0.memory.status(), self.0.overflow.status());
        let mut gauges = vec![
            ("memory_events", memory.events as f64),
            ("overflow_events", overflow.events as f64),
            ("spills", f64::from(u8::from(self.0.spills.load(Ordering::Acquire)))),
        ];
        gauges.extend(memory.gauges);
        gauges.extend(overflow.gauges);
        let overflow_capacity = if self.0.settings.read().overflows() { overflow.capacity } else { 0 };
        ChannelStatus {
            events: memory.events + overflow.events,
            capacity: memory.capacity + overflow_capacity,
            oldest: memory.oldest.max(overflow.oldest),
            failure: overflow.failure,
            gauges,
        }
    }

    fn reconfigure(&self, config: &ComponentConfig) -> Result<(), String> {
        let shared = &*self.0;
        let (settings, _) = read(config)?;
        shared.overflow.reconfigure(&settings.of_overflow(config))?;
        shared.memory.set_limits(memory_limits(&settings, &shared.overflow, shared.process_limit));
        *shared.settings.write() = settings;
        Ok(())
    }

    async fn close(&self) {
        self.0.memory.close().await;
        self.0.overflow.close().await;
        self.0.arrived.notify_waiters();
    }
}

struct SpillableTaker {
    shared: Arc<Shared>,
    memory: Box<dyn Taker>,
    overflow: Box<dyn Taker>,
}

#[async_trait]
impl Taker for SpillableTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        let shared = &*self.shared;
        let _one_at_a_time = shared.takes.lock();
        let front = shared.order.lock().front();
        let (part, most) = front.map_or((Part::Memory, u64::MAX), |run| (run.part, run.events));
        let limit =
            TakeLimit { events: limit.events.min(usize::try_from(most).unwrap_or(usize::MAX)), ..limit };
        let taken = match part {
            // With nothing there, memory knows whether the channel is closed.
            Part::Memory => self.memory.try_take(limit)?,
            Part::Overflow => {
                let synced = shared.overflow.synced_event();
                let taken = self.overflow.try_take(limit)?;
                if taken.is_none() {
                    shared.pass_over(synced);
                }
                taken
            }
        };
        let Some(taken) = taken else {
            shared.metrics.event_take_attempt.inc();
            return Ok(None);
        };
        let events = taken.events().clone();
        let count = events.len() as u64;
        let runs = shared.order.lock().taken(part, taken.first_event(), count);
        let number = runs.first().map_or(0, |(number, _)| *number);
        shared.metrics.event_take_attempt.add(count);
        let receipt = SpillableReceipt { shared: self.shared.clone(), part, taken, runs };
        Ok(Some(Taken::new(events, number, Box::new(receipt))))
    }

    async fn ready(&mut self) {
        let mut arrived = std::pin::pin!(self.shared.arrived.notified());
        // From here on an arrival is noticed, so none can fall between the look and the wait.
        arrived.as_mut().enable();
        let front = self.shared.order.lock().front();
        match front.map(|run| run.part) {
            Some(Part::Memory) => {}
            // Not synced yet, or of a log that has failed; or nothing is there, and the next take passes over it.
            Some(Part::Overflow) if has_unsynced(&self.shared) => tokio::select! {
                () = self.overflow.ready() => {}
                () = arrived => {}
            },
            Some(Part::Overflow) => {}
            // A closed part ends its wait at once; nothing else can come there without an arrival here.
            None => tokio::select! {
                () = self.memory.ready() => {}
                () = arrived => {}
            },
        }
    }
}

/// Whether a take may have to wait for the overflow's next event.
fn has_unsynced(shared: &Shared) -> bool {
    let (_, end) = shared.overflow.numbers();
    shared.overflow.synced_event() < end
}

struct SpillableReceipt {
    shared: Arc<Shared>,
    part: Part,
    taken: Taken,
    runs: Vec<(u64, Run)>,
}

impl Receipt for SpillableReceipt {
    /// Progress of a sink dies with the process, as what is in memory does.
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, sink: &str, _progress: Vec<SinkProgress>) {
        let shared = self.shared.clone();
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        let (mut memory, mut overflow) = (Vec::new(), Vec::new());
        let mut events = 0;
        for receipt in std::iter::once(self).chain(rest) {
            events += receipt.taken.events().len() as u64;
            match receipt.part {
                Part::Memory => memory.push(receipt.taken),
                Part::Overflow => overflow.push(receipt.taken),
            }
        }
        Taken::release_all(memory, sink, Vec::new());
        Taken::release_all(overflow, sink, Vec::new());
        shared.metrics.event_take_success.add(events);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        let Self { shared, taken, runs, .. } = *self;
        let one_at_a_time = shared.takes.lock();
        taken.rollback();
        shared.order.lock().give_back(runs);
        drop(one_at_a_time);
        shared.arrived.notify_waiters();
    }
}
