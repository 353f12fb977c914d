//! The channel: what of the suite of all channels holds for one that has no capacity and keeps no progress.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flumen_api::channel::Channel;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::{self, Subject};

use crate::client::Client;
use crate::kafka::shared;
use crate::sink::{answer, append, lines, post};
use crate::world::{World, eventually, free_port};

/// A channel over a topic of its own.
struct InKafka {
    servers: String,
    topic: String,
}

impl InKafka {
    fn new() -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let servers = shared()?.servers();
        let topic = format!("channel-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Client(servers.clone()).create(&topic, 1, &[("max.message.bytes", "12000000")]);
        Some(Self { servers, topic })
    }
}

impl Subject for InKafka {
    fn open(&self, _keys: &[(&str, &str)]) -> Arc<dyn Channel> {
        let types = flumen_engine::channels::specs();
        let class = "org.apache.flume.channel.kafka.KafkaChannel";
        let spec = types.iter().find(|spec| spec.class_names.contains(&class)).unwrap();
        let Factory::Channel { check, open, .. } = spec.factory else { panic!("not a channel") };
        let keys = [
            ("kafka.bootstrap.servers", &*self.servers),
            ("kafka.topic", &self.topic),
            ("kafka.consumer.group.id", &self.topic),
            ("kafka.producer.max.request.size", "12000000"),
            ("kafka.consumer.session.timeout.ms", "3000"),
            ("kafka.consumer.heartbeat.interval.ms", "500"),
        ];
        let config = ComponentConfig::of(Kind::Channel, "c1", &keys);
        let mut problems = Problems::default();
        assert!(check(&config, &mut problems).is_some(), "{problems:?}");
        let context = ChannelContext {
            agent: "a1".into(),
            memory_limit: 1 << 30,
            ignore_flume_data: false,
            storage: Storage::Auto,
            metrics: ChannelMetrics::default(),
        };
        open(&config, context).unwrap()
    }

    fn is_local(&self) -> bool {
        false
    }
}

macro_rules! holds {
    ($($test:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let subject = tokio::task::spawn_blocking(InKafka::new).await.unwrap();
            let Some(subject) = subject else { return };
            conformance::$test(&subject).await;
        }
    )+};
}

holds!(
    a_single_taker_sees_the_order_of_the_puts,
    rolled_back_events_go_out_first_and_in_order,
    a_put_may_be_taken_in_parts,
    a_dropped_take_is_a_rollback,
    any_headers_and_bodies_come_back_as_they_were,
    releases_may_come_in_any_order,
    only_selected_events_are_put,
    a_waiting_taker_hears_of_puts_and_rollbacks,
    a_closed_channel_says_so,
    unreleased_events_come_again_after_a_restart_and_released_ones_do_not,
);

/// An agent with a source and no sink.
const PUTS: &str = "a1.sources = r1\na1.channels = c1\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n";
/// One with a sink and no source.
const TAKES: &str = "a1.channels = c1\na1.sinks = k1\n\
    a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
    a1.sinks.k1.channel = c1\na1.channels.c1.kafka.consumer.session.timeout.ms = 3000\n\
    a1.channels.c1.kafka.consumer.heartbeat.interval.ms = 500\n";

#[test]
fn one_agent_puts_and_two_share_what_there_is_to_take_and_one_of_them_dies() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("many", 2, &[]);
    let channel = format!(
        "a1.channels.c1.type = org.apache.flume.channel.kafka.KafkaChannel\n\
         a1.channels.c1.kafka.bootstrap.servers = {}\na1.channels.c1.kafka.topic = many\n\
         a1.channels.c1.kafka.consumer.group.id = many\na1.channels.c1.parseAsFlumeEvent = false\n\
         a1.channels.c1.kafka.pollTimeout = 100\n",
        broker.servers()
    );
    let [puts, one, two] = [PUTS, TAKES, TAKES].map(|keys| World::new(&format!("{keys}{channel}")));
    let delivered = || -> BTreeSet<String> {
        let text = [one.output(), two.output()].concat();
        String::from_utf8_lossy(&text).lines().map(String::from).collect()
    };
    let first = one.start().started();
    let second = two.start().started();
    let putting = puts.start();
    let mut written = 0;
    // A member that comes gets partitions some time later.
    eventually(
        || {
            append(&puts, written..written + 200);
            written += 200;
            std::thread::sleep(std::time::Duration::from_millis(100));
            one.delivered() > 0 && two.delivered() > 0
        },
        || format!("{} and {} bytes are delivered", one.delivered(), two.delivered()),
    );
    second.kill();
    append(&puts, written..written + 2000);
    let wanted: BTreeSet<String> = lines(0..written + 2000).collect();
    eventually(|| delivered() == wanted, || format!("{} lines of {}", delivered().len(), wanted.len()));
    putting.stop();
    first.stop();
    // The body alone is the value, for others to read.
    assert!(client.texts("many").iter().all(|text| wanted.contains(text)));
}

/// Header, then key of the configuration, then the record's key.
#[test]
fn a_put_goes_to_the_partition_that_its_events_or_the_keys_name() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("parted", 3, &[]);
    let port = free_port();
    let world = World::new(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = http\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = org.apache.flume.channel.kafka.KafkaChannel\n\
         a1.channels.c1.kafka.bootstrap.servers = {}\na1.channels.c1.kafka.topic = parted\n\
         a1.channels.c1.parseAsFlumeEvent = false\na1.channels.c1.defaultPartitionId = 1\n\
         a1.channels.c1.partitionIdHeader = part\n",
        broker.servers()
    ));
    let agent = world.start().started();
    post(
        port,
        r#"[{"headers":{"part":"2","key":"k"},"body":"named"},{"headers":{"key":"k"},"body":"by default"}]"#,
    );
    // Whoever sends it hears that it cannot be.
    for (part, why) in [("none", "not a number"), ("-1", "not a number"), ("3", "")] {
        let said = answer(port, &format!(r#"[{{"headers":{{"part":"{part}"}},"body":"nowhere"}}]"#));
        assert!(said.contains(" 503 ") && agent.said().contains(why), "{part}: {said}");
    }
    let seen: Vec<_> = client.read("parted").iter().map(|one| (one.partition, one.text())).collect();
    assert_eq!(seen, [(1, "by default".to_string()), (2, "named".to_string())]);
    agent.stop();
}

/// As where a topic was removed and made again, or an operator wrote a number too large.
#[test]
fn a_group_whose_offset_is_beyond_the_end_begins_anew_and_tells_so() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("beyond", 1, &[]);
    client.send("beyond", 1, lines(0..100));
    client.reset("beyond", "beyond", 1000);
    let channel = format!(
        "a1.channels.c1.type = org.apache.flume.channel.kafka.KafkaChannel\n\
         a1.channels.c1.kafka.bootstrap.servers = {}\na1.channels.c1.kafka.topic = beyond\n\
         a1.channels.c1.kafka.consumer.group.id = beyond\na1.channels.c1.parseAsFlumeEvent = false\n",
        broker.servers()
    );
    let world = World::new(&format!("{TAKES}{channel}"));
    let agent = world.start();
    let wanted: String = lines(0..100).map(|line| line + "\n").collect();
    world.wait_delivered(wanted.len() as u64);
    client.wait_for_no_lag("beyond", "beyond");
    agent.stop();
    assert_eq!(world.output(), wanted.as_bytes());
}
