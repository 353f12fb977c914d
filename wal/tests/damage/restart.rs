//! Restarts over a log whose checkpoint, headers or directory were damaged: all that Flume's own tests of its file channel try
//! (`TestFileChannelRestart`, `TestEventQueueBackingStoreFactory`, `TestLog`), told in our files' words, and what only ours
//! can suffer. Flume's metadata file beside each checkpoint is the second slot here; its replay is the scan.

use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::{OpenError, Options};

use crate::world::{BLOCK, World, options, payload};

const SLOTS: [&str; 2] = ["checkpoint/checkpoint-0", "checkpoint/checkpoint-1"];
const EVENTS: u64 = 60;
const RELEASED: u64 = 7;

/// A log of several segments of which some events are released; closed, so that both slots hold a checkpoint.
fn closed_log() -> World {
    let mut world = World::with_events(EVENTS);
    let cursor = world.log().cursor();
    let take = cursor.try_take(RELEASED as usize, 1 << 20).unwrap().unwrap();
    assert_eq!(take.events, RELEASED);
    cursor.release(take.first_event, take.events, vec![]);
    world.rest();
    world.close();
    world
}

/// The start succeeds, says nothing of damage, and everything that is not released is there, once; then puts go on, and
/// the next start finds those too.
#[track_caller]
fn assert_restarts(mut world: World, what: &str) {
    world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(world.log().recovery().damage, [], "{what}");
    assert_whole(&mut world, what);
}

#[track_caller]
fn assert_whole(world: &mut World, what: &str) {
    assert_eq!(world.log().recovery().missing_below, None, "{what}");
    let (next, error) = world.take_from(RELEASED);
    assert!(next == EVENTS && error.is_none(), "{what}: {next}: {error:?}");
    world.append_all(EVENTS..EVENTS + 3);
    world.rest();
    world.kill();
    world.open().unwrap_or_else(|error| panic!("{what}, again: {error}"));
    let (next, error) = world.take_from(RELEASED);
    assert!(next == EVENTS + 3 && error.is_none(), "{what}, again: {next}: {error:?}");
}

fn truncate(disk: &FaultyDisk, path: &str, len: u64) {
    let (dir, name) = path.split_once('/').unwrap();
    let file = disk.directory(dir).open(name).unwrap();
    file.truncate(len).unwrap();
    file.sync().unwrap();
}

/// The slots that hold a checkpoint, the newer first.
fn newer_first(world: &World) -> [&'static str; 2] {
    let sequence = |slot: &str| {
        let bytes = world.disk.contents(slot).unwrap();
        u64::from_le_bytes(bytes[16..24].try_into().unwrap())
    };
    if sequence(SLOTS[0]) > sequence(SLOTS[1]) { SLOTS } else { [SLOTS[1], SLOTS[0]] }
}

/// Bytes of a slot that say anything.
fn checkpoint_len(world: &World, slot: &str) -> u64 {
    let bytes = world.disk.contents(slot).unwrap();
    32 + u64::from(u32::from_le_bytes(bytes[24..28].try_into().unwrap()))
}

/// `testRestartLogReplay`, `testNormalReplay`, `testFastReplayWithCheckpoint`.
#[test]
fn a_restart_after_a_close_or_a_kill_gives_everything() {
    assert_restarts(closed_log(), "closed");
    let mut world = closed_log();
    world.open().unwrap();
    world.kill();
    assert_restarts(world, "killed at once");
    let mut world = closed_log();
    world.open().unwrap();
    world.disk.power_cut(9);
    world.running = None;
    assert_restarts(world, "power cut at once");
}

/// `testFastReplay`, `testRestartWhenNoCheckpointExists`, `testNewCheckpoint`.
#[test]
fn a_restart_without_any_checkpoint_gives_everything_and_makes_new_ones() {
    let world = closed_log();
    world.without_checkpoints();
    let mut kept = World { disk: world.disk.fork(), ..World::closed() };
    kept.disk.kill();
    assert_restarts(world, "no checkpoints");
    kept.open().unwrap();
    kept.close();
    for slot in SLOTS {
        assert!(kept.disk.contents(slot).unwrap().starts_with(b"FLUMENCP"), "{slot} is made again");
    }
}

