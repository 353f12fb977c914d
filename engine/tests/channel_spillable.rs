//! The spillable memory channel: the suite of all channels over each of its parts, and what it is with both.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Space, TakeLimit, Taken, Taker};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::Progress;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::Subject;

/// The key of this channel that says what another channel's `keep-alive` does, and so on.
fn renamed<'a>(keys: &[(&'a str, &'a str)], capacity: &'static str) -> Vec<(&'a str, &'a str)> {
    let name = |key: &'a str| match key {
        "capacity" => capacity,
        "keep-alive" => "overflowTimeout",
        other => other,
    };
    keys.iter().map(|(key, value)| (name(key), *value)).collect()
}

/// Memory alone: what has no room there is refused.
mod without_overflow {
    use super::*;

    struct InMemory(tempfile::TempDir);

    impl Subject for InMemory {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            let keys = [renamed(keys, "memoryCapacity"), vec![("overflowCapacity", "0")]].concat();
            open(self.0.path(), &keys)
        }
    }

    flumen_engine::channel_conformance!(volatile: InMemory(tempfile::tempdir().expect("a directory")));
}

/// Overflow alone: a file channel.
mod without_memory {
    use super::*;

    struct OnDisk(tempfile::TempDir);

    impl Subject for OnDisk {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            let keys = [renamed(keys, "overflowCapacity"), vec![("memoryCapacity", "0")]].concat();
            open(self.0.path(), &keys)
        }
    }

    flumen_engine::channel_conformance!(durable: OnDisk(tempfile::tempdir().expect("a directory")));
}

/// So little memory that most puts spill: what does not depend on one capacity holds over both parts.
mod with_both {
    use super::*;

    struct Both(tempfile::TempDir);

    impl Subject for Both {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            let keys = keys.iter().copied().filter(|(key, _)| *key == "transactionCapacity");
            let keys: Vec<_> = keys.chain([("memoryCapacity", "20"), ("overflowTimeout", "0")]).collect();
            open(self.0.path(), &keys)
        }
    }

    flumen_engine::channel_conformance!(@tests Both(tempfile::tempdir().expect("a directory"));
        a_single_taker_sees_the_order_of_the_puts,
        rolled_back_events_go_out_first_and_in_order,
        a_put_may_be_taken_in_parts,
        a_take_is_bounded_by_bytes_but_holds_an_event,
        concurrent_takers_get_each_event_once,
        a_dropped_take_is_a_rollback,
        any_headers_and_bodies_come_back_as_they_were,
        only_selected_events_are_put,
        a_waiting_taker_hears_of_puts_and_rollbacks,
    );
}

fn open(dir: &Path, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
    let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "spillablememory");
    let Factory::Channel { check, open, .. } = spec.expect("registered").factory else {
        panic!("not a channel")
    };
    let config = config(dir, keys);
    let mut problems = Problems::default();
    assert!(check(&config, &mut problems).is_some(), "{problems:?}");
    let context = ChannelContext {
        agent: "a1".into(),
        memory_limit: 1 << 30,
        ignore_flume_data: false,
        storage: Storage::Auto,
        metrics: ChannelMetrics::default(),
    };
    open(&config, context).expect("opens")
}

fn config(dir: &Path, keys: &[(&str, &str)]) -> ComponentConfig {
    let (checkpoint, data) = (dir.join("checkpoint"), dir.join("data"));
    let mut all = vec![
        ("checkpointDir", checkpoint.to_str().expect("text")),
        ("dataDirs", data.to_str().expect("text")),
        ("minimumRequiredSpace", "1048576"),
    ];
    all.extend(keys);
    ComponentConfig::of(Kind::Channel, "c1", &all)
}

/// Events that are numbers, `first` and those behind it.
fn numbers(first: u64, events: u64) -> Batch {
    let mut batch = Batch::new();
    (first..first + events).for_each(|number| batch.push(&number.to_be_bytes()));
    batch
}

async fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), PutError> {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    let space = Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() };
    let room = match channel.try_reserve(space) {
        Err(PutError::Full { .. }) => channel.reserve(space).await?,
        room => room?,
    };
    channel.append(room, Put { source: "r1", batch, selection: None })?.await
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes of up to three until `events` events are there; all are held.
fn take(taker: &mut dyn Taker, events: usize) -> Vec<Taken> {
    let begun = Instant::now();
    let mut all: Vec<Taken> = Vec::new();
    while all.iter().map(|taken| taken.events().len()).sum::<usize>() < events {
        match tokio::task::block_in_place(|| taker.try_take(TakeLimit::events(3))).expect("readable") {
            Some(taken) => all.push(taken),
            None => assert!(begun.elapsed() < PATIENCE, "{} of {events}", all.len()),
        }
    }
    all
}

fn bodies(takes: &[Taken]) -> Vec<u64> {
    let events = takes
        .iter()
        .flat_map(|taken| taken.events().iter().map(|event| event.body.to_vec()).collect::<Vec<_>>());
    events.map(|body| u64::from_be_bytes(body.try_into().expect("a number"))).collect()
}

