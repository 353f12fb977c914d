//! The sink over local files: names, rolling, releases, what a failure and a kill leave.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::Position;
use flumen_api::channel::SinkProgress;
use flumen_api::event::Headers;
use flumen_api::registry::Factory;
use flumen_api::settings::Problems;
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_api::{Batch, Events};

use super::record::{self, Names};
use crate::testing::{FakeChannel, Logged, PATIENCE, config, context_over, events};

/// A sink of text below `directory`, with further keys.
fn sink(directory: &Path, keys: &[(&str, &str)]) -> Box<dyn Sink> {
    let path = format!("file:{}", directory.display());
    let mut all = vec![
        ("hdfs.path", path.as_str()),
        ("hdfs.fileType", "DataStream"),
        ("hdfs.rollInterval", "0"),
        ("hdfs.rollSize", "0"),
        ("hdfs.rollCount", "0"),
    ];
    all.retain(|(key, _)| !keys.iter().any(|(other, _)| key == other));
    all.extend(keys);
    let mut problems = Problems::default();
    let Factory::Sink(build) = super::spec().factory else { panic!("a sink") };
    build(&config(&all), &mut problems).unwrap_or_else(|| panic!("{problems:?}")).component
}

/// A sink at work, with its channel.
struct World {
    directory: tempfile::TempDir,
    channel: Arc<FakeChannel>,
    context: SinkContext,
    sink: Box<dyn Sink>,
}

impl World {
    async fn new(keys: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let channel = FakeChannel::new();
        let (context, sink) = (context_over(&channel), sink(directory.path(), keys));
        let mut world = Self { directory, channel, context, sink };
        world.sink.start(&world.context).await.expect("started");
        world
    }

    /// The next life over the same channel and directory.
    async fn next_life(self, keys: &[(&str, &str)]) -> Self {
        let Self { directory, channel, sink: old, .. } = self;
        // Without a stop, as a kill is.
        drop(old);
        let (context, sink) = (context_over(&channel), sink(directory.path(), keys));
        let mut world = Self { directory, channel, context, sink };
        world.sink.start(&world.context).await.expect("started");
        world
    }

    async fn deliver(&mut self, bodies: &[&str]) {
        self.sink.deliver(&events(bodies)).await.expect("delivered");
    }

    /// Flushes, and releases as the runner does.
    async fn flush(&mut self) {
        let progress = self.sink.flush().await.expect("flushed");
        self.channel.release(progress);
    }

    fn files(&self) -> BTreeMap<String, String> {
        files(self.directory.path())
    }

