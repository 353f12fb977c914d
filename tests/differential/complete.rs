//! Whether each component type that is built in has a case.

use std::collections::BTreeSet;

use flumen_api::registry::{Registry, Spec};
use flumen_api::settings::Kind;

use crate::case::Case;
use crate::cases;

const KINDS: &[Kind] = &[
    Kind::Source,
    Kind::Channel,
    Kind::Sink,
    Kind::Interceptor,
    Kind::ValueSerializer,
    Kind::Selector,
    Kind::Processor,
    Kind::Serializer,
];

/// Types that have no case, and why.
const WITHOUT: &[(Kind, &str, &str)] = &[
    (Kind::Source, "avro", "the suite `wire` has Flume's own agents and clients send to it"),
    (Kind::Sink, "avro", "the suite `wire` has it send to Flume's own agents"),
    (Kind::Source, "thrift", "the suite `wire` has Flume's own client send to it"),
    (Kind::Sink, "thrift", "the suite `wire` has it send to Flume's own agent"),
    (
        Kind::Source,
        "org.apache.flume.source.kafka.KafkaSource",
        "the suite `kafka` has it read from a real broker",
    ),
    (
        Kind::Channel,
        "org.apache.flume.channel.kafka.KafkaChannel",
        "the suite `kafka` has it keep events in a real broker",
    ),
    (Kind::Sink, "org.apache.flume.sink.kafka.KafkaSink", "the suite `kafka` has it write to a real broker"),
    (
        Kind::Sink,
        "hdfs",
        "Flume's needs all of Hadoop: the bytes of its files are compared with Hadoop's, and Hadoop's own readers read them",
    ),
    (Kind::Source, "loghub", "Flume has none: Aliyun's plug-in speaks to a service that nobody can start"),
];

/// What is used where no key names it.
const DEFAULTS: &[(Kind, &str)] =
    &[(Kind::Channel, "memory"), (Kind::Selector, "replicating"), (Kind::ValueSerializer, "DEFAULT")];

/// What keys choose that are no types of the registry; what a key chooses by default is not among it.
const CHOICES: &[(&str, &[&str])] = &[
    ("deserializer", &["AVRO", "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"]),
    (
        "handler",
        &["org.apache.flume.source.http.BLOBHandler", "org.apache.flume.sink.solr.morphline.BlobHandler"],
    ),
    ("processor.selector", &["random"]),
    ("selector.policy", &["random"]),
    ("sink.pathManager", &["rolltime"]),
];

/// A type's name as the lists above have it.
fn name(spec: &Spec) -> &'static str {
    if spec.alias.is_empty() { spec.class_names.first().copied().unwrap_or_default() } else { spec.alias }
}

/// Keys and values of a case, those of its sources behind `source.` and those of its sinks behind `sink.`.
fn pairs(case: &Case) -> Vec<(String, String)> {
    let source = case.source.iter().map(|line| format!("source.{line}"));
    let sinks = case.all_sinks().into_iter().flat_map(|(_, keys)| keys);
    let sinks = sinks.map(|line| format!("sink.{line}"));
    let agent = case.agent.iter().map(|line| (*line).to_string());
    let lines = source.chain(sinks).chain(agent);
    let pair = |line: String| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_string(), value.trim().to_string()))
    };
    lines.filter_map(pair).collect()
}

/// The kind of component whose type stands behind a key.
fn kind(key: &str) -> Option<Kind> {
    Some(match key.split('.').collect::<Vec<_>>().as_slice() {
        ["source", "type"] => Kind::Source,
        ["source", "interceptors", _, "type"] => Kind::Interceptor,
        ["source", "interceptors", _, "serializers", _, "type"] => Kind::ValueSerializer,
        ["source", "selector", "type"] => Kind::Selector,
        ["sink", "type"] => Kind::Sink,
        ["sink", "sink", "serializer"] => Kind::Serializer,
        ["a1", "channels", _, "type"] => Kind::Channel,
        ["a1", "sinkgroups", _, "processor", "type"] => Kind::Processor,
        _ => return None,
    })
}

/// The type that a key names.
fn named(registry: &Registry, key: &str, value: &str) -> Option<(Kind, &'static str)> {
    let kind = kind(key)?;
    Some((kind, name(registry.find(kind, value)?)))
}

#[test]
fn every_component_type_has_a_case_or_a_reason_for_having_none() {
    let registry = flumen::standard_registry();
    let pairs: Vec<(String, String)> = cases::all().iter().flat_map(pairs).collect();
    let mut used: Vec<(Kind, &str)> = DEFAULTS.to_vec();
    used.extend(pairs.iter().filter_map(|(key, value)| named(&registry, key, value)));
    let built = KINDS.iter().flat_map(|kind| registry.of(*kind)).filter(|spec| spec.is_built());
    let all = built.map(|spec| (spec.kind(), name(spec)));
    let shown = |(kind, name): (Kind, &str)| format!("{kind} {name}");
    let missing: BTreeSet<String> = all.filter(|one| !used.contains(one)).map(shown).collect();
    let excused: BTreeSet<String> = WITHOUT.iter().map(|(kind, name, _)| shown((*kind, name))).collect();
    assert_eq!(missing, excused, "left: types without a case, right: those with a reason");
    assert!(WITHOUT.iter().all(|(.., why)| why.contains(' ')), "a reason is a sentence");
    for (key, choices) in CHOICES {
        let chosen =
            pairs.iter().filter(|(own, _)| own.strip_suffix(key).is_some_and(|rest| rest.ends_with('.')));
        let chosen: BTreeSet<String> = chosen.map(|(_, value)| value.to_ascii_lowercase()).collect();
        for choice in *choices {
            assert!(chosen.contains(&choice.to_ascii_lowercase()), "no case has {key} = {choice}");
        }
    }
}
