//! LogHub into a file channel: how many logs a second the source takes out of eight shards.
//!
//! ```text
//!   emulator of the service, pulls packed in advance  ──HTTP, lz4──>  loghub -> file channel -> null
//! ```
//!
//! The clock runs from the first event in the channel until all of them were put. Emulator and agent share the machine; the emulator's
//! own share is signatures, and bytes out of memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, channel_figure, free_port};
use crate::report::{Stored, median, print_table};

#[path = "../../tests/support/sls/mod.rs"]
mod sls;

use sls::{KEY, KEY_ID, LOGSTORE, PROJECT, Record, Sls, log_group};

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "logs", "limit", "flumen"];

const SHARDS: u32 = 8;
/// Logs of a log group.
const LOGS: u64 = 100;
const LINE: &str = "10.0.12.7 - - [21/Nov/2026:10:11:12 +0800] \"GET /shop/cart?id=4711 HTTP/1.1\" 200 5120 \
                    \"https://shop.example.org/\" \"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\"";

/// What logs are made of, and how many go into a put.
struct Variant {
    name: &'static str,
    contents: usize,
    batch_size: usize,
}

const VARIANTS: [Variant; 3] = [
    Variant { name: "one content, batchSize 1000", contents: 1, batch_size: 1000 },
    Variant { name: "one content, batchSize unset", contents: 1, batch_size: 100 },
    Variant { name: "JSON of five contents, batchSize 1000", contents: 5, batch_size: 1000 },
];

#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    variant: &'static str,
    logs: u64,
    logs_per_s: f64,
    seconds: f64,
    cpu_seconds: f64,
    peak_rss_mib: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    variant: &'static str,
    logs: u64,
    logs_per_s: f64,
    cpu_seconds_per_million: f64,
    peak_rss_mib: f64,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let groups = options.get("logs", 1_000_000_u64)? / LOGS / u64::from(SHARDS);
    let logs = groups * LOGS * u64::from(SHARDS);
    let limit = Duration::from_secs(options.get("limit", 120)?);
    let flumen: PathBuf = options.get("flumen", "target/release/flumen".into())?;
    let place = Place::of(&directory)?;
    println!(
        "{}\n{logs} logs of {} bytes in {SHARDS} shards, {rounds} rounds\n",
        place.headline(),
        LINE.len()
    );
    let mut runs = Vec::new();
    for variant in &VARIANTS {
        let sls = filled(variant, groups)?;
        for round in 0..rounds {
            eprintln!("round {} of {rounds}, {}", round + 1, variant.name);
            runs.push(once(variant, round, &sls, logs, &directory, &flumen, limit)?);
        }
    }
    let rows: Vec<Row> = VARIANTS.iter().map(|variant| row(variant.name, logs, &runs)).collect();
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "LogHub emulator -> loghub -> file channel", "logs": logs, "line_bytes": LINE.len(), "shards": SHARDS,
        "logs_of_a_group": LOGS, "rounds": rounds,
    });
    let stored = Stored { bench: "loghub", place: &place, setting, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

/// A service that has so many log groups in each shard, packed.
fn filled(variant: &Variant, groups: u64) -> Result<Sls, Failure> {
    let sls = Sls::start(SHARDS);
    let words: Vec<&str> = LINE.splitn(variant.contents, ' ').collect();
    let contents = words.iter().enumerate().map(|(i, word)| (format!("field_{i}"), word.as_bytes().to_vec()));
    let contents: Vec<(String, Vec<u8>)> = contents.collect();
    for group in 0..groups {
        let time = u32::try_from(1_763_712_000 + group).context(|| "a time".into())?;
        let logs: Vec<Record> =
            (0..LOGS).map(|_| Record { time, nanos: None, contents: contents.clone() }).collect();
        let tags = [("__hostname__", "web-1"), ("__path__", "/var/log/nginx/access.log")];
        let group = log_group("access", "10.0.12.7", &tags, &logs);
        (0..SHARDS).for_each(|shard| sls.append_group(shard, group.clone()));
    }
    sls.pack("lz4");
    Ok(sls)
}

fn once(
    variant: &Variant,
    round: usize,
    sls: &Sls,
    logs: u64,
    directory: &Path,
    flumen: &Path,
    limit: Duration,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("loghub-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = fresh.path().canonicalize().context(|| format!("look at {}", fresh.path().display()))?;
    let port = free_port()?;
    let conf = home.join("agent.conf");
    // Each round is a new group, which begins at the beginning.
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = loghub\na1.sources.r1.endpoint = {}\n\
         a1.sources.r1.project = {PROJECT}\na1.sources.r1.logstore = {LOGSTORE}\na1.sources.r1.accessKeyId = {KEY_ID}\n\
         a1.sources.r1.accessKey = {KEY}\na1.sources.r1.consumerGroup = round-{}-{round}\na1.sources.r1.useRecordTime = true\n\
         a1.sources.r1.consumerPosition = begin\na1.sources.r1.batchSize = {}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.capacity = {}\na1.channels.c1.checkpointDir = {home}/checkpoint\n\
         a1.channels.c1.dataDirs = {home}/data\na1.sinks.k1.type = null\na1.sinks.k1.batchSize = 1000\na1.sinks.k1.channel = c1\n",
        sls.endpoint(),
        variant.batch_size,
        variant.batch_size,
        logs + 1,
        home = home.display(),
    );
    std::fs::write(&conf, text).context(|| format!("write {}", conf.display()))?;
    let defines = ["-Dflume.monitoring.type=http".to_string(), format!("-Dflume.monitoring.port={port}")];
    let mut agent = Agent::start(flumen, &conf, &defines, home.join("agent.log"))?;
    let put = || channel_figure(port, "c1", "EventPutSuccessCount").unwrap_or(0);
    let first = agent.wait_until("first event", limit, || put() > 0)?;
    let early = put();
    let last = agent.wait_until("all events", limit, || put() >= logs)?;
    let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
    agent.stop()?;
    let seconds = (last - first).as_secs_f64();
    // What was there at the first look is not counted.
    let logs_per_s = logs.saturating_sub(early) as f64 / seconds;
    Ok(Run { round, variant: variant.name, logs, logs_per_s, seconds, cpu_seconds, peak_rss_mib })
}

fn row(variant: &'static str, logs: u64, runs: &[Run]) -> Row {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.variant == variant).collect();
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
    Row {
        variant,
        logs,
        logs_per_s: of(|run| run.logs_per_s),
        cpu_seconds_per_million: of(|run| run.cpu_seconds) / logs as f64 * 1e6,
        peak_rss_mib: of(|run| run.peak_rss_mib),
    }
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.variant.to_string(),
            format!("{:.0} k", row.logs_per_s / 1e3),
            format!("{:.2}", row.cpu_seconds_per_million),
            format!("{:.1}", row.peak_rss_mib),
        ]
    };
    print_table(
        &["variant", "logs/s", "CPU s per M logs", "peak RSS MiB"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    );
}
