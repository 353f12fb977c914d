//! Apache Flume itself, built by Maven from `bench/flume/pom.xml` and run by Java: its channels and its agent.
//!
//! ```text
//!   mvn package     target/bench-flume/flume-channels.jar   the Java program of `bench/flume`
//!                   target/bench-flume/lib/                 Flume and what it needs, from Maven Central
//!   java -cp …      ChannelBench                            put and take at once through one of Flume's channels
//!                   WireLoad                                Flume's RPC client, as a load for an avro source
//!                   org.apache.flume.node.Application       Flume's agent, as its own launcher starts it
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Failure};
use crate::options::Options;

/// What the Java machine is given where `--java` does not say otherwise: more heap than Flume needs here, and the
/// collector that was fastest for its channels.
pub const JAVA_DEFAULT: &str = "-Xmx2g -XX:+UseParallelGC";

/// Options that a command with Flume in it has.
pub const OPTIONS: [&str; 2] = ["java", "flume"];

/// Flume, ready to run.
pub struct Flume {
    /// Words for the Java machine.
    pub java: Vec<String>,
    class_path: String,
}

impl Flume {
    /// Builds it, or says why it cannot be measured here. `--java` are words for the Java machine, `--flume` is where
    /// Maven puts what it builds.
    pub fn build(options: &Options) -> Result<Result<Self, String>, Failure> {
        let java: String = options.get("java", JAVA_DEFAULT.into())?;
        let target: PathBuf = options.get("flume", PathBuf::from("target/bench-flume"))?;
        for (program, word) in [("java", "-version"), ("mvn", "--version")] {
            if !runs(program, word) {
                return skipped(format!("no {program} in PATH"));
            }
        }
        std::fs::create_dir_all(&target).context(|| format!("create {}", target.display()))?;
        let target = target.canonicalize().context(|| format!("look at {}", target.display()))?;
        eprintln!("building Flume's side with Maven");
        let built = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "bench/flume/pom.xml", "package"])
            .arg(format!("-DbuildDirectory={}", target.display()))
            .stdin(Stdio::null())
            .output()
            .context(|| "run mvn".into())?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stdout);
            let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it did not say why");
            return skipped(format!("Maven cannot build bench/flume: {why}"));
        }
        let class_path = format!("{0}/flume-channels.jar:{0}/lib/*", target.display());
        Ok(Ok(Self { java: java.split_whitespace().map(String::from).collect(), class_path }))
    }

    /// `ChannelBench` with `words`.
    pub fn channels(&self, words: &[String]) -> Command {
        let mut command = self.command("ChannelBench");
        command.args(words);
        command
    }

    /// `WireLoad` with `words`.
    pub fn load(&self, words: &[String]) -> Command {
        let mut command = self.command("WireLoad");
        command.args(words);
        command
    }

    /// The agent `a1` of `conf`.
    pub fn agent(&self, conf: &Path) -> Command {
        let mut command = self.command("org.apache.flume.node.Application");
        command.args(["-n", "a1", "--no-reload-conf", "-f"]).arg(conf);
        command
    }

    /// The same, with further jars in front of Flume's.
    pub fn agent_with(&self, jars: &str, conf: &Path) -> Command {
        let mut command =
            self.command_with(&format!("{jars}:{}", self.class_path), "org.apache.flume.node.Application");
        command.args(["-n", "a1", "--no-reload-conf", "-f"]).arg(conf);
        command
    }

    fn command(&self, class: &str) -> Command {
        self.command_with(&self.class_path, class)
    }

    fn command_with(&self, class_path: &str, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(&self.java).args(["-cp", class_path, class]);
        command
    }
}

/// What is not there is left out, unless somebody relies on it.
pub fn skipped<T>(why: String) -> Result<Result<T, String>, Failure> {
    match std::env::var_os("FLUMEN_REQUIRE_PEERS") {
        Some(one) if one == "1" => Err(Failure(format!("{why}, and FLUMEN_REQUIRE_PEERS is set"))),
        _ => Ok(Err(why)),
    }
}

/// Whether a program is there and answers.
pub fn runs(program: impl AsRef<std::ffi::OsStr>, word: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
