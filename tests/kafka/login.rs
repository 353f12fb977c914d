//! Where the broker asks for a user and a password.

use crate::client::Client;
use crate::kafka::{LOGIN, shared};
use crate::sink::{append, lines};
use crate::world::{World, eventually};

/// taildir → sink → topic → source → a topic that is a channel → file_roll, all three clients with a login.
const THERE_AND_BACK: &str = "a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1 k2\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = memory\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.topic = login\n\
    a1.sinks.k1.kafka.producer.security.protocol = SASL_PLAINTEXT\na1.sinks.k1.kafka.producer.sasl.mechanism = PLAIN\n\
    a1.sinks.k1.kafka.producer.sasl.jaas.config = @JAAS@\n\
    a1.sources.r2.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.r2.channels = c2\n\
    a1.sources.r2.kafka.bootstrap.servers = @KAFKA@\na1.sources.r2.kafka.topics = login\n\
    a1.sources.r2.kafka.consumer.group.id = login\na1.sources.r2.kafka.consumer.auto.offset.reset = earliest\n\
    a1.sources.r2.kafka.consumer.security.protocol = SASL_PLAINTEXT\na1.sources.r2.kafka.consumer.sasl.mechanism = PLAIN\n\
    a1.sources.r2.kafka.consumer.sasl.username = @USER@\na1.sources.r2.kafka.consumer.sasl.password = @PASSWORD@\n\
    a1.channels.c2.type = org.apache.flume.channel.kafka.KafkaChannel\n\
    a1.channels.c2.kafka.bootstrap.servers = @KAFKA@\na1.channels.c2.kafka.topic = login-channel\n\
    a1.channels.c2.kafka.consumer.group.id = login-channel\n\
    a1.channels.c2.kafka.producer.security.protocol = SASL_PLAINTEXT\na1.channels.c2.kafka.producer.sasl.mechanism = PLAIN\n\
    a1.channels.c2.kafka.producer.sasl.username = @USER@\na1.channels.c2.kafka.producer.sasl.password = @PASSWORD@\n\
    a1.channels.c2.kafka.consumer.security.protocol = SASL_PLAINTEXT\na1.channels.c2.kafka.consumer.sasl.mechanism = PLAIN\n\
    a1.channels.c2.kafka.consumer.sasl.jaas.config = @JAAS@\n\
    a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.sink.rollInterval = 0\na1.sinks.k2.channel = c2\n";

fn world(servers: &str, password: &str) -> World {
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"@USER@\" password=\"@PASSWORD@\";";
    let text = THERE_AND_BACK.replace("@KAFKA@", servers).replace("@JAAS@", jaas);
    World::new(&text.replace("@USER@", LOGIN.0).replace("@PASSWORD@", password))
}

#[test]
fn source_sink_and_channel_log_in_with_user_and_password() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("login", 1, &[]);
    client.create("login-channel", 1, &[]);
    let world = world(&broker.guarded_servers(), LOGIN.1);
    append(&world, 0..200);
    let agent = world.start();
    let wanted: String = lines(0..200).map(|line| line + "\n").collect();
    eventually(
        || world.output() == wanted.as_bytes(),
        || format!("{} bytes of {}", world.output().len(), wanted.len()),
    );
    agent.stop();
}

#[test]
fn a_wrong_password_is_named_as_such() {
    let Some(broker) = shared() else { return };
    let world = world(&broker.guarded_servers(), "another");
    append(&world, 0..1);
    let agent = world.start();
    agent.wait_for(&["nvalid username or password"]);
    agent.wait_for(&["cannot send to Kafka yet"]);
    agent.kill();
    assert!(world.output().is_empty());
}
