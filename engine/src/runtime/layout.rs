//! What runs, by name, and what a reload would change: plans are compared by (kind, name) and resolved values, so that
//! moving a line restarts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Kind};

use super::sink_unit::RunnerPlan;
use crate::plan::{ChannelPlan, GroupPlan, Plan, SinkPlan, SourcePlan};

/// Which thread of sinks: a group's or that of a sink on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RunnerKey {
    Group(Arc<str>),
    Sink(Arc<str>),
}

impl fmt::Display for RunnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "sink group {name}"),
            Self::Sink(name) => write!(f, "sink {name}"),
        }
    }
}

/// A plan, by name.
#[derive(Clone, Default)]
pub(super) struct Layout {
    pub channels: BTreeMap<Arc<str>, ChannelPlan>,
    pub runners: BTreeMap<RunnerKey, RunnerPlan>,
    pub sources: BTreeMap<Arc<str>, SourcePlan>,
}

impl Layout {
    pub fn of(plan: &Plan) -> Self {
        let mut layout = Self::default();
        for channel in &plan.channels {
            layout.channels.insert(channel.config.name.clone(), channel.clone());
        }
        for source in &plan.sources {
            layout.sources.insert(source.config.name.clone(), source.clone());
        }
        for group in &plan.groups {
            let of_name = |name: &Arc<str>| plan.sinks.iter().find(|sink| sink.config.name == *name).cloned();
            let sinks: Vec<_> = group.sinks.iter().filter_map(of_name).collect();
            if !sinks.is_empty() {
                let key = RunnerKey::Group(group.name.clone());
                layout.runners.insert(key, RunnerPlan { group: Some(group.clone()), sinks });
            }
        }
        for sink in &plan.sinks {
            if !plan.groups.iter().any(|group| group.sinks.contains(&sink.config.name)) {
                let key = RunnerKey::Sink(sink.config.name.clone());
                layout.runners.insert(key, RunnerPlan { group: None, sinks: vec![sink.clone()] });
            }
        }
        layout
    }

    /// Puts back what ran in `old` and is missing here because of an error in its configuration: a broken new component
    /// keeps the old one running. Returns what was put back.
    pub fn put_back_broken(
        &mut self,
        old: &Layout,
        left_out: &BTreeSet<(Kind, Arc<str>)>,
    ) -> Vec<(Kind, Arc<str>)> {
        let is_broken = |config: &ComponentConfig| left_out.contains(&(config.kind, config.name.clone()));
        let mut kept = Vec::new();
        for (name, plan) in &old.channels {
            if !self.channels.contains_key(name) && is_broken(&plan.config) {
                self.channels.insert(name.clone(), plan.clone());
                kept.push((Kind::Channel, name.clone()));
            }
        }
        for (name, plan) in &old.sources {
            if !self.sources.contains_key(name) && is_broken(&plan.config) {
                self.sources.insert(name.clone(), plan.clone());
                kept.push((Kind::Source, name.clone()));
            }
        }
        for (key, plan) in &old.runners {
            for (at, sink) in plan.sinks.iter().enumerate() {
                let name = &sink.config.name;
                let runs =
                    self.runners.values().any(|plan| plan.sinks.iter().any(|s| s.config.name == *name));
                if runs || !is_broken(&sink.config) {
                    continue;
                }
                kept.push((Kind::Sink, name.clone()));
                match self.runners.get_mut(key) {
                    // Its group goes on without it: it takes its place again.
                    Some(group) => {
                        group.sinks.insert(at.min(group.sinks.len()), sink.clone());
                        if let Some(GroupPlan { sinks, .. }) = &mut group.group {
                            sinks.insert(at.min(sinks.len()), name.clone());
                        }
                    }
                    None => {
                        let alone = RunnerPlan { group: plan.group.clone(), sinks: vec![sink.clone()] };
                        self.runners.insert(key.clone(), alone);
                    }
                }
            }
        }
        kept
    }

    /// Puts back channels of `old` on which something here hangs and which are missing here.
    pub fn put_back_needed_channels(&mut self, old: &Layout) {
        let sources = self.sources.values().flat_map(|source| source.channels.iter());
        let sinks = self.runners.values().flat_map(|runner| runner.sinks.iter().flat_map(SinkPlan::channels));
        for name in sources.chain(sinks).cloned().collect::<Vec<_>>() {
            if let (false, Some(plan)) = (self.channels.contains_key(&name), old.channels.get(&name)) {
                self.channels.insert(name, plan.clone());
            }
        }
    }
}

/// Whether two configurations mean the same.
pub(super) fn same_config(a: &ComponentConfig, b: &ComponentConfig) -> bool {
    changed_keys(a, b).next().is_none()
}

fn same_part(a: &(Spec, ComponentConfig), b: &(Spec, ComponentConfig)) -> bool {
    same_type(&a.0, &b.0) && a.1.name == b.1.name && same_config(&a.1, &b.1)
}

fn same_type(a: &Spec, b: &Spec) -> bool {
    a.alias == b.alias && a.class_names == b.class_names
}

/// Whether two sources are the same.
pub(super) fn same_source(a: &SourcePlan, b: &SourcePlan) -> bool {
    same_type(&a.spec, &b.spec)
        && same_config(&a.config, &b.config)
        && a.channels == b.channels
        && same_part(&a.selector, &b.selector)
        && a.interceptors.len() == b.interceptors.len()
        && a.interceptors.iter().zip(&b.interceptors).all(|(a, b)| same_part(a, b))
}

/// Whether two threads of sinks are the same.
pub(super) fn same_runner(a: &RunnerPlan, b: &RunnerPlan) -> bool {
    let same_group = match (&a.group, &b.group) {
        (None, None) => true,
        (Some(a), Some(b)) => same_part(&a.processor, &b.processor),
        _ => false,
    };
    let pairs = || a.sinks.iter().zip(&b.sinks);
    same_group
        && a.sinks.len() == b.sinks.len()
        && pairs().all(|(a, b)| {
            a.config.name == b.config.name
                && a.channel == b.channel
                && a.dead_letter == b.dead_letter
                && same_type(&a.spec, &b.spec)
                && same_config(&a.config, &b.config)
        })
}

/// How a channel's configuration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelChange {
    None,
    /// Every changed key may change live.
    Live,
    Restart,
}

/// How `old` and `new` differ.
pub(super) fn channel_change(old: &ChannelPlan, new: &ChannelPlan) -> ChannelChange {
    if !same_type(&old.spec, &new.spec) {
        return ChannelChange::Restart;
    }
    let live = |key: &str| new.spec.keys.iter().any(|known| known.live && known.matches(key));
    let mut change = ChannelChange::None;
    for key in changed_keys(&old.config, &new.config) {
        change = ChannelChange::Live;
        if !live(key) {
            return ChannelChange::Restart;
        }
    }
    change
}

/// Keys whose resolved values differ, or which only one side has.
fn changed_keys<'a>(a: &'a ComponentConfig, b: &'a ComponentConfig) -> impl Iterator<Item = &'a str> {
    let only_in_b = b.values.keys().filter(|key| !a.values.contains_key(*key));
    a.values.keys().filter(|key| a.get(key) != b.get(key)).chain(only_in_b).map(String::as_str)
}
