//! What the group is told, and when, against the brokers that librdkafka has inside for tests.
//!
//! They take most of a session's time to let anybody else into a group that has had a member, so each life here has its own.

use std::sync::Arc;

use flumen_kafka::Role;
use flumen_kafka::rdkafka::ClientConfig;
use flumen_kafka::rdkafka::mocking::MockCluster;
use flumen_kafka::rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokio::sync::Semaphore;

use super::*;
use crate::kafka::spec;
use crate::testing::{FakeEngine, Fate, Running, State};

const PATIENCE: Duration = Duration::from_secs(60);
/// No batch ends before it is full.
const FULL_BATCHES: (&str, &str) = ("batchDurationMillis", "3600000");
const OTHER_GROUP: (&str, &str) = ("kafka.consumer.group.id", "other");

/// A topic `t` of one partition, somebody who writes, and somebody who asks for its group's offset.
struct Stage {
    producer: BaseProducer,
    asker: Member,
    brokers: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    /// With so many records.
    fn new(records: u64) -> Self {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("t", 1, 1).unwrap();
        let servers = brokers.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        let stage = Self { producer, asker: asker(&servers, "g"), brokers };
        stage.send("t", 0..records);
        stage
    }

    /// Each value is its number.
    fn send(&self, topic: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.producer.send(BaseRecord::<(), _>::to(topic).payload(&number.to_string())).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    fn start(&self, engine: &Arc<FakeEngine>) -> Running {
        self.start_with(engine, &[])
    }

    /// Further keys, or others in the place of these.
    fn start_with(&self, engine: &Arc<FakeEngine>, further: &[(&str, &str)]) -> Running {
        let servers = self.brokers.bootstrap_servers();
        let keys = [
            ("kafka.bootstrap.servers", &*servers),
            ("kafka.topics", "t"),
            ("kafka.consumer.group.id", "g"),
            ("kafka.consumer.auto.offset.reset", "earliest"),
            ("batchSize", "10"),
            ("batchDurationMillis", "20"),
        ];
        let is_other = |key: &&(&str, &str)| further.iter().all(|(name, _)| *name != key.0);
        let keys: Vec<_> = keys.iter().filter(is_other).chain(further).copied().collect();
        Running::start(&spec(), engine, &keys)
    }

    /// Waits until the group has been told of that offset; it never may have been told of a later one.
    #[track_caller]
    fn wait_committed(&self, offset: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.asker.committed(&[("t".to_string(), 0)]);
            let told = answer.as_ref().ok().and_then(|found| found[0].as_ref()).map(|(offset, _)| *offset);
            assert!(told.is_none_or(|told| told <= offset), "told of {told:?}, and {offset} are acked");
            if told == Some(offset) {
                return;
            }
            assert!(Instant::now() < until, "told of {answer:?}, and {offset} are acked");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Who asks for a group's offsets, and never joins it.
fn asker(servers: &str, group: &str) -> Member {
    let mut properties = Properties::new(Role::Consumer, servers);
    properties.set("group.id", group);
    Member::new(&properties).unwrap()
}

/// Waits until so many events are in the channel.
#[track_caller]
fn wait_kept(engine: &FakeEngine, events: usize) {
    let until = Instant::now() + PATIENCE;
    while engine.state().events.len() < events {
        assert!(Instant::now() < until, "{} of {events} events", engine.state().events.len());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn the_group_is_told_of_no_event_before_its_put_is_acked() {
    let stage = Stage::new(30);
    let acks = Arc::new(Semaphore::new(0));
    let engine = FakeEngine::with(State { acks: Some(acks.clone()), ..State::default() });
    let running = stage.start_with(&engine, &[FULL_BATCHES]);
    wait_kept(&engine, 30);
    assert_eq!(engine.state().puts, [10, 10, 10]);
    for acked in [0, 10, 20] {
        // The lineage is told of at the beginning, with where it begins.
        stage.wait_committed(acked);
        acks.add_permits(1);
    }
    stage.wait_committed(30);
    running.stop();
    stage.wait_committed(30);
    assert_eq!(engine.bodies(), numbers(0..30));
}

#[test]
fn the_stop_waits_for_what_is_on_its_way_and_tells_of_no_more() {
    let stage = Stage::new(30);
    let acks = Arc::new(Semaphore::new(1));
    let engine = FakeEngine::with(State { acks: Some(acks.clone()), ..State::default() });
    let running = stage.start_with(&engine, &[FULL_BATCHES]);
    wait_kept(&engine, 30);
    stage.wait_committed(10);
    running.context.shutdown.cancel();
    stage.wait_committed(10);
    acks.add_permits(2);
    running.join();
    stage.wait_committed(30);
}

#[test]
fn a_put_that_fails_is_made_again_with_those_behind_it_and_no_offset_is_told_beyond_it() {
    let stage = Stage::new(100);
    let fates = [Fate::KeptAndAcked, Fate::LostLater, Fate::Full, Fate::KeptAndFailed].into();
    let engine = FakeEngine::with(State { fates, ..State::default() });
    let running = stage.start(&engine);
    wait_kept(&engine, 100);
    stage.wait_committed(100);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..100));
}

/// Two bodies of one digit fit, one of two digits does, one of three never.
#[test]
fn what_is_too_large_for_the_channel_is_put_in_halves_and_left_out_alone() {
    let stage = Stage::new(4);
    for numbers in [10..13, 100..101, 13..15] {
        stage.send("t", numbers);
    }
    let engine = FakeEngine::with(State { largest_body: Some(2), ..State::default() });
    let running = stage.start_with(&engine, &[("batchSize", "4")]);
    stage.wait_committed(10);
    running.stop();
    assert_eq!(engine.bodies(), [numbers(0..4), numbers(10..15)].concat());
}

#[test]
fn each_refusal_in_a_row_is_followed_by_a_longer_rest_up_to_the_longest() {
    let stage = Stage::new(20);
    let fates = [Fate::Full, Fate::Failing, Fate::Full, Fate::Full, Fate::KeptAndAcked, Fate::Full].into();
    let engine = FakeEngine::with(State { fates, ..State::default() });
    let running = stage.start_with(&engine, &[("backoffSleepIncrement", "100"), ("maxBackoffSleep", "250")]);
    wait_kept(&engine, 20);
    running.stop();
    let rests: Vec<u128> = engine.state().pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(rests, [100, 200, 250, 250, 100]);
    assert_eq!(engine.bodies(), numbers(0..20));
}

#[test]
fn an_incomplete_batch_is_put_when_its_time_is_over_and_not_before() {
    let stage = Stage::new(25);
    let engine = FakeEngine::new();
    let running = stage.start_with(&engine, &[FULL_BATCHES]);
    stage.wait_committed(20);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..20));
    let engine = FakeEngine::new();
    let running = stage.start_with(&engine, &[OTHER_GROUP, ("batchDurationMillis", "50")]);
    wait_kept(&engine, 25);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..25));
}

