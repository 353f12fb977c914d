//! The Kafka channel: events wait in a topic.
//!
//! ```text
//!   append ── a record for each event ──> topic ──> ticket: the brokers have all (as `acks` says)
//!   take   <── records, as a member of the group ── topic        release ── the group's offset, up to the first event that is out
//! ```
//!
//! The topic is the channel: a put may be taken by an agent on another machine, and an agent may have the one side without the
//! other. So there is no capacity here and no count of events; how long they are kept is the topic's matter. Takers share the
//! topic's partitions, and order is that of a partition. Progress of sources and sinks is not kept: for a source this is a channel
//! that does not vote.
//!
//! Events that were taken and not released come again when their partition goes to another member, or the agent starts again.

mod settings;
mod taker;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, OpenError, Put, PutError, Reservation, Room, SinkProgress, Space,
    Taker, Ticket,
};
use flumen_api::event::EventRef;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::{Positions, Progress};
use flumen_api::registry::{ChannelContext, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_kafka::producer::{self, ENVELOPE, Flight, KEY, Producer, Record, Sent, Undelivered};
use flumen_kafka::rdkafka::types::RDKafkaErrorCode;
use flumen_kafka::{Properties, Role, datum};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::gate::{self, Amount, Gate, Grant, Refused};
pub use settings::KafkaChannelSettings;
use taker::KafkaTaker;

/// What may be on its way to the brokers: well within what the client's queue holds.
const EVENTS_MAX: u64 = 50_000;
const BYTES_MAX: u64 = 32 << 20;
/// Bodies that takers may have and not release: they are here alone, where the file channel has them on its disk.
const TAKEN_MAX: usize = 128 << 20;
/// How long a put waits for room, and a close for what is on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.channel.kafka.KafkaChannel"],
        keys: KafkaChannelSettings::KEYS,
        doc: "Keeps events in a topic of Kafka.",
        factory: Factory::Channel { check, open, directories: |_| Vec::new() },
    }
}

/// Flume does not compare batch sizes with this channel, which has no limit.
fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    Setup::read(config, problems).map(|_| usize::MAX)
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    let mut problems = Problems::default();
    let setup =
        Setup::read(config, &mut problems).ok_or_else(|| OpenError::Config(super::errors(&problems)))?;
    let producer = Producer::new(&setup.producer).map_err(OpenError::Config)?;
    let held = Arc::new(Held::default());
    Ok(Arc::new(KafkaChannel(Arc::new(Shared {
        name: config.name.clone(),
        metrics: context.metrics,
        gate: Gate::new(Amount { events: EVENTS_MAX, slots: BYTES_MAX }, held.clone()),
        held,
        setup,
        producer,
        closed: AtomicBool::new(false),
        next: AtomicU64::new(0),
        taken: Arc::default(),
        takers: Mutex::default(),
        failure: Mutex::default(),
    }))))
}

/// What the keys say.
struct Setup {
    topic: String,
    event_format: bool,
    poll_timeout: Duration,
    partition: Option<i32>,
    partition_header: Option<String>,
    bytes_max: usize,
    /// A new group begins with the oldest record.
    from_earliest: bool,
    group: String,
    /// For offsets that Kafka has not.
    zookeeper: Option<String>,
    producer: Properties,
    consumer: Properties,
}

impl Setup {
    fn read(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = KafkaChannelSettings::load(config, problems)?;
        let mut producer = Properties::new(Role::Producer, &settings.bootstrap_servers);
        producer.take_over(&settings.producer, "kafka.producer.", &["acks"], config, problems)?;
        let all = matches!(settings.acks.to_ascii_lowercase().as_str(), "all" | "-1");
        producer.set_acks(all, &settings.acks);
        let mut consumer = Properties::new(Role::Consumer, &settings.bootstrap_servers);
        let own = &["group.id", "auto.offset.reset"];
        consumer.take_over(&settings.consumer, "kafka.consumer.", own, config, problems)?;
        consumer.set("group.id", settings.group_id.as_str());
        let from_earliest = match config.get("kafka.consumer.auto.offset.reset") {
            None => settings.read_smallest_offset.unwrap_or(true),
            Some(text) => !text.eq_ignore_ascii_case("latest"),
        };
        consumer.set("auto.offset.reset", if from_earliest { "earliest" } else { "latest" });
        Some(Self {
            topic: settings.topic,
            event_format: settings.parse_as_flume_event,
            poll_timeout: Duration::from_millis(u64::from(settings.poll_timeout).max(1)),
            partition: settings.default_partition_id.map(|id| id as i32),
            partition_header: settings.partition_id_header,
            bytes_max: producer.record_bytes_max(),
            from_earliest,
            group: settings.group_id,
            zookeeper: settings.zookeeper_connect.filter(|_| settings.migrate_zookeeper_offsets),
            producer,
            consumer,
        })
    }

