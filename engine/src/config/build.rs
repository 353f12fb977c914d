//! One agent's [`Plan`] from the properties: every component looked up, checked and built once for trial.
//!
//! ```text
//! config filters -> channels -> sources (selector, interceptors) -> sinks -> groups -> across components
//! ```
//!
//! A component with an error is left out and the rest stands, always: the mistakes for which Flume gives up the whole
//! configuration (an unknown class, a group without `sinks`, a group's sink that cannot be configured) are no exception
//! here. All problems of a configuration are found in one go; building touches nothing outside the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problem, Problems, Process, Severity, Value};

use super::merged::{KINDS, Properties, agent_and_kind};
use super::{advice, filters, keys};
use crate::plan::Plan;

pub(super) mod across;
mod channels;
pub mod dead_letter;
mod groups;
mod sinks;
mod sources;
mod timestamps;

/// The plan of the agent named `agent`. An agent that the files do not know has an empty plan with an error.
pub fn plan(properties: &Properties, agent: &str, registry: &Registry) -> Plan {
    build(properties, agent, registry, Purpose::Run)
}

/// What is wrong with the agent named `agent`. A component whose type is announced and not built yet is a warning here:
/// its keys, and what others have to do with it, are checked as they will be.
pub fn check(properties: &Properties, agent: &str, registry: &Registry) -> Problems {
    build(properties, agent, registry, Purpose::Check).problems
}

/// What becomes of components that are announced and not built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// They are left out.
    Run,
    /// They stay, so that what concerns several components is seen.
    Check,
}

fn build(properties: &Properties, agent: &str, registry: &Registry, purpose: Purpose) -> Plan {
    let mut builder = Builder::new(properties, agent, registry, purpose);
    builder.own_problems(properties);
    if !properties.agents().contains(&agent) {
        builder.unknown_agent(properties);
        return builder.plan;
    }
    let Builder { values, broken, plan, .. } = &mut builder;
    filters::apply(agent, values, &properties.environment, broken, &mut plan.problems);
    builder.channels();
    builder.sources();
    builder.sinks();
    builder.refuse_what_cannot_be_exact();
    builder.groups();
    builder.across();
    builder.plan
}

struct Builder<'a> {
    agent: Arc<str>,
    registry: &'a Registry,
    purpose: Purpose,
    process: Process,
    broken: BTreeSet<String>,
    values: BTreeMap<String, Value>,
    /// `transactionCapacity` of each channel in the plan.
    capacities: BTreeMap<Arc<str>, usize>,
    plan: Plan,
}

/// A listed component whose type is known and, for a run, built in.
struct Found {
    config: ComponentConfig,
    spec: Spec,
}

impl<'a> Builder<'a> {
    fn new(properties: &'a Properties, agent: &str, registry: &'a Registry, purpose: Purpose) -> Self {
        let agent: Arc<str> = agent.into();
        let prefix = format!("{agent}.");
        let own = properties.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        Self {
            values: own.map(|(key, value)| (key.clone(), value.clone())).collect(),
            registry,
            purpose,
            process: Process {
                system: Arc::new(properties.environment.system.clone()),
                variables: Arc::new(properties.environment.variables.clone()),
            },
            broken: properties.broken.clone(),
            capacities: BTreeMap::new(),
            plan: Plan { agent: agent.clone(), ..Plan::default() },
            agent,
        }
    }

    /// Problems of the files that do not belong to another agent.
    fn own_problems(&mut self, properties: &Properties) {
        let others: BTreeSet<_> =
            properties.agents().into_iter().filter(|name| **name != *self.agent).collect();
        let is_own = |problem: &&Problem| match problem.key.split_once('.') {
            Some((agent, _)) => !others.contains(agent),
            None => true,
        };
        self.plan.problems.0.extend(properties.problems.iter().filter(is_own).cloned());
    }

    fn unknown_agent(&mut self, properties: &Properties) {
        let agents = properties.agents();
        let message = match agents.as_slice() {
            [] => "the configuration has no agent at all: keys begin with the agent's name, as in `a1.sources = r1`".into(),
            some => format!("the configuration has no agent of this name; it has: {}", some.join(", ")),
        };
        let key = self.agent.to_string();
        self.plan.problems.0.push(Problem { severity: Severity::Error, key, place: None, message });
    }

