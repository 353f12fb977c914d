//! The hdfs sink while there is no HDFS: what an outage costs, how soon it is over, and who else delivers.
//! `FLUMEN_HDFS_OUTAGE=600` lets it last so many seconds (default 15), with the limits that a site has, and asks for the time and
//! the CPU as well: on a machine that has nothing else to do.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::hadoop::Cluster;
use crate::hdfs::{EXACT, delivered, lines, start, wait_exact, wait_seen, world};
use crate::world::eventually;

/// What a user waits at most once the servers are back.
const RESUMED: Duration = Duration::from_secs(15);

#[test]
fn an_outage_costs_little_and_is_over_soon_after_its_end() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let asked: Option<u64> = std::env::var("FLUMEN_HDFS_OUTAGE").ok().map(|text| text.parse().unwrap());
    let config = match asked {
        Some(_) => EXACT.replace("callTimeout = 5000", "callTimeout = 30000"),
        None => EXACT.replace("callTimeout = 5000", "callTimeout = 2000"),
    };
    let world = world(&config.replace("retryInterval = 2", "retryInterval = 10"), &cluster);
    let agent = start(&world, "a1").started();
    world.append("in/a.log", lines(0..100));
    wait_exact(&cluster, "/flume/exact", 100);
    // A file is open, and is to be finished.
    world.append("in/a.log", lines(100..200));
    wait_seen(&cluster, "/flume/exact", 200);
    let (cpu, said) = (agent.cpu_seconds(), agent.said().lines().count());
    let (begun, begun_at) = (Instant::now(), jiff::Zoned::now().datetime());
    cluster.kill_namenode();
    world.append("in/a.log", lines(200..300));
    sleep(Duration::from_secs(asked.unwrap_or(15)));
    agent.wait_for(&["sink failed"]);
    let (used, lasted) = (agent.cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
    let log = agent.said();
    // What was under way when it began is said as ever.
    let is_done = |line: &&str| !["Creating ", "Closed ", "Renamed "].iter().any(|word| line.contains(word));
    let said: Vec<&str> = log.lines().skip(said).filter(is_done).collect();
    for (at, line) in said.iter().enumerate() {
        let earliest = begun_at + jiff::SignedDuration::from_secs(10 * at as i64);
        assert!(written_at(line) >= earliest, "more than one line in 10 s since {begun_at}: {said:#?}");
    }
    cluster.start_namenode();
    cluster.wait_ready();
    let back = Instant::now();
    // With the first flush that is released.
    agent.wait_for(&["sink works again"]);
    let waited = back.elapsed();
    println!(
        "{used:.2} CPU seconds and {} lines in {lasted:.0} s, resumed after {waited:.1?}:\n{}",
        said.len(),
        said.join("\n")
    );
    wait_exact(&cluster, "/flume/exact", 300);
    agent.stop();
    if asked.is_some() {
        assert!(used < lasted / 20.0, "{used} CPU seconds in {lasted} s");
        assert!(waited < RESUMED, "resumed after {waited:?}");
    }
}

/// When a line of the log was written: `2026-11-21 07:31:00,123 (main) …`
fn written_at(line: &str) -> jiff::civil::DateTime {
    let text = line.get(..23).unwrap_or_else(|| panic!("{line}")).replace(' ', "T").replace(',', ".");
    text.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn a_datanode_and_a_namenode_that_hang_are_given_up_at_the_limit_and_cost_no_line() {
    let Some(cluster) = Cluster::start(1) else { return };
    let world = world(&EXACT.replace("callTimeout = 5000", "callTimeout = 3000"), &cluster);
    let agent = start(&world, "a1").started();
    let given_up = || {
        let said = agent.said();
        let of_time = |line: &&str| line.contains("sink failed") && line.contains("`hdfs.callTimeout`");
        said.lines().filter(of_time).count()
    };
    let wait_given_up = |before: usize| eventually(|| given_up() > before, || "no call was given up".into());
    world.append("in/a.log", lines(0..100));
    wait_seen(&cluster, "/flume/exact", 100);
    let before = given_up();
    cluster.pause_datanode(0);
    world.append("in/a.log", lines(100..200));
    wait_given_up(before);
    cluster.resume_datanode(0);
    wait_exact(&cluster, "/flume/exact", 200);
    let before = given_up();
    cluster.pause_namenode();
    world.append("in/a.log", lines(200..300));
    wait_given_up(before);
    cluster.resume_namenode();
    wait_exact(&cluster, "/flume/exact", 300);
    agent.stop();
}

#[test]
fn what_hdfs_does_not_take_goes_to_the_next_sink_of_the_group() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let config = EXACT
        .replace("a1.sinks = k1", "a1.sinks = k1 k2\na1.sinkgroups = g1")
        .replace("a1.sinks.k1.hdfs.exactlyOnce = true\n", "")
        .replace("callTimeout = 5000", "callTimeout = 2000")
        + "a1.sinkgroups.g1.sinks = k1 k2\na1.sinkgroups.g1.processor.type = failover\n\
           a1.sinkgroups.g1.processor.priority.k1 = 10\na1.sinkgroups.g1.processor.priority.k2 = 5\n\
           a1.sinkgroups.g1.processor.maxpenalty = 3000\na1.sinks.k2.type = file_roll\n\
           a1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.channel = c1\n";
    let world = world(&config, &cluster);
    let agent = start(&world, "a1").started();
    world.append("in/a.log", lines(0..100));
    wait_exact(&cluster, "/flume/exact", 100);
    cluster.kill_namenode();
    world.append("in/a.log", lines(100..200));
    world.wait_delivered(lines(100..200).len() as u64);
    cluster.start_namenode();
    cluster.wait_ready();
    // Back to the first one: what comes now ends there.
    let mut written = 200;
    let bytes = || cluster.files("/flume/exact").iter().map(|file| file.length).sum::<u64>();
    let before = bytes();
    let more = || {
        world.append("in/a.log", lines(written..written + 10));
        written += 10;
        bytes() > before
    };
    eventually(more, || format!("{:?}", cluster.files("/flume/exact")));
    agent.stop();
    let all = || {
        let (text, unfinished) = delivered(&cluster, "/flume/exact");
        let local: String = fs::read_dir(world.path("out"))
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        (text, local, unfinished)
    };
    let (text, local, unfinished) = all();
    assert_eq!(unfinished, [""; 0]);
    let lost: Vec<usize> = (0..written)
        .filter(|number| {
            let line = crate::hdfs::line(*number);
            !text.contains(&line) && !local.contains(&line)
        })
        .collect();
    assert_eq!(lost, [0; 0], "lines that nobody has");
}
