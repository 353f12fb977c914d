//! An engine for tests: one channel that keeps what it is given and drops what it has, as a durable one does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::channel::Ticket;
use flumen_api::progress::{Position, Positions};
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_api::source::{PutRefused, PutTicket, SourceEngine};
use flumen_api::{Batch, Headers, PutError, Source, SourceContext, SourceError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

#[path = "../../tests/support/ports.rs"]
mod ports;

pub use ports::free_port;

/// What the next puts meet; after that all goes well.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Refused for lack of room.
    Full,
    /// Refused by a channel that has failed.
    Failing,
    /// As without a fate.
    KeptAndAcked,
    /// Nothing is kept, the ticket fails.
    Lost,
    /// The same, and the ticket takes its time to say so.
    LostLater,
    /// All is kept, the ticket fails all the same.
    KeptAndFailed,
}

#[derive(Clone, Debug)]
pub struct Kept {
    pub body: Vec<u8>,
    pub headers: Headers,
}

#[derive(Clone, Debug, Default)]
pub struct State {
    pub events: Vec<Kept>,
    pub positions: Positions,
    /// Sizes of the puts that were appended and held events.
    pub puts: Vec<usize>,
    /// Where a failed put of a key began: until one begins there again, later ones fail as well, as in the engine.
    pub gaps: HashMap<String, (u64, u64)>,
    /// What was put again and dropped as known.
    pub dropped: usize,
    pub fates: VecDeque<Fate>,
    pub largest_body: Option<usize>,
    /// After so many events there is no room for more.
    pub room: Option<usize>,
    /// Forgets positions at a restart.
    pub memory: bool,
    /// Keeps no events, only counts them.
    pub counts_only: bool,
    pub counted: u64,
    pub refusals: usize,
    /// Pauses that were asked for; none of them takes any time.
    pub pauses: Vec<Duration>,
    /// What the source says is wrong.
    pub trouble: Option<String>,
    /// A put is kept at once, and its ticket resolves when one of these is there for it.
    pub acks: Option<Arc<Semaphore>>,
}

#[derive(Debug, Default)]
pub struct FakeEngine(Mutex<State>);

impl FakeEngine {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn with(state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(state)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.state().events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
    }

    pub fn context(self: &Arc<Self>, shutdown: &CancellationToken) -> SourceContext {
        SourceContext::new("a1".into(), "r1".into(), shutdown.clone(), Default::default(), self.clone())
    }
}

