//! A kill is a sink that is dropped: what it handed to the kernel stays in its files, and the channel holds what was
//! released, no more. A rollback is a call that fails, or a flush that is dropped, and a second delivery.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use flumen_api::channel::{PutError, SinkProgress};
use flumen_api::event::Headers;
use flumen_api::{Batch, Position};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::ledger::KEY;
use super::record::{Named, Record};
use super::*;
use crate::testing::{FakeChannel, config, context_over, events};

/// A directory, a channel, and the sinks that live over them one after another.
pub(super) struct Bench {
    pub directory: TempDir,
    pub channel: Arc<FakeChannel>,
    pub keys: Vec<(&'static str, &'static str)>,
}

impl Bench {
    fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(keys: &[(&'static str, &'static str)]) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            channel: FakeChannel::new(),
            keys: keys.to_vec(),
        }
    }

    pub fn build(&self) -> FileRoll {
        let path = self.directory.path().to_str().expect("a name in UTF-8");
        let mut keys = vec![("sink.directory", path)];
        keys.extend(&self.keys);
        let mut problems = Problems::default();
        FileRoll::from_config(&config(&keys), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
    }

    pub async fn start(&self) -> FileRoll {
        let mut sink = self.build();
        sink.start(&context_over(&self.channel)).await.expect("started");
        sink
    }

    /// Flushes and releases, as the runner does.
    pub async fn release(&self, sink: &mut FileRoll) {
        let progress = sink.flush().await.expect("flushed");
        self.channel.release(progress);
    }

    /// Files by number.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort_by_key(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let (stamp, number) = name.split_once('-').expect("a number");
            let number = number.split_once('.').map_or(number, |(number, _extensions)| number);
            (stamp.to_string(), number.parse::<u64>().expect("a number"))
        });
        files
    }

    fn texts(&self) -> Vec<String> {
        let text = |path: &PathBuf| String::from_utf8(fs::read(path).expect("a file")).expect("text");
        self.files().iter().map(text).collect()
    }

    /// Puts bytes behind the only file's end, as a kill leaves them.
    pub fn leave_behind(&self, text: &str) {
        use std::io::Write;
        let path = self.files().pop().expect("a file");
        let mut file = File::options().append(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }
}

pub(super) async fn deliver(sink: &mut FileRoll, bodies: &[&str]) {
    sink.deliver(&events(bodies)).await.expect("delivered");
}

/// What a kill finds: everything that was delivered has reached the kernel.
pub(super) fn kill(mut sink: FileRoll) {
    if let Some(output) = &mut sink.output {
        output.write_out().expect("written");
    }
}

pub(super) fn make_roll_due(sink: &mut FileRoll) {
    sink.running.as_mut().expect("running").next_roll = Some(Instant::now());
}

fn recorded(progress: &[SinkProgress]) -> Vec<Named> {
    let position = progress[0].position.as_ref().expect("a position");
    Record::decode(&position.rest).expect("a record").files
}

#[tokio::test]
async fn lines_are_written_as_they_are_and_large_runs_keep_their_place() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    let long = "x".repeat(DIRECT_RUN);
    deliver(&mut sink, &["one", "", "three"]).await;
    deliver(&mut sink, &[&long, &long]).await;
    deliver(&mut sink, &["four"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), [format!("one\n\nthree\n{long}\n{long}\nfour\n")]);
}

/// Beyond the size that is written without copying.
const DIRECT_RUN: usize = 200 << 10;

#[tokio::test]
async fn bodies_that_lie_apart_are_serialized_one_by_one() {
    let bench = Bench::with(&[("sink.serializer", "header_and_text")]);
    let mut sink = bench.start().await;
    let mut batch = Batch::new();
    let set = batch.add_headers([("k", "v")].into_iter().collect::<Headers>());
    batch.push_with(b"one", set);
    batch.push(b"two");
    sink.deliver(&Events::from_batch(&batch)).await.expect("delivered");
    deliver(&mut sink, &["three"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["{k=v} one\n{} two\n{} three\n"]);
}

#[tokio::test]
async fn without_newlines_bodies_stand_side_by_side() {
    let bench = Bench::with(&[("sink.serializer.appendNewline", "false")]);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["onetwo"]);
}

