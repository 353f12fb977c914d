//! Groups of sinks, whose members die and come back: who delivers, in which order, and that nothing is lost on the way.

use std::fs;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::lines::{LINE, Random, Writer, assert_each_once, assert_exact, lines};
use crate::world::{BUSY, DURABLE_TAIL, World, delivered, eventually, output};

/// [`DURABLE_TAIL`] whose channel two sinks drain as a group: `k1` to `out`, `k2` to `2/out`. A file is begun every
/// second, which a sink whose directory is gone cannot do.
fn group(keys: &[&str]) -> String {
    let config = DURABLE_TAIL
        .replace("a1.sinks = k1", "a1.sinks = k1 k2")
        .replace("rollInterval = 0", "rollInterval = 1");
    let more = "a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = @DIR@/2/out\n\
                a1.sinks.k2.sink.rollInterval = 1\na1.sinks.k2.channel = c1\na1.sinkgroups = g1\n\
                a1.sinkgroups.g1.sinks = k1 k2\n";
    let keys: String = keys.iter().map(|key| format!("a1.sinkgroups.g1.processor.{key}\n")).collect();
    format!("{config}{more}{keys}")
}

/// Takes the directory of `k1` away, and waits until the sink has noticed at its next roll.
fn break_first(world: &World, agent: &Agent, to: &str) {
    let noticed = || agent.said().matches("sink failed, what is not released goes back").count();
    let before = noticed();
    fs::rename(world.path("out"), world.path(to)).unwrap();
    eventually(|| noticed() > before, || "k1 does not notice".into());
}

#[track_caller]
fn wait(world: &World, out: &str, lines: u64) {
    let path = world.path(out);
    eventually(|| delivered(&path) >= lines * LINE as u64, || format!("{out}: {} bytes", delivered(&path)));
}