#[test]
fn a_group_without_offsets_begins_where_the_key_says() {
    let stage = Stage::new(10);
    let engine = FakeEngine::new();
    let reset = "kafka.consumer.auto.offset.reset";
    let error = stage.start_with(&engine, &[(reset, "none"), OTHER_GROUP]).failure().to_string();
    assert!(error.contains("auto.offset.reset is none"), "{error}");
    let running = stage.start_with(&engine, &[(reset, "latest")]);
    stage.wait_committed(10);
    stage.send("t", 10..15);
    wait_kept(&engine, 5);
    running.stop();
    assert_eq!(engine.bodies(), numbers(10..15));
}

/// As where a topic was removed and made again.
#[test]
fn a_group_whose_offset_is_beyond_the_end_begins_anew_and_tells_so() {
    let stage = Stage::new(10);
    stage.asker.commit([(&("t".to_string(), 0), 1000, String::new())].into_iter(), true).unwrap();
    let engine = FakeEngine::new();
    let running = stage.start(&engine);
    wait_kept(&engine, 10);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..10));
    stage.wait_committed(10);
}

#[test]
fn topics_that_come_to_match_later_are_read_from_their_first_record() {
    let stage = Stage::new(0);
    let engine = FakeEngine::new();
    stage.brokers.create_topic("logs.a", 1, 1).unwrap();
    stage.brokers.create_topic("other", 1, 1).unwrap();
    stage.send("logs.a", 0..10);
    stage.send("other", 50..60);
    let keys = [
        ("kafka.topics.regex", "logs\\..*"),
        ("kafka.consumer.metadata.max.age.ms", "100"),
        // It has to join anew, for which see above.
        ("kafka.consumer.session.timeout.ms", "3000"),
        ("kafka.consumer.heartbeat.interval.ms", "200"),
    ];
    let running = stage.start_with(&engine, &keys);
    wait_kept(&engine, 10);
    stage.brokers.create_topic("logs.b", 1, 1).unwrap();
    stage.send("logs.b", 10..20);
    wait_kept(&engine, 20);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..20));
}

/// Nobody listens at that port.
#[test]
fn zookeeper_is_asked_for_offsets_unless_a_key_forbids_it() {
    let stage = Stage::new(10);
    let engine = FakeEngine::new();
    let zookeeper = ("zookeeperConnect", "127.0.0.1:1");
    let error = stage.start_with(&engine, &[zookeeper, OTHER_GROUP]).failure().to_string();
    assert!(error.contains("ZooKeeper 127.0.0.1:1"), "{error}");
    let running = stage.start_with(&engine, &[zookeeper, ("migrateZookeeperOffsets", "false")]);
    wait_kept(&engine, 10);
    running.stop();
    assert_eq!(engine.bodies(), numbers(0..10));
    // And not for a partition of which Kafka has one, whoever told it.
    let third = asker(&stage.brokers.bootstrap_servers(), "third");
    third.commit([(&("t".to_string(), 0), 4, String::new())].into_iter(), true).unwrap();
    let engine = FakeEngine::new();
    let running = stage.start_with(&engine, &[zookeeper, ("kafka.consumer.group.id", "third")]);
    wait_kept(&engine, 6);
    running.stop();
    assert_eq!(engine.bodies(), numbers(4..10));
}