/// `testRestartWhenMetaDataExistsButCheckpointDoesNot`, `testRestartWhenCheckpointExistsButMetaDoesNot`.
#[test]
fn either_checkpoint_may_be_missing() {
    for slot in ["checkpoint-0", "checkpoint-1"] {
        let world = closed_log();
        world.remove("checkpoint", slot);
        assert_restarts(world, slot);
    }
}

/// `testTruncatedCheckpointMeta`, `testTruncateMeta`.
#[test]
fn checkpoints_may_be_cut_to_any_length() {
    for which in [&SLOTS[..1], &SLOTS[1..], &SLOTS] {
        for len in [0, 1, 8, 31, 32, 100, 511, BLOCK] {
            let world = closed_log();
            which.iter().for_each(|slot| truncate(&world.disk, slot, len));
            assert_restarts(world, &format!("{which:?} cut to {len}"));
        }
    }
}

/// `testCorruptCheckpointMeta`, `testCorruptMeta`, `testBadCheckpointVersion`, `testBadCheckpointMetaVersion`,
/// `testCorruptCheckpointVersionMostSignificant4Bytes`, `testCorruptCheckpointCompleteMarkerMostSignificant4Bytes`.
#[test]
fn no_byte_of_a_checkpoint_is_believed_when_it_is_wrong() {
    let world = closed_log();
    let [newer, _] = newer_first(&world);
    for at in 0..checkpoint_len(&world, newer) {
        let mut world = World { disk: world.disk.fork(), ..World::closed() };
        world.disk.kill();
        world.disk.flip_bit(newer, at, (at % 8) as u8).unwrap();
        world.open().unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!(
            (&world.log().recovery().damage[..], world.log().recovery().backlog),
            (&[][..], EVENTS - RELEASED)
        );
    }
    for slots in [&SLOTS[..1], &SLOTS[1..], &SLOTS] {
        for at in [0, 8, 10, 12, 16, 24, 32, 40] {
            let world = closed_log();
            for slot in slots {
                world.disk.overwrite(*slot, at, &[1, 5, 0xfe, 0x80, 3, 0x77, 0xa0, 9]).unwrap();
            }
            assert_restarts(world, &format!("{slots:?} at {at}"));
        }
    }
}

/// `testIncompleteCheckpoint`: power fails while one is written over.
#[test]
fn a_checkpoint_of_which_only_sectors_are_new_does_not_count() {
    for kept in 0..4u64 {
        let world = closed_log();
        let [newer, older] = newer_first(&world);
        let old = world.disk.contents(older).unwrap();
        // The newer one was on its way into its slot; there are sectors of the one that stood there before.
        let sectors = [0, 1, 2, 3].map(|sector| sector * 512..(sector + 1) * 512);
        for (i, sector) in sectors.into_iter().enumerate() {
            if i as u64 != kept {
                world.disk.overwrite(newer, sector.start as u64, &old[sector]).unwrap();
            }
        }
        assert_restarts(world, &format!("sector {kept} is new"));
    }
}

/// `testDifferingOrderIDCheckpointAndMetaVersion`, `testCheckpointOrderIdNotEqualToMeta`.
#[test]
fn checkpoints_may_be_in_each_others_place() {
    let contents = |world: &World| SLOTS.map(|slot| world.disk.contents(slot).unwrap());
    let world = closed_log();
    let [first, second] = contents(&world);
    world.disk.overwrite(SLOTS[0], 0, &second).unwrap();
    world.disk.overwrite(SLOTS[1], 0, &first).unwrap();
    assert_restarts(world, "swapped");
    for one in 0..2 {
        let world = closed_log();
        let both = contents(&world)[one].clone();
        world.disk.overwrite(SLOTS[1 - one], 0, &both).unwrap();
        assert_restarts(world, "the same twice");
    }
}

