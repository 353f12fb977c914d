//! The whole job: access-log lines from a file through a channel into a file, by Flumen, Flume and rsyslog in turns.
//!
//! The clock runs from the first byte in the output directory until the output holds as many bytes as were sent; the
//! time from exec is stored beside it. Then the program is stopped and its output compared with its input byte by byte.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::Agent;
use crate::programs::{self, Edit, Program, Programs, VARIANTS, Variant};
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &[
    "dir",
    "results",
    "rounds",
    "lines",
    "limit",
    "only",
    programs::OPTIONS[0],
    programs::OPTIONS[1],
    programs::OPTIONS[2],
    programs::OPTIONS[3],
];

/// One round of one variant.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    variant: &'static str,
    /// What our agent says of the storage that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
    lines: u64,
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
    durability: &'static str,
    lines: u64,
    lines_per_s: f64,
    mb_per_s: f64,
    start_seconds: f64,
    peak_rss_mib: f64,
    cpu_seconds_per_million: f64,
    /// How many times faster the first variant is.
    first_over_this: f64,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let count: u64 = options.get("lines", 2_000_000)?;
    let rounds: usize = options.get("rounds", 5)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let word = |variant: &Variant| variant.name.replace(", ", "-").replace(' ', "-");
    let only: Vec<String> = options.list("only", &VARIANTS.iter().map(word).collect::<Vec<_>>())?;
    let mut variants: Vec<&Variant> =
        VARIANTS.iter().filter(|variant| only.contains(&word(variant))).collect();
    let place = Place::of(&directory)?;
    println!("{}\n{count} lines of {LINE_BYTES} bytes, {rounds} rounds\n", place.headline());

    let home = tempfile::Builder::new()
        .prefix("agent-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let programs = Programs::find(&variants, options)?;
    let mut kept = Vec::new();
    for variant in variants.drain(..) {
        match programs.lacks(variant, home.path())? {
            Some(why) => println!("{} skipped: {why}", variant.name),
            None => kept.push(variant),
        }
    }
    let input_of = |one_in: u64| home.path().join(format!("{one_in}.log"));
    for variant in &kept {
        let input = input_of(variant.one_in);
        if !input.exists() {
            lines::generate(&input, count / variant.one_in)?;
        }
    }

    let mut runs = Vec::new();
    for round in 0..rounds {
        for variant in &kept {
            eprintln!("round {} of {rounds}, {}", round + 1, variant.name);
            let (input, lines) = (input_of(variant.one_in), count / variant.one_in);
            let run = once(variant, round, &programs, &input, lines, home.path(), limit)?;
            match (variant.program, &run.storage) {
                (Program::Flumen { storage: Some(asked), .. }, Some(got)) if !got.starts_with(asked) => {
                    eprintln!("left out: the agent did not heed -Dflumen.storage={asked}: {got}");
                }
                _ => runs.push(run),
            }
        }
    }
    let rows = rows(&kept, &runs);
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "tail a file -> channel or queue -> write a file",
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
    programs: &Programs,
    input: &Path,
    count: u64,
    home: &Path,
    limit: Duration,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(home)
        .context(|| format!("make a directory in {}", home.display()))?;
    let setting = Setting::make(fresh.path(), programs::CONF, input)?;
    let mut outs = vec![setting.out];
    if let Program::Flumen { edit: Edit::TwoChannels, .. } = variant.program {
        let second = setting.directory.join("second");
        std::fs::create_dir(&second).context(|| format!("create {}", second.display()))?;
        outs.push(second);
    }
    let log = fresh.path().join("agent.log");
    let mut agent = Agent::spawn(programs.command(variant, &setting.directory)?, log.clone())?;

    let least = || outs.iter().map(|out| lines::bytes_in(out)).min().unwrap_or(0);
    let first =
        agent.wait_until("first output", limit, || outs.iter().any(|out| lines::bytes_in(out) > 0))?;
    let last = agent.wait_until("complete output", limit, || least() >= count * LINE_BYTES)?;
    let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
    let start_seconds = (first - agent.started).as_secs_f64();
    agent.stop()?;
    for out in &outs {
        lines::check_equal(input, out)?;
    }
    let seconds = (last - first).as_secs_f64();
    let said = std::fs::read_to_string(&log).context(|| format!("read {}", log.display()))?;
    // The line names the directory first, which no reader of the results needs.
    let storage =
        said.lines().find_map(|line| Some(line.split_once("storage of ")?.1.split_once(": ")?.1.trim()));
    Ok(Run {
        round,
        variant: variant.name,
        storage: storage.map(String::from),
        lines: count,
        lines_per_s: count as f64 / seconds,
        seconds,
        start_seconds,
        peak_rss_mib,
        cpu_seconds,
    })
}

/// An agent's directories, its input in place, and its configuration.
pub(crate) struct Setting {
    pub(crate) directory: PathBuf,
    pub(crate) conf: PathBuf,
    pub(crate) out: PathBuf,
}

impl Setting {
    /// Prepares `directory`: `in/` with the input (another name of the same file), `out/`, and the configuration.
    pub(crate) fn make(directory: &Path, conf: &str, input: &Path) -> Result<Self, Failure> {
        // file_roll and taildir want absolute paths, whatever directory the bench was started in.
        let directory = directory.canonicalize().context(|| format!("look at {}", directory.display()))?;
        let conf_path = directory.join("agent.conf");
        let setting = Self { conf: conf_path, out: directory.join("out"), directory: directory.clone() };
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

fn rows(variants: &[&Variant], runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for variant in variants {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.variant == variant.name).collect();
        let Some(lines) = runs.first().map(|run| run.lines) else { continue };
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
        let lines_per_s = of(|run| run.lines_per_s);
        rows.push(Row {
            variant: variant.name,
            durability: variant.durability,
            lines,
            lines_per_s,
            mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
            start_seconds: of(|run| run.start_seconds),
            peak_rss_mib: of(|run| run.peak_rss_mib),
            cpu_seconds_per_million: of(|run| run.cpu_seconds) / lines as f64 * 1e6,
            first_over_this: rows.first().map_or(1.0, |first| first.lines_per_s / lines_per_s),
        });
    }
    rows
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.variant.to_string(),
            format!("{:.0} k", row.lines_per_s / 1e3),
            format!("{:.1}", row.mb_per_s),
            format!("{:.0}", row.start_seconds * 1e3),
            format!("{:.1}", row.peak_rss_mib),
            format!("{:.2}", row.cpu_seconds_per_million),
            format!("{:.2}", row.first_over_this),
        ]
    };
    let heads = [
        "variant",
        "lines/s",
        "MB/s",
        "exec to first output ms",
        "peak RSS MiB",
        "CPU s per M lines",
        "first variant / this",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
