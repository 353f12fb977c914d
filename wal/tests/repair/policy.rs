//! The policy `quarantine`: a running log sets damage aside and goes on.

use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::{DamagePolicy, ReadError};

use crate::world::{Event, Frame, World, quarantine};

#[test]
fn damage_under_a_running_log_is_set_aside_counted_and_passed_over_for_good() {
    let mut world = World::with_events(60);
    let (flipped, header) = (world.frame_of(20), world.frame_of(50));
    world.disk.flip_bit(&flipped.path, flipped.offset + 70, 3).unwrap();
    world.disk.flip_bit(&header.path, header.offset + 30, 3).unwrap();
    let gone = world.segment_names()[4].clone();
    let of_gone = |frame: &&Frame| frame.events > 0 && frame.path.ends_with(&gone);
    let lost: Vec<u64> = world.frames().iter().filter(of_gone).map(|frame| frame.first_event).collect();
    world.remove("data", &gone);
    let left: Vec<u64> = (0..60).filter(|event| ![20, 50].contains(event) && !lost.contains(event)).collect();

    world.open().unwrap();
    let (taken, sound) = world.taken_until_damage();
    assert_eq!((taken, sound), ((0..20).collect(), false), "the default: takes stop at the place");
    world.kill();

    world.damage_policy = DamagePolicy::Quarantine(quarantine(&world.disk));
    world.open().unwrap();
    world.assert_takes(left.iter().copied());
    let stats = world.log().stats();
    assert_eq!((stats.given_up_events, stats.set_aside_places), (2 + lost.len() as u64, 2));
    let names = world.files().into_keys().filter(|path| path.starts_with("data/quarantine/")).count();
    assert_eq!(names, 4, "bytes and a note of each place");
    world.close();
    world.damage_policy = DamagePolicy::Halt;
    world.open().unwrap();
    world.assert_takes(left.iter().copied());
}

#[test]
fn damage_behind_events_that_were_released_out_of_order_is_passed_over_after_a_start() {
    let mut world = World::with_events(60);
    world.open().unwrap();
    let cursor = world.log().cursor();
    cursor.try_take(10, 1 << 20).unwrap();
    let take = cursor.try_take(1, 1 << 20).unwrap().unwrap();
    cursor.release(take.first_event, 1, vec![]);
    world.close();
    let released = take.first_event;
    let frame = world.frame_of(released + 1);
    world.disk.flip_bit(&frame.path, frame.offset + 70, 3).unwrap();
    world.damage_policy = DamagePolicy::Quarantine(quarantine(&world.disk));
    world.open().unwrap();
    world.assert_takes((0..released).chain(released + 2..60));
    assert_eq!(world.log().stats().given_up_events, 1);
}

#[test]
fn what_cannot_be_copied_is_not_given_up() {
    let mut world = World::with_events(60);
    let frame = world.frame_of(20);
    world.disk.flip_bit(&frame.path, frame.offset + 70, 3).unwrap();
    let refuse = || Err(std::io::Error::from_raw_os_error(28));
    world.damage_policy = DamagePolicy::Quarantine(flumen_wal::Quarantine::new(refuse));
    world.open().unwrap();
    assert_eq!(world.taken_until_damage(), ((0..20).collect(), false));
    assert_eq!(world.log().stats().given_up_events, 0);
}

#[test]
fn what_the_disk_reports_an_error_for_is_not_given_up_by_a_running_log() {
    let mut world = World::with_events(60);
    let frame = world.frame_of(20);
    world.fail_reads(&frame.path, frame.offset, 1);
    world.damage_policy = DamagePolicy::Quarantine(quarantine(&world.disk));
    world.open().unwrap();
    let error = world.take_error().expect("takes stop");
    assert!(matches!(error, ReadError::Io { .. }), "{error}");
    assert_eq!(world.log().stats().given_up_events, 0);
}

const EVENTS: u64 = 30;
const DAMAGED: [u64; 2] = [9, 22];

