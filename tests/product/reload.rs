//! A changed file under a running agent: what changed does, and nothing else is touched.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::lines::{LINE, Writer, assert_exact};
use crate::netcat::{ask, connect};
use crate::web::{Answer, Web};
use crate::world::{BUSY, World, delivered, eventually, free_port, output, two_pipelines};

#[test]
fn a_changed_sink_restarts_alone_under_load_and_nothing_is_lost_or_repeated() {
    const RATE: u64 = 50_000;
    let config = two_pipelines();
    let world = World::new(&config);
    let agent = world.start_with(&["--no-reload-conf"]).started();
    let writers = ["", "2/"].map(|pipeline| {
        let (input, out) = (format!("{pipeline}in/a.log"), format!("{pipeline}out"));
        Writer::start(world.path(&input), world.path(&out), Some(RATE))
    });
    for out in ["out", "2/out"] {
        let path = world.path(out);
        eventually(|| delivered(&path) > 10_000 * LINE as u64, || format!("{out}: {}", delivered(&path)));
    }
    // Segments come and go as the log goes on; all else is held for as long as its component runs.
    let held = |directory: &str| {
        let mut files = agent.open_files(&world.path(directory));
        files.retain(|(_, path, _)| !path.to_string_lossy().contains("segment"));
        files
    };
    let second = held("2");
    let (channel, input) = (held("data"), held("in"));
    for name in ["2/in/a.log", "2/out/", "2/data/flumen/", "2/checkpoint/flumen/"] {
        let prefix = world.path(name);
        assert!(second.iter().any(|(_, path, _)| path.starts_with(&prefix)), "{name} is not in {second:?}");
    }
    let said_before = agent.said();

    for batch_size in [500, 2000] {
        let changed = config.replace(
            "a1.sinks.k1.sink.batchSize = 1000",
            &format!("a1.sinks.k1.sink.batchSize = {batch_size}"),
        );
        assert_ne!(changed, config);
        world.configure(&changed);
        let reloads = agent.said().matches("reloaded").count();
        let begun = Instant::now();
        agent.signal("HUP");
        eventually(|| agent.said().matches("reloaded").count() > reloads, || "no reload".into());
        let took = begun.elapsed();
        assert!(took < BUSY, "the reload took {took:?}");
        agent.wait_for(&["reloaded: restarted sink k1", "5 unchanged"]);
        assert_eq!(held("2"), second, "the other pipeline was touched");
        assert_eq!(
            (held("data"), held("in")),
            (channel.clone(), input.clone()),
            "channel or source was touched"
        );
        let more = delivered(&world.path("out")) + 10_000 * LINE as u64;
        world.wait_delivered(more);
    }
    let said = agent.said();
    for name in ["source=r1", "source=r2", "sink=k2"] {
        assert_eq!(said.matches(name).count(), said_before.matches(name).count(), "{name} was touched");
    }

    let counts = writers.map(Writer::finish);
    for (out, count) in ["out", "2/out"].into_iter().zip(counts) {
        let path = world.path(out);
        eventually(|| delivered(&path) >= count * LINE as u64, || format!("{out}: {}", delivered(&path)));
    }
    agent.stop();
    for (out, count) in ["out", "2/out"].into_iter().zip(counts) {
        assert_exact(&output(&world.path(out)), count);
    }
}

/// netcat → memory → a directory that is not there yet, so that events stay in the channel.
const KEPT: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = @PORT@
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 5
a1.channels.c1.transactionCapacity = 5
a1.channels.c1.keep-alive = 0
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = @DIR@/later
a1.sinks.k1.sink.batchSize = 5
a1.sinks.k1.channel = c1
";

#[test]
fn a_memory_channel_keeps_its_events_when_its_capacities_and_its_neighbours_change() {
    let port = free_port();
    let config = KEPT.replace("@PORT@", &port.to_string());
    let world = World::new(&config);
    let agent = world.start_with(&["--no-reload-conf"]);
    let mut stream = connect(&agent, port);
    for line in ["1", "2", "3", "4", "5"] {
        assert_eq!(ask(&mut stream, line), "OK\n");
    }
    assert!(ask(&mut stream, "6").starts_with("FAILED"), "the channel holds five");

    let raised =
        config.replace("capacity = 5", "capacity = 7").replace("c1.keep-alive = 0", "c1.keep-alive = 1");
    world.configure(&raised);
    agent.signal("HUP");
    agent.wait_for(&["reloaded: changed channel c1 live"]);
    for line in ["6", "7"] {
        assert_eq!(
            ask(&mut stream, line),
            "OK\n",
            "the client is still connected, and there is room for two more"
        );
    }

    // Below what it holds: nothing is put until it is drained, and nothing is thrown away.
    let lowered =
        config.replace("capacity = 5", "capacity = 6").replace("sink.batchSize = 5", "sink.batchSize = 4");
    world.configure(&lowered);
    agent.signal("HUP");
    agent.wait_for(&["changed channel c1 live", "restarted sink k1"]);
    assert!(ask(&mut stream, "8").starts_with("FAILED"));

    std::fs::create_dir(world.path("later")).unwrap();
    let path = world.path("later");
    eventually(|| delivered(&path) == 14, || format!("{} bytes", delivered(&path)));
    assert_eq!(ask(&mut stream, "9"), "OK\n");
    eventually(|| delivered(&path) == 16, || format!("{} bytes", delivered(&path)));
    agent.stop();
    assert_eq!(output(&path), b"1\n2\n3\n4\n5\n6\n7\n9\n");
}

