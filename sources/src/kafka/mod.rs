//! The Kafka source: records of topics, read as a member of a consumer group.
//!
//! ```text
//!   member   polls: records, and what the group wants ──> record: an event of each
//!      │                                                     │ batch: events and, for each partition, progress
//!      │                                                     v
//!      │ commit: offsets of what the channels have  <──  tickets  <──  channels (events + progress, durable together)
//!      v
//!   group    offset and lineage ──┐
//!   channels progress and lineage ┴─ place: where to begin when a partition comes
//! ```
//!
//! An offset is committed once every required channel has the events before it, never earlier. After a crash the channels are
//! ahead of the group, and what they have is not read again (`place.rs` says when that can be trusted). While a channel is full the
//! source stays in its group: it goes on polling, with its partitions paused.

mod place;
mod reader;
mod record;
mod settings;
mod topics;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Family, Problems};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_kafka::zookeeper::ZooKeeper;
use flumen_kafka::{Properties, Role};

use reader::Reader;
use record::Shape;
pub use settings::KafkaSourceSettings;
use topics::Topics;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.source.kafka.KafkaSource"],
        keys: KafkaSourceSettings::KEYS,
        doc: "Reads topics of Kafka as a member of a consumer group.",
        factory: Factory::Source(Runs::Thread, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let source = KafkaSource::from_config(config, problems)?;
    let batch_size = Some(("batchSize", source.settings.batch_size));
    Some(Built { component: Box::new(source), batch_size })
}

/// Reads topics.
struct KafkaSource {
    settings: KafkaSourceSettings,
    properties: Properties,
    topics: Topics,
    shape: Shape,
}

impl KafkaSource {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = KafkaSourceSettings::load(config, problems)?;
        let before = problems.errors();
        match (&settings.bootstrap_servers, &settings.zookeeper_connect) {
            (Some(_), _) => {}
            (None, Some(_)) => {
                let message =
                    "the brokers are asked of ZooKeeper at each start; write kafka.bootstrap.servers";
                problems.warn(config, "zookeeperConnect", message);
            }
            (None, None) => {
                let message =
                    "required key is missing: the brokers to ask first, `host:port` separated by commas";
                problems.error(config, "kafka.bootstrap.servers", message);
            }
        }
        let topics = Topics::of(&settings, config, problems);
        let mut properties =
            Properties::new(Role::Consumer, settings.bootstrap_servers.as_deref().unwrap_or_default());
        let own = &["group.id", "auto.offset.reset", "timeout.ms"];
        let old = of_old(&settings);
        for name in old.0.keys() {
            let message = format!("old name; write kafka.consumer.{name}");
            problems.warn(config, &format!("kafka.{name}"), message);
        }
        properties.take_over(&old, "kafka.", own, config, problems)?;
        properties.take_over(&settings.consumer, "kafka.consumer.", own, config, problems)?;
        properties.set("group.id", settings.group_id.as_str());
        // For offsets that are gone while it reads; where a group begins the source looks up itself.
        properties.set("auto.offset.reset", reader::Reset::of(&settings.auto_offset_reset).word());
        if problems.errors() > before {
            return None;
        }
        let shape = Shape::of(&settings);
        Some(Self { settings, properties, topics: topics?, shape })
    }
}

/// The consumer's properties as Flume 1.6 had them, by their names without `kafka.`.
fn of_old(settings: &KafkaSourceSettings) -> Family {
    let families = [
        ("auto.", &settings.old_auto),
        ("fetch.", &settings.old_fetch),
        ("socket.", &settings.old_socket),
        ("zookeeper.", &settings.old_zookeeper),
        ("rebalance.", &settings.old_rebalance),
    ];
    let all = families.iter().flat_map(|(prefix, family)| {
        family.0.iter().map(move |(name, value)| (format!("{prefix}{name}"), value.clone()))
    });
    // That one is a key of the source's own.
    Family(all.filter(|(name, _)| name != "auto.offset.reset").collect())
}

