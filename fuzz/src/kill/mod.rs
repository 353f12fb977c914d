//! SIGKILL: the real agent in a child process, under a writer at full speed.
//!
//! ```text
//!   writer thread -> in/*.log (rotated) -> agent: taildir -> file channel -> file_roll -> out/
//!        |                                   ^ SIGKILL, start, SIGKILL, start …            |
//!        +---------------- ledger: every line, once, intact, in its file's order ----------+
//! ```
//!
//! A cycle: the agent runs for a random time, is killed, and is started again. Then an event must arrive that is not in the
//! output yet, and one that was written after the start; one in five starts is itself killed before that, at a random
//! moment. Every few cycles the writer rests until everything should have arrived, and output and input are compared.
//!
//! A kill leaves what the kernel was handed: it shows nothing about missing syncs. That is for [`simulation`](crate::simulation).

mod agent;
mod ledger;
mod lines;
mod output;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent::Agent;
use output::{Comparison, Output, Verdict};
use writer::{Writer, Written};

use crate::random::Random;
use crate::report::{Percentiles, Report};
use crate::violation::{Broken, Context, Failure, Kind, Violation};

/// Far above what anything takes on a busy machine; only a violation waits this long.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// Longest life of an agent after its first events.
const LIFE_MAX_US: u64 = 200_000;
/// A start that is to be killed lives this long at most: about what a start takes.
const START_MAX_US: u64 = 60_000;
/// Cycles from one comparison to the next.
const COMPARE_EVERY: u64 = 10;
/// Bytes written from one comparison to the next, at most: they lie on the disk twice.
const COMPARE_BYTES: u64 = 256 << 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent's program.
    pub agent: PathBuf,
    /// An empty directory, on the file system to be tested.
    pub directory: PathBuf,
    /// How many kills.
    pub cycles: u64,
    /// Decides when, and what is written.
    pub seed: u64,
}

/// Kills and restarts the agent. Tells `progress` each cycle; returns what was done also when it fails.
///
/// When `stop` asks for it, it ends with what was compared last: lines written since then are not waited for.
pub fn run(
    options: &Options,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> (Report, Result<(), Failure>) {
    warn_of_older(&options.agent);
    let begun = Instant::now();
    let mut report = Report { mode: "kill", seed: options.seed, ..Report::default() };
    let mut recovery = Vec::new();
    let result = Run::begin(options, stop).and_then(|mut run| {
        let result = run.cycles(&mut report, &mut recovery, &mut progress);
        // The writer must not write on into a directory that is kept as it was found.
        drop(run);
        result
    });
    let result = match result {
        Err(Failure::Interrupted) => {
            report.interrupted = true;
            Ok(())
        }
        result => result,
    };
    report.recovery = Percentiles::of(recovery);
    report.seconds = begun.elapsed().as_secs_f64();
    (report, result)
}

struct Run<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    random: Random,
    agent: Agent,
    writer: Writer,
    output: Arc<Output>,
    comparison: Comparison,
    cycle: u64,
    compared_bytes: u64,
}

impl<'a> Run<'a> {
    fn begin(options: &'a Options, stop: &'a AtomicBool) -> Result<Self, Failure> {
        let directory = &options.directory;
        for folder in ["in", "out", "logs"] {
            fs::create_dir(directory.join(folder))
                .context(|| format!("create {}", directory.join(folder).display()))?;
        }
        let text = agent::CONFIGURATION.replace("@DIR@", &directory.to_string_lossy());
        let path = directory.join("flume.conf");
        fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        let output = Arc::new(Output::new(directory.join("out")));
        let agent = start(options, 0)?;
        let writer = Writer::start(directory.join("in"), Arc::clone(&output), options.seed)
            .context(|| "start the writer".into())?;
        let (random, comparison) = (Random::new(options.seed), Comparison::default());
        Ok(Self { options, stop, random, agent, writer, output, comparison, cycle: 0, compared_bytes: 0 })
    }

    fn cycles(
        &mut self,
        report: &mut Report,
        recovery: &mut Vec<Duration>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        self.wait_for_events(0, self.writer.bytes())?;
        while self.cycle < self.options.cycles {
            self.pause()?;
            self.cycle += 1;
            self.sleep(LIFE_MAX_US);
            self.restart()?;
            while self.cycle < self.options.cycles && self.random.one_in(5) {
                self.cycle += 1;
                report.during_start += 1;
                self.sleep(START_MAX_US);
                self.restart()?;
            }
            // Taken before the agent has had time to deliver anything, or at worst later: never too short a time.
            let (delivered, written) = (self.delivered()?, self.writer.bytes());
            recovery.push(self.wait_for_events(delivered, written)?);
            report.cycles = self.cycle;
            let due = self.cycle.is_multiple_of(COMPARE_EVERY) || self.cycle == self.options.cycles;
            if due || self.writer.bytes() - self.compared_bytes > COMPARE_BYTES {
                self.compare(report)?;
                self.go_on()?;
            }
            progress(self.cycle);
        }
        self.finish(report)
    }

    fn violation<T>(&self, kind: Kind, what: impl Into<String>) -> Result<T, Failure> {
        self.broken(Broken::new(kind, what))
    }

    fn broken<T>(&self, broken: Broken) -> Result<T, Failure> {
        let Options { agent, directory, cycles, seed } = self.options;
        let replay =
            format!("flumen-crash --mode kill --cycles {cycles} --seed {seed} --agent {}", agent.display());
        let directory = directory.clone();
        Err(Failure::Violation(Box::new(Violation {
            seed: *seed,
            cycle: self.cycle,
            broken,
            directory,
            replay,
        })))
    }

