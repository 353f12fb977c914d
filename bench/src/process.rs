//! An agent under measurement: started, watched through /proc, stopped; killed if the bench itself fails.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Context, Failure};
use crate::place::kib;

/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(1);

/// 128 and SIGTERM's number.
const JAVA_TERMINATED: i32 = 143;

/// A running agent.
pub struct Agent {
    child: Child,
    log: PathBuf,
    /// When it was started.
    pub started: Instant,
}

impl Agent {
    /// Starts `flumen agent -n a1 -f conf` with `defines` (`-Dkey=value`); what it says goes to `log`.
    pub fn start(flumen: &Path, conf: &Path, defines: &[String], log: PathBuf) -> Result<Self, Failure> {
        let mut command = Command::new(flumen);
        command.args(["agent", "-n", "a1", "-f"]).arg(conf).args(defines);
        Self::spawn(command, log)
    }

    /// Starts any program that is an agent of somebody's.
    pub fn spawn(mut command: Command, log: PathBuf) -> Result<Self, Failure> {
        let out = File::create(&log).context(|| format!("create {}", log.display()))?;
        let err = out.try_clone().context(|| format!("open {} twice", log.display()))?;
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, log, started })
    }

    /// Looks until `reached` says so, and returns the time of that look.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut reached: impl FnMut() -> bool,
    ) -> Result<Instant, Failure> {
        loop {
            if reached() {
                return Ok(Instant::now());
            }
            if let Some(status) = self.child.try_wait().context(|| "wait for the agent".into())? {
                return Err(self.failed(&format!("the agent ended ({status}) before {what}")));
            }
            if self.started.elapsed() > limit {
                return Err(self.failed(&format!("no {what} within {} s", limit.as_secs())));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Largest resident set so far, in MiB.
    pub fn peak_rss_mib(&self) -> f64 {
        kib(&format!("/proc/{}/status", self.child.id()), "VmHWM") as f64 / 1024.0
    }

    /// CPU seconds used so far, user and system, of all threads.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The second field is the command in parentheses and may hold blanks.
        let Some((_, rest)) = stat.rsplit_once(')') else { return 0.0 };
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// SIGTERM; the exit must be clean: 0, or what a Java machine says after its shutdown hooks have run.
    pub fn stop(mut self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context(|| "SIGTERM".into())?;
        let status = self.child.wait().context(|| "wait for the agent".into())?;
        match status.code() {
            Some(0 | JAVA_TERMINATED) => Ok(()),
            _ => Err(self.failed(&format!("the agent stopped with {status}"))),
        }
    }

    /// SIGKILL. Returns at once, as a crash would: the kernel may still be tearing the process down.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().context(|| "SIGKILL".into())
    }

    fn failed(&self, why: &str) -> Failure {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Failure(format!("{why}; it said:\n  {}", tail.join("\n  ")))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "find a free port".into())?;
    Ok(listener.local_addr().context(|| "find a free port".into())?.port())
}

/// What the agent's `/metrics` says of a channel under one of Flume's names (`ChannelSize`); `None` while there is no answer.
pub fn channel_figure(port: u16, channel: &str, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let json: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    json.get(format!("CHANNEL.{channel}"))?.get(name)?.as_str()?.parse().ok()
}
