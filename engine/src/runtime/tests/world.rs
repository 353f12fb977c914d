//! Component types that a plan can name, each bound to its test by the key `world`.
//!
//! Builders are plain functions, so what they share with the test is found by name; every test has a world of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::batch::Batch;
use flumen_api::channel::{OpenError, PutError, TakeLimit};
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Kind};
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_api::source::{Runs, Source, SourceContext, SourceError};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::channel::TestChannel;
use crate::plan::{ChannelPlan, Plan, SinkPlan, SourcePlan};
use crate::runtime::{AgentOptions, Pauses};
use crate::selectors::replicating;

static WORLDS: LazyLock<Mutex<BTreeMap<String, Arc<World>>>> = LazyLock::new(Mutex::default);

/// What a test and its components share.
#[derive(Default)]
pub(super) struct World {
    id: String,
    pub channels: Mutex<BTreeMap<String, Vec<Arc<TestChannel>>>>,
    /// Why channels cannot be opened.
    pub refusal: Mutex<Option<OpenError>>,
    pub delivered: Mutex<Vec<String>>,
    /// Sinks built, by name; sources run, by name.
    sinks_built: Mutex<BTreeMap<String, usize>>,
    source_runs: Mutex<BTreeMap<String, usize>>,
    commands: Mutex<BTreeMap<String, mpsc::UnboundedSender<Command>>>,
    pub sink_panics: AtomicUsize,
}

pub(super) enum Command {
    Put(Batch, oneshot::Sender<Result<(), PutError>>),
    Panic,
    Finish,
    Report(Option<String>),
}

impl World {
    pub fn new(id: &str) -> Arc<Self> {
        let world = Arc::new(Self { id: id.into(), ..Self::default() });
        assert!(WORLDS.lock().insert(id.into(), world.clone()).is_none(), "two tests share the world {id}");
        world
    }

    fn of(config: &ComponentConfig) -> Arc<Self> {
        WORLDS.lock()[config.get("world").expect("a world")].clone()
    }

    /// The channel as it is open now.
    pub fn channel(&self, name: &str) -> Arc<TestChannel> {
        self.channels.lock()[name].last().expect("opened").clone()
    }

    /// How often a source was run.
    pub fn runs(&self, source: &str) -> usize {
        self.source_runs.lock().get(source).copied().unwrap_or_default()
    }

    /// How often a sink was built.
    pub fn built(&self, sink: &str) -> usize {
        self.sinks_built.lock().get(sink).copied().unwrap_or_default()
    }

    pub fn opened(&self, name: &str) -> usize {
        self.channels.lock().get(name).map_or(0, Vec::len)
    }

    pub async fn tell(&self, source: &str, command: Command) {
        until("the source runs", || self.commands.lock().contains_key(source)).await;
        let sender = self.commands.lock()[source].clone();
        assert!(sender.send(command).is_ok(), "{source} runs");
    }

    /// Puts a batch through a source and waits until it is acked.
    pub async fn put(&self, source: &str, batch: Batch) -> Result<(), PutError> {
        let (answer, answered) = oneshot::channel();
        self.tell(source, Command::Put(batch, answer)).await;
        answered.await.expect("the source answers")
    }

    fn config(&self, kind: Kind, name: &str, pairs: &[(&str, &str)]) -> ComponentConfig {
        let mut pairs = pairs.to_vec();
        pairs.push(("world", &self.id));
        ComponentConfig::of(kind, name, &pairs)
    }

    pub fn channel_plan(&self, name: &str, pairs: &[(&str, &str)]) -> ChannelPlan {
        ChannelPlan { config: self.config(Kind::Channel, name, pairs), spec: CHANNEL }
    }

    pub fn source_plan(&self, name: &str, channels: &[&str], pairs: &[(&str, &str)]) -> SourcePlan {
        SourcePlan {
            config: self.config(Kind::Source, name, pairs),
            spec: SOURCE,
            channels: channels.iter().map(|name| (*name).into()).collect(),
            selector: (replicating::SPEC, ComponentConfig::of(Kind::Selector, name, &[])),
            interceptors: Vec::new(),
        }
    }

