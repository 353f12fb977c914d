//! The two programs: Flume from Maven Central under Java, and the built `flumen`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Flume, ready to run.
pub struct Flume {
    libraries: PathBuf,
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/flume")
}

/// Has Maven fetch Flume unless that was done before, or says why that cannot be done here.
pub fn ready() -> Result<Flume, String> {
    for (program, word) in [("java", "-version"), ("mvn", "--version")] {
        let mut command = Command::new(program);
        command.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(format!("there is no {program} in PATH"));
        }
    }
    let pom = project().join("pom.xml");
    let wanted = std::fs::read(&pom).map_err(|error| format!("{}: {error}", pom.display()))?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flume-1.11");
    let (libraries, stamp) = (target.join("lib"), target.join("pom.xml"));
    if std::fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(Flume { libraries });
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
    Ok(Flume { libraries })
}

impl Flume {
    /// Its agent `a1` of `flume.conf` in `directory`.
    pub fn agent(&self, directory: &Path, definitions: &[(&str, &str)]) -> Command {
        let mut command = Command::new("java");
        // Less to compile, and no threads for it, on a machine that is busy.
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", project().join("log4j2.xml").display()));
        command.args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=@MONITORING@"]);
        command.args(definitions.iter().map(|(key, value)| format!("-D{key}={value}")));
        // Java asks no environment for it.
        command.arg(format!("-Duser.home={}", directory.display()));
        command.arg("-cp").arg(format!("{}/*", self.libraries.display()));
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