#[tokio::test]
async fn an_idle_sink_begins_a_file_and_a_new_one_each_interval() {
    let bench = Bench::with(&[("sink.pathManager.extension", "")]);
    let mut sink = bench.start().await;
    assert!(bench.files().is_empty(), "nothing before the first look for events");
    sink.idle().await.expect("idle");
    sink.idle().await.expect("idle");
    assert_eq!(bench.texts(), [""]);
    make_roll_due(&mut sink);
    sink.idle().await.expect("idle");
    make_roll_due(&mut sink);
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["", "", "one\n"]);
    let names: Vec<String> =
        bench.files().iter().map(|p| p.file_name().unwrap().to_string_lossy().into()).collect();
    let (stamp, _) = names[0].split_once('-').expect("a number");
    assert!(stamp.parse::<u64>().expect("milliseconds") > 1_600_000_000_000);
    assert_eq!(names, [1, 2, 3].map(|n| format!("{stamp}-{n}")));
}

#[tokio::test]
async fn an_interval_of_zero_never_rolls() {
    let bench = Bench::with(&[("sink.rollInterval", "0")]);
    let mut sink = bench.start().await;
    assert!(sink.running.as_ref().expect("running").next_roll.is_none());
    make_roll_due(&mut sink);
    sink.idle().await.expect("idle");
    sink.idle().await.expect("idle");
    assert_eq!(bench.files().len(), 1);
}

#[tokio::test]
async fn intervals_that_were_missed_make_one_file() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    sink.idle().await.expect("idle");
    let long_ago = Instant::now() - Duration::from_secs(100);
    sink.running.as_mut().expect("running").next_roll = Some(long_ago);
    sink.idle().await.expect("idle");
    sink.idle().await.expect("idle");
    assert_eq!(bench.files().len(), 2);
    let next = sink.running.as_ref().expect("running").next_roll.expect("a time");
    assert_eq!(next - long_ago, Duration::from_secs(120), "the beat is kept");
}

#[tokio::test]
async fn a_file_is_recorded_before_it_is_created_and_not_created_if_that_fails() {
    let bench = Bench::new();
    let refuse = Arc::new(AtomicBool::new(true));
    let refused = refuse.clone();
    bench.channel.on_record(move |progress| {
        let files = recorded(progress);
        let newest = files.last().expect("a file");
        assert!(!newest.path.exists(), "created before it was recorded");
        assert_eq!((newest.length, newest.inode), (0, 0));
        match refused.load(Ordering::Relaxed) {
            true => Err(PutError::Closed { channel: "c1".into() }),
            false => Ok(()),
        }
    });
    let mut sink = bench.start().await;
    let error = sink.deliver(&events(&["one"])).await.expect_err("not recorded");
    assert!(error.to_string().contains("channel c1 is closed"), "{error}");
    assert!(bench.files().is_empty());
    refuse.store(false, Ordering::Relaxed);
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\n"]);
    assert!(bench.files()[0].to_string_lossy().ends_with("-1"), "a failure uses up no number");
}

#[tokio::test]
async fn a_restart_after_a_clean_end_goes_on_in_the_same_file() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    sink.stop().await;
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n"]);
}

