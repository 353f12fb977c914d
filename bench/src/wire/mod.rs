//! Avro RPC: how many events a second a source takes in, and how long a batch waits for its answer.
//!
//! ```text
//!   load                                   server, its channel drained by a null sink
//!   Flume's Java client               ──>  Flumen with file channel, Flume with memory and file channel, and one that
//!                                          answers at once and keeps nothing: what the client alone can do
//!   the same at one rate for all      ──>  the same: there the latencies can be compared
//!   our client, 8 calls on their way  ──>  Flumen with file channel
//!   Flumen: stress source, memory channel, avro sink ──> Flumen with file channel      agent to agent
//! ```
//!
//! Events have 512 bytes and two headers. Each run has a server of its own, warms up, then counts what is acknowledged for
//! some seconds; with two agents, what is durable at the receiver. The Java client is measured with every batch size of
//! `--batches`, at a rate with the smallest one, and what has no rival with the largest.

mod answerer;
mod load;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::options::Options;
use crate::place::Place;
use crate::process::{Agent, free_port};
use crate::report::Stored;

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
    "only",
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Flumen,
    Flume,
    /// Threads of this program.
    Answerer,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Server {
    name: &'static str,
    program: Program,
    channel: &'static str,
    /// Events that the channel may hold: of a file channel Flume's default, of a memory channel what Flume's heap bears.
    capacity: usize,
}

const OURS: Server =
    Server { name: "Flumen, file channel", program: Program::Flumen, channel: "file", capacity: 1_000_000 };
const FLUME_MEMORY: Server =
    Server { name: "Flume, memory channel", program: Program::Flume, channel: "memory", capacity: 100_000 };
const FLUME_FILE: Server =
    Server { name: "Flume, file channel", program: Program::Flume, channel: "file", capacity: 1_000_000 };
/// The ceiling of a client.
const ANSWERER: Server =
    Server { name: "answers alone", program: Program::Answerer, channel: "", capacity: 0 };

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
            Self::Agent => "an agent",
        }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
struct Case {
    load: Load,
    batch: usize,
    server: Server,
}

impl Case {
    fn name(&self) -> String {
        format!("{} from {}, batch {}", self.server.name, self.load.name(), self.batch)
    }

    fn needs_flume(&self) -> bool {
        self.server.program == Program::Flume || matches!(self.load, Load::Java | Load::JavaAt(_))
    }
}

/// All that is measured in a round, in its order: what is compared stands side by side.
fn cases(batches: &[usize], rate: f64) -> Vec<Case> {
    let smallest = batches.iter().copied().min().unwrap_or(100);
    let largest = batches.iter().copied().max().unwrap_or(1000);
    let beside = [OURS, FLUME_MEMORY, FLUME_FILE, ANSWERER];
    let java = batches.iter().map(|batch| (Load::Java, *batch));
    let compared = java.chain([(Load::JavaAt(rate), smallest)]);
    let mut cases: Vec<Case> = compared
        .flat_map(|(load, batch)| beside.into_iter().map(move |server| Case { load, batch, server }))
        .collect();
    cases.extend([Load::Ours, Load::Agent].map(|load| Case { load, batch: largest, server: OURS }));
    cases
}

/// What one run gave.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    events: u64,
    seconds: f64,
    /// Of a batch, from when it was due to its answer.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    server: &'static str,
    load: &'static str,
    batch: usize,
    events: u64,
    events_per_s: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    /// Of a server that is a process of its own.
    server_cpu_seconds: Option<f64>,
    server_peak_rss_mib: Option<f64>,
}

