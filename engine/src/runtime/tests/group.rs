//! Claims about several sinks on one runner: who gets what failed, and what becomes of those whose turn it is not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::channel::{Channel, TakeLimit};
use flumen_api::chunk::Events;
use flumen_api::metrics::SinkMetrics;
use flumen_api::processor::Processor;
use flumen_api::registry::Factory;
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::board::Board;
use super::super::dead_letter::DeadLetter;
use super::super::runner::Runner;
use super::super::slot::Slot;
use super::channel::TestChannel;
use super::fill;
use crate::processors::{failover, load_balance};

/// A sink that writes `name:bodies` into the group's log; what it has to fail with is scripted. It refuses a body that
/// begins with `bad`.
struct Member {
    name: &'static str,
    context: Option<SinkContext>,
    log: Arc<Mutex<Vec<String>>>,
    script: Arc<Script>,
    window: Window,
}

#[derive(Default)]
struct Script {
    /// Deliveries to come, true fails; then all succeed.
    deliveries: Mutex<VecDeque<bool>>,
    flushes: Mutex<VecDeque<bool>>,
    starts: AtomicUsize,
    idles: AtomicUsize,
}

fn told(fails: Option<bool>) -> Result<(), SinkError> {
    if fails == Some(true) { Err(SinkError::plain("told to")) } else { Ok(()) }
}

