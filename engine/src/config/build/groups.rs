//! Groups of sinks behind a processor.
//!
//! ```text
//! a1.sinkgroups = g1
//! a1.sinkgroups.g1.sinks = k1 k2
//! a1.sinkgroups.g1.processor.type = default | failover | load_balance
//! a1.sinkgroups.g1.processor.priority.k1 = 10     failover: the higher number is preferred
//! ```
//!
//! What becomes of a group's sinks when the group is wrong follows Flume where Flume has a rule: without a processor type
//! they are left out with the group (as parts of an unknown arrangement they might all deliver at once), with `default`
//! over several sinks, or `load_balance` over one, each runs by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_api::settings::{ComponentConfig, Kind, Severity};

use super::{Builder, keys};
use crate::plan::GroupPlan;

/// Keys of the processors, after `processor.`; those that end in `.` are families.
const PROCESSOR_KEYS: &[(&str, &[&str])] = &[
    ("default", &["type"]),
    ("failover", &["type", "priority.", "maxpenalty"]),
    ("load_balance", &["type", "selector", "selector.", "backoff"]),
];

impl Builder<'_> {
    pub(super) fn groups(&mut self) {
        let list = format!("{}.sinkgroups", self.agent);
        let mut grouped: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        for name in self.listed("sinkgroups") {
            if let Some(group) = self.group(&list, &name, &mut grouped) {
                grouped.extend(group.sinks.iter().map(|sink| (sink.clone(), name.clone())));
                self.plan.groups.push(group);
            }
        }
    }

    fn group(
        &mut self,
        list: &str,
        name: &Arc<str>,
        grouped: &mut BTreeMap<Arc<str>, Arc<str>>,
    ) -> Option<GroupPlan> {
        let config = self.config(Kind::Processor, list, format!("{list}.{name}."), name)?;
        let before = self.plan.problems.0.len();
        let sinks = self.group_sinks(&config, grouped);
        let group = sinks.and_then(|sinks| self.processor(&config, name, sinks));
        self.give_places(before, &config);
        group
    }

    fn group_sinks(
        &mut self,
        config: &ComponentConfig,
        grouped: &BTreeMap<Arc<str>, Arc<str>>,
    ) -> Option<Vec<Arc<str>>> {
        let Some(names) = config.get("sinks") else {
            self.plan.problems.error(config, "sinks", "required key is missing: the group's sinks");
            return None;
        };
        let mut sinks: Vec<Arc<str>> = Vec::new();
        for name in names.split_whitespace() {
            let sink = self.plan.sinks.iter().find(|sink| *sink.config.name == *name);
            let Some(sink) = sink.map(|sink| sink.config.name.clone()) else {
                let left_out =
                    self.plan.left_out.iter().any(|(kind, other)| *kind == Kind::Sink && **other == *name);
                let message = match left_out {
                    true => {
                        format!("the sink {name} has an error and is left out; the group goes on without it")
                    }
                    false if name.contains(',') => {
                        format!(
                            "there is no sink `{name}`; names in a list are separated by blanks, not commas"
                        )
                    }
                    false => format!("there is no sink `{name}` listed in `{}.sinks`", self.agent),
                };
                let severity = if left_out { Severity::Warning } else { Severity::Error };
                self.plan.problems.add(severity, config, "sinks", message);
                continue;
            };
            if let Some(owner) = grouped.get(&sink) {
                let message = format!("the sink {sink} is in the group {owner} already, and stays there");
                self.plan.problems.error(config, "sinks", message);
            } else if !sinks.contains(&sink) {
                sinks.push(sink);
            }
        }
        if sinks.is_empty() {
            self.plan.problems.error(
                config,
                "sinks",
                "none of the group's sinks runs: the group is left out",
            );
            return None;
        }
        Some(sinks)
    }

    fn processor(
        &mut self,
        group: &ComponentConfig,
        name: &Arc<str>,
        sinks: Vec<Arc<str>>,
    ) -> Option<GroupPlan> {
        let key = "processor.type";
        let several = sinks.len() > 1;
        let processor = match group.get(key).map(|text| (text, processor_name(text))) {
            None if several => {
                let message =
                    "required key is missing: failover or load_balance. The group is left out with its sinks";
                self.plan.problems.error(group, key, message);
                self.drop_sinks(&sinks);
                return None;
            }
            None => "default",
            Some((text, None)) => {
                let known = PROCESSOR_KEYS.iter().map(|(known, _)| *known);
                let meant = keys::nearest(text, known).map(|near| format!("; did you mean `{near}`?"));
                let message = format!(
                    "there is no sink processor `{text}` (default, failover, load_balance){}. The group is left out with \
                     its sinks",
                    meant.unwrap_or_default()
                );
                self.plan.problems.error(group, key, message);
                self.drop_sinks(&sinks);
                return None;
            }
            Some((_, Some("default"))) if several => {
                let message =
                    "`default` is for one sink: the group is left out, and each of its sinks runs by itself";
                self.plan.problems.error(group, key, message);
                return None;
            }
            Some((_, Some("load_balance"))) if !several => {
                let message = "`load_balance` needs more than one sink: the group is left out, and its sink runs by itself";
                self.plan.problems.error(group, key, message);
                return None;
            }
            Some((_, Some(processor))) => processor,
        };
        if let Some((a, b)) = self.channels_differ(&sinks) {
            let message = format!(
                "the group's sinks drain different channels, {a} and {b}, and what one cannot deliver no other could: \
                 the group is left out, and each of its sinks runs by itself"
            );
            self.plan.problems.error(group, "sinks", message);
            return None;
        }
        let config = ComponentConfig {
            kind: Kind::Processor,
            agent: group.agent.clone(),
            name: name.clone(),
            prefix: format!("{}processor.", group.prefix),
            values: group.family("processor.").map(|(key, value)| (key.to_string(), value.clone())).collect(),
        };
        let errors = self.plan.problems.errors();
        self.check_group_keys(group);
        self.check_processor(processor, &config, &sinks);
        if let Err(why) = (self.try_processor)(processor, sinks.len()) {
            self.plan.problems.error(group, key, format!("{why}. The group is left out with its sinks"));
        }
        if self.plan.problems.errors() > errors {
            self.drop_sinks(&sinks);
            return None;
        }
        Some(GroupPlan { name: name.clone(), sinks, processor: (processor.to_string(), config) })
    }

    /// Two different channels among those of the sinks.
    fn channels_differ(&self, sinks: &[Arc<str>]) -> Option<(Arc<str>, Arc<str>)> {
        let mut channels =
            self.plan.sinks.iter().filter(|sink| sinks.contains(&sink.config.name)).map(|sink| &sink.channel);
        let first = channels.next()?;
        let other = channels.find(|channel| *channel != first)?;
        Some((first.clone(), other.clone()))
    }

    /// Leaves the group's sinks out, each with an error of its own.
    fn drop_sinks(&mut self, sinks: &[Arc<str>]) {
        self.plan.sinks.retain(|sink| !sinks.contains(&sink.config.name));
        for sink in sinks {
            let key = format!("{}.sinks.{sink}.type", self.agent);
            self.problem(Severity::Error, key, "the sink is left out with its group");
            self.leave_out(Kind::Sink, sink);
        }
    }

    fn check_group_keys(&mut self, group: &ComponentConfig) {
        for key in group.values.keys().filter(|key| *key != "sinks" && !key.starts_with("processor.")) {
            let meant = keys::nearest(key, ["sinks", "processor.type"].into_iter());
            let meant = meant.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            self.plan.problems.warn(group, key, format!("a sink group has no such key: ignored{meant}"));
        }
    }

    fn check_processor(&mut self, processor: &str, config: &ComponentConfig, sinks: &[Arc<str>]) {
        let known =
            PROCESSOR_KEYS.iter().find(|(name, _)| *name == processor).map_or(&[][..], |(_, keys)| keys);
        let problems = &mut self.plan.problems;
        for key in config.values.keys() {
            let is_known = known
                .iter()
                .any(|name| if name.ends_with('.') { key.starts_with(name) } else { key == name });
            if !is_known {
                let meant = keys::nearest(key, known.iter().copied());
                let meant = meant.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                problems.warn(
                    config,
                    key,
                    format!("the sink processor {processor} has no such key: ignored{meant}"),
                );
            }
        }
        match processor {
            "failover" => check_priorities(config, sinks, problems),
            "load_balance" => {
                let selector = config.get("selector").unwrap_or("round_robin");
                if !["round_robin", "random"].iter().any(|known| known.eq_ignore_ascii_case(selector)) {
                    let message = format!(
                        "there is no selector `{selector}`: round_robin or random. The group is left out with its sinks"
                    );
                    problems.error(config, "selector", message);
                }
            }
            _ => {}
        }
        for key in ["maxpenalty", "selector.maxTimeOut"] {
            if let Some(text) = config.get(key)
                && !text.parse::<i64>().is_ok_and(|number| number >= 0)
            {
                let message =
                    format!("`{text}` is not a number of milliseconds. The group is left out with its sinks");
                problems.error(config, key, message);
            }
        }
    }
}

