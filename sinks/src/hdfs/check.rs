//! What can be wrong with an hdfs sink beyond its single keys.
//!
//! Most of it is copied from page to page: defaults that make a file of every ten events, a flush far below what an object
//! store wants, keys of the one file type used with another.

use flumen_api::settings::{ComponentConfig, Problems};

use super::HdfsSettings;
use super::format::FileFormat;
use crate::escapes::{TimeKeys, TimeRules};

/// What one flush to an object store should have: a part of an upload, smaller ones cost as much.
const OBJECT_STORE_FLUSH: usize = 32 * 1024 * 1024;
const OBJECT_STORES: &[&str] = &["abfs", "abfss", "gs", "jfs", "oss", "s3", "s3a", "s3n"];
/// What an event is taken to have where nobody knows.
const EVENT_BYTES: usize = 1024;

/// What the keys say, as far as it can be said without a client.
pub(super) struct Checked {
    pub settings: HdfsSettings,
    pub format: Option<FileFormat>,
    pub time: Option<TimeRules>,
}

/// The sink.
#[cfg(feature = "hdfs")]
pub(super) fn build(
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<flumen_api::registry::Built<dyn flumen_api::sink::Sink>> {
    let checked = check(config, problems)?;
    let batch_size = Some(("hdfs.batchSize", checked.settings.batch_size));
    let plan = super::keys::plan(checked, config, problems)?;
    let component = Box::new(super::sink::HdfsSink::new(plan));
    Some(flumen_api::registry::Built { component, batch_size })
}

/// The keys alone, where the sink is not built in.
#[cfg(not(feature = "hdfs"))]
pub(super) fn announced(
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<flumen_api::registry::Announced> {
    let Checked { settings, format, time } = check(config, problems)?;
    let batch_size = Some(("hdfs.batchSize", settings.batch_size));
    format.and(time).map(|_| flumen_api::registry::Announced { batch_size })
}

pub(super) fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<Checked> {
    let settings = HdfsSettings::load(config, problems);
    rolls(config, problems);
    let settings = settings?;
    object_store(&settings, config, problems);
    Some(Checked {
        format: FileFormat::from_config(&settings, config, problems),
        time: rounding(&settings, config, problems),
        settings,
    })
}

fn rounding(settings: &HdfsSettings, config: &ComponentConfig, problems: &mut Problems) -> Option<TimeRules> {
    if !settings.round {
        for key in ["hdfs.roundValue", "hdfs.roundUnit"] {
            if config.get(key).is_some() {
                problems.warn(config, key, "changes nothing without `hdfs.round = true`");
            }
        }
    }
    let keys = TimeKeys {
        prefix: "hdfs.",
        round: settings.round,
        round_value: settings.round_value,
        round_unit: &settings.round_unit,
        time_zone: settings.time_zone.as_deref(),
        use_local: settings.use_local_time_stamp,
    };
    TimeRules::of(&keys, config, problems)
}

/// The defaults end a file after 30 seconds, 1024 bytes or 10 events, whichever is first.
fn rolls(config: &ComponentConfig, problems: &mut Problems) {
    const DEFAULTS: [(&str, &str, &str); 3] = [
        ("hdfs.rollInterval", "30", "30 seconds"),
        ("hdfs.rollSize", "1024", "1024 bytes"),
        ("hdfs.rollCount", "10", "10 events"),
    ];
    let left: Vec<_> = DEFAULTS
        .iter()
        .filter(|(key, default, _)| config.get(key).is_none_or(|value| value == *default))
        .collect();
    // A file of 30 seconds alone may be meant.
    if left.iter().all(|(key, ..)| *key == "hdfs.rollInterval") {
        return;
    }
    let after: Vec<_> = left.iter().map(|(key, _, what)| format!("{what} (`{key}`)")).collect();
    let message = format!(
        "with Flume's defaults a file ends after {}: many tiny files. Set all three, for example rollInterval = 3600, \
         rollSize = 134217728 (a block), rollCount = 0 (any number)",
        after.join(" or ")
    );
    // The line to look at: one of the three that was written, else the path.
    let key = left.iter().map(|(key, ..)| *key).find(|key| config.get(key).is_some());
    problems.warn(config, key.unwrap_or("hdfs.path"), message);
}

fn object_store(settings: &HdfsSettings, config: &ComponentConfig, problems: &mut Problems) {
    let scheme = settings.path.split_once("://").map(|(scheme, _)| scheme);
    let is_store = scheme.is_some_and(|scheme| OBJECT_STORES.contains(&scheme));
    let flush = settings.batch_size.saturating_mul(EVENT_BYTES);
    if !is_store || flush >= OBJECT_STORE_FLUSH || settings.flush == Some(false) {
        return;
    }
    let key = if config.get("hdfs.batchSize").is_some() { "hdfs.batchSize" } else { "hdfs.path" };
    let message = format!(
        "each flush to an object store is an upload, and {} events of 1 KiB are {} KiB: 32 MiB or more are wanted. Set \
         `hdfs.batchSize = 100000`, and the channel's `transactionCapacity` with it",
        settings.batch_size,
        flush / 1024
    );
    problems.warn(config, key, message);
}

#[cfg(all(test, feature = "hdfs"))]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    /// The messages for a sink with these keys beside its path and whole roll keys, errors marked.
    fn said(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![
            ("hdfs.path", "hdfs://n/x"),
            ("hdfs.rollInterval", "60"),
            ("hdfs.rollSize", "0"),
            ("hdfs.rollCount", "0"),
        ];
        all.retain(|(key, _)| !pairs.iter().any(|(other, _)| key == other));
        all.extend(pairs);
        let config = ComponentConfig::of(Kind::Sink, "k1", &all);
        let mut problems = Problems::default();
        let built = build(&config, &mut problems);
        assert!(built.is_some() || problems.errors() > 0, "{problems:?}");
        problems.0.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn says(pairs: &[(&str, &str)], severity: &str, parts: &[&str]) {
        let said = said(pairs);
        let found = said.iter().any(|line| {
            line.contains(&format!(" {severity}: ")) && parts.iter().all(|part| line.contains(part))
        });
        assert!(found, "no {severity} with {parts:?}: {said:#?}");
    }

    #[test]
    fn whole_sinks_of_each_file_type_pass() {
        assert_eq!(said(&[]), [""; 0]);
        assert_eq!(said(&[("hdfs.fileType", "datastream"), ("serializer", "header_and_text")]), [""; 0]);
        assert_eq!(said(&[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")]), [""; 0]);
        assert_eq!(said(&[("hdfs.fileType", "DataStream"), ("hdfs.writeFormat", "TEXT")]), [""; 0]);
        let round = [("hdfs.round", "true"), ("hdfs.roundValue", "24"), ("hdfs.roundUnit", "hour")];
        assert_eq!(said(&round), [""; 0]);
    }

    #[test]
    fn file_type_and_codec_must_fit() {
        says(&[("hdfs.fileType", "DataStream"), ("hdfs.codeC", "gzip")], "error", &["CompressedStream"]);
        says(&[("hdfs.fileType", "DataStream"), ("hdfs.codeC", "none")], "error", &["CompressedStream"]);
        says(&[("hdfs.fileType", "CompressedStream")], "error", &["hdfs.codeC"]);
        says(
            &[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "None")],
            "error",
            &["fileType", "hdfs.codeC"],
        );
        assert_eq!(said(&[("hdfs.codeC", "None")]), [""; 0], "a SequenceFile without compression");
        says(&[("hdfs.codeC", "lzo")], "error", &["codeC", "LZO"]);
        says(&[("hdfs.codeC", "gz")], "error", &["codeC", "gzip"]);
        says(&[("hdfs.fileType", "Stream")], "error", &["one of: SequenceFile"]);
        says(&[("hdfs.writeFormat", "text")], "warning", &["`Text`"]);
        says(&[("hdfs.writeFormat", "Json")], "error", &["Writable or Text"]);
    }

    #[test]
    fn rounding_has_its_bounds() {
        let unit =
            |unit, value| vec![("hdfs.round", "true"), ("hdfs.roundUnit", unit), ("hdfs.roundValue", value)];
        says(&unit("hour", "25"), "error", &["between 1 and 24"]);
        says(&unit("minute", "0"), "error", &["between 1 and 60"]);
        says(&unit("minutes", "10"), "warning", &["second, minute, hour"]);
        says(&[("hdfs.roundUnit", "hour")], "warning", &["hdfs.round = true"]);
    }

    #[test]
    fn roll_keys_left_at_their_defaults_are_named_where_they_stand() {
        says(&[("hdfs.rollSize", "1024")], "warning", &["rollSize: ", "1024 bytes", "rollCount = 0"]);
        let sparse = ComponentConfig::of(Kind::Sink, "k1", &[("hdfs.path", "/x")]);
        let mut problems = Problems::default();
        assert!(build(&sparse, &mut problems).is_some());
        let line = problems.0[0].to_string();
        assert!(line.contains("test.conf:1: ") && line.contains("30 seconds") && line.contains("10 events"));
        assert_eq!(said(&[("hdfs.rollInterval", "30")]), [""; 0]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_or_doubted_by_name() {
        says(&[("hdfs.path", "ftp://b/x")], "error", &["hdfs.path", "`ftp:`"]);
        says(&[("hdfs.path", "/x/%[host]")], "error", &["%[host]"]);
        says(&[("hdfs.timeZone", "Mars/Base")], "error", &["hdfs.timeZone"]);
        says(&[("hdfs.kerberosPrincipal", "flume@LAB")], "error", &["needs `hdfs.kerberosKeytab`"]);
        says(&[("hdfs.kerberosKeytab", "/k")], "error", &["needs `hdfs.kerberosPrincipal`"]);
        says(&[("hdfs.inUseSuffix", "/tmp")], "error", &["hdfs.inUseSuffix", "file's name"]);
        says(&[("hdfs.emptyInUseSuffix", "true")], "warning", &["last name"]);
        says(&[("hdfs.minBlockReplicas", "2")], "warning", &["changes nothing"]);
        says(&[("hdfs.callTimeout", "0")], "warning", &["for ever"]);
        assert_eq!(said(&[("hdfs.minBlockReplicas", "1"), ("hdfs.callTimeout", "60000")]), [""; 0]);
        assert_eq!(said(&[("hdfs.emptyInUseSuffix", "true"), ("hdfs.inUsePrefix", "_")]), [""; 0]);
    }

    #[test]
    fn an_object_store_wants_large_flushes() {
        let oss = ("hdfs.path", "oss://b/x");
        says(&[oss, ("hdfs.batchSize", "1000")], "warning", &["hdfs.batchSize", "1000 KiB", "100000"]);
        assert_eq!(said(&[oss, ("hdfs.batchSize", "100000")]), [""; 0]);
        let jindo = ("hdfs.path", "jfs://n/x");
        says(&[jindo, ("hdfs.batchSize", "100000")], "warning", &["JindoFS", "`oss://"]);
        assert_eq!(said(&[("hdfs.batchSize", "1000")]), [""; 0]);
    }

    #[test]
    fn a_serializer_is_checked_even_where_it_is_not_used() {
        says(
            &[("hdfs.fileType", "DataStream"), ("serializer", "text_with_headers")],
            "error",
            &["header_and_text"],
        );
        says(&[("serializer", "text_with_headers")], "warning", &["header_and_text"]);
        says(&[("serializer", "text")], "warning", &["SequenceFile"]);
        says(&[("serializer.appendNewLine", "false")], "warning", &["appendNewline"]);
    }
}
