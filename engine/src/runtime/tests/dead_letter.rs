//! Claims about events that a destination refuses.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::channel::{Channel, TakeLimit};
use flumen_api::chunk::Events;
use flumen_api::metrics::SinkMetrics;
use flumen_api::settings::Kind;
use flumen_api::sink::{Sink, SinkContext, SinkError, Window};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::board::{Board, Entry};
use super::super::dead_letter::DeadLetter;
use super::super::runner::Runner;
use super::super::slot::Slot;
use super::channel::TestChannel;
use super::world::until;
use super::{batch, fill};
use crate::processors::default::Alone;

/// Delivers what does not begin with `bad`, and refuses the rest.
struct Picky {
    delivered: Arc<Mutex<Vec<String>>>,
    context: Option<SinkContext>,
}

#[async_trait]
impl Sink for Picky {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(10)
    }

    fn window(&self) -> Window {
        Window { events: usize::MAX, bytes: usize::MAX, time: Duration::from_secs(60), flushes: 1 }
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.context = Some(context.clone());
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let mut refused = Vec::new();
        for (event, i) in events.iter().zip(0..) {
            match event.body.starts_with(b"bad") {
                true => refused.push(i),
                false => self.delivered.lock().push(String::from_utf8_lossy(event.body).into_owned()),
            }
        }
        let context = self.context.as_ref().expect("started");
        if refused.is_empty() { Ok(()) } else { Err(context.refuse("not wanted here", refused)) }
    }
}

struct Setting {
    channel: Arc<TestChannel>,
    delivered: Arc<Mutex<Vec<String>>>,
    metrics: SinkMetrics,
    entry: Arc<Entry>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn run(dead_letter: Option<DeadLetter>) -> Setting {
    let channel = TestChannel::new("c1", true, 100);
    let put = batch(&["1", "bad 2", "3", "bad 4"]);
    let space = flumen_api::Space { events: 4, chunk_bytes: 0, body_bytes: 0 };
    let room = channel.try_reserve(space).expect("room");
    drop(channel.append(room, flumen_api::channel::Put { source: "r1", batch: &put, selection: None }));
    let delivered = Arc::<Mutex<Vec<String>>>::default();
    let (metrics, stop) = (SinkMetrics::default(), CancellationToken::new());
    let entry = Board::new("a1".into()).entry(Kind::Sink, &"k1".into(), "test");
    let context = SinkContext::new("a1".into(), "k1".into(), stop.clone(), metrics.clone(), channel.clone());
    let picky = Picky { delivered: delivered.clone(), context: None };
    let mut slot = Slot::new(Box::new(picky), context, entry.clone(), dead_letter);
    let (taker, token) = (channel.taker(), stop.clone());
    let task = tokio::spawn(async move {
        let mut processor = Alone::default();
        slot.start_first(0, &mut processor).await;
        Runner::new(std::slice::from_mut(&mut slot), &mut processor, taker, token).run().await;
    });
    Setting { channel, delivered, metrics, entry, stop, task }
}

impl Setting {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the runner ends");
        assert_eq!(self.channel.state().out, 0, "nothing stays out");
    }
}

fn to(channel: &Arc<TestChannel>) -> DeadLetter {
    DeadLetter::Channel { channel: channel.clone(), beyond: None }
}

fn bodies(channel: &TestChannel) -> Vec<String> {
    let state = channel.state();
    let events = state.events.values().flat_map(|slice| slice.iter());
    events.map(|event| String::from_utf8_lossy(event.body).into_owned()).collect()
}

#[tokio::test]
async fn refused_events_go_to_the_channel_and_the_others_are_delivered_once() {
    let dead = TestChannel::new("dead", true, 100);
    let s = run(Some(to(&dead)));
    until("all released", || s.channel.state().releases.len() == 1).await;
    assert_eq!(*s.delivered.lock(), ["1", "3"]);
    assert_eq!(bodies(&dead), ["bad 2", "bad 4"]);
    {
        let state = dead.state();
        let event = state.events.values().next().expect("an event").iter().next().expect("an event");
        assert_eq!(event.headers.get("deadLetter.reason"), Some("not wanted here"));
        assert_eq!(event.headers.get("deadLetter.sink"), Some("k1"));
    }
    let counted = [&s.metrics.dead_lettered, &s.metrics.event_drain_success, &s.metrics.event_write_fail];
    assert_eq!(counted.map(|counter| counter.get()), [2, 4, 0]);
    s.end().await;
}

