//! What the documents promise is shown by tests that exist, and what nobody shall ever do is done nowhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flumen_api::settings::Kind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut left = vec![root().to_path_buf()];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let skipped =
                name.starts_with('.') || name.starts_with("target") && path.join("CACHEDIR.TAG").exists();
            if !skipped {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// All tests of the workspace that an ordinary run does not leave out.
fn tests() -> BTreeSet<String> {
    sources().iter().flat_map(|(_, text)| tests_in(text)).collect()
}

/// Names of functions that stand below a test's attribute, or in the list of which a suite's macro makes tests.
fn tests_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let is_suite = text.contains("macro_rules!");
    let (mut is_test, mut is_ignored) = (false, false);
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        is_ignored |= line.starts_with("#[ignore");
        if let Some((_, rest)) = line.split_once("fn ") {
            let is_run = std::mem::take(&mut is_test) & !std::mem::take(&mut is_ignored);
            if is_run {
                names.extend(rest.split_once('(').map(|(name, _)| name.to_string()));
            }
        } else if is_suite {
            names.extend(line.strip_suffix(',').map(str::to_string));
        }
    }
    names
}

/// The names in backquotes that look like a test's.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        let plain =
            word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        plain && word.matches('_').count() >= 4 && !word.starts_with("flumen_")
    })
}

#[test]
fn a_test_that_is_ignored_shows_nothing() {
    let text = "#[test]\nfn one() {}\n#[test]\n#[ignore = \"long\"]\nfn two() {}\n#[ignore]\n#[tokio::test]\nasync fn three() {}\n\
                fn four() {}\n#[test]\nfn five() {}\n";
    assert_eq!(Vec::from_iter(tests_in(text)), ["five", "one"]);
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    for document in ["docs/durability.md", "docs/operations.md", "docs/migration.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let missing: Vec<&str> = named(&text).filter(|name| !tests.contains(*name)).collect();
        assert!(named(&text).count() > 10, "{document} names no tests");
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
    }
}

#[test]
fn every_row_that_a_test_shall_show_names_one() {
    // A case of the differential suite, which sees to it that there is such a case.
    let has_case = |text: &str| text.contains("`differential:");
    let mut tables = 0;
    for document in ["docs/durability.md", "docs/operations.md", "docs/migration.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if !line.ends_with("| shown by |") {
                continue;
            }
            tables += 1;
            for row in lines.by_ref().skip(1).take_while(|row| row.starts_with('|')) {
                let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
                assert!(named(last).next().is_some() || has_case(last), "{document}: no test shows: {row}");
            }
        }
    }
    assert!(tables >= 9, "{tables} tables");
}

/// A deviation from Flume is a row of a table whose rows name what shows them.
#[test]
fn no_deviation_is_told_outside_of_the_tables() {
    let text = fs::read_to_string(root().join("docs/migration.md")).unwrap();
    for title in ["## Better", "## Different", "## Refused"] {
        let section = text.split_once(title).unwrap().1.split("\n## ").next().unwrap();
        let lines = section.lines().skip(1);
        let loose: Vec<&str> = lines
            .clone()
            .filter(|line| line.starts_with(['-', '*', ' ']) || line.starts_with("1."))
            .collect();
        assert!(loose.is_empty(), "{title}: {loose:#?}");
        assert_eq!(lines.filter(|line| line.ends_with("| shown by |")).count(), 1, "{title}");
    }
}

/// Keys that no test sets: they may do anything. Who writes a test for one takes it out, and nobody puts one in.
const UNTESTED: &[&str] = &[
    "sink hdfs: hdfs.closeTries",
    "sink hdfs: hdfs.emptyInUseSuffix",
    "sink hdfs: hdfs.headerFallback",
    "sink hdfs: hdfs.journal",
    "sink hdfs: hdfs.onMissingTimestamp",
    "sink hdfs: writeFormat.",
];

#[test]
fn every_key_occurs_in_a_test() {
    let is_test_file = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
        path.contains("tests") || path.contains("testing")
    };
    let mut texts: Vec<String> = Vec::new();
    for (path, text) in sources() {
        match is_test_file(&path) {
            // The list above sets nothing.
            true if path.ends_with("promises.rs") => {}
            true => texts.push(text),
            // Tests stand at the end of a file.
            false => texts.extend(text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_string())),
        }
    }
    let scenarios = fs::read_dir(root().join("tests/scenarios")).unwrap();
    texts.extend(scenarios.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()));
    let text = texts.concat();
    let occurs = |key: &str| {
        let mut places = text.match_indices(key).map(|(at, _)| (at, at + key.len()));
        let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        places.any(|(from, to)| {
            !is_letter(text.as_bytes()[..from].last())
                && (key.ends_with('.') || !is_letter(text.as_bytes().get(to)))
        })
    };
    let registry = flumen::standard_registry();
    let mut missing = BTreeSet::new();
    let kinds = [
        Kind::Source,
        Kind::Channel,
        Kind::Sink,
        Kind::Interceptor,
        Kind::ValueSerializer,
        Kind::Selector,
        Kind::Processor,
        Kind::Serializer,
    ];
    for spec in kinds.iter().flat_map(|kind| registry.of(*kind)).filter(|spec| spec.is_built()) {
        for key in spec.keys.iter().filter(|key| !key.name.starts_with("org.apache.flume.")) {
            let whole = format!("{} {}: {}", spec.kind(), spec.alias, key.name);
            if !occurs(key.name) && !UNTESTED.contains(&&*whole) {
                missing.insert(whole);
            }
        }
    }
    assert!(missing.is_empty(), "keys that no test sets: {missing:#?}");
}

#[test]
fn only_a_command_that_the_user_named_is_ever_run_and_never_by_a_shell() {
    let shipped = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let library =
            ["src/", "engine/", "sources/", "sinks/", "wal/"].iter().any(|room| path.starts_with(room));
        library && !path.contains("/tests") && !path.contains("testing")
    };
    let mut starts: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            // Tests stand at the end of a file.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            shipped(path)
                && (code.contains("Command::new") || code.contains("execv") || code.contains("libc::system"))
        })
        .map(|(path, _)| path.strip_prefix(root()).unwrap().to_path_buf())
        .collect();
    starts.sort();
    let known = [
        // A config filter of type `external`, which is a command and its words.
        "engine/src/config/filters/command.rs",
        // This very program, which ends what the command below has started when the agent is killed.
        "sources/src/exec/guard.rs",
        // The command of an `exec` source: its words, behind the shell that the user named, if any.
        "sources/src/exec/process.rs",
    ];
    assert_eq!(starts, known.map(Path::new));
}
