//! librdkafka without an agent around it: the ceiling of both directions, and what looks into topics.

use std::path::Path;
use std::time::{Duration, Instant};

use flumen_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use flumen_kafka::rdkafka::client::DefaultClientContext;
use flumen_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use flumen_kafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use flumen_kafka::rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use flumen_kafka::rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::failure::{Context, Failure};
use crate::lines::LINE_BYTES;

const CALL: Duration = Duration::from_secs(60);

/// When the client was made, and when the first and the last line were there.
pub struct Times {
    pub made: Instant,
    pub first: Instant,
    pub last: Instant,
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// Makes a topic of one partition.
pub fn create(servers: &str, topic: &str) -> Result<(), Failure> {
    let what = || format!("make topic {topic}");
    let admin: AdminClient<DefaultClientContext> = config(servers).create().context(what)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().context(what)?;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    let made = runtime.block_on(admin.create_topics([&new], &options)).context(what)?;
    made.into_iter()
        .try_for_each(|one| one.map(drop).map_err(|(_, code)| Failure(format!("make topic {topic}: {code}"))))
}

/// Sends the lines of `input` as the sink does with `acks = all`, and waits until the broker has them.
pub fn send(servers: &str, topic: &str, input: &Path) -> Result<Times, Failure> {
    let made = Instant::now();
    let mut config = config(servers);
    config.set("acks", "all").set("enable.idempotence", "true").set("queue.buffering.max.kbytes", "65536");
    let producer: ThreadedProducer<DefaultProducerContext> =
        config.create().context(|| "make a producer".into())?;
    let text = std::fs::read(input).context(|| format!("read {}", input.display()))?;
    let first = Instant::now();
    for line in text.chunks_exact(LINE_BYTES as usize) {
        let mut record = BaseRecord::<(), _>::to(topic).payload(&line[..line.len() - 1]);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(Failure(format!("send to {topic}: {error}")));
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(CALL).context(|| format!("send to {topic}"))?;
    Ok(Times { made, first, last: Instant::now() })
}

/// Reads `count` records and hands each value to `see`.
pub fn read(servers: &str, topic: &str, count: u64, mut see: impl FnMut(&[u8])) -> Result<Times, Failure> {
    let made = Instant::now();
    let mut config = config(servers);
    config
        .set("group.id", "alone")
        .set("enable.auto.commit", "false")
        .set("queued.max.messages.kbytes", "16384");
    let consumer: BaseConsumer = config.create().context(|| "make a consumer".into())?;
    let mut list = TopicPartitionList::new();
    let place = list.add_partition_offset(topic, 0, Offset::Beginning);
    place.and_then(|()| consumer.assign(&list)).context(|| format!("read {topic}"))?;
    let (mut first, mut seen) = (None, 0);
    while seen < count {
        match consumer.poll(CALL) {
            Some(Ok(record)) => {
                first.get_or_insert_with(Instant::now);
                see(record.payload().unwrap_or_default());
                seen += 1;
            }
            Some(Err(error)) => return Err(Failure(format!("read {topic}: {error}"))),
            None => return Err(Failure(format!("{topic} has {seen} records of {count}"))),
        }
    }
    let last = Instant::now();
    Ok(Times { made, first: first.unwrap_or(last), last })
}

/// Fails unless the topic holds the lines of `input`, in their order, and nothing else.
pub fn check_equal(servers: &str, topic: &str, input: &Path) -> Result<(), Failure> {
    let text = std::fs::read(input).context(|| format!("read {}", input.display()))?;
    let count = text.len() as u64 / LINE_BYTES;
    let (mut lines, mut wrong) = (text.chunks_exact(LINE_BYTES as usize), None);
    let mut at = 0_u64;
    read(servers, topic, count, |value| {
        at += 1;
        if lines.next().is_none_or(|line| &line[..line.len() - 1] != value) {
            wrong.get_or_insert(at);
        }
    })?;
    match (wrong, Watch::new(servers, topic)?.records()) {
        (None, there) if there == count => Ok(()),
        (None, there) => Err(Failure(format!("{topic} holds {there} records for {count} lines"))),
        (Some(line), _) => Err(Failure(format!("{topic} differs from line {line} on"))),
    }
}

/// Looks how much is in a topic of one partition.
pub struct Watch {
    consumer: BaseConsumer,
    topic: String,
}

impl Watch {
    pub fn new(servers: &str, topic: &str) -> Result<Self, Failure> {
        let consumer =
            config(servers).set("group.id", "watch").create().context(|| "make a consumer".into())?;
        Ok(Self { consumer, topic: topic.into() })
    }

    /// Records; 0 while the topic is not there.
    pub fn records(&self) -> u64 {
        let marks: Result<(i64, i64), KafkaError> = self.consumer.fetch_watermarks(&self.topic, 0, CALL);
        marks.map_or(0, |(_, high)| high.max(0) as u64)
    }
}
