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

use flumen_api::registry::Factory;
use flumen_api::settings::{ComponentConfig, Kind, Severity};

use super::{Builder, Found, keys};
use crate::plan::GroupPlan;

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
        let config = group.below(Kind::Processor, "processor.", name);
        let spec = match config.get("type") {
            None if several => {
                let message =
                    "required key is missing: failover or load_balance. The group is left out with its sinks";
                self.plan.problems.error(group, key, message);
                None
            }
            type_name => self.spec(&config, "type", type_name.unwrap_or("default")),
        };
        let Some(spec) = spec else {
            self.drop_sinks(&sinks);
            return None;
        };
        let alone = match spec.alias {
            "default" if several => {
                Some("`default` is for one sink: the group is left out, and each of its sinks runs by itself")
            }
            "load_balance" if !several => Some(
                "`load_balance` needs more than one sink: the group is left out, and its sink runs by itself",
            ),
            _ => None,
        };
        if let Some(message) = alone {
            self.plan.problems.error(group, key, message);
            return None;
        }
        if let Some((a, b)) = self.channels_differ(&sinks) {
            let message = format!(
                "the group's sinks drain different channels, {a} and {b}, and what one cannot deliver no other could: \
                 the group is left out, and each of its sinks runs by itself"
            );
            self.plan.problems.error(group, "sinks", message);
            return None;
        }
        self.check_group_keys(group);
        let found = Found { config, spec };
        self.check_keys(&found);
        let Factory::Processor(build) = spec.factory else { return None };
        let names: Vec<String> = sinks.iter().map(ToString::to_string).collect();
        if self.trial(&found.config, |config, problems| build(config, &names, problems)).is_none() {
            self.drop_sinks(&sinks);
            return None;
        }
        Some(GroupPlan { name: name.clone(), sinks, processor: (spec, found.config) })
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
}
