//! At least once: records into the client's queue, and a flight for each flush.
//!
//! A record that a broker refuses (larger than its topic allows) fails everything that the client sent in one piece with it, and
//! nobody says which record it was. So what went back after such a failure is sent again *carefully*: by a client that sends each
//! record by itself, whose answer is for that record alone. After that the client's pieces are as small as Java's are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flumen_api::chunk::Events;
use flumen_api::sink::{FlushFuture, SinkContext, SinkError};
use flumen_kafka::Properties;
use flumen_kafka::producer::{Flight, Producer, Undelivered};
use parking_lot::Mutex;

use super::{NotSent, Outgoing, landed};

/// How long the brokers are waited for at the start, in one go.
const REACH: Duration = Duration::from_millis(500);
/// And in all: then the start has failed, and is tried again later.
const REACH_TRIES: u32 = 15;
const REACH_PAUSE: Duration = Duration::from_millis(100);
/// Java's size of a piece, in bytes.
pub(super) const SMALL_PIECES: &str = "16384";

/// See the [module](self).
pub(super) struct Plain {
    properties: Properties,
    producer: Option<Producer>,
    flight: Option<Arc<Flight>>,
    /// Those before it, of flushes that may not have landed.
    flying: VecDeque<Arc<Flight>>,
    /// Events delivered with the open flight.
    events: usize,
    shared: Arc<Shared>,
    /// Events that are still to be sent each by itself.
    careful: usize,
    small_pieces: bool,
}

/// What flushes on their way say.
#[derive(Default)]
struct Shared {
    failed: Mutex<Option<Failed>>,
    /// Events delivered and not known to be with the brokers.
    unlanded: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// The brokers, or the client.
    Broken,
    /// Some record of the flight.
    Refused,
}

impl Shared {
    fn fail(&self, how: Failed) {
        let mut failed = self.failed.lock();
        if *failed != Some(Failed::Refused) {
            *failed = Some(how);
        }
    }

    fn not_landed(&self, undelivered: &Undelivered) -> SinkError {
        self.fail(if undelivered.is_for_good() { Failed::Refused } else { Failed::Broken });
        SinkError::plain(format!("records were not delivered: {}", undelivered.why))
    }
}

impl Plain {
    pub fn new(properties: Properties) -> Self {
        Self {
            properties,
            producer: None,
            flight: None,
            flying: VecDeque::new(),
            events: 0,
            shared: Arc::default(),
            careful: 0,
            small_pieces: false,
        }
    }

    pub async fn start(&mut self, topic: Option<&str>, context: &SinkContext) -> Result<(), SinkError> {
        let producer = Producer::new(&self.properties).map_err(SinkError::plain)?;
        reach(&producer, topic, context).await?;
        self.producer = Some(producer);
        Ok(())
    }

    pub async fn deliver(
        &mut self,
        events: &Events,
        mut outgoing: Outgoing<'_>,
        refused: Vec<(u32, String)>,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        self.renew_if_failed()?;
        self.shared.unlanded.fetch_add(events.len(), Ordering::AcqRel);
        self.events += events.len();
        let result = match self.careful > 0 {
            true => self.deliver_singly(events, &mut outgoing, refused, context).await,
            false => self.deliver_together(events, &mut outgoing, refused, context).await,
        };
        match result {
            Ok(refused) if refused.is_empty() => Ok(()),
            Ok(refused) => {
                self.all_landed(context).await?;
                let why = refused.iter().map(|(_, why)| why.as_str()).next().unwrap_or_default().to_string();
                let error = context.refuse(why, refused.into_iter().map(|(index, _)| index).collect());
                if error.refused.is_empty() {
                    self.shared.fail(Failed::Refused);
                }
                Err(error)
            }
            Err(why) => {
                self.shared.fail(Failed::Broken);
                Err(SinkError::plain(why))
            }
        }
    }

    /// Before an event goes to the dead letter: with a flush that fails behind that, it would go back to the channel, be refused
    /// again, and be in the dead letter twice.
    async fn all_landed(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let open = self.flight.take().inspect(|flight| flight.seal());
        for flight in self.flying.iter().chain(&open) {
            if let Err(undelivered) = landed(flight, context).await {
                return Err(self.shared.not_landed(&undelivered));
            }
        }
        self.flying.clear();
        Ok(())
    }

