//! The real Flume 1.11 and Flumen with one configuration, each reading what the other writes: whole events in topics.
//!
//! ```text
//!   http ─┬─► memory channel ─► Kafka sink ─► topic `<writer>-sink`    ─► the other's Kafka source ─► files `back`
//!         └─► Kafka channel  ────────────────► topic `<writer>-channel` ─► the other's Kafka channel ─► files `take`
//! ```
//!
//! Flume comes from Maven Central, as the broker does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::agent::Agent;
use crate::client::Client;
use crate::kafka::shared;
use crate::maven;
use crate::sink::post;
use crate::world::{World, eventually, free_port, output};

const BOTH: &str = "a1.sources = http back\na1.channels = send put back take\na1.sinks = send back take\n\
    a1.sources.http.type = http\na1.sources.http.bind = 127.0.0.1\na1.sources.http.port = @PORT@\n\
    a1.sources.http.channels = send put\n\
    a1.channels.send.type = memory\na1.channels.back.type = memory\n\
    a1.channels.back.capacity = 1000\na1.channels.back.transactionCapacity = 1000\n\
    a1.sinks.send.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.send.channel = send\n\
    a1.sinks.send.kafka.bootstrap.servers = @KAFKA@\na1.sinks.send.kafka.topic = @OWN@-sink\n\
    a1.sinks.send.kafka.producer.acks = all\na1.sinks.send.useFlumeEventFormat = true\n\
    a1.sinks.send.header.datacenter = dc\n\
    a1.channels.put.type = org.apache.flume.channel.kafka.KafkaChannel\n\
    a1.channels.put.kafka.bootstrap.servers = @KAFKA@\na1.channels.put.kafka.topic = @OWN@-channel\n\
    a1.sources.back.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.back.channels = back\n\
    a1.sources.back.kafka.bootstrap.servers = @KAFKA@\na1.sources.back.kafka.topics = @OTHERS@-sink\n\
    a1.sources.back.kafka.consumer.group.id = reads-@OTHERS@-sink\n\
    a1.sources.back.kafka.consumer.auto.offset.reset = earliest\na1.sources.back.useFlumeEventFormat = true\n\
    a1.sources.back.header.from = dc\na1.sources.back.batchDurationMillis = 200\n\
    a1.channels.take.type = org.apache.flume.channel.kafka.KafkaChannel\n\
    a1.channels.take.kafka.bootstrap.servers = @KAFKA@\na1.channels.take.kafka.topic = @OTHERS@-channel\n\
    a1.channels.take.kafka.consumer.group.id = reads-@OTHERS@-channel\n\
    a1.sinks.back.type = file_roll\na1.sinks.back.sink.directory = @DIR@/back\na1.sinks.back.sink.rollInterval = 0\n\
    a1.sinks.back.sink.serializer = header_and_text\na1.sinks.back.channel = back\n\
    a1.sinks.take.type = file_roll\na1.sinks.take.sink.directory = @DIR@/take\na1.sinks.take.sink.rollInterval = 0\n\
    a1.sinks.take.sink.serializer = header_and_text\na1.sinks.take.channel = take\n";

/// Java with Flume's classes; `None`, with the reason said, if they cannot be had here.
fn flume() -> Option<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flume-kafka");
    match maven::libraries(&tests.join("kafka/flume/pom.xml"), &target) {
        Ok(libraries) => {
            let mut java = Command::new("java");
            java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"]);
            let logging = tests.join("differential/flume/log4j2.xml");
            java.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
            java.arg("-cp").arg(format!("{}/*", libraries.display()));
            java.args([
                "org.apache.flume.node.Application",
                "-n",
                "a1",
                "--no-reload-conf",
                "-f",
                "flume.conf",
            ]);
            Some(java)
        }
        Err(why) => {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
            println!("skipped: {why}");
            None
        }
    }
}

type Event = (BTreeMap<String, String>, String);

/// What is sent to each: text of several bytes a letter, a length of two bytes, a key, nothing at all.
fn events() -> Vec<Event> {
    let long = "0123456789".repeat(30);
    let event = |headers: &[(&str, &str)], body: &str| -> Event {
        (headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(), body.into())
    };
    vec![
        event(&[("datacenter", "Zürich"), ("key", "the key"), ("empty", ""), ("long", &long)], "ein Körper"),
        event(&[("timestamp", "1234567890123")], &long),
        event(&[], ""),
    ]
}

