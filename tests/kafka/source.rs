//! The source: what of a record becomes what of an event, and that each is delivered across kills and changes of the group.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::client::Client;
use crate::kafka::{Broker, shared};
use crate::world::{World, eventually};

/// Kafka at `@KAFKA@` → file channel → file_roll.
const KAFKA_TO_FILES: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = org.apache.flume.source.kafka.KafkaSource\na1.sources.r1.channels = c1\n\
    a1.sources.r1.kafka.bootstrap.servers = @KAFKA@\na1.sources.r1.kafka.consumer.auto.offset.reset = earliest\n\
    a1.sources.r1.batchSize = 100\na1.sources.r1.batchDurationMillis = 50\n\
    a1.sources.r1.kafka.consumer.session.timeout.ms = 3000\na1.sources.r1.kafka.consumer.heartbeat.interval.ms = 500\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
    a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
    a1.sinks.k1.channel = c1\n";

pub fn world(servers: &str, keys: &str) -> World {
    World::new(&format!("{KAFKA_TO_FILES}{keys}").replace("@KAFKA@", servers))
}

fn values(range: std::ops::Range<usize>) -> impl Iterator<Item = String> + Clone {
    range.map(|number| format!("record {number} of a topic"))
}

fn delivered(world: &World) -> Vec<String> {
    String::from_utf8(world.output()).unwrap().lines().map(String::from).collect()
}

/// Waits until all of `wanted` are there, in whatever order.
#[track_caller]
fn wait_for(worlds: &[&World], wanted: impl Iterator<Item = String>) -> Vec<String> {
    let wanted: BTreeSet<String> = wanted.collect();
    let all = || worlds.iter().flat_map(|world| delivered(world)).collect::<Vec<_>>();
    eventually(
        || all().into_iter().collect::<BTreeSet<_>>().is_superset(&wanted),
        || format!("{} of {} are delivered", all().len(), wanted.len()),
    );
    let all = all();
    assert_eq!(all.iter().cloned().collect::<BTreeSet<_>>(), wanted, "something that nobody sent");
    all
}

#[test]
fn a_record_becomes_an_event_with_headers_that_say_where_it_was() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("with.headers", 1, &[]);
    client.send_one("with.headers", "the key", b"the body", 1_234_567_890_123, ("from", "h1"));
    let keys = "a1.sources.r1.kafka.topics.regex = with\\\\.head.*\na1.sources.r1.kafka.consumer.group.id = headers\n\
                a1.sources.r1.header.host = from\na1.sinks.k1.sink.serializer = header_and_text\n";
    let world = world(&broker.servers(), keys);
    let agent = world.start();
    eventually(|| !delivered(&world).is_empty(), || "nothing is delivered".into());
    let line = delivered(&world).remove(0);
    for part in [
        "timestamp=1234567890123",
        "topic=with.headers",
        "partition=0",
        "offset=0",
        "key=the key",
        "host=h1",
        "the body",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    agent.stop();
}

/// The channel is ahead of the group when the agent is killed; nothing of what it has is read again.
#[test]
fn kills_lose_no_record_and_repeat_none() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("killed", 2, &[]);
    let keys = "a1.sources.r1.kafka.topics = killed\na1.sources.r1.kafka.consumer.group.id = killed\n";
    let world = world(&broker.servers(), keys);
    let mut sent = 0;
    for kill in 0..5 {
        client.send("killed", 2, values(sent..sent + 3000));
        sent += 3000;
        let agent = world.start();
        agent.wait_for(&["reads on"]);
        let before = world.delivered();
        // Right behind the first events, or a little later.
        eventually(|| world.delivered() > before, || "nothing is delivered".into());
        std::thread::sleep(Duration::from_millis(20 * kill));
        agent.kill();
    }
    let agent = world.start();
    let all = wait_for(&[&world], values(0..sent));
    assert_eq!(all.len(), sent, "records twice");
    // It may all have been in the channel, and the group hears of that once it has the agent as its member.
    agent.wait_for(&["killed:0", "reads on"]);
    agent.wait_for(&["killed:1", "reads on"]);
    agent.stop();
    for partition in 0..2 {
        let (offset, metadata) =
            client.committed("killed", "killed", partition).expect("committed at the stop");
        assert_eq!(offset, sent as i64 / 2);
        assert!(metadata.starts_with("flumen "), "{metadata}");
    }
}