#[test]
fn failover_leaves_a_dead_sink_at_once_and_returns_to_it_within_the_longest_penalty() {
    let world =
        World::new(&group(&["type = failover", "priority.k1 = 10", "priority.k2 = 5", "maxpenalty = 1500"]));
    // k1 has no directory yet: it does not start.
    fs::remove_dir(world.path("out")).unwrap();
    world.append("in/a.log", lines(0, 1000));
    let agent = world.start();
    wait(&world, "2/out", 1000);
    fs::create_dir(world.path("out")).unwrap();
    let revived = Instant::now();
    let mut count = 1000;
    while delivered(&world.path("out")) == 0 {
        world.append("in/a.log", lines(count, count + 10));
        count += 10;
        let waited = revived.elapsed();
        assert!(waited < Duration::from_millis(1500) + BUSY, "not back after {waited:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    // From here on the higher priority has all of it.
    let both = |world: &World| delivered(&world.path("out")) + delivered(&world.path("2/out"));
    eventually(|| both(&world) == count * LINE as u64, || format!("{} bytes", both(&world)));
    let lower = delivered(&world.path("2/out"));
    world.append("in/a.log", lines(count, count + 1000));
    count += 1000;
    eventually(|| both(&world) == count * LINE as u64, || format!("{} bytes", both(&world)));
    assert_eq!(delivered(&world.path("2/out")), lower);

    break_first(&world, &agent, "gone");
    let died = Instant::now();
    world.append("in/a.log", lines(count, count + 1000));
    wait(&world, "2/out", lower / LINE as u64 + 1000);
    count += 1000;
    assert!(died.elapsed() < BUSY, "{:?}", died.elapsed());
    agent.stop();
    let (first, second) = (output(&world.path("gone")), output(&world.path("2/out")));
    assert_each_once(&[first, second].concat(), 0..count);
}

#[test]
fn a_group_all_of_whose_sinks_are_dead_waits_and_loses_nothing() {
    let world = World::new(&group(&["type = failover", "maxpenalty = 1000"]));
    fs::remove_dir(world.path("out")).unwrap();
    fs::remove_dir(world.path("2/out")).unwrap();
    world.append("in/a.log", lines(0, 5000));
    let agent = world.start();
    agent.wait_for(&["ERROR", "sink=k1"]);
    agent.wait_for(&["ERROR", "sink=k2"]);
    fs::create_dir(world.path("2/out")).unwrap();
    wait(&world, "2/out", 5000);
    agent.stop();
    assert_exact(&output(&world.path("2/out")), 5000);
}

#[test]
fn balanced_sinks_have_even_shares_a_dead_one_none_and_one_that_came_back_again() {
    for selector in ["round_robin", "random"] {
        // Of sixty turns that are thrown, fewer than six go to one of the two once in hundred thousand million times.
        let share = if selector == "random" { 0.1..=0.9 } else { 0.25..=0.75 };
        let selector = format!("selector = {selector}");
        let world = World::new(&group(&[
            "type = load_balance",
            &selector,
            "backoff = true",
            "selector.maxTimeOut = 1000",
        ]));
        let agent = world.start();
        let mut count = 0;
        let shares = || (delivered(&world.path("out")), delivered(&world.path("2/out")));
        // Each put is delivered before the next, so each is a turn.
        let mut puts = |puts: u64| {
            let before = shares();
            for _ in 0..puts {
                // Before the append: they may be delivered at once.
                let bytes = shares().0 + shares().1 + 50 * LINE as u64;
                world.append("in/a.log", lines(count, count + 50));
                count += 50;
                eventually(|| shares().0 + shares().1 >= bytes, || format!("{:?} of {bytes}", shares()));
            }
            let after = shares();
            let part = |bytes: u64| bytes as f64 / (puts * 50 * LINE as u64) as f64;
            (part(after.0.saturating_sub(before.0)), part(after.1 - before.1))
        };
        let (first, second) = puts(60);
        assert!(share.contains(&first) && share.contains(&second), "{first} {second}");
        break_first(&world, &agent, "gone");
        fs::create_dir(world.path("out")).unwrap();
        let back = Instant::now();
        loop {
            if puts(5).0 > 0.0 {
                break;
            }
            assert!(back.elapsed() < Duration::from_secs(1) + BUSY, "k1 has no turn any more");
        }
        let (first, second) = puts(60);
        assert!(share.contains(&first) && share.contains(&second), "{first} {second}");
        agent.stop();
        let all = ["gone", "out", "2/out"].map(|out| output(&world.path(out)));
        assert_each_once(&all.concat(), 0..count);
    }
}

#[test]
fn kills_of_an_agent_whose_sinks_take_turns_lose_nothing() {
    let world = World::new(&group(&["type = load_balance"]));
    let mut random = Random::new();
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), Some(40_000));
    for _ in 0..6 {
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(400)));
        agent.kill();
    }
    let agent = world.start();
    let count = writer.finish();
    agent.wait_for(&["started"]);
    let both = || [output(&world.path("out")), output(&world.path("2/out"))].concat();
    eventually(|| both().len() as u64 >= count * LINE as u64, || format!("{} bytes", both().len()));
    std::thread::sleep(Duration::from_millis(2500));
    agent.stop();
    assert_each_once(&both(), 0..count);
}

#[test]
fn mistakes_in_a_group_are_named_with_their_lines() {
    for (keys, severity, key, word) in [
        (
            &["type = failover", "priority.k1 = 5", "priority.k2 = 5"][..],
            "warning",
            "priority.k2",
            "never used",
        ),
        (&["type = failover", "priority.k1 = high"], "warning", "priority.k1", "-1"),
        (&["type = failover", "maxpenality = 5"], "warning", "maxpenality", "`maxpenalty`"),
        (&["type = load_balance", "selector = weighted"], "error", "selector", "round_robin"),
        (&["type = load_balance", "selector.maxTimeOut = soon"], "error", "selector.maxTimeOut", "soon"),
        (&["type = failovr"], "error", "type", "`failover`"),
    ] {
        let world = World::new(&group(keys));
        let output = world.check();
        assert_eq!(output.status.code(), Some(if severity == "error" { 78 } else { 0 }), "{keys:?}");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let full = format!("{severity}: a1.sinkgroups.g1.processor.{key}: ");
        let is_named =
            |line: &str| line.contains("flume.conf:") && line.contains(&full) && line.contains(word);
        assert!(said.lines().any(is_named), "{keys:?}: {said}");
    }
}
