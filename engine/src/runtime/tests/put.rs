//! Claims about a source's put.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flumen_api::channel::{Channel, PutError, Ticket};
use flumen_api::interceptor::Interceptor;
use flumen_api::metrics::{Counter, SourceMetrics};
use flumen_api::progress::{Position, Positions};
use flumen_api::selector::{Route, Selected, Selector};
use flumen_api::source::SourceEngine;

use super::super::put::{Link, Pipeline, SourcePut};
use super::channel::TestChannel;
use super::{batch, batch_from};

/// Routes every batch the same way.
struct Fixed(Route);

impl Selector for Fixed {
    fn route(&mut self, _: &flumen_api::Batch, _: usize) -> Route {
        self.0.clone()
    }

    fn may_require(&self, channel: usize) -> bool {
        self.0.required[channel] != Selected::None || self.0.optional[channel] == Selected::None
    }
}

/// Drops events whose body is `drop`.
struct Dropping;

impl Interceptor for Dropping {
    fn intercept(&mut self, batch: &mut flumen_api::Batch) {
        batch.retain(|_, event| event.body != b"drop");
    }
}

struct Setting {
    channels: Vec<Arc<TestChannel>>,
    metrics: SourceMetrics,
    dropped: Counter,
    engine: SourcePut,
}

fn setting(channels: &[&Arc<TestChannel>], required: Vec<Selected>, optional: Vec<Selected>) -> Setting {
    let channels: Vec<_> = channels.iter().map(|channel| (*channel).clone()).collect();
    let (metrics, dropped) = (SourceMetrics::default(), Counter::default());
    let pipeline = Pipeline {
        interceptors: vec![Link {
            name: "i1".into(),
            interceptor: Box::new(Dropping),
            dropped: dropped.clone(),
        }],
        selector: Box::new(Fixed(Route { nowhere: 1, required, optional })),
    };
    let open = channels.iter().map(|channel| channel.clone() as Arc<dyn Channel>).collect();
    let engine = SourcePut::new("r1".into(), metrics.clone(), pipeline, open);
    Setting { channels, metrics, dropped, engine }
}

fn replicating(channels: &[&Arc<TestChannel>]) -> Setting {
    let n = channels.len();
    setting(channels, vec![Selected::All; n], vec![Selected::None; n])
}

fn is_pending(ticket: &mut Ticket) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(pin!(ticket).as_mut(), &mut cx).is_pending()
}

#[tokio::test]
async fn a_put_without_room_in_one_channel_reaches_none() {
    let (roomy, full) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 1));
    let s = replicating(&[&roomy, &full]);
    s.engine.begin().await;
    let refused = s.engine.put(batch(&["1", "2"])).await.expect_err("no room in b");
    assert!(matches!(refused.error, PutError::Full { ref channel, .. } if &**channel == "b"));
    assert_eq!(refused.batch.len(), 2);
    assert!(roomy.state().appends.is_empty());
    // The room held in `a` meanwhile came back: all of it can be had.
    let s = replicating(&[&roomy]);
    s.engine.put(batch(&["x"; 10])).await.expect("room for ten").await.expect("durable");
}

#[tokio::test]
async fn a_put_is_accepted_only_when_all_channels_have_it_durably() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    a.state().hold_tickets = true;
    b.state().hold_tickets = true;
    let s = replicating(&[&a, &b]);
    let mut ticket = s.engine.put(batch(&["1", "drop", "2"])).await.expect("room");
    a.state().tickets.remove(0).send(Ok(())).expect("a waiting ticket");
    assert!(is_pending(&mut ticket));
    assert_eq!(s.metrics.event_accepted.get(), 0);
    b.state().tickets.remove(0).send(Ok(())).expect("a waiting ticket");
    ticket.await.expect("durable in both");
    let counted = (s.metrics.event_received.get(), s.dropped.get(), s.metrics.event_accepted.get());
    assert_eq!(counted, (3, 1, 2));
}

#[tokio::test]
async fn a_ticket_fails_when_one_channel_fails_and_nothing_counts_as_accepted() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    b.state().hold_tickets = true;
    let s = replicating(&[&a, &b]);
    let ticket = s.engine.put(batch(&["1"])).await.expect("room");
    b.state().tickets.remove(0).send(Err(b.failure())).expect("a waiting ticket");
    assert!(matches!(ticket.await, Err(PutError::Failed { .. })));
    assert_eq!(s.metrics.event_accepted.get(), 0);
    assert_eq!(s.metrics.channel_write_fail.get(), 1);
}

