//! One set of properties from several files: read, merged, substituted, with every doubtful line named.
//!
//! A later file overrides an earlier one key by key, as with Flume's repeated `-f`; within one file the last of two
//! equal keys wins, as in Java, and is answered with a warning. Substitution sees the merged set.

use std::collections::{BTreeMap, BTreeSet};

use flumen_api::settings::{Problem, Severity, Value};

use super::files::FileContent;
use super::properties;
use super::substitution::{self, Environment};

/// First-level keys of an agent.
pub(super) const KINDS: [&str; 5] = ["sources", "channels", "sinks", "sinkgroups", "configfilters"];

/// The properties of all files, resolved.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    pub(super) values: BTreeMap<String, Value>,
    /// Keys whose value is not known: a malformed line, a reference that cannot be resolved. Who needs one is left out.
    pub(super) broken: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    /// For the config filters.
    pub(super) environment: Environment,
    malformed: usize,
}

impl Properties {
    /// Merges and resolves what the files hold.
    pub fn merge(contents: &[FileContent], environment: &Environment) -> Self {
        let mut merged = Self { environment: environment.clone(), ..Self::default() };
        for content in contents {
            merged.add(content);
        }
        merged.resolve(environment);
        merged
    }

    /// Names of the agents that the files configure.
    pub fn agents(&self) -> Vec<&str> {
        let mut agents: Vec<_> = self.values.keys().filter_map(|key| agent_and_kind(key)).collect();
        agents.retain(|(_, kind)| KINDS.contains(kind));
        let mut agents: Vec<_> = agents.into_iter().map(|(agent, _)| agent).collect();
        agents.dedup();
        agents.sort_unstable();
        agents.dedup();
        agents
    }

    /// How many lines cannot be read at all. A reload from such files is refused: they may be half written.
    pub fn malformed(&self) -> usize {
        self.malformed
    }

    /// The properties as written, before substitution, in the format of [`properties::parse`]: what `-b` keeps.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.values {
            properties::write(&mut text, key, &value.raw);
        }
        text
    }

    fn add(&mut self, content: &FileContent) {
        let parsed = properties::parse(&content.bytes);
        let mut lines = BTreeMap::new();
        self.warn_of_trimmed(&parsed.entries, content);
        self.malformed += parsed.malformed.len();
        for malformed in parsed.malformed {
            self.problem(Severity::Error, &malformed.key, content, malformed.line, malformed.message);
            self.broken.insert(malformed.key);
        }
        for entry in parsed.entries {
            let properties::Entry { key, value, line, signed, .. } = entry;
            if key.is_empty() {
                let message = "there is no key before the value; the line is ignored";
                self.problem(Severity::Error, "", content, line, message);
                continue;
            }
            if !signed && (value.is_empty() || !key.contains('.')) {
                let message = "not a property; `key = value` is expected, and the line is ignored";
                self.problem(Severity::Error, &key, content, line, message);
                self.malformed += 1;
                continue;
            }
            if value.is_empty() {
                let message =
                    "has no value and is ignored, as Flume ignores it; a property cannot be set to nothing";
                self.problem(Severity::Warning, &key, content, line, message);
                continue;
            }
            if let Some(odd) = invisible_edge(&value) {
                let message = format!(
                    "the value begins or ends with the invisible character U+{:04X}, which is no blank: it stays part of \
                     the value, as in Flume, and is hardly meant",
                    u32::from(odd)
                );
                self.problem(Severity::Warning, &key, content, line, message);
            }
            if let Some(second) = second_property(&key, &value) {
                let message = format!(
                    "the value holds what looks like a second property, `{second}`: is a line break missing before it?"
                );
                self.problem(Severity::Warning, &key, content, line, message);
            }
            if let Some(earlier) = lines.insert(key.clone(), line) {
                let message = format!("is set on line {earlier} as well; this line, the later one, wins");
                self.problem(Severity::Warning, &key, content, line, message);
            }
            self.broken.remove(&key);
            let value = Value { resolved: value.clone(), raw: value, file: content.name.clone(), line };
            self.values.insert(key, value);
        }
    }

    /// One warning a file for each kind of blanks that are dropped: where they are all over, a warning a line would hide
    /// what matters.
    fn warn_of_trimmed(&mut self, entries: &[properties::Entry], content: &FileContent) {
        type Has = fn(&properties::Entry) -> bool;
        let kinds: [(Has, &str); 2] = [
            (|entry| entry.blank_after, "blanks after the value are trimmed, as Flume trims them"),
            (|entry| entry.tab_before, "a tab before the key is trimmed, as Flume trims it"),
        ];
        for (has, message) in kinds {
            let mut found = entries.iter().filter(|entry| has(entry) && !entry.key.is_empty());
            let Some(first) = found.next() else { continue };
            let more = match found.count() {
                0 => String::new(),
                more => format!(" (so on {more} more lines of this file)"),
            };
            self.problem(Severity::Warning, &first.key, content, first.line, format!("{message}{more}"));
        }
    }

    fn resolve(&mut self, environment: &Environment) {
        let raw = self.values.iter().map(|(key, value)| (key.clone(), value.raw.clone())).collect();
        let resolved = substitution::resolve(&raw, environment);
        for (key, text) in resolved.values {
            if let Some(value) = self.values.get_mut(&key) {
                value.resolved = text.trim_matches(|c| c <= ' ').to_string();
            }
        }
        for (key, why) in resolved.failures {
            self.problem_at(Severity::Error, &key, why);
            self.broken.insert(key);
        }
        for (key, names) in resolved.unresolved {
            // A shell resolves its own variables, and config filters have not had their turn.
            let is_command = key.ends_with(".command");
            for name in names.iter().filter(|name| !is_command && !is_filter_reference(name)) {
                self.problem_at(Severity::Warning, &key, unresolved(name, environment));
            }
        }
        self.check_shapes(&resolved.referred);
    }

    /// Names keys that configure nothing.
    fn check_shapes(&mut self, referred: &BTreeSet<String>) {
        let agents: BTreeSet<String> = self.agents().into_iter().map(str::to_string).collect();
        let mut useless = Vec::new();
        for key in self.values.keys().filter(|key| !referred.contains(*key)) {
            match agent_and_kind(key) {
                Some((_, kind)) if KINDS.contains(&kind) => {}
                Some((agent, kind)) if agents.contains(agent) => {
                    let near = super::keys::nearest(kind, KINDS.iter().copied());
                    let meant = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    useless.push((
                        key.clone(),
                        format!("`{kind}` is none of {}, and the line is ignored{meant}", KINDS.join(", ")),
                    ));
                }
                _ => {
                    let message = "configures no agent and is ignored: keys begin with the agent's name and one of \
                                   sources, channels, sinks";
                    useless.push((key.clone(), message.to_string()));
                }
            }
        }
        for (key, message) in useless {
            self.problem_at(Severity::Warning, &key, message);
        }
    }

    fn problem(
        &mut self,
        severity: Severity,
        key: &str,
        content: &FileContent,
        line: u32,
        message: impl Into<String>,
    ) {
        let key = if key.is_empty() { "(no key)" } else { key };
        let place = Some((content.name.clone(), line));
        self.problems.push(Problem { severity, key: key.into(), place, message: message.into() });
    }

    fn problem_at(&mut self, severity: Severity, key: &str, message: impl Into<String>) {
        let place = self.values.get(key).map(|value| (value.file.clone(), value.line));
        self.problems.push(Problem { severity, key: key.into(), place, message: message.into() });
    }
}

