//! Claims about takes, flushes and releases.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::channel::{Channel, SinkProgress, TakeLimit};
use flumen_api::chunk::Events;
use flumen_api::metrics::SinkMetrics;
use flumen_api::settings::Kind;
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::board::Board;
use super::super::runner::Runner;
use super::super::slot::Slot;
use super::channel::TestChannel;
use super::fill;
use crate::processors::default::Alone;

const SOON: Duration = Duration::from_millis(1);

/// A sink that records; deliveries fail as scripted, flushes wait for the test if it wants them to.
struct Recorder {
    log: Arc<Mutex<Vec<String>>>,
    failures: Arc<Mutex<VecDeque<bool>>>,
    window: Window,
    take: usize,
    /// How many calls of `idle` fail.
    idle_failures: Arc<AtomicUsize>,
    flushes: Option<mpsc::UnboundedSender<oneshot::Sender<Result<(), SinkError>>>>,
    holds: Arc<AtomicBool>,
}

#[async_trait]
impl Sink for Recorder {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.take)
    }

    fn window(&self) -> Window {
        self.window
    }

    async fn start(&mut self, _: &SinkContext) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let bodies: Vec<_> =
            events.iter().map(|event| String::from_utf8_lossy(event.body).into_owned()).collect();
        self.log.lock().push(bodies.join(","));
        match self.failures.lock().pop_front() {
            Some(true) => Err(SinkError { retry_after: Some(SOON), ..SinkError::plain("told to") }),
            _ => Ok(()),
        }
    }

    fn holds(&mut self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    fn flush(&mut self) -> FlushFuture {
        self.log.lock().push("flush".into());
        let progress = vec![SinkProgress { key: "file".into(), position: None }];
        let Some(flushes) = &self.flushes else { return Box::pin(std::future::ready(Ok(progress))) };
        let (resolve, resolved) = oneshot::channel();
        flushes.send(resolve).expect("the test listens");
        Box::pin(async move { resolved.await.expect("the test resolves every flush").map(|()| progress) })
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        match self.idle_failures.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
        {
            Ok(_) => {
                self.log.lock().push("idle fails".into());
                Err(SinkError { retry_after: Some(SOON), ..SinkError::plain("told to") })
            }
            Err(_) => Ok(()),
        }
    }

    async fn stop(&mut self) {
        self.log.lock().push("stop".into());
    }
}

struct Setting {
    channel: Arc<TestChannel>,
    log: Arc<Mutex<Vec<String>>>,
    metrics: SinkMetrics,
    stop: CancellationToken,
    idle_failures: Arc<AtomicUsize>,
    holds: Arc<AtomicBool>,
    flushes: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), SinkError>>>,
    task: JoinHandle<()>,
}

/// Runs a recorder over a channel that holds `bodies`.
fn run(bodies: &[&str], take: usize, window: Window, failures: &[bool], hold_flushes: bool) -> Setting {
    run_held(bodies, take, window, failures, hold_flushes, false)
}

/// The same; it `holds` what is delivered until the test says otherwise.
fn run_held(
    bodies: &[&str],
    take: usize,
    window: Window,
    failures: &[bool],
    hold_flushes: bool,
    holds: bool,
) -> Setting {
    let holds = Arc::new(AtomicBool::new(holds));
    let channel = TestChannel::new("c1", true, 100);
    fill(&channel, bodies);
    let log = Arc::new(Mutex::new(Vec::new()));
    let (sender, flushes) = mpsc::unbounded_channel();
    let idle_failures = Arc::new(AtomicUsize::new(0));
    let recorder = Recorder {
        log: log.clone(),
        failures: Arc::new(Mutex::new(failures.iter().copied().collect())),
        window,
        take,
        idle_failures: idle_failures.clone(),
        flushes: hold_flushes.then_some(sender),
        holds: holds.clone(),
    };
    let metrics = SinkMetrics::default();
    let stop = CancellationToken::new();
    let entry = Board::new("a1".into()).entry(Kind::Sink, &"k1".into(), "test");
    let context = SinkContext::new("a1".into(), "k1".into(), stop.clone(), metrics.clone(), channel.clone());
    let mut slot = Slot::new(Box::new(recorder), context, entry, None);
    slot.started = true;
    let (taker, token) = (channel.taker(), stop.clone());
    let task = tokio::spawn(async move {
        let mut processor = Alone::default();
        Runner::new(std::slice::from_mut(&mut slot), &mut processor, taker, token).run().await;
    });
    Setting { channel, log, metrics, stop, idle_failures, holds, flushes, task }
}

impl Setting {
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        super::world::until(what, || done(self)).await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.expect("the runner ends");
        std::mem::take(&mut *self.log.lock())
    }
}

