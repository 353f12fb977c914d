//! Whole pipelines: from topic to topic.

use std::time::Duration;

use crate::client::Client;
use crate::kafka::shared;
use crate::world::World;

/// Kafka → file channel → Kafka.
const TOPIC_TO_TOPIC: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.r1.channels = c1\n\
    a1.sources.r1.kafka.bootstrap.servers = @KAFKA@\na1.sources.r1.kafka.topics = from\n\
    a1.sources.r1.kafka.consumer.group.id = from-to\na1.sources.r1.kafka.consumer.auto.offset.reset = earliest\n\
    a1.sources.r1.kafka.consumer.session.timeout.ms = 3000\n\
    a1.sources.r1.kafka.consumer.heartbeat.interval.ms = 500\na1.sources.r1.setTopicHeader = false\n\
    a1.sources.r1.batchSize = 100\na1.sources.r1.batchDurationMillis = 20\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.topic = to\n\
    a1.sinks.k1.kafka.producer.transactional.id = from-to\n";

#[test]
fn from_topic_to_topic_each_record_goes_once_whatever_is_killed() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("from", 1, &[]);
    client.create("to", 1, &[]);
    let world = World::new(&TOPIC_TO_TOPIC.replace("@KAFKA@", &broker.servers()));
    let values = |range: std::ops::Range<usize>| range.map(|number| format!("record {number} on its way"));
    let mut sent = 0;
    for kill in 0..3 {
        client.send("from", 1, values(sent..sent + 1000));
        sent += 1000;
        let agent = world.start();
        agent.wait_for(&["reads on"]);
        std::thread::sleep(Duration::from_millis(60 * kill));
        agent.kill();
    }
    let agent = world.start();
    let texts = client.wait_for_all("to", values(0..sent));
    agent.stop();
    assert!(values(0..sent).eq(texts), "an order of its own, or a record twice");
}

#[test]
fn a_sink_that_would_send_events_back_to_their_topic_is_warned_of() {
    let warned = |text: &str| {
        let output = World::new(&text.replace("@KAFKA@", "b:9092")).check();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().any(|line| {
            line.contains("warning: a1.sinks.k1.kafka.topic") && line.contains("allowTopicOverride")
        })
    };
    let open = TOPIC_TO_TOPIC.replace("a1.sources.r1.setTopicHeader = false\n", "");
    assert!(warned(&open));
    assert!(!warned(TOPIC_TO_TOPIC));
    assert!(!warned(&format!("{open}a1.sinks.k1.allowTopicOverride = false\n")));
    assert!(!warned(&format!("{open}a1.sinks.k1.topicHeader = where\n")));
}
