//! The whole agent on the main job: access-log lines through taildir, a file channel and file_roll.
//!
//! The clock runs from the first byte in the output directory until the output holds as many bytes as were sent; the
//! time from exec is stored beside it. Then the agent is stopped and its output compared with its input byte by byte.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::Agent;
use crate::report::{Stored, median, print_table};

/// The configuration: the main job with a batch size of 1000.
pub const CONF: &str = include_str!("../agent.conf");

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "lines", "flumen", "limit"];

/// A way to run it.
struct Variant {
    name: &'static str,
    /// Flume's default batch size, 100, for source and sink.
    default_batch: bool,
    /// What `-Dflumen.storage` asks for; the agent's log must say that it got it, else the row would be another's.
    storage: Option<&'static str>,
}

const VARIANTS: &[Variant] = &[
    Variant { name: "batchSize 1000", default_batch: false, storage: None },
    Variant { name: "batchSize unset", default_batch: true, storage: None },
    Variant { name: "batchSize 1000, std", default_batch: false, storage: Some("std") },
    Variant { name: "batchSize unset, std", default_batch: true, storage: Some("std") },
];

/// One round of one variant.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    variant: &'static str,
    /// The agent's line on the storage that it uses.
    storage: String,
    lines_per_s: f64,
    /// First output until all output.
    seconds: f64,
    /// Exec until first output.
    start_seconds: f64,
    peak_rss_mib: f64,
    cpu_seconds: f64,
}

/// Medians of a variant.
#[derive(Debug, Serialize)]
struct Row {
    variant: &'static str,
    lines_per_s: f64,
    mb_per_s: f64,
    start_seconds: f64,
    peak_rss_mib: f64,
    cpu_seconds: f64,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let count: u64 = options.get("lines", 2_000_000)?;
    let rounds: usize = options.get("rounds", 5)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let flumen: PathBuf = options.get("flumen", PathBuf::from("target/release/flumen"))?;
    let place = Place::of(&directory)?;
    println!("{}\n{count} lines of {LINE_BYTES} bytes, {rounds} rounds\n", place.headline());

    let home = tempfile::Builder::new()
        .prefix("agent-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let input = home.path().join("access.log");
    lines::generate(&input, count)?;

    let mut runs = Vec::new();
    for round in 0..rounds {
        for variant in VARIANTS {
            eprintln!("round {} of {rounds}, {}", round + 1, variant.name);
            let run = once(variant, round, &flumen, &input, count, home.path(), limit)?;
            match variant.storage {
                Some(storage) if !run.storage.contains(&format!(": {storage}")) => {
                    eprintln!("left out: the agent did not heed -Dflumen.storage={storage}: {}", run.storage);
                }
                _ => runs.push(run),
            }
        }
    }
    let measured = VARIANTS.iter().filter(|variant| runs.iter().any(|run| run.variant == variant.name));
    let rows: Vec<Row> = measured.map(|variant| row(variant.name, &runs)).collect();
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "taildir -> file channel -> file_roll",
        "durability": "acked when synced; output synced before release",
        "lines": count,
        "line_bytes": LINE_BYTES,
        "rounds": rounds,
    });
    let stored = Stored { bench: "agent", place: &place, setting, summary: &rows, runs: &runs };
    println!("\nevery run's output equals its input\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn once(
    variant: &Variant,
    round: usize,
    flumen: &Path,
    input: &Path,
    count: u64,
    home: &Path,
    limit: Duration,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(home)
        .context(|| format!("make a directory in {}", home.display()))?;
    let text: String = CONF
        .lines()
        .filter(|line| !(variant.default_batch && line.contains(".batchSize")))
        .flat_map(|line| [line, "\n"])
        .collect();
    let setting = Setting::make(fresh.path(), &text, input)?;
    let defines: Vec<String> =
        variant.storage.iter().map(|storage| format!("-Dflumen.storage={storage}")).collect();
    let log = fresh.path().join("agent.log");
    let mut agent = Agent::start(flumen, &setting.conf, &defines, log.clone())?;

    let out = &setting.out;
    let first = agent.wait_until("first output", limit, || lines::bytes_in(out) > 0)?;
    let last = agent.wait_until("complete output", limit, || lines::bytes_in(out) >= count * LINE_BYTES)?;
    let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
    let start_seconds = (first - agent.started).as_secs_f64();
    agent.stop()?;
    lines::check_equal(input, out)?;
    let seconds = (last - first).as_secs_f64();
    let said = std::fs::read_to_string(&log).context(|| format!("read {}", log.display()))?;
    let storage = said.lines().find_map(|line| Some(line.split_once("storage of ")?.1.trim().to_string()));
    Ok(Run {
        round,
        variant: variant.name,
        storage: storage.unwrap_or_default(),
        lines_per_s: count as f64 / seconds,
        seconds,
        start_seconds,
        peak_rss_mib,
        cpu_seconds,
    })
}

/// An agent's directories, its input in place, and its configuration.
pub(crate) struct Setting {
    pub(crate) conf: PathBuf,
    pub(crate) out: PathBuf,
}

impl Setting {
    /// Prepares `directory`: `in/` with the input (another name of the same file), `out/`, and the configuration.
    pub(crate) fn make(directory: &Path, conf: &str, input: &Path) -> Result<Self, Failure> {
        // file_roll and taildir want absolute paths, whatever directory the bench was started in.
        let directory = directory.canonicalize().context(|| format!("look at {}", directory.display()))?;
        let setting = Self { conf: directory.join("agent.conf"), out: directory.join("out") };
        for folder in ["in", "out"] {
            let path = directory.join(folder);
            std::fs::create_dir(&path).context(|| format!("create {}", path.display()))?;
        }
        let tailed = directory.join("in/access.log");
        std::fs::hard_link(input, &tailed).context(|| format!("link {}", tailed.display()))?;
        let text = conf.replace("@DIR@", &directory.to_string_lossy());
        std::fs::write(&setting.conf, text).context(|| format!("write {}", setting.conf.display()))?;
        Ok(setting)
    }
}

fn row(variant: &'static str, runs: &[Run]) -> Row {
    let of = |value: fn(&Run) -> f64| median(runs.iter().filter(|run| run.variant == variant).map(value));
    let lines_per_s = of(|run| run.lines_per_s);
    Row {
        variant,
        lines_per_s,
        mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
        start_seconds: of(|run| run.start_seconds),
        peak_rss_mib: of(|run| run.peak_rss_mib),
        cpu_seconds: of(|run| run.cpu_seconds),
    }
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.variant.to_string(),
            format!("{:.0} k", row.lines_per_s / 1e3),
            format!("{:.0}", row.mb_per_s),
            format!("{:.0}", row.start_seconds * 1e3),
            format!("{:.1}", row.peak_rss_mib),
            format!("{:.2}", row.cpu_seconds),
        ]
    };
    let heads = ["variant", "lines/s", "MB/s", "exec to first output ms", "peak RSS MiB", "CPU s"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_what_the_variants_take_away_and_fill_in() {
        assert_eq!(CONF.lines().filter(|line| line.contains(".batchSize")).count(), 2);
        assert!(CONF.contains("@DIR@"));
    }
}
