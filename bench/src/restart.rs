//! Restart after SIGKILL with a backlog: time from exec to the first event delivered.
//!
//! ```text
//!   agent without its sink     until /metrics says that the channel holds all events
//!   SIGKILL                    and at once, while the kernel still tears the old process down:
//!   agent with its sink        exec .. first byte in out/     measured, the wait for the lock included
//!                              .. all bytes; output = input: nothing lost, nothing twice
//! ```
//!
//! Disk: a backlog takes its lines twice, as input and in the log, and a third time as output. Backlogs above
//! `--drain` events are not drained to the end; what came out by then must be how the input begins. 100 million events
//! need 40 GB and some minutes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::agent::Setting;
use crate::failure::{Context, Failure};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, channel_figure, free_port};
use crate::programs::CONF;
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "events", "drain", "flumen", "limit"];

/// Bytes of the log for a byte of input, at most, and some room.
const LOG_SHARE: f64 = 1.15;

/// One kill and restart.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    events: u64,
    /// Exec until the first byte of output.
    first_event_seconds: f64,
    /// Exec until all of the backlog is delivered, where it was waited for.
    all_seconds: Option<f64>,
    /// Largest resident set when the first event was out.
    rss_at_first_mib: f64,
    /// Largest resident set when all were, or when the agent was stopped.
    peak_rss_mib: f64,
    /// Largest resident set of the agent that built the backlog.
    filling_peak_rss_mib: f64,
}

/// Medians for a backlog.
#[derive(Debug, Serialize)]
struct Row {
    events: u64,
    first_event_seconds: f64,
    first_event_seconds_max: f64,
    all_seconds: Option<f64>,
    rss_at_first_mib: f64,
    peak_rss_mib: f64,
    filling_peak_rss_mib: f64,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let backlogs: Vec<u64> = options.list("events", &[1_000_000, 10_000_000])?;
    let drain: u64 = options.get("drain", 20_000_000)?;
    let rounds: usize = options.get("rounds", 3)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let flumen: PathBuf = options.get("flumen", PathBuf::from("target/release/flumen"))?;
    let place = Place::of(&directory)?;
    println!("{}\nbacklog of {LINE_BYTES}-byte lines, SIGKILL, restart, {rounds} rounds\n", place.headline());

    let home = tempfile::Builder::new()
        .prefix("restart-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let inputs: Vec<(u64, PathBuf)> =
        backlogs.iter().map(|events| (*events, home.path().join(format!("{events}.log")))).collect();
    let largest = backlogs.iter().copied().max().unwrap_or(0);
    let copies = 1.0 + LOG_SHARE + if largest <= drain { 1.0 } else { 0.1 };
    let all: u64 = backlogs.iter().sum();
    let needed = (all - largest) as f64 * LINE_BYTES as f64 + largest as f64 * LINE_BYTES as f64 * copies;
    let free = rustix::fs::statvfs(&directory).context(|| format!("look at {}", directory.display()))?;
    let free = (free.f_bavail * free.f_frsize) as f64;
    if free < needed {
        let gb = |bytes: f64| bytes / 1e9;
        return Err(Failure(format!("{:.0} GB are free, {:.0} are needed", gb(free), gb(needed))));
    }
    for (events, input) in &inputs {
        lines::generate(input, *events)?;
    }
    let mut runs = Vec::new();
    for round in 0..rounds {
        for (events, input) in &inputs {
            eprintln!("round {} of {rounds}, {events} events", round + 1);
            runs.push(once(round, *events, *events <= drain, &flumen, input, home.path(), limit)?);
        }
    }
    let rows: Vec<Row> = backlogs.iter().map(|events| row(*events, &runs)).collect();
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "taildir -> file channel | SIGKILL | -> file_roll",
        "line_bytes": LINE_BYTES,
        "rounds": rounds,
    });
    let stored = Stored { bench: "restart", place: &place, setting, summary: &rows, runs: &runs };
    println!(
        "\nevery run's output equals its input, or begins as it does\n{}",
        stored.store(&options.results()?)?.display()
    );
    Ok(())
}

fn once(
    round: usize,
    events: u64,
    drains: bool,
    flumen: &Path,
    input: &Path,
    home: &Path,
    limit: Duration,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(home)
        .context(|| format!("make a directory in {}", home.display()))?;
    let conf = format!("{CONF}\na1.channels.c1.capacity = {}\n", events + 500_000);
    let setting = Setting::make(fresh.path(), &conf, input)?;
    let filling_conf = fresh.path().join("filling.conf");
    let text = std::fs::read_to_string(&setting.conf)
        .context(|| format!("read {}", setting.conf.display()))?
        .lines()
        .filter(|line| !line.starts_with("a1.sinks"))
        .flat_map(|line| [line, "\n"])
        .collect::<String>();
    std::fs::write(&filling_conf, text).context(|| format!("write {}", filling_conf.display()))?;

    let port = free_port()?;
    let defines = ["-Dflume.monitoring.type=http".to_string(), format!("-Dflume.monitoring.port={port}")];
    let mut filling = Agent::start(flumen, &filling_conf, &defines, fresh.path().join("filling.log"))?;
    filling
        .wait_until("full backlog", limit, || channel_figure(port, "c1", "ChannelSize") == Some(events))?;
    let filling_peak_rss_mib = filling.peak_rss_mib();
    filling.kill()?;

    let mut agent = Agent::start(flumen, &setting.conf, &[], fresh.path().join("agent.log"))?;
    let out = &setting.out;
    let first = agent.wait_until("first event", limit, || lines::bytes_in(out) > 0)?;
    let rss_at_first_mib = agent.peak_rss_mib();
    let all = match drains {
        true => {
            Some(agent.wait_until("whole backlog", limit, || lines::bytes_in(out) >= events * LINE_BYTES)?)
        }
        false => None,
    };
    let (started, peak_rss_mib) = (agent.started, agent.peak_rss_mib());
    agent.stop()?;
    match drains {
        true => lines::check_equal(input, out)?,
        false => lines::check_begins(input, out)?,
    }
    Ok(Run {
        round,
        events,
        first_event_seconds: (first - started).as_secs_f64(),
        all_seconds: all.map(|all| (all - started).as_secs_f64()),
        rss_at_first_mib,
        peak_rss_mib,
        filling_peak_rss_mib,
    })
}

fn row(events: u64, runs: &[Run]) -> Row {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.events == events).collect();
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
    Row {
        events,
        first_event_seconds: of(|run| run.first_event_seconds),
        first_event_seconds_max: runs.iter().map(|run| run.first_event_seconds).fold(0.0, f64::max),
        all_seconds: runs
            .iter()
            .all(|run| run.all_seconds.is_some())
            .then(|| of(|run| run.all_seconds.unwrap_or(0.0))),
        rss_at_first_mib: of(|run| run.rss_at_first_mib),
        peak_rss_mib: of(|run| run.peak_rss_mib),
        filling_peak_rss_mib: of(|run| run.filling_peak_rss_mib),
    }
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.events.to_string(),
            format!("{:.0}", row.first_event_seconds * 1e3),
            format!("{:.0}", row.first_event_seconds_max * 1e3),
            row.all_seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.2}")),
            format!("{:.1}", row.rss_at_first_mib),
            format!("{:.1}", row.peak_rss_mib),
            format!("{:.1}", row.filling_peak_rss_mib),
        ]
    };
    let heads = [
        "backlog events",
        "first event ms",
        "slowest ms",
        "all delivered s",
        "RSS at first MiB",
        "peak RSS MiB",
        "peak RSS filling MiB",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
