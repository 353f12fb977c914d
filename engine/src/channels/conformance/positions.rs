//! What a durable channel knows of the progress of sources and sinks, and makes of it.

use flumen_api::channel::{Channel, Put, SinkProgress, Space};
use flumen_api::progress::Position;

use super::Subject;
use super::world::{ROOMY, expect_nothing, expect_numbered, located, numbered, put, put_of, take, within};

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
