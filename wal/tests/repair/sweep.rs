//! A repair is cut short at each of its storage operations, and each of them fails in turn: what is left is the old log or
//! the repaired one, and the repair that follows gives what it would have given undisturbed.

use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};

use crate::world::{Event, World};

const EVENTS: u64 = 40;
const DAMAGED: u64 = 12;

/// Damage of every kind at once, in a log of several segments and two lives; returns the events that are left.
fn damaged(which: usize, lanes: usize) -> (World, Vec<u64>) {
    let mut events = vec![Event::Append(4000); EVENTS as usize];
    events.insert(20, Event::Kill);
    let world = World::over(lanes, 5, &events);
    let names = world.segment_names();
    let flipped = world.frame_of(DAMAGED);
    world.flip_bit(&flipped.path, flipped.offset + 70, 3);
    match which {
        0 => (world, (0..DAMAGED).chain(DAMAGED + 1..EVENTS).collect()),
        // A header that is told again, a segment that is gone in the middle, a checkpoint that is garbage.
        1 => {
            let frames = world.frames();
            let held: Vec<u64> = frames
                .iter()
                .filter(|f| f.events > 0 && f.path.ends_with(&names[3]))
                .map(|f| f.first_event)
                .collect();
            world.fill(&format!("data/{}", names[0]), 8192, 9);
            world.disk.overwrite("checkpoint/checkpoint-0", 0, &[9; 512]).unwrap();
            world.remove_segment(&names[3]);
            (world, (0..EVENTS).filter(|event| *event != DAMAGED && !held.contains(event)).collect())
        }
        // The newest segment is gone and the checkpoint knows of it; one that is left has no header that can be told again.
        _ => {
            let frames = world.frames();
            let newest = names.last().unwrap();
            let of = |name: &str| {
                frames
                    .iter()
                    .filter(|f| f.events > 0 && f.path.ends_with(name))
                    .map(|f| f.first_event)
                    .collect::<Vec<_>>()
            };
            let (gone, useless) = (of(newest), of(&names[2]));
            let useless_file = format!("data/{}", names[2]);
            world.fill(&useless_file, world.len_of(&useless_file), 3);
            world.remove_segment(newest);
            (
                world,
                (0..EVENTS)
                    .filter(|event| *event != DAMAGED && !gone.contains(event) && !useless.contains(event))
                    .collect(),
            )
        }
    }
}

/// What a start makes of the disk: whether it opens, and the events that it gives until it is stopped by damage.
fn opened(world: &World) -> Option<(Vec<u64>, bool)> {
    let mut world = world.fork();
    world.open().ok()?;
    Some(world.taken_until_damage())
}

/// What stands in the quarantine with its note.
fn notes(world: &World) -> usize {
    let files = world.files();
    let noted = files.iter().filter(|(path, bytes)| path.ends_with(".json") && bytes.contains(&b'}'));
    noted.filter(|(path, _)| files.contains_key(path.trim_end_matches(".json"))).count()
}

fn sweep(plan: impl Fn(&FaultyDisk, u64), end: impl Fn(&FaultyDisk)) {
    sweep_over(1, plan, end);
}

/// Over so many data directories.
fn sweep_over(lanes: usize, plan: impl Fn(&FaultyDisk, u64), end: impl Fn(&FaultyDisk)) {
    for which in 0..3 {
        let (world, left) = damaged(which, lanes);
        let old = opened(&world);
        let undisturbed = world.fork();
        let before = undisturbed.disk.operations();
        undisturbed.repair().unwrap();
        let operations = undisturbed.disk.operations() - before;
        let repaired = opened(&undisturbed);
        assert_eq!(repaired, Some((left.clone(), true)), "{which}");
        assert!(notes(&undisturbed) > 0);
        let (mut failed, mut repaired_after) = (0, 0);
        for at in 0..operations {
            let mut cut = world.fork();
            plan(&cut.disk, cut.disk.operations() + at);
            let outcome = cut.repair();
            end(&cut.disk);
            cut.disk.clear_faults();
            let now = opened(&cut);
            let message =
                format!("scenario {which} over {lanes}, operation {at} of {operations}: {outcome:?}");
            failed += usize::from(outcome.is_err());
            if outcome.is_ok() {
                assert_eq!(now, repaired, "{message}");
            }
            // What stood in the way of the old log may be gone already; nothing that it gave may be.
            let is_repaired = now == repaired;
            let gives_as_before =
                old.as_ref().is_none_or(|(old, _)| now.as_ref().is_some_and(|(now, _)| now.starts_with(old)));
            let invents = now.as_ref().is_some_and(|(now, _)| !left.starts_with(now));
            assert!(is_repaired || (gives_as_before && !invents), "{message}: {now:?} after {old:?}");
            assert!(
                !is_repaired || notes(&cut) >= notes(&undisturbed),
                "{message}: nothing is changed before it is kept"
            );
            repaired_after += usize::from(is_repaired && outcome.is_err());
            cut.repair().unwrap_or_else(|error| panic!("{message}: again: {error}"));
            assert_eq!(opened(&cut), repaired, "{message}: again");
            assert_eq!(cut.repair().unwrap().remedies, [], "{message}: a third time");
            cut.open().unwrap();
            cut.append(10);
            assert_eq!(cut.taken().last(), Some(&EVENTS), "{message}: a fresh event flows");
        }
        assert!(
            failed == 0 || repaired_after > 0,
            "scenario {which}: no step comes after the one that counts"
        );
    }
}

#[test]
fn a_repair_that_loses_power_at_any_operation_leaves_the_old_log_or_the_repaired_one() {
    sweep(FaultyDisk::crash_at, FaultyDisk::power_cut_losing_all);
    sweep(FaultyDisk::crash_at, |disk| disk.power_cut(disk.operations()));
}

#[test]
fn a_repair_that_is_killed_at_any_operation_leaves_the_old_log_or_the_repaired_one() {
    sweep(FaultyDisk::crash_at, FaultyDisk::kill);
}

#[test]
fn a_repair_of_which_any_operation_fails_leaves_the_old_log_or_the_repaired_one() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
        sweep(|disk, at| disk.fail_at(at, fault), FaultyDisk::kill);
    }
}

#[test]
fn a_repair_of_which_any_operation_is_slow_repairs() {
    for lanes in [1, 2] {
        sweep_over(lanes, |disk, at| disk.delay_at(at, Duration::from_secs(4)), FaultyDisk::kill);
    }
}

#[test]
fn a_repair_over_several_directories_that_loses_power_at_any_operation_leaves_the_old_log_or_the_repaired_one()
 {
    sweep_over(2, FaultyDisk::crash_at, FaultyDisk::power_cut_losing_all);
    sweep_over(2, FaultyDisk::crash_at, |disk| disk.power_cut(disk.operations()));
}

#[test]
fn a_repair_over_several_directories_of_which_any_operation_fails_leaves_the_old_log_or_the_repaired_one() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
        sweep_over(2, |disk, at| disk.fail_at(at, fault), FaultyDisk::kill);
    }
}
