//! A crash, or an error, at each operation of what the log does with names.

use super::*;
use crate::storage::faulty::Fault;

const OLD: u64 = 1;
const NEW: u64 = 9;

fn segment(number: u64) -> String {
    SegmentNumber(number).file_name()
}

fn spare(number: u64) -> String {
    SegmentNumber(number).spare_name()
}

/// Two segments, a spare of a third.
fn begin(disk: &FaultyDisk, lanes: usize) {
    let directory = over(&on(disk, lanes)).unwrap();
    for number in OLD..OLD + 3 {
        make_segment(&*directory, number, 6).unwrap();
    }
    directory.rename(&segment(OLD + 2), &spare(OLD + 2)).unwrap();
    directory.sync().unwrap();
}

/// What the log does in its life: a spare is used again, a segment becomes a spare, another one is removed, one is made.
fn live(disk: &FaultyDisk, lanes: usize) -> io::Result<()> {
    let directory = over(&on(disk, lanes)).map_err(io::Error::other)?;
    let prepared = directory
        .rename(&spare(OLD + 2), &spare(NEW))
        .and_then(|()| directory.open(&spare(NEW)))
        .and_then(|file| {
            file.write_at(&filled(6, NEW as u8), 0)?;
            file.sync()?;
            directory.rename(&spare(NEW), &segment(NEW))?;
            directory.sync()
        });
    // A log that meets an error goes on with other things before it tries again.
    let recycled = directory.rename(&segment(OLD), &spare(OLD));
    let removed = directory.remove(&segment(OLD + 1));
    let made = make_segment(&*directory, NEW + 1, 6).map(drop);
    prepared.and(recycled).and(removed).and(made)
}

/// Whatever is there is whole; what the log had not given up is there; and the next life can do all that it does.
fn check(disk: &FaultyDisk, lanes: usize, done: bool) {
    let directory = over(&on(disk, lanes)).unwrap();
    let before = names(&*directory);
    for name in before.iter().filter(|name| SegmentNumber::parse(name).is_some()) {
        let number = SegmentNumber::parse(name).unwrap().0;
        assert_holds(&*directory, name, 6, number as u8);
    }
    if done {
        assert!(before.contains(&segment(NEW)) && before.contains(&segment(NEW + 1)), "{before:?}");
    }
    // The first change puts in order what is not, and what was shown stays.
    directory.create("new").unwrap();
    assert_eq!(names(&*directory), [&["new".to_owned()], &before[..]].concat());
    for name in before.iter().filter(|name| SegmentNumber::parse_spare(name).is_some()) {
        directory.open(name).unwrap_or_else(|error| panic!("{name}: {error}")).allocate(6 * 4096).unwrap();
        directory.rename(name, &spare(99)).unwrap();
        directory.rename(&spare(99), &segment(99)).unwrap();
        directory.remove(&segment(99)).unwrap();
    }
    directory.remove("new").unwrap();
    directory.sync().unwrap();
    let zero = disk.directory("0").list().unwrap();
    for lane in 1..lanes {
        for entry in disk.directory(lane.to_string()).list().unwrap() {
            let known = zero.iter().any(|first| first.name == entry.name);
            assert!(known, "{} of lane {lane} belongs to nothing", entry.name);
        }
    }
}

fn operations(lanes: usize) -> std::ops::Range<u64> {
    let disk = FaultyDisk::new(1);
    begin(&disk, lanes);
    let first = disk.operations();
    live(&disk, lanes).unwrap();
    first..disk.operations()
}

#[test]
fn a_kill_between_any_two_steps_leaves_every_segment_whole_and_every_spare() {
    for lanes in [2, 3] {
        for at in operations(lanes) {
            let disk = FaultyDisk::new(at);
            begin(&disk, lanes);
            disk.crash_at(at);
            live(&disk, lanes).unwrap_err();
            disk.kill();
            check(&disk, lanes, false);
        }
    }
}

#[test]
fn a_power_cut_between_any_two_steps_leaves_every_segment_whole() {
    for lanes in [2, 3] {
        for at in operations(lanes) {
            for seed in 0..40 {
                let disk = FaultyDisk::new(at);
                begin(&disk, lanes);
                disk.crash_at(at);
                live(&disk, lanes).unwrap_err();
                disk.power_cut(seed);
                check(&disk, lanes, false);
            }
        }
    }
}

