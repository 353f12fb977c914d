//! In which order records come out of the client's two ways, against the brokers that librdkafka has inside for tests.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::{Properties, Role};

const PATIENCE: Duration = Duration::from_secs(60);

/// A topic `t` of one partition, somebody who writes to it, and a member that reads it from the first record on.
struct Stage {
    producer: BaseProducer,
    records: Records,
    sent: u64,
    _brokers: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    fn new() -> Self {
        let brokers = MockCluster::new(1).expect("brokers");
        brokers.create_topic("t", 1, 1).expect("a topic");
        let servers = brokers.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &servers).create().expect("a producer");
        let mut properties = Properties::new(Role::Consumer, &servers);
        properties.set("group.id", "g");
        let records = Records::new(Member::new(&properties).expect("a member")).expect("queues");
        Self { producer, records, sent: 0, _brokers: brokers }
    }

    /// Each record's value is its offset.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            let value = self.sent.to_string();
            self.producer.send(BaseRecord::<(), _>::to("t").payload(&value)).expect("room for a record");
            self.sent += 1;
        }
        self.producer.flush(PATIENCE).expect("all are sent");
    }

    fn take(&self, offset: u64) {
        self.records.member.take(&[(("t".to_string(), 0), offset)]).expect("taken");
    }

    /// The next records, up to so many, in their order.
    fn poll(&mut self, most: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        let polled = self.records.poll(Duration::from_millis(50), most, |record| {
            assert_eq!((record.topic(), record.partition()), (&b"t"[..], 0));
            assert_eq!(record.value(), record.offset().to_string().as_bytes());
            seen.push(record.offset());
        });
        if let Err(error) = polled {
            println!("{error}");
        }
        seen
    }

    /// All up to that one.
    fn poll_to(&mut self, end: u64) -> Vec<u64> {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last + 1 < end) {
            assert!(Instant::now() < until, "{} records up to {:?} came, of {end}", seen.len(), seen.last());
            seen.extend(self.poll(64));
        }
        seen
    }

    /// Waits until so many records wait in the member's own queue.
    fn wait_in_the_members_queue(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        // SAFETY: the queue is the records', and its client lives.
        while unsafe { native::rd_kafka_queue_length(self.records.others.0.as_ptr()) } < count {
            assert!(Instant::now() < until, "they never came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_waits_in_the_members_queue_goes_before_what_came_to_ours_later() {
    let mut stage = Stage::new();
    stage.send(300);
    stage.take(0);
    stage.wait_in_the_members_queue(300);
    // The first of them lead the partition to our queue, and the others stay where they are.
    let mut seen = stage.poll(64);
    assert!(seen.iter().copied().eq(0..64), "{seen:?}");
    stage.send(300);
    seen.extend(stage.poll_to(600));
    assert!(seen.iter().copied().eq(0..600), "{seen:?}");
}

#[test]
fn a_partition_that_comes_back_is_read_from_where_it_is_taken_whatever_waited_of_it() {
    let mut stage = Stage::new();
    stage.send(500);
    stage.take(0);
    let seen = stage.poll_to(100);
    // Much of it waits here now.
    for from in [50, 0, 400] {
        stage.records.member.give_up(&[("t".to_string(), 0)]).expect("given up");
        stage.take(from);
        let seen = stage.poll_to(500);
        assert!(seen.iter().copied().eq(from..500), "from {from}: {seen:?}");
    }
    assert!(seen.iter().copied().eq(0..seen.len() as u64), "{seen:?}");
}

#[test]
fn a_record_without_key_value_headers_or_time_is_one_all_the_same() {
    let mut stage = Stage::new();
    stage.producer.send(BaseRecord::<(), ()>::to("t")).expect("room for a record");
    let headers = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "some", value: Some("value") })
        .insert(rdkafka::message::Header { key: "none", value: None::<&str> });
    let whole = BaseRecord::to("t").key("the key").payload("the value").timestamp(77).headers(headers);
    stage.producer.send(whole).expect("room for a record");
    stage.producer.flush(PATIENCE).expect("all are sent");
    stage.take(0);
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        assert!(Instant::now() < until, "{seen:?}");
        // One at a time, so that both ways are gone.
        let polled = stage.records.poll(Duration::from_millis(50), 1, |record| {
            let mut headers = Vec::new();
            record.headers(|name, value| headers.push((name.to_string(), value.to_vec())));
            let key = record.key().map(<[u8]>::to_vec);
            seen.push((record.offset(), key, record.value().to_vec(), record.timestamp(), headers));
        });
        if let Err(error) = polled {
            println!("{error}");
        }
    }
    let (_, key, value, _, headers) = &seen[0];
    assert_eq!((key, value.len(), headers.len()), (&None, 0, 0));
    let pairs = vec![("some".to_string(), b"value".to_vec()), ("none".to_string(), Vec::new())];
    assert_eq!(seen[1], (1, Some(b"the key".to_vec()), b"the value".to_vec(), 77, pairs));
}

#[test]
fn no_more_come_than_were_asked_for() {
    let mut stage = Stage::new();
    stage.send(50);
    stage.take(0);
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < 50 {
        assert!(Instant::now() < until, "{seen:?}");
        let some = stage.poll(7);
        assert!(some.len() <= 7, "{some:?}");
        seen.extend(some);
    }
    assert!(seen.iter().copied().eq(0..50), "{seen:?}");
}
