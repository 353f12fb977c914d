//! One key of one sink changed in the file while lines flow through two pipelines.

use std::time::{Duration, Instant};

use crate::lines::{LINE, Writer, assert_exact};
use crate::world::{World, delivered, eventually, output, two_pipelines};

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
