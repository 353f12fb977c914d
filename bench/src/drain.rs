//! A cold backlog through the agent: how fast it comes off the disk, beside what the device gives to plain reads.
//!
//! ```text
//!   fill      in this process, through the file channel; closed, so that none of it is left in memory of ours
//!   forget    posix_fadvise(DONTNEED) on every file, so that none is left in the page cache
//!   raw       the same files, O_DIRECT, reads of 1 MiB, four at a time, in order          measured
//!   forget
//!   drain     exec of an agent of the channel and a sink .. channel empty                  measured
//! ```
//!
//! Raw and drain read the very same blocks in the same order, one behind the other, so a cache behind the device, which
//! nobody here can empty, has the same chance to help both. Recovery at the start counts as part of the drain.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flumen_api::registry::Storage;
use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::lines::bytes_in;
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, channel_figure, free_port};
use crate::pump::{self, Pump, Shape};
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "megabytes", "bytes", "flumen", "limit", "only"];

const READ_BYTES: usize = 1 << 20;
const READ_DEPTH: usize = 4;
const ALIGNMENT: usize = 4096;
/// How often the agent is asked what it still has: rarely enough to cost it nothing.
const LOOK: Duration = Duration::from_millis(10);

/// Where the backlog goes, and its keys.
const SINKS: [(&str, &str); 2] = [
    ("null", "a1.sinks.k1.type = null\na1.sinks.k1.batchSize = 1000\n"),
    (
        "file_roll",
        "a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.batchSize = 1000\n",
    ),
];

/// One backlog drained.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    sink: &'static str,
    events: u64,
    payload_bytes: u64,
    /// Bytes of the log's files.
    log_bytes: u64,
    raw_mb_per_s: f64,
    /// Exec until the channel is empty.
    seconds: f64,
    payload_mb_per_s: f64,
    peak_rss_mib: f64,
    cpu_seconds: f64,
}

/// Medians of a sink.
#[derive(Debug, Serialize)]
struct Row {
    sink: &'static str,
    events_per_s: f64,
    payload_mb_per_s: f64,
    raw_mb_per_s: f64,
    /// Payload against raw bytes: what the log adds to the payload counts against it.
    share_of_raw: f64,
    peak_rss_mib: f64,
    cpu_seconds: f64,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let megabytes: u64 = options.get("megabytes", 4000)?;
    let body_bytes: usize = options.get("bytes", 512)?;
    let limit = Duration::from_secs(options.get("limit", 300)?);
    let flumen: PathBuf = options.get("flumen", PathBuf::from("target/release/flumen"))?;
    let only: Vec<String> = options.list("only", &SINKS.map(|(sink, _)| sink.to_string()))?;
    let place = Place::of(&directory)?;
    println!(
        "{}\nbacklog of {megabytes} MB in events of {body_bytes} bytes, {rounds} rounds\n",
        place.headline()
    );