    fn sleep(&mut self, below_us: u64) {
        std::thread::sleep(Duration::from_micros(self.random.below(below_us)));
    }

    /// Between two looks at something.
    fn pause(&self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        std::thread::sleep(POLL);
        Ok(())
    }

    fn delivered(&self) -> Result<u64, Failure> {
        self.output.delivered().context(|| "look at the output".into())
    }

    /// Kills the agent and starts another.
    fn restart(&mut self) -> Result<(), Failure> {
        self.still_runs()?;
        self.agent.kill().context(|| "kill the agent".into())?;
        let old = self.agent.log().to_path_buf();
        self.agent = start(self.options, self.cycle)?;
        // Of an agent that did its part nothing more needs to be known.
        fs::remove_file(&old).context(|| format!("remove {}", old.display()))
    }

    fn still_runs(&mut self) -> Result<(), Failure> {
        match self.agent.ended().context(|| "look at the agent".into())? {
            None => Ok(()),
            Some(status) => {
                let said = self.agent.last_words();
                self.violation(Kind::Failed, format!("the agent ended by itself ({status}):\n{said}"))
            }
        }
    }

    /// Waits for an event that is not among the `delivered` bytes, then for one that is not among the `written` ones;
    /// returns the time from the start to the first.
    fn wait_for_events(&mut self, delivered: u64, written: u64) -> Result<Duration, Failure> {
        self.wait_until_above(delivered, "no event")?;
        let first = self.agent.started().elapsed();
        self.wait_until_above(written, "no event written after the start")?;
        Ok(first)
    }

    fn wait_until_above(&mut self, bytes: u64, what: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.delivered()? <= bytes {
            self.still_runs()?;
            if Instant::now() > deadline {
                let delivered = self.delivered()?;
                let said = self.agent.last_words();
                let what = format!(
                    "{what} arrived within {} s of the start; {delivered} bytes are in the output, more than {bytes} \
                     were expected; the agent said:\n{said}",
                    PATIENCE.as_secs()
                );
                return self.violation(Kind::Stuck, what);
            }
            self.pause()?;
        }
        Ok(())
    }

    /// Lets the writer rest until all has arrived, and compares.
    fn compare(&mut self, report: &mut Report) -> Result<Written, Failure> {
        let written = self.writer.rest().context(|| "write lines".into())?;
        let (bytes, lines) = (self.writer.bytes(), written.lines.iter().sum());
        report.acked = lines;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.still_runs()?;
            let late = Instant::now() > deadline;
            // Counting is cheap; bytes that should not be there would make it end too early, so then it is read again.
            if !late && self.delivered()? < bytes {
                self.pause()?;
                continue;
            }
            match self.comparison.compare(&self.output, &written.lines)? {
                Ok(Verdict::Whole(arrived)) => {
                    report.recovered = arrived;
                    self.compared_bytes = bytes;
                    return Ok(written);
                }
                Ok(Verdict::Missing(count, first)) if late => {
                    report.recovered = lines - count;
                    report.lost = count;
                    let what = format!(
                        "{count} of {lines} lines are missing, line {} of file {} first",
                        first.line, first.file
                    );
                    return self.violation(Kind::Lost, what);
                }
                Ok(Verdict::Missing(..)) => self.pause()?,
                Err(broken) => {
                    report.repeated += u64::from(broken.kind == Kind::Repeated);
                    return self.broken(broken);
                }
            }
        }
    }

    fn go_on(&self) -> Result<(), Failure> {
        self.writer.go_on().context(|| "remove files whose lines have all arrived".into())
    }

    /// A clean stop; it must change nothing in what has arrived.
    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        let written = self.compare(report)?;
        self.agent.stop().context(|| "stop the agent".into())?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.agent.ended().context(|| "look at the agent".into())? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let what = format!("the agent has not stopped {} s after SIGTERM", PATIENCE.as_secs());
                    return self.violation(Kind::Stuck, what);
                }
                None => self.pause()?,
            }
        };
        if !status.success() {
            let said = self.agent.last_words();
            return self
                .violation(Kind::Failed, format!("the agent's stop was not clean ({status}):\n{said}"));
        }
        match self.comparison.compare(&self.output, &written.lines)? {
            Ok(Verdict::Whole(arrived)) => report.recovered = arrived,
            Ok(Verdict::Missing(count, _)) => {
                return self.violation(Kind::Lost, format!("{count} lines vanished with the agent's stop"));
            }
            Err(broken) => return self.broken(broken),
        }
        Ok(())
    }
}

fn start(options: &Options, cycle: u64) -> Result<Agent, Failure> {
    let log = options.directory.join(format!("logs/agent-{cycle}.log"));
    Agent::start(&options.agent, &options.directory, log)
        .context(|| format!("start {}", options.agent.display()))
}

/// Says so if the agent was built before this program, and so perhaps from other sources: cargo builds the one without the
/// other.
fn warn_of_older(agent: &Path) {
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let own = std::env::current_exe().ok();
    if built(agent).zip(own.as_deref().and_then(built)).is_some_and(|(agent, own)| agent < own) {
        eprintln!(
            "flumen-crash: {} is older than this program; `cargo build --release -p flumen -p flumen-crash` makes both anew",
            agent.display()
        );
    }
}

/// The agent's program, when none is named: beside this program, else the first `flumen` of `PATH`.
pub fn find_agent() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("flumen")).find(|program| program.is_file())
}
