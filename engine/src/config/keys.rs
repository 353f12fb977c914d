//! Keys that no component reads: which they are, and which name was probably meant.
//!
//! Flume accepts any key in silence, so a mistyped one costs its author an evening. Here it is a warning.

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Key, Kind, Problems};

use super::advice;

/// Keys that all components of a kind have; those that end in `.` are families.
fn common(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Source => &[
            "type",
            "channels",
            "selector.",
            "interceptors",
            "interceptors.",
            "backoffSleepIncrement",
            "maxBackoffSleep",
        ],
        Kind::Sink => &["type", "channel", "deadLetter.type", "deadLetter.channel", "deadLetter.file"],
        Kind::Channel
        | Kind::Interceptor
        | Kind::Selector
        | Kind::Processor
        | Kind::ValueSerializer
        | Kind::Serializer => &["type"],
        Kind::SinkSelector => &[],
    }
}

/// Warns of every key of `config` that neither its type nor its kind knows, and of values that are known mistakes.
pub(super) fn check(config: &ComponentConfig, spec: &Spec, problems: &mut Problems) {
    advice::check_values(config, problems);
    let known = common(config.kind);
    for key in config.values.keys() {
        if let Some(advice) = advice::for_key(config, spec, key) {
            problems.warn(config, key, advice);
            continue;
        }
        let is_common = known.iter().any(|name| is(name, key));
        if is_common || spec.keys.is_empty() || spec.keys.iter().any(|known| known.matches(key)) {
            continue;
        }
        let names = spec.keys.iter().flat_map(names_of).chain(known.iter().copied());
        let type_name = config.get("type").unwrap_or(spec.alias);
        let meant = match nearest(key, names) {
            Some(name) if is_below(name, key) => format!("; its prefix is missing: `{name}` is meant"),
            Some(name) => format!("; did you mean `{name}`?"),
            None => String::new(),
        };
        problems.warn(
            config,
            key,
            format!("the {} type {type_name} has no such key: ignored{meant}", config.kind),
        );
    }
}

fn is(name: &str, key: &str) -> bool {
    if name.ends_with('.') { key.starts_with(name) } else { key == name }
}

fn names_of(key: &'static Key) -> impl Iterator<Item = &'static str> {
    std::iter::once(key.name).chain(key.aliases.iter().copied())
}

/// Whether `name` is `key` behind a prefix, as `hdfs.path` is `path`.
fn is_below(name: &str, key: &str) -> bool {
    name.strip_suffix(key).is_some_and(|prefix| prefix.ends_with('.'))
}

/// The name that `key` was probably meant to be, if one is near: the same letters in another case, the same with a prefix
/// before it, or few letters away.
pub(super) fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let names: Vec<_> = names.collect();
    if let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(key)) {
        return Some(name);
    }
    if let Some(name) = names.iter().find(|name| is_below(name, key)) {
        return Some(name);
    }
    if key.len() > LENGTH_MAX {
        return None;
    }
    let lower = key.to_ascii_lowercase();
    let (name, distance) = names
        .into_iter()
        .filter(|name| name.len() <= LENGTH_MAX)
        .map(|name| (name, distance(&lower, &name.to_ascii_lowercase())))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= (key.len() / 4).max(1)).then_some(name)
}

/// What is longer is not a mistyped name. Comparing two texts takes the product of their lengths.
const LENGTH_MAX: usize = 256;

/// Letters to insert, remove, replace, or exchange with a neighbour to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_find_their_neighbour() {
        let names = ["sink.directory", "sink.rollInterval", "batchSize", "positionFile", "filegroups."];
        let near = |key: &str| nearest(key, names.iter().copied());
        assert_eq!(near("directory"), Some("sink.directory"));
        assert_eq!(near("sink.rollinterval"), Some("sink.rollInterval"));
        assert_eq!(near("batchsize"), Some("batchSize"));
        assert_eq!(near("bacthSize"), Some("batchSize"));
        assert_eq!(near("positonFile"), Some("positionFile"));
        assert_eq!(near("fileHeader"), None);
        assert_eq!(near("x"), None);
    }

    #[test]
    fn a_long_text_is_compared_with_nothing() {
        let (long, other) = ("x".repeat(1 << 20), format!("{}y", "x".repeat(1 << 20)));
        let started = std::time::Instant::now();
        assert_eq!(nearest(&long, ["sinks", &other].into_iter()), None);
        // Comparing them letter by letter takes hours.
        assert!(started.elapsed() < std::time::Duration::from_secs(60));
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("same", "same"), 0);
    }
}
