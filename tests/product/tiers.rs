//! Scenarios of several agents, each a process of its own: collectors that are killed and brought back, failover and its
//! return, balanced sinks.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::agent::{Agent, flumen};
use crate::lines::{LINE, assert_exact, lines};
use crate::world::{BUSY, World, delivered, eventually, free_port, output};

const CASCADE: &str = include_str!("../scenarios/04-taildir-cascade.conf");
const SELECTORS: &str = include_str!("../scenarios/06-selectors.conf");
const FAILOVER: &str = include_str!("../scenarios/07-failover.conf");
const BALANCED: &str = include_str!("../scenarios/08-load-balance.conf");

/// The longest penalty of [`FAILOVER`].
const MAX_PENALTY: Duration = Duration::from_secs(10);

/// A scenario with free ports.
struct Scenario(String);

impl Scenario {
    fn new(text: &str) -> Self {
        let mut text = text.to_string();
        for place in ["@PORT1@", "@PORT2@"] {
            text = text.replace(place, &free_port().to_string());
        }
        Self(text)
    }

    /// The sink called `sink` (`a2.sinks.k1`) writes to files in `directory`.
    fn into_files(self, sink: &str, directory: &str, serializer: &str) -> Self {
        let others = |line: &&str| {
            !line.starts_with(&format!("{sink}.")) || line.starts_with(&format!("{sink}.channel"))
        };
        let mut text: String = self.0.lines().filter(others).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!(
            "{sink}.type = file_roll\n{sink}.sink.directory = @DIR@/{directory}\n{sink}.sink.rollInterval = 0\n\
             {sink}.sink.serializer = {serializer}\n"
        ));
        Self(text)
    }

    fn world(&self, directories: &[&str]) -> World {
        let world = World::new(&self.0);
        for directory in directories {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        world
    }
}

fn started(world: &World, name: &str) -> Agent {
    world.start_agent(name).started()
}

fn count(world: &World, directory: &str) -> u64 {
    output(&world.path(directory)).iter().filter(|byte| **byte == b'\n').count() as u64
}

#[track_caller]
fn wait(world: &World, directory: &str, lines: u64) {
    eventually(
        || count(world, directory) >= lines,
        || format!("{directory}: {} of {lines}", count(world, directory)),
    );
}

/// The different numbers at the beginnings of the lines, and how many lines there are.
fn numbers(world: &World, directories: &[&str]) -> (BTreeSet<u64>, usize) {
    let bytes: Vec<u8> = directories.iter().flat_map(|directory| output(&world.path(directory))).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let number = |line: &str| {
        let body = line.rsplit_once("} ").map_or(line, |(_, body)| body);
        body.split(' ').next().unwrap().parse().unwrap()
    };
    (text.lines().map(number).collect(), text.lines().count())
}

#[test]
fn scenario_04_a_collector_that_is_killed_and_brought_back_gets_all_lines_and_the_other_never_waits() {
    let scenario = Scenario::new(CASCADE).into_files("a2.sinks.k1", "flume2", "text").into_files(
        "a3.sinks.k1",
        "output",
        "text",
    );
    let world = scenario.world(&["flume2", "output"]);
    let (first, third) = (started(&world, "a2"), started(&world, "a3"));
    world.append("in/a.log", lines(0, 1000));
    let sender = started(&world, "a1");
    wait(&world, "flume2", 1000);
    wait(&world, "output", 1000);
    first.kill();
    world.append("in/a.log", lines(1000, 4000));
    wait(&world, "output", 4000);
    let again = started(&world, "a2");
    eventually(|| numbers(&world, &["flume2"]).0.len() == 4000, || format!("{}", count(&world, "flume2")));
    for agent in [sender, again, third] {
        agent.stop();
    }
    assert_exact(&output(&world.path("output")), 4000);
    // Up to eight batches may have been on their way to the one that was killed.
    assert!(count(&world, "flume2") <= 4000 + 8 * 100, "{}", count(&world, "flume2"));
}

