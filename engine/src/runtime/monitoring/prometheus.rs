//! Prometheus text exposition, format 0.0.4.
//!
//! ```text
//!   # HELP flumen_source_events_received_total Events that the source got from outside.
//!   # TYPE flumen_source_events_received_total counter
//!   flumen_source_events_received_total{agent="a1",name="r1",type="taildir"} 17
//! ```
//!
//! All samples of one metric stand together under one HELP and TYPE, as the format demands. In HELP, `\` and newline are
//! escaped; in label values `"` as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use flumen_api::settings::Kind;

use super::super::board::{Board, Entry, State};
use super::flume_json::values;

struct Metric {
    help: &'static str,
    counter: bool,
    samples: String,
}

pub(super) fn render(board: &Board) -> String {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for entry in board.entries() {
        let labels = format!(
            "agent=\"{}\",name=\"{}\",type=\"{}\"",
            escape(&board.agent),
            escape(&entry.name),
            escape(&entry.type_name)
        );
        let mut add = |labels: &str, (what, help, counter, value): Sample| {
            let total = if counter { "_total" } else { "" };
            let name = format!("flumen_{}_{what}{total}", entry.kind);
            let metric = metrics.entry(name.clone()).or_insert_with(|| Metric {
                help,
                counter,
                samples: String::new(),
            });
            writeln!(metric.samples, "{name}{{{labels}}} {value}").expect("a String takes all text");
        };
        for sample in samples(&entry) {
            add(&labels, sample);
        }
        for (interceptor, count) in entry.dropped() {
            let labels = format!("{labels},interceptor=\"{}\"", escape(&interceptor));
            let help = "Events that an interceptor dropped.";
            add(&labels, ("events_dropped_by_interceptors", help, true, count as f64));
        }
        for (part, seconds) in entry.lags().lock().iter() {
            let labels = format!("{labels},part=\"{}\"", escape(part));
            let help = "Age of the last record read of a part of the input (a shard), 0 at its end.";
            add(&labels, ("lag_seconds", help, false, *seconds as f64));
        }
    }
    let mut text = String::new();
    for (name, Metric { help, counter, samples }) in metrics {
        let kind = if counter { "counter" } else { "gauge" };
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}")
            .expect("a String takes all text");
    }
    text
}

/// What (between `flumen_<kind>_` and `_total`), help, whether it only rises, value.
type Sample = (&'static str, &'static str, bool, f64);

fn samples(entry: &Entry) -> Vec<Sample> {
    let mut samples: Vec<_> = values(entry)
        .into_iter()
        .map(|metric| (metric.name, metric.help, metric.rises, metric.value as f64))
        .collect();
    let mut gauge = |what, help, value| samples.push((what, help, false, value));
    let running = matches!(entry.state(), State::Running | State::Finished);
    gauge("up", "Whether the component runs.", f64::from(u8::from(running)));
    let started = entry.started_ms.load(Ordering::Relaxed) as f64 / 1000.0;
    gauge("start_time_seconds", "When the component last began to run, in seconds since 1970.", started);
    if entry.kind == Kind::Source {
        let trouble = f64::from(u8::from(entry.trouble().lock().is_some()));
        gauge("trouble", "Whether something of the source's needs a person; /readyz says what.", trouble);
    }
    if entry.kind == Kind::Channel
        && let Some(channel) = entry.channel()
    {
        let status = channel.status();
        gauge("events", "Events put and not yet released.", status.events as f64);
        gauge("capacity_events", "Most events that the channel holds.", status.capacity as f64);
        let failed = f64::from(u8::from(status.failure.is_some()));
        gauge("failed", "Whether the channel's storage has failed.", failed);
        if let Some(oldest) = status.oldest {
            gauge(
                "oldest_event_age_seconds",
                "Age of the oldest event not yet released.",
                oldest.as_secs_f64(),
            );
        }
        for (name, value) in status.gauges {
            gauge(name, "A figure of this type of channel.", value);
        }
    }
    samples
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