#[tokio::test]
async fn after_a_kill_what_comes_again_is_in_the_file_once() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "two"]).await;
    bench.release(&mut sink).await;
    deliver(&mut sink, &["three", "four"]).await;
    deliver(&mut sink, &["five"]).await;
    // Synced, and not released: the kill comes between.
    sink.flush().await.expect("flushed");
    kill(sink);
    assert_eq!(bench.texts(), ["one\ntwo\nthree\nfour\nfive\n"]);

    let mut sink = bench.start().await;
    deliver(&mut sink, &["three"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\nthree\nfour\nfive\n"], "who follows the file sees no shrink");
    deliver(&mut sink, &["four", "five", "six"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\nthree\nfour\nfive\nsix\n"]);
}

#[tokio::test]
async fn a_kill_before_the_first_release_repeats_nothing_either() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "two"]).await;
    kill(sink);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "two", "three"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\nthree\n"]);
}

#[tokio::test]
async fn half_an_event_is_completed_or_cut() {
    for (again, expected) in [("two", "one\ntwo\n"), ("other", "one\nother\n")] {
        let bench = Bench::new();
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        kill(sink);
        bench.leave_behind("tw");
        let mut sink = bench.start().await;
        deliver(&mut sink, &[again]).await;
        bench.release(&mut sink).await;
        assert_eq!(bench.texts(), [expected]);
    }
}

#[tokio::test]
async fn what_comes_again_otherwise_cuts_the_file_where_it_differs() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    kill(sink);
    bench.leave_behind("two\nthree\nfour\nfive\n");
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two", "thorn"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\nthorn\n"]);
    deliver(&mut sink, &["six"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\nthorn\nsix\n"]);
}

#[tokio::test]
async fn long_events_are_compared_across_reads() {
    let bench = Bench::with(&[("sink.serializer", "HEADER_AND_TEXT")]);
    let (long, other) = ("x".repeat(300 << 10), "y".repeat(100 << 10));
    let mut sink = bench.start().await;
    deliver(&mut sink, &[&long, &other, "end"]).await;
    kill(sink);
    let whole = bench.texts();
    let mut sink = bench.start().await;
    deliver(&mut sink, &[&long, &other]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), whole);
    deliver(&mut sink, &["end"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), whole);
}

#[tokio::test]
async fn a_kill_after_a_roll_with_releases_outstanding_spans_both_files() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    deliver(&mut sink, &["two"]).await;
    let flush = sink.flush();
    make_roll_due(&mut sink);
    deliver(&mut sink, &["three"]).await;
    drop(flush);
    kill(sink);
    assert_eq!(bench.texts(), ["one\ntwo\n", "three\n"]);

    let mut sink = bench.start().await;
    deliver(&mut sink, &["two", "three", "four"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n", "three\nfour\n"]);
    kill(sink);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["five"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n", "three\nfour\nfive\n"]);
}

#[tokio::test]
async fn a_release_that_was_begun_before_a_roll_keeps_both_files_known() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    let flush = sink.flush();
    deliver(&mut sink, &["two"]).await;
    make_roll_due(&mut sink);
    deliver(&mut sink, &["three"]).await;
    bench.channel.release(flush.await.expect("flushed"));
    kill(sink);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two", "three"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n", "three\n"]);
}

#[tokio::test]
async fn when_the_older_file_differs_the_later_one_is_emptied() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "two"]).await;
    make_roll_due(&mut sink);
    deliver(&mut sink, &["three"]).await;
    kill(sink);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one", "other"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\nother\n", ""]);
    kill(sink);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["last"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\nother\nlast\n", ""]);
}

#[tokio::test]
async fn an_idle_roll_cuts_what_did_not_come_again() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    kill(sink);
    bench.leave_behind("tw");
    let mut sink = bench.start().await;
    sink.idle().await.expect("idle");
    assert_eq!(bench.texts(), ["one\ntw"], "it may still come");
    make_roll_due(&mut sink);
    sink.idle().await.expect("idle");
    assert_eq!(bench.texts(), ["one\n", ""]);
}