    fn problem(&mut self, severity: Severity, key: String, message: impl Into<String>) {
        let place = self.values.get(&key).map(|value| (value.file.clone(), value.line));
        self.plan.problems.0.push(Problem { severity, key, place, message: message.into() });
    }

    /// Names that a list key of the agent declares, each once, with a warning for components that no list names.
    fn listed(&mut self, kind: &str) -> Vec<Arc<str>> {
        debug_assert!(KINDS.contains(&kind), "{kind}");
        let list = format!("{}.{kind}", self.agent);
        if self.broken.contains(&list) {
            self.leave_out_all(kind, &list);
            return Vec::new();
        }
        let text = self.values.get(&list).map(|value| value.resolved.clone()).unwrap_or_default();
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in text.split_whitespace() {
            if names.iter().any(|other| **other == *name) {
                self.problem(Severity::Warning, list.clone(), format!("names {name} twice"));
            } else {
                names.push(name.into());
            }
        }
        self.warn_of_unlisted(kind, &list, &names);
        names
    }

    fn warn_of_unlisted(&mut self, kind: &str, list: &str, names: &[Arc<str>]) {
        let mut unlisted: BTreeMap<&str, &String> = BTreeMap::new();
        for key in self.values.keys() {
            if agent_and_kind(key) == Some((&*self.agent, kind))
                && let Some(rest) = key.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'))
            {
                let name = rest.split_once('.').map_or(rest, |(name, _)| name);
                if !names.iter().any(|listed| **listed == *name) {
                    unlisted.entry(name).or_insert(key);
                }
            }
        }
        let unlisted: Vec<_> =
            unlisted.into_iter().map(|(name, key)| (name.to_string(), key.clone())).collect();
        for (name, key) in unlisted {
            let message = format!("{name} is configured but not listed in `{list}`: it does not run");
            self.problem(Severity::Warning, key, message);
        }
    }

    /// The keys below `prefix`, if the component may be built from them.
    fn config(&mut self, kind: Kind, list: &str, prefix: String, name: &str) -> Option<ComponentConfig> {
        let values: BTreeMap<String, Value> = self
            .values
            .range(prefix.clone()..)
            .map_while(|(key, value)| Some((key.strip_prefix(&prefix)?.to_string(), value.clone())))
            .collect();
        let config = ComponentConfig {
            kind,
            agent: self.agent.clone(),
            name: name.into(),
            prefix,
            values,
            types: self.registry.clone(),
            process: self.process.clone(),
        };
        if self.broken.iter().any(|key| key.starts_with(&config.prefix)) {
            // The broken key itself was reported where it stands; a component must not run without one of its keys.
            let message = format!("the {kind} is left out: one of its keys cannot be read");
            self.problem(Severity::Error, config.prefix.trim_end_matches('.').to_string(), message);
            return None;
        }
        if config.values.is_empty() {
            let advice = match name.contains(',') {
                true => "; names in a list are separated by blanks, not commas",
                false => "",
            };
            self.problem(
                Severity::Error,
                list.to_string(),
                format!("lists {name}, which is not configured{advice}"),
            );
            return None;
        }
        Some(config)
    }

    /// A component below `prefix` with its type, or the reasons why it has none.
    fn find(&mut self, kind: Kind, list: &str, prefix: String, name: &str) -> Option<Found> {
        let config = self.config(kind, list, prefix, name)?;
        let Some(type_name) = config.get("type") else {
            let before = self.plan.problems.0.len();
            self.plan.problems.error(&config, "type", format!("required key is missing: the {kind}'s type"));
            self.give_places(before, &config);
            return None;
        };
        let spec = self.spec(&config, "type", type_name)?;
        Some(Found { config, spec })
    }

