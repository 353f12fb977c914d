//! The hdfs sink while there is no HDFS: who else delivers.

use std::fs;

use crate::hadoop::Cluster;
use crate::hdfs::{EXACT, delivered, lines, start, wait_exact, world};
use crate::world::eventually;

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