    /// Waits until the files' contents are these, whatever their numbers; names that end with `.tmp` are marked.
    #[track_caller]
    fn wait_for(&self, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: Vec<String> = self
                .files()
                .into_iter()
                .map(|(name, text)| if name.ends_with(".tmp") { format!("tmp:{text}") } else { text })
                .collect();
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?} instead of {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Names, from the directory on, and contents.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                let name = path.strip_prefix(directory).expect("below").display().to_string();
                found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    found
}

/// Events with one header each.
fn with_header(name: &str, pairs: &[(&str, &str)]) -> Events {
    let mut batch = Batch::new();
    for (value, body) in pairs {
        let set = batch.add_headers(Headers::from_iter([(name, *value)]));
        batch.push_with(body.as_bytes(), set);
    }
    Events::from_batch(&batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_its_last_name_when_all_of_it_is_released_and_not_before() {
    let mut world = World::new(&[("hdfs.rollCount", "2")]).await;
    world.deliver(&["one", "two", "three"]).await;
    assert!(world.files().keys().all(|name| name.ends_with(".tmp")), "{:?}", world.files());
    world.flush().await;
    assert!(world.files().keys().all(|name| name.ends_with(".tmp")), "{:?}", world.files());
    world.sink.idle().await.expect("idle");
    world.wait_for(&["one\ntwo\n", "tmp:three\n"]);
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\n", "three\n"]);
    let names: Vec<u64> = world
        .files()
        .keys()
        .map(|name| name.strip_prefix("FlumeData.").expect(name).parse().expect("a number"))
        .collect();
    assert_eq!(names[0] + 1, names[1], "one bucket counts on");
    assert!(world.context.positions().is_empty(), "{:?}", world.context.positions());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_end_by_count_by_size_and_where_a_bucket_has_both_by_what_comes_first() {
    for (keys, expected) in [
        (vec![("hdfs.rollCount", "3")], vec!["aa\nbb\ncc\n", "dd\nee\nff\n", "gg\n"]),
        // Bodies count, the newline does not; the event that reaches the size is the last.
        (vec![("hdfs.rollSize", "5")], vec!["aa\nbb\ncc\n", "dd\nee\nff\n", "gg\n"]),
        (
            vec![("hdfs.rollSize", "4"), ("hdfs.rollCount", "9")],
            vec!["aa\nbb\n", "cc\ndd\n", "ee\nff\n", "gg\n"],
        ),
    ] {
        let mut world = World::new(&keys).await;
        world.deliver(&["aa", "bb", "cc", "dd"]).await;
        world.deliver(&["ee", "ff", "gg"]).await;
        world.flush().await;
        world.sink.stop().await;
        world.wait_for(&expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_end_by_time_and_when_nothing_comes() {
    for key in ["hdfs.rollInterval", "hdfs.idleTimeout"] {
        let mut world = World::new(&[(key, "1")]).await;
        world.deliver(&["one"]).await;
        world.flush().await;
        let deadline = Instant::now() + PATIENCE;
        while world.files().keys().any(|name| name.ends_with(".tmp")) {
            assert!(Instant::now() < deadline, "{key}: {:?}", world.files());
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.sink.idle().await.expect("idle");
        }
        world.wait_for(&["one\n"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_affixes_make_the_names() {
    let keys = [
        ("hdfs.filePrefix", "%{h}-log"),
        ("hdfs.fileSuffix", ".txt"),
        ("hdfs.inUsePrefix", "_"),
        ("hdfs.inUseSuffix", ".writing"),
    ];
    let mut world = World::new(&keys).await;
    let pairs = [("a", "1"), ("b", "2"), ("a", "3")];
    world.sink.deliver(&with_header("h", &pairs)).await.expect("delivered");
    world.flush().await;
    let shaped = |files: BTreeMap<String, String>| -> Vec<(String, String)> {
        let number = |c: char| if c.is_ascii_digit() { '0' } else { c };
        files.into_iter().map(|(name, text)| (name.chars().map(number).collect(), text)).collect()
    };
    let named =
        |a: &str, b: &str| vec![(a.to_string(), "1\n3\n".to_string()), (b.to_string(), "2\n".to_string())];
    assert_eq!(
        shaped(world.files()),
        named("_a-log.0000000000000.txt.writing", "_b-log.0000000000000.txt.writing")
    );
    world.sink.stop().await;
    assert_eq!(shaped(world.files()), named("a-log.0000000000000.txt", "b-log.0000000000000.txt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_cut_off_and_goes_to_another_file() {
    let mut world = World::new(&[]).await;
    world.deliver(&["one", "two"]).await;
    world.flush().await;
    world.deliver(&["three"]).await;
    // The sync has happened, and the runner has given the events back all the same.
    let flush = world.sink.flush();
    drop(flush);
    assert!(world.sink.flush().await.is_err(), "nothing is released before the sink has begun over");
    world.deliver(&["three", "four"]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\n", "three\nfour\n"]);
    assert!(world.context.positions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_which_everything_is_released_go_on_after_a_failure() {
    let mut world = World::new(&[("hdfs.filePrefix", "%{h}")]).await;
    world.sink.deliver(&with_header("h", &[("a", "1"), ("b", "2")])).await.expect("delivered");
    world.flush().await;
    world.sink.deliver(&with_header("h", &[("b", "3")])).await.expect("delivered");
    drop(world.sink.flush());
    world.sink.deliver(&with_header("h", &[("b", "3"), ("a", "4")])).await.expect("delivered");
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["1\n4\n", "2\n", "3\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_life_finishes_what_a_kill_left_and_touches_nothing_else() {
    let mut world = World::new(&[("hdfs.filePrefix", "%{h}")]).await;
    world.sink.deliver(&with_header("h", &[("a", "1"), ("b", "2")])).await.expect("delivered");
    world.flush().await;
    // Written, synced, and never released; and a file of which nothing is.
    world.sink.deliver(&with_header("h", &[("b", "3"), ("c", "4")])).await.expect("delivered");
    let unreleased = world.sink.flush().await.expect("flushed");
    assert_eq!(unreleased.len(), 2);
    let foreign = world.directory.path().join("a.1.tmp");
    fs::write(&foreign, "5\n").expect("written");
    let world = world.next_life(&[]).await;
    world.wait_for(&["tmp:5\n", "1\n", "2\n"]);
    let deadline = Instant::now() + PATIENCE;
    while !world.context.positions().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", world.context.positions());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_renamed_before_the_kill_is_taken_as_finished() {
    let mut world = World::new(&[("hdfs.rollCount", "1")]).await;
    world.deliver(&["one"]).await;
    let progress = world.sink.flush().await.expect("flushed");
    world.channel.release(progress.clone());
    world.sink.stop().await;
    world.wait_for(&["one\n"]);
    // As if the last record had not become durable.
    world.channel.release(progress);
    let world = world.next_life(&[]).await;
    let deadline = Instant::now() + PATIENCE;
    while !world.context.positions().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", world.context.positions());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.wait_for(&["one\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_passed_over() {
    let mut world = World::new(&[("hdfs.rollCount", "1")]).await;
    world.deliver(&["one"]).await;
    let name = world.files().into_keys().next().expect("a file");
    let number: u64 = name.split('.').nth(1).expect(&name).parse().expect("a number");
    let taken = |number: u64, end: &str| world.directory.path().join(format!("FlumeData.{number}{end}"));
    // Of the next file the name while it is written; of this one the last name.
    fs::write(taken(number + 1, ".tmp"), "theirs").expect("written");
    fs::write(taken(number, ""), "theirs as well").expect("written");
    world.deliver(&["two"]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["theirs as well", "one\n", "tmp:theirs", "two\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eldest_file_is_closed_when_too_many_are_open() {
    let mut world = World::new(&[("hdfs.filePrefix", "%{h}"), ("hdfs.maxOpenFiles", "2")]).await;
    let pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")];
    world.sink.deliver(&with_header("h", &pairs)).await.expect("delivered");
    world.flush().await;
    world.sink.idle().await.expect("idle");
    world.wait_for(&["tmp:1\n3\n", "2\n", "tmp:4\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_path_refuses_goes_to_the_dead_letter_and_the_others_flow() {
    let world = World::new(&[]).await;
    let path = format!("file:{}/%{{h}}", world.directory.path().display());
    let with_dead_letter = world.context.clone().with_dead_letter(true);
    // A file is where a directory would have to be.
    fs::write(world.directory.path().join("bad"), "").expect("written");
    let pairs = [("good", "1"), ("bad", "2"), ("good", "3"), ("bad", "4")];
    for context in [&with_dead_letter, &world.context] {
        let mut sink = sink(world.directory.path(), &[("hdfs.path", &path)]);
        sink.start(context).await.expect("started");
        let error: SinkError = sink.deliver(&with_header("h", &pairs)).await.expect_err("refused");
        assert!(error.message.contains("/bad/FlumeData"), "{error}");
        if std::ptr::eq(context, &with_dead_letter) {
            assert_eq!(error.refused, [1, 3]);
            let progress: Vec<SinkProgress> = sink.flush().await.expect("the others stand");
            assert_eq!(progress.len(), 1);
            world.channel.release(progress);
            sink.stop().await;
            assert!(world.files().values().any(|text| text == "1\n3\n"), "{:?}", world.files());
        } else {
            assert!(error.refused.is_empty());
            assert!(error.retry_after.is_some());
            assert!(sink.flush().await.is_err(), "nothing of it is released");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_its_header_is_refused_where_the_key_says_so() {
    let keys = [("hdfs.filePrefix", "%{h}"), ("hdfs.onMissingHeader", "refuse")];
    let mut world = World::new(&keys).await;
    world.context = world.context.clone().with_dead_letter(true);
    world.sink.start(&world.context).await.expect("started again");
    let events = with_header("other", &[("a", "1")]);
    let error = world.sink.deliver(&events).await.expect_err("refused");
    assert_eq!(error.refused, [0]);
    assert!(error.message.contains("`h`"), "{error}");
    world.flush().await;
    assert!(world.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_that_could_not_be_noted() {
    let mut world = World::new(&[]).await;
    world.channel.on_record(|_| {
        let reason = "the disk is full".to_string();
        Err(flumen_api::channel::PutError::Failed { channel: "c1".into(), reason })
    });
    let error = world.sink.deliver(&events(&["one"])).await.expect_err("not noted");
    assert!(error.message.contains("the disk is full"), "{error}");
    assert!(world.files().is_empty(), "{:?}", world.files());
}

/// As if an earlier life had noted this and come no further.
fn noted(number: u64, names: &Names, released: u64) -> SinkProgress {
    let position = Position { generation: 0, began: 0, to: released, rest: names.encode() };
    SinkProgress { key: record::key(number), position: Some(position) }
}

/// Lives that do nothing but finish what was left, until the journal has these keys and no others.
async fn finish_until(channel: &Arc<FakeChannel>, directory: &Path, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    let context = context_over(channel);
    loop {
        let mut sink = sink(directory, &[]);
        sink.start(&context).await.expect("started");
        sink.stop().await;
        let left: Vec<String> = context.positions().into_keys().collect();
        if left == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} instead of {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_file_system_stays_in_the_journal_until_the_sink_is_there_again() {
    let world = World::new(&[]).await;
    let path = |name: &str| world.directory.path().join(name).display().to_string();
    let names = |name: &str, place: &str| {
        let names = Names::new(path(&format!("{name}.tmp")), path(name));
        Names { place: place.into(), made: true, ..names }
    };
    fs::write(path("moved.tmp"), "moved\n+").expect("written");
    fs::write(path("renamed"), "renamed\n").expect("written");
    world.channel.release(vec![
        noted(1, &names("away", "hdfs://other:8020"), 5),
        noted(2, &names("begun", "hdfs://other:8020"), 0),
        noted(3, &names("gone", "file://"), 5),
        noted(4, &names("old", ""), 5),
        noted(5, &names("moved", "hdfs://other:8020"), 6),
        noted(6, &names("renamed", "hdfs://other:8020"), 8),
    ]);
    finish_until(&world.channel, world.directory.path(), &["f1", "f2"]).await;
    let found =
        [("moved", "moved\n"), ("renamed", "renamed\n")].map(|(name, text)| (name.into(), text.into()));
    assert_eq!(world.files(), found.into());
    // As if the path led there again.
    fs::write(path("away.tmp"), "away\n").expect("written");
    fs::write(path("begun.tmp"), "never delivered").expect("written");
    finish_until(&world.channel, world.directory.path(), &[]).await;
    assert_eq!(world.files().into_values().collect::<Vec<_>>(), ["away\n", "moved\n", "renamed\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_sink_may_have_created_first_is_left_to_it() {
    let mut world = World::new(&[]).await;
    world.deliver(&["one"]).await;
    world.flush().await;
    world.deliver(&["two"]).await;
    let in_use = world.files().into_keys().next().expect("a file");
    let path = |name: &str| world.directory.path().join(name).display().to_string();
    let names = |name: &str| Names::new(path(&format!("{name}.tmp")), path(name));
    fs::write(path("theirs.tmp"), "theirs\n").expect("written");
    fs::write(path("empty.tmp"), "").expect("written");
    // Somebody has it, and has not written to it.
    let empty = fs::File::create(path("begun.tmp")).expect("written");
    rustix::fs::flock(&empty, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let channel = FakeChannel::new();
    channel.release(vec![
        noted(1, &names("theirs"), 0),
        noted(2, &names("empty"), 0),
        noted(3, &names("begun"), 0),
        noted(4, &Names::new(path(&in_use), path("x")), 0),
    ]);
    finish_until(&channel, world.directory.path(), &[]).await;
    let found: Vec<String> = world.files().into_keys().collect();
    assert_eq!(found, [in_use.as_str(), "begun.tmp", "theirs.tmp"]);
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\n", "tmp:", "tmp:theirs\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_a_file_that_the_journal_does_not_have_as_created() {
    let mut world = World::new(&[]).await;
    world.channel.on_record(|progress| {
        let names =
            |one: &SinkProgress| Names::decode(&one.position.as_ref().expect("one").rest).expect("names");
        let reason = "the disk is full".to_string();
        let failed = flumen_api::channel::PutError::Failed { channel: "c1".into(), reason };
        if progress.iter().any(|one| names(one).made) { Err(failed) } else { Ok(()) }
    });
    world.deliver(&["one"]).await;
    let error = world.sink.flush().await.expect_err("not noted");
    assert!(error.message.contains("the disk is full"), "{error}");
    assert!(world.files().values().all(String::is_empty), "{:?}", world.files());
}

#[test]
fn a_sink_that_has_no_place_for_a_journal_says_so() {
    let logged = Logged::capture();
    drop(super::journal::Journal::open(&context_over(&FakeChannel::new()), None));
    assert_eq!(logged.lines(), [], "its channel keeps it");
    drop(super::journal::Journal::open(&context_over(&FakeChannel::volatile()), None));
    let lines = logged.lines();
    assert!(lines.len() == 1 && lines[0].1.contains("`hdfs.journal`"), "{lines:?}");
}

#[test]
fn keys_that_change_nothing_are_told() {
    let keys = [("hdfs.path", "/x"), ("hdfs.rollTimerPoolSize", "2"), ("hdfs.useRawLocalFileSystem", "true")];
    let mut problems = Problems::default();
    let Factory::Sink(build) = super::spec().factory else { panic!("a sink") };
    build(&config(&keys), &mut problems).expect("a sink");
    for (key, why) in [("hdfs.rollTimerPoolSize", "threads"), ("hdfs.useRawLocalFileSystem", "checksum")] {
        let mut lines = problems.0.iter().map(ToString::to_string);
        let said = lines.any(|line| line.contains(key) && line.contains(why));
        assert!(said, "{key}: {problems:?}");
    }
}
