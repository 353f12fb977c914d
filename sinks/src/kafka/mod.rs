//! The Kafka sink: each event a record, released when the brokers have it.
//!
//! ```text
//!   route     event ──> topic, partition, timestamp ── or refused: it goes to the sink's dead letter
//!   plain     deliver: records into the client's queue     flush: all of them are with the brokers (as `acks` says)
//!   exact     the same within a transaction of Kafka's     flush: what is in it noted in the channel, the transaction committed
//! ```
//!
//! The client batches, tries again and keeps the order; several flushes are on their way at a time. When one fails (no broker
//! for `delivery.timeout.ms`, a record refused), everything that is not released goes back to the channel, and a new client sends
//! it again: what the brokers had of it is there twice, unless the sink is exact (`exact.rs`).

mod exact;
mod plain;
mod route;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::event::EventRef;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use flumen_kafka::producer::{Flight, KEY, Producer, Record, Sent, Undelivered};
use flumen_kafka::{Properties, Role, datum};

use crate::escapes::Escaper;
use exact::Exact;
use plain::Plain;
use route::Routing;
pub use settings::KafkaSinkSettings;

/// Bytes of a take, and events that are on their way: what is not released lies in memory twice.
const TAKE_BYTES: usize = 1 << 20;
const ON_THEIR_WAY: usize = 8000;
/// How often the client is asked again whether there is room in its queue.
const ROOM_PAUSE: Duration = Duration::from_millis(2);
/// How long a stop waits for brokers that do not answer.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.sink.kafka.KafkaSink"],
        keys: KafkaSinkSettings::KEYS,
        doc: "Writes events to topics of Kafka, with kafka.producer.transactional.id each exactly once.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let sink = KafkaSink::from_config(config, problems)?;
    let batch_size = Some(("flumeBatchSize", sink.batch_size));
    Some(Built { component: Box::new(sink), batch_size })
}

/// The sink.
struct KafkaSink {
    batch_size: usize,
    routing: Arc<Routing>,
    way: Way,
    running: Option<Running>,
}

/// How records get there.
enum Way {
    Plain(Plain),
    Exact(Exact),
}

/// What a started sink has.
struct Running {
    context: SinkContext,
    escaper: Option<Escaper>,
}

impl KafkaSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = KafkaSinkSettings::load(config, problems)?;
        let mut properties = Properties::new(Role::Producer, &settings.bootstrap_servers);
        properties.take_over(&settings.producer, "kafka.producer.", &["acks"], config, problems)?;
        let acks_named = config.get("kafka.producer.acks").is_some() || config.get("requiredAcks").is_some();
        let exact = settings.transactional_id.is_some();
        let all =
            matches!(settings.acks.to_ascii_lowercase().as_str(), "all" | "-1") || (exact && !acks_named);
        if exact && !all {
            let message =
                "a transaction needs all brokers that should have a record: write acks = all, or nothing";
            problems.error(config, "kafka.producer.acks", message);
            return None;
        }
        if exact && settings.batch_size > exact::EVENTS_MAX {
            let message = format!("with kafka.producer.transactional.id at most {}", exact::EVENTS_MAX);
            problems.error(config, "flumeBatchSize", message);
            return None;
        }
        properties.set_acks(all, &settings.acks);
        let bytes_max = properties.record_bytes_max();
        let routing = Arc::new(Routing::of(&settings, bytes_max, config, problems)?);
        let way = match settings.transactional_id {
            Some(id) => Way::Exact(Exact::new(id, properties)),
            None => Way::Plain(Plain::new(properties)),
        };
        Some(Self { batch_size: settings.batch_size, routing, way, running: None })
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit { events: self.batch_size, bytes: TAKE_BYTES }
    }

    fn window(&self) -> Window {
        match self.way {
            // Each take is released by itself: one that fails does not take with it those before it.
            Way::Plain(_) => {
                Window { flushes: (ON_THEIR_WAY / self.batch_size).clamp(4, 32), ..Window::EACH_TAKE }
            }
            // What a transaction holds is noted event by event; see there.
            Way::Exact(_) => Window {
                events: exact::EVENTS_MAX,
                bytes: 8 * TAKE_BYTES,
                time: Duration::from_secs(1),
                flushes: 1,
            },
        }
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let escaper = self.routing.escaper(context.metrics.fell_back.clone()).map_err(SinkError::plain)?;
        let started = match &mut self.way {
            Way::Plain(plain) => plain.start(self.routing.fixed_topic(), context).await,
            Way::Exact(exact) => exact.start(context).await,
        };
        match &started {
            Ok(()) => context.metrics.connection_created.inc(),
            Err(_) => context.metrics.connection_failed.inc(),
        }
        started?;
        self.running = Some(Running { context: context.clone(), escaper });
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let Some(Running { context, escaper }) = &mut self.running else {
            return Err(SinkError::plain("the sink is not started"));
        };
        let mut outgoing = Outgoing {
            routing: &self.routing,
            escaper: escaper.as_mut(),
            now: now(),
            value: Vec::new(),
            topic: None,
        };
        // Looked at before anything is sent: without a dead letter all goes back, and what was sent of it would be there twice.
        let refused = outgoing.refused(events);
        if let Some((_, why)) = refused.first() {
            let indexes = refused.iter().map(|(index, _)| *index).collect();
            let error = context.refuse(why.clone(), indexes);
            if error.refused.is_empty() {
                match &mut self.way {
                    Way::Plain(plain) => plain.given_back(),
                    Way::Exact(exact) => exact.given_back(),
                }
                return Err(error);
            }
        }
        match &mut self.way {
            Way::Plain(plain) => plain.deliver(events, outgoing, refused, context).await,
            Way::Exact(exact) => exact.deliver(events, outgoing, refused, context).await,
        }
    }

    fn flush(&mut self) -> FlushFuture {
        match (&mut self.way, &self.running) {
            (Way::Plain(plain), Some(running)) => plain.flush(&running.context),
            (Way::Exact(exact), Some(running)) => exact.flush(&running.context),
            (_, None) => Box::pin(std::future::ready(Ok(Vec::new()))),
        }
    }

    async fn stop(&mut self) {
        match &mut self.way {
            Way::Plain(plain) => plain.stop(),
            Way::Exact(exact) => exact.stop(),
        }
        if let Some(running) = self.running.take() {
            running.context.metrics.connection_closed.inc();
        }
    }
}