fn json(events: &[Event]) -> String {
    let event = |(headers, body): &Event| {
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        format!("{{\"headers\":{{{}}},\"body\":\"{body}\"}}", headers.join(","))
    };
    format!("[{}]", events.iter().map(event).collect::<Vec<_>>().join(","))
}

/// The events of `{name=value, …} body` in a folder's lines.
fn written(world: &World, folder: &str) -> Vec<Event> {
    let text = String::from_utf8(output(&world.path(folder))).unwrap();
    let event = |line: &str| {
        let (headers, body) = line.strip_prefix('{')?.split_once("} ")?;
        let pair =
            |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
        let pairs = headers.split(", ").filter(|pair| !pair.is_empty());
        Some((pairs.map(pair).collect::<Option<_>>()?, body.to_string()))
    };
    // The last line may not be whole yet.
    text.split_inclusive('\n').filter_map(|line| event(line.strip_suffix('\n')?)).collect()
}

/// Waits until `sent` have come through the topics of `writer`, as they were and with what the source adds.
#[track_caller]
fn wait_for_all(reader: &World, writer: &str, sent: &[Event]) {
    let all: BTreeSet<Event> = sent.iter().cloned().collect();
    let came = |folder: &str| -> BTreeSet<Event> {
        let mut events = written(reader, folder);
        for (headers, _) in events.iter_mut().filter(|_| folder == "back") {
            let place = ["topic", "partition"].map(|name| headers.remove(name));
            assert_eq!(place, [Some(format!("{writer}-sink")), Some("0".to_string())]);
            let numbers = [headers.remove("offset"), headers.get("timestamp").cloned()];
            assert!(numbers.iter().all(|one| one.as_ref().is_some_and(|text| text.parse::<u64>().is_ok())));
            headers.remove("timestamp").filter(|time| time == "1234567890123").map(|time| {
                // The event's own goes before the record's.
                headers.insert("timestamp".into(), time)
            });
            // The record's header `dc` was the event's `datacenter`.
            assert_eq!(headers.remove("from").as_ref(), headers.get("datacenter"));
        }
        events.into_iter().collect()
    };
    for folder in ["back", "take"] {
        eventually(|| came(folder).is_superset(&all), || format!("{writer}, {folder}: {:?}", came(folder)));
        assert_eq!(came(folder), all, "{writer}, {folder}");
    }
}

#[test]
fn flume_and_flumen_read_each_others_events_and_one_goes_on_where_the_other_stopped() {
    let Some(broker) = shared() else { return };
    let Some(mut flume) = flume() else { return };
    let client = Client(broker.servers());
    let ports = [free_port(), free_port()];
    let [theirs, ours] =
        [("flume", "flumen", ports[0]), ("flumen", "flume", ports[1])].map(|(own, others, port)| {
            client.create(&format!("{own}-sink"), 1, &[]);
            client.create(&format!("{own}-channel"), 1, &[]);
            let text = BOTH.replace("@KAFKA@", &broker.servers()).replace("@PORT@", &port.to_string());
            let world = World::new(&text.replace("@OWN@", own).replace("@OTHERS@", others));
            ["back", "take"].iter().for_each(|folder| std::fs::create_dir(world.path(folder)).unwrap());
            world
        });
    let mut their_agent = Agent::spawn(flume.current_dir(theirs.root()), theirs.path("logs/flume"));
    let our_agent = ours.start().started();
    let mut sent = events();
    post(ports[1], &json(&sent));
    eventually(|| TcpStream::connect(("127.0.0.1", ports[0])).is_ok(), || "Flume does not listen".into());
    post(ports[0], &json(&sent));
    wait_for_all(&ours, "flume", &sent);
    wait_for_all(&theirs, "flumen", &sent);
    // What Flume's source and channel told their groups is where Flumen's go on with the same file.
    for kind in ["sink", "channel"] {
        client.wait_for_no_lag(&format!("reads-flumen-{kind}"), &format!("flumen-{kind}"));
    }
    their_agent.signal("TERM");
    let _its_own = their_agent.end();
    let before = ["back", "take"].map(|folder| written(&theirs, folder).len());
    sent.push((BTreeMap::new(), "after Flume".to_string()));
    post(ports[1], &json(&sent[3..]));
    let next_agent = theirs.start().started();
    wait_for_all(&theirs, "flumen", &sent);
    let after = ["back", "take"].map(|folder| written(&theirs, folder).len());
    assert_eq!(after, before.map(|count| count + 1), "what Flume had told its group of was read again");
    next_agent.stop();
    our_agent.stop();
}
