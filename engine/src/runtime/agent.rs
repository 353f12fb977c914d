//! An agent: what runs, and how it becomes what shall run.
//!
//! A start is a reload from nothing. A reload goes:
//!
//! ```text
//!   build what is new or changed      (touches nothing outside; what cannot be built leaves the old one running)
//!   take over live keys
//!   stop   sources, sinks, channels   of what changes, goes, or hangs on such a channel
//!   start  channels, sinks, sources
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flumen_api::registry::{Registry, Spec, Storage};
use flumen_api::settings::{ComponentConfig, Kind};
use tokio::time::Instant;

use super::board::{Board, Health, State};
use super::channel_unit::{ChannelUnit, Handle};
use super::layout::{ChannelChange, Layout, RunnerKey, channel_change, same_runner, same_source};
use super::monitoring::{Monitoring, Server};
use super::reload::{ReloadReport, What};
use super::sink_unit::{self, RunnerPlan, RunnerUnit};
use super::source_unit::{self, SourceUnit};
use super::supervise::{Pauses, Running, catch_now};
use crate::plan::{Plan, SinkPlan, SourcePlan};

/// How long a start or reload waits for channels to open before it leaves them to their keepers. A locked directory is
/// refused well within it.
const FIRST_ATTEMPTS_MAX: Duration = Duration::from_secs(10);

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

    /// Becomes what `plan` says, and leaves alone what stays the same.
    pub async fn apply(&mut self, plan: Plan) -> ReloadReport {
        let mut report = ReloadReport::default();
        let old = self.layout();
        let mut new = Layout::of(&plan);
        let put_back = new.put_back_broken(&old, &plan.left_out);
        let mut kept_broken: BTreeMap<_, _> = put_back
            .into_iter()
            .map(|broken| (broken, "its new configuration has errors".to_string()))
            .collect();

        let (mut sources, mut runners) = self.build_changed(&old, &mut new, &mut kept_broken, &mut report);
        new.put_back_needed_channels(&old);
        let backlogs = self.keep_backlogs(&old, &mut new);

        // Channels first: what hangs on one that restarts, restarts.
        let mut stop_channels = BTreeSet::new();
        let mut live = BTreeSet::new();
        for (name, unit) in &mut self.channels {
            let Some(plan) = new.channels.get(name) else {
                stop_channels.insert(name.clone());
                continue;
            };
            let change = match channel_change(&unit.plan, plan) {
                ChannelChange::Live => match unit.handle.now().map(|open| open.reconfigure(&plan.config)) {
                    Some(Ok(())) => ChannelChange::Live,
                    Some(Err(error)) => {
                        tracing::warn!(channel = %name, %error, "cannot change live, restarting");
                        ChannelChange::Restart
                    }
                    None => ChannelChange::Restart,
                },
                change => change,
            };
            match change {
                ChannelChange::None => {}
                ChannelChange::Live => {
                    unit.plan = plan.clone();
                    live.insert(name.clone());
                }
                ChannelChange::Restart => {
                    stop_channels.insert(name.clone());
                }
            }
        }
        let mut stop_sources = BTreeMap::new();
        for (name, unit) in &self.sources {
            match new.sources.get(name) {
                None => drop(stop_sources.insert(name.clone(), String::new())),
                Some(plan) if !same_source(&unit.plan, plan) => {
                    stop_sources.insert(name.clone(), "its configuration changed".to_string());
                }
                Some(plan) => {
                    if let Some(channel) = plan.channels.iter().find(|name| stop_channels.contains(*name)) {
                        stop_sources.insert(name.clone(), format!("channel {channel} restarted"));
                    }
                }
            }
        }
        let mut stop_runners = BTreeMap::new();
        for (key, unit) in &self.runners {
            match new.runners.get(key) {
                None => drop(stop_runners.insert(key.clone(), String::new())),
                Some(plan) if !same_runner(&unit.plan, plan) => {
                    stop_runners.insert(key.clone(), "its configuration changed".to_string());
                }
                Some(plan) => {
                    let channel = plan.channel();
                    if stop_channels.contains(channel) {
                        stop_runners.insert(key.clone(), format!("channel {channel} restarted"));
                    }
                }
            }
        }

        let deadline = Instant::now() + self.options.shutdown_timeout;
        let stopped_sources = take_all(&mut self.sources, stop_sources.keys());
        stop_all(
            stopped_sources.into_iter().map(|(name, unit)| (format!("source {name}"), unit.running)),
            deadline,
        )
        .await;
        let stopped_runners = take_all(&mut self.runners, stop_runners.keys());
        stop_all(stopped_runners.into_iter().map(|(key, unit)| (key.to_string(), unit.running)), deadline)
            .await;
        let stopped_channels = take_all(&mut self.channels, stop_channels.iter());
        stop_all(
            stopped_channels.into_iter().map(|(name, unit)| (format!("channel {name}"), unit.running)),
            deadline,
        )
        .await;

        for (name, plan) in &new.channels {
            let what = if let Some(events) = backlogs.get(name) {
                tracing::warn!(
                    channel = %name,
                    "{events} events are in the channel that the configuration has no more; it stays open"
                );
                What::KeptBacklog(*events)
            } else if let Some(why) = kept_broken.remove(&(Kind::Channel, name.clone())) {
                What::KeptBroken(why)
            } else if live.contains(name) {
                What::ChangedLive
            } else if stop_channels.contains(name) {
                What::Restarted("its configuration changed".into())
            } else if self.channels.contains_key(name) {
                What::Kept
            } else {
                What::Added
            };
            if !self.channels.contains_key(name) {
                let entry = self.board.entry(Kind::Channel, name, type_name(&plan.spec, &plan.config));
                let unit = ChannelUnit::start(plan.clone(), entry, &self.options);
                self.channels.insert(name.clone(), unit);
            }
            report.add(Kind::Channel, name, what);
        }
        for (key, plan) in &new.runners {
            self.start_runner(key, plan, &mut runners, &stop_runners, &mut kept_broken, &mut report);
        }
        for (name, plan) in &new.sources {
            self.start_source(name, plan, &mut sources, &stop_sources, &mut kept_broken, &mut report);
        }
        self.forget_removed(&old, &new, &mut report);
        let sinks: BTreeSet<_> = self
            .runners
            .values()
            .flat_map(|unit| &unit.plan.sinks)
            .map(|sink| sink.config.name.clone())
            .collect();
        self.board.set_left_out(&plan, |kind, name| {
            let has = match kind {
                Kind::Channel => self.channels.contains_key(name),
                Kind::Source => self.sources.contains_key(name),
                _ => sinks.contains(name),
            };
            has || matches!(report.of(kind, name), Some(What::Broken(_)))
        });

        let attempts = async {
            for unit in self.channels.values_mut() {
                unit.first_attempt().await;
            }
        };
        if tokio::time::timeout(FIRST_ATTEMPTS_MAX, attempts).await.is_err() {
            tracing::info!("some channels are still recovering; what hangs on them follows");
        }
        report
    }

    /// Stops sources, then sinks, then channels, all within `timeout`. What has not stopped by then is left behind: the
    /// process is about to end, and whatever is not released is delivered again.
    pub async fn shutdown(mut self, timeout: Duration) {
        let begun = Instant::now();
        // Each stage leaves some of the time to the next: a source that hangs must not keep the sinks from flushing.
        let sources = std::mem::take(&mut self.sources).into_iter();
        let sources = sources.map(|(name, unit)| (format!("source {name}"), unit.running));
        stop_all(sources, begun + timeout / 2).await;
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

    fn layout(&self) -> Layout {
        let channels = self.channels.iter().map(|(name, unit)| (name.clone(), unit.plan.clone()));
        let runners = self.runners.iter().map(|(key, unit)| (key.clone(), unit.plan.clone()));
        let sources = self.sources.iter().map(|(name, unit)| (name.clone(), unit.plan.clone()));
        Layout { channels: channels.collect(), runners: runners.collect(), sources: sources.collect() }
    }

    /// Builds every source and runner of `new` that `old` has not or has differently. What cannot be built is replaced
    /// by the old one in `new`, or left out.
    fn build_changed(
        &self,
        old: &Layout,
        new: &mut Layout,
        kept_broken: &mut BTreeMap<(Kind, Arc<str>), String>,
        report: &mut ReloadReport,
    ) -> (BTreeMap<Arc<str>, source_unit::Prepared>, BTreeMap<RunnerKey, sink_unit::Prepared>) {
        let mut sources = BTreeMap::new();
        new.sources.retain(|name, plan| {
            let before = old.sources.get(name);
            if before.is_some_and(|before| same_source(before, plan)) {
                return true;
            }
            match (build_source(plan), before) {
                (Ok(built), _) => drop(sources.insert(name.clone(), built)),
                (Err(why), Some(before)) => {
                    tracing::error!(source = %name, error = %why, "cannot be built, the old one goes on");
                    kept_broken.insert((Kind::Source, name.clone()), why);
                    *plan = before.clone();
                }
                (Err(why), None) => {
                    self.left_out(Kind::Source, name, type_name(&plan.spec, &plan.config), why, report);
                    return false;
                }
            }
            true
        });
        let mut runners = BTreeMap::new();
        new.runners.retain(|key, plan| {
            let before = old.runners.get(key);
            if before.is_some_and(|before| same_runner(before, plan)) {
                return true;
            }
            match (build_runner(plan), before) {
                (Ok(built), _) => drop(runners.insert(key.clone(), built)),
                (Err(why), Some(before)) => {
                    tracing::error!(error = %why, "{key} cannot be built, the old one goes on");
                    for sink in &before.sinks {
                        kept_broken.insert((Kind::Sink, sink.config.name.clone()), why.clone());
                    }
                    *plan = before.clone();
                }
                (Err(why), None) => {
                    for sink in &plan.sinks {
                        let type_name = type_name(&sink.spec, &sink.config);
                        self.left_out(Kind::Sink, &sink.config.name, type_name, why.clone(), report);
                    }
                    return false;
                }
            }
            true
        });
        (sources, runners)
    }

    fn left_out(&self, kind: Kind, name: &Arc<str>, type_name: &str, why: String, report: &mut ReloadReport) {
        tracing::error!("{kind} {name} cannot be built and is left out: {why}");
        self.board.entry(kind, name, type_name).set(State::Failed { reason: why.clone(), failures: 1 });
        report.add(kind, name, What::Broken(why));
    }

    /// Durable channels that `new` has no more and that hold events stay open, with nothing hanging on them.
    fn keep_backlogs(&self, old: &Layout, new: &mut Layout) -> BTreeMap<Arc<str>, u64> {
        let mut backlogs = BTreeMap::new();
        for (name, plan) in &old.channels {
            let Some(open) = self.channels.get(name).and_then(|unit| unit.handle.now()) else { continue };
            let events = open.status().events;
            if !new.channels.contains_key(name) && open.limits().durable && events > 0 {
                new.channels.insert(name.clone(), plan.clone());
                backlogs.insert(name.clone(), events);
            }
        }
        backlogs
    }

    fn start_runner(
        &mut self,
        key: &RunnerKey,
        plan: &RunnerPlan,
        built: &mut BTreeMap<RunnerKey, sink_unit::Prepared>,
        stopped: &BTreeMap<RunnerKey, String>,
        kept_broken: &mut BTreeMap<(Kind, Arc<str>), String>,
        report: &mut ReloadReport,
    ) {
        let goes_on = self.runners.contains_key(key);
        let entry = |sink: &SinkPlan| {
            self.board.entry(Kind::Sink, &sink.config.name, type_name(&sink.spec, &sink.config))
        };
        let mut failure = None;
        if !goes_on {
            let entries = plan.sinks.iter().map(entry).collect();
            let prepared = built.remove(key).map_or_else(|| build_runner(plan), Ok);
            let started = prepared.and_then(|prepared| {
                let channel = self.handle(plan.channel())?;
                RunnerUnit::start(prepared, channel, entries, &self.options)
                    .map_err(|error| error.to_string())
            });
            match started {
                Ok(unit) => drop(self.runners.insert(key.clone(), unit)),
                Err(why) => failure = Some(why),
            }
        }
        for sink in &plan.sinks {
            let name = &sink.config.name;
            match &failure {
                Some(why) => {
                    self.left_out(Kind::Sink, name, type_name(&sink.spec, &sink.config), why.clone(), report);
                }
                None => {
                    let broken = kept_broken.remove(&(Kind::Sink, name.clone()));
                    report.add(Kind::Sink, name, what(broken, stopped.get(key), goes_on));
                }
            }
        }
    }

    fn start_source(
        &mut self,
        name: &Arc<str>,
        plan: &SourcePlan,
        built: &mut BTreeMap<Arc<str>, source_unit::Prepared>,
        stopped: &BTreeMap<Arc<str>, String>,
        kept_broken: &mut BTreeMap<(Kind, Arc<str>), String>,
        report: &mut ReloadReport,
    ) {
        let goes_on = self.sources.contains_key(name);
        if !goes_on {
            let type_name = type_name(&plan.spec, &plan.config);
            let entry = self.board.entry(Kind::Source, name, type_name);
            let prepared = built.remove(name).map_or_else(|| build_source(plan), Ok);
            let started = prepared.and_then(|prepared| {
                let channels = plan.channels.iter().map(|channel| self.handle(channel));
                let channels = channels.collect::<Result<_, _>>()?;
                SourceUnit::start(prepared, channels, entry, &self.options).map_err(|error| error.to_string())
            });
            match started {
                Ok(unit) => drop(self.sources.insert(name.clone(), unit)),
                Err(why) => return self.left_out(Kind::Source, name, type_name, why, report),
            }
        }
        let broken = kept_broken.remove(&(Kind::Source, name.clone()));
        report.add(Kind::Source, name, what(broken, stopped.get(name), goes_on));
    }

    fn handle(&self, channel: &Arc<str>) -> Result<Handle, String> {
        let unit = self.channels.get(channel).ok_or_else(|| format!("channel {channel} is not there"))?;
        Ok(unit.handle.clone())
    }

    /// Takes what `old` had and `new` has not from the board.
    fn forget_removed(&self, old: &Layout, new: &Layout, report: &mut ReloadReport) {
        let sinks = |layout: &Layout| -> BTreeSet<Arc<str>> {
            let sinks = layout.runners.values().flat_map(|runner| &runner.sinks);
            sinks.map(|sink| sink.config.name.clone()).collect()
        };
        let keys = |map: &mut dyn Iterator<Item = &Arc<str>>| map.cloned().collect::<BTreeSet<Arc<str>>>();
        for (kind, before, after) in [
            (Kind::Channel, keys(&mut old.channels.keys()), keys(&mut new.channels.keys())),
            (Kind::Sink, sinks(old), sinks(new)),
            (Kind::Source, keys(&mut old.sources.keys()), keys(&mut new.sources.keys())),
        ] {
            for name in before.difference(&after) {
                self.board.remove(kind, name);
                report.add(kind, name, What::Removed);
            }
        }
    }
}

fn what(broken: Option<String>, stopped: Option<&String>, goes_on: bool) -> What {
    match (broken, stopped) {
        (Some(why), _) => What::KeptBroken(why),
        (None, Some(why)) => What::Restarted(why.clone()),
        (None, None) if goes_on => What::Kept,
        (None, None) => What::Added,
    }
}

/// A component's builder is foreign code: its panic is that component's failure.
fn build_source(plan: &SourcePlan) -> Result<source_unit::Prepared, String> {
    catch_now(|| source_unit::prepare(plan.clone())).flatten()
}

fn build_runner(plan: &RunnerPlan) -> Result<sink_unit::Prepared, String> {
    catch_now(|| sink_unit::prepare(plan.clone())).flatten()
}

fn type_name<'a>(spec: &Spec, config: &'a ComponentConfig) -> &'a str {
    match spec.alias {
        "" => config.get("type").unwrap_or_default(),
        alias => alias,
    }
}

fn take_all<'a, K: Ord + 'a, U>(
    units: &mut BTreeMap<K, U>,
    keys: impl Iterator<Item = &'a K>,
) -> Vec<(K, U)> {
    keys.filter_map(|key| units.remove_entry(key)).collect()
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
