//! Access-log lines out of a file channel into a DataStream in an object store, on the tests' emulator of Aliyun's store, which runs
//! in this process and keeps how long objects are.
//!
//! ```text
//!   the client alone          as many bytes from memory by the sink's own client, in parts of the same size, as many at a time:
//!                             what there is to reach
//!   ..., from a file          the same bytes, each part read from the page cache into memory of its own: what a program does that has
//!                             to get them first, as a source does
//!   ..., from the disk        the same past the page cache: what a program does that reads a backlog
//!   Flumen, full channel      an hdfs sink, flushing on, over a file channel that an agent before it has filled
//!   Flumen, whole pipeline    the same, filled meanwhile by a taildir source on the same processors
//! ```
//!
//! The clock runs from the first request until as many bytes as were sent are flushed or whole. Then the agent is stopped, and
//! its objects must have exactly the bytes that were sent. With `--delay` the store takes so many milliseconds for each answer, as one
//! does that is not on this machine.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_sinks::objects::upload_alone;
use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, channel_figure, free_port};
use crate::programs::CONF;
use crate::report::{Stored, median, print_table};

#[path = "../../tests/support/oss/mod.rs"]
mod emulator;

use emulator::{BUCKET, ID, Oss, SECRET, What};

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "lines", "limit", "part", "delay", "flumen"];

const ALONE: &str = "the client alone";
const FROM_FILE: &str = "the client alone, from a file";
const FROM_DISK: &str = "the client alone, from the disk";
const BACKLOG: &str = "Flumen, full channel";
const PIPELINE: &str = "Flumen, whole pipeline";

/// What direct I/O asks for.
const ALIGNMENT: usize = 4096;

/// How often an agent is asked what it has put.
const LOOK: Duration = Duration::from_millis(20);

const VARIANTS: [&str; 5] = [ALONE, FROM_FILE, FROM_DISK, BACKLOG, PIPELINE];

/// What all variants have in common.
struct Setup {
    directory: PathBuf,
    input: PathBuf,
    flumen: PathBuf,
    lines: u64,
    part: u64,
    delay: Duration,
    limit: Duration,
}

/// One round of one variant.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    variant: &'static str,
    lines_per_s: f64,
    seconds: f64,
    /// Requests that the store had.
    requests: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
}

/// Medians of a variant.
#[derive(Debug, Serialize)]
struct Row {
    variant: &'static str,
    lines_per_s: f64,
    mb_per_s: f64,
    requests: f64,
    peak_rss_mib: Option<f64>,
    cpu_seconds: Option<f64>,
    /// Of what the client alone reached.
    of_alone: f64,
    /// Of what it reached with bytes from where the agent has them.
    of_reading: Option<f64>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let lines: u64 = options.get("lines", 10_000_000)?;
    let rounds: usize = options.get("rounds", 5)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let part: u64 = options.get("part", 8 << 20)?;
    let delay = Duration::from_millis(options.get("delay", 0)?);
    let flumen = options.get("flumen", PathBuf::from("target/release/flumen"))?;
    let place = Place::of(&directory)?;
    println!(
        "{}\n{lines} lines of {LINE_BYTES} bytes, parts of {part} bytes, answers after {} ms, {rounds} rounds\n",
        place.headline(),
        delay.as_millis()
    );
    let scratch = tempfile::Builder::new()
        .prefix("object-store-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let input = scratch.path().join("input.log");
    lines::generate(&input, lines)?;
    let setup = Setup { directory, input, flumen, lines, part, delay, limit };
    let mut runs = Vec::new();
    for round in 0..rounds {
        for variant in VARIANTS {
            eprintln!("round {} of {rounds}, {variant}", round + 1);
            let run = match variant {
                BACKLOG | PIPELINE => agent(&setup, variant)?,
                _ => alone(&setup, variant)?,
            };
            runs.push(Run { round, ..run });
        }
    }
    let rows = rows(&runs, lines);
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "file channel -> hdfs in an object store (emulator), DataStream",
        "lines": lines, "line_bytes": LINE_BYTES, "part_bytes": part, "delay_ms": delay.as_millis() as u64,
        "rounds": rounds,
    });
    let stored = Stored { bench: "object-store", place: &place, setting, summary: &rows, runs: &runs };
    println!(
        "\nevery agent's objects have the bytes that were sent\n{}",
        stored.store(&options.results()?)?.display()
    );
    Ok(())
}

