//! A NameNode and DataNodes of Hadoop, each a Java machine of its own that a test can kill, on free ports and in a temporary
//! directory. A test borrows them ([`loan`]); they end with the process at the latest, however that ends.
//!
//! Of Hadoop 3.4, or with `FLUMEN_HADOOP=2.10` of that. Java and the jars are those of [`maven`](super::maven).

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

#[path = "hadoop/guard.rs"]
mod guard;
#[path = "hadoop/loan.rs"]
mod loan;
#[path = "hadoop/web.rs"]
mod web;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::guard::Guard;
pub use self::loan::Loan;
pub use self::web::Entry;
use super::kerberos::Kdc;
use super::maven;
use super::ports::free_port;

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(300);

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSHAAdmin";
const SHELL: &str = "org.apache.hadoop.fs.FsShell";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

const LOG4J: &str = "log4j.rootLogger=INFO,console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n\
                     log4j.appender.console.target=System.err\nlog4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
                     log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n";

/// Hadoop 2.10 is wanted.
pub fn is_old() -> bool {
    match std::env::var("FLUMEN_HADOOP").as_deref() {
        Ok("2.10") => true,
        Ok(other) => panic!("FLUMEN_HADOOP={other}: there is 2.10, and 3.4 without it"),
        Err(_) => false,
    }
}

/// The jars, or `None` with a word of why the test is skipped.
fn libraries() -> Option<PathBuf> {
    let (pom, name) = match is_old() {
        true => ("pom-2.10.xml", "hadoop-2.10.2"),
        false => ("pom.xml", "hadoop-3.4.2"),
    };
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/hadoop").join(pom);
    match maven::libraries(&pom, &Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)) {
        Ok(libraries) => Some(libraries),
        Err(why) => {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
            println!("skipped: {why}");
            None
        }
    }
}

/// The name of the service that two NameNodes are.
pub const SERVICE: &str = "flumen-ns";

/// Who may be the user `hdfs` of a cluster with Kerberos.
const HDFS: &str = "hdfs/localhost";
const WEB: &str = "HTTP/localhost";

/// A NameNode's ports.
#[derive(Clone, Copy)]
struct Addresses {
    rpc: u16,
    http: u16,
}

/// The servers.
pub struct Cluster {
    folder: PathBuf,
    libraries: PathBuf,
    /// One, or the two of a name service.
    addresses: Vec<Addresses>,
    /// The one that serves.
    active: usize,
    /// Further words for every Java machine.
    words: Vec<String>,
    namenodes: Vec<Option<Child>>,
    datanodes: Vec<Option<Child>>,
    /// How long each DataNode's log was when it was started last.
    logs_from: Vec<usize>,
    // Last: it removes the folder.
    guard: Guard,
}

impl Cluster {
    /// A NameNode with so many DataNodes, ready for files; `None`: skipped.
    /// Other tests may have used it before, and left nothing in it.
    pub fn start(datanodes: usize) -> Option<Loan> {
        Loan::shared(datanodes)
    }

    fn plain(datanodes: usize) -> Option<Self> {
        let mut cluster = Self::new(1, datanodes)?;
        cluster.configure(&[]);
        cluster.format();
        cluster.start_all();
        Some(cluster)
    }

    /// The name service [`SERVICE`] of two NameNodes, of which the first serves, with a DataNode.
    pub fn start_pair() -> Option<Loan> {
        Loan::own(Self::pair)
    }

