//! Repair on the simulated disk: whatever is damaged, what is left opens, and delivers what was acked, in order.

mod policy;
mod sweep;
mod world;

use proptest::prelude::*;
use world::{Damage, Event, World};

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0..6000usize).prop_map(Event::Append),
        3 => (20_000..70_000usize).prop_map(Event::Append),
        4 => Just(Event::Rest),
        3 => (1..12usize).prop_map(Event::Deliver),
        1 => Just(Event::Close),
        1 => Just(Event::Kill),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        6 => (at(), at(), 0..8u8).prop_map(|(file, at, bit)| Damage::Flip { file, at, bit }),
        3 => (at(), at(), 1..40u64).prop_map(|(file, at, sectors)| Damage::Zero { file, at, sectors }),
        2 => (at(), 0..3u64).prop_map(|(file, block)| Damage::Header { file, block }),
        2 => (at(), at(), 1..3u64).prop_map(|(file, at, blocks)| Damage::Unreadable { file, at, blocks }),
        1 => (at(), at()).prop_map(|(file, at)| Damage::Cut { file, at }),
        1 => at().prop_map(|file| Damage::Remove { file }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        max_shrink_iters: 3000,
        // Beside the simulation's, which are of another shape.
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("repaired"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn after_any_damage_a_repaired_log_delivers_what_is_left(
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 1..70),
        damages in prop::collection::vec(damage(), 1..8),
    ) {
        let mut world = World::after(seed, &events);
        let before = world.inventory();
        for damage in &damages {
            world.damage(damage);
        }
        if world.segment_files() == 0 {
            prop_assert!(world.repair().is_err(), "nothing is there: it may not be mounted");
            return Ok(());
        }
        let due = world.due(&before);
        let examined = world.examine().unwrap();
        let report = world.repair().unwrap();
        prop_assert_eq!(&examined.remedies, &report.remedies);
        // What could not be told before, for what stood beside it was damaged as well, may be set aside by a second one: then no
        // event is in it, and a third one finds nothing.
        let again = world.repair().unwrap();
        let takes_nothing = again.lost.is_empty() && again.remedies.iter().all(|r| r.finding.events.is_none());
        prop_assert!(takes_nothing, "{:?} after {:?}", again.remedies, report.remedies);
        let third = world.repair().unwrap();
        prop_assert!(third.remedies.is_empty(), "{:?} after {:?}", third.remedies, again.remedies);
        world.assert_delivers(&due, &report);
    }
}

#[test]
fn a_sound_log_is_left_alone() {
    let world = World::with_events(40);
    let before = world.files();
    let report = world.repair().unwrap();
    assert_eq!((&report.remedies[..], &report.quarantined[..]), (&[][..], &[][..]));
    assert!(world.files() == before, "a repair without need changed files");
}

#[test]
fn an_examination_changes_nothing_and_says_what_a_repair_does() {
    let mut world = World::with_events(40);
    let frame = world.frame_of(20);
    world.disk.flip_bit(&frame.path, frame.offset + 70, 3).unwrap();
    let before = world.files();
    let examined = world.examine().unwrap();
    assert!(world.files() == before);
    let [remedy] = &examined.remedies[..] else { panic!("{:?}", examined.remedies) };
    assert_eq!((remedy.finding.path.to_str().unwrap(), remedy.finding.offset), (&*frame.path, frame.offset));
    assert_eq!(remedy.finding.frames, Some((frame.number, frame.number)));
    assert_eq!(remedy.finding.events, Some((20, Some(21))));
    assert_eq!((examined.lost.as_slice(), examined.backlog), (&[(20, 21)][..], 39));
    let report = world.repair().unwrap();
    assert_eq!(report.remedies, examined.remedies);
    let bytes = world.disk.contents(&frame.path).unwrap();
    let place = frame.offset as usize..frame.offset as usize + frame.len as usize;
    let copy = world.disk.contents(format!("data/quarantine/{}", report.quarantined[0])).unwrap();
    assert!(copy == bytes[place], "the damaged bytes are kept");
    let note = world.disk.contents(format!("data/quarantine/{}.json", report.quarantined[0])).unwrap();
    let note = String::from_utf8(note).unwrap();
    assert!(note.contains("\"firstEvent\": 20") && note.contains("\"endEvent\": 21"), "{note}");
    world.open().unwrap();
    world.assert_takes((0..20).chain(21..40));
}

#[test]
fn a_log_in_use_is_not_repaired() {
    let mut world = World::with_events(3);
    world.open().unwrap();
    let error = world.repair().unwrap_err();
    assert!(matches!(error, flumen_wal::OpenError::Locked { .. }), "{error}");
}

#[test]
fn both_copies_of_a_header_are_told_again() {
    let mut world = World::with_events(60);
    let segments = world.segment_names();
    // The table knows the first one's salt; of the newest one only its own bytes do.
    for name in [&segments[0], segments.last().unwrap()] {
        let path = format!("data/{name}");
        for copy in [0, 4096] {
            world.disk.flip_bit(&path, copy + 30, 1).unwrap();
        }
    }
    world.disk.overwrite(format!("data/{}", segments[0]), 0, &[7; 8192]).unwrap();
    let report = world.repair().unwrap();
    assert_eq!(report.lost, []);
    world.open().unwrap();
    world.assert_takes(0..60);
}

