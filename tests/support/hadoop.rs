//! A NameNode and DataNodes of Hadoop, each a Java machine of its own that a test can kill, on free ports and in a temporary
//! directory. They end with the value, also in a panic.
//!
//! Java and the jars are those of [`maven`](super::maven); what is looked at is looked at over WebHDFS, so a Java client
//! reads the files.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::maven;

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(90);

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

const LOG4J: &str = "log4j.rootLogger=INFO,console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n\
                     log4j.appender.console.target=System.err\nlog4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
                     log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n";

/// The jars, or `None` with a word of why the test is skipped.
fn libraries() -> Option<PathBuf> {
    // Two tests must not have Maven write the same files.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/hadoop/pom.xml");
    match maven::libraries(&pom, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("hadoop-3.4.2")) {
        Ok(libraries) => Some(libraries),
        Err(why) => {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
            println!("skipped: {why}");
            None
        }
    }
}

/// A DataNode's ports.
#[derive(Clone, Copy)]
struct Ports {
    data: u16,
    http: u16,
    ipc: u16,
}

/// The servers.
pub struct Cluster {
    directory: tempfile::TempDir,
    libraries: PathBuf,
    rpc: u16,
    http: u16,
    ports: Vec<Ports>,
    namenode: Option<Child>,
    datanodes: Vec<Option<Child>>,
    // One cluster at a time: Java machines are large.
    _alone: MutexGuard<'static, ()>,
}

/// What WebHDFS says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub length: u64,
    pub is_directory: bool,
}

impl Cluster {
    /// A NameNode with so many DataNodes, ready for files; `None`: skipped.
    pub fn start(datanodes: usize) -> Option<Self> {
        Self::start_with(datanodes, &[])
    }