fn check_priorities(
    config: &ComponentConfig,
    sinks: &[Arc<str>],
    problems: &mut flumen_api::settings::Problems,
) {
    let mut seen: BTreeMap<i32, &Arc<str>> = BTreeMap::new();
    // In the group's order: of two equal priorities Flume ignores the sink that comes later there.
    for sink in sinks {
        let key = format!("priority.{sink}");
        let Some(text) = config.get(&key) else { continue };
        let Ok(priority) = text.parse::<i32>() else {
            problems.warn(
                config,
                &key,
                format!("`{text}` is not a whole number: the sink's default is used"),
            );
            continue;
        };
        if let Some(other) = seen.get(&priority) {
            let message =
                format!("{other} has the same priority, so {sink} is never used; each sink needs its own");
            problems.warn(config, &key, message);
        } else {
            seen.insert(priority, sink);
        }
    }
    for (sink, _) in config.family("priority.") {
        if !sinks.iter().any(|known| **known == *sink) {
            problems.warn(
                config,
                &format!("priority.{sink}"),
                format!("the group has no sink {sink} that runs"),
            );
        }
    }
}

fn processor_name(text: &str) -> Option<&'static str> {
    match text {
        "org.apache.flume.sink.DefaultSinkProcessor" => Some("default"),
        "org.apache.flume.sink.FailoverSinkProcessor" => Some("failover"),
        "org.apache.flume.sink.LoadBalancingSinkProcessor" => Some("load_balance"),
        _ => PROCESSOR_KEYS.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(text)),
    }
}