fn window(events: usize, flushes: usize) -> Window {
    Window { events, bytes: usize::MAX, time: Duration::from_secs(60), flushes }
}

#[tokio::test]
async fn what_was_not_released_comes_again_in_order_after_an_error() {
    let s = run(&["1", "2", "3", "4"], 1, window(4, 1), &[false, false, true], false);
    s.until("four released", |s| s.channel.state().releases.len() == 4).await;
    assert_eq!(s.channel.state().rolled_back, [2, 1, 0], "newest first");
    let counted =
        [&s.metrics.event_drain_attempt, &s.metrics.event_drain_success, &s.metrics.event_write_fail];
    assert_eq!(counted.map(|counter| counter.get()), [7, 4, 1]);
    assert_eq!(s.end().await, ["1", "2", "3", "1", "2", "3", "4", "flush"]);
}

#[tokio::test]
async fn small_takes_share_a_flush_until_the_window_is_full() {
    let s = run(&["1", "2", "3", "4", "5"], 1, window(2, 1), &[], false);
    s.until("five released", |s| s.channel.state().releases.len() == 5).await;
    {
        let state = s.channel.state();
        let with_progress: Vec<_> = state
            .releases
            .iter()
            .filter(|(_, progress)| !progress.is_empty())
            .map(|(first, _)| *first)
            .collect();
        assert_eq!(with_progress, [0, 2, 4], "each flush's progress goes with its first release");
    }
    assert_eq!(s.end().await, ["1", "2", "flush", "3", "4", "flush", "5", "flush"]);
}

#[tokio::test]
async fn deliveries_go_on_while_flushes_are_on_their_way_and_releases_keep_order() {
    let mut s = run(&["1", "2", "3"], 1, window(1, 2), &[], true);
    let first = s.flushes.recv().await.expect("a flush");
    let second = s.flushes.recv().await.expect("a second flush while the first is on its way");
    s.until("the third is delivered", |s| s.log.lock().iter().any(|line| line == "3")).await;
    assert!(s.flushes.try_recv().is_err(), "two flushes may be on their way, not three");
    second.send(Ok(())).expect("a waiting flush");
    tokio::task::yield_now().await;
    assert!(s.channel.state().releases.is_empty(), "the second must not be released before the first");
    first.send(Ok(())).expect("a waiting flush");
    s.flushes.recv().await.expect("the third flush").send(Ok(())).expect("a waiting flush");
    s.until("three released", |s| s.channel.state().releases.len() == 3).await;
    let order: Vec<_> = s.channel.state().releases.iter().map(|(first, _)| *first).collect();
    assert_eq!(order, [0, 1, 2]);
    s.end().await;
}

#[tokio::test]
async fn a_failed_flush_takes_back_all_that_followed_it() {
    let mut s = run(&["1", "2"], 1, window(1, 2), &[], true);
    let first = s.flushes.recv().await.expect("a flush");
    let second = s.flushes.recv().await.expect("a second flush");
    second.send(Ok(())).expect("a waiting flush");
    let error = SinkError { retry_after: Some(SOON), ..SinkError::plain("no sync") };
    assert!(first.send(Err(error)).is_ok());
    for _ in 0..2 {
        s.flushes.recv().await.expect("flushed again").send(Ok(())).expect("a waiting flush");
    }
    s.until("two released", |s| s.channel.state().releases.len() == 2).await;
    assert_eq!(s.channel.state().rolled_back, [1, 0]);
    assert_eq!(s.end().await, ["1", "flush", "2", "flush", "1", "flush", "2", "flush"]);
}

