//! A short run of the tool against the agent, if it was built.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `flumen` beside the tool; cargo does not build another package's binary for a test.
fn agent() -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_BIN_EXE_flumen-crash"));
    Some(tool.parent()?.join("flumen")).filter(|program| program.is_file())
}

fn run(arguments: &[&str]) -> (Output, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_flumen-crash")).args(arguments).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

#[test]
fn five_kills_of_the_agent_lose_nothing() {
    let Some(agent) = agent() else {
        let why = "there is no `flumen` beside flumen-crash; `cargo build` makes one";
        let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
        eprintln!("skipped: {why}");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let agent = agent.to_str().unwrap();
    let (output, report) = run(&["--cycles", "5", "--seed", "5", "--json", "--dir", dir, "--agent", agent]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&report["cycles"], &report["lost"]), (&5.into(), &0.into()), "{report}");
    assert!(report["acked"].as_u64() > Some(0) && report["acked"] == report["recovered"], "{report}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn an_agent_that_ends_by_itself_is_a_violation_and_its_directory_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let (output, report) =
        run(&["--cycles", "2", "--seed", "9", "--json", "--dir", dir, "--agent", "/bin/false"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!((&report["violation"]["kind"], &report["violation"]["seed"]), (&"failed".into(), &9.into()));
    let kept = Path::new(report["violation"]["directory"].as_str().unwrap());
    assert!(kept.starts_with(directory.path().canonicalize().unwrap()) && kept.join("flume.conf").exists());
}

#[test]
fn an_agent_that_is_older_than_the_tool_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("flumen");
    std::fs::copy("/bin/false", &program).unwrap();
    let warns = || {
        let (output, _) = run(&[
            "--cycles",
            "1",
            "--agent",
            program.to_str().unwrap(),
            "--dir",
            directory.path().to_str().unwrap(),
        ]);
        String::from_utf8_lossy(&output.stderr).contains("is older than this program")
    };
    assert!(!warns(), "it was just made");
    let file = std::fs::File::options().write(true).open(&program).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    assert!(warns());
}

#[test]
fn what_cannot_be_tried_is_not_a_violation() {
    let (output, _) = run(&["--agent", "/nowhere/flumen"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let (output, _) = run(&["--cycles", "0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
