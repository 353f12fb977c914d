//! One table of all benches, from the newest stored results of each.
//!
//! ```text
//!   bench/results/append-<unix time>.json, latency-..., channel-..., ...   newest of each
//!        └─ summary rows ─> figures: what was measured, who, how much ─> a line for each thing and rival
//! ```
//!
//! A bench stores its own rows. What this module knows of them is in `VIEWS`: which field names the contender, which
//! fields name the case, which one holds the figure. A row whose contender is one of `RIVALS` is a rival's.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::report::print_table;

/// Options of the command.
pub const OPTIONS: &[&str] = &["results"];

/// What names a rival begins with.
const RIVALS: &[&str] = &[
    "okaywal",
    "raft-engine",
    "fjall",
    "write + fdatasync",
    "tokio-uring",
    "Flume",
    "rsyslog",
    "hdfs-native",
];

/// Contenders that do nothing but write, or upload: the ceiling.
const CEILINGS: &[&str] = &["raw write", "the client alone"];

/// How a bench's rows are read.
struct View {
    bench: &'static str,
    /// The field that says who; `None`: all rows are ours.
    who: Option<&'static str>,
    /// Fields that say what.
    case: &'static [&'static str],
    /// Field of the figure, its unit here, and what to multiply with.
    figure: (&'static str, &'static str, f64),
    less_is_better: bool,
    /// The field of the ceiling.
    ceiling: Option<&'static str>,
    /// Without fields for the case: the case of ours that rivals are measured in.
    rivals_in: &'static str,
}

const VIEW: View = View {
    bench: "",
    who: None,
    case: &[],
    figure: ("", "", 1.0),
    less_is_better: false,
    ceiling: None,
    rivals_in: "",
};

/// `append` is not here: its rows hold all contenders.
const VIEWS: &[View] = &[
    View {
        bench: "latency",
        who: Some("contender"),
        case: &["life", "load"],
        figure: ("p50_us", "p50 µs", 1.0),
        less_is_better: true,
        ..VIEW
    },
    View {
        bench: "latency",
        who: Some("contender"),
        case: &["life", "load"],
        figure: ("p99_us", "p99 µs", 1.0),
        less_is_better: true,
        ..VIEW
    },
    View {
        bench: "latency",
        who: Some("contender"),
        case: &["life", "load"],
        figure: ("p999_us", "p99.9 µs", 1.0),
        less_is_better: true,
        ..VIEW
    },
    View {
        bench: "channel",
        who: Some("channel"),
        case: &["case"],
        figure: ("mb_per_s", "MB/s", 1.0),
        ..VIEW
    },
    View {
        bench: "agent",
        who: Some("variant"),
        case: &[],
        figure: ("lines_per_s", "k lines/s", 1e-3),
        rivals_in: "batchSize 1000",
        ..VIEW
    },
    View {
        bench: "restart",
        who: None,
        case: &["events"],
        figure: ("first_event_seconds", "ms to the first event", 1e3),
        less_is_better: true,
        ..VIEW
    },
    View {
        bench: "drain",
        who: None,
        case: &["sink"],
        figure: ("payload_mb_per_s", "MB/s", 1.0),
        ceiling: Some("raw_mb_per_s"),
        ..VIEW
    },
    View {
        bench: "hdfs",
        who: Some("variant"),
        figure: ("lines_per_s", "k lines/s", 1e-3),
        rivals_in: "Flumen, file channel",
        ..VIEW
    },
    View {
        bench: "hdfs",
        who: Some("variant"),
        figure: ("peak_rss_mib", "peak MiB", 1.0),
        less_is_better: true,
        rivals_in: "Flumen, file channel",
        ..VIEW
    },
    View { bench: "loghub", who: None, case: &["variant"], figure: ("logs_per_s", "k logs/s", 1e-3), ..VIEW },
    View {
        bench: "object-store",
        who: Some("variant"),
        figure: ("mb_per_s", "MB/s", 1.0),
        rivals_in: "Flumen, file channel",
        ..VIEW
    },
    View {
        bench: "wire",
        who: Some("server"),
        case: &["load", "batch"],
        figure: ("events_per_s", "k events/s", 1e-3),
        ..VIEW
    },
    View {
        bench: "wire",
        who: Some("server"),
        case: &["load", "batch"],
        figure: ("p99_us", "p99 µs", 1.0),
        less_is_better: true,
        ..VIEW
    },
    View { bench: "growth", who: None, case: &["sweep", "value"], figure: ("mb_per_s", "MB/s", 1.0), ..VIEW },
];