/// netcat → `@CHANNEL@`, whose keys the test adds → http, to the server at `@SERVER@`.
const TO_A_SLOW_SERVER: &str = "\
a1.sources = r1
a1.channels = @CHANNEL@
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = @PORT@
a1.sources.r1.channels = @CHANNEL@
a1.sinks.k1.type = http
a1.sinks.k1.endpoint = http://127.0.0.1:@SERVER@/in
a1.sinks.k1.rollback.2XX = false
a1.sinks.k1.defaultBackoff = false
a1.sinks.k1.channel = @CHANNEL@
";

const MEMORY: &str = "a1.channels.c1.type = memory\n";
const FILE: &str = "a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\n\
                    a1.channels.c1.dataDirs = @DIR@/data\n";
const SPILLABLE: &str = "a1.channels.c1.type = spillablememory\na1.channels.c1.checkpointDir = @DIR@/checkpoint\n\
                         a1.channels.c1.dataDirs = @DIR@/data\n";

/// Puts `lines` lines, all answered with OK, into `before`, reloads with `after` at once, and returns the agent and what the
/// server is to have seen.
fn reload_with_a_backlog(
    world: &World,
    config: impl Fn(&str) -> String,
    port: u16,
    [before, after]: [&str; 2],
) -> (Agent, Vec<String>) {
    world.configure(&config(before));
    let agent = world.start_with(&["--no-reload-conf"]);
    let mut stream = connect(&agent, port);
    let lines: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
    for line in &lines {
        assert_eq!(ask(&mut stream, line), "OK\n");
    }
    world.configure(&config(after));
    agent.signal("HUP");
    agent.wait_for(&["reloaded: "]);
    (agent, lines)
}

fn to_a_slow_server(port: u16, server: u16) -> impl Fn(&str) -> String {
    move |channel: &str| {
        let name = if channel.contains(".c2.") { "c2" } else { "c1" };
        let config = TO_A_SLOW_SERVER.replace("@PORT@", &port.to_string()).replace("@CHANNEL@", name);
        config.replace("@SERVER@", &server.to_string()) + channel
    }
}

#[test]
fn a_channel_that_keeps_nothing_is_drained_before_a_reload_replaces_or_removes_it() {
    let renamed = MEMORY.replace("c1", "c2");
    let other_steps = format!("{SPILLABLE}a1.channels.c1.avgEventSize = 400\n");
    for (before, after) in [(MEMORY, FILE), (MEMORY, &renamed), (SPILLABLE, &other_steps)] {
        let server = Web::start(|_, _| {
            std::thread::sleep(Duration::from_millis(30));
            Answer::from(200)
        });
        let port = free_port();
        let world = World::new("");
        let config = to_a_slow_server(port, server.port);
        let (agent, lines) = reload_with_a_backlog(&world, config, port, [before, after]);
        assert_eq!(server.bodies(), lines, "{before} to {after}");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map(BufReader::new).unwrap();
        assert_eq!(ask(&mut stream, "the new one works"), "OK\n");
        let said = agent.stop();
        assert!(!said.contains("could not be delivered") && !said.contains("are not delivered"), "{said}");
    }
}

#[test]
fn what_a_reload_cannot_drain_is_named_and_a_removed_channel_waits_to_be_put_back() {
    let works = Arc::new(AtomicBool::new(false));
    let server = Web::start({
        let works = works.clone();
        move |_, _| Answer::from(if works.load(Ordering::Acquire) { 200 } else { 503 })
    });
    let renamed = MEMORY.replace("c1", "c2");
    let port = free_port();
    let world = World::new("");
    let config = to_a_slow_server(port, server.port);
    let (agent, lines) = reload_with_a_backlog(&world, &config, port, [MEMORY, &renamed]);
    agent.wait_for(&["20 events in it are not delivered", "put the channel back"]);
    // The same name again: now it is the other one that stays, and the sink finds the lines.
    works.store(true, Ordering::Release);
    world.configure(&config(MEMORY));
    agent.signal("HUP");
    eventually(
        || lines.iter().all(|line| server.bodies().contains(line)),
        || format!("{:?}", server.bodies()),
    );
    agent.stop();

    works.store(false, Ordering::Release);
    let (agent, _) = reload_with_a_backlog(&world, &config, port, [MEMORY, FILE]);
    agent.wait_for(&["ERROR", "20 events in channel c1 could not be delivered"]);
    agent.stop();
}

#[test]
fn a_config_filter_that_fails_at_a_reload_leaves_the_old_component_running() {
    let port = free_port();
    let filter = "a1.configfilters = f1\na1.configfilters.f1.type = external\n\
                  a1.configfilters.f1.command = sh @DIR@/filter.sh\n";
    let config = KEPT.replace("@PORT@", &port.to_string()).replace("/later", "/${f1[place]}");
    let config = format!("{filter}{config}a1.sinks.k1.sink.rollInterval = 0\n");
    let world = World::new(&config);
    std::fs::write(world.path("filter.sh"), "echo out").unwrap();
    let agent = world.start_with(&["--no-reload-conf"]);
    let mut stream = connect(&agent, port);
    assert_eq!(ask(&mut stream, "1"), "OK\n");

    std::fs::write(world.path("filter.sh"), "exit 1").unwrap();
    world.configure(&config.replace("c1.keep-alive = 0", "c1.keep-alive = 1"));
    agent.signal("HUP");
    agent.wait_for(&["ERROR", "the config filter f1 failed for place"]);
    agent.wait_for(&["reloaded: changed channel c1 live", "kept the old sink k1"]);
    assert_eq!(ask(&mut stream, "2"), "OK\n");
    eventually(|| world.output() == b"1\n2\n", || format!("{:?}", world.output()));
    agent.stop();
}