#[tokio::test]
async fn after_a_failed_put_later_ones_fail_until_the_source_went_back() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let s = replicating(&[&a, &b]);
    s.engine.begin().await;
    b.state().fail_appends = true;
    let first = s.engine.put(batch_from(&["1"], 0, 10)).await.expect("appended to a");
    b.state().fail_appends = false;
    let second = s.engine.put(batch_from(&["2"], 10, 20)).await.expect("not refused");
    assert!(first.await.is_err());
    assert!(second.await.is_err(), "b would stand at 20 without having 0 to 10");
    assert_eq!(b.state().appends, []);
    for (body, from) in [("1", 0), ("2", 10)] {
        s.engine.put(batch_from(&[body], from, from + 10)).await.expect("room").await.expect("durable");
    }
    assert_eq!(b.state().appends, [(1, Some(10)), (1, Some(20))]);
}

#[tokio::test]
async fn progress_reaches_durable_channels_that_get_no_event_and_is_not_waited_for() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let memory = TestChannel::new("m", false, 10);
    b.state().hold_tickets = true;
    let required = vec![Selected::Some(vec![1]), Selected::None, Selected::None];
    let s = setting(&[&a, &b, &memory], required, vec![Selected::None; 3]);
    s.engine.begin().await;
    s.engine.put(batch_from(&["1", "2"], 0, 10)).await.expect("room").await.expect("b is not waited for");
    assert_eq!(a.state().appends, [(1, Some(10))]);
    assert_eq!(b.state().appends, [(0, Some(10))]);
    assert_eq!(memory.state().appends, []);
}

#[tokio::test]
async fn progress_without_an_event_is_waited_for() {
    let a = TestChannel::new("a", true, 10);
    let s = replicating(&[&a]);
    s.engine.begin().await;
    a.state().hold_tickets = true;
    let mut ticket = s.engine.put(batch_from(&["drop"], 0, 10)).await.expect("room");
    assert!(is_pending(&mut ticket));
    assert_eq!(a.state().appends, [(0, Some(10))]);
    a.state().tickets.remove(0).send(Ok(())).expect("a waiting ticket");
    ticket.await.expect("durable");
}

#[tokio::test]
async fn an_optional_channel_without_room_loses_the_batch_and_stops_nobody() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 1));
    let required = vec![Selected::All, Selected::None];
    let s = setting(&[&a, &b], required, vec![Selected::None, Selected::All]);
    s.engine.put(batch(&["1", "2"])).await.expect("room in a").await.expect("durable in a");
    assert_eq!((a.state().appends.len(), b.state().appends.len()), (1, 0));
    assert_eq!(s.metrics.optional_dropped.get(), 2);
    s.engine.put(batch(&["3"])).await.expect("room").await.expect("durable");
    assert_eq!(b.state().appends, [(1, None)]);
    assert_eq!((a.state().optional, b.state().optional), (0, 1), "what is lost in b nobody repeats");
}

#[tokio::test]
async fn a_batch_that_is_put_again_is_not_intercepted_again() {
    let a = TestChannel::new("a", true, 1);
    let s = replicating(&[&a]);
    let refused = s.engine.put(batch(&["1", "2", "drop"])).await.expect_err("room for one");
    a.state().capacity = 10;
    s.engine.put(refused.batch).await.expect("room").await.expect("durable");
    assert_eq!((s.metrics.event_received.get(), s.dropped.get()), (3, 1));
}

#[tokio::test]
async fn a_new_channel_is_marked_where_the_others_stand_before_its_first_batch() {
    let (old, new) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let memory = TestChannel::new("m", false, 10);
    let at = Position { generation: 1, began: 20, to: 500, rest: Default::default() };
    let known = Positions::from([("k".to_string(), at)]);
    old.state().positions.insert("r1".into(), known.clone());
    let s = replicating(&[&old, &new, &memory]);
    s.engine.begin().await;
    assert_eq!(s.engine.positions(), Some(known), "a channel that knows nothing has no vote");
    assert_eq!(old.state().settled, ["r1"], "positions hold only when no earlier put can fail any more");
    s.engine.put(batch_from(&["1"], 500, 510)).await.expect("room").await.expect("durable");
    let marks: Vec<_> = new.state().marks.iter().flatten().map(|mark| (mark.from, mark.to)).collect();
    assert_eq!(marks, [(20, 500)]);
    assert!(s.channels[0].state().marks.is_empty() && memory.state().marks.is_empty());
}

