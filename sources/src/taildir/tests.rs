use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::position_file::{Entry, Found, load};
use super::spec;
use crate::testing::{FakeEngine, Fate, PATIENCE, Running, State, build, eventually, problems};

mod churn;
mod restart;

/// A directory with logs, a position file beside it, and a channel that outlives the source.
struct Stage {
    room: tempfile::TempDir,
    engine: Arc<FakeEngine>,
    keys: Vec<(String, String)>,
}

impl Stage {
    fn new(extra: &[(&str, &str)]) -> Self {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir(room.path().join("in")).unwrap();
        let mut keys = vec![
            ("filegroups".to_string(), "f1".to_string()),
            ("filegroups.f1".into(), format!("{}/in/.*log", room.path().display())),
            ("positionFile".into(), format!("{}/deep/er/position.json", room.path().display())),
            ("writePosInterval".into(), "10".into()),
        ];
        for (key, value) in extra {
            keys.retain(|(one, _)| one != key);
            keys.push((key.to_string(), value.to_string()));
        }
        Self { room, engine: FakeEngine::new(), keys }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.keys.retain(|(one, _)| one != key);
        self.keys.push((key.into(), value.into()));
    }

    fn start(&self) -> Running {
        let pairs: Vec<(&str, &str)> = self.keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Running::start(&spec(), &self.engine, &pairs)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join("in").join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        append(&self.path(name), text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn position_file(&self) -> PathBuf {
        self.room.path().join("deep/er/position.json")
    }

    fn entries(&self) -> Vec<Entry> {
        match load(&self.position_file()).unwrap() {
            Found::Entries { entries, .. } => entries,
            other => panic!("{other:?}"),
        }
    }

    fn events(&self) -> usize {
        self.engine.state().events.len()
    }

    #[track_caller]
    fn expect(&self, bodies: &[&str]) {
        eventually(
            || format!("{bodies:?}, have {:?}", self.engine.bodies()),
            || self.events() >= bodies.len(),
        );
        assert_eq!(self.engine.bodies(), bodies);
    }

    /// Waits until everything before `position` of the only file is acked and on disk.
    #[track_caller]
    fn expect_position(&self, position: u64) {
        let now = || match load(&self.position_file()).unwrap() {
            Found::Entries { entries, .. } => entries.first().map(|entry| entry.pos),
            _ => None,
        };
        eventually(|| format!("position {position}, is {:?}", now()), || now() == Some(position));
    }
}

fn append(path: &Path, text: impl AsRef<[u8]>) {
    File::options().append(true).create(true).open(path).unwrap().write_all(text.as_ref()).unwrap();
}

/// Long enough for a wrong second event to show, where one could come at once.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn lines_of_old_and_new_files_arrive_in_order() {
    for cached in ["true", "false"] {
        let stage = Stage::new(&[("cachePatternMatching", cached)]);
        stage.append("a.log", "one\ntwo\n\n");
        stage.append("ignored.txt", "no\n");
        let running = stage.start();
        stage.expect(&["one", "two", ""]);
        stage.append("a.log", "three\n");
        stage.expect(&["one", "two", "", "three"]);
        stage.append("b.log", "four\n");
        stage.expect(&["one", "two", "", "three", "four"]);
        running.stop();
    }
}

#[test]
fn one_carriage_return_is_removed_and_other_bytes_pass() {
    let stage = Stage::new(&[("idleTimeout", "50")]);
    stage.append("a.log", b"dos\r\ntwo\r\r\n\r\n\xff\xfe\x00bad\nlast\r");
    let running = stage.start();
    eventually(|| format!("{:?}", stage.engine.bodies()), || stage.events() == 5);
    let bodies: Vec<_> = stage.engine.state().events.iter().map(|event| event.body.clone()).collect();
    assert_eq!(bodies, [&b"dos"[..], b"two\r", b"", b"\xff\xfe\x00bad", b"last\r"]);
    running.stop();
}

#[test]
fn a_last_line_without_end_waits_for_its_end() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "whole\npart");
    let running = stage.start();
    stage.expect(&["whole"]);
    stage.expect_position(6);
    a_moment();
    stage.append("a.log", "ial\n");
    stage.expect(&["whole", "partial"]);
    running.stop();
}