    let mut runs = Vec::new();
    for round in 0..rounds {
        for (sink, keys) in SINKS.iter().filter(|(sink, _)| only.iter().any(|name| name == sink)) {
            eprintln!("round {} of {rounds}, {sink}", round + 1);
            let events = megabytes * 1_000_000 / body_bytes.max(8) as u64;
            runs.push(once(round, (sink, keys), events, body_bytes, &directory, &flumen, limit)?);
        }
    }
    let rows: Vec<Row> = SINKS.iter().filter_map(|(sink, _)| row(sink, &runs)).collect();
    print(&rows);
    let setting = serde_json::json!({
        "pipeline": "file channel with a cold backlog -> sink",
        "body_bytes": body_bytes,
        "take_batch": 1000,
        "raw": {"read_bytes": READ_BYTES, "depth": READ_DEPTH, "direct": true},
        "rounds": rounds,
    });
    let stored = Stored { bench: "drain", place: &place, setting, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn once(
    round: usize,
    (sink, keys): (&'static str, &str),
    events: u64,
    body_bytes: usize,
    directory: &Path,
    flumen: &Path,
    limit: Duration,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("drain-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = fresh.path().canonicalize().context(|| format!("look at {}", fresh.path().display()))?;
    let shape = Shape { producers: 2, put_batch: 1000, body_bytes, in_flight: 32, take_batch: 1000 };
    let mut pump = Pump::new(pump::open("file", Storage::Auto, events + 10_000, &home)?, shape);
    let events = pump.fill(events)?;
    pump.close()?;

    let mut files = Vec::new();
    files_below(&home, &mut files)?;
    files.sort();
    let log_bytes = files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum();
    forget(&files)?;
    let raw_mb_per_s = read_all(&files)?;
    forget(&files)?;

    let conf = home.join("agent.conf");
    let text = format!(
        "a1.channels = c1\na1.sinks = k1\na1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
         a1.channels.c1.capacity = {}\na1.sinks.k1.channel = c1\n{keys}",
        events + 10_000
    );
    std::fs::write(&conf, text.replace("@DIR@", &home.to_string_lossy()))
        .context(|| format!("write {}", conf.display()))?;
    let out = home.join("out");
    std::fs::create_dir(&out).context(|| format!("create {}", out.display()))?;
    let port = free_port()?;
    let defines = ["-Dflume.monitoring.type=http".to_string(), format!("-Dflume.monitoring.port={port}")];
    let mut agent = Agent::start(flumen, &conf, &defines, home.join("agent.log"))?;
    let empty = agent.wait_until("empty channel", limit, || {
        std::thread::sleep(LOOK);
        // Not the size: that is 0 until the channel is open.
        channel_figure(port, "c1", "EventTakeSuccessCount") == Some(events)
    })?;
    let seconds = (empty - agent.started).as_secs_f64();
    let (peak_rss_mib, cpu_seconds) = (agent.peak_rss_mib(), agent.cpu_seconds());
    agent.stop()?;
    let (got, sent) = (bytes_in(&out), events * (body_bytes as u64 + 1));
    if sink == "file_roll" && got != sent {
        return Err(Failure(format!("{got} bytes came out where {sent} were expected")));
    }
    let payload_bytes = events * body_bytes as u64;
    Ok(Run {
        round,
        sink,
        events,
        payload_bytes,
        log_bytes,
        raw_mb_per_s,
        seconds,
        payload_mb_per_s: payload_bytes as f64 / 1e6 / seconds,
        peak_rss_mib,
        cpu_seconds,
    })
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let what = || format!("list {}", directory.display());
    for entry in std::fs::read_dir(directory).context(what)? {
        let entry = entry.context(what)?;
        match entry.file_type().context(what)?.is_dir() {
            true => files_below(&entry.path(), found)?,
            false => found.push(entry.path()),
        }
    }
    Ok(())
}

/// Writes the files back and drops them from the page cache.
fn forget(files: &[PathBuf]) -> Result<(), Failure> {
    for path in files {
        let what = || format!("drop {} from the page cache", path.display());
        let file = File::open(path).context(what)?;
        file.sync_all().context(what)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).context(what)?;
    }
    Ok(())
}

/// MB/s of reading the files in order.
fn read_all(files: &[PathBuf]) -> Result<f64, Failure> {
    let mut pieces = Vec::new();
    let mut opened = Vec::new();
    for path in files {
        let what = || format!("open {} for direct I/O", path.display());
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).context(what)?;
        let len = file.metadata().context(what)?.len();
        pieces.extend((0..len).step_by(READ_BYTES).map(|offset| (opened.len(), offset)));
        opened.push(file);
    }
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let bytes = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READ_DEPTH)
            .map(|_| {
                scope.spawn(|| -> std::io::Result<u64> {
                    let mut memory = vec![0x5a; READ_BYTES + ALIGNMENT];
                    let skip = memory.as_ptr().align_offset(ALIGNMENT);
                    let buffer = &mut memory[skip..skip + READ_BYTES];
                    let mut bytes = 0;
                    while let Some(&(file, offset)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                        bytes += opened[file].read_at(buffer, offset)? as u64;
                    }
                    Ok(bytes)
                })
            })
            .collect();
        readers.into_iter().try_fold(0, |sum, reader| match reader.join() {
            Ok(read) => Ok(sum + read.context(|| "read the log's files".into())?),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn row(sink: &'static str, runs: &[Run]) -> Option<Row> {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.sink == sink).collect();
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
    (!runs.is_empty()).then(|| Row {
        sink,
        events_per_s: of(|run| run.events as f64 / run.seconds),
        payload_mb_per_s: of(|run| run.payload_mb_per_s),
        raw_mb_per_s: of(|run| run.raw_mb_per_s),
        share_of_raw: of(|run| run.payload_mb_per_s / run.raw_mb_per_s),
        peak_rss_mib: of(|run| run.peak_rss_mib),
        cpu_seconds: of(|run| run.cpu_seconds),
    })
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            row.sink.to_string(),
            format!("{:.0} k", row.events_per_s / 1e3),
            format!("{:.0}", row.payload_mb_per_s),
            format!("{:.0}", row.raw_mb_per_s),
            format!("{:.0} %", row.share_of_raw * 100.0),
            format!("{:.1}", row.peak_rss_mib),
            format!("{:.2}", row.cpu_seconds),
        ]
    };
    let heads = ["sink", "events/s", "payload MB/s", "raw reads MB/s", "share", "peak RSS MiB", "CPU s"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_reads_see_every_file_to_its_end() {
        // In the working directory: a file system in memory may refuse direct I/O.
        let dir = tempfile::tempdir_in(".").unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("one"), vec![1; 2 * READ_BYTES + ALIGNMENT]).unwrap();
        std::fs::write(dir.path().join("below/two"), vec![2; 10]).unwrap();
        let mut files = Vec::new();
        files_below(dir.path(), &mut files).unwrap();
        assert_eq!(files.len(), 2);
        forget(&files).unwrap();
        assert!(read_all(&files).unwrap() > 0.0);
    }
}