/// The first two parts of a key.
pub(super) fn agent_and_kind(key: &str) -> Option<(&str, &str)> {
    let (agent, rest) = key.split_once('.')?;
    let kind = rest.split_once('.').map_or(rest, |(kind, _)| kind);
    (!agent.is_empty() && !kind.is_empty()).then_some((agent, kind))
}

/// A character at the value's edge that looks like a blank or like nothing, and is neither trimmed by Java nor by anybody.
fn invisible_edge(value: &str) -> Option<char> {
    let is_odd =
        |c: &char| *c > ' ' && (c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'));
    value.chars().next().filter(is_odd).or_else(|| value.chars().next_back().filter(is_odd))
}

/// The key of a second property within a value: a word of the same agent's, followed by `=` or `:`.
fn second_property<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    let (agent, kind) = agent_and_kind(key)?;
    if !KINDS.contains(&kind) {
        return None;
    }
    let mut words = value.split_whitespace().skip(1).peekable();
    while let Some(word) = words.next() {
        let (candidate, signed) = match word.find(['=', ':']) {
            Some(at) => (&word[..at], true),
            None => (word, words.peek().is_some_and(|next| next.starts_with(['=', ':']))),
        };
        if signed && agent_and_kind(candidate).is_some_and(|(a, k)| a == agent && KINDS.contains(&k)) {
            return Some(candidate);
        }
    }
    None
}

/// `f1["key"]`, as config filters are called.
fn is_filter_reference(name: &str) -> bool {
    name.ends_with(']') && name.find('[').is_some_and(|at| at > 0)
}

fn unresolved(name: &str, environment: &Environment) -> String {
    let left = "; the text stays as it is";
    if let Some(variable) = name.strip_prefix("env:") {
        return format!(
            "the environment variable {variable} is not set{left} (`${{env:{variable}:-default}}` gives a default)"
        );
    }
    if let Some(property) = name.strip_prefix("sys:") {
        return format!("nothing sets {property} (-D{property}=…){left}");
    }
    if environment.variables.contains_key(name) {
        return format!(
            "`${{{name}}}` means a property of the file, and there is none of that name{left}. For the environment variable \
             write ${{env:{name}}}, or start the agent with -DpropertiesImplementation={}",
            substitution::ENV_RESOLVER
        );
    }
    format!("`${{{name}}}` resolves to nothing{left}")
}

#[cfg(test)]
mod tests;
