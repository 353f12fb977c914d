//! The policy `quarantine`: a running log sets damage aside and goes on.

use flumen_wal::{DamagePolicy, ReadError};

use crate::world::{World, quarantine};

#[test]
fn damage_under_a_running_log_is_set_aside_counted_and_passed_over_for_good() {
    let mut world = World::with_events(60);
    let (flipped, header) = (world.frame_of(20), world.frame_of(50));
    world.disk.flip_bit(&flipped.path, flipped.offset + 70, 3).unwrap();
    world.disk.flip_bit(&header.path, header.offset + 30, 3).unwrap();
    let gone = world.segment_names()[4].clone();
    let of_gone = |frame: &&crate::world::Frame| frame.events > 0 && frame.path.ends_with(&gone);
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
