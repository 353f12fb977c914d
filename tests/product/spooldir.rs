//! A spooling directory into a file channel: kills in the middle of a file, files that may not be read, readiness.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::lines::{LINE, Random, assert_each_once, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World, eventually, free_port, get};

/// Scenario 14 with a spooling directory for its source; what is kept of it is `more`.
fn config(more: &str) -> String {
    let sink = DURABLE_TAIL.split("a1.sources.r1.batchSize = 1000\n").nth(1).unwrap();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = @DIR@/in\na1.sources.r1.pollDelay = 20\n{more}{sink}"
    )
}

/// Moves a file in whole.
fn drop_in(world: &World, name: &str, bytes: Vec<u8>) {
    fs::write(world.path("being written"), bytes).unwrap();
    fs::rename(world.path("being written"), world.path("in").join(name)).unwrap();
}

/// The names in the directory but the tracker's.
fn names(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.path("in")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".flumespool");
    names.sort();
    names
}

#[test]
fn twenty_kills_in_the_middle_of_files_lose_and_repeat_nothing() {
    const LINES: u64 = 600_000;
    const FILES: u64 = 3;
    let world = World::new(&config(
        "a1.sources.r1.batchSize = 200\na1.sources.r1.deserializer.maxLineLength = 3000\n",
    ));
    let mut random = Random::new();
    let mut in_the_middle = 0;
    let of_file = LINES / FILES;
    for file in 0..FILES {
        drop_in(&world, &format!("{file}.log"), lines(file * of_file, (file + 1) * of_file));
        // The next one is to be younger.
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..20 {
        let before = world.delivered();
        let agent = world.start();
        // Any moment will do, those of the start included; most have some lines behind them.
        let more = random.below(25_000) * LINE as u64;
        let goal = (before + more).min((LINES - 20_000) * LINE as u64);
        eventually(|| world.delivered() >= goal, || format!("{} of {goal} bytes", world.delivered()));
        agent.kill();
        let at = world.delivered() / LINE as u64;
        in_the_middle += u64::from(!at.is_multiple_of(of_file));
    }
    assert!(in_the_middle >= 15, "only {in_the_middle} kills came in the middle of a file");
    let agent = world.start();
    world.wait_delivered(LINES * LINE as u64);
    eventually(
        || names(&world) == ["0.log.COMPLETED", "1.log.COMPLETED", "2.log.COMPLETED"],
        || format!("{:?}", names(&world)),
    );
    agent.stop();
    assert_exact(&world.output(), LINES);
}

#[test]
fn kills_while_small_files_come_and_are_deleted_lose_and_repeat_nothing() {
    const FILES: u64 = 1500;
    let world = World::new(&config("a1.sources.r1.deletePolicy = immediate\n"));
    let mut random = Random::new();
    let mut dropped = 0;
    for _ in 0..10 {
        let agent = world.start();
        for _ in 0..FILES / 10 {
            drop_in(&world, &format!("{dropped}.log"), lines(dropped * 3, dropped * 3 + 3));
            dropped += 1;
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
        agent.kill();
    }
    let agent = world.start();
    world.wait_delivered(FILES * 3 * LINE as u64);
    eventually(|| names(&world).is_empty(), || format!("{:?}", names(&world)));
    agent.stop();
    assert_each_once(&world.output(), 0..FILES * 3);
}

#[test]
fn a_file_that_may_not_be_read_waits_until_it_may_and_is_named() {
    let world = World::new(&config(""));
    for path in ["", "in", "out"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    drop_in(&world, "a.log", lines(100, 200));
    fs::set_permissions(world.path("in/a.log"), fs::Permissions::from_mode(0o000)).unwrap();
    drop_in(&world, "b.log", lines(0, 100));
    let agent = world.start_as_nobody();
    agent.wait_for(&["WARN", &world.path("in/a.log").to_string_lossy(), "denied"]);
    world.wait_delivered(100 * LINE as u64);
    fs::set_permissions(world.path("in/a.log"), fs::Permissions::from_mode(0o644)).unwrap();
    world.wait_delivered(200 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 200);
}

#[test]
fn a_directory_in_which_nothing_can_be_renamed_is_an_error_before_anything_is_read() {
    let world = World::new(&config(""));
    for path in ["", "out"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    drop_in(&world, "a.log", lines(0, 100));
    fs::set_permissions(world.path("in"), fs::Permissions::from_mode(0o555)).unwrap();
    let agent = world.start_as_nobody();
    agent.wait_for(&["ERROR", "r1", "cannot be renamed", &world.path("in").to_string_lossy()]);
    assert_eq!(world.delivered(), 0);
    fs::set_permissions(world.path("in"), fs::Permissions::from_mode(0o777)).unwrap();
    world.wait_delivered(100 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 100);
}

#[test]
fn a_file_that_cannot_be_marked_once_it_is_read_waits_for_that_and_is_not_read_again() {
    let keys = "a1.sources.r1.trackingPolicy = tracker_dir\na1.sources.r1.trackerDir = @DIR@/marks\n";
    let world = World::new(&config(keys));
    fs::create_dir(world.path("marks")).unwrap();
    for path in ["", "in", "out"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(world.path("marks"), fs::Permissions::from_mode(0o555)).unwrap();
    drop_in(&world, "a.log", lines(0, 100));
    let agent = world.start_as_nobody();
    agent.wait_for(&["WARN", "in/a.log", "cannot be renamed or marked"]);
    std::thread::sleep(Duration::from_millis(5));
    drop_in(&world, "b.log", lines(100, 200));
    world.wait_delivered(200 * LINE as u64);
    agent.kill();
    let agent = world.start_as_nobody();
    agent.wait_for(&["in/b.log", "cannot be renamed or marked"]);
    fs::set_permissions(world.path("marks"), fs::Permissions::from_mode(0o777)).unwrap();
    let marked = |name: &str| world.path("marks").join(name).exists();
    eventually(|| marked("a.log.COMPLETED") && marked("b.log.COMPLETED"), || "not marked".into());
    agent.stop();
    assert_exact(&world.output(), 200);
}

#[test]
fn readyz_names_a_file_that_was_set_aside_until_it_is_taken_away() {
    let world = World::new(&config(""));
    let port = free_port();
    let monitoring = format!("-Dflume.monitoring.port={port}");
    let agent = world.start_with(&["-Dflume.monitoring.type=http", &monitoring]);
    let ready = || get(port, "/readyz").unwrap_or_default();
    drop_in(&world, "bad.log", b"one\xff\n".to_vec());
    drop_in(&world, "good.log", lines(0, 100));
    eventually(|| ready().1.contains("in/bad.log.REJECTED"), || format!("{:?}", ready()));
    let (status, body) = ready();
    assert!(status == 503 && body.contains("source r1: troubled: ") && body.contains("no text"), "{body}");
    agent.wait_for(&["ERROR", "in/bad.log", "set aside"]);
    world.wait_delivered(100 * LINE as u64);
    fs::remove_file(world.path("in/bad.log.REJECTED")).unwrap();
    eventually(|| ready().0 == 200, || format!("{:?}", ready()));
    agent.stop();
    assert_exact(&world.output(), 100);
}
