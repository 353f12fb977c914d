//! The command line of `flumen-crash`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use flumen_crash::report::Report;
use flumen_crash::violation::{Context, Failure};
use flumen_crash::{interrupt, kill, simulation};
use indicatif::{ProgressBar, ProgressStyle};

/// Ends Flumen at random moments, starts it again, and compares what arrives with what was sent.
///
/// Exit codes: 0 nothing was lost, 1 a promise was broken, 2 wrong command line, 3 it could not be tried, 130 interrupted
/// before the end, with nothing lost up to there.
#[derive(Debug, Parser)]
#[command(name = "flumen-crash", version)]
struct Arguments {
    /// How often to end it
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    cycles: u64,
    /// Decides when and what; without it a new one is taken and shown
    #[arg(long)]
    seed: Option<u64>,
    /// How it ends
    #[arg(long, value_enum, default_value_t = Mode::Kill)]
    mode: Mode,
    /// Work in a new folder below this directory, on the file system to be tested [default: the directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long)]
    json: bool,
    /// How many simulated disks at a time, for all modes but `kill` [default: the number of processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// The agent's program, for mode `kill` [default: `flumen` beside this program, else on the PATH]
    #[arg(long)]
    agent: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// SIGKILL to the real agent, under load
    Kill,
    /// Power cuts of a simulated disk beneath the log; a thousand times as many a second
    Power,
    /// Reads, writes and syncs of the simulated disk that fail
    Eio,
    /// A simulated disk that fills
    Enospc,
    /// Synced bytes of the simulated disk that change
    Corrupt,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(fault) = flumen_wal::broken_on_purpose() {
        eprintln!(
            "flumen-crash: this build is broken on purpose ({fault}); it must find that, and is of no other use"
        );
    }
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("flumen-crash: {failure}");
            return ExitCode::from(3);
        }
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).expect("a report of numbers and texts")
    } else {
        report.to_string()
    };
    // A reader who has gone away does not make the result another one.
    let _written = writeln!(io::stdout(), "{text}");
    match &report.violation {
        Some(_) => ExitCode::FAILURE,
        None if report.interrupted => ExitCode::from(INTERRUPTED),
        None => ExitCode::SUCCESS,
    }
}

/// As shells say it of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let directory = working_directory(arguments.dir.as_deref())?;
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let cycles = arguments.cycles;
    let bar = progress_bar(cycles);
    let progress = |done| bar.set_position(done);
    let path = directory.path().to_path_buf();
    let stop = interrupt::listen();
    let simulated = |mode| {
        keep_freed_memory();
        let jobs = arguments.jobs.map(usize::from);
        let options = simulation::Options { mode, directory: path.clone(), cycles, seed, jobs };
        simulation::run(&options, stop, progress)
    };
    let (mut report, result) = match arguments.mode {
        Mode::Kill => {
            let agent = agent(arguments.agent.clone())?;
            kill::run(&kill::Options { agent, directory: path, cycles, seed }, stop, progress)
        }
        Mode::Power => simulated(simulation::Mode::Power),
        Mode::Eio => simulated(simulation::Mode::Eio),
        Mode::Enospc => simulated(simulation::Mode::Enospc),
        Mode::Corrupt => simulated(simulation::Mode::Corrupt),
    };
    bar.finish_and_clear();
    match result {
        Ok(()) => {
            let path = directory.path().to_path_buf();
            directory.close().context(|| format!("remove {}", path.display()))?;
        }
        Err(Failure::Violation(violation)) => {
            let _kept: PathBuf = directory.keep();
            report.violation = Some(*violation);
        }
        Err(failure) => return Err(failure),
    }
    Ok(report)
}

/// Lets the allocator keep what is freed. Each start of a log reads through buffers of 1 MiB; were each mapped and zeroed
/// anew by the kernel, as is usual for that size, nineteen of twenty seconds would be spent there.
fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` sets a parameter of the allocator, which takes any value; no other thread runs yet but the one
    // that draws the progress bar, and the allocator has locks of its own.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 28);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
    }
}

fn working_directory(below: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    let below = below.map_or_else(std::env::temp_dir, Path::to_path_buf);
    // The agent runs in it: a relative path would mean another place there.
    let below = std::fs::canonicalize(&below).context(|| format!("use {}", below.display()))?;
    let made = tempfile::Builder::new().prefix("flumen-crash-").tempdir_in(&below);
    made.context(|| format!("create a directory in {}", below.display()))
}

fn agent(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let program = named.or_else(kill::find_agent).ok_or_else(|| Failure::Setup {
        action: "find `flumen` beside this program or on the PATH; name it with --agent".into(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    std::fs::canonicalize(&program).context(|| format!("use {}", program.display()))
}

fn new_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// On standard error, and only if that is a terminal.
fn progress_bar(cycles: u64) -> ProgressBar {
    let template = "{bar:40} {human_pos}/{human_len} cycles, {per_sec}, {elapsed} of about {duration}";
    let style = ProgressStyle::with_template(template).expect("a template of known fields");
    let bar = ProgressBar::new(cycles).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