/// One thing that was measured.
#[derive(Debug, Default, PartialEq)]
struct Line {
    what: String,
    unit: String,
    less_is_better: bool,
    uring: Option<f64>,
    std: Option<f64>,
    rivals: Vec<(String, f64)>,
    ceiling: Option<f64>,
}

/// A stored result.
pub(crate) struct StoredResult {
    pub(crate) bench: String,
    pub(crate) json: Value,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let results = newest(&options.results()?)?;
    if results.is_empty() {
        return Err(Failure("no stored results: run a bench first".into()));
    }
    for result in &results {
        let text = |key: &str| result.json["place"][key].as_str().unwrap_or("unknown").to_string();
        println!(
            "{}: revision {}, {} on {}, Linux {}",
            result.bench,
            text("revision"),
            text("file_system"),
            text("device"),
            text("kernel")
        );
    }
    println!();
    let lines: Vec<Line> = results.iter().flat_map(lines).collect();
    print(&lines);
    Ok(())
}

/// The newest result of each bench, by the time in the file's name.
pub(crate) fn newest(directory: &Path) -> Result<Vec<StoredResult>, Failure> {
    let mut newest = BTreeMap::new();
    let entries = std::fs::read_dir(directory).context(|| format!("list {}", directory.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((bench, time)) = name.strip_suffix(".json").and_then(|stem| stem.rsplit_once('-')) else {
            continue;
        };
        let Ok(time) = time.parse::<u64>() else { continue };
        let known = newest.entry(bench.to_string()).or_insert((0, entry.path()));
        if time >= known.0 {
            *known = (time, entry.path());
        }
    }
    let read = |(bench, (_, path)): (String, (u64, std::path::PathBuf))| {
        let text = std::fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        let json = serde_json::from_str(&text).context(|| format!("read {}", path.display()))?;
        Ok(StoredResult { bench, json })
    };
    newest.into_iter().map(read).collect()
}

fn lines(result: &StoredResult) -> Vec<Line> {
    let rows = result.json["summary"].as_array().map_or(&[][..], Vec::as_slice);
    if result.bench == "append" {
        return rows.iter().map(append_line).collect();
    }
    VIEWS.iter().filter(|view| view.bench == result.bench).flat_map(|view| viewed(view, rows)).collect()
}

fn append_line(row: &Value) -> Line {
    let mut line = Line {
        what: format!("append {} {}", plain(&row["shape"]), plain(&row["life"])),
        unit: "MB/s".into(),
        ceiling: row["ceiling_mb_per_s"].as_f64(),
        ..Line::default()
    };
    for contender in row["contenders"].as_array().into_iter().flatten() {
        if let (Some(name), Some(figure)) = (contender[0].as_str(), contender[1].as_f64()) {
            line.place(name, figure);
        }
    }
    line
}

fn viewed(view: &View, rows: &[Value]) -> Vec<Line> {
    let (field, unit, scale) = view.figure;
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let Some(figure) = row[field].as_f64().map(|figure| figure * scale) else { continue };
        let who = view.who.and_then(|key| row[key].as_str()).unwrap_or_default();
        let mut what = vec![view.bench.to_string()];
        what.extend(view.case.iter().map(|key| plain(&row[*key])));
        if view.case.is_empty() {
            // `batchSize 1000, std` is the case `batchSize 1000`, written with system calls.
            let case = match is_rival(who) || CEILINGS.contains(&who) {
                true => view.rivals_in,
                false => who.trim_end_matches(", std"),
            };
            what.push(case.into());
        }
        let what = what.join(" ");
        let at = lines.iter().position(|line| line.what == what).unwrap_or_else(|| {
            let less_is_better = view.less_is_better;
            lines.push(Line { what, unit: unit.into(), less_is_better, ..Line::default() });
            lines.len() - 1
        });
        lines[at].place(who, figure);
        if let Some(key) = view.ceiling {
            lines[at].ceiling = row[key].as_f64();
        }
    }
    lines
}

fn is_rival(name: &str) -> bool {
    RIVALS.iter().any(|rival| name.starts_with(rival)) && !name.starts_with("Flumen")
}

/// A field as text: a word as it is, a number as JSON has it.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

impl Line {
    /// Puts a contender's figure where it belongs.
    fn place(&mut self, name: &str, figure: f64) {
        match name {
            name if CEILINGS.contains(&name) => self.ceiling = Some(figure),
            name if is_rival(name) => self.rivals.push((name.into(), figure)),
            name if name.ends_with("std") => self.std = Some(figure),
            // Our memory channel is measured beside the file channel, and is no rival of it.
            "memory" => self.rivals.push(("our memory channel".into(), figure)),
            _ => self.uring = Some(figure),
        }
    }

