//! Keys, without a broker. What reaches one is in the tests of the whole product.

use flumen_api::settings::Kind;

use super::*;

fn read(pairs: &[(&str, &str)]) -> (Option<Setup>, Vec<String>) {
    let all: Vec<_> = pairs.iter().copied().chain([("kafka.bootstrap.servers", "b:9092")]).collect();
    let config = ComponentConfig::of(Kind::Channel, "c1", &all);
    let mut problems = Problems::default();
    let setup = Setup::read(&config, &mut problems);
    assert_eq!(setup.is_none(), problems.errors() > 0, "{problems:?}");
    (setup, problems.0.iter().map(ToString::to_string).collect())
}

#[test]
fn a_new_group_begins_at_the_oldest_record_unless_a_key_of_either_age_says_otherwise() {
    let reset = ("kafka.consumer.auto.offset.reset", "latest");
    for (keys, earliest) in [
        (&[][..], true),
        (&[reset], false),
        (&[("readSmallestOffset", "false")], false),
        (&[("readSmallestOffset", "true"), reset], false),
    ] {
        let setup = read(keys).0.expect("good keys");
        assert_eq!(setup.from_earliest, earliest, "{keys:?}");
        let word = if earliest { "earliest" } else { "latest" };
        assert_eq!(setup.consumer.get("auto.offset.reset"), Some(word), "{keys:?}");
    }
}

#[test]
fn all_brokers_have_a_put_and_its_order_is_kept_with_fewer_as_well() {
    let setup = read(&[]).0.expect("good keys");
    assert_eq!(setup.producer.get("acks"), Some("all"));
    assert_eq!(setup.producer.get("enable.idempotence"), Some("true"));
    let setup = read(&[("kafka.producer.acks", "1")]).0.expect("good keys");
    assert_eq!(setup.producer.get("acks"), Some("1"));
    assert_eq!(setup.producer.get("max.in.flight.requests.per.connection"), Some("1"));
}

#[test]
fn what_cannot_be_is_an_error() {
    for (key, value, why) in [
        ("kafka.producer.acks", "2", "kafka.producer.acks"),
        ("kafka.consumer.sasl.mechanism", "GSSAPI", "Kerberos"),
        ("kafka.consumer.auto.offset.reset", "none", "auto.offset.reset"),
        ("defaultPartitionId", "4294967295", "defaultPartitionId"),
    ] {
        let (setup, said) = read(&[(key, value)]);
        assert!(setup.is_none() && said.iter().any(|line| line.contains(why)), "{key}: {said:?}");
    }
}

#[test]
fn zookeeper_is_asked_only_where_it_is_named_and_nobody_forbids_it() {
    let named = ("zookeeperConnect", "z:2181");
    for (keys, asked) in [
        (&[][..], None),
        (&[named], Some("z:2181")),
        (&[named, ("migrateZookeeperOffsets", "true")], Some("z:2181")),
        (&[named, ("migrateZookeeperOffsets", "false")], None),
    ] {
        let (setup, said) = read(keys);
        assert_eq!((setup.expect("good keys").zookeeper.as_deref(), said.len()), (asked, 0), "{keys:?}");
    }
}

#[test]
fn the_keys_of_1_6_work_and_say_what_to_write() {
    let (setup, said) = read(&[("topic", "t"), ("groupId", "g"), ("timeout", "20")]);
    let setup = setup.expect("good keys");
    assert_eq!((setup.topic.as_str(), setup.poll_timeout), ("t", Duration::from_millis(20)));
    assert_eq!(setup.consumer.get("group.id"), Some("g"));
    assert_eq!(said.len(), 3, "{said:?}");
}
