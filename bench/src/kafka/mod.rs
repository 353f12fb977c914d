//! Kafka: lines of a file into a topic, and a topic's into a file, by Flumen and Flume in turns, and by librdkafka alone.
//!
//! ```text
//!   into      taildir -> file channel -> Kafka sink (acks = all) -> topic of one partition
//!   out of    topic -> Kafka source -> file channel -> file_roll
//!   alone     the same lines, sent and read by librdkafka in this process: what the broker and its client can do
//! ```
//!
//! One broker serves all rounds, each with a topic of its own. The clock runs from the first line that has arrived until the
//! last; beside it stands the figure with the start included, from exec on. Then what arrived is compared with what was sent.

mod alone;
mod broker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::agent::Setting;
use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::Agent;
use crate::report::{Stored, median, print_table};
use alone::Watch;
use broker::Broker;

/// Options of the command.
pub const OPTIONS: &[&str] = &[
    "dir",
    "results",
    "rounds",
    "lines",
    "batch",
    "limit",
    "only",
    "flumen",
    "kafka",
    "kafka-java",
    flume::OPTIONS[0],
    flume::OPTIONS[1],
];

/// How often a topic is asked how much it holds: each answer costs the broker something.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const INTO: &str = include_str!("into.conf");
const OUT_OF: &str = include_str!("out.conf");

/// Which way the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Way {
    Into,
    OutOf,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Into => "taildir, file channel, Kafka",
            Self::OutOf => "Kafka, file channel, file_roll",
        }
    }
}

const FLUMEN: &str = "Flumen";
const FLUME: &str = "Flume";
const ALONE: &str = "librdkafka alone";
const PROGRAMS: [&str; 3] = [ALONE, FLUMEN, FLUME];

#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    way: Way,
    program: &'static str,
    lines_per_s: f64,
    lines_per_s_with_start: f64,
    cpu_seconds: f64,
    peak_rss_mib: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    program: &'static str,
    lines_per_s: f64,
    mb_per_s: f64,
    lines_per_s_with_start: f64,
    cpu_seconds_per_million: f64,
    peak_rss_mib: f64,
    /// Of what librdkafka alone does.
    of_alone: f64,
    /// How many times Flume, start included on both sides.
    over_flume_with_start: f64,
}

struct Job<'a> {
    flumen: PathBuf,
    flume: Result<Flume, String>,
    servers: String,
    input: &'a Path,
    count: u64,
    batch: usize,
    limit: Duration,
    home: &'a Path,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let count: u64 = options.get("lines", 500_000)?;
    let rounds: usize = options.get("rounds", 3)?;
    let place = Place::of(&directory)?;
    println!("{}\n{count} lines of {LINE_BYTES} bytes, {rounds} rounds\n", place.headline());
    let home = tempfile::Builder::new()
        .prefix("kafka-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = home.path().canonicalize().context(|| format!("look at {}", home.path().display()))?;
    let input = home.join("input.log");
    lines::generate(&input, count)?;
    let flume = Flume::build(options)?;
    if let Err(why) = &flume {
        println!("Flume is skipped: {why}");
    }
    let kafka: PathBuf = options.get("kafka", "target/bench-kafka".into())?;
    let java: String = options.get("kafka-java", broker::JAVA.into())?;
    let broker = Broker::start(&kafka, &home, &java)?;
    let job = Job {
        flumen: options.get("flumen", "target/release/flumen".into())?,
        flume,
        servers: broker.servers(),
        input: &input,
        count,
        batch: options.get("batch", 1000)?,
        limit: Duration::from_secs(options.get("limit", 300)?),
        home: &home,
    };
    // What is read in all rounds; writing and reading it warms the broker up.
    alone::create(&job.servers, "filled")?;
    alone::send(&job.servers, "filled", &input)?;
    alone::check_equal(&job.servers, "filled", &input)?;
    let only: String = options.get("only", String::new())?;
    let ways: &[Way] = match only.as_str() {
        "" => &[Way::Into, Way::OutOf],
        "into" => &[Way::Into],
        "out" => &[Way::OutOf],
        other => return Err(Failure(format!("--only {other}: into or out"))),
    };
    let mut runs = Vec::new();
    for round in 0..rounds {
        for &way in ways {
            for program in PROGRAMS {
                if program == FLUME && job.flume.is_err() {
                    continue;
                }
                eprintln!("round {} of {rounds}, {}: {program}", round + 1, way.name());
                runs.push(job.once(round, way, program)?);
            }
        }
    }
    let rows = rows(&runs, count);
    print(&rows);
    let setting = serde_json::json!({
        "lines": count, "line_bytes": LINE_BYTES, "rounds": rounds, "batch": job.batch, "acks": "all", "partitions": 1,
        "kafka_java": java,
    });
    let stored = Stored { bench: "kafka", place: &place, setting, summary: &rows, runs: &runs };
    println!(
        "\nwhat arrived equals what was sent, in every run\n{}",
        stored.store(&options.results()?)?.display()
    );
    Ok(())
}

