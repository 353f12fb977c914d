//! A real IRC server, ngircd, and somebody who reads one of its channels.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far above what a start takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What clients say to be let in.
pub const PASSWORD: &str = "secret";

/// An error if there is none on this machine.
pub fn is_there() -> Result<(), String> {
    let mut command = Command::new("ngircd");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(|_status| ()).map_err(|error| format!("ngircd cannot be started: {error}"))
}

/// A server; ended when dropped.
pub struct Ngircd(Child);

impl Ngircd {
    /// Starts one whose files are in `directory`, and waits until it listens; an error if there is none on this machine.
    pub fn start(directory: &Path, port: u16) -> Result<Self, String> {
        let (config, log_path) = (directory.join("ngircd.conf"), directory.join("ngircd.log"));
        let text = format!(
            "[Global]\nName = irc.test.local\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\nPassword = {PASSWORD}\n\
             [Limits]\nMaxConnectionsIP = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(&log_path).unwrap();
        let mut command = Command::new("ngircd");
        command.arg("-n").arg("-f").arg(&config).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let server = Self(child.map_err(|error| format!("ngircd cannot be started: {error}"))?);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || fs::read_to_string(&log_path).unwrap_or_default();
            assert!(Instant::now() < deadline, "ngircd does not listen: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Ngircd {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Somebody in a channel.
pub struct Reader {
    channel: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    /// Joins the channel, whose name has its `#`, and waits until it is let in.
    pub fn join(port: u16, channel: &'static str) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let hello =
            format!("PASS {PASSWORD}\r\nNICK reader\r\nUSER reader 0 * :reader\r\nJOIN {channel}\r\n");
        stream.get_mut().write_all(hello.as_bytes()).unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let lines = seen.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(token) = line.strip_prefix("PING ") {
                    // The server may be gone by now; then the next read ends this.
                    let _answered = write!(stream.get_mut(), "PONG {token}");
                }
                lines.lock().unwrap().push(line.trim_end().to_string());
                line.clear();
            }
        });
        let reader = Self { channel, seen };
        let deadline = Instant::now() + PATIENCE;
        // 366 ends the list of those who are in the channel.
        while !reader.lines().iter().any(|line| line.contains(" 366 ")) {
            assert!(Instant::now() < deadline, "not let in: {:?}", reader.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        reader
    }

    /// All that the server sent.
    pub fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The texts that were said in the channel.
    pub fn said(&self) -> Vec<String> {
        let mark = format!("PRIVMSG {} :", self.channel);
        let texts = |line: &String| Some(line.split_once(&mark)?.1.to_string());
        self.lines().iter().filter_map(texts).collect()
    }
}
