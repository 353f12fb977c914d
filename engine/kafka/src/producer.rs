//! Sends records, and says of each *flight* of them when Kafka has all.
//!
//! ```text
//!   send(record, flight)  send(record, flight) …      each adds one that is on its way
//!   flight.seal()                                     no more of them
//!   flight.landed().await                             the brokers have all (as `acks` says), or one could not be delivered
//! ```
//!
//! librdkafka tries again by itself until `delivery.timeout.ms` is over. A record that was not delivered by then may still arrive:
//! whoever sends it again may send it twice.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, ThreadedProducer};

use crate::Properties;
use crate::context::{Report, explain};

/// The event's header that is its record's key.
pub const KEY: &str = "key";
/// What a record's envelope takes at most, headers aside.
pub const ENVELOPE: usize = 100;

/// The partition that a header names, or why it names none.
pub fn partition(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| format!("the partition `{text:.64}` is not a number"))
}

/// Why a record was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The client's or the broker's code.
    pub code: RDKafkaErrorCode,
    /// In words, with what is known of the brokers.
    pub why: String,
}

impl Undelivered {
    /// Whether it is the record's own fault: no try will ever be another.
    pub fn is_for_good(&self) -> bool {
        is_for_good(self.code)
    }
}

/// Whether a code blames the record and not the brokers.
pub fn is_for_good(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidTopic
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::UnknownPartition
    )
}