#[test]
fn an_idle_last_line_is_sent_and_what_follows_is_another_event() {
    let stage = Stage::new(&[("idleTimeout", "50")]);
    stage.append("a.log", "whole\npart");
    let running = stage.start();
    stage.expect(&["whole", "part"]);
    stage.expect_position(10);
    a_moment();
    stage.append("a.log", "ial\nnext\n");
    stage.expect(&["whole", "part", "ial", "next"]);
    running.stop();
}

#[test]
fn a_line_longer_than_any_buffer_arrives_whole() {
    let stage = Stage::new(&[]);
    let long: Vec<u8> = (0..5_000_000u32).map(|i| b'a' + (i % 23) as u8).collect();
    stage.append("a.log", "before\n");
    let running = stage.start();
    stage.expect(&["before"]);
    for piece in long.chunks(700_000) {
        stage.append("a.log", piece);
    }
    stage.append("a.log", "\r\nafter\n");
    eventually(|| format!("{} events", stage.events()), || stage.events() == 3);
    assert!(stage.engine.state().events[1].body == long);
    assert_eq!(stage.engine.state().events[2].body, b"after");
    running.stop();
}

#[test]
fn a_renamed_file_is_finished_and_never_sent_again() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    // Once to a name that matches, once to one that does not.
    stage.rename("a.log", "b.log");
    stage.append("b.log", "two\n");
    stage.expect(&["one", "two"]);
    stage.rename("b.log", "b.log.1");
    stage.append("b.log.1", "three\n");
    stage.append("b.log", "four\n");
    eventually(|| format!("{:?}", stage.engine.bodies()), || stage.events() == 4);
    let mut bodies = stage.engine.bodies();
    bodies[2..].sort();
    assert_eq!(bodies, ["one", "two", "four", "three"]);
    a_moment();
    assert_eq!(stage.events(), 4);
    running.stop();
    let mut names: Vec<_> = stage.entries().into_iter().map(|entry| entry.file).collect();
    names.sort();
    assert_eq!(names, ["b.log", "b.log.1"].map(|name| stage.path(name).display().to_string()));
}

