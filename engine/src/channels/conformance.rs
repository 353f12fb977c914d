//! What every channel promises, as tests: [`flumen_api::channel`] in the form of claims.
//!
//! A channel's test file names how to open one and gets the whole suite:
//!
//! ```ignore
//! struct Memory;
//! impl Subject for Memory { /* … */ }
//! flumen_engine::channel_conformance!(volatile: Memory);
//! ```
//!
//! Each test opens channels with the keys `capacity`, `transactionCapacity` and `keep-alive`, which all of Flume's
//! channels have. A failed claim panics.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{
    Channel, Put, PutError, Reservation, SinkProgress, Space, TakeError, TakeLimit, Taken, Taker,
};
use flumen_api::chunk::ChunkWriter;
use flumen_api::event::Headers;
use flumen_api::progress::{Position, Progress};

/// How long anything may take that has to happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the suite gets its channels from. Every test makes a new one.
pub trait Subject: Send + Sync {
    /// Opens the channel with these keys. A durable channel that was closed is opened again, with its events.
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel>;
}

/// The suite as test functions, for a channel that is `volatile` or `durable`.
#[macro_export]
macro_rules! channel_conformance {
    (volatile: $subject:expr) => {
        $crate::channel_conformance!(@tests $subject;
            a_single_taker_sees_the_order_of_the_puts,
            a_full_channel_takes_no_put_until_something_is_released,
            a_put_waits_as_long_as_keep_alive_says,
            more_than_a_transaction_may_hold_is_refused_for_good,
            waiting_puts_are_served_in_their_order,
            rolled_back_events_go_out_first_and_in_order,
            a_put_may_be_taken_in_parts,
            a_take_is_bounded_by_bytes_but_holds_an_event,
            concurrent_takers_get_each_event_once,
            dropped_reservations_and_waits_leave_no_trace,
            a_dropped_take_is_a_rollback,
            any_headers_and_bodies_come_back_as_they_were,
            releases_may_come_in_any_order,
            only_selected_events_are_put,
            a_waiting_taker_hears_of_puts_and_rollbacks,
            a_closed_channel_says_so,
        );
    };
    (durable: $subject:expr) => {
        $crate::channel_conformance!(volatile: $subject);
        $crate::channel_conformance!(@tests $subject;
            unreleased_events_come_again_after_a_restart_and_released_ones_do_not,
            events_released_out_of_order_stay_released,
            progress_survives_a_restart,
            progress_of_a_put_without_events_is_kept,
            known_events_are_not_put_again,
            progress_never_goes_back_within_a_generation,
            a_new_generation_is_new_data,
            a_retired_key_is_forgotten,
            a_marked_source_is_known,
        );
    };
    (@tests $subject:expr; $($test:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $crate::channels::conformance::$test(&$subject).await;
        })+
    };
}

const ROOMY: &[(&str, &str)] =
    &[("capacity", "1000000"), ("transactionCapacity", "10000"), ("keep-alive", "5")];
const TEN: &[(&str, &str)] = &[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "20")];
const TEN_AT_ONCE: &[(&str, &str)] =
    &[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "0")];

/// Takes of any size see events in the order of their puts, numbered without gaps.
pub async fn a_single_taker_sees_the_order_of_the_puts(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    for (first, count) in [(0, 1), (1, 10), (11, 300), (311, 2), (313, 87)] {
        put(&*channel, &numbered(first, count)).await;
    }
    let mut taker = channel.taker();
    let (mut next, mut number) = (0, None);
    for size in [3, 1, 200, 150].into_iter().cycle() {
        let taken = take(&mut *taker, size).await;
        assert!(number.is_none_or(|number| number == taken.first_event()), "{taken:?} after {number:?}");
        assert!(!taken.events().is_empty() && taken.events().len() <= size, "{taken:?} for {size}");
        number = Some(taken.first_event() + taken.events().len() as u64);
        next = expect_numbered(&taken, next);
        taken.release("k1", Vec::new());
        if next == 400 {
            break;
        }
    }
    expect_nothing(&mut *taker);
    assert_eq!(channel.status().events, 0);
    channel.close().await;
}

