//! The two programs: Flume from Maven Central under Java, and the built `flumen`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Flume, ready to run.
pub struct Flume {
    libraries: PathBuf,
    version: Version,
}

/// A version of Flume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.11.0, today's.
    Today,
    /// 1.9.0, which most sites have, and whose transport is another.
    #[allow(dead_code, reason = "not every suite has it")]
    Old,
}

impl Version {
    fn project(self) -> PathBuf {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        match self {
            Self::Today => tests.join("differential/flume"),
            Self::Old => tests.join("wire/flume-1.9"),
        }
    }

    fn target(self) -> PathBuf {
        let name = match self {
            Self::Today => "flume-1.11",
            Self::Old => "flume-1.9",
        };
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    }
}

/// Flume, or nothing where it cannot be had; then the test is skipped, or fails where peers are required.
pub fn found(version: Version) -> Option<Flume> {
    // Two tests must not have Maven write the same files.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match ready(version) {
        Ok(flume) => Some(flume),
        Err(why) => {
            skipped(&why);
            None
        }
    }
}

/// Says that something is left out, which fails where peers are required.
pub fn skipped(why: &str) {
    let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
    println!("skipped: {why}");
}

/// Has Maven fetch Flume unless that was done before, or says why that cannot be done here.
fn ready(version: Version) -> Result<Flume, String> {
    for (program, word) in [("java", "-version"), ("mvn", "--version")] {
        let mut command = Command::new(program);
        command.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(format!("there is no {program} in PATH"));
        }
    }
    let pom = version.project().join("pom.xml");
    let wanted = std::fs::read(&pom).map_err(|error| format!("{}: {error}", pom.display()))?;
    let target = version.target();
    let (libraries, stamp) = (target.join("lib"), target.join("pom.xml"));
    if std::fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(Flume { libraries, version });
    }
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&pom)
        .arg("package")
        .arg(format!("-Doutput={}", libraries.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it does not say why");
        return Err(format!("Maven cannot get Flume: {why}"));
    }
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(Flume { libraries, version })
}

impl Flume {
    /// Java with Flume's classes.
    pub fn java(&self) -> Command {
        let mut command = Command::new("java");
        // Less to compile, and no threads for it, on a machine that is busy.
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"]);
        let project = self.version.project();
        command.arg(format!("-Dlog4j2.configurationFile={}", project.join("log4j2.xml").display()));
        command.arg(format!("-Dlog4j.configuration=file:{}", project.join("log4j.properties").display()));
        command.arg("-cp").arg(format!("{}/*", self.libraries.display()));
        command
    }

    /// Its agent `a1` of `flume.conf` in `directory`.
    pub fn agent(&self, directory: &Path, definitions: &[(&str, &str)]) -> Command {
        let mut command = self.java();
        command.args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=@MONITORING@"]);
        command.args(definitions.iter().map(|(key, value)| format!("-D{key}={value}")));
        // Java asks no environment for it.
        command.arg(format!("-Duser.home={}", directory.display()));
        command.args([
            "org.apache.flume.node.Application",
            "-n",
            "a1",
            "--no-reload-conf",
            "-f",
            "flume.conf",
        ]);
        prepared(command, directory)
    }
}

/// Flumen's agent `a1` of `flume.conf` in `directory`.
pub fn flumen(directory: &Path, definitions: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
    command.args(["agent", "-n", "a1", "--no-reload-conf", "-f", "flume.conf"]);
    command.args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=@MONITORING@"]);
    command.args(definitions.iter().map(|(key, value)| format!("-D{key}={value}")));
    prepared(command, directory)
}

/// The same surroundings for both.
fn prepared(mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory).env("TZ", "Asia/Shanghai").env("LC_ALL", "C.UTF-8");
    command.env("HOME", directory).env("DIFFERENTIAL_VARIABLE", "from the environment");
    command
}
