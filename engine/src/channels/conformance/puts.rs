//! What a put promises: order, room, limits, and that what comes out is what went in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{Put, PutError, Space};
use flumen_api::chunk::ChunkWriter;
use flumen_api::event::Headers;

use super::Subject;
use super::world::{
    ROOMY, TEN, TEN_AT_ONCE, append, expect_events, expect_full, expect_nothing, expect_numbered, number,
    numbered, poll, put, space, take, within,
};

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
    expect_events(subject, &*channel, 0);
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