/// `capacity` counts what is not released, taken or not.
pub async fn a_full_channel_takes_no_put_until_something_is_released(subject: &dyn Subject) {
    let channel = subject.open(TEN);
    put(&*channel, &numbered(0, 10)).await;
    assert_eq!((channel.status().events, channel.status().capacity), (10, 10));
    expect_full(&*channel, 1);
    let mut taker = channel.taker();
    let taken = take(&mut *taker, 4).await;
    expect_full(&*channel, 1);
    let more = numbered(10, 4);
    let mut waiting = Box::pin(channel.reserve(space(&more)));
    assert!(poll(waiting.as_mut()).is_pending());
    taken.release("k1", Vec::new());
    let room = within(waiting).await.expect("four events were released");
    append(&*channel, room, &more).await;
    expect_full(&*channel, 1);
    assert_eq!(channel.status().events, 10);
    channel.close().await;
}

/// `keep-alive` bounds the wait, and 0 is no wait.
pub async fn a_put_waits_as_long_as_keep_alive_says(subject: &dyn Subject) {
    let channel = subject.open(&[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "1")]);
    put(&*channel, &numbered(0, 10)).await;
    let begun = Instant::now();
    let refused = within(channel.reserve(space(&numbered(10, 1)))).await;
    let Err(PutError::Full { channel: name, reason }) = refused else { panic!("{refused:?}") };
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(&*name, channel.name());
    assert!(reason.contains("capacity"), "the reason names the key: {reason}");
    channel.close().await;
}

/// `transactionCapacity` is no matter of waiting.
pub async fn more_than_a_transaction_may_hold_is_refused_for_good(subject: &dyn Subject) {
    let channel = subject.open(&[("capacity", "10"), ("transactionCapacity", "5"), ("keep-alive", "20")]);
    let refused = within(channel.reserve(space(&numbered(0, 6)))).await;
    let Err(error @ PutError::TooLarge { .. }) = &refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("transactionCapacity"), "{error}");
    assert!(!error.is_retriable());
    put(&*channel, &numbered(0, 5)).await;
    put(&*channel, &numbered(5, 5)).await;
    let mut taker = channel.taker();
    assert_eq!(take(&mut *taker, 10).await.events().len(), 5, "takes keep to it, too");
    channel.close().await;
}

/// The first to wait is the first to put, even if the second needs less.
pub async fn waiting_puts_are_served_in_their_order(subject: &dyn Subject) {
    let channel = subject.open(TEN);
    put(&*channel, &numbered(0, 10)).await;
    let (large, small) = (numbered(10, 5), numbered(15, 1));
    let mut first = Box::pin(channel.reserve(space(&large)));
    assert!(poll(first.as_mut()).is_pending());
    let mut second = Box::pin(channel.reserve(space(&small)));
    assert!(poll(second.as_mut()).is_pending());
    let mut taker = channel.taker();
    take(&mut *taker, 3).await.release("k1", Vec::new());
    assert!(poll(first.as_mut()).is_pending(), "three is less than five");
    assert!(poll(second.as_mut()).is_pending(), "the second waits for the first");
    take(&mut *taker, 3).await.release("k1", Vec::new());
    let room = within(first).await.expect("six were released");
    append(&*channel, room, &large).await;
    let room = within(second).await.expect("one is left");
    append(&*channel, room, &small).await;
    expect_full(&*channel, 1);
    channel.close().await;
}

/// Two takes rolled back, the newer one first, come again as if they had not been taken.
pub async fn rolled_back_events_go_out_first_and_in_order(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &numbered(0, 6)).await;
    put(&*channel, &numbered(6, 6)).await;
    let mut taker = channel.taker();
    let (first, second) = (take(&mut *taker, 4).await, take(&mut *taker, 4).await);
    let number = first.first_event();
    put(&*channel, &numbered(12, 3)).await;
    second.rollback();
    first.rollback();
    assert_eq!(channel.status().events, 15);
    let again = take(&mut *taker, 4).await;
    assert_eq!(again.first_event(), number, "an event keeps its number");
    let mut next = expect_numbered(&again, 0);
    again.release("k1", Vec::new());
    while next < 15 {
        let taken = take(&mut *taker, 5).await;
        next = expect_numbered(&taken, next);
        taken.release("k1", Vec::new());
    }
    expect_nothing(&mut *taker);
    channel.close().await;
}