#[tokio::test]
async fn nothing_is_released_before_the_dead_letter_has_the_refused_events_durably() {
    let dead = TestChannel::new("dead", true, 100);
    dead.state().hold_tickets = true;
    let s = run(Some(to(&dead)));
    until("put", || dead.state().tickets.len() == 1).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(s.channel.state().releases.is_empty(), "released before the ticket");
    let ticket = dead.state().tickets.remove(0);
    ticket.send(Ok(())).expect("waited for");
    until("all released", || s.channel.state().releases.len() == 1).await;
    s.end().await;
}

#[tokio::test]
async fn a_full_dead_letter_holds_the_sink_up_and_repeats_no_delivery() {
    let dead = TestChannel::new("dead", true, 1);
    let s = run(Some(to(&dead)));
    let waits = || format!("{:?}", s.entry.state()).contains("channel dead is full");
    until("it says so", waits).await;
    assert!(s.channel.state().releases.is_empty());
    dead.state().capacity = 100;
    until("all released", || s.channel.state().releases.len() == 1).await;
    assert_eq!(*s.delivered.lock(), ["1", "3"], "the others went out once");
    assert!(!waits(), "and it works again");
    s.end().await;
}

#[tokio::test]
async fn a_stop_while_the_dead_letter_is_full_gives_everything_back() {
    let dead = TestChannel::new("dead", true, 0);
    let s = run(Some(to(&dead)));
    until("it waits", || format!("{:?}", s.entry.state()).contains("is full")).await;
    s.stop.cancel();
    s.task.await.expect("the runner ends");
    let state = s.channel.state();
    assert_eq!((state.releases.len(), state.events.len(), state.out), (0, 4, 0));
}

#[tokio::test]
async fn without_a_dead_letter_everything_goes_back_and_is_tried_again() {
    let s = run(None);
    until("failed", || s.metrics.event_write_fail.get() >= 1).await;
    assert_eq!((s.channel.state().releases.len(), s.metrics.dead_lettered.get()), (0, 0));
    fill(&s.channel, &["5"]);
    assert_eq!(bodies(&s.channel), ["1", "bad 2", "3", "bad 4", "5"]);
    s.end().await;
}

#[tokio::test]
async fn what_the_dead_letters_channel_can_never_take_goes_to_a_file_and_holds_nobody_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("beyond/a1.k1.json");
    let dead = TestChannel::new("dead", true, 100);
    dead.state().bytes_max = Some(5);
    let large = || format!("bad {}", "x".repeat(10));
    let s = run(Some(DeadLetter::Channel { channel: dead.clone(), beyond: Some(file.clone()) }));
    until("all released", || s.channel.state().releases.len() == 1).await;
    assert_eq!(bodies(&dead), ["bad 2", "bad 4"], "too large together, not one by one");
    assert!(!file.exists());
    fill(&s.channel, &["5", &large(), "6"]);
    until("all delivered", || s.delivered.lock().len() == 4).await;
    until("all released", || s.channel.state().out == 0).await;
    let text = std::fs::read_to_string(&file).expect("a file");
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect("JSON");
    assert_eq!((&line["body"], &line["headers"]["deadLetter.sink"]), (&large().into(), &"k1".into()));
    assert_eq!((bodies(&dead).len(), s.metrics.dead_lettered.get()), (2, 3));
    s.end().await;
}

#[tokio::test]
async fn what_the_dead_letter_has_is_not_put_again_while_it_waits_for_room() {
    let dead = TestChannel::new("dead", true, 1);
    // One event a put.
    dead.state().bytes_max = Some(5);
    let s = run(Some(to(&dead)));
    let waits = || format!("{:?}", s.entry.state()).contains("1 events were refused");
    until("it waits with the second", waits).await;
    dead.state().capacity = 100;
    until("all released", || s.channel.state().releases.len() == 1).await;
    assert_eq!(bodies(&dead), ["bad 2", "bad 4"]);
    s.end().await;
}

#[tokio::test]
async fn without_a_file_the_sink_says_what_it_waits_for() {
    let dead = TestChannel::new("dead", true, 100);
    dead.state().bytes_max = Some(1);
    let s = run(Some(to(&dead)));
    until("it says so", || format!("{:?}", s.entry.state()).contains("`deadLetter.file` is not set")).await;
    assert!(s.channel.state().releases.is_empty());
    s.end().await;
}
