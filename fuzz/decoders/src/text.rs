//! What people write: properties, configurations, position files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use flumen_api::registry::Registry;
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_engine::config::{self, Environment, FileContent, Properties, properties};
use flumen_engine::plan::Plan;
use flumen_sources::taildir::position_file::{self, Record};

/// A properties file.
pub fn properties(bytes: &[u8]) {
    let parsed = properties::parse(bytes);
    let mut text = String::new();
    parsed.entries.iter().for_each(|entry| properties::write(&mut text, &entry.key, &entry.value));
    let again = properties::parse(text.as_bytes());
    assert_eq!(again.malformed, [], "what was written is readable");
    let pairs = |parsed: &properties::Parsed| -> Vec<_> {
        parsed.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    assert_eq!(pairs(&parsed), pairs(&again), "written again");
}

/// What `-f` names, up to the plan of each agent; nothing is started, opened or run.
///
/// A zero byte ends a file and begins the next one. A first file that begins with `!` has plain `${NAME}` mean the
/// environment.
pub fn configuration(bytes: &[u8]) {
    let files: Vec<FileContent> = bytes
        .splitn(FILES_MAX, |byte| *byte == 0)
        .zip(["first.conf", "second.conf", "third.conf"])
        .map(|(bytes, name)| FileContent { name: name.into(), bytes: bytes.to_vec() })
        .collect();
    let environment = environment(bytes.first() == Some(&b'!'));
    let merged = Properties::merge(&files, &environment);
    let agents: Vec<String> = merged.agents().into_iter().map(str::to_string).collect();
    for agent in agents.iter().take(AGENTS_MAX) {
        let plan = config::plan(&merged, agent, registry());
        check_plan(&plan);
        let lines = config::describe(&plan);
        assert_eq!(
            lines.len(),
            plan.channels.len() + plan.groups.len(),
            "a line for each way and each group"
        );
        if merged.malformed() == 0 {
            check_backup(&merged, agent, &plan, &environment);
        }
    }
    if agents.is_empty() {
        let problems = config::plan(&merged, "a1", registry()).problems;
        assert!(problems.errors() > 0, "an agent that is not there is an error");
    }
}

const FILES_MAX: usize = 3;
/// Agents are independent of each other.
const AGENTS_MAX: usize = 3;

/// No command is run, whatever a config filter says.
fn environment(plain_names: bool) -> Environment {
    let texts = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_string(), (*text).to_string()))
            .collect::<BTreeMap<_, _>>()
    };
    let variables = [("HOME", "/home"), ("KEY", "value"), ("SELF", "${env:SELF}"), ("REF", "${a.sources}")];
    let system = [("propertiesImplementation", config::substitution::ENV_RESOLVER), ("name", "a")];
    let first = usize::from(!plain_names);
    Environment { variables: texts(&variables), system: texts(&system[first..]), ..Environment::default() }
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(flumen::standard_registry)
}

/// What the runtime relies on.
fn check_plan(plan: &Plan) {
    let channels = names(plan.channels.iter().map(|channel| &channel.config));
    names(plan.sources.iter().map(|source| &source.config));
    let sinks = names(plan.sinks.iter().map(|sink| &sink.config));
    for source in &plan.sources {
        assert!(!source.channels.is_empty(), "a source feeds a channel");
        assert!(
            source.channels.iter().all(|channel| channels.contains(&**channel)),
            "a source's channels run"
        );
    }
    assert!(plan.sinks.iter().all(|sink| channels.contains(&*sink.channel)), "a sink's channel runs");
    let mut grouped = BTreeSet::new();
    for group in &plan.groups {
        assert!(!group.sinks.is_empty(), "a group has a sink");
        for sink in &group.sinks {
            assert!(sinks.contains(&**sink), "a group's sinks run");
            assert!(grouped.insert(sink), "a sink is in one group");
        }
    }
    for (kind, name) in &plan.left_out {
        assert!(!in_plan(plan, *kind, name), "what is left out does not run");
    }
    let errors = plan.problems.errors();
    assert!(plan.left_out.is_empty() || errors > 0, "what is left out has an error");
    assert!(!plan.channels.is_empty() || errors > 0, "an agent that runs nothing has an error");
    assert!(plan.problems.0.iter().all(|problem| !problem.to_string().is_empty()));
}

fn names<'a>(configs: impl Iterator<Item = &'a ComponentConfig>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    configs.for_each(|config| assert!(names.insert(&*config.name), "{} is in the plan once", config.name));
    names
}

fn in_plan(plan: &Plan, kind: Kind, name: &str) -> bool {
    let is = |config: &ComponentConfig| config.kind == kind && *config.name == *name;
    plan.channels.iter().any(|channel| is(&channel.config))
        || plan.sources.iter().any(|source| is(&source.config))
        || plan.sinks.iter().any(|sink| is(&sink.config))
}

/// A start from the backup runs what a start from the files would.
fn check_backup(merged: &Properties, agent: &str, plan: &Plan, environment: &Environment) {
    let content = FileContent { name: "backup".into(), bytes: merged.to_text().into_bytes() };
    let backup = Properties::merge(&[content], environment);
    let again = config::plan(&backup, agent, registry());
    if shape(&again) != shape(plan) {
        // A plan that has the time in it changes by itself.
        let now = config::plan(merged, agent, registry());
        assert!(shape(&now) != shape(plan), "the backup of {agent} makes another plan");
    }
}

/// The plan without lines and files.
fn shape(plan: &Plan) -> Vec<String> {
    let keys = |config: &ComponentConfig| {
        let values = config.values.iter().map(|(key, value)| format!("{key}={}", value.resolved));
        format!("{} {} {:?}", config.kind, config.name, values.collect::<Vec<_>>())
    };
    let mut shape = config::describe(plan);
    shape.extend(plan.channels.iter().map(|channel| keys(&channel.config)));
    shape.extend(plan.sources.iter().map(|source| keys(&source.config)));
    shape.extend(plan.sinks.iter().map(|sink| keys(&sink.config)));
    shape.extend(plan.left_out.iter().map(|(kind, name)| format!("without {kind} {name}")));
    shape
}

/// A position file of taildir's, and what the channel keeps about one.
pub fn positions(bytes: &[u8]) {
    if let Ok(entries) = position_file::decode(bytes) {
        let encoded = position_file::encode(&entries);
        assert_eq!(position_file::decode(&encoded).as_ref(), Ok(&entries), "written again");
        // The reader of a tool agrees, as far as it follows nesting.
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
            let objects = value.as_array().expect("a list");
            assert!(objects.len() == entries.len() && objects.iter().all(serde_json::Value::is_object));
        }
    }
    if let Some(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(record.encode().as_bytes()), Some(record), "written again");
    }
}