/// A put of ten is taken by threes, partly released, and the rest is still there.
pub async fn a_put_may_be_taken_in_parts(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &numbered(0, 10)).await;
    let mut taker = channel.taker();
    let taken = take(&mut *taker, 3).await;
    expect_numbered(&taken, 0);
    taken.release("k1", Vec::new());
    assert_eq!(channel.status().events, 7);
    let middle = take(&mut *taker, 3).await;
    expect_numbered(&middle, 3);
    let last = take(&mut *taker, 10).await;
    assert_eq!(expect_numbered(&last, 6), 10);
    last.release("k1", Vec::new());
    middle.rollback();
    let middle = take(&mut *taker, 10).await;
    assert_eq!(expect_numbered(&middle, 3), 6);
    middle.release("k1", Vec::new());
    assert_eq!(channel.status().events, 0);
    expect_nothing(&mut *taker);
    channel.close().await;
}

/// Bytes end a take, but no event is too large to be taken.
pub async fn a_take_is_bounded_by_bytes_but_holds_an_event(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    let mut batch = Batch::new();
    (0..100).for_each(|_| batch.push(&[b'x'; 10_000]));
    put(&*channel, &batch).await;
    let mut taker = channel.taker();
    let mut take = |bytes| try_take(&mut *taker, TakeLimit { events: 100, bytes }).expect("events are there");
    let tiny = take(1);
    assert_eq!(tiny.events().len(), 1);
    let some = take(100_000);
    assert!((5..=20).contains(&some.events().len()), "{some:?} for 100,000 bytes");
    drop((tiny, some));
    channel.close().await;
}

/// Four takers on threads of their own, some of which roll back, and two putters: each event is released once.
pub async fn concurrent_takers_get_each_event_once(subject: &dyn Subject) {
    const EVENTS: usize = 20_000;
    let channel = subject.open(&[("capacity", "2000"), ("transactionCapacity", "500"), ("keep-alive", "20")]);
    let putters: Vec<_> = (0..2)
        .map(|half| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for first in (half * EVENTS / 2..(half + 1) * EVENTS / 2).step_by(100) {
                    put(&*channel, &numbered(first, 100)).await;
                }
            })
        })
        .collect();
    let released = Arc::new(parking_lot::Mutex::new(vec![0_u32; EVENTS]));
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(EVENTS));
    let takers: Vec<_> = (0..4_usize)
        .map(|id| {
            let (channel, released, left) = (channel.clone(), released.clone(), left.clone());
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                let mut taker = channel.taker();
                let mut round = id;
                let begun = Instant::now();
                while left.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                    assert!(begun.elapsed() < PATIENCE, "events are missing");
                    round += 1;
                    let Some(taken) = try_take(&mut *taker, TakeLimit::events(37 + id)) else {
                        // The last event may go to somebody else: look again soon.
                        let wait = tokio::time::timeout(Duration::from_millis(20), taker.ready());
                        runtime.block_on(async { wait.await.ok() });
                        continue;
                    };
                    if round.is_multiple_of(5) {
                        taken.rollback();
                        continue;
                    }
                    let mut released = released.lock();
                    for event in taken.events().iter() {
                        released[number(event.body)] += 1;
                    }
                    left.fetch_sub(taken.events().len(), std::sync::atomic::Ordering::SeqCst);
                    drop(released);
                    taken.release("k1", Vec::new());
                }
            })
        })
        .collect();
    for task in putters.into_iter().chain(takers) {
        within(task).await.expect("a task ended well");
    }
    let odd: BTreeMap<usize, u32> =
        released.lock().iter().copied().enumerate().filter(|(_, times)| *times != 1).collect();
    assert!(odd.is_empty(), "released another number of times than once: {odd:?}");
    assert_eq!(channel.status().events, 0);
    channel.close().await;
}