#[tokio::test]
async fn on_a_first_start_every_durable_channel_is_marked_before_the_first_batch() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let s = replicating(&[&a, &b]);
    s.engine.begin().await;
    assert_eq!(s.engine.positions(), None);
    a.state().fail_appends = true;
    s.engine.put(batch_from(&["1"], 0, 10)).await.expect_err("a fails, nothing is appended");
    // As after a crash that left the put in b alone: a is marked, so it votes, and stands where the key began.
    a.state().fail_appends = false;
    s.engine.put(batch_from(&["1"], 0, 10)).await.expect("room").await.expect("durable");
    a.state().positions.insert("r1".into(), Positions::new());
    s.engine.begin().await;
    assert_eq!(s.engine.positions().expect("b knows the key")["k"].to, 0);
    assert_eq!((a.state().marks.len(), b.state().marks.len()), (1, 1));
}

/// A file that is followed from its end, 1000, and a crash that left its first put in one of two channels.
#[tokio::test]
async fn after_a_crash_between_two_channels_nothing_from_before_a_files_beginning_is_asked_for() {
    let (a, b) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let s = replicating(&[&a, &b]);
    s.engine.begin().await;
    for from in [1000, 1010] {
        s.engine.put(batch_from(&["1"], from, from + 10)).await.expect("room").await.expect("durable");
    }
    b.state().positions.insert("r1".into(), Positions::new());
    let s = replicating(&[&a, &b]);
    s.engine.begin().await;
    assert_eq!(s.engine.positions().expect("a knows the key")["k"].to, 1000);
    s.engine.put(batch_from(&["1"], 1000, 1010)).await.expect("room").await.expect("durable");
    assert_eq!(b.state().appends.last(), Some(&(1, Some(1010))));
}

/// The channel that was there from the first put on is gone when the new one has to say where a file began.
#[tokio::test]
async fn a_channel_added_later_knows_where_a_file_began_that_was_followed_from_its_end() {
    let (old, added) = (TestChannel::new("a", true, 10), TestChannel::new("b", true, 10));
    let s = replicating(&[&old]);
    s.engine.begin().await;
    s.engine.put(batch_from(&["1"], 1000, 1010)).await.expect("room").await.expect("durable");
    let s = replicating(&[&old, &added]);
    s.engine.begin().await;
    assert_eq!(s.engine.positions().expect("known")["k"].to, 1010, "the new channel asks for nothing old");
    s.engine.put(batch_from(&["2"], 1010, 1020)).await.expect("room").await.expect("durable");
    assert_eq!(added.state().appends, [(1, Some(1020))]);

    let lacking = TestChannel::new("c", true, 10);
    lacking.state().positions.insert("r1".into(), Positions::new());
    let s = replicating(&[&added, &lacking]);
    s.engine.begin().await;
    assert_eq!(s.engine.positions().expect("b knows the key")["k"].to, 1000);
}

#[test]
fn a_selector_hears_that_positions_count_where_several_channels_keep_them() {
    struct Listening(Arc<AtomicBool>);
    impl Selector for Listening {
        fn route(&mut self, _: &flumen_api::Batch, _: usize) -> Route {
            unreachable!("nothing is put")
        }

        fn route_by_position(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let hears = |durable: &[bool]| {
        let heard = Arc::new(AtomicBool::new(false));
        let pipeline = Pipeline { interceptors: Vec::new(), selector: Box::new(Listening(heard.clone())) };
        let channel = |durable: &bool| TestChannel::new("c", *durable, 10) as Arc<dyn Channel>;
        let channels = durable.iter().map(channel).collect();
        drop(SourcePut::new("r1".into(), SourceMetrics::default(), pipeline, channels));
        heard.load(Ordering::Acquire)
    };
    assert!(hears(&[true, true]));
    assert!(!hears(&[true, false]) && !hears(&[false, false]));
}

#[tokio::test]
async fn events_without_a_channel_are_counted_once_and_accepted() {
    let a = TestChannel::new("a", true, 10);
    let s = setting(&[&a], vec![Selected::Some(vec![1])], vec![Selected::None]);
    s.engine.put(batch(&["1", "2"])).await.expect("room").await.expect("durable");
    assert_eq!((s.metrics.nowhere.get(), s.metrics.event_accepted.get()), (1, 2));
}
