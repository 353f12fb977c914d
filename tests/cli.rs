//! The binary's life: exit codes, signals, its own log, reload, and Flume's launcher in front of it.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use support::{Running, flumen, run, stderr, stdout};

/// taildir → memory → logger: every line of `in/*.log` becomes a line of the agent's own log.
const TAIL_TO_LOG: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = @DIR@/in/.*log
a1.sources.r1.positionFile = @DIR@/position.json
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

/// A directory with `flume.conf` and an input folder.
fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("in")).unwrap();
    write_config(directory.path(), TAIL_TO_LOG);
    directory
}

fn write_config(directory: &Path, text: &str) {
    let text = text.replace("@DIR@", directory.to_str().unwrap());
    // As an editor does it: beside, then renamed.
    fs::write(directory.join("new"), text).unwrap();
    fs::rename(directory.join("new"), directory.join("flume.conf")).unwrap();
}

const AGENT: &[&str] = &["-n", "a1", "-f", "flume.conf"];

#[test]
fn an_agent_says_what_it_runs_delivers_and_stops_cleanly_on_sigterm() {
    let directory = prepared();
    fs::write(directory.path().join("in/a.log"), "hello world\n").unwrap();
    let mut agent = Running::agent(directory.path(), AGENT);
    agent.wait_for("r1 (taildir) → c1 (memory) → k1 (logger)");
    let line = agent.wait_for("Event: {");
    assert!(line.contains("[INFO - ") && line.contains("68 65 6C 6C 6F"), "{line}");
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0));
    assert!(agent.seen.last().unwrap().contains("stopped"), "{:#?}", agent.seen);
}