/// Room that was promised, or waited for, is free again when nobody wants it any more.
pub async fn dropped_reservations_and_waits_leave_no_trace(subject: &dyn Subject) {
    let channel = subject.open(TEN_AT_ONCE);
    let all = space(&numbered(0, 10));
    drop(channel.try_reserve(all).expect("an empty channel"));
    let held = channel.try_reserve(all).expect("the room came back");
    expect_full(&*channel, 1);
    drop(held);
    drop(within(channel.reserve(all)).await.expect("and again"));
    channel.close().await;

    let channel = subject.open(TEN);
    let held = channel.try_reserve(all).expect("an empty channel");
    let mut gone = Box::pin(channel.reserve(all));
    assert!(poll(gone.as_mut()).is_pending());
    let mut stays = Box::pin(channel.reserve(space(&numbered(0, 5))));
    assert!(poll(stays.as_mut()).is_pending());
    drop(gone);
    drop(held);
    let room = within(stays).await.expect("nobody holds anything");
    drop(room);
    // Granted while nobody looked, then dropped.
    let held = channel.try_reserve(all).expect("all of it");
    let mut unseen = Box::pin(channel.reserve(all));
    assert!(poll(unseen.as_mut()).is_pending());
    drop(held);
    drop(unseen);
    drop(channel.try_reserve(all).expect("all of it"));
    assert_eq!(channel.status().events, 0);
    channel.close().await;
}

/// Nothing is lost with a sink that panics.
pub async fn a_dropped_take_is_a_rollback(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &numbered(0, 5)).await;
    let mut taker = channel.taker();
    drop(take(&mut *taker, 3).await);
    drop(taker);
    let mut taker = channel.taker();
    let taken = take(&mut *taker, 5).await;
    assert!(expect_numbered(&taken, 0) >= 3);
    drop(taken);
    assert_eq!(channel.status().events, 5);
    channel.close().await;
}