    /// The same with these settings of the servers.
    pub fn start_with(datanodes: usize, settings: &[(&str, &str)]) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let libraries = libraries()?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = |_| Ports { data: free_port(), http: free_port(), ipc: free_port() };
        let mut cluster = Self {
            directory: tempfile::tempdir().unwrap(),
            libraries,
            rpc: free_port(),
            http: free_port(),
            ports: (0..datanodes).map(ports).collect(),
            namenode: None,
            datanodes: (0..datanodes).map(|_| None).collect(),
            _alone: alone,
        };
        cluster.configure(settings);
        let formatted = cluster
            .java("nn", NAMENODE, "format.log")
            .args(["-format", "-force", "-nonInteractive"])
            .status();
        assert!(formatted.unwrap().success(), "{}", cluster.log("format.log"));
        cluster.start_namenode();
        (0..datanodes).for_each(|at| cluster.start_datanode(at));
        cluster.wait_ready();
        Some(cluster)
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let core = [("fs.defaultFS", format!("hdfs://{}", self.namenode()))];
        let root = self.directory.path().display();
        let mut common: BTreeMap<&str, String> = [
            ("dfs.replication", self.ports.len().min(3).to_string()),
            ("dfs.namenode.name.dir", format!("file://{root}/name")),
            ("dfs.namenode.http-address", format!("127.0.0.1:{}", self.http)),
            ("dfs.namenode.fs-limits.min-block-size", "4096".into()),
            ("dfs.namenode.safemode.extension", "0".into()),
            // A DataNode that is gone is found to be so within some seconds.
            ("dfs.heartbeat.interval", "1".into()),
            ("dfs.namenode.heartbeat.recheck-interval", "1000".into()),
            ("dfs.datanode.hostname", "127.0.0.1".into()),
        ]
        .into();
        common.extend(settings.iter().map(|(key, value)| (*key, value.to_string())));
        self.write_conf("nn", &core, &common);
        // What the agents read.
        self.write_conf("client", &core, &BTreeMap::new());
        for (at, ports) in self.ports.iter().enumerate() {
            let mut own = common.clone();
            own.insert("dfs.datanode.data.dir", format!("file://{root}/data{at}"));
            own.insert("dfs.datanode.address", format!("127.0.0.1:{}", ports.data));
            own.insert("dfs.datanode.http.address", format!("127.0.0.1:{}", ports.http));
            own.insert("dfs.datanode.ipc.address", format!("127.0.0.1:{}", ports.ipc));
            self.write_conf(&format!("dn{at}"), &core, &own);
        }
    }

    fn write_conf(&self, name: &str, core: &[(&str, String)], site: &BTreeMap<&str, String>) {
        let directory = self.directory.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        let xml = |pairs: &mut dyn Iterator<Item = (&str, &String)>| {
            let inner: String = pairs
                .map(|(name, value)| {
                    format!("<property><name>{name}</name><value>{value}</value></property>\n")
                })
                .collect();
            format!("<?xml version=\"1.0\"?>\n<configuration>\n{inner}</configuration>\n")
        };
        let core = xml(&mut core.iter().map(|(name, value)| (*name, value)));
        fs::write(directory.join("core-site.xml"), core).unwrap();
        let site = xml(&mut site.iter().map(|(name, value)| (*name, value)));
        fs::write(directory.join("hdfs-site.xml"), site).unwrap();
        fs::write(directory.join("log4j.properties"), LOG4J).unwrap();
    }

    fn java(&self, conf: &str, class: &str, log: &str) -> Command {
        let root = self.directory.path();
        let log = File::options().create(true).append(true).open(root.join(log)).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dhadoop.home.dir={}", root.display()));
        command.args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp"]);
        command.arg(format!("{}:{}/*", root.join(conf).display(), self.libraries.display()));
        command.arg(class).env("HADOOP_USER_NAME", "root");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// What a server wrote to its log.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// The NameNode's `host:port`.
    pub fn namenode(&self) -> String {
        format!("127.0.0.1:{}", self.rpc)
    }

    /// A directory with the client's `core-site.xml`.
    pub fn conf(&self) -> PathBuf {
        self.directory.path().join("client")
    }

    pub fn start_namenode(&mut self) {
        self.namenode = Some(self.java("nn", NAMENODE, "nn.log").spawn().unwrap());
    }

    pub fn start_datanode(&mut self, at: usize) {
        self.datanodes[at] =
            Some(self.java(&format!("dn{at}"), DATANODE, &format!("dn{at}.log")).spawn().unwrap());
    }

    /// Kills the NameNode as the kernel would.
    pub fn kill_namenode(&mut self) {
        end(&mut self.namenode);
    }

    /// Kills a DataNode as the kernel would.
    pub fn kill_datanode(&mut self, at: usize) {
        end(&mut self.datanodes[at]);
    }

    /// Waits until all DataNodes that run are known, and files can be written.
    #[track_caller]
    pub fn wait_ready(&self) {
        let wanted = self.datanodes.iter().flatten().count();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said =
                self.http("GET", "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo").map(|(_, body)| body);
            let said = said.map(|body| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
            let live = said.lines().find(|line| line.contains("\"LiveNodes\"")).unwrap_or_default();
            let is_safe = said.contains("\"Safemode\" : \"\"");
            if is_safe && live.matches("xferaddr").count() >= wanted {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {said}\n{}", self.log("nn.log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs `hdfs dfsadmin`.
    #[track_caller]
    pub fn admin(&self, arguments: &[&str]) {
        let class = "org.apache.hadoop.hdfs.tools.DFSAdmin";
        let status = self.java("nn", class, "admin.log").args(arguments).status().unwrap();
        assert!(status.success(), "{arguments:?}: {}", self.log("admin.log"));
    }

    /// A call of WebHDFS as root, who is above permissions. `query` begins with the operation's name.
    #[track_caller]
    pub fn web(&self, method: &str, path: &str, query: &str) -> (u16, Vec<u8>) {
        let target = format!("/webhdfs/v1{}?op={query}&user.name=root", encoded(path));
        self.http(method, &target).unwrap_or_else(|| panic!("no answer to {target}: {}", self.log("nn.log")))
    }

    /// Makes a directory with these permissions, in octal.
    #[track_caller]
    pub fn mkdir(&self, path: &str, permission: &str) {
        let (status, body) = self.web("PUT", path, &format!("MKDIRS&permission={permission}"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let (status, _) = self.web("PUT", path, &format!("SETPERMISSION&permission={permission}"));
        assert_eq!(status, 200);
    }

    /// All files below `path`, by name.
    #[track_caller]
    pub fn files(&self, path: &str) -> Vec<Entry> {
        let mut files = Vec::new();
        let mut left = vec![path.to_string()];
        while let Some(path) = left.pop() {
            let (status, body) = self.web("GET", &path, "LISTSTATUS");
            if status == 404 {
                continue;
            }
            let said = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(status, 200, "{said}");
            let json: serde_json::Value = serde_json::from_str(&said).unwrap();
            for one in json["FileStatuses"]["FileStatus"].as_array().unwrap() {
                let name = one["pathSuffix"].as_str().unwrap();
                let path = if name.is_empty() {
                    path.clone()
                } else {
                    format!("{}/{name}", path.trim_end_matches('/'))
                };
                match one["type"].as_str().unwrap() {
                    "DIRECTORY" => left.push(path),
                    _ => {
                        let length = one["length"].as_u64().unwrap();
                        files.push(Entry { path, length, is_directory: false });
                    }
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// A file's bytes, as a Java client reads them.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        let target = format!("/webhdfs/v1{}?op=OPEN&user.name=root", encoded(path));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = match self.http("GET", &target) {
                Some((200, body)) => return body,
                Some((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
                // The NameNode sends a reader to a DataNode that was killed, for as long as it does not know.
                None => "no answer".to_string(),
            };
            assert!(Instant::now() < deadline, "{path}: {said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Status and body of a request to the NameNode, redirects followed; `None` while nobody answers.
    fn http(&self, method: &str, target: &str) -> Option<(u16, Vec<u8>)> {
        let (mut port, mut target) = (self.http, target.to_string());
        for _ in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // Of HTTP 1.0, so that no answer comes in chunks.
            write!(
                stream,
                "{method} {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"
            )
            .ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok()?;
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
            let location = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("location").then(|| value.trim().to_string())
            });
            match location.filter(|_| status == 307) {
                None => return Some((status, answer[end + 4..].to_vec())),
                Some(location) => {
                    let rest = location.strip_prefix("http://")?;
                    let (host, path) = rest.split_at(rest.find('/')?);
                    port = host.rsplit(':').next()?.parse().ok()?;
                    target = path.to_string();
                }
            }
        }
        None
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.namenode);
        self.datanodes.iter_mut().for_each(end);
        if std::thread::panicking() {
            for name in ["nn.log", "dn0.log"] {
                let log = self.log(name);
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                eprintln!("---- {name}");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

fn end(server: &mut Option<Child>) {
    if let Some(mut server) = server.take() {
        // It may have ended by itself.
        let _ended = server.kill();
        let _reaped = server.wait();
    }
}

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