impl Job<'_> {
    fn once(&self, round: usize, way: Way, program: &'static str) -> Result<Run, Failure> {
        let topic = format!("{}-{round}", program.replace(' ', "-"));
        if way == Way::Into {
            alone::create(&self.servers, &topic)?;
        }
        let (times, cpu_seconds, peak_rss_mib) = match (program, way) {
            (ALONE, Way::Into) => (alone::send(&self.servers, &topic, self.input)?, 0.0, 0.0),
            (ALONE, Way::OutOf) => (alone::read(&self.servers, "filled", self.count, |_| {})?, 0.0, 0.0),
            _ => self.agent(program, way, &topic)?,
        };
        if way == Way::Into {
            alone::check_equal(&self.servers, &topic, self.input)?;
        }
        let rate = |from: Instant| self.count as f64 / (times.last - from).as_secs_f64();
        Ok(Run {
            round,
            way,
            program,
            lines_per_s: rate(times.first),
            lines_per_s_with_start: rate(times.made),
            cpu_seconds,
            peak_rss_mib,
        })
    }

    /// One life of an agent, until the last line has arrived.
    fn agent(&self, program: &str, way: Way, topic: &str) -> Result<(alone::Times, f64, f64), Failure> {
        let fresh = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.home)
            .context(|| format!("make a directory in {}", self.home.display()))?;
        let conf = if way == Way::Into { INTO } else { OUT_OF };
        let conf = conf.replace("@KAFKA@", &self.servers).replace("@BATCH@", &self.batch.to_string());
        let conf = conf
            .replace("@TOPIC@", if way == Way::Into { topic } else { "filled" })
            .replace("@GROUP@", topic);
        let setting = Setting::make(fresh.path(), &conf, self.input)?;
        let command = match &self.flume {
            Ok(flume) if program == FLUME => flume.agent(&setting.conf),
            _ => {
                let mut command = Command::new(&self.flumen);
                command.args(["agent", "-n", "a1", "--no-reload-conf", "-f"]).arg(&setting.conf);
                command
            }
        };
        let mut agent = Agent::spawn(command, fresh.path().join("agent.log"))?;
        let watch = Watch::new(&self.servers, topic)?;
        let arrived = || match way {
            Way::Into => {
                std::thread::sleep(LOOK_EVERY);
                watch.records()
            }
            Way::OutOf => lines::bytes_in(&setting.out) / LINE_BYTES,
        };
        let first = agent.wait_until("first line", self.limit, || arrived() > 0)?;
        let last = agent.wait_until("last line", self.limit, || arrived() >= self.count)?;
        let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
        let made = agent.started;
        agent.stop()?;
        if way == Way::OutOf {
            lines::check_equal(self.input, &setting.out)?;
        }
        Ok((alone::Times { made, first, last }, cpu_seconds, peak_rss_mib))
    }
}

fn rows(runs: &[Run], count: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for way in [Way::Into, Way::OutOf] {
        let of = |program: &str, value: fn(&Run) -> f64| {
            median(runs.iter().filter(|run| (run.way, run.program) == (way, program)).map(value))
        };
        let (alone, flume) = (of(ALONE, |run| run.lines_per_s), of(FLUME, |run| run.lines_per_s_with_start));
        for program in PROGRAMS {
            let lines_per_s = of(program, |run| run.lines_per_s);
            if lines_per_s == 0.0 {
                continue;
            }
            let lines_per_s_with_start = of(program, |run| run.lines_per_s_with_start);
            rows.push(Row {
                way,
                program,
                lines_per_s,
                mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
                lines_per_s_with_start,
                cpu_seconds_per_million: of(program, |run| run.cpu_seconds) / count as f64 * 1e6,
                peak_rss_mib: of(program, |run| run.peak_rss_mib),
                of_alone: lines_per_s / alone,
                over_flume_with_start: if flume > 0.0 { lines_per_s_with_start / flume } else { 0.0 },
            });
        }
    }
    rows
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            format!("{}: {}", row.way.name(), row.program),
            format!("{:.0} k", row.lines_per_s / 1e3),
            format!("{:.1}", row.mb_per_s),
            format!("{:.0} k", row.lines_per_s_with_start / 1e3),
            format!("{:.2}", row.cpu_seconds_per_million),
            format!("{:.1}", row.peak_rss_mib),
            format!("{:.0} %", row.of_alone * 100.0),
            format!("{:.1}", row.over_flume_with_start),
        ]
    };
    let heads = [
        "pipeline and program",
        "lines/s",
        "MB/s",
        "lines/s with start",
        "CPU s per M",
        "peak RSS MiB",
        "of librdkafka alone",
        "times Flume with start",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
