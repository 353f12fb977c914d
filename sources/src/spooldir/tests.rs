//! Claims about what becomes of files that are moved into the directory.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::spec;
use super::tracker::Tracker;
use crate::testing::{FakeEngine, Fate, Running, eventually, problems};

struct Room {
    room: tempfile::TempDir,
    engine: Arc<FakeEngine>,
    keys: Vec<(String, String)>,
}

impl Room {
    fn new(keys: &[(&str, &str)]) -> Self {
        let room = tempfile::tempdir().unwrap();
        let spool = room.path().join("spool");
        fs::create_dir(&spool).unwrap();
        let mut all = vec![("spoolDir".to_string(), spool.to_str().unwrap().to_string())];
        all.push(("pollDelay".into(), "5".into()));
        all.extend(keys.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        Self { room, engine: FakeEngine::new(), keys: all }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join("spool").join(name)
    }

    /// Moves a file in whole.
    fn drop_in(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.drop_in_written(name, bytes, SystemTime::now());
    }

    fn drop_in_written(&self, name: &str, bytes: impl AsRef<[u8]>, written: SystemTime) {
        let aside = self.room.path().join("being written");
        fs::write(&aside, bytes).unwrap();
        File::options().write(true).open(&aside).unwrap().set_modified(written).unwrap();
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::rename(&aside, self.path(name)).unwrap();
    }

    fn start(&self) -> Running {
        let keys: Vec<(&str, &str)> = self.keys.iter().map(|(key, value)| (&**key, &**value)).collect();
        Running::start(&spec(), &self.engine, &keys)
    }

    /// Waits until so many events are in the channel.
    fn wait(&self, count: usize) {
        eventually(|| format!("{:?}", self.engine.bodies()), || self.engine.state().events.len() >= count);
    }

    fn wait_for(&self, name: &str) {
        eventually(|| format!("{name} of {:?}", self.names()), || self.path(name).exists());
    }

    /// Waits until nothing is known of any file, and stops the source.
    fn stop_when_settled(&self, running: Running) {
        eventually(
            || format!("{:?}", self.engine.state().positions),
            || self.engine.state().positions.is_empty(),
        );
        running.stop();
    }

    /// The names in the directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != ".flumespool");
        names.sort();
        names
    }

    fn trouble(&self) -> String {
        self.engine.state().trouble.clone().unwrap_or_default()
    }

    /// Starts with room for one line of `a`, which has three, and returns once that is in the channel.
    fn start_in_the_middle_of_a(&self) -> Running {
        self.engine.state().room = Some(1);
        self.drop_in("a", "one\ntwo\nthree\n");
        let running = self.start();
        self.wait(1);
        running
    }

    fn make_room(&self) {
        self.engine.state().room = None;
    }
}

const ONE_BY_ONE: &[(&str, &str)] = &[("batchSize", "1")];

#[test]
fn each_file_is_put_once_and_renamed_and_nothing_is_known_of_it_then() {
    let room =
        Room::new(&[("fileHeader", "true"), ("basenameHeader", "true"), ("basenameHeaderKey", "name")]);
    room.drop_in("a", "one\ntwo\n");
    let running = room.start();
    room.wait_for("a.COMPLETED");
    room.drop_in("b", "three");
    room.wait_for("b.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
    let state = room.engine.state();
    let headers = &state.events[2].headers;
    assert_eq!(headers.get("file"), room.path("b").to_str());
    assert_eq!(headers.get("name"), Some("b"));
    drop(state);
    // The next life finds nothing to read.
    room.stop_when_settled(room.start());
    assert_eq!(room.engine.bodies().len(), 3);
    assert_eq!(room.names(), ["a.COMPLETED", "b.COMPLETED"]);
}

#[test]
fn an_empty_file_is_one_empty_event() {
    let room = Room::new(&[]);
    room.drop_in("a", "");
    room.drop_in("b", "");
    let running = room.start();
    room.wait_for("b.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["", ""]);
}

#[test]
fn who_was_stopped_in_the_middle_of_a_file_goes_on_there() {
    let room = Room::new(ONE_BY_ONE);
    room.start_in_the_middle_of_a().stop();
    assert_eq!(room.engine.bodies(), ["one"]);
    // The channel knows it, without Flume's tracker file.
    fs::remove_dir_all(room.path(".flumespool")).unwrap();
    room.make_room();
    let running = room.start();
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
    assert_eq!(room.engine.state().dropped, 0);
}

#[test]
fn a_file_whose_byte_order_mark_is_far_behind_is_gone_on_with_in_its_order() {
    let room = Room::new(&[("batchSize", "1"), ("inputCharset", "UTF-16")]);
    let bytes: Vec<u8> = "\u{feff}one\n\u{4e2d}\nthree\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    room.engine.state().room = Some(1);
    room.drop_in("a", bytes);
    let running = room.start();
    room.wait(1);
    running.stop();
    assert_eq!(room.engine.bodies(), ["one"]);
    room.make_room();
    let running = room.start();
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "\u{4e2d}", "three"]);
}