    /// The record's size, envelope included.
    fn size(&self, event: EventRef<'_>) -> usize {
        let headers = match self.event_format {
            true => event.headers.iter().map(|(key, value)| key.len() + value.len() + 10).sum(),
            false => 0,
        };
        event.body.len() + headers + event.headers.get(KEY).map_or(0, str::len) + ENVELOPE
    }
}

/// See the [module](self).
struct KafkaChannel(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    metrics: ChannelMetrics,
    gate: Arc<Gate<Held>>,
    held: Arc<Held>,
    setup: Setup,
    producer: Producer,
    closed: AtomicBool,
    /// The next taken event's number: one of this process alone.
    next: AtomicU64,
    /// Bytes of bodies that were taken, and neither released nor rolled back.
    taken: Arc<AtomicUsize>,
    /// Those who wait for records.
    takers: Mutex<Vec<Weak<Notify>>>,
    /// Why the last put failed.
    failure: Mutex<Option<String>>,
}

/// What is on its way to the brokers.
#[derive(Default)]
struct Held {
    events: AtomicU64,
    bytes: AtomicU64,
}

impl gate::Positions for Held {
    fn held(&self) -> Amount {
        Amount { events: self.events.load(Ordering::Acquire), slots: self.bytes.load(Ordering::Acquire) }
    }
}

struct KafkaRoom {
    amount: Amount,
    _grant: Grant<Held>,
}

impl Room for KafkaRoom {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl Shared {
    fn closed(&self) -> PutError {
        PutError::Closed { channel: self.name.clone() }
    }

    fn amount(space: Space) -> Amount {
        Amount { events: (space.events as u64).min(EVENTS_MAX), slots: space.chunk_bytes.min(BYTES_MAX) }
    }

    fn refusal(&self, refused: Refused, waited: Duration) -> PutError {
        if refused == Refused::Closed {
            return self.closed();
        }
        let trouble = self.producer.trouble().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        let reason = format!("the brokers are slower than what comes in{}{trouble}", super::after(waited));
        PutError::Full { channel: self.name.clone(), reason }
    }

