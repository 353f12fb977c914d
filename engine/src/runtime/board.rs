//! What is known of every component: its state, its counters, its channel. Keepers write it; monitoring, health and the
//! state dump read it.
//!
//! An entry belongs to a (kind, name) and outlives restarts of the component, so its counters survive a reload.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flumen_api::channel::Channel;
use flumen_api::metrics::{ChannelMetrics, Counter, SinkMetrics, SourceMetrics};
use flumen_api::settings::{Kind, Severity};
use parking_lot::Mutex;

use crate::plan::Plan;

/// What a component is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Something that it hangs on is not there yet.
    Waiting {
        /// What it waits for.
        reason: String,
    },
    /// Being opened or started.
    Starting,
    /// At work.
    Running,
    /// At work or finished, and something of it needs a person.
    Troubled {
        /// What.
        reason: String,
    },
    /// Failed; it is tried again unless the reason says otherwise.
    Failed {
        /// Why, with path, peer or port.
        reason: String,
        /// Failures in a row.
        failures: u32,
    },
    /// A source that had nothing more to do.
    Finished,
    /// Told to stop.
    Stopped,
    /// The configuration asks for it, with errors.
    LeftOut {
        /// What is wrong, with file and line.
        reason: String,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { reason } => write!(f, "waiting: {reason}"),
            Self::Starting => f.write_str("starting"),
            Self::Running => f.write_str("running"),
            Self::Troubled { reason } => write!(f, "troubled: {reason}"),
            Self::Failed { reason, failures: 1 } => write!(f, "failed: {reason}"),
            Self::Failed { reason, failures } => write!(f, "failed {failures} times: {reason}"),
            Self::Finished => f.write_str("finished"),
            Self::Stopped => f.write_str("stopped"),
            Self::LeftOut { reason } => write!(f, "left out: {reason}"),
        }
    }
}

/// The counters of a component, by kind.
#[derive(Clone, Debug)]
pub(super) enum Meters {
    Source(SourceMetrics),
    Channel(ChannelMetrics),
    Sink(SinkMetrics),
}

/// One component.
pub(super) struct Entry {
    pub kind: Kind,
    pub name: Arc<str>,
    pub type_name: Arc<str>,
    pub meters: Meters,
    /// When it last began to run, in milliseconds since 1970; 0 never.
    pub started_ms: AtomicU64,
    /// When it stopped; 0 while it runs.
    pub stopped_ms: AtomicU64,
    inner: Mutex<Inner>,
    /// Events that a source's interceptors dropped, by the interceptor's name.
    dropped: Mutex<BTreeMap<Arc<str>, Counter>>,
    trouble: Trouble,
    lags: Lags,
}

/// By how many seconds a source is behind in each part of its input.
pub(super) type Lags = Arc<Mutex<BTreeMap<String, u64>>>;

/// What a source says is wrong while it runs.
pub(super) type Trouble = Arc<Mutex<Option<String>>>;

struct Inner {
    state: State,
    since: Instant,
    channel: Option<Arc<dyn Channel>>,
}

impl Entry {
    fn new(kind: Kind, name: Arc<str>, type_name: Arc<str>, meters: Meters) -> Self {
        Self {
            kind,
            name,
            type_name,
            meters,
            started_ms: AtomicU64::new(0),
            stopped_ms: AtomicU64::new(0),
            inner: Mutex::new(Inner { state: State::Starting, since: Instant::now(), channel: None }),
            dropped: Mutex::default(),
            trouble: Trouble::default(),
            lags: Lags::default(),
        }
    }

    /// Where the source says how far it is behind.
    pub fn lags(&self) -> &Lags {
        &self.lags
    }

    /// Where the source says what is wrong while it runs.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// The count of events dropped by the source's interceptor `name`.
    pub fn dropped_by(&self, name: &Arc<str>) -> Counter {
        self.dropped.lock().entry(name.clone()).or_default().clone()
    }

    /// All of these counts.
    pub fn dropped(&self) -> Vec<(Arc<str>, u64)> {
        self.dropped.lock().iter().map(|(name, count)| (name.clone(), count.get())).collect()
    }

    pub fn state(&self) -> State {
        self.inner.lock().state.clone()
    }

    pub fn set(&self, state: State) {
        match state {
            State::Running => {
                self.started_ms.store(now_ms(), Ordering::Relaxed);
                self.stopped_ms.store(0, Ordering::Relaxed);
            }
            State::Stopped | State::Finished => self.stopped_ms.store(now_ms(), Ordering::Relaxed),
            _ => {}
        }
        let mut inner = self.inner.lock();
        inner.state = state;
        inner.since = Instant::now();
    }

    /// Back at work after a failure that did not restart it.
    pub fn recovered(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Running;
        inner.since = Instant::now();
    }

    /// The failure of something that is at work and goes on trying; the start time stays.
    pub fn failing(&self, reason: String, failures: u32) {
        let mut inner = self.inner.lock();
        inner.state = State::Failed { reason, failures };
        inner.since = Instant::now();
    }

    /// The open channel, for its status.
    pub fn channel(&self) -> Option<Arc<dyn Channel>> {
        self.inner.lock().channel.clone()
    }

