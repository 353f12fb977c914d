//! Which directories belong together, and which are refused. A refusal changes nothing.

use std::collections::BTreeMap;

use super::*;

/// All files of all directories that ever were named.
fn files(disk: &FaultyDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for lane in 0..6 {
        for entry in disk.directory(lane.to_string()).list().unwrap() {
            let path = format!("{lane}/{}", entry.name);
            files.insert(path.clone(), disk.contents(path).unwrap());
        }
    }
    files
}

fn named(disk: &FaultyDisk, lanes: &[usize]) -> Vec<Arc<dyn Directory>> {
    lanes.iter().map(|lane| disk.directory(lane.to_string())).collect()
}

fn find(disk: &FaultyDisk) -> impl Fn(&Path) -> io::Result<Arc<dyn Directory>> {
    let disk = disk.clone();
    move |path| {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::NotFound)?;
        Ok(disk.directory(name))
    }
}

fn open_named(disk: &FaultyDisk, lanes: &[usize]) -> Result<Arc<dyn Directory>, LanesError> {
    open(&named(disk, lanes), UNIT, &System::default(), &find(disk))
}

/// A log with a segment, made over these directories.
fn log(disk: &FaultyDisk, lanes: &[usize], number: u64) {
    make_segment(&*open_named(disk, lanes).unwrap(), number, 6).unwrap();
}

#[track_caller]
fn assert_refused(disk: &FaultyDisk, lanes: &[usize], parts: &[&str]) {
    let before = files(disk);
    let error = open_named(disk, lanes).map(drop).expect_err("refused").to_string();
    for part in parts {
        assert!(error.contains(part), "{part} in: {error}");
    }
    assert!(files(disk) == before, "changed by: {error}");
}

fn lose(disk: &FaultyDisk, lane: usize) {
    let directory = disk.directory(lane.to_string());
    for entry in directory.list().unwrap() {
        directory.remove(&entry.name).unwrap();
    }
    directory.sync().unwrap();
}

#[test]
fn any_order_is_the_same_log() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1, 2], 1);
    for order in [[0, 1, 2], [2, 0, 1], [2, 1, 0], [1, 2, 0]] {
        assert_holds(&*open_named(&disk, &order).unwrap(), &SegmentNumber(1).file_name(), 6, 1);
    }
}

#[test]
fn a_directory_that_is_empty_and_should_not_be_is_refused() {
    for lane in [1, 2] {
        let disk = FaultyDisk::new(1);
        log(&disk, &[0, 1, 2], 1);
        lose(&disk, lane);
        let part = format!("part {} of 3", lane + 1);
        assert_refused(&disk, &[0, 1, 2], &[&format!("{lane}: nothing of a log"), &part, "mount"]);
    }
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1, 2], 1);
    lose(&disk, 0);
    assert_refused(&disk, &[0, 1, 2], &["1: it is part 2", "/0, which is not named or is empty"]);
}

#[test]
fn a_directory_of_another_log_is_refused() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1], 1);
    log(&disk, &[2, 3], 1);
    log(&disk, &[4], 1);
    assert_refused(&disk, &[0, 3], &["3: it is part 2 of the log that begins in", "/2"]);
    assert_refused(&disk, &[0, 1, 3], &["3: it is part 2"]);
    assert_refused(&disk, &[0, 2], &["2: it is part 1", "does not belong to 0"]);
    assert_refused(&disk, &[0, 1, 4], &["4: it holds a log of its own, as 0"]);
    assert_refused(&disk, &[1], &["1: it is part 2", "/0"]);
    assert_refused(&disk, &[5, 1], &["1: it is part 2", "/0"]);
    log(&disk, &[5], 1);
    assert_refused(&disk, &[4, 5], &["5: it holds a log, as 4 does"]);
}

#[test]
fn one_directory_alone_is_as_it_always_was() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0], 1);
    assert_eq!(files(&disk).into_keys().collect::<Vec<_>>(), ["0/segment-0000000000000001.log"]);
}

#[test]
fn an_addition_that_is_cut_short_anywhere_is_made_again_or_left() {
    for (old, new) in [(&[0][..], &[0, 1][..]), (&[0, 1], &[0, 1, 2]), (&[0, 1], &[3, 1, 0, 2])] {
        let begun = |seed| {
            let disk = FaultyDisk::new(seed);
            log(&disk, old, 1);
            disk
        };
        let disk = begun(0);
        let first = disk.operations();
        log(&disk, new, 2);
        for at in first..disk.operations() {
            for cut in [None, Some(at), Some(at + 1), Some(at + 2)] {
                let disk = begun(at);
                disk.crash_at(at);
                let added = open_named(&disk, new).map(|directory| make_segment(&*directory, 2, 6).map(drop));
                assert!(!matches!(added, Ok(Ok(()))));
                match cut {
                    Some(seed) => disk.power_cut(seed),
                    None => disk.kill(),
                }
                let again = if at % 2 == 0 { old } else { new };
                let directory = match open_named(&disk, again) {
                    Ok(directory) => directory,
                    // The addition came to its end: the old ones alone are too few, unless nothing is in the new ones.
                    Err(error) => panic!("operation {at}, {again:?}: {error}"),
                };
                let name = SegmentNumber(1).file_name();
                assert_holds(&*directory, &name, 6, 1);
                directory.remove(&SegmentNumber(2).file_name()).ok();
                make_segment(&*directory, 3, 6).unwrap();
                disk.kill();
                let directory = open_named(&disk, new).unwrap();
                assert_holds(&*directory, &name, 6, 1);
                assert_holds(&*directory, &SegmentNumber(3).file_name(), 6, 3);
            }
        }
    }
}

