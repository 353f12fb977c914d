//! Keys, events and steps of the suite.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Reservation, Space, TakeLimit, Taken, Taker};
use flumen_api::chunk::ChunkWriter;
use flumen_api::progress::Progress;

use super::Subject;

/// How long anything may take that has to happen at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) const ROOMY: &[(&str, &str)] =
    &[("capacity", "1000000"), ("transactionCapacity", "10000"), ("keep-alive", "5")];
pub(super) const TEN: &[(&str, &str)] =
    &[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "20")];
pub(super) const TEN_AT_ONCE: &[(&str, &str)] =
    &[("capacity", "10"), ("transactionCapacity", "10"), ("keep-alive", "0")];

/// Events `event <first>` to `event <first + count - 1>`.
pub(super) fn numbered(first: usize, count: usize) -> Batch {
    let mut batch = Batch::new();
    for i in first..first + count {
        batch.push(format!("event {i}").as_bytes());
    }
    batch
}

/// The same, as found along `key` at the positions `first + 1` to `first + count`.
pub(super) fn located(key: &str, generation: u64, first: usize, count: usize) -> Batch {
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

pub(super) fn number(body: &[u8]) -> usize {
    let text = std::str::from_utf8(body).expect("an event of this suite");
    text.strip_prefix("event ").and_then(|number| number.parse().ok()).expect("an event of this suite")
}

/// Panics unless the events are those from `next` on; returns the next one's number.
pub(super) fn expect_numbered(taken: &Taken, next: usize) -> usize {
    for (i, event) in taken.events().iter().enumerate() {
        assert_eq!(number(event.body), next + i, "event {i} of {taken:?}");
    }
    next + taken.events().len()
}

pub(super) fn space(batch: &Batch) -> Space {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() }
}

pub(super) async fn put(channel: &dyn Channel, batch: &Batch) {
    put_of(channel, "r1", batch).await;
}

pub(super) async fn put_of(channel: &dyn Channel, source: &str, batch: &Batch) {
    let room = within(channel.reserve(space(batch))).await.expect("room");
    let ticket = channel.append(room, Put { source, batch, selection: None }).expect("appended");
    within(ticket).await.expect("durable");
}

pub(super) async fn append(channel: &dyn Channel, room: Reservation, batch: &Batch) {
    let ticket = channel.append(room, Put { source: "r1", batch, selection: None }).expect("appended");
    within(ticket).await.expect("durable");
}

/// Up to `events` events, at least one of which must come.
pub(super) async fn take(taker: &mut dyn Taker, events: usize) -> Taken {
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

pub(super) fn try_take(taker: &mut dyn Taker, limit: TakeLimit) -> Option<Taken> {
    taker.try_take(limit).expect("a channel that can be read")
}

pub(super) fn expect_nothing(taker: &mut dyn Taker) {
    let taken = tokio::task::block_in_place(|| try_take(taker, TakeLimit::events(1)));
    assert!(taken.is_none(), "{taken:?} should not be there");
}

pub(super) fn expect_events(subject: &dyn Subject, channel: &dyn Channel, events: u64) {
    if subject.is_local() {
        assert_eq!(channel.status().events, events);
    }
}

pub(super) fn expect_full(channel: &dyn Channel, events: usize) {
    let refused = channel.try_reserve(space(&numbered(0, events)));
    assert!(matches!(refused, Err(PutError::Full { .. })), "{refused:?}");
}

pub(super) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("within the suite's patience")
}