#[async_trait]
impl Sink for Member {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(1)
    }

    fn window(&self) -> Window {
        self.window
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.context = Some(context.clone());
        let starts = &self.script.starts;
        let fails = starts.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        told(Some(fails.is_ok()))
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let bodies: Vec<_> =
            events.iter().map(|event| String::from_utf8_lossy(event.body).into_owned()).collect();
        self.log.lock().push(format!("{}:{}", self.name, bodies.join(",")));
        told(self.script.deliveries.lock().pop_front())?;
        let refused: Vec<u32> =
            (0..).zip(&bodies).filter(|(_, body)| body.starts_with("bad")).map(|(at, _)| at).collect();
        match &self.context {
            Some(context) if !refused.is_empty() => Err(context.refuse("not wanted here", refused)),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> FlushFuture {
        let result = told(self.script.flushes.lock().pop_front());
        Box::pin(std::future::ready(result.map(|()| Vec::new())))
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        self.script.idles.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

/// Tells the processor a time that passes when the test says so, and while the group rests: a machine that stands still ends no
/// penalty.
struct Timed {
    processor: Box<dyn Processor>,
    clock: Arc<Mutex<Instant>>,
}

impl Processor for Timed {
    fn pick(&mut self, _: Instant) -> Result<usize, Duration> {
        let mut now = self.clock.lock();
        self.processor.pick(*now).inspect_err(|rest| *now += *rest)
    }

    fn succeeded(&mut self, sink: usize) {
        self.processor.succeeded(sink);
    }

    fn failed(&mut self, sink: usize, _: Instant, retry_after: Option<Duration>) {
        self.processor.failed(sink, *self.clock.lock(), retry_after);
    }
}

struct Setting {
    clock: Arc<Mutex<Instant>>,
    channel: Arc<TestChannel>,
    log: Arc<Mutex<Vec<String>>>,
    scripts: Vec<Arc<Script>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Runs `k1` and `k2` behind the processor over a channel that holds `bodies`.
fn run(
    factory: Factory,
    keys: &[(&str, &str)],
    bodies: &[&str],
    window: usize,
    script: impl Fn(&[Arc<Script>]),
) -> Setting {
    run_with(None, factory, keys, bodies, window, script)
}

/// The same, with a dead letter for each of them.
fn run_with(
    dead: Option<&Arc<TestChannel>>,
    factory: Factory,
    keys: &[(&str, &str)],
    bodies: &[&str],
    window: usize,
    script: impl Fn(&[Arc<Script>]),
) -> Setting {
    let channel = TestChannel::new("c1", true, 100);
    fill(&channel, bodies);
    let (log, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let board = Board::new("a1".into());
    let scripts: Vec<Arc<Script>> = (0..2).map(|_| Arc::default()).collect();
    script(&scripts);
    let mut slots: Vec<Slot> = ["k1", "k2"]
        .into_iter()
        .zip(&scripts)
        .map(|(name, script)| {
            let window =
                Window { events: window, bytes: usize::MAX, time: Duration::from_secs(60), flushes: 1 };
            let sink = Member { name, context: None, log: log.clone(), script: script.clone(), window };
            let metrics = SinkMetrics::default();
            let context = SinkContext::new("a1".into(), name.into(), stop.clone(), metrics, channel.clone());
            let dead = dead.map(|channel| DeadLetter::Channel { channel: channel.clone(), beyond: None });
            Slot::new(Box::new(sink), context, board.entry(Kind::Sink, &name.into(), "test"), dead)
        })
        .collect();
    let Factory::Processor(build) = factory else { panic!("not a processor") };
    let config = ComponentConfig::of(Kind::Processor, "g1", keys);
    let names = ["k1".to_string(), "k2".to_string()];
    let processor = build(&config, &names, &mut Problems::default()).expect("a processor");
    let clock = Arc::new(Mutex::new(Instant::now()));
    let mut processor = Timed { processor, clock: clock.clone() };
    let (taker, token) = (channel.taker(), stop.clone());
    let task = tokio::spawn(async move {
        for (at, slot) in slots.iter_mut().enumerate() {
            slot.start_first(at, &mut processor).await;
        }
        Runner::new(&mut slots, &mut processor, taker, token).run().await;
    });
    Setting { clock, channel, log, scripts, stop, task }
}

impl Setting {
    async fn released(&self, count: usize) {
        super::world::until("all released", || self.channel.state().releases.len() == count).await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.expect("the runner ends");
        std::mem::take(&mut *self.log.lock())
    }
}

/// Of the failover processor.
const FIRST_PENALTY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_one_sink_could_not_deliver_the_next_gets_in_order() {
    let fails = |scripts: &[Arc<Script>]| scripts[0].deliveries.lock().extend([false, true]);
    let s = run(failover::SPEC.factory, &[], &["1", "2", "3"], 10, fails);
    s.released(3).await;
    assert_eq!(s.channel.state().rolled_back, [1, 0], "what was delivered and not flushed goes back too");
    assert_eq!(s.end().await, ["k1:1", "k1:2", "k2:1", "k2:2", "k2:3"]);
}

#[tokio::test]
async fn a_window_whose_flush_failed_goes_to_the_next_sink_as_a_whole() {
    let fails = |scripts: &[Arc<Script>]| scripts[0].flushes.lock().extend([false, true]);
    let s = run(failover::SPEC.factory, &[], &["1", "2", "3", "4"], 2, fails);
    s.released(4).await;
    assert_eq!(s.end().await, ["k1:1", "k1:2", "k1:3", "k1:4", "k2:3", "k2:4"]);
}

#[tokio::test]
async fn the_group_returns_to_the_higher_priority_when_its_penalty_is_over() {
    let fails = |scripts: &[Arc<Script>]| scripts[0].deliveries.lock().extend([true]);
    let s = run(failover::SPEC.factory, &[], &["1"], 1, fails);
    s.released(1).await;
    *s.clock.lock() += FIRST_PENALTY;
    fill(&s.channel, &["2"]);
    s.released(2).await;
    assert_eq!(s.end().await, ["k1:1", "k2:1", "k1:2"]);
}

#[tokio::test]
async fn a_sink_that_does_not_start_holds_up_nobody_and_is_started_later() {
    let fails = |scripts: &[Arc<Script>]| scripts[0].starts.store(1, Ordering::Release);
    let s = run(failover::SPEC.factory, &[], &["1"], 1, fails);
    s.released(1).await;
    *s.clock.lock() += FIRST_PENALTY;
    fill(&s.channel, &["2"]);
    s.released(2).await;
    assert_eq!(s.end().await, ["k2:1", "k1:2"]);
}

#[tokio::test]
async fn balanced_sinks_take_turns_a_window_long() {
    let s = run(load_balance::SPEC.factory, &[], &["1", "2", "3", "4", "5"], 2, |_| {});
    s.released(5).await;
    assert_eq!(s.end().await, ["k1:1", "k1:2", "k2:3", "k2:4", "k1:5"]);
}

#[tokio::test]
async fn the_next_balanced_sink_gets_what_the_first_could_not_deliver() {
    let fails = |scripts: &[Arc<Script>]| scripts[0].deliveries.lock().extend([true; 2]);
    let s = run(load_balance::SPEC.factory, &[], &["1", "2"], 1, fails);
    s.released(2).await;
    assert_eq!(s.end().await, ["k1:1", "k2:1", "k2:2"]);
}

#[tokio::test]
async fn a_sink_whose_turn_it_is_not_still_hears_that_it_is_idle() {
    let s = run(failover::SPEC.factory, &[], &["1"], 1, |_| {});
    s.released(1).await;
    let idles = |s: &Setting| s.scripts[1].idles.load(Ordering::Acquire);
    super::world::until("the standby is told", || idles(&s) >= 2).await;
    assert_eq!(s.end().await, ["k1:1"]);
}

/// Refused by one sink, an event is not offered to the next, and what fails meanwhile for other reasons still is.
#[tokio::test]
async fn a_refused_event_goes_to_the_dead_letter_once_and_the_group_goes_on() {
    for factory in [failover::SPEC.factory, load_balance::SPEC.factory] {
        let dead = TestChannel::new("dead", true, 100);
        let fails = |scripts: &[Arc<Script>]| {
            scripts[0].deliveries.lock().extend([true]);
            scripts[1].deliveries.lock().extend([false, false, true]);
        };
        let bodies = ["1", "bad 2", "3", "bad 4", "5", "6", "bad 7"];
        let s = run_with(Some(&dead), factory, &[], &bodies, 1, fails);
        s.released(7).await;
        let refused: Vec<String> = {
            let state = dead.state();
            let events = state.events.values().flat_map(|slice| slice.iter());
            events.map(|event| String::from_utf8_lossy(event.body).into_owned()).collect()
        };
        assert_eq!(refused, ["bad 2", "bad 4", "bad 7"]);
        assert!(s.channel.state().events.is_empty() && s.channel.state().out == 0, "nothing is left");
        let mut tried: Vec<String> =
            s.end().await.iter().map(|line| line.split_once(':').expect("a name").1.to_string()).collect();
        tried.sort();
        // Two of them failed once, whatever they were, and came again.
        tried.dedup();
        assert_eq!(tried, ["1", "3", "5", "6", "bad 2", "bad 4", "bad 7"]);
    }
}
