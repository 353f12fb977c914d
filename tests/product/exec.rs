//! Commands: run again when they end, and never there without their agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lines::{LINE, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World, eventually};

/// Scenario 14 with a command for its source.
fn config(command: &str, more: &str) -> String {
    let sink = DURABLE_TAIL.split("a1.sources.r1.batchSize = 1000\n").nth(1).unwrap();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = exec\n\
         a1.sources.r1.command = {command}\n{more}{sink}"
    )
}

/// A number of seconds that no other process sleeps.
fn own_seconds(offset: u32) -> String {
    format!("{}.5", 1_000_000 + std::process::id() * 10 + offset)
}

/// How many processes have `word` as an argument.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let has = |line: Vec<u8>| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes());
    entries.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(has)).count()
}

#[test]
fn a_command_that_ends_is_run_again_and_each_of_its_lines_arrives() {
    let world = World::new(&config(
        "cat @DIR@/input",
        "a1.sources.r1.restart = true\na1.sources.r1.restartThrottle = 50\n",
    ));
    fs::write(world.path("input"), lines(0, 1000)).unwrap();
    let agent = world.start();
    // The same lines once for each run.
    world.wait_delivered(3000 * LINE as u64);
    agent.stop();
    let output = world.output();
    for run in output.chunks_exact(1000 * LINE) {
        assert_exact(run, 1000);
    }
    assert_eq!(output.len() % (1000 * LINE), 0, "a run came in part");
}

#[test]
fn a_command_that_is_not_there_yet_is_run_once_it_is() {
    let world = World::new(&config("@DIR@/late", ""));
    let agent = world.start();
    agent.wait_for(&["ERROR", "/late"]);
    let script = world.path("script");
    fs::write(&script, "#!/bin/sh\necho one\necho two\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&script, world.path("late")).unwrap();
    world.wait_delivered(8);
    agent.stop();
    assert_eq!(world.output(), b"one\ntwo\n");
}

#[test]
fn a_command_dies_with_an_agent_that_is_killed() {
    let seconds = own_seconds(0);
    let world = World::new(&config(&format!("sleep {seconds}"), ""));
    let agent = world.start();
    eventually(|| processes_with(&seconds) == 1, || "the command does not run".into());
    agent.kill();
    eventually(|| processes_with(&seconds) == 0, || "the command outlives its agent".into());
}

#[test]
fn a_shells_whole_pipeline_dies_with_an_agent_that_is_killed() {
    let seconds = own_seconds(2);
    let command = format!("sleep {seconds} | sleep {seconds} & sleep {seconds}; true");
    let world = World::new(&config(&command, "a1.sources.r1.shell = /bin/sh -c\n"));
    let agent = world.start();
    eventually(|| processes_with(&seconds) == 3, || "the command does not run".into());
    agent.kill();
    eventually(|| processes_with(&seconds) == 0, || "processes outlive their agent".into());
}

#[test]
fn a_command_that_has_ended_leaves_no_guard_behind() {
    let world =
        World::new(&config("true", "a1.sources.r1.restart = true\na1.sources.r1.restartThrottle = 1\n"));
    let agent = world.start();
    eventually(|| agent.said().matches("`true` ended").count() >= 20, || "it does not run again".into());
    let children = format!("/proc/{0}/task", agent.pid());
    let count = || {
        let tasks = fs::read_dir(&children).unwrap().flatten();
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
        tasks.map(of).map(|list| list.split_whitespace().count()).sum::<usize>()
    };
    // The command and its guard, at one moment or the other.
    assert!(count() <= 2, "{} processes", count());
    agent.stop();
}

#[test]
fn a_stop_ends_a_shells_whole_pipeline() {
    let seconds = own_seconds(1);
    let command = format!("sleep {seconds} | sleep {seconds} & sleep {seconds}");
    let world = World::new(&config(&command, "a1.sources.r1.shell = /bin/sh -c\n"));
    let agent = world.start().started();
    eventually(|| processes_with(&seconds) == 3, || "the command does not run".into());
    agent.stop();
    eventually(|| processes_with(&seconds) == 0, || "processes are left".into());
}

#[test]
fn a_stop_in_the_middle_of_the_output_keeps_what_was_read() {
    let world = World::new(&config("cat @DIR@/input", ""));
    let input = lines(0, 100_000);
    fs::write(world.path("input"), &input).unwrap();
    let agent = world.start();
    world.wait_delivered(LINE as u64);
    agent.stop();
    // What the sink had not taken when it stopped is in the channel.
    world.configure(&config("true", ""));
    let agent = world.start();
    agent.wait_for(&["events to deliver"]);
    agent.wait_for(&["`true` ended"]);
    agent.stop();
    let output = world.output();
    // The command may have been ended within a line.
    let read = &output[..output.len() - 1];
    assert!(input.starts_with(read), "{} bytes of other lines", output.len());
}
