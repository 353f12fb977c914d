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
//! A key for which a filter has nothing stays as it is written, as in Flume, with a warning. Filters are asked in the
//! order in which they are listed (Flume: in hash order), over all values of sources, channels, sinks and groups.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flumen_api::settings::{Problem, Problems, Severity, Value};

use super::substitution::Environment;

/// How long an external command may take for one key.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

/// Most bytes that are read of a command's output: a password is short.
const OUTPUT_BYTES_MAX: u64 = 1 << 16;

enum Filter<'a> {
    Env(&'a BTreeMap<String, String>),
    External {
        command: Vec<String>,
        latin1: bool,
    },
    /// One that may not run its command here.
    Silenced,
}

/// Applies the agent's config filters to its components' values.
pub(super) fn apply(
    agent: &str,
    values: &mut BTreeMap<String, Value>,
    environment: &Environment,
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
                continue;
            }
        };
        let mut answers = BTreeMap::new();
        for (key, value) in values.iter_mut().filter(|(key, _)| is_component_key(key, agent)) {
            let mut ask = |asked: &str| -> Result<Option<String>, String> {
                answers.entry(asked.to_string()).or_insert_with(|| filter.ask(asked)).clone()
            };
            for failure in replace(name, &mut value.resolved, &mut ask) {
                problems.0.push(Problem {
                    severity: Severity::Warning,
                    key: key.clone(),
                    place: Some((value.file.clone(), value.line)),
                    message: failure,
                });
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

impl Filter<'_> {
    fn ask(&self, key: &str) -> Result<Option<String>, String> {
        match self {
            Self::Env(variables) => Ok(variables.get(key).cloned()),
            Self::External { command, latin1 } => run(command, key, *latin1),
            Self::Silenced => Err("commands are not run here".into()),
        }
    }
}

fn run(command: &[String], key: &str, latin1: bool) -> Result<Option<String>, String> {
    let failed = |why: String| format!("`{} {key}`: {why}", command.join(" "));
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .arg(key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut output));
        read.map(|_bytes| output)
    });
    let deadline = Instant::now() + COMMAND_TIME_MAX;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                // Best effort: whether or not it dies, nothing is taken from it.
                let killed = child.kill().and_then(|()| child.wait().map(drop));
                let result =
                    killed.map_or_else(|error| format!(" and cannot be ended: {error}"), |()| String::new());
                return Err(failed(format!("took longer than {} s{result}", COMMAND_TIME_MAX.as_secs())));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    if !status.success() {
        return Err(failed(format!("ended with {status}")));
    }
    let output = match reader.join() {
        Ok(output) => output.map_err(|error| failed(format!("its output cannot be read: {error}")))?,
        Err(_panic) => return Err(failed("its output cannot be read".into())),
    };
    let text = match latin1 {
        true => output.iter().map(|&byte| char::from(byte)).collect(),
        false => String::from_utf8_lossy(&output).into_owned(),
    };
    Ok(text.lines().next().filter(|line| !line.is_empty()).map(str::to_string))
}

/// Replaces the filter's references in `text` and returns what to say of those it has no answer to.
fn replace(
    name: &str,
    text: &mut String,
    ask: &mut dyn FnMut(&str) -> Result<Option<String>, String>,
) -> Vec<String> {
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
            Ok(None) => format!("the config filter {name} has nothing for {key}; the text stays as it is"),
            Err(why) => format!("the config filter {name} failed for {key}: {why}; the text stays as it is"),
        };
        failures.push(failure);
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply_to(pairs: &[(&str, &str)], key: &str) -> (String, Vec<Problem>) {
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
        let mut problems = Problems::default();
        apply("a", &mut values, &environment, &mut problems);
        (values[key].resolved.clone(), problems.0)
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
        let (text, problems) = apply_to(&pairs, KEY);
        assert_eq!(text, "${f1[NO]}");
        assert_eq!(problems.len(), 1);
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
    fn an_external_command_that_fails_or_is_missing_leaves_the_text() {
        for command in ["false", "/nonexistent/command"] {
            let pairs = [
                ("a.configfilters", "f1"),
                ("a.configfilters.f1.type", "external"),
                ("a.configfilters.f1.command", command),
                (KEY, "${f1[x]}"),
            ];
            let (text, problems) = apply_to(&pairs, KEY);
            assert_eq!(text, "${f1[x]}");
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
        apply("a", &mut values, &Environment::default(), &mut problems);
        assert_eq!(values[KEY].resolved, "${f1[x]}");
        assert!(problems.0[0].message.contains("not run here"), "{}", problems.0[0]);
        apply("a", &mut values, &Environment::of_process(BTreeMap::new()), &mut problems);
        assert_eq!(values[KEY].resolved, "ran for x");
    }

    #[test]
    fn a_hadoop_store_is_refused_with_advice() {
        let pairs = [("a.configfilters", "f1"), ("a.configfilters.f1.type", "hadoop"), (KEY, "${f1[x]}")];
        let (_, problems) = apply_to(&pairs, KEY);
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