fn gauge(channel: &dyn Channel, name: &str) -> f64 {
    let gauges = channel.status().gauges;
    gauges.iter().find(|(known, _)| *known == name).expect("a gauge").1
}

const SMALL: &[(&str, &str)] = &[
    ("memoryCapacity", "10"),
    ("overflowCapacity", "100"),
    ("transactionCapacity", "10"),
    ("overflowTimeout", "0"),
    ("overflowDeactivationThreshold", "50"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_has_no_room_for_goes_to_the_overflow_and_comes_out_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = open(dir.path(), SMALL);
    assert!(!channel.limits().durable);
    for first in (0..40).step_by(4) {
        put(&*channel, &numbers(first, 4)).await.expect("room");
    }
    assert_eq!((gauge(&*channel, "memory_events"), gauge(&*channel, "overflow_events")), (8.0, 32.0));
    assert_eq!(
        (gauge(&*channel, "spills"), channel.status().events, channel.status().capacity),
        (1.0, 40, 110)
    );
    let mut taker = channel.taker();
    let takes = take(&mut *taker, 6);
    assert_eq!(bodies(&takes), (0..6).collect::<Vec<_>>());
    takes.into_iter().for_each(|taken| taken.release("k1", Vec::new()));
    // More than half of memory is free: what comes now goes there, and out behind the overflow.
    for first in (40..48).step_by(4) {
        put(&*channel, &numbers(first, 4)).await.expect("room");
    }
    assert_eq!((gauge(&*channel, "memory_events"), gauge(&*channel, "overflow_events")), (10.0, 32.0));
    let takes = take(&mut *taker, 42);
    assert_eq!(bodies(&takes), (6..48).collect::<Vec<_>>());
    let mut next = 6;
    for taken in &takes {
        assert_eq!(taken.first_event(), next, "one numbering over both parts");
        next += taken.events().len() as u64;
    }
    channel.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_goes_out_first_whichever_part_it_was_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = open(dir.path(), SMALL);
    for first in (0..30).step_by(5) {
        put(&*channel, &numbers(first, 5)).await.expect("room");
    }
    let (mut one, mut other) = (channel.taker(), channel.taker());
    let first = take(&mut *one, 12);
    let second = take(&mut *other, 9);
    drop(second);
    drop(first);
    assert_eq!(bodies(&take(&mut *other, 30)), (0..30).collect::<Vec<_>>());
    channel.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_waits_for_memory_before_it_spills_and_a_full_overflow_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = |seconds| [&SMALL[..3], &[("overflowTimeout", seconds)]].concat();
    let channel = open(dir.path(), &keys("1"));
    put(&*channel, &numbers(0, 10)).await.expect("room");
    let begun = Instant::now();
    put(&*channel, &numbers(10, 10)).await.expect("room in the overflow");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    // A wait would be one of an hour now.
    channel.reconfigure(&config(dir.path(), &keys("3600"))).expect("a live key");
    for first in (20..110).step_by(10) {
        let batch = numbers(first, 10);
        let put = tokio::time::timeout(PATIENCE, put(&*channel, &batch)).await;
        put.expect("it spills without a wait").expect("room in the overflow");
    }
    channel.reconfigure(&config(dir.path(), &keys("1"))).expect("a live key");
    let error = put(&*channel, &numbers(110, 1)).await.expect_err("full");
    assert!(matches!(error, PutError::Full { .. }), "{error}");
    channel.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_memory_are_counted_in_steps_of_the_average_event() {
    for (step, fit) in [("100", 10.0), ("500", 2.0)] {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes = [("byteCapacity", "1000"), ("byteCapacityBufferPercentage", "0"), ("avgEventSize", step)];
        let channel = open(dir.path(), &[&bytes[..], &[("overflowTimeout", "0")]].concat());
        for number in 0..12 {
            put(&*channel, &numbers(number, 1)).await.expect("room in one of the two");
        }
        assert_eq!(gauge(&*channel, "memory_events"), fit, "avgEventSize = {step}");
        channel.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_memory_could_never_hold_goes_to_the_overflow_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = [("memoryCapacity", "5"), ("transactionCapacity", "10"), ("overflowTimeout", "600")];
    let channel = open(dir.path(), &keys);
    let begun = Instant::now();
    put(&*channel, &numbers(0, 6)).await.expect("room in the overflow");
    put(&*channel, &numbers(6, 5)).await.expect("room in memory");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(bodies(&take(&mut *channel.taker(), 11)), (0..11).collect::<Vec<_>>());
    channel.close().await;
}

/// What is in memory is gone with the process, and what was spilled goes out first.
#[tokio::test(flavor = "multi_thread")]
async fn the_overflow_survives_and_memory_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = open(dir.path(), SMALL);
    put(&*channel, &numbers(0, 10)).await.expect("room");
    put(&*channel, &numbers(10, 10)).await.expect("room");
    put(&*channel, &numbers(20, 10)).await.expect("room");
    let mut taker = channel.taker();
    // Released out of order: a hole in what is left, and one at its end.
    let takes = take(&mut *taker, 30);
    for taken in takes {
        if bodies(std::slice::from_ref(&taken))
            .iter()
            .any(|number| (14..18).contains(number) || *number >= 28)
        {
            taken.release("k1", Vec::new());
        }
    }
    channel.close().await;
    drop((taker, channel));
    let channel = open(dir.path(), SMALL);
    let left = channel.status().events;
    put(&*channel, &numbers(50, 3)).await.expect("room");
    let seen = bodies(&take(&mut *channel.taker(), left as usize + 3));
    assert_eq!(seen.last(), Some(&52), "{seen:?}");
    assert!(
        seen.is_sorted() && seen[0] == 10 && !seen.contains(&15) && seen.contains(&27) && !seen.contains(&28),
        "{seen:?}"
    );
    channel.close().await;
}

/// Events that were in memory and are sent again by their source are taken in, wherever the overflow's positions stand.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_lost_with_memory_are_taken_in_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let located = |first: u64, events: u64| {
        let mut batch = Batch::new();
        let (key, to) = ("file".into(), first + events);
        let made = Progress { key, generation: 1, from: first, to, rest: Default::default(), retire: false };
        let origin = batch.add_progress(made);
        for number in first..to {
            batch.push(&number.to_be_bytes());
            batch.locate_last(origin, number + 1);
        }
        batch
    };
    let channel = open(dir.path(), SMALL);
    put(&*channel, &located(0, 10)).await.expect("in memory");
    put(&*channel, &located(10, 10)).await.expect("in the overflow");
    assert_eq!(channel.source_positions("r1"), None, "it is no witness of what was put");
    channel.close().await;
    drop(channel);
    let channel = open(dir.path(), &[("memoryCapacity", "5"), ("overflowTimeout", "0")]);
    put(&*channel, &located(0, 10)).await.expect("more than memory holds");
    assert_eq!(gauge(&*channel, "overflow_events"), 20.0);
    let seen = bodies(&take(&mut *channel.taker(), 20));
    assert_eq!(seen, (10..20).chain(0..10).collect::<Vec<_>>());
    channel.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacities_change_live_and_events_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = |memory, overflow| {
        [&[("memoryCapacity", memory), ("overflowCapacity", overflow)][..], &SMALL[2..4]].concat()
    };
    let channel = open(dir.path(), &keys("10", "10"));
    put(&*channel, &numbers(0, 10)).await.expect("room");
    put(&*channel, &numbers(10, 10)).await.expect("room");
    put(&*channel, &numbers(20, 10)).await.expect_err("full");
    channel.reconfigure(&config(dir.path(), &keys("10", "20"))).expect("live keys");
    put(&*channel, &numbers(20, 10)).await.expect("room");
    channel.reconfigure(&config(dir.path(), &keys("25", "20"))).expect("live keys");
    put(&*channel, &numbers(30, 10)).await.expect("room in memory");
    assert_eq!((gauge(&*channel, "memory_events"), gauge(&*channel, "overflow_events")), (20.0, 20.0));
    assert_eq!(bodies(&take(&mut *channel.taker(), 40)), (0..40).collect::<Vec<_>>());
    channel.close().await;
}