    pub fn sink_plan(&self, name: &str, channel: &str, pairs: &[(&str, &str)]) -> SinkPlan {
        SinkPlan {
            config: self.config(Kind::Sink, name, pairs),
            spec: SINK,
            channel: channel.into(),
            dead_letter: None,
        }
    }

    /// `r1` over `c1` and `c2`, each drained by `k1` and `k2`.
    pub fn plan(&self) -> Plan {
        Plan {
            agent: "a1".into(),
            channels: vec![self.channel_plan("c1", &[]), self.channel_plan("c2", &[])],
            sources: vec![self.source_plan("r1", &["c1"], &[]), self.source_plan("r2", &["c2"], &[])],
            sinks: vec![self.sink_plan("k1", "c1", &[]), self.sink_plan("k2", "c2", &[])],
            ..Plan::default()
        }
    }
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options with short pauses.
pub(super) fn options() -> AgentOptions {
    let pauses = Pauses {
        first: Duration::from_millis(2),
        max: Duration::from_millis(10),
        healthy: Duration::from_secs(60),
    };
    AgentOptions { pauses, shutdown_timeout: PATIENCE, ..AgentOptions::default() }
}

/// Waits for something that other threads bring about.
pub(super) async fn until(what: &str, done: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const LIVE: Key = Key { live: true, ..Key::new("capacity", "integer", "Changes live.") };

pub(super) const CHANNEL: Spec = Spec {
    alias: "test",
    class_names: &[],
    keys: &[LIVE],
    doc: "",
    factory: Factory::Channel {
        check: |_, _| Some(1000),
        open: |config, _| {
            let world = World::of(config);
            if let Some(refusal) = world.refusal.lock().clone() {
                return Err(refusal);
            }
            let durable = config.get("memory").is_none();
            let channel = TestChannel::new(&config.name, durable, 100);
            world.channels.lock().entry(config.name.to_string()).or_default().push(channel.clone());
            Ok(channel)
        },
        directories: |config| config.get("dir").map(Into::into).into_iter().collect(),
    },
};

pub(super) const SOURCE: Spec = Spec {
    alias: "test",
    class_names: &[],
    keys: &[],
    doc: "",
    factory: Factory::Source(Runs::Thread, |config, problems| {
        if config.get("broken").is_some() {
            problems.error(config, "broken", "told to");
            return None;
        }
        let component = Box::new(TestSource { world: World::of(config) });
        Some(Built { component, batch_size: None })
    }),
};

pub(super) const SINK: Spec = Spec {
    alias: "test",
    class_names: &[],
    keys: &[],
    doc: "",
    factory: Factory::Sink(|config, _| {
        let world = World::of(config);
        *world.sinks_built.lock().entry(config.name.to_string()).or_default() += 1;
        Some(Built { component: Box::new(TestSink { world }), batch_size: None })
    }),
};

struct TestSource {
    world: Arc<World>,
}

#[async_trait]
impl Source for TestSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let (sender, mut commands) = mpsc::unbounded_channel();
        *self.world.source_runs.lock().entry(context.name.to_string()).or_default() += 1;
        self.world.commands.lock().insert(context.name.to_string(), sender);
        loop {
            let command = tokio::select! {
                () = context.shutdown.cancelled() => None,
                command = commands.recv() => command,
            };
            // Commands wait for the next run, if there is one.
            let Some(command) = command else {
                self.world.commands.lock().remove(&*context.name);
                return Ok(());
            };
            match command {
                Command::Put(batch, answer) => {
                    let result = match context.put(batch).await {
                        Ok(ticket) => ticket.await,
                        Err(refused) => Err(refused.error),
                    };
                    answer.send(result).expect("the test waits");
                }
                Command::Panic => {
                    self.world.commands.lock().remove(&*context.name);
                    panic!("told to");
                }
                Command::Finish => return Ok(()),
                Command::Report(trouble) => context.report(trouble),
            }
        }
    }
}

struct TestSink {
    world: Arc<World>,
}

#[async_trait]
impl Sink for TestSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(10)
    }

    async fn start(&mut self, _: &SinkContext) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let panics = &self.world.sink_panics;
        if panics.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok() {
            panic!("told to");
        }
        let bodies = events.iter().map(|event| String::from_utf8_lossy(event.body).into_owned());
        self.world.delivered.lock().extend(bodies);
        Ok(())
    }
}