/// A sink begins over at its next delivery: had it one before the older flush failed as well, it would take that for a new one.
#[tokio::test]
async fn nothing_is_delivered_behind_a_flush_that_failed_before_all_older_ones_have_landed() {
    let mut s = run(&["1", "2"], 1, window(1, 3), &[], true);
    let first = s.flushes.recv().await.expect("a flush");
    let second = s.flushes.recv().await.expect("a second flush");
    let error = SinkError { retry_after: Some(SOON), ..SinkError::plain("no sync") };
    assert!(second.send(Err(error)).is_ok());
    fill(&s.channel, &["3"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*s.log.lock(), ["1", "flush", "2", "flush"]);
    assert!(s.channel.state().rolled_back.is_empty(), "an older flush is still on its way");
    first.send(Ok(())).expect("a waiting flush");
    for _ in 0..2 {
        s.flushes.recv().await.expect("flushed again").send(Ok(())).expect("a waiting flush");
    }
    s.until("all released", |s| s.channel.state().releases.len() == 3).await;
    assert_eq!(s.channel.state().rolled_back, [1]);
    assert_eq!(s.end().await, ["1", "flush", "2", "flush", "2", "flush", "3", "flush"]);
}

#[tokio::test]
async fn an_empty_channel_flushes_at_once_and_new_events_wake_the_sink() {
    let s = run(&["1"], 10, window(1000, 1), &[], false);
    s.until("one released", |s| s.channel.state().releases.len() == 1).await;
    fill(&s.channel, &["2"]);
    s.until("two released", |s| s.channel.state().releases.len() == 2).await;
    assert!(s.metrics.batch_empty.get() >= 1);
    assert_eq!(s.metrics.batch_underflow.get(), 2);
    assert_eq!(s.end().await, ["1", "flush", "2", "flush"]);
}

#[tokio::test]
async fn what_a_sink_holds_is_released_as_one_when_it_lets_go_of_it() {
    let s = run_held(&["1", "2", "3"], 1, window(1, 1), &[], false, true);
    s.until("all delivered", |s| s.log.lock().len() == 3 && s.metrics.batch_empty.get() >= 1).await;
    assert_eq!(s.channel.state().out, 3);
    s.holds.store(false, Ordering::Release);
    s.until("all released", |s| s.channel.state().out == 0).await;
    assert_eq!(s.end().await, ["1", "2", "3", "flush"]);
}

#[tokio::test]
async fn a_sink_holds_nothing_that_its_channel_needs_the_room_of() {
    let s = run_held(&["1", "2"], 1, window(1, 1), &[], false, true);
    s.until("all delivered", |s| s.log.lock().len() == 2 && s.metrics.batch_empty.get() >= 1).await;
    s.channel.state().lacks_room = true;
    s.until("all released", |s| s.channel.state().out == 0).await;
    assert_eq!(s.end().await, ["1", "2", "flush"]);
}

/// Else each take would be an object of its own wherever a source is faster than a store.
#[tokio::test]
async fn a_sink_holds_on_while_what_is_on_its_way_will_make_room() {
    let mut s = run_held(&["1"], 1, window(1, 3), &[], true, true);
    s.channel.state().lacks_room = true;
    let first = s.flushes.recv().await.expect("a flush");
    fill(&s.channel, &["2", "3"]);
    s.until("all delivered", |s| s.log.lock().len() == 4).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*s.log.lock(), ["1", "flush", "2", "3"]);
    first.send(Ok(())).expect("a waiting flush");
    s.flushes.recv().await.expect("flushed").send(Ok(())).expect("a waiting flush");
    s.until("all released", |s| s.channel.state().out == 0).await;
    assert_eq!(s.end().await, ["1", "flush", "2", "3", "flush"]);
}

#[tokio::test]
async fn what_a_sink_holds_goes_back_in_order_after_an_error_and_is_flushed_at_a_stop() {
    let s = run_held(&["1", "2", "3"], 1, window(1, 1), &[false, false, true], false, true);
    s.until("all again", |s| s.log.lock().len() == 6).await;
    assert_eq!(s.channel.state().rolled_back, [2, 1, 0]);
    let channel = s.channel.clone();
    assert_eq!(s.end().await, ["1", "2", "3", "1", "2", "3", "flush"]);
    let state = channel.state();
    assert_eq!((state.out, state.releases.len()), (0, 3));
}

#[tokio::test]
async fn a_stop_flushes_and_releases_what_was_delivered() {
    let mut s = run(&["1"], 1, window(1, 2), &[], true);
    let flush = s.flushes.recv().await.expect("a flush");
    s.stop.cancel();
    flush.send(Ok(())).expect("a waiting flush");
    (&mut s.task).await.expect("the runner ends");
    assert_eq!(s.channel.state().releases.len(), 1);
    assert_eq!(s.channel.state().out, 0);
}

#[tokio::test]
async fn an_error_while_idle_lets_flushes_land_and_takes_back_the_rest() {
    let mut s = run(&["1", "2", "3", "4", "5"], 1, window(2, 2), &[], true);
    // The runner's task has not begun: the test has not waited yet.
    s.idle_failures.store(1, Ordering::Release);
    let first = s.flushes.recv().await.expect("a flush");
    let second = s.flushes.recv().await.expect("a second flush");
    s.until("idle has failed", |s| s.log.lock().iter().any(|line| line == "idle fails")).await;
    assert!(s.channel.state().rolled_back.is_empty(), "older flushes are still on their way");
    second.send(Ok(())).expect("a waiting flush");
    first.send(Ok(())).expect("a waiting flush");
    s.flushes.recv().await.expect("what came back is flushed").send(Ok(())).expect("a waiting flush");
    s.until("all released", |s| s.channel.state().releases.len() == 5).await;
    assert_eq!(s.channel.state().rolled_back, [4]);
    let log = s.end().await;
    assert_eq!(log, ["1", "2", "flush", "3", "4", "flush", "5", "idle fails", "5", "flush"]);
}