/// Several takers that release and give back, while puts spill and come back to memory: each event once, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takers_and_puts_that_cross_lose_and_repeat_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = [&SMALL[2..], &[("memoryCapacity", "30"), ("overflowCapacity", "1000000")]].concat();
    let channel = open(dir.path(), &keys);
    let total = 3000u64;
    let released = Arc::new(AtomicU64::new(0));
    let takers: Vec<_> = (0..3u64)
        .map(|at| {
            let (channel, released) = (channel.clone(), released.clone());
            tokio::spawn(async move {
                let mut taker = channel.taker();
                let (mut seen, mut turn, begun) = (Vec::new(), at, Instant::now());
                while released.load(Ordering::Acquire) < total {
                    assert!(begun.elapsed() < PATIENCE, "{released:?} of {total} are released");
                    let taken = tokio::task::block_in_place(|| taker.try_take(TakeLimit::events(7)));
                    let Some(taken) = taken.expect("readable") else {
                        // What is left may be with somebody else: look again soon.
                        let _ready = tokio::time::timeout(Duration::from_millis(20), taker.ready()).await;
                        continue;
                    };
                    turn += 1;
                    if turn % 4 == 0 {
                        taken.rollback();
                        continue;
                    }
                    let of_this = bodies(std::slice::from_ref(&taken));
                    taken.release("k1", Vec::new());
                    released.fetch_add(of_this.len() as u64, Ordering::AcqRel);
                    seen.extend(of_this);
                }
                seen
            })
        })
        .collect();
    for first in (0..total).step_by(10) {
        put(&*channel, &numbers(first, 10)).await.expect("room");
    }
    let mut seen = Vec::new();
    for taker in takers {
        seen.extend(taker.await.expect("no panic"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..total).collect::<Vec<_>>());
    assert_eq!(channel.status().events, 0);
    channel.close().await;
}