#[test]
fn the_storage_that_the_command_line_asks_for_writes_the_file_channel() {
    let directory = prepared();
    let file = "a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/c\na1.channels.c1.dataDirs = @DIR@/d\n";
    let memory = "a1.channels.c1.type = memory\n";
    assert!(TAIL_TO_LOG.contains(memory));
    write_config(directory.path(), &TAIL_TO_LOG.replace(memory, file));
    let mut agent = Running::agent(directory.path(), &[AGENT, &["-Dflumen.storage=std"]].concat());
    let line = agent.wait_for("storage of ");
    assert!(line.contains("[INFO - ") && line.contains(": std "), "{line}");
    agent.wait_for("started: ");
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0));
    let lines = agent.seen.iter().filter(|line| line.contains("storage of "));
    assert_eq!(lines.count(), 1, "{:#?}", agent.seen);

    let refused = run(directory.path(), &[&["agent"], AGENT, &["-Dflumen.storage=tape"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("tape"), "{}", stderr(&refused));
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one_request() {
    let directory = prepared();
    let mut agent = Running::agent(directory.path(), AGENT);
    agent.wait_for("started");
    agent.signal("STOP");
    agent.signal("TERM");
    agent.signal("INT");
    agent.signal("CONT");
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn an_agent_whose_channel_another_process_holds_waits_and_then_ends_with_75() {
    let directory = prepared();
    let file =
        "type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data";
    write_config(directory.path(), &TAIL_TO_LOG.replace("type = memory", file));
    let mut first = Running::agent(directory.path(), AGENT);
    first.wait_for("started");
    let mut second = Running::agent(directory.path(), &[AGENT, &["-Dflumen.lock.wait=0"]].concat());
    assert_eq!(second.end().code(), Some(75), "{:#?}", second.seen);
    // By itself it waits for who may be about to end; a stop ends the wait.
    let mut stopped = Running::agent(directory.path(), AGENT);
    stopped.wait_for("waiting up to 30 s");
    stopped.signal("TERM");
    assert_eq!(stopped.end().code(), Some(0), "{:#?}", stopped.seen);
    let mut next = Running::agent(directory.path(), AGENT);
    next.wait_for("waiting up to 30 s");
    first.signal("TERM");
    assert_eq!(first.end().code(), Some(0));
    next.wait_for("source runs");
    next.signal("TERM");
    assert_eq!(next.end().code(), Some(0), "{:#?}", next.seen);
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let directory = prepared();
    let mut agent = Running::agent(directory.path(), AGENT);
    agent.wait_for("started");
    agent.signal("INT");
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn sigquit_dumps_the_state_and_the_agent_goes_on() {
    let directory = prepared();
    let mut agent = Running::agent(directory.path(), AGENT);
    agent.wait_for("started");
    agent.signal("QUIT");
    agent.wait_for("state:");
    agent.wait_for("c1");
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn sighup_reads_the_configuration_again_and_a_broken_one_changes_nothing() {
    let directory = prepared();
    let mut agent = Running::agent(directory.path(), &["-n", "a1", "-f", "flume.conf", "--no-reload-conf"]);
    agent.wait_for("started");

    write_config(directory.path(), &format!("{TAIL_TO_LOG}half a line"));
    agent.signal("HUP");
    agent.wait_for("the old configuration keeps running");

    write_config(directory.path(), "");
    agent.signal("HUP");
    agent.wait_for("the old configuration keeps running");

    write_config(directory.path(), &TAIL_TO_LOG.replace("type = logger", "type = null"));
    agent.signal("HUP");
    agent.wait_for("c1 (memory) → k1 (null)");
    agent.wait_for("reloaded");
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn a_changed_file_is_found_by_polling() {
    let directory = prepared();
    let mut agent = Running::agent(directory.path(), &["-n", "a1", "-f", "flume.conf", "-i", "1"]);
    agent.wait_for("started");
    write_config(directory.path(), &TAIL_TO_LOG.replace("type = logger", "type = null"));
    agent.wait_for("reloaded");
    fs::remove_file(directory.path().join("flume.conf")).unwrap();
    agent.wait_for("the old configuration keeps running");
}

#[test]
fn sigusr1_reopens_the_log_file() {
    let directory = prepared();
    let logs = directory.path().join("logs");
    let log_dir = format!("-Dflume.log.dir={}", logs.display());
    let mut arguments = AGENT.to_vec();
    arguments.extend(["-Dflume.root.logger=INFO,LOGFILE,console", &log_dir, "-Dflume.log.file=a.log"]);
    let mut agent = Running::agent(directory.path(), &arguments);
    agent.wait_for("started");
    fs::rename(logs.join("a.log"), logs.join("a.log.moved")).unwrap();
    agent.signal("USR1");
    agent.wait_for("reopened");
    agent.signal("TERM");
    assert_eq!(agent.end().code(), Some(0));
    assert!(fs::read_to_string(logs.join("a.log.moved")).unwrap().contains("started"));
    let new = fs::read_to_string(logs.join("a.log")).unwrap();
    assert!(new.contains("reopened") && new.contains("stopped"), "{new}");
}

#[test]
fn a_broken_component_is_left_out_and_the_rest_runs() {
    let directory = prepared();
    let more = "a1.sinks = k1 k2\na1.sinks.k2.type = nosuch\na1.sinks.k2.channel = c1\n";
    write_config(directory.path(), &TAIL_TO_LOG.replace("a1.sinks = k1\n", more));
    fs::write(directory.path().join("in/a.log"), "hello\n").unwrap();
    let mut agent = Running::agent(directory.path(), AGENT);
    let line = agent.wait_for("nosuch");
    assert!(line.contains("[ERROR - ") && line.contains("flume.conf:4"), "{line}");
    agent.wait_for("Event: {");
}

#[test]
fn a_configuration_that_leaves_nothing_to_run_or_cannot_be_read_ends_with_78() {
    let directory = prepared();
    for arguments in
        [["-n", "a2", "-f", "flume.conf"], ["-n", "a1", "-f", "absent.conf"], ["-n", "a1", "-f", "in"]]
    {
        let output = flumen(directory.path()).arg("agent").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("ERROR"), "{arguments:?}");
    }
}

#[test]
fn the_backup_of_the_configuration_starts_an_agent_whose_file_is_gone() {
    let directory = prepared();
    let arguments = ["-n", "a1", "-f", "flume.conf", "-b", "backup"];
    let mut agent = Running::agent(directory.path(), &arguments);
    agent.wait_for("started");
    agent.signal("TERM");
    agent.end();
    assert!(directory.path().join("backup/.a1.properties").exists());
    fs::remove_file(directory.path().join("flume.conf")).unwrap();
    let mut agent = Running::agent(directory.path(), &arguments);
    agent.wait_for("starting from the backup");
    agent.wait_for("started");
}

#[test]
fn usage_errors_end_with_2_and_advice() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, advice) in [
        (&["agent", "-f", "x"][..], "--name"),
        (&["agent", "-n", "a1"], "-f FILE"),
        (&["agent", "-n", "a1", "-z", "zk:2181"], "ZooKeeper"),
        (&["agent", "-n", "a1", "-u", "http://host/x"], "fetch it to a file"),
        (&["agent", "-n", "a1", "-f", "x", "-Dflume.root.logger=LOUD"], "LOUD"),
        (&["agent", "-n", "a1", "-f", "x", "-Dflume.monitoring.type=ganglia"], "ganglia"),
        (&["avro-client", "-H", "host"], "--port"),
        (&["tool", "fcintegritytool", "-l", "/x"], "fcintegritytool"),
        (&["nonsense"], "nonsense"),
        (&[], "Usage"),
    ] {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(advice), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn version_has_flumes_five_lines_and_help_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let version = run(directory.path(), &["version"]);
    assert_eq!(version.status.code(), Some(0));
    let text = stdout(&version);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("Flumen ") && lines[2].starts_with("Revision: "), "{text}");
    assert!(
        lines[3].starts_with("Compiled by ") && lines[4].starts_with("From source with checksum "),
        "{text}"
    );
    for arguments in [&["help"][..], &["agent", "-h"], &["agent", "--help"]] {
        assert_eq!(run(directory.path(), arguments).status.code(), Some(0), "{arguments:?}");
    }
}

/// Runs `bin/flume-ng` with the built binary on PATH.
fn flume_ng(directory: &Path, arguments: &[&str], java_opts: &str) -> std::process::Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_flumen")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("bin/flume-ng"))
        .args(arguments)
        .current_dir(directory)
        .env("PATH", path)
        .env("JAVA_OPTS", java_opts)
        .output()
        .unwrap()
}

#[test]
fn flume_ng_passes_flumes_command_line_on() {
    let directory = prepared();
    let arguments = [
        "agent",
        "--dryrun",
        "-n",
        "a1",
        "-c",
        "conf",
        "-f",
        "with blank.conf",
        "-Xmx2g",
        "-C",
        "/x.jar",
        "-Dk=v",
        "--no-reload-conf",
    ];
    let output = flume_ng(directory.path(), &arguments, "-Xmx1g -Dflume.root.logger=DEBUG,console");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed = stdout(&output);
    let (_, after) = printed.split_once("flumen agent ").unwrap();
    assert_eq!(after, "-Dflume.root.logger=DEBUG,console -n a1 -f with blank.conf -Dk=v --no-reload-conf\n");
    for word in ["-Xmx2g is ignored", "-Xmx1g is ignored", "-C is ignored", "conf does not exist"] {
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    }
}

#[test]
fn flume_ng_reads_flume_env_and_becomes_flumen() {
    let directory = prepared();
    fs::create_dir(directory.path().join("conf")).unwrap();
    fs::write(
        directory.path().join("conf/flume-env.sh"),
        "export TARGET_TYPE=logger\nJAVA_OPTS=\"-Dunused=1\"\n",
    )
    .unwrap();
    write_config(directory.path(), &TAIL_TO_LOG.replace("type = logger", "type = ${env:TARGET_TYPE}"));
    let output = flume_ng(directory.path(), &["check", "-c", "conf", "-f", "flume.conf"], "");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let without = flume_ng(directory.path(), &["check", "-f", "flume.conf"], "");
    assert_eq!(without.status.code(), Some(78), "{}", stdout(&without));
}

#[test]
fn flume_ng_has_help_and_version() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(flume_ng(directory.path(), &["help"], "").status.code(), Some(0));
    assert_eq!(flume_ng(directory.path(), &[], "").status.code(), Some(2));
    let version = flume_ng(directory.path(), &["version"], "");
    assert!(stdout(&version).starts_with("Flumen "), "{}", stderr(&version));
}

/// A channel's log with five events to deliver, a frame each, in `data` and `checkpoint`.
fn log_with_events(keys: flumen_wal::Keys) -> tempfile::TempDir {
    use flumen_wal::storage::{self, Backend};
    let directory = tempfile::tempdir().unwrap();
    let open = |folder: &str| {
        let path = directory.path().join(folder);
        fs::create_dir(&path).unwrap();
        storage::open(path, Backend::Std).unwrap().0
    };
    let dirs = flumen_wal::Directories { data: open("data"), checkpoint: open("checkpoint") };
    let options = flumen_wal::Options { segment_bytes: 256 << 10, keys, ..Default::default() };
    let log = flumen_wal::Log::open(dirs, options).unwrap();
    for event in 0..5u8 {
        log.append_and_wait(flumen_wal::Commit { events: 1, payload: &vec![event; 300], progress: vec![] })
            .unwrap();
    }
    log.close();
    directory
}

const SEGMENT: &str = "data/segment-0000000000000001.log";

/// Damages the frame of event 1, whose place is in `dump`; returns its offset.
fn damage(directory: &Path, dump: &str) -> usize {
    let line = dump.lines().find(|line| line.contains("events 1..2")).expect("the frame of event 1");
    let offset = line.trim().split([':', ' ']).nth(1).unwrap().parse::<usize>().unwrap();
    let mut bytes = fs::read(directory.join(SEGMENT)).unwrap();
    bytes[offset + 70] ^= 1;
    fs::write(directory.join(SEGMENT), &bytes).unwrap();
    offset
}

#[test]
fn a_damaged_log_is_repaired_after_a_rehearsal_and_never_beside_a_running_agent() {
    let directory = log_with_events(Default::default());
    let segment = directory.path().join(SEGMENT);
    let offset = damage(directory.path(), &stdout(&run(directory.path(), &["wal", "dump", "data"])));
    let bytes = fs::read(&segment).unwrap();

    let rehearsed = run(directory.path(), &["wal", "repair", "--dry-run", "data"]);
    let text = stdout(&rehearsed);
    assert_eq!(rehearsed.status.code(), Some(1), "{text}{}", stderr(&rehearsed));
    assert!(text.contains(&format!("offset {offset}")) && text.contains("nothing was changed"), "{text}");
    assert!(fs::read(&segment).unwrap() == bytes && !directory.path().join("data/quarantine").exists());

    let open = |folder: &str| {
        let path = directory.path().join(folder);
        flumen_wal::storage::open(path, flumen_wal::storage::Backend::Std).unwrap().0
    };
    let lock = open("data").lock().unwrap();
    for arguments in [&["wal", "repair", "data"][..], &["wal", "repair", "--dry-run", "data"]] {
        let refused = run(directory.path(), arguments);
        assert_eq!(refused.status.code(), Some(75), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("stop the agent"), "{}", stderr(&refused));
    }
    drop(lock);

    let repaired = run(directory.path(), &["wal", "repair", "data"]);
    let text = stdout(&repaired);
    assert_eq!(repaired.status.code(), Some(0), "{text}{}", stderr(&repaired));
    assert!(text.contains("1 events are given up (1..2); 4 are left"), "{text}");
    assert!(text.ends_with("repaired\n"), "{text}");
    assert!(fs::read_dir(directory.path().join("data/quarantine")).unwrap().count() >= 2);
    let again = run(directory.path(), &["wal", "repair", "data"]);
    assert_eq!((again.status.code(), stdout(&again).contains("nothing to repair")), (Some(0), true));
    let verified = run(directory.path(), &["wal", "verify", "data"]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
}

#[test]
fn an_encrypted_log_is_looked_at_and_repaired_with_its_key_and_not_without() {
    let secret = "00112233445566778899aabbccddeeff";
    let bytes: Vec<u8> = (0..16).map(|at| 0x11 * at).collect();
    let keys = flumen_wal::Keys::new(vec![flumen_wal::Key::new("a", &bytes).unwrap()], Some("a")).unwrap();
    let directory = log_with_events(keys);
    for (name, text) in [("key", secret), ("other", "ff112233445566778899aabbccddeeff")] {
        fs::write(directory.path().join(name), text).unwrap();
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o400)).unwrap();
    }
    let wal =
        |words: &[&str], key: &[&str]| run(directory.path(), &[&["wal"], words, &["data"], key].concat());
    let with = ["--key", "other", "--key", "key"];
    let code_and_text = |output: Output| (output.status.code(), stdout(&output) + &stderr(&output));

    for key in [&[][..], &["--key", "other"]] {
        let (code, text) = code_and_text(wal(&["inspect"], key));
        assert!(code == Some(0) && text.contains("give it by --key FILE"), "{code:?} {text}");
        for words in
            [&["verify"][..], &["dump"], &["dump", "--payload"], &["repair"], &["repair", "--dry-run"]]
        {
            let (code, text) = code_and_text(wal(words, key));
            assert!(code == Some(1) && text.contains("key"), "{words:?}: {code:?} {text}");
            assert!(!text.contains("repaired\n") && !text.contains(secret), "{text}");
        }
    }
    let (code, text) = code_and_text(wal(&["inspect"], &with));
    assert!(code == Some(0) && text.contains("5 events") && !text.contains("--key"), "{text}");
    let (code, text) = code_and_text(wal(&["verify"], &with));
    assert_eq!(code, Some(0), "{text}");
    let (code, dump) = code_and_text(wal(&["dump"], &with));
    assert!(code == Some(0) && dump.contains("events 4..5"), "{dump}");

    let offset = damage(directory.path(), &dump);
    let (code, text) = code_and_text(wal(&["verify"], &with));
    assert!(code == Some(1) && text.contains(&offset.to_string()), "{text}");
    let (code, text) = code_and_text(wal(&["repair", "--dry-run"], &with));
    assert!(code == Some(1) && text.contains("nothing was changed"), "{text}");
    let (code, text) = code_and_text(wal(&["repair"], &with));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 events are given up (1..2); 4 are left"), "{text}");
    let (code, text) = code_and_text(wal(&["verify"], &with));
    assert_eq!(code, Some(0), "{text}");
    let found =
        |bytes: &[u8]| bytes.windows(64).any(|window| window.iter().all(|byte| (1..5).contains(byte)));
    let mut left = vec![directory.path().to_path_buf()];
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => assert!(!found(&fs::read(&path).unwrap()), "{} has an event's bytes", path.display()),
        }
    }
    let (code, text) = code_and_text(wal(&["inspect"], &with));
    assert!(code == Some(0) && text.contains("backlog    4 events"), "{text}");
}