/// What makes records of events.
struct Outgoing<'a> {
    routing: &'a Routing,
    escaper: Option<&'a mut Escaper>,
    now: i64,
    value: Vec<u8>,
    /// Where the first record went.
    topic: Option<String>,
}

impl Outgoing<'_> {
    /// Indexes of the events that can go nowhere, with the reasons.
    fn refused(&mut self, events: &Events) -> Vec<(u32, String)> {
        let mut refused = Vec::new();
        for (index, event) in (0..).zip(events.iter()) {
            let routed = self.routing.route(event.headers, event.body, self.escaper.as_deref_mut(), self.now);
            if let Err(why) = routed {
                refused.push((index, why));
            }
        }
        refused
    }

    /// Hands one event's record to the client, waiting for room in its queue.
    async fn send(
        &mut self,
        event: EventRef<'_>,
        producer: &Producer,
        flight: &Arc<Flight>,
        context: &SinkContext,
    ) -> Result<(), NotSent> {
        let Self { routing, escaper, now, value, topic } = self;
        let route = routing.route(event.headers, event.body, escaper.as_deref_mut(), *now);
        let route = route.map_err(NotSent::Refused)?;
        let value = match routing.is_event_format() {
            true => {
                value.clear();
                datum::encode(event.headers, event.body, value);
                &value[..]
            }
            false => event.body,
        };
        let mut headers = Vec::new();
        routing.record_headers(event.headers, &mut headers);
        let record = Record {
            topic: route.topic,
            partition: route.partition,
            key: event.headers.get(KEY),
            value,
            timestamp: route.timestamp,
            headers: &headers,
        };
        loop {
            match producer.send(&record, flight) {
                Sent::Going => {
                    topic.get_or_insert_with(|| route.topic.to_string());
                    return Ok(());
                }
                Sent::Full => {}
                Sent::Not(Undelivered { code, why }) => {
                    return Err(match flumen_kafka::producer::is_for_good(code) {
                        true => NotSent::Refused(format!("topic {}: {why}", route.topic)),
                        false => NotSent::Failed(format!("cannot send to topic {}: {why}", route.topic)),
                    });
                }
            }
            if context.shutdown.is_cancelled() {
                return Err(NotSent::Failed("the sink stops while the client's queue is full".into()));
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }
}

/// Why an event was not handed over.
enum NotSent {
    /// It never can be.
    Refused(String),
    /// The client does not work.
    Failed(String),
}

/// Waits for a flight, but not for long once the sink shall stop.
async fn landed(flight: &Flight, context: &SinkContext) -> Result<(), Undelivered> {
    let given_up = async {
        context.shutdown.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        biased;
        landed = flight.landed() => landed,
        () = given_up => Err(Undelivered {
            code: flumen_kafka::rdkafka::types::RDKafkaErrorCode::PurgeQueue,
            why: format!("no answer within {} s of the stop", STOP_PATIENCE.as_secs()),
        }),
    }
}

/// The clock in milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}
