//! A NameNode and a DataNode of Hadoop, started for a bench and ended with it, on free ports and below the bench's directory.
//!
//! ```text
//!   mvn package     target/bench-hadoop/lib/     Hadoop's shaded jars, from Maven Central (tests/support/hadoop/pom.xml)
//!   home/name       the NameNode's image and edits
//!   home/data       the DataNode's blocks: files `blk_<number>`, each beside its checksums `.meta`
//!   /jmx            what the NameNode counts, here a second old at most
//! ```
//!
//! Blocks are looked at as files, which costs the servers nothing: what a client has flushed is in the file of its block, for
//! every client alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Context, Failure};
use crate::flume::{runs, skipped};
use crate::options::Options;
use crate::process::{Agent, free_port};

/// Options that a command with Hadoop in it has.
pub const OPTIONS: [&str; 1] = ["hadoop"];

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

const LOG4J: &str = "log4j.rootLogger=WARN,console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n\
                     log4j.appender.console.target=System.err\nlog4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
                     log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n";

/// How long what JMX says stays as it is.
const JMX_AGE: Duration = Duration::from_millis(1200);
const START_MAX: Duration = Duration::from_secs(90);

/// Hadoop's jars.
pub struct Libraries(PathBuf);

impl Libraries {
    /// Has Maven fetch them, or says why they cannot be had here. `--hadoop` is where they are put.
    pub fn get(options: &Options) -> Result<Result<Self, String>, Failure> {
        let target: PathBuf = options.get("hadoop", PathBuf::from("target/bench-hadoop"))?;
        for (program, word) in [("java", "-version"), ("mvn", "--version")] {
            if !runs(program, word) {
                return skipped(format!("no {program} in PATH"));
            }
        }
        std::fs::create_dir_all(&target).context(|| format!("create {}", target.display()))?;
        let lib = target.canonicalize().context(|| format!("look at {}", target.display()))?.join("lib");
        eprintln!("getting Hadoop with Maven");
        let got = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "tests/support/hadoop/pom.xml", "package"])
            .arg(format!("-Doutput={}", lib.display()))
            .stdin(Stdio::null())
            .output()
            .context(|| "run mvn".into())?;
        if !got.status.success() {
            let said = String::from_utf8_lossy(&got.stdout);
            let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it did not say why");
            return skipped(format!("Maven cannot get Hadoop: {why}"));
        }
        Ok(Ok(Self(lib)))
    }

    /// What a Java client of HDFS needs, as a class path.
    pub fn client(&self) -> Result<String, Failure> {
        let what = || format!("list {}", self.0.display());
        let mut jars = Vec::new();
        for entry in std::fs::read_dir(&self.0).context(what)? {
            let name = entry.context(what)?.file_name();
            let name = name.to_string_lossy();
            let kinds = ["hadoop-client-api", "hadoop-client-runtime", "commons-logging", "snappy-java"];
            if kinds.iter().any(|kind| name.starts_with(kind)) {
                jars.push(self.0.join(&*name).display().to_string());
            }
        }
        jars.sort();
        Ok(jars.join(":"))
    }
}

/// The servers.
pub struct Hadoop {
    home: PathBuf,
    lib: PathBuf,
    rpc: u16,
    http: u16,
    /// Alive for as long as this value.
    servers: Vec<Agent>,
}

impl Hadoop {
    /// Starts them below `home`, which exists and is empty, and waits until files can be written.
    pub fn start(libraries: &Libraries, home: &Path) -> Result<Self, Failure> {
        let home = home.canonicalize().context(|| format!("look at {}", home.display()))?;
        let mut hadoop = Self {
            home,
            lib: libraries.0.clone(),
            rpc: free_port()?,
            http: free_port()?,
            servers: Vec::new(),
        };
        hadoop.configure()?;
        let formatted = hadoop.java(NAMENODE).args(["-format", "-force", "-nonInteractive"]).output();
        let formatted = formatted.context(|| "run java".into())?;
        if !formatted.status.success() {
            let said = String::from_utf8_lossy(&formatted.stderr).into_owned();
            return Err(Failure(format!("the NameNode cannot be formatted: {said}")));
        }
        for (class, log) in [(NAMENODE, "namenode.log"), (DATANODE, "datanode.log")] {
            let server = Agent::spawn(hadoop.java(class), hadoop.home.join(log))?;
            hadoop.servers.push(server);
        }
        let http = hadoop.http;
        let is_ready = || {
            let said = get(http, "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo").unwrap_or_default();
            said.contains("xferaddr") && said.contains("\"Safemode\" : \"\"")
        };
        if let Some(datanode) = hadoop.servers.last_mut() {
            datanode.wait_until("a DataNode that is known", START_MAX, is_ready)?;
        }
        Ok(hadoop)
    }

