//! Config filters: `${f1["key"]}` in a component's value asks the filter `f1` for `key`.
//!
//! ```text
//! a1.configfilters = f1
//! a1.configfilters.f1.type = env | external
//! a1.configfilters.f1.command = /usr/bin/passwd.sh      external: first line of its output, key as last argument
//! a1.configfilters.f1.charset = UTF-8
//! a1.sources.r1.keystore-password = ${f1["my_key"]}     also ['my_key'] and [my_key]; keys are of [-_a-zA-Z0-9]
//! ```
//!
//! A key for which a filter has nothing stays as it is written, as in Flume, with a warning. Where a filter fails, the value
//! is not known and the component that needs it is left out: the reference's text would be sent to a server as a password,
//! and at a reload take the place of the one that works. Filters are asked in the order in which they are listed (Flume: in
//! hash order), over all values of sources, channels, sinks and groups.

mod command;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flumen_api::settings::{Problem, Problems, Severity, Value};

use super::substitution::Environment;

/// How long an external command may take for one key.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

enum Filter<'a> {
    Env(&'a BTreeMap<String, String>),
    External {
        command: Vec<String>,
        latin1: bool,
    },
    /// One that may not run its command here.
    Silenced,
    /// One that is not configured rightly.
    Broken,
}

/// Applies the agent's config filters to its components' values, and adds to `broken` the keys of those values that a filter
/// failed to find.
pub(super) fn apply(
    agent: &str,
    values: &mut BTreeMap<String, Value>,
    environment: &Environment,
    broken: &mut BTreeSet<String>,
    problems: &mut Problems,
) {
    let list = format!("{agent}.configfilters");
    let Some(names) = values.get(&list).map(|value| value.resolved.clone()) else { return };
    for name in names.split_whitespace() {
        let prefix = format!("{list}.{name}.");
        let filter = match filter(&prefix, values, environment) {
            Ok(filter) => filter,
            Err((key, message)) => {
                let key = format!("{prefix}{key}");
                let place =
                    values.get(&key).or(values.get(&list)).map(|value| (value.file.clone(), value.line));
                problems.0.push(Problem { severity: Severity::Error, key, place, message });
                Filter::Broken
            }
        };
        let mut answers = Answers::new(filter);
        for (key, value) in values.iter_mut().filter(|(key, _)| is_component_key(key, agent)) {
            for (severity, message) in replace(name, &mut value.resolved, &mut |asked| answers.of(asked)) {
                if severity == Severity::Error {
                    broken.insert(key.clone());
                }
                let place = Some((value.file.clone(), value.line));
                problems.0.push(Problem { severity, key: key.clone(), place, message });
            }
        }
    }
}

fn is_component_key(key: &str, agent: &str) -> bool {
    super::merged::agent_and_kind(key).is_some_and(|(of, kind)| {
        of == agent && matches!(kind, "sources" | "channels" | "sinks" | "sinkgroups")
    })
}

fn filter<'a>(
    prefix: &str,
    values: &BTreeMap<String, Value>,
    environment: &'a Environment,
) -> Result<Filter<'a>, (&'static str, String)> {
    let get = |key: &str| values.get(&format!("{prefix}{key}")).map(|value| value.resolved.as_str());
    let kind = get("type").ok_or(("type", "required key is missing: env or external".to_string()))?;
    match kind.to_ascii_lowercase().as_str() {
        "env" | "org.apache.flume.configfilter.environmentvariableconfigfilter" => {
            Ok(Filter::Env(&environment.variables))
        },
        "external" | "org.apache.flume.configfilter.externalprocessconfigfilter" => {
            let command = get("command").unwrap_or_default();
            let command: Vec<_> = command.split_whitespace().map(str::to_string).collect();
            if command.is_empty() {
                return Err(("command", "required key is missing: the command that prints a key's value".into()));
            }
            let charset = get("charset").unwrap_or("UTF-8");
            let latin1 = ["iso-8859-1", "latin1", "us-ascii"].iter().any(|name| name.eq_ignore_ascii_case(charset));
            if !latin1 && !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("utf8") {
                return Err(("charset", format!("`{charset}` is not supported: UTF-8 or ISO-8859-1")));
            }
            match environment.runs_commands {
                true => Ok(Filter::External { command, latin1 }),
                false => Ok(Filter::Silenced),
            }
        }
        "hadoop" | "org.apache.flume.configfilter.hadoopcredentialstoreconfigfilter" => Err((
            "type",
            "Hadoop's credential stores need a Java virtual machine: use type `external` with a command that prints the \
             credential, or `env`"
                .into(),
        )),
        _ => Err(("type", format!("`{kind}` is no known config filter: env or external"))),
    }
}

