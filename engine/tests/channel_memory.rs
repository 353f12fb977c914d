//! The memory channel: the suite of all channels, its byte capacity, and live changes of its limits.

use std::sync::Arc;

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Reservation, Space, TakeLimit};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::Subject;

struct Memory;

impl Subject for Memory {
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
        open(keys, ChannelMetrics::default())
    }
}

flumen_engine::channel_conformance!(volatile: Memory);

fn open(keys: &[(&str, &str)], metrics: ChannelMetrics) -> Arc<dyn Channel> {
    let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "memory");
    let Factory::Channel { check, open, .. } = spec.expect("registered").factory else {
        panic!("not a channel")
    };
    let config = config(keys);
    let mut problems = Problems::default();
    assert!(check(&config, &mut problems).is_some(), "{problems:?}");
    let context = ChannelContext {
        agent: "a1".into(),
        memory_limit: 1 << 30,
        ignore_flume_data: false,
        storage: Storage::Auto,
        metrics,
    };
    open(&config, context).expect("a memory channel opens")
}

fn config(keys: &[(&str, &str)]) -> ComponentConfig {
    ComponentConfig::of(Kind::Channel, "c1", keys)
}

fn batch(events: usize, body: usize) -> Batch {
    let mut batch = Batch::new();
    (0..events).for_each(|_| batch.push(&vec![b'x'; body]));
    batch
}

fn reserve(channel: &dyn Channel, batch: &Batch) -> Result<Reservation, PutError> {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    channel.try_reserve(Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() })
}

fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), PutError> {
    let room = reserve(channel, batch)?;
    channel.append(room, Put { source: "r1", batch, selection: None }).map(drop)
}

const BYTES: &[(&str, &str)] = &[
    ("capacity", "1000"),
    ("keep-alive", "0"),
    ("byteCapacity", "2000"),
    ("byteCapacityBufferPercentage", "10"),
];

#[test]
fn byte_capacity_counts_bodies_in_steps_of_a_hundred() {
    let channel = open(BYTES, ChannelMetrics::default());
    // 18 slots; a body of 405 bytes takes 5.
    for _ in 0..3 {
        put(&*channel, &batch(1, 405)).expect("room");
    }
    let full = put(&*channel, &batch(1, 405)).expect_err("only three slots are left");
    assert!(full.to_string().contains("byteCapacity"), "{full}");
    // Empty bodies take a slot each.
    put(&*channel, &batch(3, 0)).expect("three slots");
    put(&*channel, &batch(1, 0)).expect_err("none left");
    let mut taker = channel.taker();
    let taken = taker.try_take(TakeLimit::events(1)).expect("readable").expect("an event");
    put(&*channel, &batch(1, 0)).expect_err("taken is not released");
    taken.release("k1", Vec::new());
    put(&*channel, &batch(1, 405)).expect("five slots came back");
}

#[test]
fn bodies_that_never_fit_are_refused_for_good() {
    let channel = open(BYTES, ChannelMetrics::default());
    let error = put(&*channel, &batch(1, 1900)).expect_err("18 slots");
    assert!(matches!(error, PutError::TooLarge { .. }), "{error}");
    put(&*channel, &batch(1, 1800)).expect("exactly all slots");
}

#[test]
fn limits_change_live_and_events_stay() {
    let channel = open(&[("capacity", "10"), ("transactionCapacity", "10")], ChannelMetrics::default());
    put(&*channel, &batch(10, 1)).expect("room");
    put(&*channel, &batch(1, 1)).expect_err("full");
    let grown = config(&[("capacity", "15"), ("transactionCapacity", "10")]);
    channel.reconfigure(&grown).expect("live keys");
    put(&*channel, &batch(5, 1)).expect("five more");
    put(&*channel, &batch(1, 1)).expect_err("full again");
    let shrunk = config(&[("capacity", "12"), ("transactionCapacity", "3")]);
    channel.reconfigure(&shrunk).expect("live keys");
    assert_eq!((channel.status().events, channel.status().capacity), (15, 12));
    assert_eq!(channel.limits().transaction_capacity, 3);
    let mut taker = channel.taker();
    for left in [12, 9] {
        put(&*channel, &batch(1, 1)).expect_err("above the new capacity, or at it");
        let taken = taker.try_take(TakeLimit::events(3)).expect("readable").expect("events");
        taken.release("k1", Vec::new());
        assert_eq!(channel.status().events, left);
    }
    put(&*channel, &batch(3, 1)).expect("three below the new capacity");
    put(&*channel, &batch(1, 1)).expect_err("full at the new capacity");
    let bad = config(&[("capacity", "2"), ("transactionCapacity", "3")]);
    let error = channel.reconfigure(&bad).expect_err("contradicts itself");
    assert!(error.contains("transactionCapacity"), "{error}");
    assert_eq!(channel.status().capacity, 12, "the old limits stay");
}

#[tokio::test]
async fn a_put_that_waits_gets_its_room_when_the_capacity_grows() {
    let channel = open(
        &[("capacity", "5"), ("transactionCapacity", "5"), ("keep-alive", "20")],
        ChannelMetrics::default(),
    );
    put(&*channel, &batch(5, 1)).expect("room");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.reserve(Space { events: 5, chunk_bytes: 100, body_bytes: 5 }).await.map(drop) }
    });
    tokio::task::yield_now().await;
    channel.reconfigure(&config(&[("capacity", "10"), ("transactionCapacity", "5")])).expect("live keys");
    waiting.await.expect("no panic").expect("room");
}

#[tokio::test]
async fn counters_say_what_went_through() {
    let metrics = ChannelMetrics::default();
    let channel =
        open(&[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "0")], metrics.clone());
    put(&*channel, &batch(6, 1)).expect("room");
    // As the engine does: at once, else with patience; one attempt in all.
    put(&*channel, &batch(6, 1)).expect_err("full");
    channel.reserve(Space { events: 6, chunk_bytes: 100, body_bytes: 6 }).await.expect_err("full");
    let mut taker = channel.taker();
    let taken = taker.try_take(TakeLimit::events(4)).expect("readable").expect("events");
    taken.release("k1", Vec::new());
    drop(taker.try_take(TakeLimit::events(4)).expect("readable"));
    assert_eq!((metrics.event_put_attempt.get(), metrics.event_put_success.get()), (12, 6));
    assert_eq!((metrics.event_take_attempt.get(), metrics.event_take_success.get()), (6, 4));
    assert!(channel.status().oldest.is_some());
}
