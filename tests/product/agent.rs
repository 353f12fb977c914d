//! A running agent: killed when dropped, its stderr kept in a file and shown when a test fails.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::world::eventually;

/// How much of a log a failure shows.
const SHOWN_BYTES: usize = 8 << 10;

/// The binary, with a working directory.
pub fn flumen(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
    command.current_dir(directory);
    command
}

pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts `command`, its stderr going to the file `log`.
    pub fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let stderr = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds of all its threads so far, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The second field is the command in parentheses and may hold blanks.
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// All that it wrote to stderr so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for a line with all of `parts`.
    #[track_caller]
    pub fn wait_for(&self, parts: &[&str]) -> String {
        let mut found = None;
        eventually(
            || {
                let said = self.said();
                let mut lines = said.lines();
                found = lines.find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_string);
                found.is_some()
            },
            || format!("no line with {parts:?}"),
        );
        found.unwrap()
    }

    /// Waits until all components were started.
    #[track_caller]
    pub fn started(self) -> Self {
        self.wait_for(&["started"]);
        self
    }

    /// Sends a signal by its short name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.unwrap().success(), "kill -{name}");
    }

    /// Kills it as the kernel would, and waits until it is gone.
    pub fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended by itself, with {status}");
        }
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let mut ended = None;
        let child = &mut self.child;
        eventually(
            || {
                ended = child.try_wait().unwrap();
                ended.is_some()
            },
            || "still running".into(),
        );
        ended.unwrap()
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub fn stop(mut self) -> String {
        // Before it listens for signals, they end it as any other process.
        self.wait_for(&["started"]);
        self.signal("TERM");
        assert_eq!(self.end().code(), Some(0));
        self.said()
    }

    /// Its open files below `directory`: descriptor number, path and inode.
    pub fn open_files(&self, directory: &Path) -> Vec<(u32, PathBuf, u64)> {
        use std::os::unix::fs::MetadataExt;
        let mut files = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap() {
            let path = entry.unwrap().path();
            // Closed since it was listed.
            let (Ok(target), Ok(status)) = (fs::read_link(&path), fs::metadata(&path)) else { continue };
            if target.starts_with(directory) {
                let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
                files.push((number, target, status.ino()));
            }
        }
        files.sort();
        files
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read(&self.log).unwrap_or_default();
            let tail = &said[said.len().saturating_sub(SHOWN_BYTES)..];
            eprintln!("---- {}\n{}", self.log.display(), String::from_utf8_lossy(tail));
        }
    }
}