struct Setting {
    clients: usize,
    warm: f64,
    seconds: f64,
    flumen: PathBuf,
    flume: Result<Flume, String>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let rate: f64 = options.get("rate", 20_000.0)?;
    let only: String = options.get("only", String::new())?;
    let mut cases = cases(&options.list("batches", &[100, 1000])?, rate);
    cases.retain(|case| case.name().contains(&only));
    let flume = match cases.iter().any(Case::needs_flume) {
        true => Flume::build(options)?,
        false => Err("nothing of it is asked for".into()),
    };
    let setting = Setting {
        clients: options.get("clients", 2)?,
        warm: options.get("warm", 5.0)?,
        seconds: options.get("seconds", 6.0)?,
        flumen: options.get("flumen", "target/release/flumen".into())?,
        flume,
    };
    if let Err(why) = &setting.flume {
        println!("Flume and its client are skipped: {why}");
        cases.retain(|case| !case.needs_flume());
    }
    let place = Place::of(&directory)?;
    println!("{}\n{} clients, {rounds} rounds of {} s\n", place.headline(), setting.clients, setting.seconds);
    let mut runs = Vec::new();
    for round in 0..rounds {
        for case in &cases {
            eprintln!("round {} of {rounds}, {}", round + 1, case.name());
            runs.push(once(&setting, &directory, round, case)?);
        }
    }
    let rows = table::rows(&runs);
    table::print(&rows);
    let fixed = serde_json::json!({
        "body_bytes": BODY_BYTES, "headers": HEADERS, "clients": setting.clients, "pipeline": PIPELINE,
        "rate": rate, "rounds": rounds, "seconds": setting.seconds, "warm": setting.warm,
    });
    let stored = Stored { bench: "wire", place: &place, setting: fixed, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn once(setting: &Setting, directory: &Path, round: usize, case: &Case) -> Result<Run, Failure> {
    let Case { load, batch, server } = *case;
    let fresh = tempfile::Builder::new()
        .prefix("wire-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let home = fresh.path().canonicalize().context(|| format!("look at {}", fresh.path().display()))?;
    let figures = free_port()?;
    let port = if server.program == Program::Answerer { answerer::start()? } else { free_port()? };
    let conf = home.join("server.conf");
    write(&conf, &server_conf(server, port, &home))?;
    let command = match (&setting.flume, server.program) {
        (_, Program::Answerer) => None,
        (Ok(flume), Program::Flume) => Some(flume.agent(&conf)),
        (Err(why), Program::Flume) => return Err(Failure(why.clone())),
        (_, Program::Flumen) => {
            let mut command = Command::new(&setting.flumen);
            command.args(["agent", "-n", "a1", "--no-reload-conf", "-Dflume.monitoring.type=http"]);
            command.arg(format!("-Dflume.monitoring.port={figures}")).arg("-f").arg(&conf);
            Some(command)
        }
    };
    let mut agent = command.map(|command| Agent::spawn(command, home.join("server.log"))).transpose()?;
    if let Some(agent) = &mut agent {
        agent
            .wait_until("a port", START_MAX, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    }
    let before = agent.as_ref().map_or(0.0, Agent::cpu_seconds);
    let measured = match load {
        Load::Ours => load::ours(setting, port, batch)?,
        Load::Java => load::java(setting, port, batch, 0.0)?,
        Load::JavaAt(rate) => load::java(setting, port, batch, rate)?,
        Load::Agent => load::agent(setting, port, figures, batch, &home)?,
    };
    if measured.events == 0 {
        let name = case.name();
        return Err(Failure(format!("{name}: nothing was acknowledged in {} s", setting.seconds)));
    }
    let whole = setting.warm + measured.seconds;
    // The warm-up is paid for as the rest is.
    let server_cpu_seconds =
        agent.as_ref().map(|agent| (agent.cpu_seconds() - before) * measured.seconds / whole);
    let server_peak_rss_mib = agent.as_ref().map(Agent::peak_rss_mib);
    if let Some(agent) = agent {
        agent.stop()?;
    }
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

fn server_conf(server: Server, port: u16, home: &Path) -> String {
    let (home, Server { channel, capacity, .. }) = (home.display(), server);
    let places = match channel {
        "file" => format!(
            "a1.channels.c1.checkpointDir = {home}/checkpoint\na1.channels.c1.dataDirs = {home}/data\n"
        ),
        _ => String::new(),
    };
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = {channel}\n\
         a1.channels.c1.capacity = {capacity}\na1.channels.c1.transactionCapacity = 10000\n{places}\
         a1.sinks.k1.type = null\na1.sinks.k1.batchSize = 1000\na1.sinks.k1.channel = c1\n"
    )
}
