//! Mistakes that are copied from page to page, and what to write instead.

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Kind, Problems};

/// A key that does not mean what its author thinks, in components of one type.
struct WrongKey {
    kind: Kind,
    type_alias: &'static str,
    key: &'static str,
    advice: &'static str,
}

const WRONG_KEYS: &[WrongKey] = &[
    WrongKey {
        kind: Kind::Sink,
        type_alias: "hdfs",
        key: "hdfs.Unit",
        advice: "there is no such key; `hdfs.roundUnit` is meant",
    },
    WrongKey {
        kind: Kind::Sink,
        type_alias: "hdfs",
        key: "hdfs.writeType",
        advice: "there is no such key; `hdfs.writeFormat` is meant",
    },
    WrongKey {
        kind: Kind::Interceptor,
        type_alias: "timestamp",
        key: "header",
        advice: "there is no such key; `headerName` is meant",
    },
];

/// Reports every key and value of `config` that is a known mistake.
pub(super) fn check(config: &ComponentConfig, spec: &Spec, problems: &mut Problems) {
    for key in config.values.keys() {
        if let Some(advice) = for_key(config, spec, key) {
            problems.warn(config, key, advice);
        }
    }
    check_values(config, problems);
}

/// What to say of a key that is a known mistake in components of this type.
pub(super) fn for_key(config: &ComponentConfig, spec: &Spec, key: &str) -> Option<&'static str> {
    let is_type = |alias: &str| spec.alias.eq_ignore_ascii_case(alias);
    WRONG_KEYS
        .iter()
        .find(|wrong| wrong.kind == config.kind && wrong.key == key && is_type(wrong.type_alias))
        .map(|wrong| wrong.advice)
}

/// Values that are known mistakes.
pub(super) fn check_values(config: &ComponentConfig, problems: &mut Problems) {
    for key in ["hdfs.path", "hdfs.filePrefix", "sink.directory"] {
        if config.get(key).is_some_and(|path| path.contains("%D")) {
            let advice = "`%D` is a date with slashes, month/day/year: three directories. `%d` is the day";
            problems.warn(config, key, advice);
        }
    }
}

/// Sources that can be asked for an event again: what they read stays where it is.
pub(super) fn can_seek(spec: &Spec) -> bool {
    ["taildir", "spooldir"].iter().any(|alias| spec.alias.eq_ignore_ascii_case(alias))
        || is_kafka_source(spec)
}

/// The source that reads topics.
pub(super) fn is_kafka_source(spec: &Spec) -> bool {
    spec.class_names.contains(&"org.apache.flume.source.kafka.KafkaSource")
}

/// The sink that writes topics.
pub(super) fn is_kafka_sink(spec: &Spec) -> bool {
    spec.class_names.contains(&"org.apache.flume.sink.kafka.KafkaSink")
}

/// Sinks whose destination keeps what it got.
pub(super) fn delivers_durably(spec: &Spec) -> bool {
    ["file_roll", "hdfs", "hive", "hbase", "hbase2", "asynchbase"]
        .iter()
        .any(|alias| spec.alias.eq_ignore_ascii_case(alias))
        || is_kafka_sink(spec)
}
