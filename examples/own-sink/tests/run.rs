//! The example's program, run as a user runs it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The example's configuration with its directory in place of `/tmp/own`.
fn set_up() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("own.conf")).unwrap();
    let text = text.replace("/tmp/own", directory.path().to_str().unwrap());
    fs::write(directory.path().join("own.conf"), text).unwrap();
    for folder in ["in", "out"] {
        fs::create_dir(directory.path().join(folder)).unwrap();
    }
    directory
}

fn own(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own-sink"));
    command.current_dir(directory).args(arguments).args(["-f", "own.conf"]).stdin(Stdio::null());
    command
}

/// Ended when dropped.
struct Agent(Child);

impl Agent {
    fn start(directory: &Path) -> Self {
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = own(directory, &["agent", "-n", "a1"]);
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[track_caller]
fn eventually(directory: &Path, file: &str, expected: &str) {
    let path = directory.join(file);
    let read = || match path.is_dir() {
        true => fs::read_dir(&path)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect(),
        false => fs::read_to_string(&path).unwrap_or_default(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while read() != expected {
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "{file}: {:?} is not {expected:?}\n{}", read(), log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn parts_of_ones_own_run_beside_the_built_in_ones_and_count_every_event_once_through_kills() {
    let directory = set_up();
    let directory = directory.path();
    let mut log = String::new();
    for round in 1..=3 {
        log.push_str("line 10 one\nline 2 two\n");
        fs::write(directory.join("in/a.log"), &log).unwrap();
        // A kill at its end: what was released does not count again.
        let agent = Agent::start(directory);
        eventually(directory, "counts", &format!("web1\t{}\n", round * 2));
        eventually(directory, "out", &">LINE ## ONE\n>LINE # TWO\n".repeat(round));
        drop(agent);
    }
    log.push_str("\u{fc}ber\nline 3\n");
    fs::write(directory.join("in/a.log"), &log).unwrap();
    let _agent = Agent::start(directory);
    eventually(directory, "out", &format!("{}>LINE #\n", ">LINE ## ONE\n>LINE # TWO\n".repeat(3)));
    assert!(fs::read_to_string(directory.join("refused")).unwrap().contains("beyond ASCII"));
}

#[test]
fn check_knows_the_keys_of_ones_own_types() {
    let directory = set_up();
    let path = directory.path().join("own.conf");
    let check = || {
        let output = own(directory.path(), &["check"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(check().contains("0 errors, 0 warnings"), "{}", check());
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("k1.file =", "k1.fil =").replace("serializer.prefix", "serializer.prefx");
    fs::write(&path, text).unwrap();
    let said = check();
    for part in ["did you mean `file`", "a1.sinks.k1.file: required key is missing", "no such key", "prefx"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