/// Empty and large bodies, bodies of any bytes, shared sets, sets of one's own, no headers, empty and strange text.
pub async fn any_headers_and_bodies_come_back_as_they_were(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    let large: Vec<u8> = (0..10 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let all_bytes: Vec<u8> = (0..=255).collect();

    let mut lines = Batch::over("one\ntwo\n\nfour\n".into());
    lines.set_common_headers(Arc::new(Headers::from_iter([("file", "/var/log/a b.log")])));
    for (start, len) in [(0, 3), (4, 3), (8, 0), (9, 4)] {
        lines.push_slice(start, len);
    }
    let mut mixed = Batch::new();
    mixed.push(b"");
    mixed.push(&all_bytes);
    for set in [
        Headers::from_iter([("", "")]),
        Headers::from_iter([("key", ""), ("", "value")]),
        Headers::from_iter([("schlüssel", "wert\n\t\u{0}"), ("日本", "🦀"), ("timestamp", "1700000000000")]),
        (0..500).map(|i| (format!("k{i}"), "v".repeat(i))).collect(),
    ] {
        let set = mixed.add_headers(set);
        mixed.push_with(b"body", set);
        mixed.push_with(b"", set);
    }
    let mut huge = Batch::new();
    huge.push(&large);
    huge.push(b"behind it");

    let mut taker = channel.taker();
    for batch in [lines, mixed, huge] {
        put(&*channel, &batch).await;
        let mut at = 0;
        while at < batch.len() {
            let taken = take(&mut *taker, 100).await;
            for event in taken.events().iter() {
                let put = batch.event(at);
                assert_eq!(event.headers, put.headers, "event {at}");
                assert!(event.body == put.body, "body of event {at}, {} bytes", put.body.len());
                at += 1;
            }
            taken.release("k1", Vec::new());
        }
    }
    channel.close().await;
}

/// Three takes, the last released first; what is rolled back in between comes again and nothing else does.
pub async fn releases_may_come_in_any_order(subject: &dyn Subject) {
    let channel = subject.open(TEN_AT_ONCE);
    put(&*channel, &numbered(0, 10)).await;
    let mut taker = channel.taker();
    let (a, b, c) = (take(&mut *taker, 3).await, take(&mut *taker, 3).await, take(&mut *taker, 4).await);
    c.release("k1", Vec::new());
    assert_eq!(channel.status().events, 6);
    put(&*channel, &numbered(10, 4)).await;
    expect_full(&*channel, 1);
    a.release("k1", Vec::new());
    assert_eq!(channel.status().events, 7);
    b.rollback();
    let again = take(&mut *taker, 3).await;
    assert_eq!(expect_numbered(&again, 3), 6);
    let newer = take(&mut *taker, 10).await;
    assert_eq!(expect_numbered(&newer, 10), 14);
    newer.release("k1", Vec::new());
    again.release("k1", Vec::new());
    assert_eq!(channel.status().events, 0);
    expect_nothing(&mut *taker);
    channel.close().await;
}

/// A selector's choice is what goes in, in order.
pub async fn only_selected_events_are_put(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    let batch = numbered(0, 10);
    let selection = [1, 4, 5, 9];
    let bytes = ChunkWriter::new(&batch, Some(&selection)).encoded_len() as u64;
    let space = Space { events: selection.len(), chunk_bytes: bytes, body_bytes: batch.body_bytes() };
    let room = within(channel.reserve(space)).await.expect("room");
    let put = Put { source: "r1", batch: &batch, selection: Some(&selection) };
    within(channel.append(room, put).expect("appended")).await.expect("durable");
    let mut taker = channel.taker();
    let taken = take(&mut *taker, 10).await;
    let numbers: Vec<_> = taken.events().iter().map(|event| number(event.body)).collect();
    assert_eq!(numbers, [1, 4, 5, 9]);
    taken.release("k1", Vec::new());
    expect_nothing(&mut *taker);
    channel.close().await;
}

/// `ready` neither misses what came before it nor what comes after.
pub async fn a_waiting_taker_hears_of_puts_and_rollbacks(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    let waits = |channel: &Arc<dyn Channel>| {
        let mut taker = channel.taker();
        tokio::spawn(async move {
            // It may resolve without cause, so the take decides.
            loop {
                if let Some(taken) =
                    tokio::task::block_in_place(|| try_take(&mut *taker, TakeLimit::events(10)))
                {
                    return taken;
                }
                taker.ready().await;
            }
        })
    };
    let waiting = waits(&channel);
    put(&*channel, &numbered(0, 2)).await;
    let taken = within(waiting).await.expect("a taker");
    assert_eq!(expect_numbered(&taken, 0), 2);
    let waiting = waits(&channel);
    tokio::task::yield_now().await;
    taken.rollback();
    let taken = within(waiting).await.expect("a taker");
    assert_eq!(expect_numbered(&taken, 0), 2);
    taken.release("k1", Vec::new());
    channel.close().await;
}

/// Puts, waits, and takes end with `Closed`; a receipt that comes late does no harm.
pub async fn a_closed_channel_says_so(subject: &dyn Subject) {
    let channel = subject.open(TEN);
    put(&*channel, &numbered(0, 10)).await;
    let mut taker = channel.taker();
    let taken = take(&mut *taker, 1).await;
    let mut waiting = Box::pin(channel.reserve(space(&numbered(10, 5))));
    assert!(poll(waiting.as_mut()).is_pending());
    channel.close().await;
    let ended = within(waiting).await;
    assert!(matches!(ended, Err(PutError::Closed { .. })), "{ended:?}");
    let refused = channel.try_reserve(space(&numbered(10, 1)));
    assert!(matches!(refused, Err(PutError::Closed { .. })), "{refused:?}");
    within(taker.ready()).await;
    let refused = tokio::task::block_in_place(|| taker.try_take(TakeLimit::events(1)));
    assert!(matches!(refused, Err(TakeError::Closed { .. })), "{refused:?}");
    taken.release("k1", Vec::new());
    channel.close().await;
}

/// The promise.
pub async fn unreleased_events_come_again_after_a_restart_and_released_ones_do_not(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &numbered(0, 50)).await;
    put(&*channel, &numbered(50, 50)).await;
    let mut taker = channel.taker();
    take(&mut *taker, 30).await.release("k1", Vec::new());
    let unreleased = take(&mut *taker, 30).await;
    let number = unreleased.first_event();
    channel.close().await;
    drop((unreleased, taker, channel));

    let channel = subject.open(ROOMY);
    assert_eq!(channel.status().events, 70);
    let mut taker = channel.taker();
    let mut next = 30;
    while next < 100 {
        let taken = take(&mut *taker, 25).await;
        if next == 30 {
            assert_eq!(taken.first_event(), number, "an event keeps its number for ever");
        }
        next = expect_numbered(&taken, next);
        taken.release("k1", Vec::new());
    }
    expect_nothing(&mut *taker);
    channel.close().await;
    drop((taker, channel));

    let channel = subject.open(ROOMY);
    assert_eq!(channel.status().events, 0);
    expect_nothing(&mut *channel.taker());
    put(&*channel, &numbered(100, 1)).await;
    let taken = take(&mut *channel.taker(), 1).await;
    expect_numbered(&taken, 100);
    drop(taken);
    channel.close().await;
}