#[test]
fn a_checkpoint_newer_than_the_log_is_given_up_and_no_number_is_given_twice() {
    let mut world = World::with_events(60);
    let newest = world.segment_names().pop().unwrap();
    let first_lost = world.frames().iter().find(|frame| frame.path.ends_with(&newest)).unwrap().first_event;
    world.remove("data", &newest);
    let error = world.open().unwrap_err();
    assert!(error.repair_helps(), "{error}");
    let report = world.repair().unwrap();
    assert_eq!(report.lost, [(first_lost, 60)]);
    world.open().unwrap();
    world.append(100);
    let taken = world.taken();
    assert_eq!(taken, (0..first_lost).chain(60..61).collect::<Vec<_>>());
}

#[test]
fn an_empty_data_directory_is_not_repaired_into_an_empty_log() {
    let world = World::with_events(10);
    for path in world.files().into_keys().filter(|path| path.starts_with("data/segment-")) {
        world.remove("data", &path["data/".len()..]);
    }
    let error = world.repair().unwrap_err();
    assert!(!error.repair_helps() && error.to_string().contains("Mount"), "{error}");
}

#[test]
fn without_any_snapshot_or_checkpoint_the_frames_tell_the_state() {
    let mut world = World::with_events(5);
    world.remove("checkpoint", "checkpoint-0");
    world.remove("checkpoint", "checkpoint-1");
    for name in world.segment_names() {
        world.disk.overwrite(format!("data/{name}"), 8192, &[0; 4096]).unwrap();
    }
    assert!(world.open().unwrap_err().repair_helps());
    world.repair().unwrap();
    world.open().unwrap();
    world.assert_takes(0..5);
}

#[test]
fn a_damaged_first_frame_beside_a_checkpoint_costs_no_event() {
    for events in [5, 60] {
        let mut world = World::with_events(events);
        let newest = world.segment_names().pop().unwrap();
        world.disk.flip_bit(format!("data/{newest}"), 8192 + 30, 1).unwrap();
        world.open().unwrap();
        assert_eq!(world.log().recovery().missing_below, None);
        world.assert_takes(0..events as u64);
        world.close();
        world.open().unwrap();
        world.assert_takes(0..events as u64);
    }
}

#[test]
fn bad_sectors_cost_only_the_frames_that_they_are_in() {
    let mut world = World::with_events(60);
    let (old, new) = (world.frame_of(10), world.frame_of(58));
    // Nothing but the newest segment itself tells what it holds.
    world.remove("checkpoint", "checkpoint-0");
    world.remove("checkpoint", "checkpoint-1");
    for frame in [&old, &new] {
        world.fail_reads(&frame.path, frame.offset, 1);
    }
    let error = world.open().unwrap_err();
    assert!(error.repair_helps(), "{error}");
    let report = world.repair().unwrap();
    assert_eq!(report.lost, [(10, 11), (58, 59)]);
    world.open().unwrap();
    world.assert_takes((0..10).chain(11..58).chain(59..60));
}

#[test]
fn a_missing_segment_in_the_middle_is_passed_over() {
    let mut world = World::with_events(60);
    let names = world.segment_names();
    let frames = world.frames();
    let first_of = |name: &str| frames.iter().find(|frame| frame.path.ends_with(name)).unwrap().first_event;
    let (first, end) = (first_of(&names[1]), first_of(&names[2]));
    world.remove("data", &names[1]);
    let report = world.repair().unwrap();
    assert_eq!(report.lost, [(first, end)]);
    world.open().unwrap();
    world.assert_takes((0..first).chain(end..60));
}

#[test]
fn nothing_is_repaired_of_two_logs() {
    let world = World::with_events(60);
    let names = world.segment_names();
    let other = World::with_seed(9, 60);
    let path = format!("data/{}", names[1]);
    let bytes = other.disk.contents(format!("data/{}", other.segment_names()[1])).unwrap();
    world.disk.overwrite(&path, 0, &bytes).unwrap();
    let before = world.files();
    let error = world.repair().unwrap_err();
    assert!(error.to_string().contains("different logs"), "{error}");
    assert!(world.files() == before);
}

#[test]
fn a_repair_in_memory_runs_as_on_a_disk() {
    use std::sync::Arc;
    let dir = Arc::new(flumen_wal::storage::memory::MemoryDirectory::new("m"));
    let aside = Arc::new(flumen_wal::storage::memory::MemoryDirectory::new("q"));
    let dirs = flumen_wal::Directories { data: dir.clone(), checkpoint: dir };
    let to = aside.clone();
    let quarantine = flumen_wal::Quarantine::new(move || Ok(to.clone()));
    let report =
        flumen_wal::tools::repair(&dirs, &quarantine, &world::options(), &flumen_wal::System::default());
    assert!(report.unwrap().remedies.is_empty());
}