fn store(setup: &Setup) -> Oss {
    let oss = Oss::start();
    oss.forget_bodies();
    if !setup.delay.is_zero() {
        oss.fail(usize::MAX, What::Slow(setup.delay), |_| true);
    }
    oss
}

fn alone(setup: &Setup, variant: &'static str) -> Result<Run, Failure> {
    let part = usize::try_from(setup.part).unwrap_or(usize::MAX);
    let parts: Box<dyn Iterator<Item = io::Result<Bytes>>> = match variant {
        ALONE => {
            let mut bytes = Bytes::from(std::fs::read(&setup.input).context(|| "read the input".into())?);
            Box::new(std::iter::from_fn(move || {
                (!bytes.is_empty()).then(|| Ok(bytes.split_to(part.min(bytes.len()))))
            }))
        }
        _ => {
            let direct = if variant == FROM_DISK { libc::O_DIRECT } else { 0 };
            let file = OpenOptions::new().read(true).custom_flags(direct).open(&setup.input);
            let file = file.context(|| format!("open {}", setup.input.display()))?;
            file.sync_all().context(|| format!("sync {}", setup.input.display()))?;
            let mut at = 0;
            Box::new(std::iter::from_fn(move || {
                let mut memory = vec![0; part + ALIGNMENT];
                let skip = memory.as_ptr().align_offset(ALIGNMENT);
                let read = memory.get_mut(skip..skip + part).map_or(Ok(0), |part| file.read_at(part, at));
                match read {
                    Ok(0) => None,
                    Ok(read) => {
                        at += read as u64;
                        Some(Ok(Bytes::from(memory).slice(skip..skip + read)))
                    }
                    Err(error) => Some(Err(error)),
                }
            }))
        }
    };
    let oss = store(setup);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context(|| "start threads".into())?;
    let begun = Instant::now();
    let done = runtime.block_on(upload_alone(&oss.endpoint(), BUCKET, (ID, SECRET), parts));
    let seconds = begun.elapsed().as_secs_f64();
    done.map_err(Failure)?;
    let (sent, whole) = (setup.lines * LINE_BYTES, oss.whole_bytes() as u64);
    if whole != sent {
        return Err(Failure(format!("{whole} bytes of {sent} are in the client's object")));
    }
    Ok(Run {
        round: 0,
        variant,
        lines_per_s: setup.lines as f64 / seconds,
        seconds,
        requests: oss.asked().len(),
        peak_rss_mib: None,
        cpu_seconds: None,
    })
}

fn agent(setup: &Setup, variant: &'static str) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&setup.directory)
        .context(|| format!("make a directory in {}", setup.directory.display()))?;
    let fresh = fresh.path().canonicalize().context(|| format!("look at {}", fresh.path().display()))?;
    let oss = store(setup);
    let folder = fresh.join("in");
    std::fs::create_dir(&folder).context(|| format!("create {}", folder.display()))?;
    let to = folder.join("input.log");
    std::fs::copy(&setup.input, &to).context(|| format!("write {}", to.display()))?;
    let start = |name: &str, left_out: &str, port: u16| {
        let conf = fresh.join(name);
        let text = conf_of(&oss.endpoint(), setup).replace("@DIR@", &fresh.to_string_lossy());
        let kept = text.lines().filter(|line| left_out.is_empty() || !line.starts_with(left_out));
        let text: String = kept.flat_map(|line| [line, "\n"]).collect();
        std::fs::write(&conf, text).context(|| format!("write {}", conf.display()))?;
        let mut command = Command::new(&setup.flumen);
        command.args(["agent", "-n", "a1", "--no-reload-conf", "-f"]).arg(&conf);
        command.args(["-Dflume.monitoring.type=http".into(), format!("-Dflume.monitoring.port={port}")]);
        command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME");
        Agent::spawn(command, fresh.join(format!("{name}.log")))
    };
    let left_out = match variant {
        BACKLOG => {
            let port = free_port()?;
            let mut filling = start("fill.conf", "a1.sinks", port)?;
            filling.wait_until("a full channel", setup.limit, || {
                std::thread::sleep(LOOK);
                channel_figure(port, "c1", "EventPutSuccessCount") == Some(setup.lines)
            })?;
            filling.stop()?;
            "a1.sources"
        }
        _ => "",
    };
    let sent = setup.lines * LINE_BYTES;
    let mut agent = start("agent.conf", left_out, free_port()?)?;
    let first = agent.wait_until("first output", setup.limit, || !oss.asked().is_empty())?;
    let last = agent.wait_until("complete output", setup.limit, || oss.flushed_bytes() as u64 >= sent)?;
    let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
    agent.stop()?;
    if oss.whole_bytes() as u64 != sent {
        return Err(Failure(format!("{} bytes of {sent} are in whole objects", oss.whole_bytes())));
    }
    let seconds = (last - first).as_secs_f64();
    Ok(Run {
        round: 0,
        variant,
        lines_per_s: setup.lines as f64 / seconds,
        seconds,
        requests: oss.asked().len(),
        peak_rss_mib: Some(peak_rss_mib),
        cpu_seconds: Some(cpu_seconds),
    })
}

