//! Mistakes that are copied from page to page, and what to write instead.

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Kind, Problems, Severity};

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

/// Keys of the hdfs sink that are often written without their prefix.
const HDFS_PREFIXED: &[&str] = &[
    "path",
    "filePrefix",
    "fileSuffix",
    "fileType",
    "writeFormat",
    "codeC",
    "rollInterval",
    "rollSize",
    "rollCount",
    "batchSize",
    "round",
    "roundValue",
    "roundUnit",
    "useLocalTimeStamp",
    "idleTimeout",
    "threadsPoolSize",
    "minBlockReplicas",
    "timeZone",
];

/// What to say of a key that is a known mistake in components of this type.
pub(super) fn for_key(config: &ComponentConfig, spec: &Spec, key: &str) -> Option<String> {
    let is_type = |alias: &str| spec.alias.eq_ignore_ascii_case(alias);
    let wrong = WRONG_KEYS
        .iter()
        .find(|wrong| wrong.kind == config.kind && wrong.key == key && is_type(wrong.type_alias));
    if let Some(wrong) = wrong {
        return Some(wrong.advice.to_string());
    }
    if config.kind == Kind::Sink && is_type("hdfs") && HDFS_PREFIXED.contains(&key) {
        return Some(format!("the prefix is missing, and the key is ignored; `hdfs.{key}` is meant"));
    }
    if key == "serializer.appendNewLine" {
        return Some("Flume spells it `serializer.appendNewline`; this one is ignored".to_string());
    }
    None
}

/// Values that are known mistakes.
pub(super) fn check_values(config: &ComponentConfig, problems: &mut Problems) {
    if let Some(serializer) = config.get("serializer")
        && serializer.eq_ignore_ascii_case("text_with_headers")
    {
        let advice = "there is no such serializer; `header_and_text` is meant";
        problems.add(Severity::Warning, config, "serializer", advice);
    }
    for key in ["hdfs.path", "sink.directory"] {
        if config.get(key).is_some_and(|path| path.contains("%D")) {
            let advice = "`%D` is a date with slashes, month/day/year: three directories. `%d` is the day";
            problems.add(Severity::Warning, config, key, advice);
        }
    }
}

/// Sources that can be asked for an event again: what they read stays where it is.
pub(super) fn can_seek(spec: &Spec) -> bool {
    ["taildir", "spooldir"].iter().any(|alias| spec.alias.eq_ignore_ascii_case(alias))
        || spec.class_names.contains(&"org.apache.flume.source.kafka.KafkaSource")
}

/// Sinks whose destination keeps what it got.
pub(super) fn delivers_durably(spec: &Spec) -> bool {
    ["file_roll", "hdfs", "hive", "hbase", "hbase2", "asynchbase"]
        .iter()
        .any(|alias| spec.alias.eq_ignore_ascii_case(alias))
        || spec.class_names.contains(&"org.apache.flume.sink.kafka.KafkaSink")
}