/// What a filter has said so far.
struct Answers<'a> {
    filter: Filter<'a>,
    by_key: BTreeMap<String, Result<Option<String>, String>>,
    /// A key for which it was waited in vain: it is asked for no other one.
    in_vain: Option<String>,
}

impl<'a> Answers<'a> {
    fn new(filter: Filter<'a>) -> Self {
        Self { filter, by_key: BTreeMap::new(), in_vain: None }
    }

    fn of(&mut self, key: &str) -> Result<Option<String>, String> {
        if let Some(known) = self.by_key.get(key) {
            return known.clone();
        }
        let answer = match (&self.filter, &self.in_vain) {
            (_, Some(other)) => Err(format!("it is not asked, after it was waited for in vain for {other}")),
            (Filter::Env(variables), None) => Ok(variables.get(key).cloned()),
            (Filter::External { command, latin1 }, None) => {
                match command::first_line(command, key, COMMAND_TIME_MAX) {
                    Ok(bytes) => Ok(decoded(&bytes, *latin1)),
                    Err(failed) => {
                        self.in_vain = failed.in_vain.then(|| key.to_string());
                        Err(failed.why)
                    }
                }
            }
            (Filter::Silenced, None) => Err("commands are not run here".into()),
            (Filter::Broken, None) => Err("its own configuration has an error".into()),
        };
        self.by_key.insert(key.to_string(), answer.clone());
        answer
    }
}

