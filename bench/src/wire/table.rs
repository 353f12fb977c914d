//! Rows for people: medians of the rounds, and how they stand to Flume's.

use serde::Serialize;

use super::{FLUME_FILE, FLUME_MEMORY, Load, Run};
use crate::report::{median, print_table};

/// A row: one server under one load.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    server: &'static str,
    load: &'static str,
    batch: usize,
    events_per_s: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    server_cpu_seconds_per_million: Option<f64>,
    server_peak_rss_mib: Option<f64>,
}

/// The medians, in the order in which things were measured.
pub(super) fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for run in runs {
        let (server, load, batch) = (run.server, run.load, run.batch);
        if rows.iter().any(|row| (row.server, row.load, row.batch) == (server, load, batch)) {
            continue;
        }
        let is_same = |other: &&Run| (other.server, other.load, other.batch) == (server, load, batch);
        let of = |value: fn(&Run) -> f64| median(runs.iter().filter(is_same).map(value));
        let known = |value: fn(&Run) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter(is_same).filter_map(value).collect();
            (!values.is_empty()).then(|| median(values))
        };
        rows.push(Row {
            server,
            load,
            batch,
            events_per_s: of(|run| run.events_per_s),
            p50_us: known(|run| run.p50_us),
            p99_us: known(|run| run.p99_us),
            server_cpu_seconds_per_million: known(|run| {
                Some(run.server_cpu_seconds? / run.events as f64 * 1e6)
            }),
            server_peak_rss_mib: known(|run| run.server_peak_rss_mib),
        });
    }
    rows
}

/// How many times better a row is than that of `rival` under the same load: its events a second, or at a rate, where these
/// are the same for all, its 99th percentile.
fn better(rows: &[Row], row: &Row, rival: &str) -> Option<f64> {
    let is_it = |other: &&Row| (other.server, other.load, other.batch) == (rival, row.load, row.batch);
    let rival = rows.iter().find(is_it).filter(|rival| rival.server != row.server)?;
    match row.load == Load::JavaAt(0.0).name() {
        true => Some(rival.p99_us? / row.p99_us?),
        false => Some(row.events_per_s / rival.events_per_s),
    }
}

/// Prints all rows.
pub(super) fn print(rows: &[Row]) {
    let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}×"));
    let micros = |figure: Option<f64>| figure.map_or_else(|| "-".into(), |figure| format!("{figure:.0}"));
    let cells = |row: &Row| {
        vec![
            format!("{} from {}", row.server, row.load),
            row.batch.to_string(),
            format!("{:.0} k", row.events_per_s / 1e3),
            times(better(rows, row, FLUME_MEMORY.name)),
            times(better(rows, row, FLUME_FILE.name)),
            micros(row.p50_us),
            micros(row.p99_us),
            row.server_cpu_seconds_per_million.map_or_else(|| "-".into(), |seconds| format!("{seconds:.2}")),
            row.server_peak_rss_mib.map_or_else(|| "-".into(), |mib| format!("{mib:.1}")),
        ]
    };
    let heads = [
        "server and load",
        "batch",
        "events/s",
        "to Flume, memory",
        "to Flume, file",
        "p50 µs",
        "p99 µs",
        "server CPU s per M",
        "peak RSS MiB",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
    println!("\nTimes better than Flume under the same load: in events/s, and at a rate in p99.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::OURS;

    #[test]
    fn throughput_is_compared_by_events_and_a_rate_by_latency() {
        let run = |server, load: Load, events_per_s: f64, p99_us: f64| Run {
            round: 0,
            server,
            load: load.name(),
            batch: 100,
            events: 1000,
            events_per_s,
            p50_us: Some(1.0),
            p99_us: Some(p99_us),
            server_cpu_seconds: Some(1.0),
            server_peak_rss_mib: Some(1.0),
        };
        let rows = rows(&[
            run(OURS.name, Load::Java, 300.0, 7.0),
            run(FLUME_MEMORY.name, Load::Java, 100.0, 7.0),
            run(OURS.name, Load::JavaAt(5.0), 5.0, 2.0),
            run(FLUME_MEMORY.name, Load::JavaAt(5.0), 5.0, 8.0),
            run(OURS.name, Load::Ours, 900.0, 1.0),
        ]);
        let better = |row: usize, rival| better(&rows, &rows[row], rival);
        assert_eq!(better(0, FLUME_MEMORY.name), Some(3.0));
        assert_eq!(better(0, FLUME_FILE.name), None);
        assert_eq!(better(1, FLUME_MEMORY.name), None);
        assert_eq!(better(2, FLUME_MEMORY.name), Some(4.0));
        assert_eq!(better(4, FLUME_MEMORY.name), None);
    }
}