#[test]
fn scenario_06_clients_events_are_replicated_or_go_by_their_header() {
    let world = Scenario::new(SELECTORS).world(&["rep1", "rep2", "mux1", "mux2", "mux3", "mux4"]);
    let (replicating, multiplexing) = (started(&world, "rep"), started(&world, "mux"));
    let send = |agent: &Agent, state: &str, text: &str| {
        let line = agent.wait_for(&["listening"]);
        let port = line.split("address=127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().to_string();
        fs::write(world.path("headers"), format!("state = {state}\n")).unwrap();
        fs::write(world.path("text"), text).unwrap();
        let mut command = flumen(world.root());
        command.args(["avro-client", "-H", "127.0.0.1", "-p", &port, "-F", "text", "-R", "headers"]);
        assert_eq!(command.stdin(Stdio::null()).status().unwrap().code(), Some(0));
    };
    send(&replicating, "CZ", "one\ntwo\n");
    send(&multiplexing, "CZ", "one\n");
    send(&multiplexing, "US", "two\nthree\n");
    send(&multiplexing, "DE", "four\n");
    for (directory, expected) in [
        ("rep1", "one\ntwo\n"),
        ("rep2", "one\ntwo\n"),
        ("mux1", "one\n"),
        ("mux2", "two\nthree\n"),
        ("mux3", "two\nthree\n"),
        ("mux4", "four\n"),
    ] {
        let arrived = || String::from_utf8_lossy(&output(&world.path(directory))).into_owned();
        eventually(|| arrived() == expected, || format!("{directory} has {:?}", arrived()));
    }
    replicating.stop();
    multiplexing.stop();
}

#[test]
fn scenario_07_fails_over_at_once_and_returns_to_the_higher_priority_within_the_longest_penalty() {
    let scenario = Scenario::new(FAILOVER).into_files("a2.sinks.k1", "first", "header_and_text").into_files(
        "a3.sinks.k1",
        "second",
        "header_and_text",
    );
    let world = scenario.world(&["first", "second"]);
    let (first, second) = (started(&world, "a2"), started(&world, "a3"));
    let sender = started(&world, "a1");
    world.append("in/a.log", lines(0, 1000));
    wait(&world, "first", 1000);
    assert_eq!(count(&world, "second"), 0, "the lower priority has nothing to do");

    first.kill();
    let died = Instant::now();
    world.append("in/a.log", lines(1000, 2000));
    wait(&world, "second", 1000);
    assert!(died.elapsed() < BUSY, "{:?}", died.elapsed());

    let first = started(&world, "a2");
    let revived = Instant::now();
    let before = count(&world, "first");
    let mut written = 2000;
    while count(&world, "first") == before {
        world.append("in/a.log", lines(written, written + 10));
        written += 10;
        let waited = revived.elapsed();
        assert!(waited < MAX_PENALTY + BUSY, "not back after {waited:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let both = ["first", "second"];
    eventually(
        || numbers(&world, &both).0.len() as u64 == written,
        || format!("{} of {written}", numbers(&world, &both).0.len()),
    );
    for agent in [sender, first, second] {
        agent.stop();
    }
    for (directory, collector) in [("first", "first"), ("second", "second")] {
        let text = String::from_utf8(output(&world.path(directory))).unwrap();
        let headers = format!("Collector={collector}");
        assert!(
            text.lines().all(|line| line.contains(&headers) && line.contains("Type=LOGIN")),
            "{directory}"
        );
    }
    assert!(delivered(&world.path("first")) > 1000 * LINE as u64);
}

/// How long the outage of the next test lasts, and the longest penalty: `FLUMEN_OUTAGE_SECONDS=600` is the case of ten minutes
/// with the scenario's own penalty.
fn outage() -> (Duration, Duration) {
    match std::env::var("FLUMEN_OUTAGE_SECONDS") {
        Ok(seconds) => (Duration::from_secs(seconds.parse().unwrap()), MAX_PENALTY),
        Err(_) => (Duration::from_secs(6), Duration::from_secs(1)),
    }
}

#[test]
fn a_collector_that_is_away_for_long_is_asked_again_each_longest_penalty_and_used_again_once_it_is_back() {
    let (outage, penalty) = outage();
    let text = FAILOVER.replace("maxpenalty = 10000", &format!("maxpenalty = {}", penalty.as_millis()));
    let scenario = Scenario::new(&text).into_files("a2.sinks.k1", "first", "text").into_files(
        "a3.sinks.k1",
        "second",
        "text",
    );
    let port = scenario.0.lines().find_map(|line| line.strip_prefix("a2.sources.r1.port = "));
    let address = format!("127.0.0.1:{}", port.unwrap());
    let world = scenario.world(&["first", "second"]);
    let second = started(&world, "a3");
    // In its place stands one that notes when it is asked, and says nothing.
    let away = TcpListener::bind(&address).unwrap();
    away.set_nonblocking(true).unwrap();
    let sender = started(&world, "a1");
    let (begun, mut asked, mut written) = (Instant::now(), Vec::new(), 0);
    let write = |written: &mut u64| {
        world.append("in/a.log", lines(*written, *written + 1));
        *written += 1;
        std::thread::sleep(Duration::from_millis(20));
    };
    while begun.elapsed() < outage || (asked.len() < 3 && begun.elapsed() < outage + BUSY) {
        write(&mut written);
        if away.accept().is_ok() {
            asked.push(Instant::now());
        }
    }
    // A busy machine may be late once; on the whole of a long outage it must not be.
    let wanted = (outage.as_secs_f64() / (penalty.as_secs_f64() * 1.2 + 5.0)) as usize;
    assert!(asked.len() >= wanted.max(3), "asked {} times in {outage:?}", asked.len());
    let longest = asked.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    assert!(longest < penalty + BUSY, "asked {} times, not for {longest:?}", asked.len());
    wait(&world, "second", written);
    drop(away);

    let first = started(&world, "a2");
    let back = Instant::now();
    while count(&world, "first") == 0 {
        write(&mut written);
        assert!(back.elapsed() < penalty + BUSY, "not used after {:?}", back.elapsed());
    }
    println!(
        "asked {} times in {outage:?}, at most {longest:?} apart; back after {:?}",
        asked.len(),
        back.elapsed()
    );
    let both = ["first", "second"];
    eventually(
        || numbers(&world, &both).0.len() as u64 == written,
        || format!("{} of {written}", numbers(&world, &both).0.len()),
    );
    for agent in [sender, first, second] {
        agent.stop();
    }
}

#[test]
fn scenario_08_balances_over_collectors_one_of_which_is_killed_and_brought_back() {
    const EVENTS: u64 = 20_000;
    let collector = |name: &str, port: &str, out: &str| {
        format!(
            "{name}.sources = r1\n{name}.channels = c1\n{name}.sinks = k1\n{name}.sources.r1.type = avro\n\
             {name}.sources.r1.bind = 127.0.0.1\n{name}.sources.r1.port = {port}\n{name}.sources.r1.channels = c1\n\
             {name}.channels.c1.type = file\n{name}.channels.c1.checkpointDir = @DIR@/{out}.checkpoint\n\
             {name}.channels.c1.dataDirs = @DIR@/{out}.data\n{name}.sinks.k1.type = file_roll\n\
             {name}.sinks.k1.sink.directory = @DIR@/{out}\n{name}.sinks.k1.sink.rollInterval = 0\n\
             {name}.sinks.k1.channel = c1\n"
        )
    };
    let text = format!(
        "{}\n{}{}",
        BALANCED.replace("100000", &EVENTS.to_string()),
        collector("b1", "@PORT1@", "first"),
        collector("b2", "@PORT2@", "second")
    );
    let world = Scenario::new(&text).world(&["first", "second"]);
    let (first, second) = (started(&world, "b1"), started(&world, "b2"));
    let sender = started(&world, "a1");
    wait(&world, "first", 1000);
    first.kill();
    let at_death = count(&world, "second");
    wait(&world, "second", at_death + 500);
    let first = started(&world, "b1");
    let both = ["first", "second"];
    eventually(
        || numbers(&world, &both).0.len() as u64 == EVENTS,
        || format!("{} of {EVENTS}", numbers(&world, &both).0.len()),
    );
    for agent in [sender, first, second] {
        agent.stop();
    }
    let (_, lines) = numbers(&world, &both);
    assert!(
        lines as u64 <= EVENTS + 8 * 100,
        "at most the batches that were on their way to the one that was killed come again: {lines}"
    );
}