    /// The type that `type_name`, the value of `key`, names, if it is built in (or announced, for a check).
    fn spec(&mut self, config: &ComponentConfig, key: &str, type_name: &str) -> Option<Spec> {
        let kind = config.kind;
        let Some(spec) = self.lookup(kind, type_name) else {
            let aliases = self.registry.of(kind).map(|spec| spec.alias).filter(|alias| !alias.is_empty());
            let meant = match keys::nearest(type_name, aliases) {
                Some(near) => format!("; did you mean `{near}`?"),
                None if type_name.contains('.') => {
                    "; Java classes of your own cannot be run, they have to be written for this program"
                        .to_string()
                }
                None => {
                    let mut names: Vec<_> = self
                        .registry
                        .of(kind)
                        .filter(|spec| spec.is_built())
                        .map(|spec| spec.alias)
                        .collect();
                    names.retain(|name| !name.is_empty());
                    names.sort_unstable();
                    names.dedup();
                    format!("; known are: {}", names.join(", "))
                }
            };
            self.plan.problems.error(config, key, format!("there is no {kind} type `{type_name}`{meant}"));
            return None;
        };
        let problems = &mut self.plan.problems;
        match spec.factory {
            Factory::Unavailable(_, advice) => {
                advice::check(config, &spec, problems);
                problems.error(config, key, format!("the {kind} type `{type_name}` is {advice}"));
                None
            }
            Factory::Announced(..) if self.purpose == Purpose::Run => {
                keys::check(config, &spec, problems);
                let message = format!(
                    "the {kind} type `{type_name}` is known and not built into this version: the {kind} is left out"
                );
                problems.error(config, key, message);
                None
            }
            Factory::Announced(..) => {
                let message = format!(
                    "the {kind} type `{type_name}` is known and not built into this version: its keys are checked, but a \
                     run leaves the {kind} out"
                );
                problems.warn(config, key, message);
                Some(spec)
            }
            _ => Some(spec),
        }
    }

    fn lookup(&self, kind: Kind, type_name: &str) -> Option<Spec> {
        let found = self.registry.find(kind, type_name);
        // Flume wants the builder's class for an interceptor; many write the interceptor's own.
        let found = found.or_else(|| match kind {
            Kind::Interceptor => self.registry.find(kind, &format!("{type_name}$Builder")),
            _ => None,
        });
        found.copied()
    }

    /// Gives problems of a component that name no line (a key that is missing) the line of its type.
    fn give_places(&mut self, from: usize, config: &ComponentConfig) {
        let place = config.values.get("type").or_else(|| config.values.values().next());
        let place = place.map(|value| (value.file.clone(), value.line));
        for problem in self.plan.problems.0.iter_mut().skip(from).filter(|problem| problem.place.is_none()) {
            problem.place.clone_from(&place);
        }
    }

    /// Runs a factory and takes what it built only if it reported no error.
    fn trial<T>(
        &mut self,
        config: &ComponentConfig,
        build: impl FnOnce(&ComponentConfig, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        let mut problems = Problems::default();
        let built = build(config, &mut problems);
        if built.is_none() && problems.errors() == 0 {
            problems.error(config, "type", "the component cannot be built");
        }
        let built = built.filter(|_| problems.errors() == 0);
        let before = self.plan.problems.0.len();
        self.plan.problems.0.extend(problems.0);
        self.give_places(before, config);
        built
    }

    /// Builds a source or a sink for trial, or reads the keys of an announced one; returns what it says of its batches.
    fn trial_of(&mut self, found: &Found) -> Option<BatchSize> {
        self.trial(&found.config, |config, problems| batch_size(&found.spec, config, problems))
    }

    fn check_keys(&mut self, found: &Found) {
        keys::check(&found.config, &found.spec, &mut self.plan.problems);
    }

    /// Leaves out whatever the list, which cannot be read, may have named.
    fn leave_out_all(&mut self, kind: &str, list: &str) {
        let kind = match kind {
            "sources" => Kind::Source,
            "channels" => Kind::Channel,
            "sinks" => Kind::Sink,
            _ => return,
        };
        let names = self.values.keys().filter_map(|key| key.strip_prefix(list)?.strip_prefix('.'));
        let names = names.filter_map(|rest| Some((kind, rest.split_once('.')?.0.into())));
        self.plan.left_out.extend(names.collect::<Vec<_>>());
    }

    fn leave_out(&mut self, kind: Kind, name: &Arc<str>) {
        self.plan.left_out.insert((kind, name.clone()));
    }

    /// The place of a full key, as text.
    fn place_of(&self, key: &str) -> String {
        self.values.get(key).map_or(String::new(), |value| format!(" ({}:{})", value.file, value.line))
    }
}

/// The key that holds a component's batch size, and its value.
type BatchSize = Option<(&'static str, usize)>;

fn batch_size(spec: &Spec, config: &ComponentConfig, problems: &mut Problems) -> Option<BatchSize> {
    match spec.factory {
        Factory::Source(_, build) => build(config, problems).map(|built| built.batch_size),
        Factory::Sink(build) => build(config, problems).map(|built| built.batch_size),
        Factory::Announced(_, check) => check(config, problems).map(|announced| announced.batch_size),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