    pub fn set_channel(&self, channel: Option<Arc<dyn Channel>>) {
        self.inner.lock().channel = channel;
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

type Entries = BTreeMap<(Kind, Arc<str>), Arc<Entry>>;

/// All components of an agent.
pub(super) struct Board {
    pub agent: Arc<str>,
    entries: Mutex<Entries>,
    /// What the configuration asks for with errors, and why it is left out. It has no counters, so no entry.
    left_out: Mutex<BTreeMap<(Kind, Arc<str>), String>>,
}

impl Board {
    pub fn new(agent: Arc<str>) -> Self {
        Self { agent, entries: Mutex::default(), left_out: Mutex::default() }
    }

    /// The component's entry; a component that had one before keeps its counters, whatever its type is now.
    pub fn entry(&self, kind: Kind, name: &Arc<str>, type_name: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock();
        let old = entries.get(&(kind, name.clone()));
        if let Some(entry) = old.filter(|entry| *entry.type_name == *type_name) {
            return entry.clone();
        }
        let meters = match old {
            Some(entry) => entry.meters.clone(),
            None => match kind {
                Kind::Source => Meters::Source(SourceMetrics::default()),
                Kind::Channel => Meters::Channel(ChannelMetrics::default()),
                _ => Meters::Sink(SinkMetrics::default()),
            },
        };
        let entry = Arc::new(Entry::new(kind, name.clone(), type_name.into(), meters));
        entries.insert((kind, name.clone()), entry.clone());
        entry
    }

    pub fn remove(&self, kind: Kind, name: &Arc<str>) {
        self.entries.lock().remove(&(kind, name.clone()));
    }

    /// Takes over what the plan leaves out, and forgets entries that are not `known`: what could not be built and is not
    /// asked for any more would be missed for ever.
    pub fn set_left_out(&self, plan: &Plan, known: impl Fn(Kind, &str) -> bool) {
        let reason = |kind: Kind, name: &str| {
            let prefix = format!("{}.{kind}s.{name}.", plan.agent);
            let mut errors = plan.problems.0.iter().filter(|problem| problem.severity == Severity::Error);
            let error = errors.find(|problem| problem.key.starts_with(&prefix));
            error.map_or_else(|| "see the errors of its configuration".into(), ToString::to_string)
        };
        let left_out = plan.left_out.iter().filter(|(kind, name)| !known(*kind, name));
        let left_out: BTreeMap<_, _> =
            left_out.map(|(kind, name)| ((*kind, name.clone()), reason(*kind, name))).collect();
        self.entries.lock().retain(|(kind, name), _| known(*kind, name));
        *self.left_out.lock() = left_out;
    }

    /// Every component, by kind and name.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// How every component is.
    pub fn health(&self) -> Health {
        let components = self.entries().into_iter().map(|entry| {
            let mut state = entry.state();
            let failure = entry.channel().and_then(|channel| channel.status().failure);
            if let (State::Running, Some(reason)) = (&state, failure) {
                state = State::Failed { reason, failures: 1 };
            } else if matches!(state, State::Running | State::Finished)
                && let Some(reason) = entry.trouble.lock().clone()
            {
                state = State::Troubled { reason };
            }
            ComponentHealth {
                kind: entry.kind,
                name: entry.name.clone(),
                type_name: entry.type_name.clone(),
                state,
            }
        });
        let left_out = self.left_out.lock();
        let left_out = left_out.iter().map(|((kind, name), reason)| ComponentHealth {
            kind: *kind,
            name: name.clone(),
            type_name: "".into(),
            state: State::LeftOut { reason: reason.clone() },
        });
        Health { components: components.chain(left_out).collect() }
    }

    /// Everything worth knowing when somebody asks a live process what it is doing.
    pub fn dump(&self) -> String {
        let mut text = format!("agent {}\n", self.agent);
        for entry in self.entries() {
            let (state, since) = {
                let inner = entry.inner.lock();
                (inner.state.to_string(), inner.since.elapsed().as_secs())
            };
            line(
                &mut text,
                format_args!("{} {} ({}): {state}, for {since} s", entry.kind, entry.name, entry.type_name),
            );
            if let Some(trouble) = &*entry.trouble.lock() {
                line(&mut text, format_args!("  {trouble}"));
            }
            if let Some(channel) = entry.channel() {
                let status = channel.status();
                line(&mut text, format_args!("  {} of {} events", status.events, status.capacity));
                if let Some(oldest) = status.oldest {
                    line(&mut text, format_args!("  oldest {} s", oldest.as_secs()));
                }
                if let Some(failure) = status.failure {
                    line(&mut text, format_args!("  {failure}"));
                }
                for (name, value) in status.gauges {
                    line(&mut text, format_args!("  {name} {value}"));
                }
            }
            let values = match &entry.meters {
                Meters::Source(metrics) => metrics.values(),
                Meters::Channel(metrics) => metrics.values(),
                Meters::Sink(metrics) => metrics.values(),
            };
            for metric in values.iter().filter(|metric| metric.value != 0) {
                line(&mut text, format_args!("  {} {}", metric.name, metric.value));
            }
        }
        for ((kind, name), reason) in &*self.left_out.lock() {
            line(&mut text, format_args!("{kind} {name}: left out: {reason}"));
        }
        text
    }
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all text");
}

/// How one component is.
#[derive(Clone, Debug)]
pub struct ComponentHealth {
    /// Source, channel or sink.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub type_name: Arc<str>,
    /// What it is doing.
    pub state: State,
}

/// How an agent's components are.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// All of them, by kind and name; then those that the configuration asks for with errors.
    pub components: Vec<ComponentHealth>,
}

impl Health {
    /// Components that do not run, though they should, or that need a person.
    pub fn not_running(&self) -> impl Iterator<Item = &ComponentHealth> {
        self.components.iter().filter(|c| !matches!(c.state, State::Running | State::Finished))
    }

    /// Whether every component runs (or had nothing more to do) and none needs a person.
    pub fn is_ready(&self) -> bool {
        self.not_running().next().is_none()
    }
}