#[async_trait]
impl Source for KafkaSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let mut properties = self.properties.clone();
        if let (None, Some(zookeeper)) = (&self.settings.bootstrap_servers, &self.settings.zookeeper_connect)
        {
            let brokers = ZooKeeper::connect(zookeeper).and_then(|mut session| session.brokers());
            properties.set("bootstrap.servers", brokers.map_err(SourceError::plain)?);
        }
        let mut reader = Reader::new(context, &self.settings, &properties, &self.topics, &self.shape)?;
        let result = reader.run().await;
        reader.finish().await;
        result
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn said(pairs: &[(&str, &str)]) -> (bool, Vec<String>) {
        let config = ComponentConfig::of(Kind::Source, "r1", pairs);
        let mut problems = Problems::default();
        let built = build(&config, &mut problems).is_some();
        assert_eq!(built, problems.errors() == 0, "{problems:?}");
        (built, problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn todays_keys_need_brokers_and_topics_or_an_expression() {
        let servers = ("kafka.bootstrap.servers", "b:9092");
        assert_eq!(said(&[servers, ("kafka.topics", "a, b")]), (true, vec![]));
        assert_eq!(said(&[servers, ("kafka.topics.regex", "x.*")]), (true, vec![]));
        assert!(!said(&[("kafka.topics", "t")]).0);
        assert!(!said(&[servers]).0);
        assert!(!said(&[servers, ("kafka.topics.regex", "(")]).0);
    }

    #[test]
    fn the_keys_of_1_6_with_brokers_work_and_say_what_to_write() {
        let (built, said) = said(&[
            ("kafka.bootstrap.servers", "b:9092"),
            ("topic", "t"),
            ("groupId", "g"),
            ("kafka.consumer.timeout.ms", "100"),
        ]);
        assert!(built);
        for part in ["write kafka.topics", "write kafka.consumer.group.id", "Kafka 0.8"] {
            assert!(
                said.iter().any(|line| line.contains(part) && line.contains("warning")),
                "{part}: {said:?}"
            );
        }
    }

    #[test]
    fn properties_of_kafka_0_8_behind_kafka_alone_work_or_say_why_they_change_nothing() {
        let keys = [
            ("kafka.bootstrap.servers", "b:9092"),
            ("topic", "t"),
            ("kafka.group.id", "old"),
            ("kafka.auto.offset.reset", "smallest"),
            ("kafka.auto.commit.enable", "true"),
            ("kafka.fetch.message.max.bytes", "2000000"),
            ("kafka.socket.timeout.ms", "20000"),
            ("kafka.zookeeper.session.timeout.ms", "400"),
            ("kafka.rebalance.max.retries", "4"),
        ];
        let config = ComponentConfig::of(Kind::Source, "r1", &keys);
        let mut problems = Problems::default();
        let source = KafkaSource::from_config(&config, &mut problems).unwrap();
        for (name, value) in [
            ("group.id", Some("old")),
            ("auto.offset.reset", Some("earliest")),
            ("fetch.message.max.bytes", Some("2000000")),
            ("socket.timeout.ms", Some("20000")),
            ("enable.auto.commit", Some("false")),
            ("auto.commit.enable", None),
        ] {
            assert_eq!(source.properties.get(name), value, "{name}");
        }
        let said: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        for (key, _) in &keys[1..] {
            let names = |line: &&String| line.contains(&format!("r1.{key}:")) && line.contains("warning");
            assert!(said.iter().any(|line| names(&line)), "{key}: {said:?}");
        }
    }

    #[test]
    fn zookeeper_alone_is_enough_and_says_what_to_write() {
        let (built, said) = said(&[("zookeeperConnect", "z:2181"), ("topic", "t")]);
        assert!(built);
        assert!(said.iter().any(|line| line.contains("kafka.bootstrap.servers")), "{said:?}");
    }

    #[test]
    fn what_opens_stores_and_logins_is_taken_and_never_shown() {
        let (built, said) = said(&[
            ("kafka.bootstrap.servers", "b:1"),
            ("kafka.topics", "t"),
            ("kafka.consumer.security.protocol", "SASL_SSL"),
            ("kafka.consumer.sasl.mechanism", "SCRAM-SHA-256"),
            (
                "kafka.consumer.sasl.jaas.config",
                "x.ScramLoginModule required username=\"u\" password=\"hidden\";",
            ),
            ("kafka.consumer.sasl.password", "hidden"),
            ("kafka.consumer.ssl.truststore.password", "hidden"),
            ("kafka.consumer.ssl.keystore.password", "hidden"),
            ("kafka.consumer.ssl.key.password", "hidden"),
            ("kafka.consumer.ssl.provider", "something to say"),
        ]);
        assert!(built && said.len() == 1 && !said[0].contains("hidden"), "{said:?}");
    }

    #[test]
    fn kerberos_is_refused_by_name() {
        let keys = [
            ("kafka.bootstrap.servers", "b:1"),
            ("kafka.topics", "t"),
            ("kafka.consumer.security.protocol", "SASL_SSL"),
            ("kafka.consumer.sasl.mechanism", "GSSAPI"),
        ];
        let (built, said) = said(&keys);
        assert!(!built && said.iter().any(|line| line.contains("Kerberos")), "{said:?}");
    }
}
