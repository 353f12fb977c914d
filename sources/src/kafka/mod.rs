//! The Kafka source, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! source out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};

pub use settings::KafkaSourceSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.source.kafka.KafkaSource"],
        keys: KafkaSourceSettings::KEYS,
        doc: "Reads topics of Kafka as a member of a consumer group.",
        factory: Factory::Announced(Kind::Source, check),
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<Announced> {
    let settings = KafkaSourceSettings::load(config, problems);
    // As written for Flume 1.6: ZooKeeper knows the brokers.
    if config.get("kafka.bootstrap.servers").is_none() && config.get("zookeeperConnect").is_none() {
        let message = "required key is missing: the brokers to ask first, `host:port` separated by commas";
        problems.error(config, "kafka.bootstrap.servers", message);
        return None;
    }
    let topics = ["kafka.topics", "topic", "kafka.topics.regex"];
    if topics.iter().all(|key| config.get(key).is_none()) {
        let message =
            "required key is missing: the topics to read, separated by commas (or `kafka.topics.regex`)";
        problems.error(config, "kafka.topics", message);
        return None;
    }
    Some(Announced { batch_size: Some(("batchSize", settings?.batch_size)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> (bool, Vec<String>) {
        let config = ComponentConfig::of(Kind::Source, "r1", pairs);
        let mut problems = Problems::default();
        let built = check(&config, &mut problems).is_some();
        (built, problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn old_and_new_keys_are_enough_each_by_themselves() {
        assert_eq!(
            said(&[("kafka.bootstrap.servers", "b:9092"), ("kafka.topics.regex", "x.*")]),
            (true, vec![])
        );
        let (built, said) = said(&[("zookeeperConnect", "z:2181"), ("topic", "t"), ("groupId", "g")]);
        assert!(built);
        assert!(
            said.iter().any(|line| line.contains(":2: warning: ") && line.contains("write kafka.topics"))
        );
        assert!(said.iter().any(|line| line.contains(":3: ") && line.contains("kafka.consumer.group.id")));
    }

    #[test]
    fn without_brokers_or_topics_there_is_nothing_to_read() {
        assert!(!said(&[("kafka.topics", "t")]).0);
        assert!(!said(&[("kafka.bootstrap.servers", "b:9092")]).0);
    }
}
