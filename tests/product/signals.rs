//! Signals to an agent with work in its hands.

use std::time::Instant;

use crate::lines::{LINE, Writer, assert_exact, lines};
use crate::world::{BUSY, DURABLE_TAIL, World, delivered, eventually};

#[test]
fn sigterm_drains_what_is_in_the_channel_and_exits_0() {
    let world = World::new(DURABLE_TAIL);
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), None);
    let agent = world.start();
    world.wait_delivered(20_000 * LINE as u64);
    let said = agent.stop();
    assert!(said.contains("SIGTERM") && said.lines().last().unwrap().contains("stopped"), "{said}");
    assert_eq!(world.delivered() % LINE as u64, 0, "half a line at the end");
    let agent = world.start();
    agent.wait_for(&[": 0 events to deliver"]);
    let count = writer.finish();
    world.wait_delivered(count * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), count);
}

#[test]
fn sigterm_while_the_configuration_is_still_read_is_a_clean_stop() {
    let filter = "a1.configfilters = f1\na1.configfilters.f1.type = external\n\
                  a1.configfilters.f1.command = sh @DIR@/slow.sh\na1.sinks.k1.sink.pathManager.prefix = ${f1[p]}\n";
    let world = World::new(&format!("{DURABLE_TAIL}{filter}"));
    std::fs::write(world.path("slow.sh"), "touch asked\nsleep 28\ntouch waited\n").unwrap();
    let mut agent = world.start();
    let asked = world.path("asked");
    eventually(|| asked.exists(), || "the filter's command does not run".into());
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0), "{}", agent.said());
    assert!(!world.path("waited").exists(), "it waited for the command");
    agent.wait_for(&["SIGTERM while starting"]);
}

#[test]
fn sigquit_writes_the_state_of_all_components_and_nothing_stops() {
    let world = World::new(DURABLE_TAIL);
    let agent = world.start().started();
    world.append("in/a.log", lines(0, 10));
    world.wait_delivered(10 * LINE as u64);
    agent.signal("QUIT");
    agent.wait_for(&["state:"]);
    eventually(
        || {
            let said = agent.said();
            let (_, state) = said.split_once("state:").unwrap();
            ["r1", "c1", "k1"].iter().all(|name| state.contains(name))
        },
        || "not all components are in the state".into(),
    );
    world.append("in/a.log", lines(10, 20));
    world.wait_delivered(20 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 20);
}

#[test]
fn sighup_takes_over_a_changed_file() {
    let world = World::new(DURABLE_TAIL);
    let agent = world.start_with(&["--no-reload-conf"]).started();
    std::fs::create_dir(world.path("other")).unwrap();
    world.configure(&DURABLE_TAIL.replace("@DIR@/out", "@DIR@/other"));
    agent.signal("HUP");
    agent.wait_for(&["reloaded", "restarted sink k1"]);
    world.append("in/a.log", lines(0, 10));
    eventually(
        || delivered(&world.path("other")) == 10 * LINE as u64,
        || "no lines in the new directory".into(),
    );
    assert_eq!(world.delivered(), 0);
    agent.stop();
}

#[test]
fn a_killed_agent_with_a_backlog_delivers_again_once_it_is_started() {
    // The channel fills while its sink cannot write.
    let world = World::new(&DURABLE_TAIL.replace("@DIR@/out", "@DIR@/later"));
    world.append("in/a.log", lines(0, 200_000));
    let agent = world.start_with(&["-Dflume.root.logger=INFO,console"]);
    let positions = world.path("position.json");
    let end = format!("\"pos\":{}", 200_000 * LINE);
    eventually(
        || std::fs::read_to_string(&positions).is_ok_and(|text| text.replace(' ', "").contains(&end)),
        || format!("positions: {:?}", std::fs::read_to_string(&positions)),
    );
    agent.kill();

    world.configure(DURABLE_TAIL);
    let begun = Instant::now();
    let agent = world.start();
    world.wait_delivered(1);
    let took = begun.elapsed();
    // The goal is 0.2 s for an optimised program on a quiet machine, which `bench/run restart` measures.
    assert!(took < BUSY, "the first event came after {took:?}");
    world.wait_delivered(200_000 * LINE as u64);
    let said = agent.stop();
    assert!(said.contains(": 200000 events to deliver"), "{said}");
    assert_exact(&world.output(), 200_000);
}
