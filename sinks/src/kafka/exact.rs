//! Exactly once: each flush is a transaction of Kafka's, and the channel knows what is in it.
//!
//! ```text
//!   deliver   begin, records                                       of transaction n
//!   flush     the brokers have all records (nobody sees them yet)
//!             channel: prepared = { n, a hash of each event }, carried      durable
//!             the transaction: offset n of the sink's own group
//!             commit                                               everybody sees the records, and the offset
//!             release, with released = n, carried
//! ```
//!
//! After a crash anywhere: `prepared` is of the last transaction that may have been committed, because the channel keeps what is
//! recorded and released in its order. If it is released as well, all is said. If not, the group's offset says whether Kafka has
//! it, and if Kafka has, those events come again and are left out: each that comes with a hash which is noted, once. It is the
//! events that are compared and not their count, so that an event which another sink of the channel took meanwhile is missed by
//! nobody. What is in Kafka and has not come again yet is *carried* on with each note and each release.
//!
//! The offset is of group `flumen-<transactional.id>`, with the metadata `flumen <id>`; `note` says how the others are written.
//!
//! Whoever begins with the same `transactional.id` ends the transaction that another has open, and the other's client is refused
//! from then on.

mod commit;
mod note;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use flumen_api::chunk::Events;
use flumen_api::sink::{FlushFuture, Flushed, SinkContext, SinkError};
use flumen_kafka::Properties;
use flumen_kafka::producer::{Flight, Producer, Transactions, Undelivered};
use flumen_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use flumen_kafka::rdkafka::error::{KafkaError, KafkaResult};
use flumen_kafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use parking_lot::Mutex;

use super::{NotSent, Outgoing, landed};
use commit::{CALL, Commit, again};
use note::{CARRIED, CARRIED_MAX, PREPARED, Prepared, RELEASED, carried, decode, hash, progress};

/// Most events of a take and of a window: two such lists of hashes go into what a channel keeps of a key.
pub(super) const EVENTS_MAX: usize = 3500;
/// Hashes that no event comes for (another sink took them) are forgotten after so many events.
const SKIP_WITHIN: u64 = 100_000;

/// See the [module](self).
pub(super) struct Exact {
    id: String,
    properties: Properties,
    session: Option<Session>,
    shared: Arc<Shared>,
    /// Hashes of events that a broker refused within a transaction, which then had to end.
    refused: HashSet<u64>,
    /// The client sends each record by itself, so that a refusal is for one alone.
    careful: bool,
    /// The client's pieces are as small as Java's.
    small_pieces: bool,
}

#[derive(Default)]
struct Shared {
    /// The client is of no more use.
    renew: Mutex<bool>,
    /// A broker refused one of the records that were sent in one piece.
    careful: Mutex<bool>,
    /// As last recorded by this process, or found in the channel.
    prepared: Mutex<Option<Prepared>>,
    released: Mutex<u64>,
    carried: Mutex<Vec<u64>>,
}

impl Shared {
    fn not_landed(&self, undelivered: &Undelivered) -> SinkError {
        *self.careful.lock() |= undelivered.is_for_good();
        *self.renew.lock() = true;
        SinkError::plain(format!("records were not delivered: {}", undelivered.why))
    }
}

/// A client and what it has open.
struct Session {
    producer: Arc<Producer>,
    group: Arc<BaseConsumer>,
    /// Of the channel's content: an offset of another one says nothing.
    content: String,
    /// The next transaction's number.
    next: u64,
    /// Events in Kafka that come again, by hash, with how often.
    skip: HashMap<u64, u32>,
    /// Events delivered since `skip` was filled.
    since: u64,
    open: Option<Open>,
}

/// A transaction that has begun, or events that were left out.
struct Open {
    begun: bool,
    flight: Arc<Flight>,
    /// One for each event, when careful.
    single: Vec<(u64, Arc<Flight>)>,
    topic: Option<String>,
    /// What was carried when it was opened.
    carried: Vec<u64>,
    sent: Vec<u64>,
}

impl Exact {
    pub fn new(id: String, mut properties: Properties) -> Self {
        properties.set("transactional.id", id.as_str());
        // The client wants no record to outlive its transaction, which ends after a minute unless `transaction.timeout.ms` says otherwise.
        properties.set_default("delivery.timeout.ms", "50000");
        Self {
            id,
            properties,
            session: None,
            shared: Arc::default(),
            refused: HashSet::new(),
            careful: false,
            small_pieces: false,
        }
    }

