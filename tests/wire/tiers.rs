//! Tiers in which one agent is the real Flume: killed, and in the place of each agent of a scenario.

use std::fs;
use std::time::Duration;

use crate::agent::Agent;
use crate::flume::{self, Flume, Version};
use crate::lines::{LINE, lines};
use crate::peers::Side;
use crate::world::{PATIENCE, World, eventually, free_port, output};

const CASCADE: &str = include_str!("../scenarios/04-taildir-cascade.conf");
const FAILOVER: &str = include_str!("../scenarios/07-failover.conf");

/// The different lines in the files of these directories.
fn distinct(world: &World, directories: &[&str]) -> u64 {
    let bytes: Vec<u8> = directories.iter().flat_map(|directory| output(&world.path(directory))).collect();
    let mut all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all.len() as u64
}

#[track_caller]
fn wait(world: &World, directories: &[&str], count: u64) {
    let state = || format!("{directories:?}: {} of {count} lines", distinct(world, directories));
    eventually(|| distinct(world, directories) >= count, state);
}

/// An agent, of either kind.
enum Either {
    Flumen(Agent),
    Flume(Side),
}

impl Either {
    fn start(flume: &Flume, world: &World, name: &str, is_flume: bool, run: &str) -> Self {
        match is_flume {
            true => Self::Flume(Side::flume(flume, world, name, run)),
            false => Self::Flumen(world.start_agent(name)),
        }
    }

    fn kill(self) {
        match self {
            Self::Flumen(agent) => agent.kill(),
            Self::Flume(agent) => agent.kill(),
        }
    }
}

fn listens(port: u16) {
    let connects = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    eventually(connects, || format!("nobody listens on {port}"));
}

/// taildir → file channel → avro sink to `port`, as agent `a1`; avro source → file channel → file_roll, as `b1`.
fn pair(port: u16) -> String {
    let channel = |agent: &str| {
        format!(
            "{agent}.channels = c1\n{agent}.channels.c1.type = file\n{agent}.channels.c1.capacity = 100000\n\
             {agent}.channels.c1.transactionCapacity = 1000\n{agent}.channels.c1.minimumRequiredSpace = 1048576\n\
             {agent}.channels.c1.checkpointDir = @DIR@/{agent}/checkpoint\n\
             {agent}.channels.c1.dataDirs = @DIR@/{agent}/data\n"
        )
    };
    format!(
        "a1.sources = r1\na1.sinks = k1\n{}a1.sources.r1.type = TAILDIR\na1.sources.r1.filegroups = f1\n\
         a1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.positionFile = @DIR@/position.json\n\
         a1.sources.r1.channels = c1\na1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = {port}\na1.sinks.k1.request-timeout = 300000\na1.sinks.k1.channel = c1\n\
         b1.sources = r1\nb1.sinks = k1\n{}b1.sources.r1.type = avro\nb1.sources.r1.bind = 127.0.0.1\n\
         b1.sources.r1.port = {port}\nb1.sources.r1.channels = c1\nb1.sinks.k1.type = file_roll\n\
         b1.sinks.k1.sink.directory = @DIR@/out\nb1.sinks.k1.sink.rollInterval = 0\nb1.sinks.k1.channel = c1\n",
        channel("a1"),
        channel("b1")
    )
}

#[test]
fn a_flume_that_is_killed_on_either_side_of_flumen_loses_nothing() {
    let Some(flume) = flume::found(Version::Today) else { return };
    for killed in ["a1", "b1"] {
        let port = free_port();
        let world = World::new(&pair(port));
        let (theirs, ours) = (killed, if killed == "a1" { "b1" } else { "a1" });
        let other = world.start_agent(ours);
        let agent = Side::flume(&flume, &world, theirs, "1");
        world.append("in/a.log", lines(0, 20_000));
        // In the middle of it.
        wait(&world, &["out"], 2000);
        agent.kill();
        let _again = Side::flume(&flume, &world, theirs, "2");
        world.append("in/a.log", lines(20_000, 21_000));
        wait(&world, &["out"], 21_000);
        drop(other);
    }
}

