//! Several data directories: what is delivered is the same, whatever befalls one of them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::agent::{Agent, flumen};
use crate::lines::{LINE, Random, Writer, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World, eventually};

const ONE: &str = "c1.dataDirs = @DIR@/data";
const TWO: &str = "c1.dataDirs = @DIR@/data, @DIR@/more";

/// Scenario 14 with these data directories, and segments so small that there are many.
fn config(dirs: &str) -> String {
    format!("{}a1.channels.c1.maxFileSize = 2097152\n", DURABLE_TAIL.replace(ONE, dirs))
}

/// The same with a sink whose directory is not there yet.
fn backlog(dirs: &str) -> String {
    config(dirs).replace("@DIR@/out", "@DIR@/later")
}

/// Waits until the channel has all of so many lines: then tail's position is that far.
fn wait_taken_in(world: &World, agent: &Agent, count: u64) {
    agent.wait_for(&["events to deliver"]);
    let position = || fs::read_to_string(world.path("position.json")).unwrap_or_default();
    let wanted = format!("\"pos\":{}", count * LINE as u64);
    eventually(|| position().contains(&wanted), || format!("{} of {wanted}", position()));
}

/// Pieces of segments in a directory.
fn pieces(world: &World, dir: &str) -> usize {
    let entries = fs::read_dir(world.path(dir).join("flumen")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("segment-") && name.ends_with(".of-2")).count()
}

/// Runs `flumen wal` to its end, which is to be good.
fn wal(world: &World, arguments: &[&str]) -> String {
    let mut command: Command = flumen(world.root());
    let output = command.arg("wal").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn kills_of_an_agent_with_two_data_directories_lose_and_repeat_nothing() {
    let world = World::new(&config(TWO));
    let mut random = Random::new();
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), None);
    for _ in 0..8 {
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(450)));
        agent.kill();
    }
    let agent = world.start();
    world.wait_delivered(writer.written() * LINE as u64);
    let count = writer.finish();
    world.wait_delivered(count * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), count);
    assert!(pieces(&world, "data") > 0 && pieces(&world, "data") == pieces(&world, "more"));
}

#[test]
fn a_data_directory_that_is_empty_and_should_not_be_is_refused_and_stays_as_it_is() {
    const LINES: u64 = 60_000;
    let world = World::new(&backlog(TWO));
    world.append("in/a.log", lines(0, LINES));
    let agent = world.start();
    wait_taken_in(&world, &agent, LINES);
    agent.kill();
    for gone in ["more", "data"] {
        fs::rename(world.path(gone), world.path("unmounted")).unwrap();
        fs::create_dir(world.path(gone)).unwrap();
        let dirs = ["data", "more", "checkpoint"];
        let before = dirs.map(|dir| world.files_below(dir));
        let agent = world.start();
        let said = agent.wait_for(&["part", "of the log that begins in"]);
        agent.kill();
        assert!(said.contains(&*world.path("data").join("flumen").to_string_lossy()), "{said}");
        assert!(said.contains("mount"), "{said}");
        assert!(dirs.map(|dir| world.files_below(dir)) == before, "{gone} is refused and files changed");
        fs::remove_dir(world.path(gone)).unwrap();
        fs::rename(world.path("unmounted"), world.path(gone)).unwrap();
    }
    // Named in another order, they are what they were.
    world.configure(&config("c1.dataDirs = @DIR@/more, @DIR@/data"));
    let agent = world.start();
    world.wait_delivered(LINES * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), LINES);
}

#[test]
fn a_directory_that_is_added_to_a_backlog_and_left_out_again_keeps_the_order() {
    const LINES: u64 = 60_000;
    let world = World::new(&backlog(ONE));
    let mut written = 0;
    let mut more = |world: &World, agent: &Agent| {
        world.append("in/a.log", lines(written, written + LINES));
        written += LINES;
        wait_taken_in(world, agent, written);
    };
    let agent = world.start();
    more(&world, &agent);
    agent.kill();
    world.configure(&backlog(TWO));
    let agent = world.start();
    more(&world, &agent);
    agent.kill();
    assert!(pieces(&world, "data") > 2 && pieces(&world, "data") == pieces(&world, "more"));
    // Either directory leads the tools to the other.
    for dir in ["data", "more"] {
        assert!(wal(&world, &["verify", dir]).ends_with("clean\n"));
        assert!(wal(&world, &["inspect", dir]).contains(&format!("backlog    {} events", 2 * LINES)));
        assert!(wal(&world, &["dump", dir]).contains("commit    events 0.."));
        assert!(wal(&world, &["repair", dir]).contains("nothing to repair"));
    }
    // Left out, it is read until nothing of it is needed.
    world.configure(&backlog(ONE));
    let agent = world.start();
    more(&world, &agent);
    agent.kill();
    assert!(pieces(&world, "more") > 2);
    world.configure(&config(ONE));
    let agent = world.start();
    world.wait_delivered(written * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), written);
    // One of the next starts finds that nothing is: on a busy machine the first one is stopped before its keeper has looked.
    for _ in 0..5 {
        if world.path("more/flumen/lanes").exists() {
            world.start().started().stop();
        }
    }
    assert!(!world.path("more/flumen/lanes").exists() && pieces(&world, "more") == 0);
    fs::remove_dir_all(world.path("more")).unwrap();
    let agent = world.start();
    world.append("in/a.log", lines(written, written + 1));
    world.wait_delivered((written + 1) * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), written + 1);
}

#[test]
fn a_damaged_piece_is_found_set_aside_and_given_up_by_a_repair() {
    const LINES: u64 = 60_000;
    let world = World::new(&backlog(TWO));
    world.append("in/a.log", lines(0, LINES));
    let agent = world.start();
    wait_taken_in(&world, &agent, LINES);
    agent.stop();
    let piece = world.path("more/flumen/segment-0000000000000001.log.of-2");
    let mut bytes = fs::read(&piece).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&piece, bytes).unwrap();
    let verified = flumen(world.root()).args(["wal", "verify", "more"]).output().unwrap();
    assert!(!verified.status.success() && String::from_utf8_lossy(&verified.stdout).contains("damage: "));
    assert!(wal(&world, &["repair", "data"]).ends_with("repaired\n"));
    assert!(wal(&world, &["verify", "data"]).ends_with("clean\n"));
    assert_eq!(fs::read_dir(world.path("data/flumen/quarantine")).unwrap().count(), 2);
}
