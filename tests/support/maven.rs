//! Java libraries that a test's peer needs, from Maven Central.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Has Maven fetch what `pom` names into `target`, unless that was done before, and says where the jars are; or why that
/// cannot be done here.
pub fn libraries(pom: &Path, target: &Path) -> Result<PathBuf, String> {
    // Two of them would write the same files, of `target` or of Maven's own.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (program, word) in [("java", "-version"), ("mvn", "--version")] {
        let mut command = Command::new(program);
        command.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(format!("there is no {program} in PATH"));
        }
    }
    let wanted = std::fs::read(pom).map_err(|error| format!("{}: {error}", pom.display()))?;
    let (libraries, stamp) = (target.join("lib"), target.join("pom.xml"));
    if std::fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(libraries);
    }
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(pom)
        .arg("package")
        .arg(format!("-Doutput={}", libraries.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it does not say why");
        return Err(format!("Maven cannot get the libraries of {}: {why}", pom.display()));
    }
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(libraries)
}