/// `testBackupUsedEnsureNoFullReplay`, `testDataFilesRequiredByBackupNotDeleted`.
#[test]
fn older_checkpoints_serve_after_segments_were_used_again() {
    let mut world = World::with_events(30);
    world.close();
    let old = SLOTS.map(|slot| world.disk.contents(slot).unwrap());
    world.open().unwrap();
    let cursor = world.log().cursor();
    while let Some(take) = cursor.try_take(10, 1 << 20).unwrap() {
        cursor.release(take.first_event, take.events, vec![]);
    }
    world.rest();
    world.append_all(30..EVENTS);
    world.rest();
    world.close();
    for (slot, bytes) in SLOTS.into_iter().zip(&old) {
        world.disk.overwrite(slot, 0, bytes).unwrap();
    }
    world.open().unwrap();
    assert_eq!(world.log().recovery().damage, []);
    let (next, error) = world.take_from(30);
    assert!(next == EVENTS && error.is_none(), "{next}: {error:?}");
}

/// `testCorruptInflightPuts`, `testCorruptInflightTakes`: what is on its way at a checkpoint does not depend on it.
#[test]
fn takes_and_puts_on_their_way_at_a_checkpoint_outlive_its_damage() {
    for flip in [None, Some(0), Some(1)] {
        let mut world = World::with_events(30);
        let taken = world.log().cursor().try_take(20, 1 << 20).unwrap().unwrap();
        let put = world.append_bytes(&payload(30));
        world.environment.micros.fetch_add(40_000_000, std::sync::atomic::Ordering::Relaxed);
        world.ack(&put);
        world.rest();
        world.append_all(31..35);
        world.kill();
        drop(taken);
        for slot in SLOTS.iter().enumerate().filter(|(i, _)| flip.is_none_or(|flip| flip == *i)) {
            world.disk.flip_bit(*slot.1, 40, 2).unwrap();
        }
        world.open().unwrap();
        world.assert_all_there(35);
    }
}

/// `testWithExtraLogs`, and the strangers of other programs.
#[test]
fn files_that_are_not_the_logs_do_no_harm() {
    let world = closed_log();
    let data = world.disk.directory("data");
    for name in [
        "log-1000",
        "log-1000.meta.tmp",
        "lost+found",
        "segment-x.log",
        "segment-12.log.bak",
        ".nfs0001",
        "spare-.log",
    ] {
        data.create(name).unwrap().sync().unwrap();
    }
    world.disk.directory("checkpoint").create("checkpoint-2").unwrap();
    data.sync().unwrap();
    assert_restarts(world, "strangers");
}

/// `testWithExtraLogs`, `testReplaySucceedsWithUnusedEmptyLogMetaData`: an empty file with a segment's name may be what is
/// left of one; it is named, and costs nothing that is there.
#[test]
fn an_empty_file_with_a_segments_name_is_named_and_costs_nothing() {
    let mut world = closed_log();
    let number = flumen_wal::SegmentNumber(world.segments().last().unwrap().0 + 1000);
    let data = world.disk.directory("data");
    data.create(&number.file_name()).unwrap().sync().unwrap();
    data.sync().unwrap();
    world.open().unwrap();
    let [damage] = &world.log().recovery().damage[..] else { panic!("{:?}", world.log().recovery()) };
    assert_eq!(damage.place.segment, number);
    assert_whole(&mut world, "an empty file");
}

/// `testReplaySucceedsWithUnusedEmptyLogMetaData`.
#[test]
fn a_spare_may_hold_anything() {
    for garbage in [0u8, 0xff] {
        let world = closed_log();
        let spares: Vec<_> = world.files().into_keys().filter(|path| path.contains("/spare-")).collect();
        for path in &spares {
            world.disk.overwrite(path, 0, &[garbage; 8192]).unwrap();
        }
        let name = "spare-0000000000009999.log";
        let data = world.disk.directory("data");
        data.create(name).unwrap().sync().unwrap();
        data.sync().unwrap();
        assert_restarts(world, &format!("{garbage} in {spares:?}"));
    }
}

