//! Avro RPC: how many events a second a source takes in, and how long a batch waits for its answer.
//!
//! ```text
//!   load                                   server, its channel drained by a null sink
//!   our client, 8 calls on their way  ──>  Flumen with file or memory channel
//!   Flume's Java client               ──>  Flume with file or memory channel
//!   Flumen: stress source, memory channel, avro sink ──> Flumen with file channel      agent to agent
//! ```
//!
//! Events have 512 bytes and two headers. Each round warms up, then counts what is acknowledged for some seconds; every
//! server runs alone. The last rows have the Java client at one rate for all servers: there the latencies can be compared.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen_api::{Batch, Headers};
use flumen_avro_rpc::connect::{Connector, Target};
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, channel_figure, free_port};
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &[
    "dir",
    "results",
    "rounds",
    "seconds",
    "warm",
    "clients",
    "batches",
    "rate",
    "flumen",
    flume::OPTIONS[0],
    flume::OPTIONS[1],
];

const BODY_BYTES: usize = 512;
const HEADERS: [(&str, &str); 2] = [("host", "web-1.example.org"), ("timestamp", "1763712000000")];
/// Calls that our client has on their way.
const PIPELINE: usize = 8;
/// How long an agent may take to listen.
const START_MAX: Duration = Duration::from_secs(60);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Server {
    name: &'static str,
    is_flume: bool,
    channel: &'static str,
}

const SERVERS: [Server; 4] = [
    Server { name: "Flumen, file channel", is_flume: false, channel: "file" },
    Server { name: "Flumen, memory channel", is_flume: false, channel: "memory" },
    Server { name: "Flume, memory channel", is_flume: true, channel: "memory" },
    Server { name: "Flume, file channel", is_flume: true, channel: "file" },
];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Load {
    Ours,
    Java,
    /// So many events a second.
    JavaAt(f64),
    /// An agent.
    Agent,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "our client",
            Self::Java => "Java client",
            Self::JavaAt(_) => "Java client at a rate",
            Self::Agent => "agent",
        }
    }
}

/// What one run gave.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    events: u64,
    seconds: f64,
    #[serde(default)]
    p50_us: f64,
    #[serde(default)]
    p99_us: f64,
}

#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    server: &'static str,
    load: &'static str,
    batch: usize,
    events: u64,
    events_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_seconds: f64,
    server_peak_rss_mib: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    server: &'static str,
    load: &'static str,
    batch: usize,
    events_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_seconds_per_million: f64,
    server_peak_rss_mib: f64,
}

