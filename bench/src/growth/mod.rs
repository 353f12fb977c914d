//! Growth: what becomes of throughput and memory as one thing grows and all others stay.
//!
//! | sweep | from | to | what else |
//! | --- | --- | --- | --- |
//! | `size` | 100 B | 1 MB a body | puts of about 256 KB |
//! | `headers` | 0 | 30 an event, no two events' alike | 512-byte bodies, puts of 100 |
//! | `backlog` | empty | 2 GB, which stays while events flow | takes come from the disk |
//! | `channels` | 1 | 64 file channels at once | one producer and one taker each |
//! | `sinks` | 1 | 8 takers of one channel | four producers |
//!
//! Each point is a process of its own ([`point`]), so that its peak of memory is its own. A step is marked when it lies
//! below 80 % of the line between its neighbours, drawn over the logarithm of what grows: a cliff, not a slope.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use self::point::{Outcome, Point};
use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::place::Place;
use crate::report::{Stored, median, print_table};

pub mod point;

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "seconds", "sweeps"];

/// Below this share of the line between its neighbours, a step is marked.
const CLIFF: f64 = 0.8;

/// Bytes of a put where the size of its events changes.
const PUT_BYTES: usize = 256 << 10;

struct Sweep {
    name: &'static str,
    values: &'static [u64],
    point: fn(u64) -> Point,
}

const SWEEPS: &[Sweep] = &[
    Sweep {
        name: "size",
        values: &[100, 300, 1000, 3000, 10_000, 100_000, 1_000_000],
        point: |bytes| Point {
            body_bytes: bytes as usize,
            put_events: (PUT_BYTES / bytes as usize).clamp(1, 1000),
            ..Point::default()
        },
    },
    Sweep {
        name: "headers",
        values: &[0, 1, 3, 10, 30],
        point: |headers| Point { headers: headers as usize, ..Point::default() },
    },
    Sweep {
        name: "backlog",
        values: &[0, 64 << 20, 128 << 20, 512 << 20, 1 << 30, 2 << 30],
        point: |bytes| Point { backlog_bytes: bytes, ..Point::default() },
    },
    Sweep {
        name: "channels",
        values: &[1, 2, 4, 8, 16, 32, 64],
        point: |channels| Point { channels: channels as usize, producers: 1, ..Point::default() },
    },
    Sweep {
        name: "sinks",
        values: &[1, 2, 4, 8],
        point: |takers| Point { takers: takers as usize, ..Point::default() },
    },
];

/// One point in one round.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    sweep: &'static str,
    value: u64,
    point: Point,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Medians of a point.
#[derive(Debug, Serialize)]
struct Row {
    sweep: &'static str,
    value: u64,
    mb_per_s: f64,
    events_per_s: f64,
    peak_rss_mib: f64,
    /// Throughput beside the line between its neighbours; not for the first and the last.
    share_of_line: Option<f64>,
    /// The step is a cliff.
    cliff: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let seconds: f64 = options.get("seconds", 1.0)?;
    let names: Vec<String> =
        options.list("sweeps", &SWEEPS.iter().map(|s| s.name.into()).collect::<Vec<_>>())?;
    let sweeps: Vec<&Sweep> = SWEEPS.iter().filter(|s| names.iter().any(|name| name == s.name)).collect();
    let place = Place::of(&directory)?;
    println!("{}\nput and take through file channels, {rounds} rounds\n", place.headline());

    let mut runs = Vec::new();
    for round in 0..rounds {
        for sweep in &sweeps {
            for &value in sweep.values {
                eprintln!("round {} of {rounds}, {} {value}", round + 1, sweep.name);
                let point = Point { seconds, ..(sweep.point)(value) };
                let outcome = in_own_process(&point, &directory)?;
                runs.push(Run { round, sweep: sweep.name, value, point, outcome });
            }
        }
    }
    let rows: Vec<Row> = sweeps.iter().flat_map(|sweep| rows(sweep, &runs)).collect();
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "put -> file channel -> take",
        "durability": "acked when synced",
        "rounds": rounds,
        "seconds": seconds,
    });
    let stored = Stored { bench: "growth", place: &place, setting, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn in_own_process(point: &Point, directory: &Path) -> Result<Outcome, Failure> {
    let this = std::env::current_exe().context(|| "find this program".into())?;
    let json = serde_json::to_string(point).context(|| "encode a point".into())?;
    let output = Command::new(this)
        .args([point::COMMAND, "--point", &json, "--dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| "start a process for a point".into())?;
    if !output.status.success() {
        return Err(Failure(format!("the process for {json} ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).context(|| format!("what the process for {json} said"))
}

fn rows(sweep: &Sweep, runs: &[Run]) -> Vec<Row> {
    let of = |value: u64, figure: fn(&Outcome) -> f64| {
        let is = |run: &&Run| run.sweep == sweep.name && run.value == value;
        median(runs.iter().filter(is).map(|run| figure(&run.outcome)))
    };
    let speeds: Vec<f64> = sweep.values.iter().map(|value| of(*value, |found| found.mb_per_s)).collect();
    let row = |at: usize| {
        let value = sweep.values[at];
        let share_of_line = share_of_line(sweep.values, &speeds, at);
        Row {
            sweep: sweep.name,
            value,
            mb_per_s: speeds[at],
            events_per_s: of(value, |found| found.events_per_s),
            peak_rss_mib: of(value, |found| found.peak_rss_mib),
            share_of_line,
            cliff: share_of_line.is_some_and(|share| share < CLIFF),
        }
    };
    (0..sweep.values.len()).map(row).collect()
}

/// The figure at `at` beside the line between its neighbours, over the logarithm of the values.
fn share_of_line(values: &[u64], figures: &[f64], at: usize) -> Option<f64> {
    let place = |at: usize| Some((*values.get(at)? as f64 + 1.0).ln());
    let (before, here, behind) = (place(at.checked_sub(1)?)?, place(at)?, place(at + 1)?);
    let (low, high) = (figures[at - 1], figures[at + 1]);
    // An empty backlog is no power of anything: it counts as one step like the others.
    let share = if values[at - 1] == 0 { 0.5 } else { (here - before) / (behind - before) };
    Some(figures[at] / (low + (high - low) * share))
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            format!("{} {}", row.sweep, row.value),
            format!("{:.0}", row.mb_per_s),
            format!("{:.0} k", row.events_per_s / 1e3),
            format!("{:.0}", row.peak_rss_mib),
            row.share_of_line.map_or_else(
                || "-".into(),
                |share| format!("{:.0} %{}", share * 100.0, if row.cliff { " CLIFF" } else { "" }),
            ),
        ]
    };
    let heads = ["sweep", "MB/s", "events/s", "peak RSS MiB", "of the line between its neighbours"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_no_cliff_and_a_hole_is() {
        let values = [100, 300, 1000, 3000, 10_000];
        let slope = [100.0, 200.0, 300.0, 400.0, 500.0];
        for at in 1..4 {
            let share = share_of_line(&values, &slope, at).unwrap();
            assert!((0.95..1.05).contains(&share), "{share}");
        }
        let hole = [100.0, 200.0, 180.0, 400.0, 500.0];
        assert!(share_of_line(&values, &hole, 2).unwrap() < CLIFF);
        assert!(share_of_line(&values, &hole, 3).unwrap() > CLIFF, "the neighbour of a hole is none");
    }

    #[test]
    fn ends_have_no_line() {
        assert_eq!(share_of_line(&[1, 2], &[5.0, 6.0], 0), None);
        assert_eq!(share_of_line(&[1, 2], &[5.0, 6.0], 1), None);
    }
}
