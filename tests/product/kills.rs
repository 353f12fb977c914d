//! SIGKILL while lines flow, and after they have.

use std::fs;
use std::time::Duration;

use crate::lines::{LINE, Random, Writer, assert_exact, lines};
use crate::netcat::{ask, connect};
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, output};

/// Kills an agent of `config` again and again while a log grows; every one of `outputs` has to be the log in the end.
fn killed_while_the_log_grows(config: &str, kills: usize, outputs: &[&str]) {
    let world = World::new(config);
    let mut random = Random::new();
    let outputs: Vec<_> = outputs.iter().map(|name| world.path(name)).collect();
    let writer = Writer::start(world.path("in/a.log"), outputs[0].clone(), None);
    let wait = |count: u64| {
        for out in &outputs {
            let state = || format!("{}: {} bytes of {count} lines", out.display(), delivered(out));
            eventually(|| delivered(out) >= count * LINE as u64, state);
        }
    };
    for _ in 0..kills {
        let agent = world.start();
        // Any moment will do, those of the start included.
        std::thread::sleep(Duration::from_millis(random.below(450)));
        agent.kill();
    }
    let agent = world.start();
    // It is still growing when the last agent has it in its hands.
    wait(writer.written());
    let count = writer.finish();
    wait(count);
    agent.stop();
    for out in &outputs {
        assert_exact(&output(out), count);
    }
}

#[test]
fn ten_kills_under_a_log_that_grows_at_full_speed_lose_and_repeat_nothing() {
    killed_while_the_log_grows(DURABLE_TAIL, 10, &["out"]);
}

#[test]
fn kills_while_output_files_roll_and_batches_are_small_lose_and_repeat_nothing() {
    let config = DURABLE_TAIL
        .replace("rollInterval = 0", "rollInterval = 1")
        .replace("r1.batchSize = 1000", "r1.batchSize = 100");
    killed_while_the_log_grows(&config, 8, &["out"]);
}

#[test]
fn kills_between_two_channels_of_one_source_lose_and_repeat_nothing_in_either() {
    let config = DURABLE_TAIL
        .replace("a1.channels = c1", "a1.channels = c1 c2")
        .replace("a1.sinks = k1", "a1.sinks = k1 k2")
        .replace("a1.sources.r1.channels = c1", "a1.sources.r1.channels = c1 c2");
    let more = "a1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\n\
                a1.channels.c2.dataDirs = @DIR@/2/data\na1.sinks.k2.type = file_roll\n\
                a1.sinks.k2.sink.directory = @DIR@/2/out\na1.sinks.k2.sink.rollInterval = 0\n\
                a1.sinks.k2.channel = c2\n";
    killed_while_the_log_grows(&format!("{config}{more}"), 8, &["out", "2/out"]);
}

/// [`DURABLE_TAIL`] with another channel, of these keys.
fn with_channel(keys: &[&str]) -> String {
    let others = DURABLE_TAIL.lines().filter(|line| !line.starts_with("a1.channels.c1."));
    let keys = keys.iter().map(|key| format!("a1.channels.c1.{key}"));
    others.map(str::to_string).chain(keys).map(|line| format!("{line}\n")).collect()
}

#[test]
fn kills_with_the_channel_in_a_database_lose_and_repeat_nothing() {
    let config = with_channel(&["type = jdbc", "driver.url = jdbc:sqlite:@DIR@/c1.sqlite"]);
    killed_while_the_log_grows(&config, 8, &["out"]);
}

#[test]
fn kills_of_a_spillable_channel_that_has_no_memory_lose_and_repeat_nothing() {
    let keys = [
        "type = spillablememory",
        "memoryCapacity = 0",
        "overflowCapacity = 2500000",
        "checkpointDir = @DIR@/checkpoint",
        "dataDirs = @DIR@/data",
    ];
    killed_while_the_log_grows(&with_channel(&keys), 6, &["out"]);
}

#[test]
fn what_a_spillable_channel_has_spilled_comes_out_once_and_in_order_after_kills() {
    let (port, mut count) = (free_port(), 0);
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\na1.channels.c1.type = spillablememory\na1.channels.c1.memoryCapacity = 100\n\
         a1.channels.c1.overflowTimeout = 0\na1.channels.c1.checkpointDir = @DIR@/checkpoint\n\
         a1.channels.c1.dataDirs = @DIR@/data\na1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n"
    );
    let world = World::new(&config);
    // The sink does not start, so all stays in the channel.
    fs::remove_dir(world.path("out")).unwrap();
    let mut spilled = String::new();
    for _ in 0..3 {
        let agent = world.start();
        let mut stream = connect(&agent, port);
        for place in 0..300 {
            let line = format!("line {count}");
            assert_eq!(ask(&mut stream, &line), "OK\n");
            // The first ones are in memory, which is gone with the process.
            if place >= 100 {
                spilled += &format!("{line}\n");
            }
            count += 1;
        }
        agent.kill();
    }
    fs::create_dir(world.path("out")).unwrap();
    let agent = world.start();
    world.wait_delivered(spilled.len() as u64);
    agent.stop();
    assert_eq!(String::from_utf8(world.output()).unwrap(), spilled);
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