/// While one agent's sink is stuck, the group goes on: the agent stays its member, hands over what another one asks for, and has told
/// of nothing that its channel has not.
#[test]
fn a_full_channel_holds_up_neither_the_group_nor_tells_it_of_what_waits() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("full", 2, &[]);
    client.send("full", 2, values(0..4000));
    let keys = "a1.sources.r1.kafka.topics = full\na1.sources.r1.kafka.consumer.group.id = full\n\
                a1.sources.r1.kafka.consumer.max.poll.interval.ms = 12000\n\
                a1.sources.r1.kafka.consumer.session.timeout.ms = 12000\n\
                a1.sources.r1.maxBackoffSleep = 2000\n";
    let small = "a1.channels.c1.type = memory\na1.channels.c1.keep-alive = 0\na1.channels.c1.capacity = 200\n\
                 a1.channels.c1.transactionCapacity = 100\n\
                 a1.sinks.k1.sink.directory = @DIR@/later\n";
    let (one, two) = (world(&broker.servers(), &format!("{keys}{small}")), world(&broker.servers(), keys));
    let first = one.start();
    // Longer than the group waits for one that does not poll, which is far longer than a pause.
    first.wait_for(&["put refused"]);
    std::thread::sleep(Duration::from_secs(13));
    let refused = first.said().matches("put refused").count();
    eventually(|| first.said().matches("put refused").count() > refused, || first.said());
    assert!(!first.said().contains("poll interval"), "it was put out of its group: {}", first.said());
    let told: i64 =
        (0..2).filter_map(|at| client.committed("full", "full", at)).map(|(offset, _)| offset).sum();
    assert!(told <= 200, "{told} records, and the channel has room for 200");
    // All of the other's are delivered, and the first goes on where it was once its sink can.
    let second = two.start();
    second.wait_for(&["reads on"]);
    first.wait_for(&["given up"]);
    eventually(|| delivered(&two).len() >= 1800, || format!("{} are delivered", delivered(&two).len()));
    std::fs::create_dir(one.path("later")).unwrap();
    let late = || {
        let files = std::fs::read_dir(one.path("later")).unwrap().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect::<String>()
    };
    client.wait_for_no_lag("full", "full");
    eventually(
        || late().lines().count() + delivered(&two).len() >= 4000,
        || format!("{} and {} are delivered", late().lines().count(), delivered(&two).len()),
    );
    let mut all = delivered(&two);
    all.extend(late().lines().map(String::from));
    assert_eq!(all.len(), 4000, "records twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), values(0..4000).collect());
    first.stop();
    second.stop();
}

#[test]
fn offsets_that_an_operator_resets_are_followed_back_and_forth() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("reset", 1, &[]);
    client.send("reset", 1, values(0..100));
    let keys = "a1.sources.r1.kafka.topics = reset\na1.sources.r1.kafka.consumer.group.id = reset\n";
    let world = world(&broker.servers(), keys);
    let agent = world.start();
    assert_eq!(wait_for(&[&world], values(0..100)).len(), 100);
    agent.stop();
    client.reset("reset", "reset", 90);
    let agent = world.start();
    eventually(|| delivered(&world).len() >= 110, || format!("{}", delivered(&world).len()));
    agent.stop();
    client.send("reset", 1, values(100..200));
    client.reset("reset", "reset", 150);
    let agent = world.start();
    eventually(|| delivered(&world).len() >= 160, || format!("{}", delivered(&world).len()));
    agent.stop();
    let wanted: Vec<String> = values(0..100).chain(values(90..100)).chain(values(150..200)).collect();
    assert_eq!(delivered(&world), wanted);
}

#[test]
fn partitions_go_from_one_agent_to_another_and_back_without_a_loss() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("shared", 4, &[]);
    // A session that no machine stands still for: who is out of the group cannot say how far it was.
    let keys = "a1.sources.r1.kafka.topics = shared\na1.sources.r1.kafka.consumer.group.id = shared\n\
                a1.sources.r1.kafka.consumer.session.timeout.ms = 12000\n";
    let (one, two) = (world(&broker.servers(), keys), world(&broker.servers(), keys));
    client.send("shared", 4, values(0..4000));
    let first = one.start();
    first.wait_for(&["reads on"]);
    let second = two.start();
    second.wait_for(&["reads on"]);
    first.wait_for(&["given up"]);
    client.send("shared", 4, values(4000..8000));
    let all = wait_for(&[&one, &two], values(0..8000));
    assert_eq!(all.len(), 8000, "an agent gave partitions up without telling how far it was");
    assert!(!delivered(&two).is_empty());
    // Killed, it is missed when its session is over.
    second.kill();
    client.send("shared", 4, values(8000..12_000));
    client.wait_for_no_lag("shared", "shared");
    wait_for(&[&one, &two], values(0..12_000));
    first.stop();
}

