//! `flumen agent`: runs an agent until a signal ends it.
//!
//! ```text
//! read files -> plan -> log problems, log what runs -> Agent::start
//!   every -i seconds   the files changed: plan again -> Agent::apply
//!   SIGHUP             plan again at once
//!   SIGQUIT            the agent's state to the log
//!   SIGUSR1            reopen the log file
//!   SIGTERM, SIGINT    drain within flumen.shutdown.timeout; a second one ends the process at once
//! ```
//!
//! At a start, whatever of the configuration can run does, and the rest is logged with file and line. A reload goes
//! further: files that cannot be read, hold a line that cannot be read, or leave nothing to run change nothing, for they
//! may be half written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use flumen_api::registry::{Registry, Storage};
use flumen_api::settings::{Problems, Severity};
use flumen_engine::config::{
    self, Change, ConfigFile, Environment, FileContent, Properties, ReadError, Watch,
};
use flumen_engine::plan::Plan;
use flumen_engine::runtime::monitoring::Monitoring;
use flumen_engine::runtime::{Agent, AgentOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use crate::cli::AgentArguments;
use crate::descriptors;
use crate::exit::Exit;
use crate::logging::{self, Log};
use crate::{medium, memory};

/// How long a stop may drain if nothing says otherwise.
const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// How long a start waits for channels whose directories other processes hold, if nothing says otherwise. A killed process holds
/// them until the kernel has ended its last writes, which takes some 100 ms as a rule and has been seen to take more than 5 s.
const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Signals within this time of the first are the same request: `timeout` and some service managers send theirs to the
/// process and then to its group, and the process gets both.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// How long threads that did not stop in time are waited for before the process leaves them behind.
const LEAVE_BEHIND: Duration = Duration::from_millis(200);

/// Runs the agent that the arguments name.
pub fn run(arguments: &AgentArguments, registry: Registry) -> Exit {
    if let Err(error) = descriptors::check() {
        eprintln!("flumen agent: cannot open what an agent needs to begin: {error}");
        return Exit::Fatal;
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("flumen-worker").build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("flumen agent: cannot start threads: {error}");
                return Exit::Fatal;
            }
        };
    let exit = runtime.block_on(serve(arguments, registry));
    runtime.shutdown_timeout(LEAVE_BEHIND);
    exit
}

type Prepared = (Vec<ConfigFile>, AgentOptions, Log);

/// What can be wrong with the command line; the log runs afterwards.
fn prepare(arguments: &AgentArguments, definitions: &BTreeMap<String, String>) -> Result<Prepared, String> {
    if let Some(refusal) = arguments.config.refusal() {
        return Err(refusal);
    }
    let files: Vec<_> = arguments
        .config
        .files
        .iter()
        .map(|argument| ConfigFile::from_argument(argument))
        .collect::<Result<_, _>>()?;
    let options = AgentOptions {
        memory_limit: memory::limit(),
        ignore_flume_data: arguments.ignore_flume_data,
        monitoring: Monitoring::from_properties(|key| definitions.get(key).cloned())?,
        storage: storage(definitions)?,
        shutdown_timeout: shutdown_timeout(definitions)?,
        ..AgentOptions::default()
    };
    let log = logging::start(definitions)?;
    Ok((files, options, log))
}

fn storage(definitions: &BTreeMap<String, String>) -> Result<Storage, String> {
    let Some(text) = definitions.get("flumen.storage") else { return Ok(Storage::default()) };
    text.parse().map_err(|error| format!("flumen.storage: {error}"))
}

fn shutdown_timeout(definitions: &BTreeMap<String, String>) -> Result<Duration, String> {
    let names = ["flumen.shutdown.timeout", "flume.shutdown.timeout"];
    Ok(seconds(definitions, &names)?.unwrap_or(SHUTDOWN_TIMEOUT_DEFAULT))
}

fn lock_wait(definitions: &BTreeMap<String, String>) -> Result<Duration, String> {
    Ok(seconds(definitions, &["flumen.lock.wait"])?.unwrap_or(LOCK_WAIT_DEFAULT))
}

/// Seconds by the first of these names that is defined.
fn seconds(definitions: &BTreeMap<String, String>, names: &[&str]) -> Result<Option<Duration>, String> {
    let found = names.iter().find_map(|key| Some((key, definitions.get(*key)?)));
    let Some((key, text)) = found else { return Ok(None) };
    match text.trim().parse::<u64>() {
        Ok(seconds) if seconds <= 86_400 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(format!("{key}: `{text}` is not a number of seconds up to 86400")),
    }
}

/// The configuration's files and what is needed to make plans of them.
struct Configuration {
    agent: String,
    watch: Watch,
    environment: Environment,
    registry: Registry,
    backup_directory: Option<PathBuf>,
}

