//! One side of the comparison: an agent with all cases in it, its ports, directories, input and results.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::case::{Case, Feed};
use crate::{http, peer};

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long after its start a source may take to find the files that it follows.
const FINDING: Duration = Duration::from_secs(2);
/// What comes after the last event that was expected comes within this time.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How long after its start an agent may take to listen everywhere.
const BINDING: Duration = Duration::from_secs(3);

/// Counters of one component: names and values.
pub type Counters = BTreeMap<String, String>;

/// What one side did with one case.
#[derive(Default)]
pub struct Result {
    /// File names and bytes of each sink's directory, in the order of the names.
    pub files: Vec<Vec<(String, Vec<u8>)>>,
    /// Names of what is below the directory `in` at the end.
    pub inputs: Vec<String>,
    /// What the case's peer heard.
    pub heard: Option<Vec<String>>,
    /// What was answered to each input that is answered.
    pub answers: Vec<String>,
    /// Of the case's components, by `SOURCE`, `CHANNEL1`, `SINK1`.
    pub counters: BTreeMap<String, Counters>,
    /// All that the agent logged, of all cases.
    pub log: String,
    /// The case's directory.
    pub directory: String,
}

/// An agent and its surroundings.
pub struct Side {
    name: &'static str,
    directory: tempfile::TempDir,
    ports: BTreeMap<&'static str, u16>,
    peers: BTreeMap<&'static str, peer::Running>,
    monitoring: u16,
    child: Option<Child>,
    answers: BTreeMap<&'static str, Vec<String>>,
}