/// Gaps in what is released outlive the process.
pub async fn events_released_out_of_order_stay_released(subject: &dyn Subject) {
    let channel = subject.open(TEN_AT_ONCE);
    put(&*channel, &numbered(0, 10)).await;
    let mut taker = channel.taker();
    let (a, b, c) = (take(&mut *taker, 3).await, take(&mut *taker, 3).await, take(&mut *taker, 4).await);
    b.release("k1", Vec::new());
    drop((a, c));
    channel.close().await;
    drop((taker, channel));

    let channel = subject.open(TEN_AT_ONCE);
    assert_eq!(channel.status().events, 7);
    let mut taker = channel.taker();
    let mut numbers = Vec::new();
    while let Some(taken) = try_take(&mut *taker, TakeLimit::events(10)) {
        numbers.extend(taken.events().iter().map(|event| number(event.body)));
        taken.release("k1", Vec::new());
    }
    assert_eq!(numbers, [0, 1, 2, 6, 7, 8, 9]);
    channel.close().await;
}

/// Of sources with their puts, of sinks with their releases and alone.
pub async fn progress_survives_a_restart(subject: &dyn Subject) {
    let sink_progress = |key: &str, to| SinkProgress {
        key: key.into(),
        position: Some(Position { generation: 1, began: 0, to, rest: "rest".into() }),
    };
    let channel = subject.open(ROOMY);
    assert_eq!(channel.source_positions("r1"), None, "a source that was never seen");
    assert!(channel.sink_positions("k1").is_empty());
    put(&*channel, &located("file", 2, 0, 70)).await;
    put(&*channel, &located("file", 3, 4, 6)).await;
    put(&*channel, &located("other", 1, 500, 3)).await;
    put(&*channel, &located("other", 1, 503, 2)).await;
    let check = |channel: &dyn Channel| {
        let positions = channel.source_positions("r1").expect("a source that has put");
        assert_eq!(positions.len(), 2, "{positions:?}");
        let position = Position { generation: 3, began: 4, to: 10, rest: "path of file".into() };
        assert_eq!(positions["file"], position);
        assert_eq!((positions["other"].began, positions["other"].to), (500, 505));
        assert_eq!(channel.source_positions("r2"), None);
    };
    check(&*channel);
    let taken = take(&mut *channel.taker(), 4).await;
    taken.release("k1", vec![sink_progress("released", 44)]);
    within(channel.record("k1", vec![sink_progress("recorded", 7), sink_progress("forgotten", 1)]))
        .await
        .expect("recorded");
    // One key by all ways in turn: the last call counts.
    let mut taker = channel.taker();
    drop(channel.record("k1", vec![sink_progress("both", 1)]));
    take(&mut *taker, 1).await.release("k1", vec![sink_progress("both", 2)]);
    drop(channel.record("k1", vec![sink_progress("both", 3)]));
    take(&mut *taker, 1).await.release("k1", vec![sink_progress("both", 4)]);
    let forget = SinkProgress { key: "forgotten".into(), position: None };
    within(channel.record("k1", vec![forget])).await.expect("recorded");
    channel.close().await;
    drop(channel);

    let channel = subject.open(ROOMY);
    check(&*channel);
    let positions = channel.sink_positions("k1");
    assert_eq!(positions["recorded"], Position { generation: 1, began: 0, to: 7, rest: "rest".into() });
    assert_eq!((positions["released"].to, positions["both"].to), (44, 4));
    assert_eq!(positions.len(), 3, "{positions:?}");
    assert_eq!(channel.source_positions("k1"), None);
    channel.close().await;
}

