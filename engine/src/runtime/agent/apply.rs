//! How an agent becomes what shall run.
//!
//! A start is a reload from nothing. A reload goes:
//!
//! ```text
//!   build  what is new or changed     touches nothing outside; what cannot be built leaves the old one running
//!   decide what stops                 takes over live keys; what changes, goes, or hangs on such a channel stops
//!   stop   sources                    from here on no event comes to a channel that goes
//!          sinks                      once they have emptied those of these channels that keep nothing, or time is up
//!          channels                   but those that have no successor and still hold events
//!   start  channels, sinks, sources
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind};
use tokio::time::Instant;

use super::super::board::State;
use super::super::channel_unit::{ChannelUnit, Handle};
use super::super::layout::{ChannelChange, Layout, RunnerKey, channel_change, same_runner, same_source};
use super::super::reload::{ReloadReport, What};
use super::super::sink_unit::{self, RunnerPlan, RunnerUnit};
use super::super::source_unit::{self, SourceUnit};
use super::super::supervise::catch_now;
use super::{Agent, stop_all};
use crate::plan::{ChannelPlan, Plan, SinkPlan, SourcePlan};

/// How long a start or reload waits for channels to open before it leaves them to their keepers. A locked directory is
/// refused well within it.
const FIRST_ATTEMPTS_MAX: Duration = Duration::from_secs(10);

/// Why something stops to start again.
const CHANGED: &str = "its configuration changed";

/// A reload on its way.
struct Reload {
    /// What runs.
    old: Layout,
    /// What shall run.
    new: Layout,
    /// Built and not yet started.
    sources: BTreeMap<Arc<str>, source_unit::Prepared>,
    runners: BTreeMap<RunnerKey, sink_unit::Prepared>,
    /// Whose old configuration goes on because of errors in the new one, with these.
    kept_broken: BTreeMap<(Kind, Arc<str>), String>,
    /// Channels that took over new values without a stop.
    live: BTreeSet<Arc<str>>,
    /// What stops, and why where it starts again.
    stop_channels: BTreeSet<Arc<str>>,
    stop_sources: BTreeMap<Arc<str>, String>,
    stop_runners: BTreeMap<RunnerKey, String>,
    /// Events in channels that stay open because of them.
    backlogs: BTreeMap<Arc<str>, u64>,
    report: ReloadReport,
}

impl Reload {
    fn new(old: Layout, plan: &Plan) -> Self {
        let mut new = Layout::of(plan);
        let put_back = new.put_back_broken(&old, &plan.left_out);
        let why = "its new configuration has errors";
        Self {
            kept_broken: put_back.into_iter().map(|broken| (broken, why.to_string())).collect(),
            old,
            new,
            sources: BTreeMap::new(),
            runners: BTreeMap::new(),
            live: BTreeSet::new(),
            stop_channels: BTreeSet::new(),
            stop_sources: BTreeMap::new(),
            stop_runners: BTreeMap::new(),
            backlogs: BTreeMap::new(),
            report: ReloadReport::default(),
        }
    }

    /// What became of a source or sink.
    fn what(&mut self, kind: Kind, name: &Arc<str>, stopped: Option<&str>, goes_on: bool) -> What {
        match (self.kept_broken.remove(&(kind, name.clone())), stopped) {
            (Some(why), _) => What::KeptBroken(why),
            (None, Some(why)) => What::Restarted(why.to_string()),
            (None, None) if goes_on => What::Kept,
            (None, None) => What::Added,
        }
    }
}

impl Agent {
    /// Becomes what `plan` says, and leaves alone what stays the same.
    pub async fn apply(&mut self, plan: Plan) -> ReloadReport {
        let mut reload = Reload::new(self.layout(), &plan);
        self.build_sources(&mut reload);
        self.build_runners(&mut reload);
        reload.new.put_back_needed_channels(&reload.old);
        // Channels first: what hangs on one that restarts, restarts.
        self.change_channels(&mut reload);
        self.decide_stops(&mut reload);
        self.stop(&mut reload).await;
        for (name, plan) in reload.new.channels.clone() {
            self.start_channel(&name, &plan, &mut reload);
        }
        for (key, plan) in reload.new.runners.clone() {
            self.start_runner(&key, &plan, &mut reload);
        }
        for (name, plan) in reload.new.sources.clone() {
            self.start_source(&name, &plan, &mut reload);
        }
        self.forget_removed(&mut reload);
        self.tell_left_out(&plan, &reload.report);
        self.await_first_attempts().await;
        reload.report
    }