struct Setting {
    clients: usize,
    warm: f64,
    seconds: f64,
    flumen: std::path::PathBuf,
    flume: Result<Flume, String>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let batches: Vec<usize> = options.list("batches", &[100, 1000])?;
    let rate: f64 = options.get("rate", 20_000.0)?;
    let setting = Setting {
        clients: options.get("clients", 2)?,
        warm: options.get("warm", 5.0)?,
        seconds: options.get("seconds", 10.0)?,
        flumen: options.get("flumen", "target/release/flumen".into())?,
        flume: Flume::build(options)?,
    };
    if let Err(why) = &setting.flume {
        println!("Flume and its client are skipped: {why}");
    }
    let place = Place::of(&directory)?;
    println!("{}\n{} clients, {rounds} rounds of {} s\n", place.headline(), setting.clients, setting.seconds);
    let mut runs = Vec::new();
    for round in 0..rounds {
        for batch in &batches {
            for load in [Load::Ours, Load::Java, Load::JavaAt(rate), Load::Agent] {
                for server in SERVERS {
                    let is_java = matches!(load, Load::Java | Load::JavaAt(_));
                    let is_left_out = (is_java || server.is_flume) && setting.flume.is_err()
                        || load == Load::Agent && server != SERVERS[0];
                    if is_left_out {
                        continue;
                    }
                    eprintln!(
                        "round {} of {rounds}, {} to {}, batch {batch}",
                        round + 1,
                        load.name(),
                        server.name
                    );
                    runs.push(once(&setting, &directory, round, server, load, *batch)?);
                }
            }
        }
    }
    let rows = rows(&runs);
    print(&rows);
    let fixed = serde_json::json!({
        "body_bytes": BODY_BYTES, "headers": HEADERS, "clients": setting.clients, "pipeline": PIPELINE,
        "rate": rate, "rounds": rounds, "seconds": setting.seconds,
    });
    let stored = Stored { bench: "wire", place: &place, setting: fixed, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn once(
    setting: &Setting,
    directory: &Path,
    round: usize,
    server: Server,
    load: Load,
    batch: usize,
) -> Result<Run, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("wire-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = fresh.path().canonicalize().context(|| format!("look at {}", fresh.path().display()))?;
    let (port, figures) = (free_port()?, free_port()?);
    let conf = home.join("server.conf");
    write(&conf, &server_conf(server.channel, port, &home))?;
    let command = match (&setting.flume, server.is_flume) {
        (Ok(flume), true) => flume.agent(&conf),
        (Err(why), true) => return Err(Failure(why.clone())),
        (_, false) => {
            let mut command = std::process::Command::new(&setting.flumen);
            command.args(["agent", "-n", "a1", "--no-reload-conf", "-Dflume.monitoring.type=http"]);
            command.arg(format!("-Dflume.monitoring.port={figures}")).arg("-f").arg(&conf);
            command
        }
    };
    let mut agent = Agent::spawn(command, home.join("server.log"))?;
    agent.wait_until("a port", START_MAX, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    let before = agent.cpu_seconds();
    let measured = match load {
        Load::Ours => ours(setting, port, batch)?,
        Load::Java => java(setting, port, batch, 0.0)?,
        Load::JavaAt(rate) => java(setting, port, batch, rate)?,
        Load::Agent => agent_to_agent(setting, port, figures, batch, &home)?,
    };
    let whole = setting.warm + measured.seconds;
    // The warm-up is paid for as the rest is.
    let server_cpu_seconds = (agent.cpu_seconds() - before) * measured.seconds / whole;
    let server_peak_rss_mib = agent.peak_rss_mib();
    agent.stop()?;
    Ok(Run {
        round,
        server: server.name,
        load: load.name(),
        batch,
        events: measured.events,
        events_per_s: measured.events as f64 / measured.seconds,
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
        server_cpu_seconds,
        server_peak_rss_mib,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).context(|| format!("write {}", path.display()))
}

fn server_conf(channel: &str, port: u16, home: &Path) -> String {
    let home = home.display();
    let places = match channel {
        "file" => format!(
            "a1.channels.c1.checkpointDir = {home}/checkpoint\na1.channels.c1.dataDirs = {home}/data\n"
        ),
        _ => String::new(),
    };
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = {channel}\n\
         a1.channels.c1.capacity = 1000000\na1.channels.c1.transactionCapacity = 10000\n{places}\
         a1.sinks.k1.type = null\na1.sinks.k1.batchSize = 1000\na1.sinks.k1.channel = c1\n"
    )
}

/// Our client: so many connections, each with several calls on their way.
fn ours(setting: &Setting, port: u16, batch: usize) -> Result<Measured, Failure> {
    let runtime = tokio::runtime::Runtime::new().context(|| "start threads".into())?;
    let (measuring, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let events = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..setting.clients {
            let (measuring, over, events) = (measuring.clone(), over.clone(), events.clone());
            clients.push(tokio::spawn(async move { client(port, batch, &measuring, &over, &events).await }));
        }
        tokio::time::sleep(Duration::from_secs_f64(setting.warm)).await;
        let begun = Instant::now();
        measuring.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_secs_f64(setting.seconds)).await;
        measuring.store(false, Ordering::Release);
        let seconds = begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Release);
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.await.context(|| "a client".into())?.map_err(Failure)?);
        }
        latencies.sort_by(f64::total_cmp);
        let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0.0);
        Ok(Measured { events: events.load(Ordering::Acquire), seconds, p50_us: at(0.5), p99_us: at(0.99) })
    })
}