/// Records that were sent together.
pub struct Flight {
    /// Records on their way, and one more until it is sealed.
    pending: AtomicUsize,
    failed: Mutex<Option<Undelivered>>,
    waker: Mutex<Option<Waker>>,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Flight {
    /// A flight without records.
    pub fn new() -> Arc<Self> {
        Self::with(None)
    }

    /// One that calls `then` when it has landed, whoever waits for it.
    pub fn then(then: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Self::with(Some(Box::new(then)))
    }

    fn with(then: Option<Box<dyn FnOnce() + Send>>) -> Arc<Self> {
        Arc::new(Self {
            pending: AtomicUsize::new(1),
            failed: Mutex::default(),
            waker: Mutex::default(),
            then: Mutex::new(then),
        })
    }

    /// No more records will be sent in it.
    pub fn seal(&self) {
        self.one_landed();
    }

    /// Whether all of its records are delivered.
    pub fn has_landed(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0 && self.failed.lock().is_none()
    }

    /// Waits until no record is on its way.
    pub async fn landed(&self) -> Result<(), Undelivered> {
        poll_fn(|cx| {
            *self.waker.lock() = Some(cx.waker().clone());
            // Asked after the waker is there: whoever lands last sees it, or is seen here.
            match self.pending.load(Ordering::Acquire) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        match self.failed.lock().clone() {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }

    fn one_landed(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        if let Some(then) = self.then.lock().take() {
            then();
        }
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// One of its records will not be delivered.
    pub fn fail(&self, why: Undelivered) {
        // The first one says most: those behind it mostly fail because of it.
        self.failed.lock().get_or_insert(why);
    }
}

/// What a producer tells us.
struct Deliveries(Arc<Report>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        match result {
            Ok(_) => self.0.clear(),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                flight.fail(Undelivered { code, why: explain(code, &self.0) });
            }
        }
        flight.one_landed();
    }
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition, where it is not Kafka's to choose.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a str>,
    /// The value.
    pub value: &'a [u8],
    /// Milliseconds since 1970; now, where absent.
    pub timestamp: Option<i64>,
    /// Headers' names and values.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What became of a record that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Going,
    /// The queue is full: the same again in a moment.
    Full,
    /// It cannot be sent.
    Not(Undelivered),
}

/// A client that sends. Dropping it gives up what is on its way.
pub struct Producer {
    inner: ThreadedProducer<Deliveries>,
    report: Arc<Report>,
}

impl Producer {
    /// A client with these properties; connects by itself. An error says which properties do not go together.
    pub fn new(properties: &Properties) -> Result<Self, String> {
        let report = Arc::new(Report::default());
        let inner =
            ThreadedProducer::from_config_and_context(&properties.config()?, Deliveries(report.clone()))
                .map_err(|error| error.to_string())?;
        Ok(Self { inner, report })
    }

    /// What is wrong with the connection, as far as the client said.
    pub fn trouble(&self) -> Option<String> {
        self.report.trouble()
    }

    /// Asks the brokers for `topic`, or where there is none, for themselves; waits at most `time`.
    pub fn reach(&self, topic: Option<&str>, time: Duration) -> Result<(), String> {
        let client = self.inner.client();
        let words = |error: KafkaError| match error.rdkafka_error_code() {
            Some(code) => explain(code, &self.report),
            None => error.to_string(),
        };
        let reached = match topic {
            Some(name) => client.fetch_metadata(topic, time).map_err(words).and_then(|metadata| {
                let error = metadata.topics().iter().find_map(|topic| topic.error());
                error.map_or(Ok(()), |code| Err(format!("topic {name}: {}", RDKafkaErrorCode::from(code))))
            }),
            None => match client.fetch_cluster_id(time) {
                Some(_) => Ok(()),
                None => Err(explain(RDKafkaErrorCode::OperationTimedOut, &self.report)),
            },
        };
        if reached.is_ok() {
            self.report.clear();
        }
        reached
    }

    /// Hands a record over, as one of `flight`.
    pub fn send(&self, record: &Record<'_>, flight: &Arc<Flight>) -> Sent {
        let mut sent =
            BaseRecord::<str, [u8], _>::with_opaque_to(record.topic, flight.clone()).payload(record.value);
        sent.key = record.key;
        sent.partition = record.partition;
        sent.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            let none = OwnedHeaders::new_with_capacity(record.headers.len());
            let header = |headers: OwnedHeaders, &(key, value): &(&str, &str)| {
                headers.insert(Header { key, value: Some(value) })
            };
            sent.headers = Some(record.headers.iter().fold(none, header));
        }
        flight.pending.fetch_add(1, Ordering::AcqRel);
        let Err((error, _)) = self.inner.send(sent) else { return Sent::Going };
        flight.one_landed();
        let code = match error {
            // A topic's name with a zero byte.
            KafkaError::Nul(_) => RDKafkaErrorCode::InvalidTopic,
            error => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        };
        match code {
            RDKafkaErrorCode::QueueFull => Sent::Full,
            _ => Sent::Not(Undelivered { code, why: explain(code, &self.report) }),
        }
    }

    /// The client beneath, for transactions.
    pub fn transactions(&self) -> &impl Transactions {
        &self.inner
    }
}

/// What a producer with a `transactional.id` can do beside sending.
pub trait Transactions {
    /// Ends what an earlier client of this id left open, and lets no such client go on.
    fn init(&self, time: Duration) -> KafkaResult<()>;
    /// Begins.
    fn begin(&self) -> KafkaResult<()>;
    /// Makes a group's offsets part of it.
    fn send_offsets(
        &self,
        offsets: &rdkafka::TopicPartitionList,
        group: &rdkafka::consumer::ConsumerGroupMetadata,
        time: Duration,
    ) -> KafkaResult<()>;
    /// Ends it for good. All records must have landed.
    fn commit(&self, time: Duration) -> KafkaResult<()>;
    /// Ends it, as if it had never been.
    fn abort(&self, time: Duration) -> KafkaResult<()>;
}

impl Transactions for ThreadedProducer<Deliveries> {
    fn init(&self, time: Duration) -> KafkaResult<()> {
        self.init_transactions(time)
    }

    fn begin(&self) -> KafkaResult<()> {
        self.begin_transaction()
    }

    fn send_offsets(
        &self,
        offsets: &rdkafka::TopicPartitionList,
        group: &rdkafka::consumer::ConsumerGroupMetadata,
        time: Duration,
    ) -> KafkaResult<()> {
        self.send_offsets_to_transaction(offsets, group, time)
    }

    fn commit(&self, time: Duration) -> KafkaResult<()> {
        self.commit_transaction(time)
    }

    fn abort(&self, time: Duration) -> KafkaResult<()> {
        self.abort_transaction(time)
    }
}
