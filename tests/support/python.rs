//! A Python with Aliyun's own clients, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The interpreter of an environment with what `tests/support/python/requirements.txt` names, made unless that was done before; or why
/// that cannot be done here. `None`, with a line that says so: it cannot be fetched from PyPI, which is nobody's fault here.
pub fn with_clients() -> Result<Option<PathBuf>, String> {
    // Two tests must not write the same environment.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/python/requirements.txt");
    let wanted_text = fs::read(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let (python, stamp) = (environment.join("bin/python"), environment.join("requirements.txt"));
    if fs::read(&stamp).is_ok_and(|done| done == wanted_text) {
        return Ok(Some(python));
    }
    // What is left of a try that was ended in the middle.
    drop(fs::remove_dir_all(&environment));
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "10",
    ]);
    if let Err(why) = run(pip.arg("-r").arg(&wanted)) {
        println!("skipped: Aliyun's clients cannot be fetched: {why}");
        return Ok(None);
    }
    fs::write(&stamp, wanted_text).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(Some(python))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