    fn pair() -> Option<Self> {
        let mut cluster = Self::new(2, 1)?;
        cluster.configure(&[]);
        cluster.format();
        // As `-bootstrapStandby` would, which wants a running one.
        let (first, second) = (cluster.path("name0"), cluster.path("name1"));
        fs::create_dir_all(second.join("current")).unwrap();
        for entry in fs::read_dir(first.join("current")).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, second.join("current").join(from.file_name().unwrap())).unwrap();
        }
        for at in 0..2 {
            cluster.spawn_namenode(at);
        }
        cluster.start_datanode(0);
        cluster.activate(0);
        cluster.wait_ready();
        Some(cluster)
    }

    /// With Kerberos of this KDC: everything that is said is protected as `protection` says.
    pub fn start_secure(kdc: &Kdc, protection: &str) -> Option<Loan> {
        Loan::own(|| Self::secure(kdc, protection))
    }

    fn secure(kdc: &Kdc, protection: &str) -> Option<Self> {
        for principal in [HDFS, WEB] {
            kdc.add(principal);
        }
        let mut cluster = Self::new(1, 1)?;
        cluster.words = vec![
            format!("-Djava.security.krb5.conf={}", kdc.conf().display()),
            "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED".into(),
        ];
        cluster.protect(kdc, protection);
        cluster.format();
        cluster.start_all();
        Some(cluster)
    }

    /// Ends the servers of a cluster with Kerberos and starts them with another protection.
    pub fn protect_by(&mut self, kdc: &Kdc, protection: &str) {
        self.kill_datanode(0);
        self.kill_namenode();
        self.protect(kdc, protection);
        self.start_all();
    }

    fn protect(&self, kdc: &Kdc, protection: &str) {
        let keytab = kdc.keytab().display().to_string();
        let (hdfs, web) = (kdc.principal(HDFS), kdc.principal(WEB));
        self.configure(&[
            ("hadoop.security.authentication", "kerberos"),
            ("hadoop.security.authorization", "true"),
            ("hadoop.rpc.protection", protection),
            ("hadoop.proxyuser.flume.hosts", "*"),
            ("hadoop.proxyuser.flume.users", "*"),
            ("dfs.data.transfer.protection", protection),
            ("dfs.block.access.token.enable", "true"),
            // Who somebody is, is looked at, and not what he may do.
            ("dfs.permissions.enabled", "false"),
            ("dfs.namenode.kerberos.principal", &hdfs),
            ("dfs.namenode.keytab.file", &keytab),
            ("dfs.datanode.kerberos.principal", &hdfs),
            ("dfs.datanode.keytab.file", &keytab),
            ("dfs.web.authentication.kerberos.principal", &web),
            ("dfs.web.authentication.kerberos.keytab", &keytab),
            // Or the DataNode wants ports that root alone has, and certificates.
            ("ignore.secure.ports.for.testing", "true"),
        ]);
    }

    fn new(namenodes: usize, datanodes: usize) -> Option<Self> {
        let libraries = libraries()?;
        let folder = tempfile::Builder::new().prefix("flumen-hadoop-").tempdir().unwrap().keep();
        Some(Self {
            guard: Guard::of(&folder),
            folder,
            libraries,
            addresses: (0..namenodes).map(|_| Addresses { rpc: free_port(), http: free_port() }).collect(),
            active: 0,
            words: Vec::new(),
            namenodes: (0..namenodes).map(|_| None).collect(),
            datanodes: (0..datanodes).map(|_| None).collect(),
            logs_from: vec![0; datanodes],
        })
    }

    fn format(&self) {
        let words = ["-format", "-force", "-nonInteractive"];
        let formatted = self.java("nn0", NAMENODE, "format.log").args(words).status();
        assert!(formatted.unwrap().success(), "{}", self.log("format.log"));
    }

    fn start_all(&mut self) {
        self.start_namenode();
        (0..self.datanodes.len()).for_each(|at| self.start_datanode(at));
        self.wait_ready();
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let is_service = self.addresses.len() > 1;
        let default = match is_service {
            true => format!("hdfs://{SERVICE}"),
            false => format!("hdfs://{}", self.namenode()),
        };
        let mut core: BTreeMap<String, String> = [("fs.defaultFS".to_string(), default)].into();
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in settings {
            let file = if key.starts_with("hadoop.") { &mut core } else { &mut given };
            file.insert(key.to_string(), value.to_string());
        }
        if is_service {
            given.insert("dfs.nameservices".into(), SERVICE.into());
            given.insert(format!("dfs.ha.namenodes.{SERVICE}"), "nn0,nn1".into());
            let provider = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
            given.insert(format!("dfs.client.failover.proxy.provider.{SERVICE}"), provider.into());
        }
        for (at, Addresses { rpc, http }) in self.addresses.iter().enumerate().filter(|_| is_service) {
            given.insert(format!("dfs.namenode.rpc-address.{SERVICE}.nn{at}"), format!("127.0.0.1:{rpc}"));
            given.insert(format!("dfs.namenode.http-address.{SERVICE}.nn{at}"), format!("127.0.0.1:{http}"));
        }
        // What the agents read.
        self.write_conf("client", &core, &given);
        let root = self.folder.display();
        let mut common: BTreeMap<String, String> = [
            ("dfs.replication", self.datanodes.len().min(3).to_string()),
            ("dfs.namenode.fs-limits.min-block-size", "4096".into()),
            ("dfs.namenode.safemode.extension", "0".into()),
            // A DataNode that is gone is found to be so within some seconds.
            ("dfs.heartbeat.interval", "1".into()),
            ("dfs.namenode.heartbeat.recheck-interval", "1000".into()),
            ("dfs.datanode.hostname", "127.0.0.1".into()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        common.extend(given);
        for (at, Addresses { http, .. }) in self.addresses.iter().enumerate() {
            let mut own = common.clone();
            own.insert("dfs.namenode.name.dir".into(), format!("file://{root}/name{at}"));
            if is_service {
                own.insert("dfs.ha.namenode.id".into(), format!("nn{at}"));
                own.insert("dfs.namenode.shared.edits.dir".into(), format!("file://{root}/edits"));
            } else {
                own.insert("dfs.namenode.http-address".into(), format!("127.0.0.1:{http}"));
            }
            self.write_conf(&format!("nn{at}"), &core, &own);
        }
        for at in 0..self.datanodes.len() {
            let mut own = common.clone();
            own.insert("dfs.datanode.data.dir".into(), format!("file://{root}/data{at}"));
            // Each takes ports that are free when it starts: one chosen before may be somebody else's by then.
            for address in ["address", "http.address", "ipc.address"] {
                own.insert(format!("dfs.datanode.{address}"), "127.0.0.1:0".into());
            }
            self.write_conf(&format!("dn{at}"), &core, &own);
        }
    }

    fn write_conf(&self, name: &str, core: &BTreeMap<String, String>, site: &BTreeMap<String, String>) {
        let directory = self.path(name);
        fs::create_dir_all(&directory).unwrap();
        for (name, pairs) in [("core-site.xml", core), ("hdfs-site.xml", site)] {
            let property = |(name, value): (&String, &String)| {
                format!("<property><name>{name}</name><value>{value}</value></property>\n")
            };
            let inner: String = pairs.iter().map(property).collect();
            let text = format!("<?xml version=\"1.0\"?>\n<configuration>\n{inner}</configuration>\n");
            fs::write(directory.join(name), text).unwrap();
        }
        fs::write(directory.join("log4j.properties"), LOG4J).unwrap();
        // Folders that Hadoop 2 looks for beside its classes, and does not have in its jars.
        for server in ["hdfs", "datanode"].iter().filter(|_| is_old()) {
            fs::create_dir_all(directory.join("webapps").join(server).join("WEB-INF")).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn java(&self, conf: &str, class: &str, log: &str) -> Command {
        let log = File::options().create(true).append(true).open(self.path(log)).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dhadoop.home.dir={}", self.folder.display())).args(&self.words);
        command.args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp"]);
        command.arg(format!("{}:{}/*", self.path(conf).display(), self.libraries.display()));
        command.arg(class).env("HADOOP_USER_NAME", "root");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// What a server wrote to its log.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The first NameNode's `host:port`.
    pub fn namenode(&self) -> String {
        format!("127.0.0.1:{}", self.addresses[0].rpc)
    }

    /// A directory with the client's `core-site.xml` and `hdfs-site.xml`.
    pub fn conf(&self) -> PathBuf {
        self.path("client")
    }

    /// Starts the NameNode that serves.
    pub fn start_namenode(&mut self) {
        self.spawn_namenode(self.active);
    }

    /// Starts one of two NameNodes, which stands by.
    pub fn spawn_namenode(&mut self, at: usize) {
        let server = self.java(&format!("nn{at}"), NAMENODE, &format!("nn{at}.log")).spawn().unwrap();
        self.guard.watch(&server);
        self.namenodes[at] = Some(server);
    }

    /// Has this one of two NameNodes serve from now on; the other one stands by, if it runs.
    #[track_caller]
    pub fn activate(&mut self, at: usize) {
        let other = 1 - at;
        if self.active != at && self.namenodes[other].is_some() {
            self.ha_admin(&["-transitionToStandby", &format!("nn{other}")]);
        }
        // The other one does not answer where it was killed, which is no reason to wait.
        self.ha_admin(&["-transitionToActive", "--forceactive", &format!("nn{at}")]);
        self.active = at;
    }

    /// It fails until the NameNode listens.
    #[track_caller]
    fn ha_admin(&self, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while !self.java("nn0", ADMIN, "admin.log").args(words).status().unwrap().success() {
            assert!(Instant::now() < deadline, "{words:?}: {}", self.log("admin.log"));
        }
    }

    /// What Java's own client of the file system prints, as the user of this ticket cache.
    #[track_caller]
    pub fn shell(&self, kdc: &Kdc, words: &[&str]) -> String {
        let mut command = self.java("client", SHELL, "shell.log");
        let cache = kdc.ticket(HDFS);
        command.args(words).env("KRB5CCNAME", cache).stdout(Stdio::piped());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", self.log("shell.log"));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn start_datanode(&mut self, at: usize) {
        let log = format!("dn{at}.log");
        self.logs_from[at] = self.log(&log).len();
        let server = self.java(&format!("dn{at}"), DATANODE, &log).spawn().unwrap();
        self.guard.watch(&server);
        self.datanodes[at] = Some(server);
    }

    /// Kills the NameNode that serves as the kernel would.
    pub fn kill_namenode(&mut self) {
        end(&mut self.namenodes[self.active]);
    }

    /// Kills a DataNode as the kernel would.
    pub fn kill_datanode(&mut self, at: usize) {
        end(&mut self.datanodes[at]);
    }

    /// Lets the NameNode that serves be as one that hangs: it takes what is sent, and says nothing.
    pub fn pause_namenode(&self) {
        signal(&self.namenodes[self.active], "STOP");
    }

    pub fn resume_namenode(&self) {
        signal(&self.namenodes[self.active], "CONT");
    }

    /// The same of a DataNode.
    pub fn pause_datanode(&self, at: usize) {
        signal(&self.datanodes[at], "STOP");
    }

    pub fn resume_datanode(&self, at: usize) {
        signal(&self.datanodes[at], "CONT");
    }

    /// Starts the servers that do not run.
    fn revive(&mut self) {
        for at in (0..self.namenodes.len()).filter(|at| self.namenodes[*at].is_none()).collect::<Vec<_>>() {
            self.spawn_namenode(at);
        }
        for at in (0..self.datanodes.len()).filter(|at| self.datanodes[*at].is_none()).collect::<Vec<_>>() {
            self.start_datanode(at);
        }
    }

    /// Whether the DataNodes that run have told the NameNode where they are since they were started: it knows those for a while
    /// that were killed.
    fn are_registered(&self) -> bool {
        let running = (0..self.datanodes.len()).filter(|at| self.datanodes[*at].is_some());
        running
            .map(|at| self.log(&format!("dn{at}.log"))[self.logs_from[at]..].to_string())
            .all(|log| log.contains("successfully registered with NN"))
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
            if is_safe && live.matches("xferaddr").count() >= wanted && self.are_registered() {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {said}\n{}", self.log("nn0.log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs `hdfs dfsadmin`.
    #[track_caller]
    pub fn admin(&self, arguments: &[&str]) {
        self.tool("org.apache.hadoop.hdfs.tools.DFSAdmin", arguments);
    }

    /// Runs `hdfs ec`.
    #[track_caller]
    pub fn coding(&self, arguments: &[&str]) {
        self.tool("org.apache.hadoop.hdfs.tools.ECAdmin", arguments);
    }

    #[track_caller]
    fn tool(&self, class: &str, arguments: &[&str]) {
        let status = self.java("nn0", class, "admin.log").args(arguments).status().unwrap();
        assert!(status.success(), "{arguments:?}: {}", self.log("admin.log"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.namenodes.iter_mut().for_each(end);
        self.datanodes.iter_mut().for_each(end);
        if std::thread::panicking() {
            for name in ["nn0.log", "nn1.log", "dn0.log"] {
                let log = self.log(name);
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                eprintln!("---- {name}");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

#[track_caller]
fn signal(server: &Option<Child>, name: &str) {
    let pid = server.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

fn end(server: &mut Option<Child>) {
    if let Some(mut server) = server.take() {
        // It may have ended by itself.
        let _ended = server.kill();
        let _reaped = server.wait();
    }
}