#[test]
fn what_is_synced_stays_whatever_is_cut_afterwards() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        begin(&disk, 2);
        live(&disk, 2).unwrap();
        disk.power_cut(seed);
        check(&disk, 2, true);
    }
}

#[test]
fn an_error_at_any_step_is_made_good_by_the_next_change_also_behind_a_power_cut() {
    for lanes in [2, 3] {
        for at in operations(lanes) {
            for cut in [None, Some(at), Some(at + 1)] {
                let disk = FaultyDisk::new(at);
                begin(&disk, lanes);
                disk.fail_at(at, Fault::Io);
                drop(live(&disk, lanes));
                disk.clear_faults();
                match cut {
                    Some(seed) => disk.power_cut(seed),
                    None => disk.kill(),
                }
                check(&disk, lanes, false);
            }
        }
    }
}

#[test]
fn a_kill_never_costs_a_spare() {
    let disk = FaultyDisk::new(3);
    begin(&disk, 2);
    let first = disk.operations();
    let use_again = |disk: &FaultyDisk| -> io::Result<()> {
        let directory = over(&on(disk, 2)).map_err(io::Error::other)?;
        directory.rename(&spare(OLD + 2), &spare(NEW))?;
        directory.rename(&spare(NEW), &segment(NEW))?;
        directory.rename(&segment(NEW), &spare(NEW))
    };
    use_again(&disk).unwrap();
    for at in first..disk.operations() {
        let disk = FaultyDisk::new(3);
        begin(&disk, 2);
        disk.crash_at(at);
        use_again(&disk).unwrap_err();
        disk.kill();
        let directory = over(&on(&disk, 2)).unwrap();
        assert_eq!(names(&*directory).len(), 3, "operation {at}: {:?}", names(&*directory));
        directory.create("new").unwrap();
        assert_eq!(names(&*directory).len(), 4, "operation {at}: {:?}", names(&*directory));
    }
}

/// Opens the log's directories by the first `lanes` of them.
fn over_some(disk: &FaultyDisk, lanes: usize) -> io::Result<Arc<dyn Directory>> {
    let find = |path: &Path| Ok(disk.directory(path.file_name().unwrap_or_default()));
    open(&on(disk, lanes), UNIT, &System::default(), &find).map_err(io::Error::other)
}

#[test]
fn a_power_cut_while_a_segment_becomes_a_spare_of_another_width_leaves_the_one_or_the_other() {
    // The second name comes at once, or when there was no room for the new pieces at the first.
    let make_over = |disk: &FaultyDisk, lanes, no_room_at_first| -> io::Result<()> {
        let directory = over_some(disk, lanes)?;
        if no_room_at_first {
            directory.create("began")?;
            disk.fail_next("allocate", Fault::NoSpace);
            directory.rename(&segment(OLD), &spare(OLD))?;
            return directory.rename(&spare(OLD), &spare(NEW));
        }
        directory.rename(&segment(OLD), &spare(NEW))
    };
    for (before, after) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        for no_room_at_first in [false, true] {
            let begin = |seed| {
                let disk = FaultyDisk::new(seed);
                make_segment(&*over(&on(&disk, before)).unwrap(), OLD, 12).unwrap();
                disk
            };
            let whole = begin(1);
            let first = whole.operations();
            make_over(&whole, after, no_room_at_first).unwrap();
            for at in first + 1..=whole.operations() {
                for seed in 0..5 {
                    let disk = begin(at);
                    disk.crash_at(at);
                    drop(make_over(&disk, after, no_room_at_first));
                    disk.power_cut(seed);
                    let directory = over_some(&disk, after).unwrap();
                    for name in names(&*directory).iter().filter(|name| **name == segment(OLD)) {
                        // What was allocated for the pieces to come may be more than it was made with.
                        let mut all = AlignedBuf::zeroed(12 * 4096);
                        let read = directory.open(name).unwrap().read_at(&mut all, 0).unwrap();
                        assert!(
                            all[..read] == filled(12, OLD as u8)[..],
                            "{before} to {after}: {read} bytes"
                        );
                    }
                }
            }
        }
    }
}