#[test]
fn pauses_while_the_channel_is_full_double_up_to_the_longest() {
    let room = Room::new(&[("maxBackoff", "600")]);
    room.engine.state().fates = [Fate::Full; 4].into();
    room.drop_in("a", "one\ntwo\n");
    let running = room.start();
    room.wait_for("a.COMPLETED");
    room.stop_when_settled(running);
    let pauses: Vec<_> = room.engine.state().pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [250, 500, 600, 600]);
    assert_eq!(room.engine.bodies(), ["one", "two"]);
}

#[test]
fn what_failed_on_its_way_is_put_again_and_nothing_twice() {
    use Fate::{Failing, KeptAndAcked, KeptAndFailed, Lost};
    for fates in
        [vec![Lost], vec![KeptAndAcked, Lost], vec![KeptAndFailed], vec![Lost, Failing], vec![Failing]]
    {
        let room = Room::new(ONE_BY_ONE);
        room.engine.state().fates = fates.clone().into();
        let old = SystemTime::now() - Duration::from_secs(9);
        room.drop_in_written("a", "one\ntwo\nthree\n", old);
        room.drop_in("b", "four\nfive\n");
        let running = room.start();
        room.wait_for("b.COMPLETED");
        room.stop_when_settled(running);
        assert_eq!(room.engine.bodies(), ["one", "two", "three", "four", "five"], "{fates:?}");
    }
}

#[test]
fn a_file_keeps_its_name_until_its_last_event_is_durable() {
    let room = Room::new(&[]);
    room.engine.state().fates = [Fate::LostLater, Fate::LostLater].into();
    room.drop_in("a", "one\ntwo\n");
    let running = room.start();
    room.wait_for("a.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_set_aside_and_the_others_go_on() {
    let room = Room::new(ONE_BY_ONE);
    let running = room.start_in_the_middle_of_a();
    File::options().append(true).open(room.path("a")).unwrap().write_all(b"late\n").unwrap();
    room.drop_in("b", "four\n");
    room.make_room();
    room.wait_for("b.COMPLETED");
    room.wait_for("a.REJECTED");
    assert_eq!(room.engine.bodies(), ["one", "two", "three", "four"]);
    eventually(|| room.trouble(), || room.trouble().contains("a.REJECTED"));
    assert!(
        room.trouble().contains("it had 14 bytes when it was opened and has 19 now"),
        "{}",
        room.trouble()
    );
    assert_eq!(running.context.metrics.generic_processing_fail.get(), 1);
    // It is a trouble for as long as it is there, also after a start.
    room.stop_when_settled(running);
    let running = room.start();
    eventually(|| room.trouble(), || room.trouble().contains("a.REJECTED"));
    fs::remove_file(room.path("a.REJECTED")).unwrap();
    eventually(|| room.trouble(), || room.engine.state().trouble.is_none());
    running.stop();
}

#[test]
fn a_file_that_became_shorter_is_set_aside_and_nothing_is_made_up() {
    let room = Room::new(ONE_BY_ONE);
    room.engine.state().room = Some(1);
    // Longer than one read, so that the rest is not in memory yet.
    room.drop_in("a", "one\n".repeat(500_000));
    let running = room.start();
    room.wait(1);
    File::options().write(true).open(room.path("a")).unwrap().set_len(8).unwrap();
    room.make_room();
    room.wait_for("a.REJECTED");
    room.stop_when_settled(running);
    assert!(room.engine.bodies().iter().all(|body| body == "one"));
}

#[test]
fn a_file_that_changed_while_nobody_looked_is_set_aside_where_it_stands() {
    let room = Room::new(ONE_BY_ONE);
    room.start_in_the_middle_of_a().stop();
    fs::write(room.path("a"), "other\nlines\n").unwrap();
    room.make_room();
    let running = room.start();
    room.wait_for("a.REJECTED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one"]);
}

