//! A process that kills a command's group should the agent be killed.
//!
//! ```text
//!   flumen --exec-guard <group>     stdin: a pipe that the agent holds open
//!     the pipe ends                 the agent is gone: SIGKILL to the group
//! ```
//!
//! The kernel kills the command with its agent (`process.rs`), not what the command has started: a shell's pipeline would
//! be left behind. The guard is the agent's own program over again, so that no shell and no other file is needed. While the
//! agent lives, it kills the guard before it frees the group's number.
//!
//! A program that does not begin with [`is_asked_for`] has no guard, and its commands the kernel's promise alone.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};

const WORD: &str = "--exec-guard";

/// This program can be a guard.
static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Whether this process is to be a guard. To be asked by `main` before anything else; from then on commands are guarded.
pub fn is_asked_for() -> bool {
    AVAILABLE.store(true, Ordering::Relaxed);
    std::env::args_os().nth(1).is_some_and(|word| word == OsStr::new(WORD))
}

/// Waits for the agent's end, and kills the group.
pub fn run() -> ExitCode {
    let group = std::env::args().nth(2).and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    let Some(group) = group.filter(|group| group.as_raw_nonzero().get() > 1) else {
        return ExitCode::from(2);
    };
    let mut pipe = std::io::stdin();
    // The agent writes nothing; an error is no better than the end.
    while pipe.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    // It has ended by itself if there is nobody to kill.
    match kill_process_group(group, Signal::KILL) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody) => ExitCode::FAILURE,
    }
}

/// A running guard; dropping it lets the group live.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Guards the group; `None` if that cannot be.
    pub fn start(group: u32) -> Option<Self> {
        if !AVAILABLE.load(Ordering::Relaxed) {
            return None;
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg0("flumen").arg(WORD).arg(group.to_string());
        // A group of its own: what a terminal sends to the agent's is not for it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                tracing::warn!(group, %error, "what the command starts may outlive a killed agent: no guard");
                None
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before its pipe ends. An error means that it is gone already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