/// The first line of `bytes`, if something is on it.
fn decoded(bytes: &[u8], latin1: bool) -> Option<String> {
    let text = match latin1 {
        true => bytes.iter().map(|&byte| char::from(byte)).collect(),
        false => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.lines().next().filter(|line| !line.is_empty()).map(str::to_string)
}

/// Replaces the filter's references in `text` and returns what to say of those it has no answer to: an error where it failed.
fn replace(
    name: &str,
    text: &mut String,
    ask: &mut dyn FnMut(&str) -> Result<Option<String>, String>,
) -> Vec<(Severity, String)> {
    let opening = format!("${{{name}[");
    let mut failures = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(&opening) {
        let start = from + found;
        let inner = start + opening.len();
        let Some(length) = text[inner..].find("]}") else { break };
        let end = inner + length + 2;
        let reference = &text[inner..end - 2];
        let key = ['"', '\'']
            .iter()
            .find_map(|&quote| reference.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(reference);
        let valid =
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        from = end;
        if !valid {
            continue;
        }
        let failure = match ask(key) {
            Ok(Some(value)) => {
                text.replace_range(start..end, &value);
                from = start + value.len();
                continue;
            }
            Ok(None) => {
                let message =
                    format!("the config filter {name} has nothing for {key}; the text stays as it is");
                (Severity::Warning, message)
            }
            Err(why) => (Severity::Error, format!("the config filter {name} failed for {key}: {why}")),
        };
        failures.push(failure);
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply_to(pairs: &[(&str, &str)], key: &str) -> (String, Vec<Problem>) {
        let (text, _, problems) = apply_all(pairs, key);
        (text, problems)
    }

    /// The value of `key`, the keys that are broken, and the problems.
    fn apply_all(pairs: &[(&str, &str)], key: &str) -> (String, Vec<String>, Vec<Problem>) {
        let mut values: BTreeMap<String, Value> = pairs
            .iter()
            .zip(1..)
            .map(|((key, text), line)| {
                let value = Value { resolved: (*text).into(), raw: (*text).into(), file: "f".into(), line };
                ((*key).to_string(), value)
            })
            .collect();
        let variables = BTreeMap::from([("PW".to_string(), "secret".to_string())]);
        let environment = Environment { variables, runs_commands: true, ..Environment::default() };
        let (mut broken, mut problems) = (BTreeSet::new(), Problems::default());
        apply("a", &mut values, &environment, &mut broken, &mut problems);
        (values[key].resolved.clone(), broken.into_iter().collect(), problems.0)
    }

    const KEY: &str = "a.sinks.k.password";

    #[test]
    fn env_answers_in_all_three_spellings_and_several_times_in_a_value() {
        for text in ["${f1[\"PW\"]}", "${f1['PW']}", "${f1[PW]}"] {
            let pairs = [("a.configfilters", "f1"), ("a.configfilters.f1.type", "env"), (KEY, text)];
            assert_eq!(apply_to(&pairs, KEY).0, "secret", "{text}");
        }
        let pairs =
            [("a.configfilters", "f1"), ("a.configfilters.f1.type", "ENV"), (KEY, "<${f1[PW]}:${f1['PW']}>")];
        assert_eq!(apply_to(&pairs, KEY).0, "<secret:secret>");
    }

    #[test]
    fn what_a_filter_does_not_know_stays_with_a_warning() {
        let pairs = [("a.configfilters", "f1"), ("a.configfilters.f1.type", "env"), (KEY, "${f1[NO]}")];
        let (text, broken, problems) = apply_all(&pairs, KEY);
        assert_eq!((text.as_str(), broken.len()), ("${f1[NO]}", 0));
        assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warning));
        assert_eq!(problems[0].place, Some(("f".into(), 3)));
    }

    #[test]
    fn external_takes_the_first_line_of_the_command() {
        let pairs = [
            ("a.configfilters", "f1"),
            ("a.configfilters.f1.type", "external"),
            ("a.configfilters.f1.command", "echo value of"),
            (KEY, "${f1['my-key_1']}"),
        ];
        assert_eq!(apply_to(&pairs, KEY), ("value of my-key_1".to_string(), Vec::new()));
    }

    #[test]
    fn a_value_that_a_filter_fails_to_find_is_broken() {
        for command in ["false", "/nonexistent/command"] {
            let pairs = [
                ("a.configfilters", "f1"),
                ("a.configfilters.f1.type", "external"),
                ("a.configfilters.f1.command", command),
                (KEY, "${f1[x]}"),
            ];
            let (_, broken, problems) = apply_all(&pairs, KEY);
            assert_eq!(broken, [KEY]);
            assert_eq!(problems[0].severity, Severity::Error);
            assert!(problems[0].message.contains(command), "{}", problems[0]);
        }
    }

    #[test]
    fn no_command_is_run_unless_the_environment_allows_it() {
        let value = |text: &str| Value { resolved: text.into(), raw: text.into(), file: "f".into(), line: 1 };
        let mut values = BTreeMap::from([
            ("a.configfilters".to_string(), value("f1")),
            ("a.configfilters.f1.type".to_string(), value("external")),
            ("a.configfilters.f1.command".to_string(), value("echo ran for")),
            (KEY.to_string(), value("${f1[x]}")),
        ]);
        let mut problems = Problems::default();
        let mut broken = BTreeSet::new();
        apply("a", &mut values, &Environment::default(), &mut broken, &mut problems);
        assert_eq!(values[KEY].resolved, "${f1[x]}");
        assert!(problems.0[0].message.contains("not run here"), "{}", problems.0[0]);
        apply("a", &mut values, &Environment::of_process(BTreeMap::new()), &mut broken, &mut problems);
        assert_eq!(values[KEY].resolved, "ran for x");
    }

    #[test]
    fn a_hadoop_store_is_refused_with_advice() {
        let pairs = [("a.configfilters", "f1"), ("a.configfilters.f1.type", "hadoop"), (KEY, "${f1[x]}")];
        let (_, broken, problems) = apply_all(&pairs, KEY);
        assert_eq!(broken, [KEY], "who needs a value of it must not run with the reference's text");
        assert_eq!(problems[0].severity, Severity::Error);
        assert!(problems[0].message.contains("external"));
    }

    #[test]
    fn other_agents_and_other_kinds_are_left_alone() {
        let pairs =
            [("a.configfilters", "f1"), ("a.configfilters.f1.type", "env"), ("b.sinks.k.x", "${f1[PW]}")];
        assert_eq!(apply_to(&pairs, "b.sinks.k.x").0, "${f1[PW]}");
    }
}
