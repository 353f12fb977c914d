//! From the keys to what the sink does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flumen_api::settings::{ComponentConfig, Problems};

use super::HdfsSettings;
use super::buckets::{Affixes, Rolls};
use super::check::Checked;
use super::client::Access;
use super::finish::Tries;
use super::format::FileFormat;
use super::location::{Location, Place};
use super::sink::Plan;
use super::store::StorePlan;
use crate::escapes::{OnMissing, Policy, parse_template};

/// The plan; what is wrong with the keys is said.
pub(super) fn plan(
    Checked { settings, format, time }: Checked,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Plan> {
    let settings = &settings;
    let location =
        Location::parse(&settings.path).map_err(|why| problems.error(config, "hdfs.path", why)).ok();
    if let Some(Location { place: Place::Jindo, .. }) = &location {
        let message = "JindoFS's own namespaces cannot be reached: a run says so and leaves the events in the channel; write \
                       `oss://bucket/…`";
        problems.warn(config, "hdfs.path", message);
    }
    let store = StorePlan::of(settings, location.as_ref(), config, problems);
    let path =
        location.as_ref().and_then(|location| parse_template(&location.path, "hdfs.path", config, problems));
    let prefix = parse_template(&settings.file_prefix, "hdfs.filePrefix", config, problems);
    let access = access(settings, config, problems);
    let affixes = affixes(settings, format.as_ref(), config, problems);
    doubts(settings, config, problems);
    let seconds = |number: i64| u64::try_from(number).ok().filter(|n| *n > 0).map(Duration::from_secs);
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    Some(Plan {
        location: location?,
        path: path?,
        prefix: prefix?,
        time: time?,
        policy: Policy {
            on_missing_time: OnMissing::of(&settings.on_missing_timestamp),
            on_missing_header: OnMissing::of(&settings.on_missing_header),
            header_fallback: settings.header_fallback.clone(),
            is_path: true,
        },
        affixes: affixes?,
        rolls: Rolls {
            count: number(settings.roll_count),
            bytes: number(settings.roll_size),
            age: seconds(settings.roll_interval),
            idle: seconds(i64::from(settings.idle_timeout)),
            at_block: settings.roll_at_block,
        },
        format: format?,
        batch_size: settings.batch_size,
        max_open_files: settings.max_open_files as usize,
        calls_at_once: settings.threads_pool_size as usize,
        call_limit: u64::try_from(settings.call_timeout).ok().filter(|ms| *ms > 0).map(Duration::from_millis),
        tries: Tries::of(settings.close_tries, settings.retry_interval),
        access: access?,
        store: store?,
        exactly_once: settings.exactly_once,
        journal: journal(settings, config),
        process: config.process.clone(),
    })
}

/// The journal's file: named, or below the user's home.
fn journal(settings: &HdfsSettings, config: &ComponentConfig) -> Option<PathBuf> {
    settings.journal.clone().or_else(|| {
        let home = config.process.variables.get("HOME").filter(|home| !home.is_empty())?;
        let name = format!("{}-{}.journal", config.agent, config.name);
        Some(Path::new(home).join(".flume/hdfs-sink").join(name))
    })
}

fn access(settings: &HdfsSettings, config: &ComponentConfig, problems: &mut Problems) -> Option<Access> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let kerberos = match (filled(&settings.kerberos_principal), filled(&settings.kerberos_keytab)) {
        (Some(principal), Some(keytab)) => Some((principal, keytab)),
        (None, None) => None,
        (Some(_), None) => {
            problems.error(
                config,
                "hdfs.kerberosPrincipal",
                "needs `hdfs.kerberosKeytab`, the file with its key",
            );
            return None;
        }
        (None, Some(_)) => {
            problems.error(
                config,
                "hdfs.kerberosKeytab",
                "needs `hdfs.kerberosPrincipal`, whose key it holds",
            );
            return None;
        }
    };
    Some(Access { kerberos, proxy_user: filled(&settings.proxy_user) })
}

fn affixes(
    settings: &HdfsSettings,
    format: Option<&FileFormat>,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Affixes> {
    let suffix = match settings.file_suffix.as_str() {
        "" => format.map_or("", FileFormat::extension),
        suffix => suffix,
    };
    for (key, text) in [
        ("hdfs.fileSuffix", &settings.file_suffix),
        ("hdfs.inUsePrefix", &settings.in_use_prefix),
        ("hdfs.inUseSuffix", &settings.in_use_suffix),
    ] {
        if text.contains(['/', '\0']) {
            problems.error(config, key, format!("`{text}` cannot be part of a file's name"));
            return None;
        }
    }
    let in_use_suffix = match settings.empty_in_use_suffix {
        true => String::new(),
        false => settings.in_use_suffix.clone(),
    };
    if in_use_suffix.is_empty() && settings.in_use_prefix.is_empty() {
        let key = match settings.empty_in_use_suffix {
            true => "hdfs.emptyInUseSuffix",
            false => "hdfs.inUseSuffix",
        };
        let message =
            "files have their last name while they are written, and readers cannot tell which are whole";
        problems.warn(config, key, message);
    }
    Some(Affixes { in_use_prefix: settings.in_use_prefix.clone(), in_use_suffix, suffix: suffix.to_string() })
}

fn doubts(settings: &HdfsSettings, config: &ComponentConfig, problems: &mut Problems) {
    if settings.min_block_replicas.is_some_and(|replicas| replicas > 1) {
        let message =
            "changes nothing: this client is not told how many replicas a block has while it is written";
        problems.warn(config, "hdfs.minBlockReplicas", message);
    }
    if settings.call_timeout <= 0 && config.get("hdfs.callTimeout").is_some() {
        let message = "a call that is never answered, as a sync while a DataNode dies may be, holds up the sink for ever";
        problems.warn(config, "hdfs.callTimeout", message);
    }
}