/// Frozen for longer than its session, it is out of the group, and so are its commits.
#[test]
fn an_agent_that_was_put_out_of_its_group_comes_back() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("out", 1, &[]);
    client.send("out", 1, values(0..500));
    let keys = "a1.sources.r1.kafka.topics = out\na1.sources.r1.kafka.consumer.group.id = out\n";
    let world = world(&broker.servers(), keys);
    let agent = world.start();
    wait_for(&[&world], values(0..500));
    agent.signal("STOP");
    client.send("out", 1, values(500..1000));
    std::thread::sleep(Duration::from_secs(6));
    agent.signal("CONT");
    client.wait_for_no_lag("out", "out");
    let all = wait_for(&[&world], values(0..1000));
    assert_eq!(all.len(), 1000, "the channel's own progress is of the same lineage");
    client.send("out", 1, values(1000..1100));
    wait_for(&[&world], values(0..1100));
    agent.stop();
    assert_eq!(client.committed("out", "out", 0).map(|(offset, _)| offset), Some(1100));
}

/// Once in the middle of a batch, and once it is not there when the agent starts.
#[test]
fn a_broker_that_goes_away_while_it_is_read_costs_no_record() {
    let Some(mut broker) = Broker::start() else { return };
    let client = Client(broker.servers());
    client.create("gone", 1, &[]);
    client.send("gone", 1, values(0..20_000));
    let keys =
        "a1.sources.r1.kafka.topics = gone\na1.sources.r1.kafka.consumer.reconnect.backoff.max.ms = 500\n";
    let world = world(&broker.servers(), keys);
    let agent = world.start();
    agent.wait_for(&["reads on"]);
    broker.kill();
    broker.run();
    client.send("gone", 1, values(20_000..20_100));
    client.wait_for_no_lag("flume", "gone");
    let all = wait_for(&[&world], values(0..20_100));
    assert_eq!(all.len(), 20_100, "records twice");
    agent.stop();
    client.send("gone", 1, values(20_100..20_200));
    broker.kill();
    let agent = world.start();
    agent.wait_for(&["source runs"]);
    agent.wait_for(&["Connection refused"]);
    broker.run();
    client.wait_for_no_lag("flume", "gone");
    assert_eq!(wait_for(&[&world], values(0..20_200)).len(), 20_200, "records twice");
    agent.stop();
}

/// The sink writes whole events, the source reads them.
#[test]
fn whole_events_go_through_a_topic_with_their_headers() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("events", 1, &[]);
    let keys = "a1.sinks.k1.kafka.topic = events\na1.sinks.k1.useFlumeEventFormat = true\n\
                a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = static\n\
                a1.sources.r1.interceptors.i1.key = datacenter\na1.sources.r1.interceptors.i1.value = Zürich\n";
    let sending = crate::sink::tail_world(&broker.servers(), keys);
    sending.append("in/a.log", "a line\n");
    let sender = sending.start();
    eventually(|| !client.read("events").is_empty(), || "no record".into());
    let record = client.read("events").remove(0).value;
    assert_eq!(record, b"\x02\x14datacenter\x0eZ\xc3\xbcrich\x00\x0ca line", "Flume's AvroFlumeEvent");
    sender.stop();
    client.send("events", 1, ["no event".to_string()]);
    let keys = "a1.sources.r1.kafka.topics = events\na1.sources.r1.kafka.consumer.group.id = events\n\
                a1.sources.r1.useFlumeEventFormat = true\na1.sinks.k1.sink.serializer = header_and_text\n";
    let world = world(&broker.servers(), keys);
    let agent = world.start();
    eventually(|| !delivered(&world).is_empty(), || "nothing is delivered".into());
    let line = delivered(&world).remove(0);
    assert!(line.contains("datacenter=Zürich") && line.ends_with("a line"), "{line}");
    agent.wait_for(&["offset 1", "record left out"]);
    eventually(
        || client.committed("events", "events", 0).is_some_and(|(offset, _)| offset == 2),
        || "what cannot be read is passed over".into(),
    );
    agent.stop();
}
