//! SIGKILL while lines flow, and after they have.

use std::time::Duration;

use crate::lines::{LINE, Random, Writer, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World};

#[test]
fn ten_kills_under_a_log_that_grows_at_full_speed_lose_and_repeat_nothing() {
    let world = World::new(DURABLE_TAIL);
    let mut random = Random::new();
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), None);
    for _ in 0..10 {
        let agent = world.start();
        // Any moment will do, those of the start included.
        std::thread::sleep(Duration::from_millis(random.below(450)));
        agent.kill();
    }
    let agent = world.start();
    // It is still growing when the last agent has it in its hands.
    world.wait_delivered(writer.written() * LINE as u64);
    let count = writer.finish();
    world.wait_delivered(count * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), count);
}

/// Delivers `count` lines, kills the agent `quiet` later, starts it again and appends one line.
fn killed_after_draining(count: u64, quiet: Duration) -> String {
    let world = World::new(DURABLE_TAIL);
    let agent = world.start();
    world.append("in/a.log", lines(0, count));
    world.wait_delivered(count * LINE as u64);
    std::thread::sleep(quiet);
    agent.kill();

    let agent = world.start();
    agent.wait_for(&["events to deliver"]);
    world.append("in/a.log", lines(count, count + 1));
    world.wait_delivered((count + 1) * LINE as u64);
    let said = agent.stop();
    assert_exact(&world.output(), count + 1);
    said
}

#[test]
fn a_drained_agent_killed_a_second_later_redelivers_nothing() {
    let said = killed_after_draining(200_000, Duration::from_secs(1));
    assert!(said.contains(": 0 events to deliver"), "{said}");
}

#[test]
fn a_drained_agent_killed_at_once_repeats_nothing_in_the_files() {
    for quiet in [60, 0] {
        killed_after_draining(20_000, Duration::from_millis(quiet));
    }
}
