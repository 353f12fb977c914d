//! What the log asks of the kernel on real disks: that an ack waits for a durable write, and a name for a synced file. Every power
//! cut of the other tests is one of the simulated disk, which would not notice if the real one were asked for less.
//!
//! A process of its own commits under `strace`; where that is missing, or not allowed, the test says so and shows nothing, unless
//! `FLUMEN_REQUIRE_PEERS=1`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flumen_wal::storage::{self, Backend};
use flumen_wal::{Commit, Directories, Log, Options};

const CHILD: &str = "FLUMEN_SYSCALLS_OF";
const COMMITS: usize = 20;
const BACKENDS: [(&str, Backend); 2] = [("uring", Backend::Uring), ("std", Backend::Std)];

#[test]
#[ignore = "started by the other test, in a process of its own"]
fn child_that_commits() {
    let Ok(of) = std::env::var(CHILD) else { return };
    let (name, path) = of.split_once(' ').unwrap();
    let (_, backend) = BACKENDS.into_iter().find(|(known, _)| *known == name).unwrap();
    let (dir, line) = match storage::open(path, backend) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    println!("opened: {line}");
    // Nothing but commits: a frame of another kind must not stand in for one that was not durable.
    let never = Duration::from_secs(100_000);
    let (segment_bytes, frame_bytes) = (64 << 10, 16 << 10);
    let options =
        Options { segment_bytes, frame_bytes, release_delay: never, idle_delay: never, ..Options::default() };
    let log = Log::open(Directories { data: dir.clone(), checkpoint: dir }, options).unwrap();
    let body = vec![7u8; 9000];
    for _ in 0..COMMITS {
        log.append_and_wait(Commit { events: 1, payload: &body, progress: vec![] }).unwrap();
    }
    log.close();
}

/// A call of the trace: its name, the file's name, and all of the line.
fn calls<'a>(trace: &'a str, path: &Path) -> Vec<(&'a str, &'a str, &'a str)> {
    let (dir, mut calls) = (path.to_str().unwrap(), Vec::new());
    for line in trace.lines() {
        // "123 pwritev2(7</dir/name>, ..", after the number of the process.
        let Some((head, rest)) = line.split_once('(') else { continue };
        let Some((_, file)) = rest.split_once('<') else { continue };
        let Some((file, _)) = file.split_once('>') else { continue };
        let Some(name) = file.strip_prefix(dir) else { continue };
        calls.push((head.rsplit(' ').next().unwrap(), name.trim_start_matches('/'), line));
    }
    calls
}

fn traced(name: &str, path: &Path, trace: &Path) -> Option<String> {
    let ran = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "0",
            "-e",
            "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync,rename,renameat,renameat2",
        ])
        .arg("-o")
        .arg(trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "child_that_commits"])
        .env(CHILD, format!("{name} {}", path.display()))
        .output();
    let (sound, said, why) = match ran {
        Ok(ran) => (
            ran.status.success(),
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        ),
        Err(error) => (false, String::new(), error.to_string()),
    };
    if said.contains("skipped: ") {
        eprintln!("{name}: {said}");
        return None;
    }
    if !said.contains("opened: ") {
        let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "strace is needed and does not work: {why}");
        eprintln!("skipped: no strace: {why}");
        return None;
    }
    assert!(sound, "{said} {why}");
    Some(said)
}

#[test]
fn every_ack_waits_for_a_durable_write_and_every_name_for_a_sync() {
    for (name, _) in BACKENDS {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        std::fs::create_dir(&path).unwrap();
        let trace = scratch.path().join("trace");
        let Some(said) = traced(name, &path, &trace) else { continue };
        let trace = std::fs::read_to_string(trace).unwrap();
        let calls = calls(&trace, &path);
        let writes = |(call, file, _): &&(&str, &str, &str)| {
            call.starts_with("pwrite") && file.starts_with("segment-")
        };
        let of_frames: Vec<_> = calls.iter().filter(writes).collect();
        let syncs = |call: &str, is: &dyn Fn(&str) -> bool| {
            calls.iter().filter(|(name, file, _)| *name == call && is(file)).count()
        };
        let of_segments = |file: &str| file.starts_with("segment-");
        if said.contains("buffered") {
            let synced = syncs("fdatasync", &of_segments);
            assert!(synced >= COMMITS && synced >= of_frames.len(), "{name}: {synced} syncs, {trace}");
        } else {
            let durable = of_frames.iter().filter(|(.., line)| line.contains("RWF_DSYNC")).count();
            assert_eq!(
                durable,
                of_frames.len(),
                "{name}: a frame that is not durable when it is written: {trace}"
            );
            // Those of the committers; the submitter's go by the ring, if there is one.
            assert!(durable >= COMMITS / 2, "{name}: {durable} durable writes, {trace}");
        }
        let renames = trace.lines().filter(|line| line.contains("rename") && line.contains("spare-")).count();
        let (made, named) =
            (syncs("fsync", &|file| file.starts_with("spare-")), syncs("fsync", &str::is_empty));
        assert!(renames > 3, "{name}: several segments are made: {trace}");
        assert!(
            made >= renames && named >= renames,
            "{name}: {renames} renames; {made} files, {named} times the directory: {trace}"
        );
    }
}
