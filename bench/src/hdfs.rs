//! The whole job into HDFS: access-log lines from a file through a channel into a DataStream, by Flumen and Flume in turns, on
//! a NameNode and a DataNode that the bench starts.
//!
//! ```text
//!   Flumen, file channel      bench/agent.conf with an hdfs sink
//!   hdfs-native alone         the same bytes from memory by the client that Flumen's sink uses, synced as often as
//!                             Flumen's sink did in the same round: what there is to reach
//!   Flume, file channel       the same configuration
//!   Flume, memory channel     with this channel
//!   Flumen, 50 open files     the same lines from 50 files into 50 paths: memory
//! ```
//!
//! The clock runs from the first byte in a block's file until the blocks hold as many bytes as were sent. Then the agent is
//! stopped, and its files are read back and compared with its input byte by byte. Flumen's blocks are synced to the disk,
//! Flume's, by its `hflush`, are in the DataNode's memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdfs_native::{Client, ClientBuilder, WriteOptions};
use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::hadoop::{self, Hadoop, Libraries};
use crate::lines::{self, LINE_BYTES};
use crate::options::Options;
use crate::place::Place;
use crate::process::Agent;
use crate::programs::CONF;
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &[
    "dir",
    "results",
    "rounds",
    "lines",
    "limit",
    "flumen",
    flume::OPTIONS[0],
    flume::OPTIONS[1],
    hadoop::OPTIONS[0],
];

/// Lines of a batch.
const BATCH: u64 = 1000;
/// Files that the memory is measured with.
const OPEN_FILES: u64 = 50;
/// What is read back at a time.
const READ_BYTES: usize = 4 << 20;

/// Who does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Flumen { files: u64 },
    Flume { channel: &'static str },
    Alone,
}

struct Variant {
    name: &'static str,
    who: Who,
    durability: &'static str,
}

const SYNCED: &str = "synced by the DataNode before it is released";
const FLUSHED: &str = "in the DataNode's memory when it is released";

/// In this order: what is synced alone follows the cadence that Flumen had just before.
const VARIANTS: [Variant; 5] = [
    Variant { name: "Flumen, file channel", who: Who::Flumen { files: 1 }, durability: SYNCED },
    Variant { name: "hdfs-native alone", who: Who::Alone, durability: SYNCED },
    Variant { name: "Flume, file channel", who: Who::Flume { channel: "file" }, durability: FLUSHED },
    Variant { name: "Flume, memory channel", who: Who::Flume { channel: "memory" }, durability: FLUSHED },
    Variant { name: "Flumen, 50 open files", who: Who::Flumen { files: OPEN_FILES }, durability: SYNCED },
];

/// One round of one variant.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    variant: &'static str,
    lines: u64,
    lines_per_s: f64,
    /// First output until all output.
    seconds: f64,
    /// Exec until first output; of an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    /// Lengths that the client had the NameNode note, the one of its stop among them.
    syncs: u64,
}

/// Medians of a variant.
#[derive(Debug, Serialize)]
struct Row {
    variant: &'static str,
    durability: &'static str,
    lines: u64,
    lines_per_s: f64,
    mb_per_s: f64,
    syncs: f64,
    start_seconds: Option<f64>,
    peak_rss_mib: Option<f64>,
    cpu_seconds_per_million: Option<f64>,
    /// How many times faster the first variant is.
    first_over_this: f64,
}