impl Configuration {
    /// The plan to start with.
    fn first(&mut self) -> Result<Plan, Exit> {
        let (contents, is_backup) = match self.watch.reread() {
            Ok(contents) => (contents, false),
            Err(read_error) => match self.backup(&read_error) {
                Some(content) => (vec![content], true),
                None => {
                    error!("{read_error}");
                    return Err(Exit::Configuration);
                }
            },
        };
        let (properties, plan) = self.plan(&contents);
        log_problems(&plan.problems);
        if runs_nothing(&plan) {
            error!("the configuration leaves the agent {} nothing to run", self.agent);
            return Err(Exit::Configuration);
        }
        if !is_backup {
            self.keep(&properties);
        }
        log_plan(&plan);
        Ok(plan)
    }

    /// The plan for a reload from `contents`, if they are fit for one.
    fn next(&self, contents: &[FileContent]) -> Option<Plan> {
        let (properties, plan) = self.plan(contents);
        log_problems(&plan.problems);
        if properties.malformed() > 0 {
            error!("the configuration has lines that cannot be read: the old configuration keeps running");
            return None;
        }
        if runs_nothing(&plan) {
            error!(
                "the configuration leaves the agent {} nothing to run: the old configuration keeps running",
                self.agent
            );
            return None;
        }
        self.keep(&properties);
        log_plan(&plan);
        Some(plan)
    }

    fn plan(&self, contents: &[FileContent]) -> (Properties, Plan) {
        let properties = Properties::merge(contents, &self.environment);
        let plan = config::plan(&properties, &self.agent, &self.registry);
        (properties, plan)
    }

    fn backup(&self, read_error: &ReadError) -> Option<FileContent> {
        let directory = self.backup_directory.as_ref()?;
        match config::read_backup(directory, &self.agent) {
            Ok(content) => {
                warn!("{read_error}; starting from the backup {}", content.name);
                Some(content)
            }
            Err(error) => {
                error!("no backup either: {error}");
                None
            }
        }
    }

    fn keep(&self, properties: &Properties) {
        let Some(directory) = &self.backup_directory else { return };
        match config::write_backup(directory, &self.agent, properties) {
            Ok(path) => debug!("kept the configuration as {}", path.display()),
            Err(error) => {
                warn!("cannot keep a backup of the configuration in {}: {error}", directory.display())
            }
        }
    }
}

fn runs_nothing(plan: &Plan) -> bool {
    plan.sources.is_empty() && plan.sinks.is_empty()
}

fn log_problems(problems: &Problems) {
    for problem in &problems.0 {
        match problem.severity {
            Severity::Error => error!("{problem}"),
            Severity::Warning => warn!("{problem}"),
        }
    }
}

fn log_plan(plan: &Plan) {
    let (sources, channels, sinks) = (plan.sources.len(), plan.channels.len(), plan.sinks.len());
    info!("agent {}: sources {sources}, channels {channels}, sinks {sinks}", plan.agent);
    for line in config::describe(plan) {
        info!("  {line}");
    }
    for (channel, weakness) in medium::warnings(plan) {
        warn!(channel, "{weakness}");
    }
}

/// The signals that the agent answers.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
    user1: Signal,
}

/// What a signal asks for.
enum Request {
    Stop(&'static str),
    Reload,
    Dump,
    ReopenLog,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.hang_up.recv() => Request::Reload,
            _ = self.quit.recv() => Request::Dump,
            _ = self.user1.recv() => Request::ReopenLog,
        }
    }

    async fn stop(&mut self) -> &'static str {
        loop {
            if let Request::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}

/// Everything from the first signal that is heard to the end.
async fn serve(arguments: &AgentArguments, registry: Registry) -> Exit {
    // Before all else: until then a signal ends the process as it would any other.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("flumen agent: cannot listen for signals: {error}");
            return Exit::Fatal;
        }
    };
    let definitions = arguments.config.definitions();
    let prepared =
        prepare(arguments, &definitions).and_then(|prepared| Ok((prepared, lock_wait(&definitions)?)));
    let ((files, options, log), lock_wait) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("flumen agent: {message}");
            return Exit::Usage;
        }
    };
    match descriptors::raise() {
        Some(most) => info!("at most {most} files and sockets"),
        None => info!("files and sockets without limit"),
    }
    for ignored in arguments.config.ignored() {
        warn!("{ignored}");
    }
    let mut configuration = Configuration {
        agent: arguments.name.clone(),
        watch: Watch::new(files),
        environment: Environment::of_process(definitions),
        registry: registry.clone(),
        backup_directory: arguments.backup_directory.clone(),
    };
    let starting = async {
        // Reading files and asking a config filter's command may block.
        let read = tokio::task::spawn_blocking(move || (configuration.first(), configuration));
        let (plan, configuration) = read.await.map_err(|error| {
            error!(%error, "the configuration cannot be read");
            Exit::Fatal
        })?;
        Ok((Agent::start(plan?, registry, options.clone()).await, configuration))
    };
    let started = tokio::select! {
        started = starting => started,
        name = signals.stop() => {
            info!("{name} while starting: stopping at once; what was acknowledged is on disk");
            return Exit::Clean;
        }
    };
    match started {
        Ok((agent, configuration)) => {
            let agent = match wait_for_locks(agent, lock_wait, &mut signals).await {
                Ok(agent) => agent,
                Err(exit) => return exit,
            };
            let poll = (!arguments.no_reload_conf).then(|| Duration::from_secs(arguments.poll_interval));
            attend(agent, configuration, signals, options.shutdown_timeout, poll, log).await
        }
        Err(exit) => exit,
    }
}