    /// Hands one event's record to the client.
    fn send(
        &self,
        event: EventRef<'_>,
        value: &mut Vec<u8>,
        flight: &Arc<Flight>,
    ) -> Result<(), Undelivered> {
        let wrong = |why: String| Undelivered { code: RDKafkaErrorCode::InvalidRecord, why };
        let mut partition = self.setup.partition;
        if let Some(text) = self.setup.partition_header.as_ref().and_then(|name| event.headers.get(name)) {
            partition = Some(producer::partition(text).map_err(wrong)?);
        }
        let value = match self.setup.event_format {
            true => {
                value.clear();
                datum::encode(event.headers, event.body, value);
                &value[..]
            }
            false => event.body,
        };
        let key = event.headers.get(KEY);
        let record =
            Record { topic: &self.setup.topic, partition, key, value, timestamp: None, headers: &[] };
        let begun = Instant::now();
        loop {
            match self.producer.send(&record, flight) {
                Sent::Going => return Ok(()),
                Sent::Not(undelivered) => return Err(undelivered),
                // The gate keeps well below the queue's bounds, unless keys make the queue small.
                Sent::Full if begun.elapsed() > KEEP_ALIVE => {
                    return Err(Undelivered {
                        code: RDKafkaErrorCode::QueueFull,
                        why: "the client's queue is full".into(),
                    });
                }
                Sent::Full => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

#[async_trait]
impl Channel for KafkaChannel {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn limits(&self) -> ChannelLimits {
        // Its events survive the process, but not its sources' progress, which is what is asked here.
        ChannelLimits { transaction_capacity: usize::MAX, keep_alive: KEEP_ALIVE, durable: false }
    }

    /// There is always room in a topic, and no end to what may be taken from it.
    fn lacks_room(&self) -> bool {
        self.0.taken.load(Ordering::Acquire) >= TAKEN_MAX
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let amount = Shared::amount(space);
        let grant =
            self.0.gate.try_acquire(amount).map_err(|refused| self.0.refusal(refused, Duration::ZERO))?;
        Ok(Reservation::new(space, Box::new(KafkaRoom { amount, _grant: grant })))
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let amount = Shared::amount(space);
        let acquired = tokio::time::timeout(KEEP_ALIVE, self.0.gate.acquire(amount)).await;
        let grant =
            acquired.unwrap_or(Err(Refused::Full)).map_err(|refused| self.0.refusal(refused, KEEP_ALIVE))?;
        Ok(Reservation::new(space, Box::new(KafkaRoom { amount, _grant: grant })))
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        let shared = &self.0;
        if shared.closed.load(Ordering::Acquire) {
            return Err(shared.closed());
        }
        let amount = room.into_room::<KafkaRoom>().map_or(Amount::default(), |room| {
            shared.held.events.fetch_add(room.amount.events, Ordering::AcqRel);
            shared.held.bytes.fetch_add(room.amount.slots, Ordering::AcqRel);
            room.amount
        });
        let (held, gate) = (shared.held.clone(), shared.gate.clone());
        let flight = Flight::then(move || {
            held.events.fetch_sub(amount.events, Ordering::AcqRel);
            held.bytes.fetch_sub(amount.slots, Ordering::AcqRel);
            gate.released();
        });
        let indexes = || -> Box<dyn Iterator<Item = usize> + '_> {
            match put.selection {
                None => Box::new(0..put.batch.len()),
                Some(selection) => Box::new(selection.iter().map(|index| *index as usize)),
            }
        };
        let (mut events, mut value) = (0, Vec::new());
        for index in indexes() {
            events += 1;
            let size = shared.setup.size(put.batch.event(index));
            if size > shared.setup.bytes_max {
                flight.seal();
                let limit = shared.setup.bytes_max;
                let reason = format!("an event of {size} bytes; kafka.producer.max.request.size is {limit}");
                return Err(PutError::TooLarge { channel: shared.name.clone(), reason });
            }
        }
        shared.metrics.event_put_attempt.add(events);
        for index in indexes() {
            if let Err(undelivered) = shared.send(put.batch.event(index), &mut value, &flight) {
                flight.fail(undelivered);
                break;
            }
        }
        flight.seal();
        let shared = shared.clone();
        Ok(Ticket::pending(async move {
            match flight.landed().await {
                Ok(()) => {
                    shared.metrics.event_put_success.add(events);
                    *shared.failure.lock() = None;
                    Ok(())
                }
                Err(undelivered) => {
                    shared.metrics.event_put_error.inc();
                    *shared.failure.lock() = Some(undelivered.why.clone());
                    Err(PutError::Failed { channel: shared.name.clone(), reason: undelivered.why })
                }
            }
        }))
    }

    fn taker(&self) -> Box<dyn Taker> {
        let arrived = Arc::new(Notify::new());
        let mut takers = self.0.takers.lock();
        takers.retain(|taker| taker.strong_count() > 0);
        takers.push(Arc::downgrade(&arrived));
        Box::new(KafkaTaker::new(self.0.clone(), arrived))
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
        let on_their_way = self.0.held.events.load(Ordering::Acquire) as f64;
        ChannelStatus {
            failure: self.0.failure.lock().clone(),
            gauges: vec![("events_on_their_way", on_their_way)],
            ..ChannelStatus::default()
        }
    }

    fn reconfigure(&self, _config: &ComponentConfig) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.gate.close();
        for taker in self.0.takers.lock().iter().filter_map(Weak::upgrade) {
            taker.notify_one();
        }
        let begun = Instant::now();
        while self.0.held.events.load(Ordering::Acquire) > 0 && begun.elapsed() < KEEP_ALIVE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
