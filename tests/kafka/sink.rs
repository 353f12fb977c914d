//! The sink: what of an event becomes what of a record, and that each arrives.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::client::Client;
use crate::kafka::{Broker, shared};
use crate::world::{PATIENCE, World, eventually, free_port};

/// taildir → file channel → Kafka at `@KAFKA@`.
pub const TAIL_TO_KAFKA: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.producer.acks = all\n";

/// http → memory channel → Kafka.
const HTTP_TO_KAFKA: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = http\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = @PORT@\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = memory\n\
    a1.sinks.k1.type = org.apache.flume.sink.kafka.KafkaSink\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.kafka.bootstrap.servers = @KAFKA@\na1.sinks.k1.kafka.producer.linger.ms = 1\n";

pub fn tail_world(servers: &str, keys: &str) -> World {
    World::new(&format!("{TAIL_TO_KAFKA}{keys}").replace("@KAFKA@", servers))
}

pub fn lines(range: std::ops::Range<usize>) -> impl Iterator<Item = String> + Clone {
    range.map(|number| format!("line {number} of a log that is written to Kafka"))
}

pub fn append(world: &World, range: std::ops::Range<usize>) {
    let text: String = lines(range).map(|line| line + "\n").collect();
    world.append("in/a.log", text);
}

#[test]
fn tailed_lines_arrive_in_order_each_once() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("tailed", 1, &[]);
    let world = tail_world(
        &broker.servers(),
        "a1.sinks.k1.kafka.topic = tailed\na1.sinks.k1.flumeBatchSize = 1000\n",
    );
    append(&world, 0..30_000);
    let agent = world.start().started();
    client.wait_for_all("tailed", lines(0..30_000));
    append(&world, 30_000..30_010);
    let texts = client.wait_for_all("tailed", lines(0..30_010));
    assert!(lines(0..30_010).eq(texts), "an order of its own, or a line twice");
    agent.stop();
}

#[test]
fn headers_say_topic_partition_key_and_timestamp() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    for topic in ["plain-x", "named", "default-flume-topic"] {
        client.create(topic, 3, &[]);
    }
    let port = free_port();
    let keys = "a1.sinks.k1.kafka.topic = plain-%{kind}\na1.sinks.k1.partitionIdHeader = part\n\
                a1.sinks.k1.timestampHeader = when\na1.sinks.k1.header.host = from\n\
                a1.sinks.k1.deadLetter.type = file\na1.sinks.k1.deadLetter.file = @DIR@/refused.json\n";
    let config = format!("{HTTP_TO_KAFKA}{keys}").replace("@KAFKA@", &broker.servers());
    let world = World::new(&config.replace("@PORT@", &port.to_string()));
    let agent = world.start().started();
    post(
        port,
        r#"[{"headers":{"kind":"x","part":"2","key":"the key","when":"1234567890123","host":"h1"},"body":"first"},
            {"headers":{"topic":"named","part":"1","when":"soon"},"body":"second"},
            {"headers":{"topic":"named","part":"3"},"body":"beyond the partitions"},
            {"headers":{"topic":"named","part":"none"},"body":"no partition"},
            {"headers":{"topic":"named","key":"k"},"body":""}]"#,
    );
    client.wait_for_all("plain-x", ["first".to_string()]);
    client.wait_for_all("named", ["second".to_string(), String::new()]);
    let first = &client.read("plain-x")[0];
    assert_eq!((first.partition, first.key.as_deref()), (2, Some("the key")));
    assert_eq!(first.timestamp, Some(1_234_567_890_123));
    assert_eq!(first.headers, [("from".to_string(), "h1".to_string())]);
    let named = client.read("named");
    let second = named.iter().find(|one| one.value == b"second").unwrap();
    assert_eq!((second.partition, &second.key, second.headers.len()), (1, &None, 0));
    // Java's producers put the key `k` where its murmur2 hash says.
    assert_eq!(named.iter().find(|one| one.value.is_empty()).unwrap().partition, murmur2(b"k") % 3);
    let refused = || fs::read_to_string(world.path("refused.json")).unwrap_or_default();
    eventually(|| refused().lines().count() >= 2, refused);
    agent.stop();
    let refused = refused();
    let lines: Vec<&str> = refused.lines().collect();
    assert_eq!(lines.len(), 2, "{refused}");
    for body in ["beyond the partitions", "no partition"] {
        assert!(lines.iter().any(|line| line.contains(&format!("\"body\":\"{body}\""))), "{body}: {refused}");
    }
}

pub fn post(port: u16, json: &str) {
    let answer = answer(port, json);
    assert!(answer.contains(" 200 "), "{answer}");
}

/// What the http source says to these events.
pub fn answer(port: u16, json: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = json.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{json}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Kafka's hash of a key, made positive as its clients do.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (at, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as i32
}

/// By the client's own limit and by the topic's, of which only the broker knows.
#[test]
fn a_record_that_is_too_large_goes_to_the_dead_letter_once_and_the_next_flows() {
    too_large("small", "");
}