#[test]
fn a_closed_file_that_grows_under_another_name_is_read_on() {
    let stage = Stage::new(&[("idleTimeout", "20")]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    std::thread::sleep(Duration::from_millis(300));
    stage.rename("a.log", "a.old");
    stage.append("a.old", "two\n");
    stage.expect(&["one", "two"]);
    running.stop();
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\ntwo\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    File::options().write(true).open(stage.path("a.log")).unwrap().set_len(0).unwrap();
    stage.append("a.log", "new\n");
    stage.expect(&["one", "two", "new"]);
    running.stop();
}

#[test]
fn a_file_cut_and_grown_beyond_its_position_is_told_by_its_first_bytes() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    // `write` truncates and writes the new content at once, longer than before.
    fs::write(stage.path("a.log"), "new one\nnew two\n").unwrap();
    stage.expect(&["one", "new one", "new two"]);
    running.stop();
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_forgotten() {
    // On a machine that stands still the file is closed before it is written to, and gone for good: then with more time.
    let (stage, running) = [100_u64, 3000, 50_000]
        .into_iter()
        .find_map(|idle| {
            let stage = Stage::new(&[("idleTimeout", &idle.to_string())]);
            let begun = Instant::now();
            stage.append("a.log", "one\n");
            let running = stage.start();
            stage.expect(&["one"]);
            let mut writer = File::options().append(true).open(stage.path("a.log")).unwrap();
            fs::remove_file(stage.path("a.log")).unwrap();
            writer.write_all(b"two\nlast").unwrap();
            if begun.elapsed() < Duration::from_millis(idle) {
                return Some((stage, running));
            }
            running.stop();
            None
        })
        .expect("enough time");
    stage.expect(&["one", "two", "last"]);
    let files = || stage.engine.state().positions.keys().filter(|key| key.contains(':')).count();
    eventually(|| "the key is retired".into(), || files() == 0);
    stage.append("a.log", "again\n");
    stage.expect(&["one", "two", "last", "again"]);
    running.stop();
}

#[test]
fn a_recreated_file_is_new_although_its_inode_is_not() {
    let stage = Stage::new(&[("idleTimeout", "20")]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    // Closed by now, so the file system is free to use the inode again.
    std::thread::sleep(Duration::from_millis(300));
    fs::remove_file(stage.path("a.log")).unwrap();
    stage.append("a.log", "two\n");
    stage.expect(&["one", "two"]);
    running.stop();
}

#[test]
fn a_file_renamed_before_it_was_seen_is_read() {
    let stage = Stage::new(&[]);
    let running = stage.start();
    eventually(|| "started".into(), || stage.position_file().exists());
    for i in 0..50 {
        stage.append("a.log", format!("{i}\n"));
        stage.rename("a.log", "a.log.1");
        stage.rename("a.log.1", &format!("a.log.{}", i + 2));
    }
    eventually(|| format!("{:?}", stage.engine.bodies()), || stage.events() == 50);
    running.stop();
}

#[test]
fn a_failed_put_goes_back_to_what_is_acked() {
    for fate in [Fate::Lost, Fate::KeptAndFailed] {
        let stage = Stage::new(&[("batchSize", "2")]);
        stage.engine.state().fates = [fate].into();
        stage.append("a.log", "1\n2\n3\n4\n5\n");
        let running = stage.start();
        stage.expect(&["1", "2", "3", "4", "5"]);
        stage.expect_position(10);
        running.stop();
    }
}

#[test]
fn a_refused_put_is_tried_again() {
    let stage = Stage::new(&[("batchSize", "2")]);
    stage.engine.state().fates = [Fate::Full].into();
    stage.append("a.log", "1\n2\n3\n");
    let since = Instant::now();
    let running = stage.start();
    stage.expect(&["1", "2", "3"]);
    assert_eq!(stage.engine.state().refusals, 1);
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
    running.stop();
}

#[test]
fn a_source_whose_puts_are_refused_stops_at_once() {
    let stage = Stage::new(&[]);
    stage.engine.state().fates = [Fate::Full; 100].into();
    stage.append("a.log", "1\n");
    let running = stage.start();
    eventually(|| "refused".into(), || stage.engine.state().refusals > 0);
    let since = Instant::now();
    running.stop();
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}

#[test]
fn puts_that_are_too_large_are_halved_and_one_line_that_never_fits_is_left_out() {
    let stage = Stage::new(&[]);
    stage.engine.state().largest_body = Some(10);
    stage.append("a.log", "1234\n5678\n90\nmuch too long a line\nend\n");
    let running = stage.start();
    stage.expect(&["1234", "5678", "90", "end"]);
    running.stop();
}

#[test]
fn batches_and_turns_keep_their_sizes() {
    let stage = Stage::new(&[("batchSize", "3"), ("maxBatchCount", "2"), ("fileHeader", "true")]);
    let lines: String = (0..12).map(|i| format!("{i}\n")).collect();
    stage.append("a.log", &lines);
    stage.append("b.log", &lines);
    let running = stage.start();
    eventually(|| format!("{}", stage.events()), || stage.events() == 24);
    assert_eq!(stage.engine.state().puts, [3; 8]);
    let files: Vec<_> =
        stage.engine.state().events.iter().map(|e| e.headers.get("file").unwrap().to_string()).collect();
    let turns: Vec<_> = files.chunks(6).map(|turn| &turn[0]).collect();
    assert!(turns[0] != turns[1] && turns[0] == turns[2], "{turns:?}");
    running.stop();
}

#[test]
fn a_large_file_does_not_starve_a_small_one() {
    let stage = Stage::new(&[("fileHeader", "true")]);
    stage.append("a.log", format!("{}\n", "x".repeat(99)).repeat(30_000));
    stage.append("b.log", "small\n");
    let running = stage.start();
    eventually(|| format!("{}", stage.events()), || stage.events() == 30_001);
    let at = stage.engine.state().events.iter().position(|event| event.body == b"small").unwrap();
    assert!(at < 15_000, "after {at} lines");
    running.stop();
}

#[test]
fn headers_are_the_groups_the_files_and_the_lines() {
    let mut stage = Stage::new(&[
        ("headers.f1.kind", "web"),
        ("headers.f2.kind", "other"),
        ("fileHeader", "true"),
        ("fileHeaderKey", "path"),
        ("byteOffsetHeader", "true"),
        ("filegroups", "f1 f2"),
    ]);
    let second = format!("{}/in/.*txt", stage.room.path().display());
    stage.set("filegroups.f2", &second);
    stage.append("a.log", "one\r\ntwo\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    stage.append("b.txt", "three\n");
    stage.expect(&["one", "two", "three"]);
    let headers: Vec<_> = stage.engine.state().events.iter().map(|event| event.headers.to_string()).collect();
    let of = |name: &str, kind, offset| {
        format!("{{kind={kind}, path={}, byteoffset={offset}}}", stage.path(name).display())
    };
    assert_eq!(headers, [of("a.log", "web", 0), of("a.log", "web", 5), of("b.txt", "other", 0)]);
    running.stop();
}

#[test]
fn the_position_file_is_flumes_to_the_byte() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\npart");
    let running = stage.start();
    stage.expect_position(4);
    running.stop();
    let inode = fs::metadata(stage.path("a.log")).unwrap().ino();
    let expected = format!(r#"[{{"inode":{inode},"pos":4,"file":"{}"}}]"#, stage.path("a.log").display());
    assert_eq!(fs::read_to_string(stage.position_file()).unwrap(), expected);
}

#[test]
fn skip_to_end_is_for_files_found_at_the_start() {
    let stage = Stage::new(&[("skipToEnd", "true")]);
    stage.append("a.log", "old\n");
    let running = stage.start();
    stage.expect_position(4);
    stage.append("a.log", "new\n");
    stage.expect(&["new"]);
    stage.append("b.log", "later\n");
    stage.expect(&["new", "later"]);
    running.stop();
    stage.append("a.log", "while stopped\n");
    let running = stage.start();
    stage.expect(&["new", "later", "while stopped"]);
    running.stop();
}

#[test]
fn a_missing_directory_and_an_unreadable_file_stop_nobody() {
    let mut stage = Stage::new(&[("filegroups", "f1 f2")]);
    let late = stage.room.path().join("late");
    stage.set("filegroups.f2", &format!("{}/.*", late.display()));
    stage.append("a.log", "one\n");
    // A link to nowhere, and a directory: both match, neither is a file.
    std::os::unix::fs::symlink("/nowhere/at/all", stage.path("link.log")).unwrap();
    fs::create_dir(stage.path("directory.log")).unwrap();
    let running = stage.start();
    stage.expect(&["one"]);
    fs::create_dir(&late).unwrap();
    append(&late.join("x"), "two\n");
    stage.expect(&["one", "two"]);
    running.stop();
}

#[test]
fn a_directory_that_takes_anothers_place_is_watched() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    let directory = stage.room.path().join("in");
    fs::rename(&directory, stage.room.path().join("away")).unwrap();
    fs::create_dir(&directory).unwrap();
    stage.append("a.log", "two\n");
    stage.expect(&["one", "two"]);
    running.stop();
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let spec = spec();
    let has = |pairs: &[(&str, &str)], what: &str| {
        let found = problems(&spec, pairs);
        assert!(found.iter().any(|one| one.contains(what)), "{what}: {found:?}");
    };
    has(&[], "a1.sources.r1.filegroups: required key is missing");
    has(&[("filegroups", "f1")], "no group has a path");
    has(&[("filegroups", "f1"), ("filegroups.f1", "/x/*.log")], "for a shell's `*.log` write `.*\\.log`");
    let good = [("filegroups", "f1 f2"), ("filegroups.f1", "/x/a")];
    has(&good, "group f2 is left out");
    has(&[good[0], good[1], ("batchSize", "0")], "below the smallest");
    has(&[good[0], good[1], ("maxBackoffSleep", "10")], "changes nothing");
    let built = build(&spec, &[("filegroups", "f1"), ("filegroups.f1", "/x/a"), ("batchSize", "7")]);
    assert_eq!(built.batch_size, Some(("batchSize", 7)));
}

/// Lines a second against an engine that drops what it is given: `cargo test --release -p flumen-sources -- --ignored
/// --nocapture taildir_speed`.
#[test]
#[ignore = "a measurement"]
fn taildir_speed() {
    const LINES: u64 = 4_000_000;
    for batch in ["100", "1000", "10000"] {
        let stage = Stage::new(&[("batchSize", batch)]);
        let engine = FakeEngine::with(State { counts_only: true, ..State::default() });
        let stage = Stage { engine, ..stage };
        let line = format!("{}\n", "x".repeat(177));
        stage.append("a.log", line.repeat(LINES as usize));
        let since = Instant::now();
        let running = stage.start();
        eventually(|| "all lines".into(), || stage.engine.state().counted >= LINES);
        let time = since.elapsed();
        running.stop();
        assert_eq!(stage.engine.state().counted, LINES);
        assert_eq!(stage.entries()[0].pos, LINES * 178);
        println!("taildir::read/batchSize={batch} {:.2} M lines/s", LINES as f64 / time.as_secs_f64() / 1e6);
    }
}
