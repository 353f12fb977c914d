//! One broker, which is its own controller, from Maven Central.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Context, Failure};
use crate::flume::runs;
use crate::process::free_port;

/// What Kafka's own launcher gives it.
pub const JAVA: &str = "-Xmx1g -Xms1g";
/// How long it may take to start.
const START_MAX: Duration = Duration::from_secs(120);

/// A broker that runs; killed when dropped.
pub struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    /// Has Maven fetch Kafka into `target` and starts it on new files below `home`.
    pub fn start(target: &Path, home: &Path, java: &str) -> Result<Self, Failure> {
        for (program, word) in [("java", "-version"), ("mvn", "--version")] {
            if !runs(program, word) {
                return Err(Failure(format!("no {program} in PATH")));
            }
        }
        std::fs::create_dir_all(target).context(|| format!("create {}", target.display()))?;
        let libraries =
            target.canonicalize().context(|| format!("look at {}", target.display()))?.join("lib");
        eprintln!("fetching Kafka with Maven");
        let fetched = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "tests/support/kafka/pom.xml", "package"])
            .arg(format!("-Doutput={}", libraries.display()))
            .stdin(Stdio::null())
            .output()
            .context(|| "run mvn".into())?;
        if !fetched.status.success() {
            return Err(Failure(format!(
                "Maven cannot get Kafka: {}",
                String::from_utf8_lossy(&fetched.stdout)
            )));
        }
        let (port, controller) = (free_port()?, free_port()?);
        let (properties, logging) = (home.join("server.properties"), home.join("log4j.properties"));
        let logs = home.join("logs");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\nnum.partitions=1\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.cleaner.enable=false\n",
            logs.display()
        );
        write(&properties, &text)?;
        write(
            &logging,
            "log4j.rootLogger=INFO, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n\n",
        )?;
        let kafka = |class: &str| {
            let mut command = Command::new("java");
            command.args(java.split_whitespace());
            command.arg(format!("-Dlog4j.configuration=file:{}", logging.display()));
            command.arg("-cp").arg(format!("{}/*", libraries.display())).arg(class).stdin(Stdio::null());
            command
        };
        let formatted = kafka("kafka.tools.StorageTool")
            .args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"])
            .arg(&properties)
            .output()
            .context(|| "run java".into())?;
        if !formatted.status.success() {
            return Err(Failure(format!("Kafka: {}", String::from_utf8_lossy(&formatted.stderr))));
        }
        let log = home.join("broker.log");
        let out = File::create(&log).context(|| format!("create {}", log.display()))?;
        let err = out.try_clone().context(|| format!("open {} twice", log.display()))?;
        let child = kafka("kafka.Kafka").arg(&properties).stdout(out).stderr(err).spawn();
        let mut broker = Self { child: child.context(|| "run java".into())?, port };
        broker.wait_until_started(&log)?;
        Ok(broker)
    }

    fn wait_until_started(&mut self, log: &Path) -> Result<(), Failure> {
        let begun = Instant::now();
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        while !said().contains("Kafka Server started") {
            let ended = self.child.try_wait().context(|| "wait for Kafka".into())?;
            if ended.is_some() || begun.elapsed() > START_MAX {
                return Err(Failure(format!("Kafka did not start: {}", said())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// `host:port`.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).context(|| format!("write {}", path.display()))
}
