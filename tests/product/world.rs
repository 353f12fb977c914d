//! One test's directory: configuration, input, output, and waiting with a deadline.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::agent::{Agent, flumen};
pub use crate::ports::free_port;

/// Far above what any step takes on a busy machine; only a failure waits this long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// taildir → file channel → file_roll.
pub const DURABLE_TAIL: &str = include_str!("../scenarios/14-durable-tail.conf");
/// netcat → memory channel → logger.
pub const NETCAT_LOGGER: &str = include_str!("../scenarios/01-netcat-logger.conf");

const AGENT: [&str; 5] = ["agent", "-n", "a1", "-f", "flume.conf"];

/// Two pipelines in one agent: [`DURABLE_TAIL`], and the same again as `r2`, `c2`, `k2` in the directory `2`.
pub fn two_pipelines() -> String {
    // Lines that name the agent's components have a key of two parts.
    let keys: Vec<&str> = DURABLE_TAIL.lines().filter(|line| !is_list(line)).collect();
    let first = keys.join("\n");
    let mut second = first.replace("@DIR@/", "@DIR@/2/").replace("= c1", "= c2");
    for (old, new) in [(".r1.", ".r2."), (".c1.", ".c2."), (".k1.", ".k2.")] {
        second = second.replace(old, new);
    }
    format!("a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1 k2\n{first}\n{second}\n")
}

fn is_list(line: &str) -> bool {
    line.split(" = ").next().is_some_and(|key| key.matches('.').count() == 1)
}

/// A directory with `flume.conf`, `in/` and `out/`, and both again in `2/`.
pub struct World {
    directory: tempfile::TempDir,
    starts: Cell<usize>,
}

impl World {
    /// With this configuration, in which `@DIR@` is the directory.
    pub fn new(config: &str) -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap(), starts: Cell::new(0) };
        for folder in ["in", "out", "2/in", "2/out", "logs"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        world.configure(config);
        world
    }

    /// Replaces the configuration as an editor does: beside, then renamed.
    pub fn configure(&self, config: &str) {
        let text = config.replace("@DIR@", self.directory.path().to_str().unwrap());
        fs::write(self.path("flume.conf.new"), text).unwrap();
        fs::rename(self.path("flume.conf.new"), self.path("flume.conf")).unwrap();
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the agent `a1`.
    pub fn start(&self) -> Agent {
        self.start_with(&[])
    }

    /// Starts the agent `a1` with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Agent {
        self.spawn(flumen(self.root()).args(AGENT).args(arguments))
    }

    /// Starts another agent of the file.
    pub fn start_agent(&self, name: &str) -> Agent {
        self.spawn(flumen(self.root()).args(["agent", "-n", name, "-f", "flume.conf"]))
    }

    /// Starts the agent `a1` from a shell that has run `prelude`, which sets limits or variables.
    pub fn start_after(&self, prelude: &str, arguments: &[&str]) -> Agent {
        let mut command = Command::new("sh");
        command.current_dir(self.root()).args(["-c", &format!("{prelude}; exec \"$@\""), "sh"]);
        self.spawn(command.arg(env!("CARGO_BIN_EXE_flumen")).args(AGENT).args(arguments))
    }

    /// Starts the agent `a1` as one who is not above permissions, which root is.
    pub fn start_as_nobody(&self) -> Agent {
        let binary = self.path("flumen");
        if !binary.exists() {
            // By a process of its own: a descriptor that writes it here would be inherited by what other tests start
            // meanwhile, and a file that somebody may write cannot be run ("Text file busy").
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_flumen")).arg(&binary).status().unwrap();
            assert!(copied.success());
        }
        let mut command = Command::new(binary);
        command.current_dir(self.root()).args(AGENT);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        self.spawn(&mut command)
    }

    /// Starts an agent by this command.
    pub fn spawn(&self, command: &mut Command) -> Agent {
        self.starts.set(self.starts.get() + 1);
        Agent::spawn(command, self.path(&format!("logs/{}", self.starts.get())))
    }

    /// Runs `flumen check` to its end.
    pub fn check(&self) -> Output {
        flumen(self.root()).args(["check", "-f", "flume.conf"]).output().unwrap()
    }

    pub fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut file = fs::File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    /// Bytes that were delivered.
    pub fn delivered(&self) -> u64 {
        delivered(&self.path("out"))
    }

    /// The delivered files' bytes, in the order in which the files were begun.
    pub fn output(&self) -> Vec<u8> {
        output(&self.path("out"))
    }

    /// Waits until so many bytes are delivered.
    #[track_caller]
    pub fn wait_delivered(&self, bytes: u64) {
        eventually(
            || self.delivered() >= bytes,
            || format!("{} bytes of {bytes} are delivered", self.delivered()),
        );
    }

    /// Every file below the directory with its bytes: what a refused start must not change.
    pub fn files_below(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut left = vec![self.path(name)];
        while let Some(path) = left.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
                Err(_) => files.push((path.clone(), fs::read(&path).unwrap_or_default())),
            }
        }
        files.sort();
        files
    }
}

/// Bytes in the output files of `directory`.
pub fn delivered(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// The bytes of the output files of `directory`: names are `<milliseconds of the start>-<number>`.
pub fn output(directory: &Path) -> Vec<u8> {
    let mut files: Vec<((u64, u64), PathBuf)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let (start, number) = name.split_once('-').unwrap();
            ((start.parse().unwrap(), number.parse().unwrap()), path)
        })
        .collect();
    files.sort();
    files.iter().flat_map(|(_, path)| fs::read(path).unwrap()).collect()
}

/// What a machine that is busy with other things may be late, where a test says that something takes no longer than a time.
pub const BUSY: Duration = Duration::from_secs(60);

/// Waits until `done`, or fails with what `state` says.
#[track_caller]
pub fn eventually(mut done: impl FnMut() -> bool, state: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "after {PATIENCE:?}: {}", state());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status and body of a GET, `None` while nobody listens.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_string()))
}