#[test]
fn a_directory_left_out_serves_until_nothing_of_it_is_needed() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1, 2], 1);
    // Found where it was, it is read still.
    let directory = open_named(&disk, &[0, 1]).unwrap();
    assert_holds(&*directory, &SegmentNumber(1).file_name(), 6, 1);
    make_segment(&*directory, 2, 6).unwrap();
    drop(directory);
    let pieces = |lane: &str| {
        let listed = disk.directory(lane).list().unwrap();
        listed.iter().filter(|entry| entry.name.contains(".of-")).count()
    };
    assert_eq!((pieces("1"), pieces("2")), (2, 1), "new files do without it");
    // Not found, it is missing.
    let error =
        open(&named(&disk, &[0, 1]), UNIT, &System::default(), &nowhere).map(drop).expect_err("needed");
    assert!(error.to_string().contains("/2: it is not named, cannot be opened as part 3"), "{error}");

    let directory = open_named(&disk, &[0, 1]).unwrap();
    directory.remove(&SegmentNumber(1).file_name()).unwrap();
    make_segment(&*directory, 3, 6).unwrap();
    drop(directory);
    // Nothing is needed any more; the next life's first change says so.
    let directory = open(&named(&disk, &[0, 1]), UNIT, &System::default(), &nowhere).unwrap();
    make_segment(&*directory, 4, 6).unwrap();
    drop(directory);
    lose(&disk, 2);
    for number in 2..5 {
        let directory = open_named(&disk, &[0, 1]).unwrap();
        assert_holds(&*directory, &SegmentNumber(number).file_name(), 6, number as u8);
    }
    // And it may be added again.
    log(&disk, &[0, 1, 2], 5);
    assert_eq!(pieces("2"), 1);
}

/// A piece that a power cut brings back, in a directory that no longer says whose it is, would be another log's.
#[test]
fn a_directory_that_is_not_needed_any_more_may_be_added_again_after_a_power_cut() {
    for seed in 0..100 {
        let disk = FaultyDisk::new(seed);
        log(&disk, &[0, 1, 2], 1);
        let directory = open_named(&disk, &[0, 1]).unwrap();
        make_segment(&*directory, 2, 6).unwrap();
        directory.remove(&SegmentNumber(1).file_name()).unwrap();
        drop(directory);
        // A life's first change says which directories there are; no sync of the directories follows it.
        let directory = open_named(&disk, &[0, 1]).unwrap();
        directory.create(&SegmentNumber(3).spare_name()).unwrap();
        drop(directory);
        disk.power_cut(seed);
        let directory = open_named(&disk, &[0, 1, 2]).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_holds(&*directory, &SegmentNumber(2).file_name(), 6, 2);
        make_segment(&*directory, 4, 6).unwrap();
    }
}

#[test]
fn only_the_directories_added_last_may_be_left_out_and_none_while_others_are_added() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1, 2], 1);
    assert_refused(&disk, &[0, 2], &["/1: it is not named", "added last"]);
    assert_refused(&disk, &[0, 1, 3], &["/2: it is not named", "before others are added"]);
    assert_refused(&disk, &[1, 2], &["which is not named or is empty"]);
}

#[test]
fn a_set_that_another_process_changed_since_is_refused_at_the_lock() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1], 1);
    let early = open_named(&disk, &[0, 1]).unwrap();
    log(&disk, &[0, 1, 2], 2);
    let error = early.lock().map(drop).expect_err("changed");
    assert!(error.to_string().contains("start again"), "{error}");
    drop(open_named(&disk, &[0, 1, 2]).unwrap().lock().expect("nobody has it"));
}

#[test]
fn a_lock_that_one_lane_refuses_is_not_held_in_the_others() {
    let disk = FaultyDisk::new(1);
    let directory = open_named(&disk, &[0, 1, 2]).unwrap();
    let other = disk.directory("1").lock().unwrap();
    assert_eq!(directory.lock().map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(disk.directory("0").lock().expect("given back"));
    drop(other);
    let held = directory.lock().unwrap();
    for lane in 0..3 {
        assert!(disk.directory(lane.to_string()).lock().is_err(), "lane {lane}");
    }
    drop(held);
}

#[test]
fn damaged_and_newer_descriptors_are_refused() {
    let disk = FaultyDisk::new(1);
    log(&disk, &[0, 1], 1);
    let text = "flumen lanes 7\n";
    let text = format!("{text}crc {:08x}\n", crc32fast::hash(text.as_bytes()));
    for offset in [0, 4096] {
        disk.overwrite("1/lanes", offset, text.as_bytes()).unwrap();
    }
    assert_refused(&disk, &[0, 1], &["1 was written by a newer version", "`flumen lanes 7`"]);
    for offset in [0, 4096] {
        disk.flip_bit("1/lanes", offset, 0).unwrap();
    }
    assert_refused(&disk, &[0, 1], &["1: both copies", "lanes"]);
}
