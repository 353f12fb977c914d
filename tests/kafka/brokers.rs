//! Two brokers, and one of the old days with ZooKeeper.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::agent::flumen;
use crate::client::Client;
use crate::hadoop::Cluster;
use crate::kafka::{Broker, shared_old};
use crate::sink::{append, lines};
use crate::world::{World, eventually};

/// taildir → file channel → topic → file channel → file_roll.
const THROUGH: &str = "a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1 k2\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/1/checkpoint\na1.channels.c1.dataDirs = @DIR@/1/data\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.topic = led\na1.sinks.k1.kafka.producer.acks = all\n\
    a1.sources.r2.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.r2.channels = c2\n\
    a1.sources.r2.kafka.bootstrap.servers = @KAFKA@\na1.sources.r2.kafka.topics = led\n\
    a1.sources.r2.kafka.consumer.auto.offset.reset = earliest\na1.sources.r2.batchDurationMillis = 50\n\
    a1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\na1.channels.c2.dataDirs = @DIR@/2/data\n\
    a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.sink.rollInterval = 0\na1.sinks.k2.channel = c2\n";

#[test]
fn a_leader_that_is_killed_is_followed_by_another_and_no_line_is_lost() {
    let Some([one, mut two]) = Broker::start_two() else { return };
    let client = Client(one.servers());
    client.create_on("led", &[2, 1]);
    let world = World::new(&THROUGH.replace("@KAFKA@", &format!("{},{}", one.servers(), two.servers())));
    let agent = world.start();
    append(&world, 0..2000);
    let text = |count: usize| lines(0..count).map(|line| line + "\n").collect::<String>();
    world.wait_delivered(text(2000).len() as u64);
    assert_eq!(client.leader("led"), 2);
    append(&world, 2000..12_000);
    two.kill();
    append(&world, 12_000..14_000);
    world.wait_delivered(text(14_000).len() as u64);
    assert_eq!(client.leader("led"), 1);
    client.wait_for_no_lag("flume", "led");
    agent.stop();
    assert!(world.output() == text(14_000).as_bytes(), "an order of its own, or a line twice");
}

/// All three agents: Flume 1.6's file with ZooKeeper's address alone, the same with brokers, and today's.
const INTO_HDFS: &str = include_str!("../scenarios/09-kafka-hdfs.conf");

fn records(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("record {number}"))
}

#[test]
fn scenario_09_reads_brokers_and_offsets_from_zookeeper_and_delivers_into_hdfs() {
    let Some(broker) = shared_old() else { return };
    let Some(cluster) = Cluster::start(1) else { return };
    let client = Client(broker.servers());
    client.create("testtopic", 1, &[]);
    client.send("testtopic", 1, records(0..100));
    set(
        broker.zookeeper(),
        &["/consumers", "/consumers/flume", "/consumers/flume/offsets", "/consumers/flume/offsets/testtopic"],
        "",
    );
    set(broker.zookeeper(), &["/consumers/flume/offsets/testtopic/0"], "40");
    let port = broker.servers().split(':').next_back().unwrap().to_string();
    let text = INTO_HDFS
        .replace("@KAFKA@", &port)
        .replace("@ZOOKEEPER@", &broker.zookeeper().to_string())
        .replace("@NAMENODE@", &cluster.namenode());
    let world = World::new(&text);
    for (name, folder, from, to) in
        [("zk", "zk", 40, 100), ("old", "old", 100, 150), ("new", "testtopic", 0, 5000)]
    {
        let mut command = flumen(world.root());
        command
            .args(["agent", "-n", name, "-f", "flume.conf"])
            .env("HADOOP_USER_NAME", "root")
            .env("HOME", world.root());
        let agent = world.spawn(command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME"));
        agent.wait_for(&["reads on"]);
        match name {
            "old" => client.send("testtopic", 1, records(100..150)),
            "new" => client.send("testtopic", 1, records(150..5000)),
            _ => {}
        }
        let folder = format!("/user/logs/{folder}");
        let written = || -> String {
            let files = cluster.files(&folder);
            files.iter().map(|file| String::from_utf8_lossy(&cluster.read(&file.path)).into_owned()).collect()
        };
        let wanted: String = records(from..to).map(|record| record + "\n").collect();
        eventually(
            || written() == wanted,
            || format!("{name}: {} bytes of {}", written().len(), wanted.len()),
        );
        agent.stop();
        assert!(cluster.files(&folder).iter().all(|file| !file.path.ends_with(".tmp")));
        assert_eq!(written(), wanted);
    }
    // Taken over once: from then on Kafka's own are followed.
    assert_eq!(client.committed("flume", "testtopic", 0).map(|(offset, _)| offset), Some(150));
}

/// A channel with a sink alone, as an agent of Flume's had it.
const TAKES: &str = "a1.channels = c1\na1.sinks = k1\n\
    a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
    a1.sinks.k1.channel = c1\na1.channels.c1.type = org.apache.flume.channel.kafka.KafkaChannel\n\
    a1.channels.c1.parseAsFlumeEvent = false\na1.channels.c1.kafka.topic = channel\n\
    a1.channels.c1.kafka.consumer.group.id = channel\na1.channels.c1.kafka.bootstrap.servers = @KAFKA@\n";

#[test]
fn a_channel_goes_on_where_flumes_stopped_in_kafka_or_in_zookeeper() {
    let Some(broker) = shared_old() else { return };
    let client = Client(broker.servers());
    client.create("channel", 1, &[]);
    client.send("channel", 1, records(0..100));
    let nodes = [
        "/consumers",
        "/consumers/channel",
        "/consumers/channel/offsets",
        "/consumers/channel/offsets/channel",
    ];
    set(broker.zookeeper(), &nodes, "");
    set(broker.zookeeper(), &["/consumers/channel/offsets/channel/0"], "40");
    let zookeeper = format!("a1.channels.c1.zookeeperConnect = 127.0.0.1:{}\n", broker.zookeeper());
    let text = format!("{TAKES}{zookeeper}").replace("@KAFKA@", &broker.servers());
    let delivers = |from: usize, to: usize| {
        let world = World::new(&text);
        let agent = world.start();
        let wanted: String = records(from..to).map(|record| record + "\n").collect();
        eventually(
            || world.output() == wanted.as_bytes(),
            || String::from_utf8_lossy(&world.output()).into_owned(),
        );
        agent.stop();
        assert_eq!(client.committed("channel", "channel", 0).map(|(offset, _)| offset), Some(to as i64));
    };
    delivers(40, 100);
    // What Flume's channel tells its group bears no mark of anybody's.
    client.send("channel", 1, records(100..120));
    client.reset("channel", "channel", 110);
    delivers(110, 120);
}

/// Creates nodes of ZooKeeper with this text, as Kafka's old consumers did.
fn set(port: u16, paths: &[&str], text: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut ask = |bytes: &[u8]| -> Vec<u8> {
        stream.write_all(&[&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    let hello = [&[0; 12][..], &30_000_u32.to_be_bytes(), &[0; 8], &16_u32.to_be_bytes(), &[0; 17]].concat();
    ask(&hello);
    for path in paths {
        let text_of = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        // One rule: the world may do everything.
        let world =
            [&1_u32.to_be_bytes()[..], &31_u32.to_be_bytes(), &text_of("world"), &text_of("anyone")].concat();
        let create =
            [&1_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &text_of(path), &text_of(text), &world, &[0; 4]]
                .concat();
        let error = i32::from_be_bytes(ask(&create)[12..16].try_into().unwrap());
        // -110: somebody made it before.
        assert!(error == 0 || error == -110, "{path}: {error}");
    }
}
