//! An agent: what runs, its start and its stop, and what it tells of itself. How it becomes what shall run is [`apply`]'s.

mod apply;
mod drain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::registry::{Registry, Storage};
use flumen_api::settings::Kind;
use tokio::time::Instant;

use super::board::{Board, Health, State};
use super::channel_unit::ChannelUnit;
use super::layout::RunnerKey;
use super::monitoring::{Monitoring, Server};
use super::sink_unit::RunnerUnit;
use super::source_unit::SourceUnit;
use super::supervise::{Pauses, Running};
use crate::plan::Plan;

/// What an agent needs to know beside its plan.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Memory that this process may use, in bytes (the cgroup's limit, else the machine's).
    pub memory_limit: u64,
    /// Channels start beside Flume's own files in their directories.
    pub ignore_flume_data: bool,
    /// How channels on disk write.
    pub storage: Storage,
    /// Where metrics are served, if anywhere.
    pub monitoring: Option<Monitoring>,
    /// How long a reload waits for what it stops; a stop of the agent says so itself.
    pub shutdown_timeout: Duration,
    /// How long a component that failed rests.
    pub pauses: Pauses,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            memory_limit: 1 << 30,
            ignore_flume_data: false,
            storage: Storage::default(),
            monitoring: None,
            shutdown_timeout: Duration::from_secs(20),
            pauses: Pauses::default(),
        }
    }
}

/// A component that has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupFailure {
    /// Source, channel or sink.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Why.
    pub reason: String,
    /// Another process holds its directory.
    pub locked: bool,
}

/// A running agent. Dropping it stops nothing; see [`shutdown`](Self::shutdown).
pub struct Agent {
    registry: Registry,
    options: AgentOptions,
    board: Arc<Board>,
    channels: BTreeMap<Arc<str>, ChannelUnit>,
    runners: BTreeMap<RunnerKey, RunnerUnit>,
    sources: BTreeMap<Arc<str>, SourceUnit>,
    server: Option<Server>,
}

impl Agent {
    /// Starts everything in `plan`. What does not start is in [`startup_failures`](Self::startup_failures), and goes on
    /// being tried. Has to be called on a tokio runtime with I/O and time.
    pub async fn start(plan: Plan, registry: Registry, options: AgentOptions) -> Agent {
        let board = Arc::new(Board::new(plan.agent.clone()));
        let server = match &options.monitoring {
            Some(monitoring) => Some(Server::start(*monitoring, board.clone(), options.pauses).await),
            None => None,
        };
        let mut agent = Agent {
            registry,
            options,
            board,
            channels: BTreeMap::new(),
            runners: BTreeMap::new(),
            sources: BTreeMap::new(),
            server,
        };
        let report = agent.apply(plan).await;
        tracing::info!(agent = %agent.board.agent, "started: {report}");
        agent
    }

    /// Stops sources, then sinks, then channels, all within `timeout`. What has not stopped by then is left behind: the
    /// process is about to end, and whatever is not released is delivered again. Sinks go on until the channels that
    /// keep nothing are empty; what a durable one holds is delivered after the next start.
    pub async fn shutdown(mut self, timeout: Duration) {
        let begun = Instant::now();
        // Each stage leaves some of the time to the next: a source that hangs must not keep the sinks from flushing.
        let sources = std::mem::take(&mut self.sources).into_iter();
        let sources = sources.map(|(name, unit)| (format!("source {name}"), unit.running));
        stop_all(sources, begun + timeout / 2).await;
        self.drain(|_| true, begun + timeout * 3 / 4).await;
        let runners = std::mem::take(&mut self.runners).into_iter();
        let runners = runners.map(|(key, unit)| (key.to_string(), unit.running));
        stop_all(runners, begun + timeout * 9 / 10).await;
        let channels = std::mem::take(&mut self.channels).into_iter();
        let channels = channels.map(|(name, unit)| (format!("channel {name}"), unit.running));
        stop_all(channels, begun + timeout).await;
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// The state of every component as text, for somebody who asks a live process what it is doing.
    pub fn dump(&self) -> String {
        let mut text = self.board.dump();
        for kind in [Kind::Source, Kind::Channel, Kind::Sink] {
            let names: Vec<_> =
                self.registry.of(kind).map(|spec| spec.alias).filter(|alias| !alias.is_empty()).collect();
            text.push_str(&format!("{kind} types: {}\n", names.join(" ")));
        }
        text
    }

    /// How every component is.
    pub fn health(&self) -> Health {
        self.board.health()
    }

    /// Components that failed and are being tried again, with their reasons.
    pub fn startup_failures(&self) -> Vec<StartupFailure> {
        let is_locked = |kind, name: &Arc<str>| {
            kind == Kind::Channel && self.channels.get(name).is_some_and(ChannelUnit::is_locked)
        };
        let failed = self.health().components.into_iter().filter_map(|component| match component.state {
            State::Failed { reason, .. } => Some(StartupFailure {
                kind: component.kind,
                locked: is_locked(component.kind, &component.name),
                name: component.name,
                reason,
            }),
            _ => None,
        });
        failed.collect()
    }

    /// Whether nothing runs for the sole reason that other processes hold the channels' directories.
    pub fn only_locks_hinder(&self) -> bool {
        let failures = self.startup_failures();
        let open = self.channels.values().any(|unit| unit.handle.now().is_some());
        !open && !failures.is_empty() && failures.iter().all(|failure| failure.locked)
    }

    /// Where metrics are served, once the port is bound.
    pub fn monitoring_address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref()?.address()
    }
}

/// Asks all to stop, then waits for each.
async fn stop_all(units: impl Iterator<Item = (String, Running)>, deadline: Instant) {
    let mut units: Vec<_> = units.collect();
    for (_, running) in &units {
        running.ask_to_stop();
    }
    for (name, running) in &mut units {
        if !running.stop(deadline).await {
            tracing::warn!("{name} did not stop in time and is left behind");
        }
    }
}