/// `testReplayFailsWithAllEmptyLogMetaData`.
#[test]
fn a_log_without_any_sound_header_is_refused() {
    for checkpoints in [true, false] {
        let mut world = closed_log();
        let segments: Vec<_> = world.files().into_keys().filter(|path| path.contains("/segment-")).collect();
        for path in &segments {
            world.disk.overwrite(path, 0, &[0; 2 * BLOCK as usize]).unwrap();
        }
        if !checkpoints {
            world.without_checkpoints();
        }
        let error = world.assert_refused();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let mut world = closed_log();
    let other = World::closed();
    other.environment.random.store(99, std::sync::atomic::Ordering::Relaxed);
    let mut other = World { ..other };
    other.open().unwrap();
    other.append_all(0..3);
    other.close();
    let theirs = other.segments()[0];
    let bytes = other.disk.contents(format!("data/{}", theirs.file_name())).unwrap();
    let newest = *world.segments().last().unwrap();
    let path = format!("data/{}", newest.file_name());
    let mut header = flumen_wal::format::segment::SegmentHeader::decode(&bytes).unwrap();
    header.segment = newest;
    world.disk.overwrite(&path, 0, &header.encode()).unwrap();
    let error = world.assert_refused();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

/// `testIncreaseCapacity`, `testDecreaseCapacity`: sizes are no part of the files.
#[test]
fn a_log_is_read_with_other_sizes() {
    for (segment_bytes, frame_bytes) in [(64 << 10, 16 << 10), (1 << 20, 64 << 10)] {
        let mut world = closed_log();
        world.options = Options { segment_bytes, frame_bytes, ..options() };
        assert_restarts(world, &format!("{segment_bytes}, {frame_bytes}"));
    }
}

/// What is cut off below the evidence is damage or refused, and what is left is given out in order.
#[test]
fn a_segment_may_be_cut_to_any_length() {
    let world = closed_log();
    for checkpoints in [true, false] {
        for segment in [world.segments()[1], *world.segments().last().unwrap()] {
            let path = format!("data/{}", segment.file_name());
            let len = world.disk.contents(&path).unwrap().len() as u64;
            for cut in (0..len).step_by(BLOCK as usize).flat_map(|at| [at, at + 700]) {
                let mut world = World { disk: world.disk.fork(), ..World::closed() };
                world.disk.kill();
                if !checkpoints {
                    world.without_checkpoints();
                }
                truncate(&world.disk, &path, cut);
                if let Err(error) = world.open() {
                    assert!(matches!(error, OpenError::Foreign { .. }), "{path} cut to {cut}: {error}");
                    continue;
                }
                // A release that was cut off with the rest is as if it had not been.
                let first = world.log().stats().first_event;
                let (next, error) = world.take_from(first);
                let told = error.is_some() || !world.log().recovery().damage.is_empty();
                assert!(next == EVENTS || told, "{path} cut to {cut}: {next} without a word");
                world.append_all(EVENTS..EVENTS + 1);
            }
        }
    }
}

/// Every byte of the newest segment's header, its copy and its snapshot, with and without checkpoints.
#[test]
fn no_byte_at_the_start_of_a_segment_costs_an_event() {
    let world = closed_log();
    let newest = world.segments().last().unwrap().file_name();
    let snapshot = world.frames().into_iter().rfind(|frame| frame.offset == 2 * BLOCK).unwrap();
    assert_eq!(snapshot.file, newest);
    let path = format!("data/{newest}");
    for checkpoints in [true, false] {
        for at in (0..128).chain(BLOCK..BLOCK + 128).chain(2 * BLOCK..2 * BLOCK + 400) {
            let mut world = World { disk: world.disk.fork(), ..World::closed() };
            world.disk.kill();
            if !checkpoints {
                world.without_checkpoints();
            }
            world.disk.flip_bit(&path, at, (at % 8) as u8).unwrap();
            world.open().unwrap_or_else(|error| panic!("byte {at}: {error}"));
            let (next, error) = world.take_from(RELEASED);
            assert!(next == EVENTS && error.is_none(), "byte {at}: {next}: {error:?}");
        }
    }
}

#[test]
fn the_lock_file_and_unused_files_may_be_gone() {
    let world = closed_log();
    let used: Vec<_> =
        world.segments().iter().map(|segment| format!("data/{}", segment.file_name())).collect();
    let unused: Vec<_> =
        world.files().into_keys().filter(|path| path.starts_with("data/") && !used.contains(path)).collect();
    assert!(!unused.is_empty());
    for path in unused {
        world.remove("data", &path["data/".len()..]);
    }
    world.remove("data", "lock");
    world.remove("checkpoint", "lock");
    assert_restarts(world, "gone");
}
