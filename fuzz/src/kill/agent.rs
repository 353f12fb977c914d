//! The agent under test, in a child process.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// How much of an agent's log a message shows.
const SHOWN_BYTES: usize = 4 << 10;

/// taildir → file channel → file_roll. The short intervals let a file that is found at a start flow at once.
pub const CONFIGURATION: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.positionFile = @DIR@/position.json
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = @DIR@/in/.*log
a1.sources.r1.batchSize = 1000
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.checkpointDir = @DIR@/checkpoint
a1.channels.c1.dataDirs = @DIR@/data
a1.channels.c1.capacity = 1000000
a1.channels.c1.transactionCapacity = 10000
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = @DIR@/out
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 1000
a1.sinks.k1.channel = c1
";

/// A running agent: killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Agent {
    /// Starts `program` in `directory`, which has `flume.conf`; what it says goes to the file `log`.
    pub fn start(program: &Path, directory: &Path, log: PathBuf) -> io::Result<Self> {
        let stderr = File::create(&log)?;
        let stdout = stderr.try_clone()?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(["agent", "-n", "a1", "-f", "flume.conf", "--no-reload-conf"])
            .current_dir(directory)
            // Ctrl-C on the terminal is for this program, which then ends the agent.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        Ok(Self { child, log, started })
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM: a clean stop begins.
    pub fn stop(&self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN_BYTES)..]).into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended before.
        let _ended = self.kill();
    }
}
