//! The command of an `external` filter: its words and the key, without a shell; the first line of what it prints.
//!
//! What the command leaves running in the background may keep its output open. So the end of the output is not waited for
//! where the command has ended well and its first line is there; and what has neither ended nor printed a line in time is
//! killed with its process group.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Most bytes that are read of a command's output: a password is short.
const OUTPUT_BYTES_MAX: usize = 1 << 16;

/// How often a command that has nothing to read is looked at.
const TICK: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub why: String,
    /// It has been waited for in vain, which costs too much to do it for another key.
    pub in_vain: bool,
}

impl Failed {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), in_vain: false }
    }
}

/// The bytes of the first line that the command prints for `key`, which may have no end; waits up to `time`.
pub(super) fn first_line(command: &[String], key: &str, time: Duration) -> Result<Vec<u8>, Failed> {
    let named =
        |failed: Failed| Failed { why: format!("`{} {key}`: {}", command.join(" "), failed.why), ..failed };
    let start = Command::new(&command[0])
        .args(&command[1..])
        .arg(key)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = start.map_err(|error| named(Failed::new(format!("cannot be started: {error}"))))?;
    match answer(&mut child, time) {
        Ok(output) => match child.wait() {
            Ok(status) if status.success() => Ok(output),
            Ok(status) => Err(named(Failed::new(format!("ended with {status}")))),
            Err(error) => Err(named(Failed::new(error.to_string()))),
        },
        Err(failed) => {
            reap_soon(&mut child);
            Err(named(failed))
        }
    }
}

/// Waits for a child that was killed, but not for one that hangs in the kernel.
fn reap_soon(child: &mut Child) {
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(TICK);
    }
}

/// Reads until the child has ended and its answer is there. It is not reaped, so that its group's number stays its own.
fn answer(child: &mut Child, time: Duration) -> Result<Vec<u8>, Failed> {
    let deadline = Instant::now() + time;
    let group = Pid::from_child(child);
    let kill = || {
        // It may have ended by itself, and all of its group.
        let _gone = kill_process_group(group, Signal::KILL);
    };
    let mut output = Output { stdout: child.stdout.take(), bytes: Vec::new() };
    if let Err(error) = output.never_wait() {
        kill();
        return Err(Failed::new(format!("its output cannot be read: {error}")));
    }
    loop {
        // Looked at before the output: what it printed is there once it has ended.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let has_ended = !matches!(waitid(WaitId::Pid(group), options), Ok(None));
        if let Err(error) = output.read() {
            kill();
            return Err(Failed::new(format!("its output cannot be read: {error}")));
        }
        if has_ended && (output.stdout.is_none() || output.has_line()) {
            return Ok(output.bytes);
        }
        if Instant::now() >= deadline {
            kill();
            let what = if has_ended {
                "has ended, but nobody has ended its output within"
            } else {
                "took longer than"
            };
            return Err(Failed { why: format!("{what} {} s", time.as_secs_f32()), in_vain: true });
        }
        std::thread::sleep(TICK);
    }
}

struct Output {
    /// `None` once it has ended, or enough is read.
    stdout: Option<ChildStdout>,
    bytes: Vec<u8>,
}

impl Output {
    fn never_wait(&self) -> std::io::Result<()> {
        match &self.stdout {
            Some(stdout) => Ok(rustix::io::ioctl_fionbio(stdout, true)?),
            None => Ok(()),
        }
    }

    /// Takes what is there.
    fn read(&mut self) -> std::io::Result<()> {
        let mut piece = [0; 4096];
        while let Some(stdout) = &mut self.stdout {
            match stdout.read(&mut piece) {
                Ok(0) => self.stdout = None,
                Ok(read) => self.bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.bytes.len() >= OUTPUT_BYTES_MAX {
                self.stdout = None;
            }
        }
        Ok(())
    }

    fn has_line(&self) -> bool {
        self.bytes.contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, time: Duration) -> Result<Vec<u8>, Failed> {
        first_line(&["sh".into(), "-c".into(), script.into()], "key", time)
    }

    /// Whether the process runs: one that has ended and that nobody has waited for does not.
    fn runs(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn a_command_whose_background_process_keeps_the_output_open_is_not_waited_for() {
        let begun = Instant::now();
        let output = ask("sleep 60 & echo $!; echo more", Duration::from_secs(50)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(40), "it was waited for");
        let text = String::from_utf8(output).unwrap();
        let pid = text.lines().next().unwrap();
        assert!(runs(pid), "what it left running is its own affair");
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn what_is_not_there_in_time_is_killed_with_all_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        for (end, said) in [("", "nobody has ended its output"), ("; sleep 60", "took longer than")] {
            let file = directory.path().join("pid");
            let script = format!("sleep 60 & echo $! >{}{end}", file.display());
            // With more time where the shell has not come to its end, or to its `sleep`, in the least.
            let (pid, failed) = [400, 4000, 40_000]
                .into_iter()
                .find_map(|time| {
                    std::fs::write(&file, "").unwrap();
                    let failed = ask(&script, Duration::from_millis(time)).unwrap_err();
                    let pid = std::fs::read_to_string(&file).unwrap();
                    (failed.why.contains(said) && pid.ends_with('\n')).then_some((pid, failed))
                })
                .unwrap_or_else(|| panic!("never: {said}"));
            assert!(failed.in_vain, "{failed:?}");
            let begun = Instant::now();
            while runs(pid.trim()) {
                assert!(begun.elapsed() < Duration::from_secs(60), "{pid} still runs");
                std::thread::sleep(TICK);
            }
        }
    }
}