#[test]
fn a_flumen_that_is_killed_again_and_again_gets_each_line_from_flume_and_at_most_a_batch_twice() {
    const KILLS: u64 = 3;
    const BATCH: u64 = 100;
    let Some(flume) = flume::found(Version::Today) else { return };
    let world = World::new(&pair(free_port()));
    let _sender = Side::flume(&flume, &world, "a1", "1");
    world.append("in/a.log", lines(0, 40_000));
    for kill in 1..=KILLS {
        let receiver = world.start_agent("b1").started();
        // In the middle of it.
        wait(&world, &["out"], kill * 3000);
        receiver.kill();
    }
    let receiver = world.start_agent("b1");
    wait(&world, &["out"], 40_000);
    receiver.stop();
    let all = (output(&world.path("out")).len() / LINE) as u64;
    assert!(all <= 40_000 + KILLS * BATCH, "Flume has one batch on its way: {all}");
}

/// The scenario on free ports, with files in the place of what a user's cluster is for.
fn scenario(text: &str, sinks: &[(&str, &str)]) -> (World, [u16; 2]) {
    let ports = [free_port(), free_port()];
    let mut text = text.replace("@PORT1@", &ports[0].to_string()).replace("@PORT2@", &ports[1].to_string());
    for (sink, directory) in sinks {
        let others = |line: &&str| {
            !line.starts_with(&format!("{sink}.")) || line.starts_with(&format!("{sink}.channel"))
        };
        text = text.lines().filter(others).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!(
            "{sink}.type = file_roll\n{sink}.sink.directory = @DIR@/{directory}\n{sink}.sink.rollInterval = 0\n"
        ));
    }
    for sink in ["k1", "k2"] {
        text.push_str(&format!("a1.sinks.{sink}.request-timeout = 300000\n"));
    }
    let world = World::new(&text);
    sinks.iter().for_each(|(_, directory)| fs::create_dir_all(world.path(directory)).unwrap());
    (world, ports)
}

#[test]
fn scenario_04_runs_with_any_one_agent_replaced_by_flume() {
    let Some(flume) = flume::found(Version::Today) else { return };
    for replaced in ["a1", "a2", "a3"] {
        let (world, ports) = scenario(CASCADE, &[("a2.sinks.k1", "first"), ("a3.sinks.k1", "second")]);
        let start = |name: &str| Either::start(&flume, &world, name, name == replaced, name);
        let _collectors = [start("a2"), start("a3")];
        ports.into_iter().for_each(listens);
        let _sender = start("a1");
        world.append("in/a.log", lines(0, 3000));
        for directory in ["first", "second"] {
            wait(&world, &[directory], 3000);
            assert_eq!(output(&world.path(directory)).len(), 3000 * LINE, "{replaced} is Flume's: each once");
        }
    }
}

#[test]
fn scenario_07_fails_over_and_back_with_any_one_agent_replaced_by_flume() {
    let Some(flume) = flume::found(Version::Today) else { return };
    for replaced in ["a1", "a2", "a3"] {
        let (world, ports) = scenario(FAILOVER, &[("a2.sinks.k1", "first"), ("a3.sinks.k1", "second")]);
        let start = |name: &str, run: &str| Either::start(&flume, &world, name, name == replaced, run);
        let first = start("a2", "a2-1");
        let _second = start("a3", "a3");
        ports.into_iter().for_each(listens);
        let _sender = start("a1", "a1");
        world.append("in/a.log", lines(0, 1000));
        wait(&world, &["first"], 1000);
        first.kill();
        world.append("in/a.log", lines(1000, 2000));
        wait(&world, &["first", "second"], 2000);
        let _first = start("a2", "a2-2");
        listens(ports[0]);
        // It has all to itself again once the longest penalty is over, or on a busy machine later.
        let before = distinct(&world, &["first"]);
        let mut count = 2000;
        let begun = std::time::Instant::now();
        while distinct(&world, &["first"]) == before {
            world.append("in/a.log", lines(count, count + 10));
            count += 10;
            assert!(begun.elapsed() < PATIENCE, "{replaced} is Flume's: not back");
            std::thread::sleep(Duration::from_millis(100));
        }
        wait(&world, &["first", "second"], count);
    }
}