    pub async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        if !context.is_durable() {
            tracing::warn!(sink = %context.name, "the channel does not keep what is delivered: after a kill events may be there twice");
        }
        let positions = context.positions();
        let unreadable = || {
            SinkError::plain(
                "the channel's note of the last transaction cannot be read: it is of a later version",
            )
        };
        let prepared = positions
            .get(PREPARED)
            .map(|position| Prepared::decode(position).ok_or_else(unreadable))
            .transpose()?;
        let carried = positions
            .get(CARRIED)
            .map(|position| decode(&position.rest).ok_or_else(unreadable))
            .transpose()?;
        *self.shared.released.lock() = positions.get(RELEASED).map_or(0, |position| position.to);
        *self.shared.prepared.lock() = prepared;
        *self.shared.carried.lock() = carried.map(|(_, hashes)| hashes).unwrap_or_default();
        self.begin_session(context).await
    }

    /// A new client, which ends what an earlier one left open, and learns what became of the last transaction.
    async fn begin_session(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.session = None;
        self.careful = std::mem::take(&mut *self.shared.careful.lock());
        self.small_pieces |= self.careful;
        let mut properties = self.properties.clone();
        if self.careful {
            properties.set("batch.num.messages", "1");
        } else if self.small_pieces {
            properties.set_default("batch.size", super::plain::SMALL_PIECES);
        }
        let producer = Arc::new(Producer::new(&properties).map_err(SinkError::plain)?);
        let failed = |what: &str, error: KafkaError| {
            let trouble = producer.trouble().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            SinkError::plain(format!("transactional.id {}: {what}: {error}{trouble}", self.id))
        };
        again(context, || producer.transactions().init(CALL))
            .map_err(|error| failed("cannot begin", error))?;
        let group = self.group().map_err(|error| failed("cannot make a client", error))?;
        let prepared = self.shared.prepared.lock().clone();
        let released = *self.shared.released.lock();
        let mut there = self.shared.carried.lock().clone();
        let (mut next, mut content) = (released + 1, None);
        if let Some(prepared) = prepared {
            next = next.max(prepared.number + 1);
            if prepared.number > released {
                let committed = again(context, || self.is_committed(&group, &prepared));
                let committed =
                    committed.map_err(|error| failed("cannot learn what was committed", error))?;
                if committed {
                    there.extend_from_slice(&prepared.sent);
                }
                tracing::info!(sink = %context.name, transaction = prepared.number, committed, "the last transaction's end is known: \
                    {} events are in Kafka and are left out when they come again", there.len());
            }
            content = Some(prepared.content);
        }
        if there.len() > CARRIED_MAX {
            tracing::warn!(sink = %context.name, "{} events are in Kafka, too many to be left out all", there.len());
            there.truncate(CARRIED_MAX);
        }
        let mut skip = HashMap::new();
        there.iter().for_each(|hash| *skip.entry(*hash).or_insert(0) += 1);
        let content =
            content.unwrap_or_else(|| format!("{:016x}", RandomState::new().build_hasher().finish()));
        self.session =
            Some(Session { producer, group: Arc::new(group), content, next, skip, since: 0, open: None });
        *self.shared.renew.lock() = false;
        Ok(())
    }

    /// A client for the sink's own group; it never joins it.
    fn group(&self) -> KafkaResult<BaseConsumer> {
        let mut config = ClientConfig::new();
        let shared = |name: &str| {
            matches!(name, "bootstrap.servers" | "client.id" | "security.protocol")
                || name.starts_with("sasl.")
                || name.starts_with("ssl.")
                || name == "enable.ssl.certificate.verification"
                || name.starts_with("socket.")
        };
        for (name, value) in self.properties.config().map_err(KafkaError::ClientCreation)?.config_map() {
            if shared(name) {
                config.set(name, value);
            }
        }
        config.set("group.id", format!("flumen-{}", self.id)).set("enable.auto.commit", "false");
        config.create()
    }

    fn is_committed(&self, group: &BaseConsumer, prepared: &Prepared) -> KafkaResult<bool> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&prepared.topic, 0);
        let answer = group.committed_offsets(asked, CALL)?;
        let Some(found) = answer.find_partition(&prepared.topic, 0) else { return Ok(false) };
        found.error()?;
        let ours = found.metadata() == format!("flumen {}", prepared.content);
        Ok(ours && matches!(found.offset(), Offset::Offset(number) if number as u64 >= prepared.number))
    }

    pub async fn deliver(
        &mut self,
        events: &Events,
        mut outgoing: Outgoing<'_>,
        refused: Vec<(u32, String)>,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        if self.session.is_none() || *self.shared.renew.lock() {
            self.begin_session(context).await?;
        }
        let mut refused: HashMap<u32, String> = refused.into_iter().collect();
        let result = self.send(events, &mut outgoing, &mut refused, context).await;
        if result.is_err() {
            *self.shared.renew.lock() = true;
        }
        result?;
        if refused.is_empty() {
            return Ok(());
        }
        self.all_landed(context).await?;
        let mut refused: Vec<(u32, String)> = refused.into_iter().collect();
        refused.sort_unstable();
        let why = refused[0].1.clone();
        let error = context.refuse(why, refused.into_iter().map(|(index, _)| index).collect());
        if error.refused.is_empty() {
            *self.shared.renew.lock() = true;
        }
        Err(error)
    }

    async fn send(
        &mut self,
        events: &Events,
        outgoing: &mut Outgoing<'_>,
        refused: &mut HashMap<u32, String>,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        let Some(session) = &mut self.session else {
            return Err(SinkError::plain("the sink is not started"));
        };
        let open = session.open.get_or_insert_with(|| Open {
            begun: false,
            flight: Flight::new(),
            single: Vec::new(),
            topic: None,
            carried: listed(&session.skip),
            sent: Vec::new(),
        });
        for (index, event) in (0..).zip(events.iter()) {
            if refused.contains_key(&index) {
                continue;
            }
            let hash = hash(event);
            if let Some(count) = session.skip.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    session.skip.remove(&hash);
                }
                continue;
            }
            if self.refused.contains(&hash) {
                refused.insert(index, "a broker refused the record".into());
                continue;
            }
            if !open.begun {
                session
                    .producer
                    .transactions()
                    .begin()
                    .map_err(|error| SinkError::new("cannot begin a transaction", error))?;
                open.begun = true;
            }
            let flight = match self.careful {
                true => Flight::new(),
                false => open.flight.clone(),
            };
            match outgoing.send(event, &session.producer, &flight, context).await {
                Ok(()) => open.sent.push(hash),
                Err(NotSent::Refused(why)) => {
                    refused.insert(index, why);
                    continue;
                }
                Err(NotSent::Failed(why)) => return Err(SinkError::plain(why)),
            }
            if self.careful {
                flight.seal();
                open.single.push((hash, flight));
            }
        }
        if open.topic.is_none() {
            open.topic = outgoing.topic.take();
        }
        session.since += events.len() as u64;
        if session.since > SKIP_WITHIN {
            session.skip.clear();
        }
        self.look_for_refusals(context).await
    }

    /// Before an event goes to the dead letter, where it would be twice if a record beside it spoilt the transaction.
    async fn all_landed(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let Some(open) = self.session.as_mut().and_then(|session| session.open.as_mut()) else {
            return Ok(());
        };
        let flight = std::mem::replace(&mut open.flight, Flight::new());
        flight.seal();
        landed(&flight, context).await.map_err(|undelivered| self.shared.not_landed(&undelivered))
    }

    /// In the careful way: a record that a broker refused has spoilt the transaction, and is kept out of the next one.
    async fn look_for_refusals(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let Some(open) = self.session.as_mut().and_then(|session| session.open.as_mut()) else {
            return Ok(());
        };
        let single = std::mem::take(&mut open.single);
        let (mut spoilt, mut broken) = (None, None);
        for (hash, flight) in single {
            match landed(&flight, context).await {
                Ok(()) => {}
                Err(undelivered) if undelivered.is_for_good() => {
                    self.refused.insert(hash);
                    *self.shared.careful.lock() = true;
                    spoilt = Some(undelivered.why);
                }
                Err(undelivered) => broken = Some(undelivered.why),
            }
        }
        match (spoilt, broken) {
            (Some(why), _) => Err(SinkError {
                retry_after: Some(Duration::ZERO),
                ..SinkError::plain(format!(
                    "a record was refused, its transaction begins anew without it: {why}"
                ))
            }),
            (None, Some(why)) => Err(SinkError::plain(format!("records were not delivered: {why}"))),
            (None, None) => Ok(()),
        }
    }

    pub fn flush(&mut self, context: &SinkContext) -> FlushFuture {
        let nothing: Flushed = Ok(Vec::new());
        let Some(session) = &mut self.session else { return Box::pin(std::future::ready(nothing)) };
        let Some(open) = session.open.take() else { return Box::pin(std::future::ready(nothing)) };
        let shared = self.shared.clone();
        let remaining = listed(&session.skip);
        if !open.begun {
            // Everything was in Kafka already.
            let number = session.next - 1;
            *shared.released.lock() = number;
            let flushed = vec![progress(RELEASED, number, Vec::new()), carried(&session.content, &remaining)];
            *shared.carried.lock() = remaining;
            return Box::pin(std::future::ready(Ok(flushed)));
        }
        let commit = Commit {
            producer: session.producer.clone(),
            group: session.group.clone(),
            context: context.clone(),
            carried: open.carried,
            prepared: Prepared {
                number: session.next,
                content: session.content.clone(),
                topic: open.topic.unwrap_or_default(),
                sent: open.sent,
            },
        };
        let content = session.content.clone();
        session.next += 1;
        open.flight.seal();
        self.refused.clear();
        let (flight, careful) = (open.flight, self.careful);
        Box::pin(async move {
            let number = commit.prepared.number;
            match commit.run(&flight, &shared).await {
                Ok(()) => {
                    *shared.released.lock() = number;
                    // The next client batches again.
                    *shared.renew.lock() = careful;
                    let flushed = vec![progress(RELEASED, number, Vec::new()), carried(&content, &remaining)];
                    *shared.carried.lock() = remaining;
                    Ok(flushed)
                }
                Err(error) => {
                    *shared.renew.lock() = true;
                    Err(error)
                }
            }
        })
    }

    /// What was delivered and not flushed has gone back to the channel.
    pub fn given_back(&mut self) {
        *self.shared.renew.lock() = true;
    }

    pub fn stop(&mut self) {
        self.session = None;
    }
}

/// Each hash as often as it counts.
fn listed(skip: &HashMap<u64, u32>) -> Vec<u64> {
    skip.iter().flat_map(|(hash, count)| std::iter::repeat_n(*hash, *count as usize)).collect()
}
