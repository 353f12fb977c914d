//! Flume's JSON: one object, a key `<KIND>.<name>` for each component, whose attributes are all strings.
//!
//! ```text
//!   {"CHANNEL.c1":{"ChannelCapacity":"100","ChannelFillPercentage":"0.0","Type":"CHANNEL",…},"SOURCE.s1":{…}}
//! ```

use std::sync::atomic::Ordering;

use flumen_api::channel::ChannelStatus;
use flumen_api::metrics::MetricValue;
use flumen_api::settings::Kind;
use serde_json::{Map, Value};

use super::super::board::{Board, Entry, Meters};

pub(super) fn render(board: &Board) -> String {
    let mut all = Map::new();
    for entry in board.entries() {
        let kind = match entry.kind {
            Kind::Source => "SOURCE",
            Kind::Channel => "CHANNEL",
            _ => "SINK",
        };
        all.insert(format!("{kind}.{}", entry.name), Value::Object(attributes(&entry, kind)));
    }
    Value::Object(all).to_string()
}

fn attributes(entry: &Entry, kind: &str) -> Map<String, Value> {
    let mut attributes = Map::new();
    let mut add = |name: &str, value: String| drop(attributes.insert(name.to_string(), Value::String(value)));
    add("Type", kind.to_string());
    add("StartTime", entry.started_ms.load(Ordering::Relaxed).to_string());
    add("StopTime", entry.stopped_ms.load(Ordering::Relaxed).to_string());
    for MetricValue { flume, value, .. } in values(entry) {
        if !flume.is_empty() {
            add(flume, value.to_string());
        }
    }
    if entry.kind == Kind::Channel {
        let open = entry.channel();
        let is_open = open.is_some();
        let durable = open.as_ref().is_some_and(|channel| channel.limits().durable);
        let status = open.map(|channel| channel.status()).unwrap_or_default();
        add("ChannelSize", status.events.to_string());
        add("ChannelCapacity", status.capacity.to_string());
        add("ChannelFillPercentage", fill_percentage(&status));
        if durable {
            add("Open", is_open.to_string());
            add("Closed", u8::from(!is_open).to_string());
            add("Unhealthy", u8::from(status.failure.is_some()).to_string());
            let errors = status.gauges.iter().find(|(name, _)| *name == "checkpoint_errors");
            add("CheckpointWriteErrorCount", errors.map_or(0.0, |(_, count)| *count).to_string());
            // There is no second checkpoint that could fail.
            add("CheckpointBackupWriteErrorCount", "0".into());
        }
    }
    attributes
}

pub(super) fn values(entry: &Entry) -> Vec<MetricValue> {
    match &entry.meters {
        Meters::Source(metrics) => metrics.values(),
        Meters::Channel(metrics) => metrics.values(),
        Meters::Sink(metrics) => metrics.values(),
    }
}

fn fill_percentage(status: &ChannelStatus) -> String {
    match status.capacity {
        0 => java_double(f64::MAX),
        capacity => java_double(status.events as f64 / capacity as f64 * 100.0),
    }
}

/// A non-negative number as Java's `Double.toString` writes it: plain from 10⁻³ up to 10⁷, else `d.dddE±x`.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (100.0, "100.0"),
            (33.333_333_333_333_33, "33.33333333333333"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (1e7, "1.0E7"),
            (f64::MAX, "1.7976931348623157E308"),
        ] {
            assert_eq!(java_double(value), text);
        }
    }
}