/// The transaction in which the broker finds it begins anew.
#[test]
fn a_record_that_is_too_large_for_a_transaction_goes_to_the_dead_letter_once_and_each_other_is_there_once() {
    too_large("small-exact", "a1.sinks.k1.kafka.producer.transactional.id = small-exact\n");
}

fn too_large(topic: &str, further: &str) {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create(topic, 1, &[("max.message.bytes", "20000")]);
    let keys = "a1.sinks.k1.flumeBatchSize = 100\na1.sinks.k1.deadLetter.type = file\n\
                a1.sinks.k1.deadLetter.file = @DIR@/refused.json\na1.sinks.k1.kafka.producer.max.request.size = 60000\n";
    let world = tail_world(&broker.servers(), &format!("{keys}a1.sinks.k1.kafka.topic = {topic}\n{further}"));
    let small = |number: usize| format!("{number:0>1000}");
    let mut text = String::new();
    for number in 0..120 {
        text += &(small(number) + "\n");
        match number {
            40 => text += &("m".repeat(30_000) + "\n"),
            80 => text += &("l".repeat(70_000) + "\n"),
            _ => {}
        }
    }
    world.append("in/a.log", text);
    let agent = world.start().started();
    let texts = client.wait_for_all(topic, (0..120).map(small));
    let refused = || fs::read_to_string(world.path("refused.json")).unwrap_or_default();
    eventually(|| refused().lines().count() >= 2, refused);
    // Those that were on their way with the one which the broker refused may be there twice, but not what is committed.
    let different: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(different.len(), 120);
    assert!(further.is_empty() || texts.len() == 120, "{} records", texts.len());
    world.append("in/a.log", "after all that\n");
    client.wait_for_all(topic, (0..120).map(small).chain(["after all that".to_string()]));
    agent.stop();
    let refused = refused();
    let lines: Vec<&str> = refused.lines().collect();
    assert_eq!(lines.len(), 2, "{refused:.2000}");
    assert!(lines.iter().any(|line| line.contains("mmmm")) && lines.iter().any(|line| line.contains("llll")));
}

#[test]
fn a_broker_that_is_not_there_or_goes_away_costs_no_line() {
    let Some(mut broker) = Broker::start() else { return };
    let client = Client(broker.servers());
    client.create("away", 1, &[]);
    broker.kill();
    let world = tail_world(
        &broker.servers(),
        "a1.sinks.k1.kafka.topic = away\na1.sinks.k1.kafka.producer.reconnect.backoff.max.ms = 500\n",
    );
    append(&world, 0..1000);
    let agent = world.start();
    agent.wait_for(&["cannot send to Kafka yet"]);
    broker.run();
    client.wait_for_all("away", lines(0..1000));
    let mut written = 1000;
    for _ in 0..2 {
        append(&world, written..written + 20_000);
        std::thread::sleep(Duration::from_millis(150));
        broker.kill();
        append(&world, written + 20_000..written + 20_010);
        broker.run();
        written += 20_010;
    }
    let texts = client.wait_for_all("away", lines(0..written));
    // The client's own tries are numbered, and the broker knows them: without a failed flush nothing is there twice.
    assert!(lines(0..written).eq(texts), "an order of its own, or a line twice");
    // Killed while it has handed lines to its client and the brokers have none of them, it has let go of none.
    broker.kill();
    append(&world, written..written + 100);
    std::thread::sleep(Duration::from_millis(500));
    agent.kill();
    broker.run();
    let agent = world.start();
    client.wait_for_all("away", lines(0..written + 100));
    agent.stop();
}

/// And whoever waited for it reads them.
#[test]
fn a_topic_that_comes_later_gets_the_lines_that_waited_for_it() {
    let Some(mut broker) = Broker::start() else { return };
    broker.kill();
    broker.refuse_new_topics();
    broker.run();
    let client = Client(broker.servers());
    let world = tail_world(&broker.servers(), "a1.sinks.k1.kafka.topic = later\n");
    append(&world, 0..100);
    let agent = world.start();
    // It has another topic to read meanwhile.
    client.create("there", 1, &[]);
    client.send("there", 1, ["a record".to_string()]);
    let reading = crate::source::world(&broker.servers(), "a1.sources.r1.kafka.topics = there,later\n");
    let reader = reading.start();
    agent.wait_for(&["cannot send to Kafka yet"]);
    reader.wait_for(&["nknown topic"]);
    reading.wait_delivered("a record\n".len() as u64);
    client.create("later", 1, &[]);
    client.wait_for_all("later", lines(0..100));
    client.wait_for_no_lag("flume", "later");
    let text: String =
        std::iter::once("a record".into()).chain(lines(0..100)).map(|line| line + "\n").collect();
    reading.wait_delivered(text.len() as u64);
    assert!(reading.output() == text.as_bytes(), "an order of its own, or a line twice");
    agent.stop();
    reader.stop();
}