    /// How many times better the first is than the second.
    fn ratio(&self, ours: Option<f64>, theirs: Option<f64>) -> Option<f64> {
        let (ours, theirs) = (ours?, theirs?);
        Some(if self.less_is_better { theirs / ours } else { ours / theirs })
    }
}

fn print(lines: &[Line]) {
    let number = |figure: Option<f64>| {
        figure.map_or_else(
            || "-".into(),
            |figure| match figure {
                small if small < 10.0 => format!("{small:.2}"),
                large => format!("{large:.0}"),
            },
        )
    };
    let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}×"));
    let percent =
        |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{:.0} %", ratio * 100.0));
    let mut rows = Vec::new();
    for line in lines {
        let rivals: Vec<(&str, Option<f64>)> = match line.rivals.as_slice() {
            [] => vec![("-", None)],
            rivals => rivals.iter().map(|(name, figure)| (name.as_str(), Some(*figure))).collect(),
        };
        for (n, (rival, figure)) in rivals.into_iter().enumerate() {
            let mut cells = match n {
                0 => vec![
                    line.what.clone(),
                    line.unit.clone(),
                    number(line.uring),
                    number(line.std),
                    percent(line.ratio(line.std, line.uring)),
                    number(line.ceiling),
                    percent(line.ratio(line.uring, line.ceiling)),
                ],
                _ => vec![String::new(); 7],
            };
            cells.extend([rival.to_string(), number(figure), times(line.ratio(line.uring, figure))]);
            rows.push(cells);
        }
    }
    let heads = [
        "what",
        "unit",
        "uring",
        "std",
        "std/uring",
        "ceiling",
        "of it",
        "rival",
        "its figure",
        "uring better by",
    ];
    print_table(&heads, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_of_an_append_finds_its_column() {
        let summary = serde_json::json!([{
            "shape": "4x100", "life": "recycled", "ceiling_mb_per_s": 1000.0,
            "contenders": [["flumen uring", 700.0, 1.0], ["flumen std", 600.0, 1.0], ["okaywal 0.3", 350.0, 1.0]],
        }]);
        let found =
            lines(&StoredResult { bench: "append".into(), json: serde_json::json!({ "summary": summary }) });
        assert_eq!(
            (found[0].uring, found[0].std, found[0].ceiling),
            (Some(700.0), Some(600.0), Some(1000.0))
        );
        assert_eq!(found[0].rivals, [("okaywal 0.3".to_string(), 350.0)]);
        assert_eq!(found[0].ratio(found[0].uring, Some(350.0)), Some(2.0));
    }

    #[test]
    fn less_is_better_where_time_is_measured() {
        let row = |who: &str, p50: f64| serde_json::json!({ "contender": who, "life": "first", "load": "idle", "p50_us": p50 });
        let summary = [row("flumen uring", 100.0), row("raw write", 80.0), row("okaywal 0.3", 300.0)];
        let found = viewed(&VIEWS[0], &summary);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ratio(found[0].uring, found[0].ceiling), Some(0.8));
        assert_eq!(found[0].ratio(found[0].uring, Some(300.0)), Some(3.0));
    }

    #[test]
    fn a_client_alone_is_the_ceiling_of_what_has_it() {
        let row = |who: &str, figure: f64| serde_json::json!({ "variant": who, "mb_per_s": figure });
        let summary = [row("the client alone", 500.0), row("Flumen, file channel", 400.0)];
        let found = viewed(VIEWS.iter().find(|view| view.bench == "object-store").unwrap(), &summary);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].uring, found[0].ceiling), (Some(400.0), Some(500.0)));
    }

    #[test]
    fn variants_of_the_agent_meet_in_one_line() {
        let row = |who: &str, lines: f64| serde_json::json!({ "variant": who, "lines_per_s": lines });
        let summary = [
            row("batchSize 1000", 4e6),
            row("batchSize unset", 2e6),
            row("batchSize 1000, std", 3e6),
            row("Flume, file channel", 4e4),
        ];
        let view = VIEWS.iter().find(|view| view.bench == "agent").unwrap();
        let found = viewed(view, &summary);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].uring, found[0].std), (Some(4000.0), Some(3000.0)));
        assert_eq!(found[0].ratio(found[0].uring, Some(found[0].rivals[0].1)), Some(100.0));
    }
}
