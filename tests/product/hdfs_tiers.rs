//! Scenarios of several agents and of clients, into a real HDFS, as they are written: a collector that is killed, the other
//! collector of a failover group, and the files of Hadoop's own kind that `avro-client`'s lines become.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::agent::flumen;
use crate::hadoop::Cluster;
use crate::hdfs::{in_use, line, lines, start, wait_exact, wait_seen, wait_until, world, wrong};
use crate::world::{World, delivered, eventually, free_port};

const CASCADE: &str = include_str!("../scenarios/04-taildir-cascade.conf");
const FAILOVER: &str = include_str!("../scenarios/07-failover.conf");
const CLIENTS: &str = include_str!("../scenarios/10-avro-hdfs.conf");

/// What a sender repeats at most to a collector that is killed: eight batches of 100.
const REPEATED: usize = 8 * 100;

fn scenario(text: &str, cluster: &Cluster) -> World {
    let mut text = text.to_string();
    for place in ["@PORT1@", "@PORT2@", "@PORT@"] {
        text = text.replace(place, &free_port().to_string());
    }
    world(&text, cluster)
}

#[test]
fn scenarios_04_07_and_10_end_in_hdfs_and_a_collector_that_is_killed_costs_no_line() {
    let Some(cluster) = Cluster::start(1) else { return };
    cascade(&cluster);
    fail_over(&cluster);
    clients(&cluster);
}

/// Scenario 04: a collector before HDFS is killed and comes back; the other one writes files.
fn cascade(cluster: &Cluster) {
    let world = scenario(CASCADE, cluster);
    std::fs::create_dir(world.path("output")).unwrap();
    let (first, third) = (start(&world, "a2").started(), start(&world, "a3").started());
    let sender = start(&world, "a1");
    world.append("in/a.log", lines(0..500));
    wait_seen(cluster, "/flume2", 500);
    let left = in_use(cluster, "/flume2");
    first.kill();
    world.append("in/a.log", lines(500..1500));
    let files = world.path("output");
    let all = lines(0..1500).len() as u64;
    eventually(|| delivered(&files) == all, || format!("{} bytes of {all}", delivered(&files)));
    let again = start(&world, "a2");
    wait_seen(cluster, "/flume2", 1500);
    wait_finished(cluster, "/flume2", &left);
    wait_each(cluster, "/flume2", 1500);
    for agent in [sender, again, third] {
        agent.stop();
    }
    wait_until(|| in_use(cluster, "/flume2").is_empty(), || format!("{:?}", in_use(cluster, "/flume2")));
    wait_each(cluster, "/flume2", 1500);
    for file in cluster.files("/flume2") {
        let steps: Vec<&str> = file.path.split('/').collect();
        let [_, "flume2", day, hour, name] = steps[..] else { panic!("{}", file.path) };
        assert!(day.len() == 8 && hour.len() == 2 && name.starts_with("flume2-."), "{}", file.path);
    }
}

/// Scenario 07: both collectors write into one directory, the second one while the first one is dead.
fn fail_over(cluster: &Cluster) {
    let world = scenario(FAILOVER, cluster);
    let (first, second) = (start(&world, "a2").started(), start(&world, "a3").started());
    let sender = start(&world, "a1");
    world.append("in/a.log", lines(0..300));
    wait_seen(cluster, "/flume/failover", 300);
    let left = in_use(cluster, "/flume/failover");
    first.kill();
    world.append("in/a.log", lines(300..600));
    wait_seen(cluster, "/flume/failover", 600);
    wait_each(cluster, "/flume/failover", 600);
    // It finishes the file that was left open.
    let again = start(&world, "a2").started();
    wait_finished(cluster, "/flume/failover", &left);
    for agent in [sender, again, second] {
        agent.stop();
    }
    wait_until(
        || in_use(cluster, "/flume/failover").is_empty(),
        || format!("{:?}", in_use(cluster, "/flume/failover")),
    );
    wait_each(cluster, "/flume/failover", 600);
}

/// Waits until these files have another name.
#[track_caller]
fn wait_finished(cluster: &Cluster, path: &str, left: &[String]) {
    let is_left = || in_use(cluster, path).iter().any(|file| left.contains(file));
    wait_until(|| !is_left(), || format!("{left:?}: {:?}", in_use(cluster, path)));
}