#[tokio::test]
async fn a_failed_sync_gives_all_back_and_what_comes_again_is_synced_anew() {
    let bench = Bench::new();
    let fail = Arc::new(AtomicBool::new(false));
    let syncs = Arc::new(Mutex::new(Vec::new()));
    let (failing, seen) = (fail.clone(), syncs.clone());
    let mut sink = bench.build();
    sink.sync_one = Some(Box::new(move |target| {
        seen.lock().push(target.directory);
        match failing.load(Ordering::Relaxed) && !target.directory {
            true => Err(io::Error::other("medium error")),
            false => Ok(()),
        }
    }));
    sink.start(&context_over(&bench.channel)).await.expect("started");
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    assert_eq!(*syncs.lock(), [true, false], "the new file's name is synced with its bytes");

    fail.store(true, Ordering::Relaxed);
    deliver(&mut sink, &["two"]).await;
    let (first, second) = (sink.flush(), sink.flush());
    let error = first.await.expect_err("failed").to_string();
    assert!(error.contains("medium error") && error.contains("-1"), "{error}");
    assert!(second.await.is_err());
    fail.store(false, Ordering::Relaxed);
    assert!(sink.flush().await.is_err(), "nothing is released before it comes again");

    syncs.lock().clear();
    deliver(&mut sink, &["two", "three"]).await;
    bench.release(&mut sink).await;
    assert!(syncs.lock().contains(&false));
    assert_eq!(bench.texts(), ["one\ntwo\nthree\n"]);
}

#[tokio::test]
async fn a_dropped_flush_is_a_rollback() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    drop(sink.flush());
    deliver(&mut sink, &["one", "two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n"]);
}

#[tokio::test]
async fn a_flush_that_ends_after_a_failed_delivery_is_not_cut_away() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    let flush = sink.flush();
    bench.channel.on_record(|_| Err(PutError::Closed { channel: "c1".into() }));
    make_roll_due(&mut sink);
    sink.deliver(&events(&["two"])).await.expect_err("the new file cannot be recorded");
    bench.channel.release(flush.await.expect("durable all the same"));
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n"]);
}

#[tokio::test]
async fn a_write_error_names_the_file_and_the_rest_of_the_event_follows() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    // A descriptor that cannot write stands for a full disk; half a line got through before.
    let path = bench.files().pop().expect("a file");
    let piece = Piece {
        file: Arc::new(File::open(&path).expect("opened")),
        path: path.as_path().into(),
        start: 0,
        length: 4,
    };
    sink.output = Output::over(VecDeque::from([piece]), 4);
    deliver(&mut sink, &["two"]).await;
    let error = sink.flush().await.expect_err("cannot write").to_string();
    assert!(error.starts_with(&format!("cannot write {}", path.display())), "{error}");
    bench.leave_behind("tw");
    assert!(sink.flush().await.is_err(), "nothing is released that was lost");
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n"]);
}

#[tokio::test]
async fn a_file_that_is_gone_shorter_or_another_is_left_alone() {
    type Change = fn(&Path);
    let changes: [(Change, &[&str]); 3] = [
        (|path| fs::remove_file(path).expect("removed"), &["two\n"]),
        (
            |path| File::options().write(true).open(path).and_then(|f| f.set_len(2)).expect("cut"),
            &["on", "two\n"],
        ),
        (
            |path| {
                // The old inode stays in use, so the new file cannot get its number.
                fs::rename(path, path.with_file_name("0-0")).expect("renamed");
                fs::write(path, "somebody's file\n").expect("written");
            },
            &["one\n", "somebody's file\n", "two\n"],
        ),
    ];
    for (change, expected) in changes {
        let bench = Bench::new();
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        kill(sink);
        change(&bench.files()[0]);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["two"]).await;
        bench.release(&mut sink).await;
        assert_eq!(bench.texts(), expected);
    }
}