/// The configuration of the agent's bench with another sink. A later key wins over an earlier one.
fn conf_of(endpoint: &str, setup: &Setup) -> String {
    let (part, capacity) = (setup.part, setup.lines + 100_000);
    let kept = CONF.lines().filter(|line| !line.starts_with("a1.sinks.k1."));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!(
        "a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/input.log\n\
         a1.channels.c1.type = file\na1.channels.c1.transactionCapacity = 100000\na1.channels.c1.capacity = {capacity}\n\
         a1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\na1.sinks.k1.hdfs.path = oss://{BUCKET}/bench\n\
         a1.sinks.k1.hdfs.endpoint = {endpoint}\na1.sinks.k1.hdfs.accessKeyId = {ID}\n\
         a1.sinks.k1.hdfs.accessKeySecret = {SECRET}\na1.sinks.k1.hdfs.uploadPartSize = {part}\n\
         a1.sinks.k1.hdfs.fileType = DataStream\na1.sinks.k1.hdfs.batchSize = 100000\n\
         a1.sinks.k1.hdfs.rollInterval = 0\na1.sinks.k1.hdfs.rollSize = 0\na1.sinks.k1.hdfs.rollCount = 0\n"
    ));
    text
}

fn rows(runs: &[Run], lines: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for variant in VARIANTS {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.variant == variant).collect();
        let lines_per_s = lines as f64 / median(runs.iter().map(|run| run.seconds));
        let of = |value: fn(&Run) -> Option<f64>| {
            let all: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
            (!all.is_empty()).then(|| median(all))
        };
        let share = |other: &str| {
            rows.iter().find(|row| row.variant == other).map(|other| lines_per_s / other.lines_per_s)
        };
        let row = Row {
            variant,
            lines_per_s,
            mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
            requests: median(runs.iter().map(|run| run.requests as f64)),
            peak_rss_mib: of(|run| run.peak_rss_mib),
            cpu_seconds: of(|run| run.cpu_seconds),
            of_alone: share(ALONE).unwrap_or(1.0),
            of_reading: match variant {
                BACKLOG => share(FROM_DISK),
                PIPELINE => share(FROM_FILE),
                _ => None,
            },
        };
        rows.push(row);
    }
    rows
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.variant.to_string(),
            format!("{:.0} k", row.lines_per_s / 1e3),
            format!("{:.1}", row.mb_per_s),
            format!("{:.0}", row.requests),
            optional(row.peak_rss_mib, 1),
            optional(row.cpu_seconds, 2),
            format!("{:.2}", row.of_alone),
            optional(row.of_reading, 2),
        ]
    };
    let heads = [
        "variant",
        "lines/s",
        "MB/s",
        "requests",
        "peak RSS MiB",
        "CPU s",
        "of the client alone",
        "of it, from file or disk",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}