#[async_trait]
impl SourceEngine for FakeEngine {
    async fn put(&self, batch: Batch) -> Result<PutTicket, PutRefused> {
        let state = &mut *self.state();
        let failed = || PutError::Failed { channel: "c1".into(), reason: "as the test wants it".into() };
        let fate = if batch.is_empty() { None } else { state.fates.pop_front() };
        let no_room = state.room.is_some_and(|room| !batch.is_empty() && state.events.len() >= room);
        if no_room || matches!(fate, Some(Fate::Full)) {
            state.refusals += 1;
            let error = PutError::Full { channel: "c1".into(), reason: "as the test wants it".into() };
            return Err(PutRefused { batch, error });
        }
        if let Some(Fate::Failing) = fate {
            state.refusals += 1;
            return Err(PutRefused { batch, error: failed() });
        }
        if let Some(largest) = state.largest_body
            && batch.body_bytes() > largest as u64
        {
            let error = PutError::TooLarge { channel: "c1".into(), reason: "as the test wants it".into() };
            return Err(PutRefused { batch, error });
        }
        if let Some(fate @ (Fate::Lost | Fate::LostLater)) = fate {
            for progress in batch.progress() {
                state.gaps.insert(progress.key.clone(), (progress.generation, progress.from));
            }
            let polls = if matches!(fate, Fate::LostLater) { 100 } else { 0 };
            return Ok(Ticket::pending(async move {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
                Err(failed())
            }));
        }
        for progress in batch.progress() {
            if let Some((generation, from)) = state.gaps.remove(&progress.key)
                && generation == progress.generation
                && from < progress.from
            {
                state.gaps.insert(progress.key.clone(), (generation, from));
                return Ok(Ticket::pending(async move { Err(failed()) }));
            }
        }
        for progress in batch.progress() {
            if let Some(held) = state.positions.get(&progress.key) {
                assert!(
                    progress.generation >= held.generation,
                    "the generation fell: {progress:?}, {held:?}"
                );
                if progress.generation == held.generation && progress.from > held.to {
                    return Ok(Ticket::pending(async move { Err(failed()) }));
                }
            }
        }
        if !batch.is_empty() {
            state.puts.push(batch.len());
        }
        state.counted += batch.len() as u64;
        if !state.counts_only {
            for (event, span) in batch.iter().zip(batch.spans()) {
                let known = batch.progress().get(span.origin as usize).is_some_and(|progress| {
                    state.positions.get(&progress.key).is_some_and(|held| {
                        held.generation == progress.generation && span.position <= held.to
                    })
                });
                if known {
                    state.dropped += 1;
                } else {
                    state.events.push(Kept { body: event.body.to_vec(), headers: event.headers.clone() });
                }
            }
        }
        for progress in batch.progress() {
            if progress.retire {
                state.positions.remove(&progress.key);
                continue;
            }
            let held = state.positions.get(&progress.key);
            let to = match held {
                Some(held) if held.generation == progress.generation => held.to.max(progress.to),
                _ => progress.to,
            };
            let began = match held {
                Some(held) if held.generation == progress.generation => held.began.min(progress.from),
                _ => progress.from,
            };
            let position =
                Position { generation: progress.generation, began, to, rest: progress.rest.clone() };
            state.positions.insert(progress.key.clone(), position);
        }
        match fate {
            Some(Fate::KeptAndFailed) => Ok(Ticket::pending(async move { Err(failed()) })),
            _ => Ok(match state.acks.clone() {
                None => Ticket::done(),
                Some(acks) => Ticket::pending(async move {
                    acks.acquire().await.expect("nobody closes it").forget();
                    Ok(())
                }),
            }),
        }
    }

    fn positions(&self) -> Option<Positions> {
        let state = self.state();
        (!state.memory && !state.positions.is_empty()).then(|| state.positions.clone())
    }

    async fn sleep(&self, time: Duration) {
        self.state().pauses.push(time);
        tokio::task::yield_now().await;
    }

    fn report(&self, trouble: Option<String>) {
        self.state().trouble = trouble;
    }
}

/// Builds a source from its keys; panics with the problems.
pub fn build(spec: &Spec, pairs: &[(&str, &str)]) -> Built<dyn Source> {
    let Factory::Source(_, build) = spec.factory else { panic!("not a source") };
    let mut problems = Problems::default();
    match build(&ComponentConfig::of(Kind::Source, "r1", pairs), &mut problems) {
        Some(built) if problems.errors() == 0 => built,
        _ => panic!("{problems:?}"),
    }
}

/// The problems of keys that are wrong.
pub fn problems(spec: &Spec, pairs: &[(&str, &str)]) -> Vec<String> {
    let Factory::Source(_, build) = spec.factory else { panic!("not a source") };
    let mut problems = Problems::default();
    let built = build(&ComponentConfig::of(Kind::Source, "r1", pairs), &mut problems);
    assert_eq!(built.is_none(), problems.errors() > 0);
    problems.0.iter().map(ToString::to_string).collect()
}

/// A source that runs on a thread of its own.
pub struct Running {
    pub context: SourceContext,
    thread: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    pub fn start(spec: &Spec, engine: &Arc<FakeEngine>, pairs: &[(&str, &str)]) -> Self {
        let mut source = build(spec, pairs).component;
        let context = engine.context(&CancellationToken::new());
        let its = context.clone();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(source.run(its))
        });
        Self { context, thread }
    }

    pub fn stop(self) {
        self.context.shutdown.cancel();
        self.join();
    }

    /// Waits until the source ends by itself.
    pub fn join(self) {
        self.thread.join().unwrap().unwrap();
    }

    /// Waits until the source fails.
    pub fn failure(self) -> SourceError {
        eventually(|| "the source runs on".into(), || self.thread.is_finished());
        self.thread.join().unwrap().unwrap_err()
    }
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, and fails with `what` if it never does.
pub fn eventually(what: impl Fn() -> String, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came to be: {}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}