#[tokio::test]
async fn a_file_that_was_recorded_and_never_created_is_no_trouble() {
    let bench = Bench::new();
    let path = bench.directory.path().join("5-1");
    let record =
        Record { layout: "TEXT+newline".into(), files: vec![Named { path, device: 0, inode: 0, length: 0 }] };
    let position = Position { generation: 0, began: 0, to: 77, rest: record.encode() };
    bench.channel.release(vec![SinkProgress { key: KEY.into(), position: Some(position) }]);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    let progress = sink.flush().await.expect("flushed");
    assert_eq!(progress[0].position.as_ref().expect("a position").to, 81, "the position never falls");
    assert_eq!(bench.texts(), ["one\n"]);
}

#[tokio::test]
async fn another_serializer_begins_another_file_and_leaves_no_half_event() {
    let mut bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    kill(sink);
    bench.leave_behind("tw");
    bench.keys.push(("sink.serializer", "HEADER_AND_TEXT"));
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\n", "{} two\n"]);
}

#[tokio::test]
async fn another_directory_begins_another_file_and_leaves_no_half_event() {
    let mut bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    kill(sink);
    bench.leave_behind("tw");
    let old = std::mem::replace(&mut bench.directory, tempfile::tempdir().expect("a directory"));
    let old_file =
        fs::read_dir(old.path()).expect("a directory").next().expect("a file").expect("an entry").path();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["two\n"]);
    assert_eq!(fs::read_to_string(old_file).expect("the old file"), "one\n");
}

#[tokio::test]
async fn an_existing_file_is_never_written_over() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    sink.idle().await.expect("idle");
    let first = bench.files()[0].to_str().expect("a name").to_string();
    let second = first.strip_suffix("-1").expect("number one").to_string() + "-2";
    fs::write(second, "somebody's\n").expect("written");
    make_roll_due(&mut sink);
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["", "somebody's\n", "one\n"]);
}

#[tokio::test]
async fn a_missing_directory_fails_the_start_and_names_it() {
    for make in [|_: &Path| {}, |path: &Path| fs::write(path, "a file").expect("written")] {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("logs");
        make(&path);
        let keys = [("sink.directory", path.to_str().expect("a name"))];
        let mut sink = FileRoll::from_config(&config(&keys), &mut Problems::default()).expect("built");
        let error =
            sink.start(&context_over(&FakeChannel::new())).await.expect_err("no directory").to_string();
        assert!(error.starts_with(&format!("sink.directory {}: ", path.display())), "{error}");
    }
}

#[tokio::test]
async fn a_directory_that_goes_away_is_an_error_until_it_is_back() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    let (path, away) = (bench.directory.path(), bench.directory.path().with_extension("away"));
    fs::rename(path, &away).expect("renamed");
    make_roll_due(&mut sink);
    let error = sink.deliver(&events(&["two"])).await.expect_err("no directory").to_string();
    assert!(error.starts_with(&format!("cannot create {}", path.display())), "{error}");
    fs::rename(&away, path).expect("renamed");
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(bench.texts(), ["one\ntwo\n"]);
}

#[tokio::test]
async fn files_have_the_mode_that_the_umask_leaves() {
    let bench = Bench::new();
    let mut sink = bench.start().await;
    sink.idle().await.expect("idle");
    let probe = bench.directory.path().join("0-0");
    fs::write(&probe, "").expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&bench.files()[1]), mode(&probe));
}

#[test]
fn keys_have_flumes_defaults() {
    let mut problems = Problems::default();
    let sink = FileRoll::from_config(&config(&[("sink.directory", "/d")]), &mut problems).expect("built");
    assert_eq!(sink.roll_interval(), Some(Duration::from_secs(30)));
    assert_eq!(sink.take_limit().events, 100);
    assert!(problems.0.is_empty());
    assert!(build(&config(&[]), &mut problems).is_none());
    assert!(problems.0[0].to_string().contains("a1.sinks.k1.sink.directory: required key is missing"));
}