struct Bench {
    home: PathBuf,
    lines: u64,
    limit: Duration,
    flumen: PathBuf,
    flume: Result<(Flume, String), String>,
    hadoop: Hadoop,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let lines: u64 = options.get("lines", 500_000)?;
    let rounds: usize = options.get("rounds", 3)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let libraries = match Libraries::get(options)? {
        Ok(libraries) => libraries,
        Err(why) => {
            println!("nothing is measured: {why}");
            return Ok(());
        }
    };
    let flume = match Flume::build(options)? {
        Ok(flume) => Ok((flume, libraries.client()?)),
        Err(why) => {
            println!("Flume is skipped: {why}");
            Err(why)
        }
    };
    let place = Place::of(&directory)?;
    println!("{}\n{lines} lines of {LINE_BYTES} bytes, {rounds} rounds\n", place.headline());
    let scratch = tempfile::Builder::new()
        .prefix("hdfs-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = scratch.path().canonicalize().context(|| format!("look at {}", scratch.path().display()))?;
    let servers = home.join("hadoop");
    std::fs::create_dir(&servers).context(|| format!("create {}", servers.display()))?;
    let hadoop = Hadoop::start(&libraries, &servers)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context(|| "start threads".into())?;
    let client = ClientBuilder::new()
        .with_url(hadoop.url())
        // The surroundings' configuration is another cluster's.
        .with_config_dir(home.display().to_string())
        .with_io_runtime(runtime.handle().clone())
        .build()
        .context(|| "make a client".into())?;
    let flumen = options.get("flumen", PathBuf::from("target/release/flumen"))?;
    let bench = Bench { home, lines, limit, flumen, flume, hadoop, runtime, client };
    lines::generate(&bench.input(1), lines)?;
    lines::generate(&bench.input(OPEN_FILES), lines / OPEN_FILES)?;

    // Java's compiler has seen the servers' work once.
    bench.alone(0, lines * LINE_BYTES / 20)?;
    let mut runs: Vec<Run> = Vec::new();
    for round in 0..rounds {
        for variant in &VARIANTS {
            eprintln!("round {} of {rounds}, {}", round + 1, variant.name);
            let run = match variant.who {
                Who::Alone => {
                    let like = runs.last().map_or(1, |run| run.syncs.max(1));
                    Run { round, ..bench.alone(round, lines * LINE_BYTES / like)? }
                }
                Who::Flume { .. } if bench.flume.is_err() => continue,
                _ => bench.agent(variant, round)?,
            };
            runs.push(run);
        }
    }
    let rows = rows(&runs);
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "taildir -> channel -> hdfs, DataStream; one NameNode, one DataNode, replication 1",
        "lines": lines,
        "line_bytes": LINE_BYTES,
        "batch": BATCH,
        "rounds": rounds,
    });
    let stored = Stored { bench: "hdfs", place: &place, setting, summary: &rows, runs: &runs };
    println!("\nevery agent's output equals its input\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

impl Bench {
    /// What each of so many files holds.
    fn input(&self, files: u64) -> PathBuf {
        self.home.join(format!("{files}.log"))
    }

    /// The client alone, which syncs after so many bytes.
    fn alone(&self, round: usize, sync_bytes: u64) -> Result<Run, Failure> {
        let input = std::fs::read(self.input(1)).context(|| "read the input".into())?;
        let path = format!("/bench/alone-{round}");
        let before = self.hadoop.syncs()?;
        let (bytes, client) = (Bytes::from(input), &self.client);
        let seconds = self.runtime.block_on(async {
            let mut file = client.create(&path, WriteOptions::default().overwrite(true)).await?;
            let begun = Instant::now();
            let (mut left, mut unsynced) = (bytes, 0);
            while !left.is_empty() {
                let piece = left.split_to(left.len().min((BATCH * LINE_BYTES) as usize));
                unsynced += piece.len() as u64;
                file.write_bytes(piece).await?;
                if unsynced >= sync_bytes || left.is_empty() {
                    file.hsync().await?;
                    unsynced = 0;
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            file.close().await?;
            client.delete(&path, false).await?;
            Ok::<_, hdfs_native::HdfsError>(seconds)
        });
        let seconds = seconds.context(|| format!("write {path}"))?;
        Ok(Run {
            round,
            variant: "hdfs-native alone",
            lines: self.lines,
            lines_per_s: self.lines as f64 / seconds,
            seconds,
            start_seconds: None,
            peak_rss_mib: None,
            cpu_seconds: None,
            syncs: self.hadoop.syncs()? - before,
        })
    }

    fn agent(&self, variant: &Variant, round: usize) -> Result<Run, Failure> {
        let (files, channel) = match variant.who {
            Who::Flumen { files } => (files, "file"),
            Who::Flume { channel } => (1, channel),
            Who::Alone => return Err(Failure("there is no agent in it".into())),
        };
        let fresh = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&self.home)
            .context(|| format!("make a directory in {}", self.home.display()))?;
        let directory = fresh.path();
        let path = format!("/bench/{}-{round}", variant.name.replace([',', ' '], "-"));
        let conf = directory.join("agent.conf");
        let text = conf_of(&format!("{}{path}", self.hadoop.url()), channel, files);
        std::fs::write(&conf, text.replace("@DIR@", &directory.to_string_lossy()))
            .context(|| format!("write {}", conf.display()))?;
        let folder = directory.join("in");
        std::fs::create_dir(&folder).context(|| format!("create {}", folder.display()))?;
        for file in 0..files {
            // A copy: files are told apart by their inodes.
            let to = folder.join(format!("{file:02}.log"));
            std::fs::copy(self.input(files), &to).context(|| format!("write {}", to.display()))?;
        }
        let sent = self.lines / files * files;

        let syncs = self.hadoop.syncs()?;
        let known: BTreeSet<_> = self.hadoop.blocks().into_keys().collect();
        let bytes = || self.hadoop.bytes_beside(&known);
        let mut agent = Agent::spawn(self.command(variant, &conf)?, directory.join("agent.log"))?;
        let first = agent.wait_until("first output", self.limit, || bytes() > 0)?;
        let last = agent.wait_until("complete output", self.limit, || bytes() >= sent * LINE_BYTES)?;
        let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
        let start_seconds = (first - agent.started).as_secs_f64();
        agent.stop()?;
        self.check(&path, files)?;
        let seconds = (last - first).as_secs_f64();
        Ok(Run {
            round,
            variant: variant.name,
            lines: sent,
            lines_per_s: sent as f64 / seconds,
            seconds,
            start_seconds: Some(start_seconds),
            peak_rss_mib: Some(peak_rss_mib),
            cpu_seconds: Some(cpu_seconds),
            syncs: self.hadoop.syncs()? - syncs,
        })
    }

    fn command(&self, variant: &Variant, conf: &Path) -> Result<Command, Failure> {
        match (variant.who, &self.flume) {
            (Who::Flume { .. }, Ok((flume, jars))) => Ok(flume.agent_with(jars, conf)),
            (Who::Flume { .. }, Err(why)) => Err(Failure(why.clone())),
            _ => {
                let mut command = Command::new(&self.flumen);
                command.args(["agent", "-n", "a1", "--no-reload-conf", "-f"]).arg(conf);
                command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME");
                Ok(command)
            }
        }
    }

    /// Fails unless the folders below `path` hold what was sent; then they are deleted.
    fn check(&self, path: &str, folders: u64) -> Result<(), Failure> {
        let input = std::fs::read(self.input(folders)).context(|| "read the input".into())?;
        for folder in 0..folders {
            let below = format!("{path}/{folder:02}");
            self.runtime.block_on(same(&self.client, &below, &input))?;
        }
        self.runtime.block_on(self.client.delete(path, true)).context(|| format!("delete {path}"))?;
        Ok(())
    }
}

/// Fails unless the files of a folder, in the order of their names, hold exactly `input`.
async fn same(client: &Client, folder: &str, input: &[u8]) -> Result<(), Failure> {
    let mut files = client.list_status(folder, true).await.context(|| format!("list {folder}"))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut left = input;
    for file in &files {
        let what = || format!("read {}", file.path);
        let reader = client.read(&file.path).await.context(what)?;
        let length = reader.file_length();
        let mut at = 0;
        while at < length {
            let size = READ_BYTES.min(length - at);
            let got = reader.read_range(at, size).await.context(what)?;
            if !left.starts_with(&got) {
                let line = (input.len() - left.len()) as u64 / LINE_BYTES + 1;
                return Err(Failure(format!("{}: differs from what was sent behind line {line}", file.path)));
            }
            left = &left[got.len()..];
            at += size;
        }
    }
    match left.len() {
        0 => Ok(()),
        bytes => {
            Err(Failure(format!("{folder}: the last {bytes} bytes are missing in {} files", files.len())))
        }
    }
}

/// The configuration of the agent's bench with another sink. A later key wins over an earlier one.
fn conf_of(url: &str, channel: &str, files: u64) -> String {
    let kept = CONF.lines().filter(|line| !line.starts_with("a1.sinks.k1."));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("a1.channels.c1.type = {channel}\na1.sources.r1.filegroups ="));
    (0..files).for_each(|file| text.push_str(&format!(" f{file:02}")));
    text.push('\n');
    for file in 0..files {
        text.push_str(&format!(
            "a1.sources.r1.filegroups.f{file:02} = @DIR@/in/{file:02}.log\n\
             a1.sources.r1.headers.f{file:02}.file = {file:02}\n"
        ));
    }
    text.push_str(&format!(
        "a1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\na1.sinks.k1.hdfs.path = {url}/%{{file}}\n\
         a1.sinks.k1.hdfs.fileType = DataStream\na1.sinks.k1.hdfs.writeFormat = Text\n\
         a1.sinks.k1.hdfs.rollInterval = 0\na1.sinks.k1.hdfs.rollSize = 0\na1.sinks.k1.hdfs.rollCount = 0\n\
         a1.sinks.k1.hdfs.batchSize = {BATCH}\n"
    ));
    text
}

fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for Variant { name, durability, .. } in &VARIANTS {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.variant == *name).collect();
        let Some(lines) = runs.first().map(|run| run.lines) else { continue };
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
        let some = |value: fn(&Run) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
            (!values.is_empty()).then(|| median(values))
        };
        let lines_per_s = of(|run| run.lines_per_s);
        rows.push(Row {
            variant: name,
            durability,
            lines,
            lines_per_s,
            mb_per_s: lines_per_s * LINE_BYTES as f64 / 1e6,
            syncs: of(|run| run.syncs as f64),
            start_seconds: some(|run| run.start_seconds),
            peak_rss_mib: some(|run| run.peak_rss_mib),
            cpu_seconds_per_million: some(|run| Some(run.cpu_seconds? / run.lines as f64 * 1e6)),
            first_over_this: rows.first().map_or(1.0, |first| first.lines_per_s / lines_per_s),
        });
    }
    rows
}

