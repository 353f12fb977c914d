//! A calendar clock that jumps, as after a wrong hardware clock is corrected. Files keep the machine's time.

use std::fs;
use std::process::Command;

use crate::agent::Agent;
use crate::lines::{LINE, assert_each_once, lines};
use crate::mounts::skipped;
use crate::world::{DURABLE_TAIL, World, eventually};

const DAY: i64 = 86_400;

/// What happens to a file once it is read. What the agent knows of it must not count for what comes after it.
enum End {
    Rename,
    Remove,
    Cut,
}

/// Sets the clock of the agent's process, at once.
fn set(world: &World, seconds: i64) {
    fs::write(world.path("clock.new"), seconds.to_string()).unwrap();
    fs::rename(world.path("clock.new"), world.path("clock")).unwrap();
}

/// Builds what stands between the agent and its clock.
pub fn build(world: &World) -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/product/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(world.path("clock.so"))
        .arg(source)
        .status()
        .is_ok_and(|status| status.success());
    if !built {
        skipped("there is no C compiler to build a clock with");
    }
    built
}

fn start(world: &World) -> Agent {
    let root = world.root().display();
    world.start_after(&format!("export LD_PRELOAD={root}/clock.so FLUMEN_CLOCK={root}/clock"), &[]).started()
}

#[test]
fn a_clock_that_jumps_both_ways_loses_and_repeats_nothing_through_kills_and_rotation() {
    // Names by the time of rolling come again when the time does.
    let naming = "a1.sinks.k1.sink.pathManager = rolltime\na1.sources.r1.writePosInterval = 50\n";
    let config = DURABLE_TAIL.replace("rollInterval = 0", "rollInterval = 1");
    let world = World::new(&format!("{config}{naming}"));
    if !build(&world) {
        return;
    }
    set(&world, 0);
    let mut agent = start(&world);
    let mut written = 0;
    let turns = [
        (0, End::Rename),
        (400 * DAY, End::Cut),
        (-DAY, End::Cut),
        (-20 * 365 * DAY, End::Remove),
        (-20 * 365 * DAY, End::Cut),
        (1, End::Rename),
        (0, End::Remove),
    ];
    for (turn, (seconds, end)) in turns.into_iter().enumerate() {
        set(&world, seconds);
        world.append("in/a.log", lines(written, written + 2000));
        written += 2000;
        world.wait_delivered(written * LINE as u64);
        let year =
            |said: &str| said.lines().last().unwrap_or_default()[..4].parse::<i32>().unwrap_or_default();
        if seconds == 400 * DAY {
            // The clock is really another one.
            agent.signal("QUIT");
            agent.wait_for(&["state:"]);
            let said = agent.said();
            let dump = said.lines().rfind(|line| line.contains("state:")).unwrap();
            let first = year(said.lines().next().unwrap());
            assert!(year(dump) > first, "the clock did not jump: {dump}");
        }
        // A position that had not moved would show in the lines that come again.
        agent.kill();
        agent = start(&world);
        let path = world.path("in/a.log");
        match end {
            End::Rename => fs::rename(path, world.path(&format!("in/old-{turn}.log"))).unwrap(),
            End::Remove => fs::remove_file(path).unwrap(),
            End::Cut => fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
        }
    }
    eventually(|| world.delivered() >= written * LINE as u64, || format!("{} bytes", world.delivered()));
    agent.stop();
    assert_each_once(&all(&world), 0..written);
}

/// All output, in any order: the names say nothing about it here.
fn all(world: &World) -> Vec<u8> {
    let entries = fs::read_dir(world.path("out")).unwrap();
    entries.flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}