#[test]
fn a_name_that_is_used_again_is_set_aside_once_all_of_it_is_put() {
    for (keys, sign) in [(&[][..], "a.REJECTED"), (&[("deletePolicy", "never")][..], "a.REJECTED")] {
        let room = Room::new(keys);
        fs::write(room.path("a.COMPLETED"), "old").unwrap();
        fs::write(room.path("a.REJECTED"), "older").unwrap();
        room.drop_in("a", "one\n");
        room.drop_in("b", "two\n");
        let running = room.start();
        room.wait_for("b.COMPLETED");
        room.wait_for("a.REJECTED.2");
        room.stop_when_settled(running);
        let mut bodies = room.engine.bodies();
        bodies.sort();
        assert_eq!(bodies, ["one", "two"]);
        assert_eq!(fs::read(room.path("a.COMPLETED")).unwrap(), b"old");
        assert_eq!(fs::read(room.path(sign)).unwrap(), b"older");
        assert!(room.trouble().contains("its name was used before"), "{}", room.trouble());
    }
}

#[test]
fn a_file_that_is_renamed_while_it_is_read_is_settled_under_its_new_name() {
    let room = Room::new(ONE_BY_ONE);
    let running = room.start_in_the_middle_of_a();
    fs::rename(room.path("a"), room.path("z")).unwrap();
    room.make_room();
    room.wait_for("z.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
    assert_eq!(room.names(), ["z.COMPLETED"]);
}

#[test]
fn a_file_that_is_renamed_between_two_lives_goes_on_where_it_stood() {
    let room = Room::new(ONE_BY_ONE);
    room.start_in_the_middle_of_a().stop();
    fs::rename(room.path("a"), room.path("z")).unwrap();
    room.make_room();
    room.stop_when_settled(room.start());
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
}

#[test]
fn a_file_that_is_taken_away_while_it_is_read_is_read_to_its_end_all_the_same() {
    let room = Room::new(ONE_BY_ONE);
    let running = room.start_in_the_middle_of_a();
    fs::remove_file(room.path("a")).unwrap();
    room.drop_in("a", "another\n");
    room.make_room();
    room.wait_for("a.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two", "three", "another"]);
}

#[test]
fn a_file_that_is_taken_away_between_two_lives_is_forgotten() {
    let room = Room::new(ONE_BY_ONE);
    room.start_in_the_middle_of_a().stop();
    fs::rename(room.path("a"), room.room.path().join("elsewhere")).unwrap();
    room.make_room();
    room.stop_when_settled(room.start());
    assert_eq!(room.engine.bodies(), ["one"]);
}

#[test]
fn bytes_that_are_no_text_set_the_file_aside_behind_what_came_before() {
    let room = Room::new(&[]);
    let old = SystemTime::now() - Duration::from_secs(9);
    room.drop_in_written("a", b"one\ntwo\xff\nthree\n", old);
    room.drop_in("b", "four\n");
    let running = room.start();
    room.wait_for("b.COMPLETED");
    room.wait_for("a.REJECTED");
    assert!(room.trouble().contains("its bytes from 7 on are no text"), "{}", room.trouble());
    assert_eq!(running.context.metrics.event_read_fail.get(), 1);
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "four"]);
}

