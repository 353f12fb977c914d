//! What the documents promise is shown by tests that exist, and what nobody shall ever do is done nowhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
    for document in ["docs/durability.md", "docs/operations.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let missing: Vec<&str> = named(&text).filter(|name| !tests.contains(*name)).collect();
        assert!(named(&text).count() > 10, "{document} names no tests");
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
    }
}

#[test]
fn every_row_of_what_survives_names_a_test() {
    let mut tables = 0;
    for document in ["docs/durability.md", "docs/operations.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if !line.ends_with("| shown by |") {
                continue;
            }
            tables += 1;
            for row in lines.by_ref().skip(1).take_while(|row| row.starts_with('|')) {
                let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
                assert!(named(last).next().is_some(), "{document}: no test shows: {row}");
            }
        }
    }
    assert!(tables >= 6, "{tables} tables");
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