#[test]
fn bad_values_leave_the_sink_out() {
    for bad in [
        ("sink.rollInterval", "soon"),
        ("sink.batchSize", "0"),
        ("sink.serializer", "JSON"),
        ("sink.pathManager", "MINE"),
        ("sink.pathManager.prefix", "a/b"),
    ] {
        let mut problems = Problems::default();
        assert!(FileRoll::from_config(&config(&[("sink.directory", "/d"), bad]), &mut problems).is_none());
        assert_eq!(problems.errors(), 1, "{bad:?}");
    }
}

/// Goal: whatever happens in whichever order, every event is in the files once, in order, and nothing else is.
///
/// Method: a channel of numbered lines is drained by a sink under random takes, flushes, rolls, rollbacks and kills; a kill
/// keeps any part of what was written and not synced. The lines' lengths differ, so that cuts fall everywhere. At the
/// end the files, in order, hold the lines 0, 1, 2 ...
#[tokio::test]
async fn every_line_is_in_the_files_once_whatever_happens() {
    for seed in 1..=60 {
        random_life(seed).await.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

async fn random_life(seed: u64) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let bench = Bench::new();
    let mut sink = bench.start().await;
    let line = |n: usize| format!("{n}:{}", "abc".repeat(n * 7 % 11));
    // Lines before `released` are released; before `taken`, delivered.
    let (mut released, mut taken, mut longest) = (0, 0, 0);
    let mut flushes: VecDeque<(usize, FlushFuture)> = VecDeque::new();
    for _ in 0..150 {
        match random.below(12) {
            0..=4 => {
                let lines: Vec<String> = (taken..taken + random.below(5) + 1).map(line).collect();
                let bodies: Vec<&str> = lines.iter().map(String::as_str).collect();
                deliver(&mut sink, &bodies).await;
                taken += lines.len();
                longest = taken.max(longest);
            }
            5 | 6 if flushes.len() < 3 && taken > flushes.back().map_or(released, |flush| flush.0) => {
                flushes.push_back((taken, sink.flush()))
            }
            7 | 8 => {
                if let Some((target, flush)) = flushes.pop_front() {
                    bench.channel.release(flush.await.map_err(|error| error.to_string())?);
                    released = target;
                }
            }
            9 => make_roll_due(&mut sink),
            10 if flushes.is_empty() && taken == released => sink.idle().await.expect("idle"),
            11 => {
                if flushes.is_empty() || random.below(3) == 0 {
                    flushes.clear();
                    kill(sink);
                    // Only the last file can lose bytes: a file is synced before the next is named.
                    lose_some(&bench, &mut random)?;
                    sink = bench.start().await;
                } else {
                    flushes.clear();
                }
                taken = released;
            }
            _ => {}
        }
    }
    // At last everything that was ever written comes again, and one line more.
    for (_, flush) in flushes {
        bench.channel.release(flush.await.map_err(|error| error.to_string())?);
    }
    let lines: Vec<String> = (taken..=longest).map(line).collect();
    deliver(&mut sink, &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bench.release(&mut sink).await;
    let expected: String = (0..=longest).flat_map(|n| [line(n), "\n".into()]).collect();
    let found = bench.texts().concat();
    if found == expected { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

/// Cuts the newest file anywhere behind what is released in it.
fn lose_some(bench: &Bench, random: &mut Random) -> Result<(), String> {
    let positions = flumen_api::Channel::sink_positions(&*bench.channel, "k1");
    let Some(position) = positions.get(KEY) else { return Ok(()) };
    let record = Record::decode(&position.rest).map_err(|error| error.to_string())?;
    let Some(last) = record.files.last() else { return Ok(()) };
    let Ok(metadata) = last.path.metadata() else { return Ok(()) };
    let kept = last.length + random.below((metadata.len() - last.length) as usize + 1) as u64;
    let file = File::options().write(true).open(&last.path).map_err(|error| error.to_string())?;
    file.set_len(kept).map_err(|error| error.to_string())
}

/// xorshift64*: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}