    fn configure(&self) -> Result<(), Failure> {
        let (conf, home) = (self.home.join("conf"), self.home.display());
        std::fs::create_dir_all(&conf).context(|| format!("create {}", conf.display()))?;
        let local = |port: u16| format!("127.0.0.1:{port}");
        let core = [("fs.defaultFS", self.url())];
        let site = [
            ("dfs.namenode.name.dir", format!("file://{home}/name")),
            ("dfs.datanode.data.dir", format!("file://{home}/data")),
            ("dfs.namenode.http-address", local(self.http)),
            ("dfs.datanode.address", local(free_port()?)),
            ("dfs.datanode.http.address", local(free_port()?)),
            ("dfs.datanode.ipc.address", local(free_port()?)),
            ("dfs.datanode.hostname", "127.0.0.1".into()),
            ("dfs.namenode.safemode.extension", "0".into()),
            ("dfs.permissions.enabled", "false".into()),
            ("dfs.replication", "1".into()),
            ("dfs.heartbeat.interval", "1".into()),
        ];
        for (name, text) in [
            ("core-site.xml", xml(&core)),
            ("hdfs-site.xml", xml(&site)),
            ("log4j.properties", LOG4J.to_string()),
            ("hadoop-metrics2.properties", "*.period=1\n".to_string()),
        ] {
            let path = conf.join(name);
            std::fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "--add-opens", "java.base/java.lang=ALL-UNNAMED"]);
        command.arg(format!("-Dhadoop.home.dir={}", self.home.display())).arg("-cp");
        command.arg(format!("{}/conf:{}/*", self.home.display(), self.lib.display())).arg(class);
        command
    }

    /// `hdfs://` with the NameNode's host and port.
    pub fn url(&self) -> String {
        format!("hdfs://127.0.0.1:{}", self.rpc)
    }

    /// How often a client asked the NameNode to note a synced length, since it was started.
    pub fn syncs(&self) -> Result<u64, Failure> {
        std::thread::sleep(JMX_AGE);
        let query = format!("/jmx?qry=Hadoop:service=NameNode,name=RpcDetailedActivityForPort{}", self.rpc);
        let said = get(self.http, &query).ok_or_else(|| Failure("the NameNode does not answer".into()))?;
        let json: serde_json::Value = serde_json::from_str(&said).context(|| "read JMX".into())?;
        let counted = json["beans"][0].as_object();
        let counted = counted.ok_or_else(|| Failure("the NameNode does not count its calls".into()))?;
        // Not there before the first.
        Ok(counted.get("FsyncNumOps").and_then(serde_json::Value::as_u64).unwrap_or(0))
    }

    /// The files of all blocks, and their bytes.
    pub fn blocks(&self) -> BTreeMap<OsString, u64> {
        let mut blocks = BTreeMap::new();
        let mut left = vec![self.home.join("data")];
        while let Some(path) = left.pop() {
            // What is not there any more was moved, and is found at the next look.
            for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let text = name.to_string_lossy();
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                    Ok(metadata) if text.starts_with("blk_") && !text.ends_with(".meta") => {
                        // In two places while it is moved.
                        blocks.insert(name, metadata.len());
                    }
                    _ => {}
                }
            }
        }
        blocks
    }

    /// Bytes of the blocks that are not in `known`.
    pub fn bytes_beside(&self, known: &BTreeSet<OsString>) -> u64 {
        self.blocks().into_iter().filter(|(name, _)| !known.contains(name)).map(|(_, bytes)| bytes).sum()
    }
}

fn xml(pairs: &[(&str, String)]) -> String {
    let property = |(name, value): &(&str, String)| {
        format!("<property><name>{name}</name><value>{value}</value></property>\n")
    };
    let inner: String = pairs.iter().map(property).collect();
    format!("<?xml version=\"1.0\"?>\n<configuration>\n{inner}</configuration>\n")
}

/// The body of an answer; `None` while there is none.
fn get(port: u16, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // Of HTTP 1.0, so that no answer comes in chunks.
    write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_string())
}