    fn layout(&self) -> Layout {
        let channels = self.channels.iter().map(|(name, unit)| (name.clone(), unit.plan.clone()));
        let runners = self.runners.iter().map(|(key, unit)| (key.clone(), unit.plan.clone()));
        let sources = self.sources.iter().map(|(name, unit)| (name.clone(), unit.plan.clone()));
        Layout { channels: channels.collect(), runners: runners.collect(), sources: sources.collect() }
    }

    /// Builds every source that is new or different. One that cannot be built is replaced by the old one in `reload.new`,
    /// or left out.
    fn build_sources(&self, reload: &mut Reload) {
        let Reload { old, new, sources, kept_broken, report, .. } = reload;
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
    }

    /// The same for sinks, with their groups.
    fn build_runners(&self, reload: &mut Reload) {
        let Reload { old, new, runners, kept_broken, report, .. } = reload;
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
    }

    fn left_out(&self, kind: Kind, name: &Arc<str>, type_name: &str, why: String, report: &mut ReloadReport) {
        tracing::error!("{kind} {name} cannot be built and is left out: {why}");
        self.board.entry(kind, name, type_name).set(State::Failed { reason: why.clone(), failures: 1 });
        report.add(kind, name, What::Broken(why));
    }

    /// Takes over live keys, and notes the channels that have to stop.
    fn change_channels(&mut self, reload: &mut Reload) {
        for (name, unit) in &mut self.channels {
            let Some(plan) = reload.new.channels.get(name) else {
                reload.stop_channels.insert(name.clone());
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
                    reload.live.insert(name.clone());
                }
                ChannelChange::Restart => {
                    reload.stop_channels.insert(name.clone());
                }
            }
        }
    }

    /// Notes the sources and sinks that have to stop: what goes, what changes, and what hangs on a channel that stops.
    fn decide_stops(&self, reload: &mut Reload) {
        let restarts = |channels: &[Arc<str>]| {
            let stopped = channels.iter().find(|name| reload.stop_channels.contains(*name));
            stopped.map(|name| format!("channel {name} restarted"))
        };
        for (name, unit) in &self.sources {
            let why = match reload.new.sources.get(name) {
                None => Some(String::new()),
                Some(plan) if !same_source(&unit.plan, plan) => Some(CHANGED.into()),
                Some(plan) => restarts(&plan.channels),
            };
            if let Some(why) = why {
                reload.stop_sources.insert(name.clone(), why);
            }
        }
        for (key, unit) in &self.runners {
            let why = match reload.new.runners.get(key) {
                None => Some(String::new()),
                Some(plan) if !same_runner(&unit.plan, plan) => Some(CHANGED.into()),
                Some(plan) => restarts(&plan.channels()),
            };
            if let Some(why) = why {
                reload.stop_runners.insert(key.clone(), why);
            }
        }
    }

    /// Each stage leaves some of the time to the next, as at a stop of the agent.
    async fn stop(&mut self, reload: &mut Reload) {
        let (begun, timeout) = (Instant::now(), self.options.shutdown_timeout);
        let sources = take_all(&mut self.sources, reload.stop_sources.keys());
        let sources = sources.into_iter().map(|(name, unit)| (format!("source {name}"), unit.running));
        stop_all(sources, begun + timeout / 2).await;
        self.drain(|channel| reload.stop_channels.contains(channel), begun + timeout * 3 / 4).await;
        let runners = take_all(&mut self.runners, reload.stop_runners.keys());
        let runners = runners.into_iter().map(|(key, unit)| (key.to_string(), unit.running));
        stop_all(runners, begun + timeout * 9 / 10).await;
        self.keep_backlogs(reload);
        self.tell_lost(reload);
        let channels = take_all(&mut self.channels, reload.stop_channels.iter());
        let channels = channels.into_iter().map(|(name, unit)| (format!("channel {name}"), unit.running));
        stop_all(channels, begun + timeout).await;
    }

    /// Channels that `reload.new` has no more and that hold events stay open, with nothing hanging on them.
    fn keep_backlogs(&self, reload: &mut Reload) {
        // A channel that only has a new name finds its events in the old one's directories, once that lets go of them.
        let claimed: BTreeSet<PathBuf> = reload.new.channels.values().flat_map(directories).collect();
        for (name, plan) in &reload.old.channels {
            let Some(open) = self.channels.get(name).and_then(|unit| unit.handle.now()) else { continue };
            let events = open.status().events;
            let keeps = !reload.new.channels.contains_key(name) && events > 0;
            if !keeps || directories(plan).iter().any(|directory| claimed.contains(directory)) {
                continue;
            }
            tell_backlog(name, events, open.limits().durable, plan);
            reload.new.channels.insert(name.clone(), plan.clone());
            reload.stop_channels.remove(name);
            reload.backlogs.insert(name.clone(), events);
        }
    }

    /// Says what the channels that stop take with them.
    fn tell_lost(&self, reload: &Reload) {
        for name in &reload.stop_channels {
            let events = self.volatile_events(name);
            if events > 0 {
                tracing::error!(
                    channel = %name,
                    events,
                    "{events} events in channel {name} could not be delivered before it stopped; those that it had in memory alone \
                     are lost"
                );
            }
        }
    }

    fn start_channel(&mut self, name: &Arc<str>, plan: &ChannelPlan, reload: &mut Reload) {
        let what = if let Some(events) = reload.backlogs.get(name) {
            What::KeptBacklog(*events)
        } else if let Some(why) = reload.kept_broken.remove(&(Kind::Channel, name.clone())) {
            What::KeptBroken(why)
        } else if reload.live.contains(name) {
            What::ChangedLive
        } else if reload.stop_channels.contains(name) {
            What::Restarted(CHANGED.into())
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
        reload.report.add(Kind::Channel, name, what);
    }

    fn start_runner(&mut self, key: &RunnerKey, plan: &RunnerPlan, reload: &mut Reload) {
        let goes_on = self.runners.contains_key(key);
        let entry = |sink: &SinkPlan| {
            self.board.entry(Kind::Sink, &sink.config.name, type_name(&sink.spec, &sink.config))
        };
        let mut failure = None;
        if !goes_on {
            let entries = plan.sinks.iter().map(entry).collect();
            let prepared = reload.runners.remove(key).map_or_else(|| build_runner(plan), Ok);
            let started = prepared.and_then(|prepared| {
                let handles = plan.channels().into_iter().map(|channel| self.handle(&channel));
                let handles = handles.collect::<Result<Vec<_>, _>>()?;
                RunnerUnit::start(prepared, handles, entries, &self.options)
                    .map_err(|error| error.to_string())
            });
            match started {
                Ok(unit) => drop(self.runners.insert(key.clone(), unit)),
                Err(why) => failure = Some(why),
            }
        }
        let stopped = reload.stop_runners.get(key).cloned();
        for sink in &plan.sinks {
            let name = &sink.config.name;
            match &failure {
                Some(why) => {
                    let type_name = type_name(&sink.spec, &sink.config);
                    self.left_out(Kind::Sink, name, type_name, why.clone(), &mut reload.report);
                }
                None => {
                    let what = reload.what(Kind::Sink, name, stopped.as_deref(), goes_on);
                    reload.report.add(Kind::Sink, name, what);
                }
            }
        }
    }

    fn start_source(&mut self, name: &Arc<str>, plan: &SourcePlan, reload: &mut Reload) {
        let goes_on = self.sources.contains_key(name);
        if !goes_on {
            let type_name = type_name(&plan.spec, &plan.config);
            let entry = self.board.entry(Kind::Source, name, type_name);
            let prepared = reload.sources.remove(name).map_or_else(|| build_source(plan), Ok);
            let started = prepared.and_then(|prepared| {
                let channels = plan.channels.iter().map(|channel| self.handle(channel));
                let channels = channels.collect::<Result<_, _>>()?;
                SourceUnit::start(prepared, channels, entry, &self.options).map_err(|error| error.to_string())
            });
            match started {
                Ok(unit) => drop(self.sources.insert(name.clone(), unit)),
                Err(why) => return self.left_out(Kind::Source, name, type_name, why, &mut reload.report),
            }
        }
        let stopped = reload.stop_sources.get(name).cloned();
        let what = reload.what(Kind::Source, name, stopped.as_deref(), goes_on);
        reload.report.add(Kind::Source, name, what);
    }

    fn handle(&self, channel: &Arc<str>) -> Result<Handle, String> {
        let unit = self.channels.get(channel).ok_or_else(|| format!("channel {channel} is not there"))?;
        Ok(unit.handle.clone())
    }

    /// Takes what ran and shall not from the board.
    fn forget_removed(&self, reload: &mut Reload) {
        let Reload { old, new, report, .. } = reload;
        let keys = |map: &mut dyn Iterator<Item = &Arc<str>>| map.cloned().collect::<BTreeSet<Arc<str>>>();
        for (kind, before, after) in [
            (Kind::Channel, keys(&mut old.channels.keys()), keys(&mut new.channels.keys())),
            (Kind::Sink, sinks(&old.runners), sinks(&new.runners)),
            (Kind::Source, keys(&mut old.sources.keys()), keys(&mut new.sources.keys())),
        ] {
            for name in before.difference(&after) {
                self.board.remove(kind, name);
                report.add(kind, name, What::Removed);
            }
        }
    }

    /// Puts what the plan leaves out on the board.
    fn tell_left_out(&self, plan: &Plan, report: &ReloadReport) {
        let runners = self.runners.values().flat_map(|unit| &unit.plan.sinks);
        let sinks: BTreeSet<_> = runners.map(|sink| sink.config.name.clone()).collect();
        self.board.set_left_out(plan, |kind, name| {
            let has = match kind {
                Kind::Channel => self.channels.contains_key(name),
                Kind::Source => self.sources.contains_key(name),
                _ => sinks.contains(name),
            };
            has || matches!(report.of(kind, name), Some(What::Broken(_)))
        });
    }

    async fn await_first_attempts(&mut self) {
        let attempts = async {
            for unit in self.channels.values_mut() {
                unit.first_attempt().await;
            }
        };
        if tokio::time::timeout(FIRST_ATTEMPTS_MAX, attempts).await.is_err() {
            tracing::info!("some channels are still recovering; what hangs on them follows");
        }
    }
}

/// Says what became of a channel's events that nobody asks for any more, and what to do about them.
fn tell_backlog(name: &str, events: u64, durable: bool, plan: &ChannelPlan) {
    let data = match durable {
        true => {
            let directories: Vec<_> =
                directories(plan).iter().map(|path| path.display().to_string()).collect();
            format!("its data in {} is left alone", directories.join(" and "))
        }
        false => "what it has in memory alone is lost with the process".into(),
    };
    tracing::warn!(
        channel = name,
        "the configuration has no channel {name} any more, but {events} events in it are not delivered. It stays open \
         until the agent stops, nothing takes from it, and {data}. To deliver them, put the channel back into the \
         configuration with a sink, and take it out once it is empty"
    );
}

/// Directories that the channel owns.
fn directories(plan: &ChannelPlan) -> Vec<PathBuf> {
    match plan.spec.factory {
        Factory::Channel { directories, .. } => directories(&plan.config),
        _ => Vec::new(),
    }
}

fn sinks(runners: &BTreeMap<RunnerKey, RunnerPlan>) -> BTreeSet<Arc<str>> {
    runners.values().flat_map(|runner| &runner.sinks).map(|sink| sink.config.name.clone()).collect()
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
