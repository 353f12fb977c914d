//! `${…}` in values, as Flume 1.11 resolves it (commons-text's `StringSubstitutor` over the file's properties).
//!
//! ```text
//! ${env:NAME}            environment variable
//! ${sys:name}            what `-Dname=…` set on the command line
//! ${date:yyyy-MM-dd}     now, in Java's SimpleDateFormat letters (the usual ones)
//! ${other.full.key}      value of another property, resolved
//! ${x:-text}             `text` if x resolves to nothing; works after any of the above
//! ${${sys:env}_BIND}     the inner one first
//! $${x}                  the literal text ${x}
//! ${HOME}                from the environment, only with
//!                        -DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties
//! ```
//!
//! What resolves to nothing and has no default stays as it is written. Flume resolves the properties in the order of a
//! hash set, so that a reference to a property may find it resolved or not; here it is always resolved. A property that
//! needs itself is an error of every property of the circle and of all that refer to it; the others stand.
//!
//! Work is bounded: nesting, the length of a chain, the size of a value (`a=${b}${b}`, `b=${c}${c}`, … doubles
//! with each line) and of all values have limits, all reported as errors.

use std::collections::{BTreeMap, BTreeSet};

mod dates;

/// The value of `propertiesImplementation` that makes plain `${NAME}` mean the environment.
pub const ENV_RESOLVER: &str = "org.apache.flume.node.EnvVarResolverProperties";

/// Deepest `${${…}}`, and longest chain of properties that refer to the next.
const DEPTH_MAX: usize = 64;

/// Largest resolved value. Far above any path or command, far below what memory holds.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Largest sum of the values that have references. One large value may be referred to on every line.
const RESOLVED_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;

/// What a configuration sees of the process that reads it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// What `-Dname=value` set.
    pub system: BTreeMap<String, String>,
    /// Whether config filters of type `external` may run their commands. Off by default, for those who read
    /// configurations that they do not trust; [`of_process`](Self::of_process) has it on.
    pub runs_commands: bool,
}

impl Environment {
    /// This process's environment with the command line's `-D` settings.
    pub fn of_process(system: BTreeMap<String, String>) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Self { variables, system, runs_commands: true }
    }

    /// Whether plain `${NAME}` means an environment variable.
    pub fn resolves_plain_names(&self) -> bool {
        self.system.get("propertiesImplementation").is_some_and(|class| class == ENV_RESOLVER)
    }
}

/// All properties after substitution.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The text of every property that could be resolved.
    pub values: BTreeMap<String, String>,
    /// Why the others could not.
    pub failures: BTreeMap<String, String>,
    /// Names that were left as they are, by property.
    pub unresolved: BTreeMap<String, BTreeSet<String>>,
    /// Properties that another one refers to.
    pub referred: BTreeSet<String>,
}

/// Resolves every value of `raw`.
pub fn resolve(raw: &BTreeMap<String, String>, environment: &Environment) -> Resolved {
    let mut resolver = Resolver {
        raw,
        environment,
        done: BTreeMap::new(),
        stack: Vec::new(),
        bytes: 0,
        unresolved: BTreeMap::new(),
        referred: BTreeSet::new(),
    };
    for key in raw.keys() {
        resolver.property(key);
    }
    let mut resolved =
        Resolved { unresolved: resolver.unresolved, referred: resolver.referred, ..Resolved::default() };
    for (key, result) in resolver.done {
        match result {
            Ok(value) => resolved.values.insert(key, value),
            Err(why) => resolved.failures.insert(key, why),
        };
    }
    resolved
}

struct Resolver<'a> {
    raw: &'a BTreeMap<String, String>,
    environment: &'a Environment,
    done: BTreeMap<String, Result<String, String>>,
    /// What is being resolved now: each needs the next.
    stack: Vec<String>,
    /// Sum of the resolved values that have references.
    bytes: usize,
    unresolved: BTreeMap<String, BTreeSet<String>>,
    referred: BTreeSet<String>,
}

