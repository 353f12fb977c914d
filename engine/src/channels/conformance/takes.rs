//! What takes, releases and rollbacks promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, PutError, TakeError, TakeLimit};

use super::Subject;
use super::world::{
    PATIENCE, ROOMY, TEN, TEN_AT_ONCE, expect_events, expect_full, expect_nothing, expect_numbered, number,
    numbered, poll, put, space, take, try_take, within,
};

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
    expect_events(subject, &*channel, 15);
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
    expect_events(subject, &*channel, 7);
    let middle = take(&mut *taker, 3).await;
    expect_numbered(&middle, 3);
    let last = take(&mut *taker, 10).await;
    assert_eq!(expect_numbered(&last, 6), 10);
    last.release("k1", Vec::new());
    middle.rollback();
    let middle = take(&mut *taker, 10).await;
    assert_eq!(expect_numbered(&middle, 3), 6);
    middle.release("k1", Vec::new());
    expect_events(subject, &*channel, 0);
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
    expect_events(subject, &*channel, 5);
    channel.close().await;
}

/// Three takes, the last released first; what is rolled back in between comes again and nothing else does.
pub async fn releases_may_come_in_any_order(subject: &dyn Subject) {
    let channel = subject.open(TEN_AT_ONCE);
    put(&*channel, &numbered(0, 10)).await;
    let mut taker = channel.taker();
    let (a, b, c) = (take(&mut *taker, 3).await, take(&mut *taker, 3).await, take(&mut *taker, 4).await);
    c.release("k1", Vec::new());
    expect_events(subject, &*channel, 6);
    put(&*channel, &numbered(10, 4)).await;
    if subject.is_local() {
        expect_full(&*channel, 1);
    }
    a.release("k1", Vec::new());
    expect_events(subject, &*channel, 7);
    b.rollback();
    let again = take(&mut *taker, 3).await;
    assert_eq!(expect_numbered(&again, 3), 6);
    let mut next = 10;
    while next < 14 {
        let newer = take(&mut *taker, 10).await;
        next = expect_numbered(&newer, next);
        newer.release("k1", Vec::new());
    }
    again.release("k1", Vec::new());
    expect_events(subject, &*channel, 0);
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
    if subject.is_local() {
        assert!(poll(waiting.as_mut()).is_pending());
    }
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