/// Whether the quarantine holds this frame's bytes with a note.
fn is_kept(world: &World, frame: &Frame, bytes: &[u8]) -> bool {
    let files = world.files();
    let path = format!("data/quarantine/{}.{}", frame.path.strip_prefix("data/").unwrap(), frame.offset);
    let noted = |copy: &str| files.get(&format!("{copy}.json")).is_some_and(|note| note.contains(&b'}'));
    let copies = files.iter().filter(|(copy, _)| copy.starts_with(&path) && !copy.ends_with(".json"));
    copies.filter(|(copy, _)| noted(copy)).any(|(_, copy)| copy.starts_with(bytes))
}

/// A running log sets damage aside and delivers what is left; any of its storage operations is the last one, fails or is slow.
/// What the next start passes over is kept; what it does not, is there as it was.
fn sweep(lanes: usize, plan: impl Fn(&FaultyDisk, u64), end: impl Fn(&FaultyDisk)) {
    let world = World::over(lanes, 3, &vec![Event::Append(5000); EVENTS as usize]);
    let frames = DAMAGED.map(|event| world.frame_of(event));
    frames.iter().for_each(|frame| world.flip_bit(&frame.path, frame.offset + 70, 3));
    let bytes = frames.each_ref().map(|frame| world.bytes_of(frame));
    let left: Vec<u64> = (0..EVENTS).filter(|event| !DAMAGED.contains(event)).collect();
    let set_aside = |world: &mut World| {
        world.damage_policy = DamagePolicy::Quarantine(quarantine(&world.disk));
        if world.open().is_ok() {
            world.taken_until_damage();
            // What was given up is released by then.
            world.rest();
        }
    };
    let mut undisturbed = world.fork();
    let first = undisturbed.disk.operations();
    set_aside(&mut undisturbed);
    let operations = undisturbed.disk.operations() - first;
    let (mut as_before, mut given_up) = (0, 0);
    for at in 0..operations {
        let mut cut = world.fork();
        plan(&cut.disk, first + at);
        set_aside(&mut cut);
        cut.disk.clear_faults();
        cut.end(&end);
        cut.damage_policy = DamagePolicy::Halt;
        cut.open().unwrap();
        let (taken, sound) = cut.taken_until_damage();
        let message = format!("{lanes} lanes, operation {at} of {operations}");
        assert!(left.starts_with(&taken) && sound == (taken == left), "{message}: {taken:?}");
        for ((event, frame), bytes) in DAMAGED.iter().zip(&frames).zip(&bytes) {
            if taken.last() > Some(event) {
                assert!(is_kept(&cut, frame, bytes), "{message}: event {event} is passed over and not kept");
            }
        }
        (as_before, given_up) = (as_before + usize::from(!sound), given_up + usize::from(sound));
        cut.kill();
        set_aside(&mut cut);
        cut.kill();
        cut.damage_policy = DamagePolicy::Halt;
        cut.open().unwrap();
        cut.assert_takes(left.iter().copied());
    }
    assert!(given_up > 0, "no operation comes after the release that counts: {as_before}");
}

#[test]
fn what_a_running_log_gives_up_is_kept_first_whatever_operation_is_its_last() {
    for lanes in [1, 2] {
        sweep(lanes, FaultyDisk::crash_at, FaultyDisk::power_cut_losing_all);
        sweep(lanes, FaultyDisk::crash_at, |disk| disk.power_cut(disk.operations()));
        sweep(lanes, FaultyDisk::crash_at, FaultyDisk::kill);
    }
}

#[test]
fn what_a_running_log_gives_up_is_kept_first_whatever_operation_fails_or_is_slow() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
        sweep(1, |disk, at| disk.fail_at(at, fault), FaultyDisk::power_cut_losing_all);
    }
    for lanes in [1, 2] {
        sweep(lanes, |disk, at| disk.delay_at(at, Duration::from_secs(4)), FaultyDisk::power_cut_losing_all);
    }
}