impl Resolver<'_> {
    /// The property's resolved value; `None` if there is no such property.
    fn property(&mut self, key: &str) -> Option<Result<String, String>> {
        if let Some(result) = self.done.get(key) {
            return Some(result.clone());
        }
        let text = self.raw.get(key)?;
        let mut result = self.guarded(key, text);
        if let Some(value) = result.as_ref().ok().filter(|_| text.contains("${")) {
            self.bytes += value.len();
            if self.bytes > RESOLVED_BYTES_MAX {
                let what = "makes all values together grow beyond";
                result = Err(format!("{what} {RESOLVED_BYTES_MAX} bytes when their references are resolved"));
            }
        }
        // A failure on the way of another's resolution is not final: the chain may have been too long only from there.
        if result.is_ok() || self.stack.is_empty() {
            self.done.insert(key.to_string(), result.clone());
        }
        Some(result)
    }

    /// Expands `text`, the value of `name`, unless we are in the middle of doing just that.
    fn guarded(&mut self, name: &str, text: &str) -> Result<String, String> {
        if let Some(at) = self.stack.iter().position(|other| other == name) {
            let circle: Vec<_> = self.stack[at..].iter().map(|name| format!("${{{name}}}")).collect();
            return Err(format!("refers to itself: {} → ${{{name}}}", circle.join(" → ")));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(format!("a chain of more than {DEPTH_MAX} references"));
        }
        self.stack.push(name.to_string());
        let result = self.expand(text, 0);
        self.stack.pop();
        result
    }

    fn expand(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if !text.contains("${") {
            return Ok(text.to_string());
        }
        if depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} nested ${{…}}"));
        }
        let ends = matching_ends(text);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let start = at + found;
            let inner = start + 2;
            match ends.get(&start) {
                None => out.push_str(&text[at..inner]),
                Some(_) if start > at && text.as_bytes()[start - 1] == b'$' => {
                    out.push_str(&text[at..start - 1]);
                    out.push_str("${");
                }
                Some(&end) => {
                    out.push_str(&text[at..start]);
                    match self.reference(&text[inner..end], depth)? {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(&text[start..=end]),
                    }
                    at = end + 1;
                    self.check_size(&out)?;
                    continue;
                }
            }
            at = inner;
        }
        out.push_str(&text[at..]);
        self.check_size(&out)?;
        Ok(out)
    }

    fn check_size(&self, out: &str) -> Result<(), String> {
        if out.len() <= VALUE_BYTES_MAX {
            return Ok(());
        }
        Err(format!("grows beyond {VALUE_BYTES_MAX} bytes when its references are resolved"))
    }

    /// What stands between the braces, default included.
    fn reference(&mut self, expression: &str, depth: usize) -> Result<Option<String>, String> {
        let expression = self.expand(expression, depth + 1)?;
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (expression.as_str(), None),
        };
        if let Some(value) = self.lookup(name)? {
            return Ok(Some(value));
        }
        if let (None, Some(key)) = (default, self.stack.first()) {
            self.unresolved.entry(key.clone()).or_default().insert(name.to_string());
        }
        Ok(default.map(str::to_string))
    }

    fn lookup(&mut self, name: &str) -> Result<Option<String>, String> {
        let environment = self.environment;
        let mut key = name;
        if let Some((prefix, rest)) = name.split_once(':') {
            let found = match prefix.to_ascii_lowercase().as_str() {
                "env" => environment.variables.get(rest).cloned(),
                "sys" => environment.system.get(rest).cloned(),
                "date" => dates::now(rest),
                _ => None,
            };
            if let Some(value) = found {
                return self.guarded(name, &value).map(Some);
            }
            // commons-text asks the properties for what follows an unknown or fruitless prefix.
            key = rest;
        }
        if let Some(result) = self.property(key) {
            self.referred.insert(key.to_string());
            return result.map(Some);
        }
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if plain && environment.resolves_plain_names() {
            return Ok(environment.variables.get(name).cloned());
        }
        Ok(None)
    }
}

/// For each `${` that is closed: where its `}` stands.
fn matching_ends(text: &str) -> BTreeMap<usize, usize> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut ends = BTreeMap::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"${") {
            open.push(at);
            at += 2;
            continue;
        }
        if bytes[at] == b'}'
            && let Some(start) = open.pop()
        {
            ends.insert(start, at);
        }
        at += 1;
    }
    ends
}

#[cfg(test)]
mod tests;