/// Waits for other processes that hold the directories of all channels: one that was killed holds them until its last writes have
/// ended.
async fn wait_for_locks(agent: Agent, limit: Duration, signals: &mut Signals) -> Result<Agent, Exit> {
    let deadline = Instant::now() + limit;
    let mut is_said = false;
    while agent.only_locks_hinder() {
        if Instant::now() >= deadline {
            error!("nothing runs, for other processes hold the channels' directories");
            stop(agent, Duration::ZERO, signals).await;
            return Err(Exit::Locked);
        }
        if !std::mem::replace(&mut is_said, true) {
            let held: Vec<String> =
                agent.startup_failures().into_iter().map(|failure| failure.reason).collect();
            let held = held.join("; ");
            warn!(
                "{held}: waiting up to {} s for it to end, as one that was killed does soon",
                limit.as_secs()
            );
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_POLL) => {}
            name = signals.stop() => {
                info!("{name} while starting: stopping at once; what was acknowledged is on disk");
                stop(agent, Duration::ZERO, signals).await;
                return Err(Exit::Clean);
            }
        }
    }
    Ok(agent)
}

/// Answers signals and changes of the configuration until the agent has stopped.
async fn attend(
    mut agent: Agent,
    mut configuration: Configuration,
    mut signals: Signals,
    timeout: Duration,
    poll: Option<Duration>,
    log: Log,
) -> Exit {
    // An interval without polls would need a future that never ends; a very long one is as good.
    let period = poll.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unreadable = false;
    loop {
        let request = tokio::select! {
            request = signals.next() => Some(request),
            _ = ticks.tick() => None,
        };
        // Reading files and asking a config filter's command may block.
        let contents = match request {
            Some(Request::Stop(name)) => {
                info!(
                    "{name}: stopping within {} s; a second signal ends the process at once",
                    timeout.as_secs()
                );
                stop(agent, timeout, &mut signals).await;
                info!("stopped");
                return Exit::Clean;
            }
            Some(Request::Dump) => {
                info!("state:\n{}", agent.dump());
                continue;
            }
            Some(Request::ReopenLog) => {
                log.reopen();
                info!("log file reopened");
                continue;
            }
            Some(Request::Reload) => {
                info!("SIGHUP: reading the configuration again");
                tokio::task::block_in_place(|| configuration.watch.reread()).map(Some)
            }
            None => tokio::task::block_in_place(|| configuration.watch.poll()).map(|change| match change {
                Change::None => None,
                Change::Changed(contents) => Some(contents),
            }),
        };
        let contents = match contents {
            Ok(Some(contents)) => contents,
            Ok(None) => {
                unreadable = false;
                continue;
            }
            Err(error) => {
                if !std::mem::replace(&mut unreadable, true) {
                    error!("{error}; the old configuration keeps running");
                }
                continue;
            }
        };
        unreadable = false;
        if let Some(plan) = tokio::task::block_in_place(|| configuration.next(&contents)) {
            let report = agent.apply(plan).await;
            info!("reloaded: {report}");
        }
    }
}

/// Stops the agent; a further signal ends the process.
async fn stop(agent: Agent, timeout: Duration, signals: &mut Signals) {
    let begun = Instant::now();
    let again = async {
        loop {
            let name = signals.stop().await;
            if begun.elapsed() >= SAME_REQUEST {
                return name;
            }
        }
    };
    tokio::select! {
        () = agent.shutdown(timeout) => {}
        name = again => {
            warn!("{name} again: ending at once; what was in flight will be delivered again");
            process::exit(Exit::Fatal.code().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_is_one_of_three_words() {
        let storage = |text: &str| storage(&[("flumen.storage".to_string(), text.to_string())].into());
        assert_eq!(storage("auto"), Ok(Storage::Auto));
        assert_eq!(storage("uring"), Ok(Storage::Uring));
        assert_eq!(storage("std"), Ok(Storage::Std));
        let error = storage("mmap").unwrap_err();
        assert!(error.contains("flumen.storage") && error.contains("mmap"), "{error}");
        assert_eq!(super::storage(&BTreeMap::new()), Ok(Storage::Auto));
    }

    #[test]
    fn the_shutdown_timeout_has_two_names_and_a_default() {
        let timeout = |pairs: &[(&str, &str)]| {
            shutdown_timeout(&pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
        };
        assert_eq!(timeout(&[]), Ok(SHUTDOWN_TIMEOUT_DEFAULT));
        assert_eq!(timeout(&[("flume.shutdown.timeout", "5")]), Ok(Duration::from_secs(5)));
        let both = [("flume.shutdown.timeout", "5"), ("flumen.shutdown.timeout", "0")];
        assert_eq!(timeout(&both), Ok(Duration::ZERO));
        assert!(timeout(&[("flumen.shutdown.timeout", "soon")]).unwrap_err().contains("soon"));
    }
}