/// A multiplexed channel that gets nothing pins nobody.
pub async fn progress_of_a_put_without_events_is_kept(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    let batch = located("file", 1, 0, 10);
    let nothing = Space { events: 0, chunk_bytes: 0, body_bytes: 0 };
    let room = channel.try_reserve(nothing).expect("needs no room");
    let put_nothing = Put { source: "r1", batch: &batch, selection: Some(&[]) };
    within(channel.append(room, put_nothing).expect("appended")).await.expect("durable");
    assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 10);
    channel.close().await;
    drop(channel);
    let channel = subject.open(ROOMY);
    assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 10);
    expect_nothing(&mut *channel.taker());
    put(&*channel, &located("file", 1, 5, 10)).await;
    let taken = take(&mut *channel.taker(), 100).await;
    assert_eq!(expect_numbered(&taken, 10), 15, "what went elsewhere is not taken in later");
    drop(taken);
    channel.close().await;
}

/// A source that resumes at the position of a slower channel repeats nothing in this one.
pub async fn known_events_are_not_put_again(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &located("file", 1, 0, 100)).await;
    put(&*channel, &located("file", 1, 50, 20)).await;
    assert_eq!(channel.status().events, 100);
    channel.close().await;
    drop(channel);
    let channel = subject.open(ROOMY);
    put(&*channel, &located("file", 1, 0, 60)).await;
    put(&*channel, &located("file", 1, 60, 80)).await;
    put(&*channel, &located("file", 1, 140, 10)).await;
    assert_eq!(channel.status().events, 150);
    let mut taker = channel.taker();
    let mut next = 0;
    while next < 150 {
        let taken = take(&mut *taker, 1000).await;
        next = expect_numbered(&taken, next);
        taken.release("k1", Vec::new());
    }
    // Another source's key of the same name is another key, and so is an event without origin.
    put_of(&*channel, "r2", &located("file", 1, 0, 10)).await;
    put(&*channel, &numbered(0, 10)).await;
    assert_eq!(channel.status().events, 20);
    channel.close().await;
}

/// What is already known does not move the position back.
pub async fn progress_never_goes_back_within_a_generation(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &located("file", 1, 0, 100)).await;
    put(&*channel, &located("file", 1, 10, 10)).await;
    assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 100);
    put(&*channel, &located("file", 1, 20, 80)).await;
    assert_eq!(channel.status().events, 100);
    channel.close().await;
}

/// After a truncation, positions begin anew and so does what is known.
pub async fn a_new_generation_is_new_data(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &located("file", 1, 0, 100)).await;
    put(&*channel, &located("file", 2, 0, 30)).await;
    assert_eq!(channel.status().events, 130);
    let position = &channel.source_positions("r1").expect("known")["file"];
    assert_eq!((position.generation, position.to), (2, 30));
    channel.close().await;
}

/// A file that is gone leaves no key behind, and the source stays known.
pub async fn a_retired_key_is_forgotten(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    put(&*channel, &located("file", 1, 0, 10)).await;
    let mut last = located("file", 1, 10, 5);
    last.progress_mut()[0].retire = true;
    put(&*channel, &last).await;
    assert_eq!(channel.status().events, 15);
    assert!(channel.source_positions("r1").expect("known").is_empty());
    channel.close().await;
    drop(channel);
    let channel = subject.open(ROOMY);
    assert!(channel.source_positions("r1").expect("known").is_empty());
    channel.close().await;
}

