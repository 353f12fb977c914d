//! Keys, without a broker. What reaches one is in the tests of the whole product.

use flumen_api::settings::Problems;

use super::*;
use crate::testing::config;

/// The sink of these keys, and what was said.
fn built(pairs: &[(&str, &str)]) -> (Option<KafkaSink>, Vec<String>) {
    let mut problems = Problems::default();
    let sink = KafkaSink::from_config(&config(pairs), &mut problems);
    assert_eq!(sink.is_none(), problems.errors() > 0, "{problems:?}");
    (sink, problems.0.iter().map(ToString::to_string).collect())
}

#[test]
fn the_keys_of_1_6_work_and_say_what_to_write() {
    let (sink, said) = built(&[
        ("brokerList", "b:9092"),
        ("topic", "t"),
        ("batchSize", "20"),
        ("requiredAcks", "-1"),
        ("serializer.class", "kafka.serializer.DefaultEncoder"),
    ]);
    let sink = sink.expect("a sink");
    assert_eq!((sink.batch_size, sink.routing.fixed_topic()), (20, Some("t")));
    let Way::Plain(_) = sink.way else { panic!("no transactions were asked for") };
    for part in [
        "kafka.bootstrap.servers",
        "kafka.topic",
        "flumeBatchSize",
        "kafka.producer.acks",
        "values are bytes",
    ] {
        assert!(said.iter().any(|line| line.contains(part) && line.contains("warning")), "{part}: {said:?}");
    }
}

#[test]
fn exactly_once_needs_all_brokers_and_a_take_that_can_be_noted() {
    let id = ("kafka.producer.transactional.id", "k1");
    let servers = ("kafka.bootstrap.servers", "b:9092");
    for (keys, why) in [
        (&[servers, id][..], None),
        (&[servers, id, ("kafka.producer.acks", "all")], None),
        (&[servers, id, ("kafka.producer.acks", "1")], Some("acks")),
        (&[servers, id, ("flumeBatchSize", "5000")], Some("flumeBatchSize")),
    ] {
        let (sink, said) = built(keys);
        assert_eq!(sink.is_none(), why.is_some(), "{said:?}");
        assert!(why.is_none_or(|why| said.iter().any(|line| line.contains(why))), "{said:?}");
    }
}

#[test]
fn what_opens_stores_and_logins_is_taken_and_never_shown() {
    let (sink, said) = built(&[
        ("kafka.bootstrap.servers", "b:9092"),
        ("kafka.producer.security.protocol", "SASL_SSL"),
        ("kafka.producer.sasl.mechanism", "SCRAM-SHA-512"),
        (
            "kafka.producer.sasl.jaas.config",
            "x.ScramLoginModule required username=\"u\" password=\"hidden\";",
        ),
        ("kafka.producer.sasl.password", "hidden"),
        ("kafka.producer.ssl.truststore.password", "hidden"),
        ("kafka.producer.ssl.keystore.password", "hidden"),
        ("kafka.producer.ssl.key.password", "hidden"),
        ("kafka.producer.ssl.provider", "something to say"),
    ]);
    assert!(sink.is_some() && said.len() == 1 && !said[0].contains("hidden"), "{said:?}");
}

#[test]
fn brokers_are_required_and_wrong_values_are_refused_by_name() {
    let servers = ("kafka.bootstrap.servers", "b:9092");
    for (keys, why) in [
        (&[][..], "kafka.bootstrap.servers"),
        (&[servers, ("kafka.producer.acks", "some")], "kafka.producer.acks"),
        (&[servers, ("kafka.topic", "a b"), ("allowTopicOverride", "false")], "kafka.topic"),
        (&[servers, ("kafka.producer.sasl.mechanism", "GSSAPI")], "Kerberos"),
    ] {
        let (sink, said) = built(keys);
        assert!(sink.is_none() && said.iter().any(|line| line.contains(why)), "{why}: {said:?}");
    }
}
