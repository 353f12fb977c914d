//! Where the broker asks who it is, and lets nobody listen in.

use crate::client::Client;
use crate::kafka::{Broker, KEY_PASSWORD, LOGIN, STORE_PASSWORD, shared};
use crate::sink::{append, lines};
use crate::world::{World, eventually};

/// taildir → sink → topic → source → a topic that is a channel → file_roll: four clients, each with its keys.
const THERE_AND_BACK: &str = "a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1 k2\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = memory\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.topic = login\n\
    a1.sources.r2.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.r2.channels = c2\n\
    a1.sources.r2.kafka.bootstrap.servers = @KAFKA@\na1.sources.r2.kafka.topics = login\n\
    a1.sources.r2.kafka.consumer.group.id = login\na1.sources.r2.kafka.consumer.auto.offset.reset = earliest\n\
    a1.channels.c2.type = org.apache.flume.channel.kafka.KafkaChannel\n\
    a1.channels.c2.kafka.bootstrap.servers = @KAFKA@\na1.channels.c2.kafka.topic = login-channel\n\
    a1.channels.c2.kafka.consumer.group.id = login-channel\n\
    a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.sink.rollInterval = 0\na1.sinks.k2.channel = c2\n";

/// In front of the keys of its clients.
const CLIENTS: [&str; 4] = [
    "a1.sinks.k1.kafka.producer.",
    "a1.sources.r2.kafka.consumer.",
    "a1.channels.c2.kafka.producer.",
    "a1.channels.c2.kafka.consumer.",
];

/// Such an agent, the clients taking turns at these keys.
fn world(servers: &str, keys: &[&[(&str, &str)]]) -> World {
    let mut text = THERE_AND_BACK.replace("@KAFKA@", servers);
    for (client, keys) in CLIENTS.iter().zip(keys.iter().cycle()) {
        for (key, value) in *keys {
            text += &format!("{client}{key} = {value}\n");
        }
    }
    World::new(&text)
}

fn jaas(module: &str, password: &str) -> String {
    let user = LOGIN.0;
    format!("org.apache.kafka.common.security.{module} required username=\"{user}\" password=\"{password}\";")
}

/// Waits until lines have gone all the way.
#[track_caller]
fn goes_all_the_way(broker: &Broker, world: &World) {
    let client = Client(broker.servers());
    client.create("login", 1, &[]);
    client.create("login-channel", 1, &[]);
    append(world, 0..200);
    let agent = world.start();
    let wanted: String = lines(0..200).map(|line| line + "\n").collect();
    eventually(
        || world.output() == wanted.as_bytes(),
        || format!("{} bytes of {}", world.output().len(), wanted.len()),
    );
    agent.stop();
}

#[test]
fn source_sink_and_channel_log_in_with_user_and_password() {
    let Some(broker) = shared() else { return };
    let (protocol, mechanism) = (("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"));
    let line = jaas("plain.PlainLoginModule", LOGIN.1);
    let keys = [
        &[protocol, mechanism, ("sasl.jaas.config", &line)][..],
        &[protocol, mechanism, ("sasl.username", LOGIN.0), ("sasl.password", LOGIN.1)],
    ];
    goes_all_the_way(broker, &world(&broker.guarded_servers(), &keys));
}

#[test]
fn a_wrong_password_is_named_as_such() {
    let Some(broker) = shared() else { return };
    let line = jaas("plain.PlainLoginModule", "another");
    let keys =
        [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", &*line)];
    let world = world(&broker.guarded_servers(), &[&keys]);
    append(&world, 0..1);
    let agent = world.start();
    agent.wait_for(&["nvalid username or password"]);
    agent.wait_for(&["cannot send to Kafka yet"]);
    agent.kill();
    assert!(world.output().is_empty());
}

/// One broker for both: each way, and who is not let in.
#[test]
fn scram_and_certificates_go_over_tls_with_javas_stores() {
    let Some(broker) = Broker::start_with_tls() else { return };
    let [scram, certificate] = broker.secure_ports();
    let path = |name: &str| broker.path(name).display().to_string();
    let (jks, pem, own) = (path("trust.jks"), path("server.pem"), path("client.jks"));
    let line = jaas("scram.ScramLoginModule", LOGIN.1);
    let (protocol, login) = (("security.protocol", "SASL_SSL"), ("sasl.jaas.config", &*line));
    let store = [("ssl.truststore.location", &*jks), ("ssl.truststore.password", STORE_PASSWORD)];
    let longer = [
        protocol,
        login,
        ("sasl.mechanism", "SCRAM-SHA-512"),
        store[0],
        store[1],
        ("ssl.truststore.type", "JKS"),
    ];
    let shorter = [
        protocol,
        login,
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("ssl.truststore.location", &pem),
        ("ssl.truststore.type", "PEM"),
        ("ssl.cipher.suites", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_AES_256_GCM_SHA384"),
    ];
    goes_all_the_way(&broker, &world(&format!("127.0.0.1:{scram}"), &[&longer, &shorter]));

    let servers = format!("127.0.0.1:{certificate}");
    let named = [
        ("security.protocol", "SSL"),
        store[0],
        store[1],
        ("ssl.keystore.location", &own),
        ("ssl.keystore.password", STORE_PASSWORD),
        ("ssl.key.password", KEY_PASSWORD),
    ];
    let with_certificate = world(&servers, &[&named]);
    append(&with_certificate, 200..300);
    let agent = with_certificate.start();
    let wanted: String = lines(0..300).skip(200).map(|line| line + "\n").collect();
    eventually(
        || with_certificate.output().ends_with(wanted.as_bytes()),
        || format!("{} bytes are delivered", with_certificate.output().len()),
    );
    agent.stop();

    // The certificate says 127.0.0.1: another name for the same is as good as another machine.
    let elsewhere = format!("localhost:{scram}");
    for (servers, keys) in [
        (&servers, &named[..3]),
        (&elsewhere, &longer),
        (&format!("127.0.0.1:{scram}"), &[longer[0], longer[1], longer[2]]),
    ] {
        let world = world(servers, &[keys]);
        append(&world, 0..1);
        let agent = world.start();
        agent.wait_for(&["cannot send to Kafka yet"]);
        agent.wait_for(&["certificate"]);
        agent.kill();
    }
    let unlooked = [&longer[..], &[("ssl.endpoint.identification.algorithm", "none")]].concat();
    let world = world(&elsewhere, &[&unlooked]);
    append(&world, 300..400);
    let agent = world.start();
    Client(broker.servers()).wait_for_all("login", lines(0..400));
    agent.stop();
}
