//! Which sinks need the header `timestamp`, and which sources give it.
//!
//! ```text
//! a1.sinks.k1.hdfs.path = /logs/%Y/%m/%d        %x is the event's time: its header `timestamp`, milliseconds
//! a1.sources.r1.interceptors.i1.type = timestamp
//! ```
//!
//! Flume answers an event without the header with an exception, rolls the batch back and takes it again, for ever. Who
//! may give the header is not always known (an avro source passes on what the sender set); only what is known not to is
//! worth a warning.

use flumen_api::registry::Spec;
use flumen_api::settings::ComponentConfig;

use crate::plan::SourcePlan;

const HEADER: &str = "timestamp";

/// Sources whose events have no header `timestamp` of their own.
const WITHOUT: &[&str] = &["exec", "netcat", "netcatudp", "seq", "spooldir", "stress", "taildir"];
/// Their class names, where they have no short one in Flume.
const WITHOUT_CLASSES: &[&str] = &["org.apache.flume.source.StressSource"];

/// The key of the sink that holds an escape for the event's time, and the escape.
pub(super) fn needed(spec: &Spec, config: &ComponentConfig) -> Option<(&'static str, String)> {
    if !spec.alias.eq_ignore_ascii_case("hdfs") || is_true(config, "hdfs.useLocalTimeStamp") {
        return None;
    }
    ["hdfs.path", "hdfs.filePrefix"].into_iter().find_map(|key| Some((key, time_escape(config.get(key)?)?)))
}

/// Whether the source's events may have the header: from itself or from an interceptor.
pub(super) fn given(source: &SourcePlan) -> bool {
    let spec = &source.spec;
    let lacks = WITHOUT.iter().any(|alias| spec.alias.eq_ignore_ascii_case(alias))
        || WITHOUT_CLASSES.iter().any(|class| spec.class_names.contains(class));
    let is_header = |key: &str| key.starts_with("headers.") && key.ends_with(".timestamp");
    !lacks
        || source.config.values.keys().any(|key| is_header(key))
        || source.interceptors.iter().any(|(spec, config)| interceptor_gives(spec, config))
}

fn interceptor_gives(spec: &Spec, config: &ComponentConfig) -> bool {
    let names = |key: &str, default: &str| config.get(key).unwrap_or(default) == HEADER;
    match spec.alias {
        "timestamp" => names("headerName", HEADER),
        "static" => names("key", "key"),
        "regex_extractor" => config
            .family("serializers.")
            .any(|(key, value)| key.ends_with(".name") && value.resolved == HEADER),
        "host" | "regex_filter" | "remove_header" | "search_replace" => false,
        // Somebody's own.
        _ => true,
    }
}

/// The first escape that stands for the time: any `%x`, even `%%` as Flume has it, but no header and no host.
fn time_escape(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some(c) if c.is_ascii_alphanumeric() || c == '_' || c == '%' => return Some(format!("%{c}")),
            _ => {}
        }
    }
    None
}

fn is_true(config: &ComponentConfig, key: &str) -> bool {
    config.get(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_hosts_are_no_times() {
        assert_eq!(time_escape("/logs/%{host}/%[IP]/x%"), None);
        assert_eq!(time_escape("/logs/%{host}/%Y/%m").as_deref(), Some("%Y"));
        assert_eq!(time_escape("100%%").as_deref(), Some("%%"));
    }
}
