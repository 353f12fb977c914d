//! A real server of S3's kind, S3Proxy from Maven Central, whose buckets are directories. It checks signatures, takes conditional puts,
//! and ends with the value, also in a panic.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::maven;
use super::ports::free_port;

/// Far above what a start takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// The only bucket, and who may use it.
pub const BUCKET: &str = "bucket";
pub const ID: &str = "s3-id";
pub const SECRET: &str = "s3-secret";

const LOGBACK: &str = "<configuration><appender name=\"OUT\" class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
<pattern>%d %level %logger{1} %msg%n</pattern></encoder></appender><root level=\"WARN\"><appender-ref ref=\"OUT\"/></root>\
</configuration>\n";

/// The server.
pub struct S3Proxy {
    directory: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl S3Proxy {
    /// With an empty bucket; an error says why there is none here.
    pub fn start() -> Result<Self, String> {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/s3proxy/pom.xml");
        let libraries = maven::libraries(&pom, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("s3proxy"))?;
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::create_dir_all(directory.path().join("store").join(BUCKET)).unwrap();
        let conf = directory.path().join("s3proxy.conf");
        let text = format!(
            "s3proxy.authorization=aws-v2-or-v4\ns3proxy.identity={ID}\ns3proxy.credential={SECRET}\n\
             s3proxy.endpoint=http://127.0.0.1:{port}\njclouds.provider=filesystem\njclouds.filesystem.basedir={}\n",
            directory.path().join("store").display()
        );
        fs::write(&conf, text).unwrap();
        let logging = directory.path().join("logback.xml");
        fs::write(&logging, LOGBACK).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlogback.configurationFile={}", logging.display())).arg("-cp");
        command.arg(format!("{}/*", libraries.display())).args(["org.gaul.s3proxy.Main", "--properties"]);
        command.arg(&conf).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = command.spawn().map_err(|error| format!("java: {error}"))?;
        let mut started = Self { directory, port, server };
        started.wait_until_it_listens();
        Ok(started)
    }

    #[track_caller]
    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.server.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "does not listen: {ended:?} {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// For `hdfs.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Keys and bytes of the objects below a folder. An object that goes while this looks is left out.
    pub fn objects(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let bucket = self.directory.path().join("store").join(BUCKET);
        let (mut found, mut left) = (Vec::new(), vec![bucket.join(folder)]);
        while let Some(path) = left.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.flatten().map(|entry| entry.path())),
                Err(_) => found.extend(read(&bucket, &path)),
            }
        }
        found.sort();
        found
    }
}

fn read(bucket: &Path, path: &PathBuf) -> Option<(String, Vec<u8>)> {
    Some((path.strip_prefix(bucket).ok()?.to_str()?.to_string(), fs::read(path).ok()?))
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