async fn client(
    port: u16,
    batch: usize,
    measuring: &AtomicBool,
    over: &AtomicBool,
    events: &AtomicU64,
) -> Result<Vec<f64>, String> {
    let patience = Duration::from_secs(20);
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        tls: None,
        deflate: None,
        connect_timeout: patience,
        request_timeout: patience,
    };
    let mut caller = Connector::new(target).connect().await?;
    let mut sent = Batch::new();
    sent.set_common_headers(Arc::new(Headers::from_iter(HEADERS)));
    (0..batch).for_each(|_| sent.push(&[b'x'; BODY_BYTES]));
    let (mut calls, mut latencies) = (VecDeque::new(), Vec::new());
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        let call = caller.append_batch(batch, sent.iter()).await.map_err(|error| error.to_string())?;
        calls.push_back((call, begun));
        if calls.len() < PIPELINE {
            continue;
        }
        if let Some((call, begun)) = calls.pop_front() {
            call.await.map_err(|error| error.to_string())?;
            if measuring.load(Ordering::Acquire) {
                events.fetch_add(batch as u64, Ordering::AcqRel);
                latencies.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    Ok(latencies)
}

/// Flume's client.
fn java(setting: &Setting, port: u16, batch: usize, rate: f64) -> Result<Measured, Failure> {
    let flume = setting.flume.as_ref().map_err(|why| Failure(why.clone()))?;
    let words = [
        port.to_string(),
        setting.clients.to_string(),
        batch.to_string(),
        BODY_BYTES.to_string(),
        setting.warm.to_string(),
        setting.seconds.to_string(),
        rate.to_string(),
    ];
    let output = flume.load(&words).output().context(|| "run java".into())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.starts_with("{\"events\"")).ok_or_else(|| {
        Failure(format!("Flume's client gave no figures: {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    serde_json::from_str(line).context(|| format!("read `{line}`"))
}

/// A sender with a memory channel; what the receiver's channel took in is counted.
fn agent_to_agent(
    setting: &Setting,
    port: u16,
    figures: u16,
    batch: usize,
    home: &Path,
) -> Result<Measured, Failure> {
    let conf = home.join("sender.conf");
    write(
        &conf,
        &format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
             a1.sources.r1.type = org.apache.flume.source.StressSource\na1.sources.r1.size = {BODY_BYTES}\n\
             a1.sources.r1.batchSize = {batch}\na1.sources.r1.channels = c1\n\
             a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = static\n\
             a1.sources.r1.interceptors.i1.key = host\na1.sources.r1.interceptors.i1.value = web-1.example.org\n\
             a1.sources.r1.interceptors.i2.type = timestamp\n\
             a1.channels.c1.type = memory\na1.channels.c1.capacity = 100000\na1.channels.c1.transactionCapacity = 10000\n\
             a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
             a1.sinks.k1.batch-size = {batch}\na1.sinks.k1.channel = c1\n"
        ),
    )?;
    let mut sender = Agent::start(&setting.flumen, &conf, &[], home.join("sender.log"))?;
    let put = || channel_figure(figures, "c1", "EventPutSuccessCount").unwrap_or(0);
    sender.wait_until("events", START_MAX, || put() > 0)?;
    std::thread::sleep(Duration::from_secs_f64(setting.warm));
    let (begun, from) = (Instant::now(), put());
    std::thread::sleep(Duration::from_secs_f64(setting.seconds));
    let (seconds, to) = (begun.elapsed().as_secs_f64(), put());
    sender.stop()?;
    Ok(Measured { events: to - from, seconds, p50_us: 0.0, p99_us: 0.0 })
}

fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for run in runs {
        let (server, load, batch) = (run.server, run.load, run.batch);
        let is_same = |other: &&Run| (other.server, other.load, other.batch) == (server, load, batch);
        if rows.iter().any(|row| (row.server, row.load, row.batch) == (server, load, batch)) {
            continue;
        }
        let of = |value: fn(&Run) -> f64| median(runs.iter().filter(is_same).map(value));
        rows.push(Row {
            server,
            load,
            batch,
            events_per_s: of(|run| run.events_per_s),
            p50_us: of(|run| run.p50_us),
            p99_us: of(|run| run.p99_us),
            server_cpu_seconds_per_million: of(|run| run.server_cpu_seconds / run.events as f64 * 1e6),
            server_peak_rss_mib: of(|run| run.server_peak_rss_mib),
        });
    }
    rows
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            format!("{} from {}", row.server, row.load),
            row.batch.to_string(),
            format!("{:.0} k", row.events_per_s / 1e3),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.2}", row.server_cpu_seconds_per_million),
            format!("{:.1}", row.server_peak_rss_mib),
        ]
    };
    let heads =
        ["server and load", "batch", "events/s", "p50 µs", "p99 µs", "server CPU s per M", "peak RSS MiB"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
