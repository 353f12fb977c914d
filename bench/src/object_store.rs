//! Access-log lines out of a file channel into a DataStream in an object store, on the tests' emulator of Aliyun's store, which runs
//! in this process and keeps how long objects are.
//!
//! ```text
//!   the client alone          as many bytes from memory by the sink's own client, in parts of the same size, as many at a time:
//!                             what there is to reach
//!   Flumen, full channel      an hdfs sink, flushing on, over a file channel that an agent before it has filled
//!   Flumen, whole pipeline    the same, filled meanwhile by a taildir source on the same processors
//! ```
//!
//! The clock runs from the first request until as many bytes as were sent are flushed or whole. Then the agent is stopped, and
//! its objects must have exactly the bytes that were sent. With `--delay` the store takes so many milliseconds for each answer, as one
//! does that is not on this machine.

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
const BACKLOG: &str = "Flumen, full channel";
const PIPELINE: &str = "Flumen, whole pipeline";

/// How often an agent is asked what it has put.
const LOOK: Duration = Duration::from_millis(20);

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
    /// Of what the client alone reached.
    of_alone: f64,
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
        eprintln!("round {} of {rounds}, {ALONE}", round + 1);
        runs.push(Run { round, ..alone(&setup)? });
        for variant in [BACKLOG, PIPELINE] {
            eprintln!("round {} of {rounds}, {variant}", round + 1);
            runs.push(Run { round, ..agent(&setup, variant)? });
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

fn alone(setup: &Setup) -> Result<Run, Failure> {
    let bytes = Bytes::from(std::fs::read(&setup.input).context(|| "read the input".into())?);
    let oss = store(setup);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context(|| "start threads".into())?;
    let begun = Instant::now();
    let done = runtime.block_on(upload_alone(&oss.endpoint(), BUCKET, (ID, SECRET), bytes, setup.part));
    let seconds = begun.elapsed().as_secs_f64();
    done.map_err(Failure)?;
    Ok(Run {
        round: 0,
        variant: ALONE,
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
    for variant in [ALONE, BACKLOG, PIPELINE] {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.variant == variant).collect();
        let lines_per_s = lines as f64 / median(runs.iter().map(|run| run.seconds));
        let peaks: Vec<f64> = runs.iter().filter_map(|run| run.peak_rss_mib).collect();
        rows.push(Row {
            variant,
            lines_per_s,
            mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
            requests: median(runs.iter().map(|run| run.requests as f64)),
            peak_rss_mib: (!peaks.is_empty()).then(|| median(peaks)),
            of_alone: rows.first().map_or(1.0, |alone| lines_per_s / alone.lines_per_s),
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
            format!("{:.0}", row.requests),
            row.peak_rss_mib.map_or_else(|| "-".into(), |mib| format!("{mib:.1}")),
            format!("{:.2}", row.of_alone),
        ]
    };
    let heads = ["variant", "lines/s", "MB/s", "requests", "peak RSS MiB", "of the client alone"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