fn print(rows: &[Row]) {
    let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.1}"));
    let cells = |row: &Row| {
        vec![
            row.variant.to_string(),
            format!("{:.0} k", row.lines_per_s / 1e3),
            format!("{:.1}", row.mb_per_s),
            format!("{:.0}", row.syncs),
            cell(row.start_seconds),
            cell(row.peak_rss_mib),
            cell(row.cpu_seconds_per_million),
            format!("{:.2}", row.first_over_this),
        ]
    };
    let heads = [
        "variant",
        "lines/s",
        "MB/s",
        "syncs",
        "exec to first output s",
        "peak RSS MiB",
        "CPU s per M lines",
        "first variant / this",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_path_of_its_own() {
        let conf = conf_of("hdfs://127.0.0.1:1/bench/x", "memory", 2);
        assert!(conf.contains("filegroups = f00 f01\n"), "{conf}");
        assert!(conf.contains("filegroups.f01 = @DIR@/in/01.log\n"), "{conf}");
        assert!(conf.contains("headers.f01.file = 01\n"), "{conf}");
        assert!(conf.contains("hdfs.path = hdfs://127.0.0.1:1/bench/x/%{file}\n"), "{conf}");
        assert!(!conf.contains("type = file_roll") && !conf.contains("sink.directory"), "{conf}");
    }
}