/// A mark alone, and one with what other channels hold.
pub async fn a_marked_source_is_known(subject: &dyn Subject) {
    let channel = subject.open(ROOMY);
    within(channel.mark_source("r1", Vec::new())).await.expect("durable");
    assert_eq!(channel.source_positions("r1"), Some(Default::default()));
    let standing = located("file", 4, 0, 20).progress().to_vec();
    within(channel.mark_source("r2", standing)).await.expect("durable");
    channel.close().await;
    drop(channel);
    let channel = subject.open(ROOMY);
    assert_eq!(channel.source_positions("r1"), Some(Default::default()));
    assert_eq!(channel.source_positions("r2").expect("known")["file"].to, 20);
    put_of(&*channel, "r2", &located("file", 4, 10, 20)).await;
    assert_eq!(channel.status().events, 10, "the mark's positions are known ones");
    channel.close().await;
}

/// Events `event <first>` to `event <first + count - 1>`.
fn numbered(first: usize, count: usize) -> Batch {
    let mut batch = Batch::new();
    for i in first..first + count {
        batch.push(format!("event {i}").as_bytes());
    }
    batch
}

/// The same, as found along `key` at the positions `first + 1` to `first + count`.
fn located(key: &str, generation: u64, first: usize, count: usize) -> Batch {
    let mut batch = Batch::new();
    let rest = format!("path of {key}").into();
    let (from, to) = (first as u64, (first + count) as u64);
    let origin = batch.add_progress(Progress { key: key.into(), generation, from, to, rest, retire: false });
    for i in first..first + count {
        batch.push(format!("event {i}").as_bytes());
        batch.locate_last(origin, i as u64 + 1);
    }
    batch
}

fn number(body: &[u8]) -> usize {
    let text = std::str::from_utf8(body).expect("an event of this suite");
    text.strip_prefix("event ").and_then(|number| number.parse().ok()).expect("an event of this suite")
}

/// Panics unless the events are those from `next` on; returns the next one's number.
fn expect_numbered(taken: &Taken, next: usize) -> usize {
    for (i, event) in taken.events().iter().enumerate() {
        assert_eq!(number(event.body), next + i, "event {i} of {taken:?}");
    }
    next + taken.events().len()
}

fn space(batch: &Batch) -> Space {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() }
}

async fn put(channel: &dyn Channel, batch: &Batch) {
    put_of(channel, "r1", batch).await;
}

async fn put_of(channel: &dyn Channel, source: &str, batch: &Batch) {
    let room = within(channel.reserve(space(batch))).await.expect("room");
    let ticket = channel.append(room, Put { source, batch, selection: None }).expect("appended");
    within(ticket).await.expect("durable");
}

async fn append(channel: &dyn Channel, room: Reservation, batch: &Batch) {
    let ticket = channel.append(room, Put { source: "r1", batch, selection: None }).expect("appended");
    within(ticket).await.expect("durable");
}

/// Up to `events` events, at least one of which must come.
async fn take(taker: &mut dyn Taker, events: usize) -> Taken {
    within(async {
        loop {
            if let Some(taken) = tokio::task::block_in_place(|| try_take(taker, TakeLimit::events(events))) {
                return taken;
            }
            taker.ready().await;
        }
    })
    .await
}

fn try_take(taker: &mut dyn Taker, limit: TakeLimit) -> Option<Taken> {
    taker.try_take(limit).expect("a channel that can be read")
}

fn expect_nothing(taker: &mut dyn Taker) {
    let taken = tokio::task::block_in_place(|| try_take(taker, TakeLimit::events(1)));
    assert!(taken.is_none(), "{taken:?} should not be there");
}

fn expect_full(channel: &dyn Channel, events: usize) {
    let refused = channel.try_reserve(space(&numbered(0, events)));
    assert!(matches!(refused, Err(PutError::Full { .. })), "{refused:?}");
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("within the suite's patience")
}
