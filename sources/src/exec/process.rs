//! The command's process: started in a group of its own, and ended with all of its group.
//!
//! ```text
//!   agent ─┬─ source's thread ── fork ── setpgid, PR_SET_PDEATHSIG(KILL) ── exec command
//!          │                                                                 └─ what it starts is in the same group
//!          └─ pipe ── guard: kills the group when the pipe ends without a word
//!   stop     SIGTERM to the group, up to 5 s for its output to end, SIGKILL to the group
//!   SIGKILL  the kernel kills the command, since the thread is gone, and the guard what the command has started
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group, set_parent_process_death_signal,
    waitid,
};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::guard::Guard;

/// A command that has closed its output has this long to end by itself.
const TO_END: Duration = Duration::from_secs(1);
/// After SIGTERM it has this long.
pub(super) const TO_OBEY: Duration = Duration::from_secs(5);
/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running command. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Held open, as Java holds it: a command that reads its input waits and does not end.
    _input: Option<ChildStdin>,
    guard: Option<Guard>,
}

impl Process {
    /// Starts `words`: a program and its arguments. To be called on a thread that lives as long as the command shall.
    pub fn start(words: &[String]) -> io::Result<(Self, pipe::Receiver, pipe::Receiver)> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let agent = getpid();
        // SAFETY: between fork and exec only two system calls are made and an error without a message is built, none of
        // which takes a lock or memory.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The agent may be gone already, and nobody would tell.
                if getppid() != Some(agent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().map(OwnedFd::from);
        let errors = child.stderr.take().map(OwnedFd::from);
        // From here on an error ends the command.
        let mut process = Self { child, _input: input, guard: None };
        process.guard = Guard::start(process.id());
        let (Some(output), Some(errors)) = (output, errors) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok((process, pipe::Receiver::from_owned_fd(output)?, pipe::Receiver::from_owned_fd(errors)?))
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the group to end.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of a command whose output has ended, and sees to it that it comes.
    pub async fn end(mut self) -> io::Result<ExitStatus> {
        if !self.ends_by(Instant::now() + TO_END).await {
            self.ask_to_end();
            if !self.ends_by(Instant::now() + TO_OBEY).await {
                self.signal(Signal::KILL);
            }
        }
        while !self.has_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.reap()
    }

    /// Ends whatever is left of the group, and returns how the command ended.
    pub async fn kill(mut self) -> io::Result<ExitStatus> {
        // The group's number is taken for as long as the command was not waited for.
        self.signal(Signal::KILL);
        while !self.has_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.reap()
    }

    /// Frees the command's number, which the guard must not know any more then.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.guard = None;
        self.child.wait()
    }

    /// Waits for the command to end, at most until then; returns whether it did.
    pub async fn ends_by(&self, until: Instant) -> bool {
        while !self.has_ended() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Whether it has ended; its number stays taken.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is nothing to wait for.
        !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.pid(), signal) {
            tracing::debug!(pid = self.id(), %error, "no process left to signal");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already waited for: its number may be another's by now.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            if let Err(error) = self.reap() {
                tracing::warn!(pid = self.id(), %error, "the command cannot be waited for");
            }
        }
    }
}