/// Waits until each line is there, in files of any name; some may be there twice.
#[track_caller]
fn wait_each(cluster: &Cluster, path: &str, numbers: usize) {
    let all = || -> String {
        let files = cluster.files(path).into_iter();
        // One that was listed may have another name since.
        let read = files.filter_map(|file| cluster.try_read(&file.path));
        read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    };
    let missing = |text: &str| -> Vec<usize> {
        let there: BTreeSet<&str> = text.lines().collect();
        (0..numbers).filter(|number| !there.contains(line(*number).trim_end())).collect()
    };
    wait_until(|| missing(&all()).is_empty(), || format!("{:?} are missing", missing(&all())));
    let repeated = all().lines().count() - numbers;
    assert!(repeated <= REPEATED, "{repeated} lines more than there are");
}

/// Scenario 10: sequence files, as its keys leave it, and text.
fn clients(cluster: &Cluster) {
    let send = |text: &str| {
        let world = scenario(text, cluster);
        let agent = start(&world, "agent");
        let line = agent.wait_for(&["listening"]);
        let port = line.split("address=127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().to_string();
        world.append("file.log", lines(0..25));
        let mut command = flumen(world.root());
        command.args(["avro-client", "-H", "127.0.0.1", "-p", &port, "-F", "file.log"]);
        assert_eq!(command.stdin(Stdio::null()).status().unwrap().code(), Some(0));
        (world, agent)
    };
    let sequences = "/user/hive/warehouse";
    let (_world, agent) = send(CLIENTS);
    let finished = || -> Vec<Vec<u8>> {
        let files = cluster.files(sequences);
        files
            .iter()
            .filter(|file| !file.path.ends_with(".tmp"))
            .map(|file| cluster.read(&file.path))
            .collect()
    };
    let count = |files: &[Vec<u8>]| files.iter().map(|file| records(file).len()).sum::<usize>();
    // Ten events roll a file, so that the rest is in one that is open.
    eventually(|| count(&finished()) >= 20, || format!("{:?}", cluster.files(sequences)));
    agent.stop();
    eventually(|| count(&finished()) == 25, || format!("{:?}", cluster.files(sequences)));
    let text: String = finished().iter().flat_map(|file| records(file)).map(|line| line + "\n").collect();
    assert_eq!(wrong(&text, 25), []);

    let keys = "agent.sinks.hdfsSink.hdfs.fileType = DataStream\nagent.sinks.hdfsSink.hdfs.path = ";
    let text = CLIENTS.replace("agent.sinks.hdfsSink.hdfs.path = ", keys).replace(sequences, "/user/text");
    let (_world, agent) = send(&text);
    wait_seen(cluster, "/user/text", 25);
    agent.stop();
    wait_exact(cluster, "/user/text", 25);
}

/// The bodies in a sequence file without compression: `SEQ` 6, the names of the classes of key and value, two flags, metadata,
/// a sync marker of 16 bytes; then records of length, length of the key, key, value, and now and then -1 and the marker.
fn records(file: &[u8]) -> Vec<String> {
    let classes = b"SEQ\x06\x21org.apache.hadoop.io.LongWritable\x22org.apache.hadoop.io.BytesWritable";
    let mut rest =
        file.strip_prefix(&classes[..]).unwrap_or_else(|| panic!("{:?}", &file[..file.len().min(90)]));
    let number = |rest: &mut &[u8]| {
        let (four, after) = rest.split_first_chunk::<4>().unwrap();
        *rest = after;
        i32::from_be_bytes(*four)
    };
    assert_eq!(rest[..2], [0, 0], "not compressed");
    rest = &rest[2..];
    assert_eq!(number(&mut rest), 0, "no metadata");
    rest = &rest[16..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let length = number(&mut rest);
        if length == -1 {
            rest = &rest[16..];
            continue;
        }
        assert_eq!(number(&mut rest), 8, "the key is a time");
        let (record, after) = rest.split_at(length as usize);
        let mut value = &record[8..];
        let body = number(&mut value) as usize;
        assert_eq!(value.len(), body);
        bodies.push(String::from_utf8(value.to_vec()).unwrap());
        rest = after;
    }
    bodies
}
