//! What the tests do to a broker by themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flumen_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use flumen_kafka::rdkafka::client::DefaultClientContext;
use flumen_kafka::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use flumen_kafka::rdkafka::error::KafkaError;
use flumen_kafka::rdkafka::message::{Header, Headers, OwnedHeaders};
use flumen_kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use flumen_kafka::rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::world::PATIENCE;

/// Within this time of a fault's end a group has told Kafka of every record.
const AFTER_A_FAULT: Duration = Duration::from_secs(60);

/// How long one try may take where there are several.
const ANSWER: Duration = Duration::from_secs(10);

/// A record, as anybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Vec<u8>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// A client of one broker.
pub struct Client(pub String);

impl Client {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.0);
        config
    }

    pub fn create(&self, topic: &str, partitions: i32, keys: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        self.create_as(&keys.iter().fold(new, |new, (key, value)| new.set(key, value)));
    }

    /// A topic of one partition with a copy on each of these brokers, the first of which leads.
    pub fn create_on(&self, topic: &str, brokers: &[i32]) {
        self.create_as(&NewTopic::new(topic, 1, TopicReplication::Variable(&[brokers])));
    }

    fn create_as(&self, new: &NewTopic<'_>) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = runtime.block_on(admin.create_topics([new], &options)).unwrap();
        made.into_iter().for_each(|one| drop(one.unwrap()));
    }

    /// Sends each as a record, the number of the one before modulo the partitions saying where.
    pub fn send(&self, topic: &str, partitions: i32, values: impl IntoIterator<Item = String>) {
        let producer: BaseProducer = self.config().create().unwrap();
        for (at, value) in values.into_iter().enumerate() {
            let record = BaseRecord::<(), _>::to(topic).payload(&value).partition(at as i32 % partitions);
            if producer.send(record).is_err() {
                producer.flush(PATIENCE).unwrap();
                let record = BaseRecord::<(), _>::to(topic).payload(&value).partition(at as i32 % partitions);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Sends one record with all that it can have.
    pub fn send_one(&self, topic: &str, key: &str, value: &[u8], timestamp: i64, header: (&str, &str)) {
        let producer: BaseProducer = self.config().create().unwrap();
        let headers = OwnedHeaders::new().insert(Header { key: header.0, value: Some(header.1) });
        let record = BaseRecord::to(topic).payload(value).key(key).timestamp(timestamp).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// All records of a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Seen> {
        self.read_as(topic, "read_committed")
    }

    pub fn read_as(&self, topic: &str, isolation: &str) -> Vec<Seen> {
        let mut config = self.config();
        config
            .set("group.id", "a reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut list = TopicPartitionList::new();
        let mut left = BTreeSet::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
            left.insert(partition.id());
        }
        consumer.assign(&list).unwrap();
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "{topic}: {} records, and no end", seen.len());
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => seen.push(Seen {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
                    value: message.payload().unwrap_or_default().to_vec(),
                    timestamp: message.timestamp().to_millis(),
                    headers: message.headers().map_or(Vec::new(), |headers| {
                        let text = |value: Option<&[u8]>| {
                            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
                        };
                        headers.iter().map(|one| (one.key.to_string(), text(one.value))).collect()
                    }),
                }),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                Some(Err(error)) => println!("{error}"),
                None => {}
            }
        }
        seen.sort_by_key(|one| (one.partition, one.offset));
        seen
    }

    /// The values of a topic as text.
    pub fn texts(&self, topic: &str) -> Vec<String> {
        self.read(topic).iter().map(Seen::text).collect()
    }

    /// The broker that leads a topic's first partition.
    pub fn leader(&self, topic: &str) -> i32 {
        let metadata = self.group("a reader").fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics()[0].partitions().first().map_or(-1, |partition| partition.leader())
    }

    fn group(&self, group: &str) -> BaseConsumer {
        self.config().set("group.id", group).set("enable.auto.commit", "false").create().unwrap()
    }

    /// A group's offset with its metadata.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<(i64, String)> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let deadline = Instant::now() + 3 * PATIENCE;
        let answer = loop {
            // A client that asks while the group's coordinator is not there yet may not hear of it in time: the next one does.
            match self.group(group).committed_offsets(asked.clone(), ANSWER) {
                Ok(answer) => break answer,
                Err(error) => assert!(Instant::now() < deadline, "group {group}: {error}"),
            }
        };
        let found = answer.find_partition(topic, partition).unwrap();
        match found.offset() {
            Offset::Offset(offset) => Some((offset, found.metadata().to_string())),
            _ => None,
        }
    }

    /// Waits, for as long as it may take behind a fault, until a group has told of all records of a topic.
    #[track_caller]
    pub fn wait_for_no_lag(&self, group: &str, topic: &str) {
        let deadline = Instant::now() + AFTER_A_FAULT;
        loop {
            let lag = self.lag(group, topic);
            if lag == Ok(0) {
                return;
            }
            assert!(Instant::now() < deadline, "group {group} is behind {topic}: {lag:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many records of a topic a group has not told of.
    fn lag(&self, group: &str, topic: &str) -> Result<i64, KafkaError> {
        let consumer = self.group(group);
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
        let mut asked = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            asked.add_partition(topic, partition.id());
        }
        let mut lag = 0;
        for found in consumer.committed_offsets(asked, ANSWER)?.elements() {
            found.error()?;
            let (first, next) = consumer.fetch_watermarks(topic, found.partition(), ANSWER)?;
            lag += next - if let Offset::Offset(offset) = found.offset() { offset } else { first };
        }
        Ok(lag)
    }

    /// Sets a group's offset, as `kafka-consumer-groups --reset-offsets` does.
    pub fn reset(&self, group: &str, topic: &str, offset: i64) {
        let consumer = self.group(group);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        consumer.assign(&list).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    /// Waits until the values of a topic are `wanted` in any order, and fails with how they differ.
    #[track_caller]
    pub fn wait_for_all(&self, topic: &str, wanted: impl IntoIterator<Item = String>) -> Vec<String> {
        let wanted: BTreeSet<String> = wanted.into_iter().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let texts = self.texts(topic);
            let there: BTreeSet<String> = texts.iter().cloned().collect();
            if wanted.is_subset(&there) {
                assert_eq!(there, wanted, "something that nobody sent");
                return texts;
            }
            let missing: Vec<_> = wanted.difference(&there).take(5).collect();
            assert!(
                Instant::now() < deadline,
                "{topic}: {} of {}; missing: {missing:?}",
                there.len(),
                wanted.len()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
