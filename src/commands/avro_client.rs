//! `flumen avro-client`: sends the lines of a file, of a directory's files or of stdin to an avro source, an event each.
//!
//! ```text
//!   line ──> batch of at most `batch-size` ──> call ──> up to 8 on their way (to Flume 1) ──> OK
//! ```
//!
//! A file of a directory is renamed to `….COMPLETED` when all of its lines are acknowledged, as the spooling source does.
//! Whatever is not delivered ends the command with a code that is not 0; Flume's always ends with 0. How much came through
//! is said, and a line that has no acknowledgement may have.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use flumen_api::registry::Registry;
use flumen_api::settings::{ComponentConfig, Kind, Problems, Process, Severity, Value};
use flumen_api::{Batch, Headers};
use flumen_avro_rpc::caller::{Caller, Pending};
use flumen_engine::config::properties;
use flumen_sinks::avro::Destination;

use super::progress::Progress;
use crate::exit::Exit;

/// Calls on their way at a time.
const CALLS_MAX: usize = 8;
/// The longest line.
const LINE_BYTES_MAX: u64 = 100 << 20;
/// A batch is sent once it has so many bytes.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// What a file of a directory is renamed to.
const COMPLETED: &str = ".COMPLETED";

/// `flumen avro-client`
#[derive(Debug, Args)]
pub struct AvroClientArguments {
    /// Host of the avro source.
    #[arg(short = 'H', long = "host", value_name = "HOST", required_unless_present = "properties")]
    host: Option<String>,
    /// Port of the avro source.
    #[arg(short = 'p', long = "port", value_name = "PORT", required_unless_present = "properties")]
    port: Option<u16>,
    /// Properties of an RPC client: hosts, batch-size, compression-type, ssl and their like; in place of host and port.
    #[arg(short = 'P', long = "rpcProps", value_name = "FILE")]
    properties: Option<PathBuf>,
    /// File whose lines are sent; without it and --dirname, those of stdin.
    #[arg(short = 'F', long = "filename", value_name = "FILE", conflicts_with = "directory")]
    file: Option<PathBuf>,
    /// Directory whose files are sent, the oldest first, and then renamed to ….COMPLETED.
    #[arg(long = "dirname", value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Properties file whose pairs are headers of every event.
    #[arg(short = 'R', long = "headerFile", value_name = "FILE")]
    headers: Option<PathBuf>,
    /// Directory of flume-env.sh, which the script bin/flume-ng reads.
    #[arg(short = 'c', long = "conf", value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Setting for the process, as javax.net.ssl.trustStore.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = crate::cli::definition)]
    definitions: Vec<(String, String)>,
}

/// Sends what the arguments name.
pub fn run(arguments: &AvroClientArguments) -> Exit {
    // Answers are read while a line is waited for.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(send_all(arguments)),
        Err(error) => Err((Exit::Fatal, format!("cannot start threads: {error}"))),
    };
    match result {
        Ok(()) => Exit::Clean,
        Err((exit, why)) => {
            eprintln!("flumen avro-client: {why}");
            exit
        }
    }
}

type Failure = (Exit, String);

fn fatal(why: impl Into<String>) -> Failure {
    (Exit::Fatal, why.into())
}

async fn send_all(arguments: &AvroClientArguments) -> Result<(), Failure> {
    let headers = match &arguments.headers {
        Some(path) => pairs(path)?.into_iter().collect(),
        None => Headers::new(),
    };
    let destinations = destinations(arguments)?;
    let caller = connect(&destinations).await?;
    let mut sender = Sender {
        caller,
        headers: Arc::new(headers),
        batch_size: destinations[0].settings.batch_size,
        batch: Batch::new(),
        calls: VecDeque::new(),
        acknowledged: 0,
        progress: Progress::new(io::stderr().is_terminal(), "events"),
    };
    let sent = sender.send_from(arguments).await;
    sender.progress.end(sender.acknowledged);
    let acknowledged = sender.acknowledged;
    sender.caller.close().await;
    sent.map_err(|(exit, why)| (exit, format!("{why} ({acknowledged} events were acknowledged before)")))
}