    async fn deliver_together(
        &mut self,
        events: &Events,
        outgoing: &mut Outgoing<'_>,
        mut refused: Vec<(u32, String)>,
        context: &SinkContext,
    ) -> Result<Vec<(u32, String)>, String> {
        let producer = self.producer.as_ref().ok_or("the sink is not started")?;
        let flight = self.flight.get_or_insert_with(Flight::new);
        let known = std::mem::take(&mut refused);
        let mut known = known.into_iter().peekable();
        for (index, event) in (0..).zip(events.iter()) {
            if let Some(one) = known.next_if(|(refused, _)| *refused == index) {
                refused.push(one);
                continue;
            }
            match outgoing.send(event, producer, flight, context).await {
                Ok(()) => {}
                Err(NotSent::Refused(why)) => refused.push((index, why)),
                Err(NotSent::Failed(why)) => return Err(why),
            }
        }
        Ok(refused)
    }

    /// Each event in a flight of its own, all on their way together.
    async fn deliver_singly(
        &mut self,
        events: &Events,
        outgoing: &mut Outgoing<'_>,
        refused: Vec<(u32, String)>,
        context: &SinkContext,
    ) -> Result<Vec<(u32, String)>, String> {
        let producer = self.producer.as_ref().ok_or("the sink is not started")?;
        let mut flights = Vec::with_capacity(events.len());
        let mut refused: BTreeMap<u32, String> = refused.into_iter().collect();
        for (index, event) in (0..).zip(events.iter()) {
            if refused.contains_key(&index) {
                continue;
            }
            let flight = Flight::new();
            match outgoing.send(event, producer, &flight, context).await {
                Ok(()) => {}
                Err(NotSent::Refused(why)) => {
                    refused.insert(index, why);
                }
                Err(NotSent::Failed(why)) => return Err(why),
            }
            flight.seal();
            flights.push((index, flight));
        }
        for (index, flight) in flights {
            match landed(&flight, context).await {
                Ok(()) => {}
                Err(undelivered) if undelivered.is_for_good() => {
                    refused.insert(index, undelivered.why);
                }
                Err(undelivered) => return Err(undelivered.why),
            }
        }
        self.careful = self.careful.saturating_sub(events.len());
        if self.careful == 0 {
            self.producer = Some(Producer::new(&self.pieces())?);
        }
        Ok(refused.into_iter().collect())
    }

    pub fn flush(&mut self, context: &SinkContext) -> FlushFuture {
        let (flight, events) = (self.flight.take(), std::mem::take(&mut self.events));
        let (shared, context) = (self.shared.clone(), context.clone());
        if let Some(flight) = &flight {
            flight.seal();
            self.flying.retain(|flight| !flight.has_landed());
            self.flying.push_back(flight.clone());
        }
        Box::pin(async move {
            if let Some(flight) = flight
                && let Err(undelivered) = landed(&flight, &context).await
            {
                return Err(shared.not_landed(&undelivered));
            }
            shared.unlanded.fetch_sub(events, Ordering::AcqRel);
            Ok(Vec::new())
        })
    }

    /// What was delivered and not flushed has gone back to the channel.
    pub fn given_back(&mut self) {
        self.shared.fail(Failed::Broken);
    }

    pub fn stop(&mut self) {
        self.flight = None;
        self.flying.clear();
        self.producer = None;
    }

    /// After a failure everything that was not released comes again. The old client gives up what it still has of it, or it would
    /// send that as well.
    fn renew_if_failed(&mut self) -> Result<(), SinkError> {
        let Some(failed) = self.shared.failed.lock().take() else { return Ok(()) };
        let back = self.shared.unlanded.load(Ordering::Acquire);
        // Flushes of before may still be counted down by nobody: they were dropped.
        self.shared = Arc::default();
        (self.flight, self.events, self.producer) = (None, 0, None);
        self.flying.clear();
        let mut properties = self.pieces();
        if failed == Failed::Refused || self.careful > 0 {
            self.careful = self.careful.max(back).max(1);
            self.small_pieces = true;
            properties.set("batch.num.messages", "1");
        }
        match Producer::new(&properties) {
            Ok(producer) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(why) => {
                self.shared.fail(failed);
                Err(SinkError::plain(why))
            }
        }
    }

    fn pieces(&self) -> Properties {
        let mut properties = self.properties.clone();
        if self.small_pieces {
            properties.set_default("batch.size", SMALL_PIECES);
        }
        properties
    }
}

/// Waits until the brokers answer for `topic`.
pub(super) async fn reach(
    producer: &Producer,
    topic: Option<&str>,
    context: &SinkContext,
) -> Result<(), SinkError> {
    let mut reached = Err(String::new());
    for _ in 0..REACH_TRIES {
        reached = producer.reach(topic, REACH);
        if reached.is_ok() || context.shutdown.is_cancelled() {
            break;
        }
        // A topic that is being made just now is there in a moment.
        tokio::time::sleep(REACH_PAUSE).await;
    }
    reached.map_err(|why| SinkError::plain(format!("cannot send to Kafka yet: {why}")))
}