#[test]
fn files_are_deleted_if_that_is_asked_for_and_a_new_one_of_the_name_is_read() {
    let room = Room::new(&[("deletePolicy", "IMMEDIATE")]);
    let running = room.start();
    for (number, body) in ["one", "two", "three"].iter().enumerate() {
        room.drop_in("a", body);
        room.wait(number + 1);
        eventually(|| format!("{:?}", room.names()), || room.names().is_empty());
    }
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
}

#[test]
fn marked_files_keep_their_names_and_are_not_read_again() {
    let room = Room::new(&[
        ("trackingPolicy", "tracker_dir"),
        ("trackerDir", "marks"),
        ("recursiveDirectorySearch", "true"),
        ("ignorePattern", "marks"),
    ]);
    let old = SystemTime::now() - Duration::from_secs(9);
    for number in 0..200 {
        room.drop_in_written(&format!("sub/{number}"), format!("{number}\n"), old);
    }
    room.drop_in("bad", b"\xff");
    let running = room.start();
    room.wait_for("marks/bad.REJECTED");
    // Longer than several listings.
    std::thread::sleep(Duration::from_millis(50));
    room.stop_when_settled(running);
    room.stop_when_settled(room.start());
    assert_eq!(room.engine.bodies().len(), 200);
    assert!(room.path("sub/7").exists() && room.path("bad").exists());
    assert_eq!(fs::read(room.path("marks/sub/7.COMPLETED")).unwrap(), b"");
    let why = fs::read_to_string(room.path("marks/bad.REJECTED")).unwrap();
    assert!(why.contains("no text"), "{why}");
}

#[test]
fn the_next_file_is_the_oldest_or_the_youngest() {
    for (order, expected) in [("oldest", ["b", "c", "a"]), ("YOUNGEST", ["a", "b", "c"])] {
        let room = Room::new(&[("consumeOrder", order)]);
        let now = SystemTime::now();
        let old = now - Duration::from_secs(60);
        for (name, written) in [("a", now), ("c", old), ("b", old)] {
            room.drop_in_written(name, name, written);
        }
        let running = room.start();
        room.wait(3);
        room.stop_when_settled(running);
        assert_eq!(room.engine.bodies(), expected, "{order}");
    }
}