/// Whom the arguments name, and the properties.
fn destinations(arguments: &AvroClientArguments) -> Result<Vec<Destination>, Failure> {
    let mut keys: BTreeMap<String, String> = match &arguments.properties {
        Some(path) => pairs(path)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let aliases = keys.remove("hosts").unwrap_or_default();
    let mut hosts = Vec::new();
    for alias in aliases.split_whitespace() {
        let host = keys.get(&format!("hosts.{alias}")).cloned();
        let host =
            host.ok_or_else(|| (Exit::Configuration, format!("hosts.{alias} is missing: its host:port")))?;
        let (host, port) = host
            .rsplit_once(':')
            .ok_or_else(|| (Exit::Configuration, format!("hosts.{alias}: `{host}` is not host:port")))?;
        hosts.push((host.trim().to_string(), port.trim().to_string()));
    }
    keys.retain(|key, _| !key.starts_with("hosts."));
    if hosts.is_empty() {
        match (&arguments.host, arguments.port) {
            (Some(host), Some(port)) => hosts.push((host.clone(), port.to_string())),
            _ => return Err((Exit::Configuration, "the properties name no hosts".into())),
        }
    }
    let one = keys.get("client.type").is_none_or(|kind| kind.eq_ignore_ascii_case("DEFAULT"));
    match keys.get("client.type").map(|kind| kind.to_ascii_uppercase()).as_deref() {
        // Each is tried until one can be reached.
        Some("DEFAULT_FAILOVER" | "DEFAULT_LOADBALANCE") => drop(keys.remove("client.type")),
        _ if one => hosts.truncate(1),
        _ => {}
    }
    hosts.into_iter().map(|(host, port)| destination(arguments, &keys, host, port)).collect()
}

fn destination(
    arguments: &AvroClientArguments,
    keys: &BTreeMap<String, String>,
    host: String,
    port: String,
) -> Result<Destination, Failure> {
    let file: Arc<str> =
        arguments.properties.as_deref().unwrap_or(Path::new("")).display().to_string().into();
    let own = [("hostname".to_string(), host), ("port".to_string(), port)];
    let values =
        keys.clone().into_iter().chain(own).map(|(key, text)| {
            (key, Value { resolved: text.clone(), raw: text, file: file.clone(), line: 0 })
        });
    let config = ComponentConfig {
        kind: Kind::Sink,
        agent: "avro-client".into(),
        name: "avro-client".into(),
        prefix: String::new(),
        values: values.collect(),
        types: Registry::empty(),
        process: Process {
            system: Arc::new(arguments.definitions.iter().cloned().collect()),
            variables: Arc::new(std::env::vars_os().filter_map(text_pair).collect()),
        },
    };
    let mut problems = Problems::default();
    let loaded = Destination::load(&config, &mut problems);
    let mut errors = Vec::new();
    for problem in &problems.0 {
        match problem.severity {
            Severity::Error => errors.push(format!("{}: {}", problem.key, problem.message)),
            Severity::Warning => eprintln!("flumen avro-client: {}: {}", problem.key, problem.message),
        }
    }
    loaded.ok_or_else(|| (Exit::Configuration, errors.join("; ")))
}

fn text_pair((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// The first destination that can be reached.
async fn connect(destinations: &[Destination]) -> Result<Caller, Failure> {
    let mut failures = Vec::new();
    for destination in destinations {
        for mut connector in destination.connectors().await.map_err(|error| fatal(error.to_string()))? {
            match connector.connect().await {
                Ok(caller) => return Ok(caller),
                Err(why) => failures.push(why),
            }
        }
    }
    Err(fatal(failures.join("; ")))
}

/// The pairs of a properties file.
fn pairs(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let bytes = fs::read(path).map_err(|error| fatal(format!("cannot read {}: {error}", path.display())))?;
    Ok(properties::parse(&bytes).entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// Sends lines.
struct Sender {
    caller: Caller,
    headers: Arc<Headers>,
    batch_size: usize,
    batch: Batch,
    calls: VecDeque<(Pending, usize)>,
    acknowledged: u64,
    progress: Progress,
}

impl Sender {
    async fn send_from(&mut self, arguments: &AvroClientArguments) -> Result<(), Failure> {
        self.new_batch();
        if let Some(directory) = &arguments.directory {
            return self.directory(directory).await;
        }
        match &arguments.file {
            Some(path) => {
                let (file, metadata) = open(path)?;
                self.progress.expect(if metadata.is_file() { metadata.len() } else { 0 });
                self.lines(file, &path.display().to_string()).await?;
            }
            None => self.lines(io::stdin(), "stdin").await?,
        }
        self.settle().await
    }

    /// All files that are there, until no new ones are.
    async fn directory(&mut self, directory: &Path) -> Result<(), Failure> {
        loop {
            let files = waiting_files(directory)
                .map_err(|error| fatal(format!("cannot list {}: {error}", directory.display())))?;
            if files.is_empty() {
                return Ok(());
            }
            self.progress.expect(files.iter().map(|(_, metadata)| metadata.len()).sum());
            for (path, _) in files {
                self.file(&path).await?;
            }
        }
    }

    async fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| fatal(format!("{}: {error}", path.display()));
        let (file, before) = open(path)?;
        self.lines(file, &path.display().to_string()).await?;
        self.settle().await?;
        let after = fs::metadata(path).map_err(failed)?;
        if (after.len(), after.modified().ok()) != (before.len(), before.modified().ok()) {
            return Err(fatal(format!(
                "{} was changed while it was sent; it is not renamed",
                path.display()
            )));
        }
        let mut completed = path.as_os_str().to_owned();
        completed.push(COMPLETED);
        if Path::new(&completed).exists() {
            return Err(fatal(format!("{} is there already", completed.display())));
        }
        fs::rename(path, &completed).map_err(failed)
    }

    /// Sends the lines of `input`; without what has to be waited for to fill a batch.
    async fn lines(&mut self, input: impl Read, name: &str) -> Result<(), Failure> {
        let failed = |error: io::Error| fatal(format!("cannot read {name}: {error}"));
        let mut input = BufReader::with_capacity(256 << 10, input);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                return self.send().await;
            }
            self.progress.read(read as u64);
            if line.ends_with(b"\n") {
                line.pop();
                if line.ends_with(b"\r") {
                    line.pop();
                }
            } else if read as u64 == LINE_BYTES_MAX {
                return Err(fatal(format!("{name} has a line of more than {LINE_BYTES_MAX} bytes")));
            }
            self.batch.push(&line);
            let is_full = self.batch.len() >= self.batch_size || self.batch.body_bytes() >= BATCH_BYTES_MAX;
            if is_full || input.buffer().is_empty() {
                self.send().await?;
            }
        }
    }

    async fn send(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        // A source of Flume's may take several in in any order.
        let most = if self.caller.is_ordered() { CALLS_MAX } else { 1 };
        while self.calls.len() >= most {
            self.acknowledge().await?;
        }
        let count = self.batch.len();
        let call = self.caller.append_batch(count, self.batch.iter()).await;
        self.calls.push_back((call.map_err(|error| fatal(error.to_string()))?, count));
        self.new_batch();
        Ok(())
    }

    fn new_batch(&mut self) {
        self.batch = Batch::new();
        self.batch.set_common_headers(self.headers.clone());
    }

    async fn acknowledge(&mut self) -> Result<(), Failure> {
        if let Some((call, count)) = self.calls.pop_front() {
            call.await.map_err(|error| fatal(error.to_string()))?;
            self.acknowledged += count as u64;
            self.progress.show(self.acknowledged);
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        while !self.calls.is_empty() {
            self.acknowledge().await?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<(File, Metadata), Failure> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) =
        opened.map_err(|error| fatal(format!("cannot read {}: {error}", path.display())))?;
    match metadata.is_dir() {
        true => Err(fatal(format!("{} is a directory: name it with --dirname", path.display()))),
        false => Ok((file, metadata)),
    }
}

/// Files that are not sent, the oldest first.
fn waiting_files(directory: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let metadata = fs::metadata(entry.path())?;
        if metadata.is_file() && !name.starts_with('.') && !name.ends_with(COMPLETED) {
            files.push((entry.path(), metadata));
        }
    }
    files.sort_by(|(path, metadata), (other_path, other)| {
        (metadata.modified().ok(), path).cmp(&(other.modified().ok(), other_path))
    });
    Ok(files)
}
