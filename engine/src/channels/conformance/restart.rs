//! What a durable channel has after a restart.

use flumen_api::channel::TakeLimit;

use super::Subject;
use super::world::{
    ROOMY, TEN_AT_ONCE, expect_events, expect_nothing, expect_numbered, number, numbered, put, take, try_take,
};

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
    expect_events(subject, &*channel, 70);
    let mut taker = channel.taker();
    let mut next = 30;
    while next < 100 {
        let taken = take(&mut *taker, 25).await;
        if next == 30 && subject.is_local() {
            assert_eq!(taken.first_event(), number, "an event keeps its number for ever");
        }
        next = expect_numbered(&taken, next);
        taken.release("k1", Vec::new());
    }
    expect_nothing(&mut *taker);
    channel.close().await;
    drop((taker, channel));

    let channel = subject.open(ROOMY);
    expect_events(subject, &*channel, 0);
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