impl Side {
    /// Writes the configuration and the files that are there at the start.
    pub fn new(name: &'static str, cases: &[Case]) -> Self {
        let monitoring = free_port();
        let ports = cases.iter().map(|case| (case.name, free_port())).collect();
        let directory = tempfile::tempdir().unwrap();
        let (peers, answers) = (BTreeMap::new(), BTreeMap::new());
        let mut side = Self { name, directory, ports, peers, monitoring, child: None, answers };
        for case in cases {
            for folder in ["in"].into_iter().map(String::from).chain((1..=9).map(|n| format!("out{n}"))) {
                fs::create_dir_all(side.case(case).join(folder)).unwrap();
            }
            for (age, feed) in (0..case.feed.len()).rev().zip(&case.feed) {
                if let Feed::File(name, bytes) = feed {
                    let path = side.case(case).join(name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let mut file = fs::File::create(path).unwrap();
                    file.write_all(bytes).unwrap();
                    let time = SystemTime::now() - Duration::from_secs(60 + 60 * age as u64);
                    file.set_modified(time).unwrap();
                }
            }
            if let Some(peer) = case.peer {
                let running = peer.start(&side.case(case), free_port);
                side.peers.insert(case.name, running);
            }
        }
        fs::write(side.root().join("flume.conf"), side.configuration(cases)).unwrap();
        side
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    fn case(&self, case: &Case) -> PathBuf {
        self.root().join(case.name)
    }

    fn configuration(&self, cases: &[Case]) -> String {
        let (mut sources, mut channels, mut sinks, mut groups) = (vec![], vec![], vec![], vec![]);
        let mut text = String::new();
        for case in cases {
            let name = case.name;
            let mut lines = vec![format!(
                "a1.sources.@R@.channels = {}",
                (1..=case.channels).map(|n| format!("@C{n}@")).collect::<Vec<_>>().join(" ")
            )];
            lines.extend(case.source.iter().map(|key| format!("a1.sources.@R@.{key}")));
            for n in 1..=case.channels {
                lines.push(format!("a1.channels.@C{n}@.type = memory"));
                lines.push(format!("a1.channels.@C{n}@.capacity = 1000"));
                lines.push(format!("a1.channels.@C{n}@.transactionCapacity = 1000"));
                channels.push(format!("{name}_c{n}"));
            }
            for (n, (channel, keys)) in (1..).zip(case.all_sinks()) {
                lines.push(format!("a1.sinks.@K{n}@.channel = @C{channel}@"));
                lines.extend(keys.iter().map(|key| format!("a1.sinks.@K{n}@.{key}")));
                sinks.push(format!("{name}_k{n}"));
            }
            lines.extend(case.agent.iter().map(|line| (*line).to_string()));
            if case.agent.iter().any(|line| line.contains("@G@")) {
                groups.push(format!("{name}_g"));
            }
            sources.push(format!("{name}_r"));
            for line in lines {
                text.push_str(&self.filled(case, &line));
                text.push('\n');
            }
        }
        for (kind, names) in
            [("sources", sources), ("channels", channels), ("sinks", sinks), ("sinkgroups", groups)]
        {
            text.push_str(&format!("a1.{kind} = {}\n", names.join(" ")));
        }
        text
    }

    fn filled(&self, case: &Case, line: &str) -> String {
        let mut line = line
            .replace("@R@", &format!("{}_r", case.name))
            .replace("@G@", &format!("{}_g", case.name))
            .replace("@DIR@", self.case(case).to_str().unwrap())
            .replace("@PORT@", &self.ports[case.name].to_string());
        if let Some(peer) = self.peers.get(case.name) {
            line = line.replace("@PEER@", &peer.port().to_string());
        }
        for n in 1..10 {
            line = line.replace(&format!("@C{n}@"), &format!("{}_c{n}", case.name));
            line = line.replace(&format!("@K{n}@"), &format!("{}_k{n}", case.name));
        }
        line
    }

    /// Starts the agent, and waits until it serves its counters: that is the last thing that either does.
    pub fn start(&mut self, template: Command) {
        let mut command = Command::new(template.get_program());
        let monitoring = self.monitoring.to_string();
        command.args(
            template.get_args().map(|word| word.to_str().unwrap().replace("@MONITORING@", &monitoring)),
        );
        command.current_dir(self.root());
        command.envs(template.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let log = fs::File::create(self.root().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Feeds all cases, and waits until all is delivered that shall be.
    pub fn run(&mut self, cases: &[Case]) {
        let deadline = Instant::now() + PATIENCE;
        while self.counters().is_none() {
            self.assert_alive();
            assert!(Instant::now() < deadline, "{} does not start:\n{}", self.name, self.log_end());
            std::thread::sleep(Duration::from_millis(50));
        }
        // Who follows a file from its end has to have found the end before there is more.
        for late in [false, true] {
            for case in cases {
                for feed in case.feed.iter().filter(|feed| matches!(feed, Feed::Append(..)) == late) {
                    if let Some(answer) = self.give(case, feed) {
                        self.answers.entry(case.name).or_default().push(answer);
                    }
                }
            }
            std::thread::sleep(FINDING);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && cases.iter().any(|case| !self.is_done(case)) {
            self.assert_alive();
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(AFTERWARDS);
    }

    /// Whether as many events are written as shall be.
    fn is_done(&self, case: &Case) -> bool {
        if let Some(peer) = self.peers.get(case.name) {
            return peer.heard().len() >= case.delivered_by(self.name);
        }
        let counters = self.counters().unwrap_or_default();
        let prefix = format!("SINK.{}_k", case.name);
        let drained: usize = counters
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(_, counters)| counters.get("EventDrainSuccessCount")?.parse::<usize>().ok())
            .sum();
        let has_sinks =
            case.all_sinks().iter().any(|(_, keys)| keys.iter().any(|key| key == "type = file_roll"));
        !has_sinks || drained >= case.delivered_by(self.name)
    }

    fn give(&self, case: &Case, feed: &Feed) -> Option<String> {
        let port = self.ports[case.name];
        match feed {
            Feed::File(..) => None,
            Feed::Append(name, bytes) => {
                let path = self.case(case).join(name);
                fs::File::options().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
                None
            }
            Feed::Tcp(bytes) => Some(match tcp(port, bytes) {
                Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
                Err(error) => format!("(connection: {})", error.kind()),
            }),
            Feed::Udp(datagrams) => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for datagram in datagrams {
                    socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
                    // Those that come too fast are lost, by whoever.
                    std::thread::sleep(Duration::from_millis(20));
                }
                None
            }
            Feed::Http { method, path, content_type, body } => {
                let answer = http::ask(port, method, path, content_type, body);
                Some(answer.map_or("(no answer)".into(), |(status, _)| status.to_string()))
            }
        }
    }

    /// All components' counters, by Flume's names; `None` while nobody serves them.
    fn counters(&self) -> Option<BTreeMap<String, Counters>> {
        let (status, body) = http::ask(self.monitoring, "GET", "/metrics", "text/plain", b"")?;
        let counters: BTreeMap<String, Counters> = serde_json::from_str(&body).ok()?;
        (status == 200 && !counters.is_empty()).then_some(counters)
    }

    fn assert_alive(&mut self) {
        let status = self.child.as_mut().unwrap().try_wait().unwrap();
        assert!(status.is_none(), "{} ended with {status:?}:\n{}", self.name, self.log_end());
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.root().join("log")).unwrap_or_default()).into_owned()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let from = log.lines().count().saturating_sub(40);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Stops the agent and collects what it did, by the case's name.
    pub fn end(mut self, cases: &[Case]) -> BTreeMap<&'static str, Result> {
        let counters = self.counters().unwrap_or_default();
        self.stop();
        let log = self.log();
        if let Some(keep) = std::env::var_os("FLUMEN_DIFFERENTIAL_LOGS") {
            let keep = Path::new(&keep);
            fs::create_dir_all(keep).unwrap();
            fs::write(keep.join(format!("{}.log", self.name)), &log).unwrap();
            fs::copy(self.root().join("flume.conf"), keep.join(format!("{}.conf", self.name))).unwrap();
        }
        let result = |case: &Case| {
            let files = (1..=case.all_sinks().len()).map(|n| files(&self.case(case).join(format!("out{n}"))));
            let own = |kind: &str, mark: &str| {
                let prefix = format!("{kind}.{}_{mark}", case.name);
                let own = counters.iter().filter_map(move |(name, counters)| {
                    let number = name.strip_prefix(&prefix)?;
                    number.bytes().all(|b| b.is_ascii_digit()).then(|| (number.to_string(), counters.clone()))
                });
                let kind = kind.to_string();
                own.map(move |(number, counters)| (format!("{kind}{number}"), counters)).collect::<Vec<_>>()
            };
            Result {
                files: files.collect(),
                inputs: names_below(&self.case(case).join("in"), ""),
                heard: self.peers.get(case.name).map(peer::Running::heard),
                answers: self.answers.get(case.name).cloned().unwrap_or_default(),
                counters: own("SOURCE", "r")
                    .into_iter()
                    .chain(own("CHANNEL", "c"))
                    .chain(own("SINK", "k"))
                    .collect(),
                log: log.clone(),
                directory: self.case(case).to_str().unwrap().into(),
            }
        };
        cases.iter().map(|case| (case.name, result(case))).collect()
    }

    /// Stops the agent; what starts next on its directory is another program.
    pub fn becomes(&mut self, name: &'static str) {
        self.stop();
        self.name = name;
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _asked = Command::new("kill").arg(child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _killed = child.kill();
        let _reaped = child.wait();
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// A port that is free and that nobody is given but by name: those of connections begin higher up.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from = 10_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = from + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn tcp(port: u16, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + BINDING;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            connected => break connected?,
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Paths of all files below `directory`, sorted.
fn names_below(directory: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => names.extend(names_below(&entry.path(), &format!("{name}/"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
