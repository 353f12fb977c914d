//! A changed file under a running agent: what changed does, and nothing else is touched.

use std::time::{Duration, Instant};

use crate::lines::{LINE, Writer, assert_exact};
use crate::netcat::{ask, connect};
use crate::world::{World, delivered, eventually, free_port, output, two_pipelines};

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
        assert!(took < Duration::from_secs(1), "the reload took {took:?}");
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