#[test]
fn an_event_that_no_channel_takes_sets_its_file_aside_and_larger_puts_are_halved() {
    let room = Room::new(&[]);
    room.engine.state().largest_body = Some(12);
    let old = SystemTime::now() - Duration::from_secs(9);
    room.drop_in_written("a", "1111\n2222\n3333\n4444\nlonger than twelve\nlost?\n", old);
    room.drop_in("b", "four\n");
    let running = room.start();
    room.wait_for("b.COMPLETED");
    room.wait_for("a.REJECTED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["1111", "2222", "3333", "4444", "four"]);
    assert!(room.trouble().contains("fits into no put"), "{}", room.trouble());
}

#[test]
fn a_channel_in_memory_goes_on_where_the_tracker_file_says_which_goes_with_the_file() {
    let room = Room::new(ONE_BY_ONE);
    room.engine.state().memory = true;
    room.start_in_the_middle_of_a().stop();
    assert_eq!(Tracker::open(&room.path(".flumespool")).unwrap().offset_for(&room.path("a"), 0), Some(4));
    room.make_room();
    // What a channel in memory had is gone with it.
    room.engine.state().positions.clear();
    let running = room.start();
    room.wait_for("a.COMPLETED");
    running.stop();
    assert_eq!(room.engine.bodies(), ["one", "two", "three"]);
    assert_eq!(fs::read_dir(room.path(".flumespool")).unwrap().count(), 0);
}

#[test]
fn flumes_tracker_file_is_followed_for_its_file_alone_and_where_it_is_further() {
    let room = Room::new(ONE_BY_ONE);
    fs::create_dir(room.path(".flumespool")).unwrap();
    room.drop_in("a", "one\ntwo\nthree\n");
    room.drop_in("b", "one\ntwo\n");
    let write =
        |offset| Tracker::open(&room.path(".flumespool")).unwrap().write(&room.path("a"), offset).unwrap();
    write(8);
    room.engine.state().room = Some(1);
    let running = room.start();
    room.wait(1);
    running.stop();
    // Behind the channel now, and then ahead of it again, as Flume may be that went on for a while.
    write(4);
    room.engine.state().room = Some(2);
    let running = room.start();
    room.wait(2);
    running.stop();
    write(8);
    room.make_room();
    room.stop_when_settled(room.start());
    let mut bodies = room.engine.bodies();
    bodies.sort();
    assert_eq!(bodies, ["one", "three", "two"]);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let room = Room::new(&[("ignorePattern", r"([^ ]*\.tmp)"), ("includePattern", r"[a-z&&[^q]]+(\.tmp)?")]);
    for name in ["a", "b.tmp", "q", ".hidden", "sub/c", "d.COMPLETED"] {
        room.drop_in(name, name);
    }
    let running = room.start();
    room.wait_for("a.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["a"]);
    assert_eq!(room.names(), [".hidden", "a.COMPLETED", "b.tmp", "d.COMPLETED", "q", "sub"]);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    let room = Room::new(&[]);
    let spool = room.room.path().join("spool");
    fs::remove_dir(&spool).unwrap();
    let error = room.start().failure();
    assert!(error.to_string().contains(spool.to_str().unwrap()), "{error}");
    fs::write(&spool, "").unwrap();
    assert!(room.start().failure().to_string().contains("is no directory"));
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |extra: &[(&str, &str)]| problems(&spec(), &[&[("spoolDir", "/x")], extra].concat()).join("; ");
    assert_eq!(of(&[]), "");
    assert!(problems(&spec(), &[])[0].contains("spoolDir"));
    for (key, value) in [
        ("includePattern", "*.log"),
        ("ignorePattern", "("),
        ("deletePolicy", "delay"),
        ("trackingPolicy", "none"),
        ("consumeOrder", "first"),
        ("decodeErrorPolicy", "skip"),
        ("inputCharset", "klingon"),
        ("inputCharset", "ISO-2022-JP"),
        ("deserializer.outputCharset", "klingon"),
        ("deserializer", "com.example.Mine$Builder"),
        ("deserializer.schemaType", "NAME"),
        ("deserializer.maxLineLength", "0"),
        ("deserializer.maxBlobLength", "0"),
        ("batchSize", "0"),
        ("errorSuffix", ".COMPLETED"),
        ("fileSuffix", "/done"),
    ] {
        let found = of(&[(key, value)]);
        assert!(found.contains("error") && found.contains(key), "{key} = {value}: {found}");
    }
    for class in [
        "serialization.LineDeserializer",
        "serialization.AvroEventDeserializer",
        "sink.solr.morphline.BlobDeserializer",
    ] {
        assert_eq!(of(&[("deserializer", &format!("org.apache.flume.{class}$Builder"))]), "");
    }
    assert_eq!(of(&[("deserializer", "avro"), ("deserializer.schemaType", "literal")]), "");
}

#[test]
fn the_old_name_of_the_longest_line_still_counts_and_wins() {
    let keys = [("bufferMaxLineLength", "3"), ("deserializer.maxLineLength", "9"), ("bufferMaxLines", "7")];
    let found = problems(&spec(), &[&[("spoolDir", "/x")], &keys[..]].concat());
    assert_eq!(found.iter().filter(|one| one.contains("warning")).count(), 2, "{found:?}");
    let room = Room::new(&keys);
    room.drop_in("a", "abcdef\n");
    let running = room.start();
    room.wait_for("a.COMPLETED");
    room.stop_when_settled(running);
    assert_eq!(room.engine.bodies(), ["abc", "def", ""]);
}
