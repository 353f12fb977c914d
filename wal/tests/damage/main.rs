//! Damage on the simulated disk: it is found, named by its place, and costs nothing but what was damaged.

mod compressed;
mod encrypted;
mod lost;
mod reopen;
mod restart;
mod stale;
mod start;
mod world;

use std::sync::atomic::Ordering;

use flumen_wal::format::segment::{HEADER_LEN, SegmentHeader};
use flumen_wal::{OpenError, ReadError, SegmentNumber, tools};

use world::{BLOCK, World, payload};

#[test]
fn a_flipped_bit_stops_takes_at_its_place_only() {
    for byte in [70, 5000, 10, 30] {
        let mut world = World::with_events(60);
        world.rest();
        let frame = world.frame_of(20);
        world.flip(&frame, byte);
        world.assert_damaged_at(&frame);
        world.append_all(60..65);
        world.assert_damaged_at(&frame);
        let verified = tools::verify(&world.dirs()).unwrap();
        let [finding] = &verified.damage[..] else { panic!("byte {byte}: {:?}", verified.damage) };
        assert_eq!((finding.path.ends_with(&frame.file), finding.offset), (true, frame.offset));
        assert_eq!(finding.frames, Some((frame.number, frame.number)));
        assert_eq!(finding.events, Some((20, Some(21))));
        world.reopen();
        world.assert_damaged_at(&frame);
        // Repaired, it is as if nothing had been.
        world.flip(&frame, byte);
        world.assert_all_there(65);
        assert_eq!(tools::verify(&world.dirs()).unwrap().damage, []);
    }
}

#[test]
fn damage_that_a_start_meets_is_reported_and_kept() {
    for byte in [70, 30] {
        let mut world = World::with_events(5);
        world.rest();
        let frame = world.frame_of(3);
        world.kill();
        world.without_checkpoints();
        world.flip(&frame, byte);
        world.open().unwrap();
        let recovery = world.log().recovery();
        assert_eq!((recovery.cut, recovery.backlog), (0, 5), "byte {byte}: {recovery:?}");
        let [damage] = &recovery.damage[..] else { panic!("{recovery:?}") };
        assert_eq!((damage.place.segment, damage.place.offset), (frame.segment, frame.offset));
        assert_eq!((damage.first_frame, damage.last_frame), (frame.number, frame.number));
        world.assert_damaged_at(&frame);
        world.append_all(5..6);
        world.reopen();
        world.assert_damaged_at(&frame);
    }
}

/// The last events' frame cannot be read, and only a frame without events stands behind it.
#[test]
fn damage_to_the_last_events_keeps_their_numbers_and_their_place() {
    for (events, byte) in [(1, 10), (1, 70), (40, 10), (40, 70)] {
        let mut world = World::with_events(events);
        world.rest();
        let frame = world.frame_of(events - 1);
        world.kill();
        world.without_checkpoints();
        world.flip(&frame, byte);
        world.open().unwrap();
        assert_eq!(world.log().recovery().damage.len(), 1, "{:?}", world.log().recovery());
        world.assert_damaged_at(&frame);
        world.append_all(events..events + 2);
        world.reopen();
        world.assert_damaged_at(&frame);
        // It was left as it was: repaired, nothing is missing.
        world.flip(&frame, byte);
        world.assert_all_there(events + 2);
    }
}

#[test]
fn a_torn_tail_is_cut_without_a_word() {
    for block in [0, 1] {
        let mut world = World::with_events(6);
        let torn = world.frame_of(5);
        assert!(!torn.vouched, "nothing vouches for the last frame before the log rests");
        world.kill();
        world.disk.overwrite(format!("data/{}", torn.file), torn.offset + block * BLOCK, &[0; 4096]).unwrap();
        world.open().unwrap();
        assert_eq!(world.log().recovery().damage, []);
        world.assert_all_there(5);
        // Its number is given to the next event, which is another one.
        world.append_all(5..7);
        world.reopen();
        world.assert_all_there(7);
        assert_eq!(tools::verify(&world.dirs()).unwrap().damage, []);
    }
}

#[test]
fn frames_behind_a_hole_never_come_back() {
    let mut world = World::new();
    // All in flight at once: none vouches for another.
    let dispatch = |event| {
        let ticket = world.append_bytes(&payload(event));
        world.turn();
        ticket
    };
    let tickets: Vec<_> = (0..3).map(dispatch).collect();
    tickets.iter().for_each(|ticket| world.ack(ticket));
    let frames: Vec<_> = world.frames().into_iter().filter(|frame| frame.events > 0).collect();
    let unvouched: Vec<_> = frames.iter().filter(|frame| !frame.vouched).cloned().collect();
    if unvouched.len() < 2 {
        panic!("the test wants two frames that nothing vouches for: {frames:?}");
    }
    world.kill();
    world.flip(&unvouched[0], 100);
    world.open().unwrap();
    let recovery = world.log().recovery();
    assert_eq!((recovery.cut, &recovery.damage[..]), (unvouched.len() as u64, &[][..]), "{recovery:?}");
    world.assert_all_there(unvouched[0].first_event);
    world.append_all(unvouched[0].first_event..10);
    world.reopen();
    world.assert_all_there(10);
}

#[test]
fn a_commit_without_its_last_frame_is_cut_whatever_vouches_for_its_start() {
    let mut world = World::with_events(2);
    let large: Vec<u8> = vec![7; 200_000];
    let ticket = world.append_bytes(&large);
    world.ack(&ticket);
    let span: Vec<_> = world.frames().into_iter().filter(|frame| frame.span).collect();
    let last = span.last().unwrap();
    assert!(span.len() > 3 && last.claims > span[0].number, "its start is vouched for by its end");
    // As if the process had ended before the last frame was written, and the one before it claimed the start.
    world.kill();
    world.disk.overwrite(format!("data/{}", last.file), last.offset, &vec![0; 4 * BLOCK as usize]).unwrap();
    world.open().unwrap();
    assert_eq!(world.log().recovery().damage, []);
    world.assert_all_there(2);
}

#[test]
fn a_read_error_refuses_the_start_and_changes_nothing() {
    let mut world = World::with_events(30);
    world.rest();
    world.kill();
    let newest = world.segments().last().unwrap().file_name();
    for offset in [0, 2 * BLOCK, 5 * BLOCK, 20 * BLOCK] {
        world.disk.fail_reads(format!("data/{newest}"), offset, BLOCK).unwrap();
        let error = world.open().expect_err("refused");
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        world.disk.heal(format!("data/{newest}")).unwrap();
    }
    world.disk.fail_reads("checkpoint/checkpoint-0", 0, BLOCK).unwrap();
    assert!(matches!(world.open(), Err(OpenError::Io { .. })));
    world.disk.heal("checkpoint/checkpoint-0").unwrap();
    let before = world.files();
    world.disk.fail_reads(format!("data/{newest}"), 5 * BLOCK, BLOCK).unwrap();
    world.open().expect_err("refused");
    world.disk.heal(format!("data/{newest}")).unwrap();
    assert!(world.files() == before);
    world.open().unwrap();
    world.assert_all_there(30);
}

#[test]
fn a_damaged_newest_snapshot_costs_no_event() {
    for byte in [30, 100] {
        let mut world = World::with_events(60);
        world.rest();
        world.kill();
        world.without_checkpoints();
        let newest = *world.segments().last().unwrap();
        let first = world.frames().into_iter().find(|frame| frame.segment == newest).unwrap();
        assert_eq!((first.offset, first.events), (2 * BLOCK, 0));
        world.flip(&first, byte);
        world.open().unwrap();
        let [damage] = &world.log().recovery().damage[..] else { panic!("{:?}", world.log().recovery()) };
        assert_eq!((damage.first_frame, damage.last_frame), (first.number, first.number));
        world.assert_all_there(60);
        world.append_all(60..80);
        world.reopen();
        world.assert_all_there(80);
    }
}

/// The checkpoint stands right behind the first frame, and nothing vouches for what follows it.
#[test]
fn a_start_behind_a_damaged_first_frame_is_followed_by_another() {
    for byte in [30, 100] {
        let mut world = World::with_events(1);
        world.kill();
        let first = world.frames().remove(0);
        assert_eq!((first.offset, first.events), (2 * BLOCK, 0));
        world.flip(&first, byte);
        world.open().unwrap();
        world.assert_all_there(1);
        world.reopen();
        world.assert_all_there(1);
    }
}

#[test]
fn checkpoints_may_be_damaged_old_or_gone() {
    type Spoil = fn(&World);
    let spoils: [(&str, Spoil); 4] = [
        ("deleted", World::without_checkpoints),
        ("zeroed", |world| {
            for slot in 0..2 {
                world.disk.overwrite(format!("checkpoint/checkpoint-{slot}"), 0, &[0; 4096]).unwrap();
            }
        }),
        ("damaged", |world| {
            for slot in 0..2 {
                world.disk.flip_bit(format!("checkpoint/checkpoint-{slot}"), 50, 0).unwrap();
            }
        }),
        ("one damaged", |world| world.disk.flip_bit("checkpoint/checkpoint-0", 50, 0).unwrap()),
    ];
    for (what, spoil) in spoils {
        let mut world = World::with_events(60);
        let take = world.log().cursor().try_take(7, 1 << 20).unwrap().unwrap();
        world.log().cursor().release(take.first_event, take.events, vec![]);
        world.rest();
        world.kill();
        spoil(&world);
        world.open().unwrap();
        assert_eq!(world.log().recovery().backlog, 60 - take.events, "{what}");
        assert_eq!(world.log().recovery().damage, [], "{what}");
        assert_eq!(world.take_from(take.events).0, 60, "{what}");
    }
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let mut world = World::with_events(20);
    world.close();
    let mut other = World::closed();
    other.environment.random.store(99, Ordering::Relaxed);
    other.open().unwrap();
    other.append_all(0..3);
    other.close();
    for slot in ["checkpoint/checkpoint-0", "checkpoint/checkpoint-1"] {
        world.disk.overwrite(slot, 0, &other.disk.contents(slot).unwrap()).unwrap();
    }
    let error = world.assert_refused();
    assert!(
        matches!(error, OpenError::Foreign { .. }) && error.to_string().contains("another log"),
        "{error}"
    );
}

#[test]
fn an_empty_or_older_data_directory_beside_a_checkpoint_is_refused() {
    let mut world = World::with_events(60);
    world.close();
    let newest = world.segments().last().unwrap().file_name();
    let older: Vec<_> = world.files().into_keys().filter(|path| path.starts_with("data/")).collect();
    world.remove("data", &newest);
    let error = world.assert_refused();
    assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains(&newest), "{error}");
    for path in older.iter().filter(|path| !path.ends_with(&newest)) {
        world.remove("data", &path["data/".len()..]);
    }
    let error = world.assert_refused();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(world.files().keys().all(|path| path.starts_with("checkpoint/")), "nothing was created");
}

#[test]
fn segments_missing_at_the_low_end_are_counted() {
    let mut world = World::with_events(60);
    world.close();
    let segments = world.segments();
    let first_left = world.frames().iter().find(|frame| frame.segment == segments[2]).unwrap().first_event;
    world.remove("data", &segments[0].file_name());
    world.remove("data", &segments[1].file_name());
    let found = tools::verify(&world.dirs()).unwrap().damage;
    assert!(found.iter().any(|finding| finding.what.contains("oldest segments are missing")), "{found:?}");
    world.open().unwrap();
    assert_eq!(world.log().recovery().missing_below, Some(first_left));
    assert_eq!(world.log().stats().first_event, first_left);
    assert_eq!(world.take_from(first_left).0, 60);
}

#[test]
fn a_segment_missing_in_the_middle_is_damage() {
    let mut world = World::with_events(60);
    world.close();
    let segments = world.segments();
    let lost =
        world.frames().into_iter().find(|frame| frame.segment == segments[1] && frame.events > 0).unwrap();
    let end = world.frames().into_iter().find(|frame| frame.segment == segments[2]).unwrap().first_event;
    world.remove("data", &segments[1].file_name());
    let found = tools::verify(&world.dirs()).unwrap().damage;
    assert!(found.iter().any(|f| f.events == Some((lost.first_event, Some(end)))), "{found:?}");
    world.open().unwrap();
    let (next, error) = world.take_from(0);
    assert_eq!(next, lost.first_event);
    assert!(matches!(error, Some(ReadError::Damaged { event, .. }) if event == next), "{error:?}");
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_changed() {
    let newer = |bytes: &[u8], crc_from: usize, crc_to: usize| {
        let mut bytes = bytes.to_vec();
        bytes[12] = 3;
        let crc = crc32fast::hash(&bytes[crc_from..crc_to]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for which in ["segment", "checkpoint"] {
        let mut world = World::with_events(5);
        world.close();
        if which == "segment" {
            let path = format!("data/{}", world.segments()[0].file_name());
            let bytes = world.disk.contents(&path).unwrap();
            let copy = newer(&bytes[..HEADER_LEN], 12, HEADER_LEN);
            world.disk.overwrite(&path, 0, &copy).unwrap();
            world.disk.overwrite(&path, BLOCK, &copy).unwrap();
        } else {
            let path = "checkpoint/checkpoint-1";
            let bytes = world.disk.contents(path).unwrap();
            let len = 32 + u32::from_le_bytes(bytes[24..28].try_into().unwrap()) as usize;
            world.disk.overwrite(path, 0, &newer(&bytes[..len], 12, len)).unwrap();
        }
        let error = world.assert_refused();
        assert!(matches!(error, OpenError::Newer { .. }), "{which}: {error}");
        assert!(matches!(tools::verify(&world.dirs()), Err(tools::ToolError::Newer { .. })), "{which}");
    }
}

#[test]
fn one_copy_of_a_header_is_enough_and_both_bad_are_named() {
    let mut world = World::with_events(60);
    world.close();
    let segments = world.segments();
    let path = format!("data/{}", segments[1].file_name());
    for copy in [0, BLOCK] {
        world.disk.flip_bit(&path, copy + 30, 1).unwrap();
        let verified = tools::verify(&world.dirs()).unwrap();
        assert_eq!((verified.damage.len(), verified.notes.len()), (0, 1), "{verified:?}");
        world.open().unwrap();
        world.assert_all_there(60);
        world.kill();
        world.disk.flip_bit(&path, copy + 30, 1).unwrap();
    }
    let lost = world.frames().into_iter().find(|frame| frame.segment == segments[1]).unwrap();
    for copy in [0, BLOCK] {
        world.disk.flip_bit(&path, copy + 30, 1).unwrap();
    }
    let found = tools::verify(&world.dirs()).unwrap().damage;
    assert!(found.iter().any(|f| f.path.ends_with(segments[1].file_name()) && f.offset == 0), "{found:?}");
    world.open().unwrap();
    let (next, error) = world.take_from(0);
    assert_eq!(next, lost.first_event, "everything before it is readable: {error:?}");
    assert!(matches!(error, Some(ReadError::Damaged { offset: 0, event, .. }) if event == next), "{error:?}");
    world.append_all(60..61);
}

#[test]
fn a_file_whose_name_and_header_disagree_holds_nothing() {
    let mut world = World::with_events(20);
    world.close();
    let segments = world.segments();
    let bytes = world.disk.contents(format!("data/{}", segments[0].file_name())).unwrap();
    let quoted = SegmentNumber(segments[0].0 + 500);
    let dir = world.disk.directory("data");
    let file = dir.create(&quoted.file_name()).unwrap();
    file.allocate(bytes.len() as u64).unwrap();
    file.sync().unwrap();
    dir.sync().unwrap();
    world.disk.overwrite(format!("data/{}", quoted.file_name()), 0, &bytes).unwrap();
    world.open().unwrap();
    world.assert_all_there(20);
    assert_eq!(world.log().recovery().damage, []);
}

#[test]
fn bytes_quoted_or_misdirected_never_verify_elsewhere() {
    let mut world = World::with_events(10);
    world.rest();
    let (from, to) = (world.frame_of(3), world.frame_of(6));
    let path = format!("data/{}", from.file);
    assert_eq!(from.file, to.file);
    world.disk.misdirect((&path, from.offset), (&path, to.offset), 2 * BLOCK as usize).unwrap();
    world.assert_damaged_at(&from);
    let found = tools::verify(&world.dirs()).unwrap().damage;
    let frames: Vec<_> = found.iter().map(|finding| finding.frames.unwrap().0).collect();
    assert_eq!(frames, [from.number, to.number], "{found:?}");
}

#[test]
fn writes_of_a_dead_process_change_nothing() {
    for late_before_reopen in [false, true] {
        let mut world = World::with_events(10);
        for event in 10..13 {
            drop(world.append_bytes(&payload(event + 100)));
            world.turn();
        }
        world.disk.kill_freeing_locks();
        let late = world.disk.late_writes();
        assert!(late > 0, "nothing was in flight: the test shows nothing");
        if late_before_reopen {
            world.disk.land_late_writes();
        }
        world.running = None;
        world.open().unwrap();
        let there = world.log().stats().synced_event;
        world.disk.land_late_writes();
        world.append_all(there..20);
        world.rest();
        world.reopen();
        assert_eq!(world.log().recovery().damage, [], "{late} late");
        // What the old process had not acked was there at the start or never; what the new one acked is there.
        let of = |event| payload(if (10..there).contains(&event) { event + 100 } else { event });
        let (next, error) = world.take_checking(0, of);
        assert!(next == 20 && error.is_none(), "{next}: {error:?}");
        assert_eq!(tools::verify(&world.dirs()).unwrap().damage, [], "{late} late");
    }
}

#[test]
fn a_damaged_frame_without_events_costs_none() {
    for large in [false, true] {
        for byte in [10, 30] {
            let mut world = World::with_events(10);
            let take = world.log().cursor().try_take(1, 1 << 20).unwrap().unwrap();
            world.log().cursor().release(take.first_event, take.events, vec![]);
            world.rest();
            let last = world.frames().into_iter().next_back().unwrap();
            assert_eq!((last.events, last.first_event), (0, 10), "a housekeeping frame");
            let bytes = if large { vec![3; 100_000] } else { payload(10) };
            let ticket = world.append_bytes(&bytes);
            world.ack(&ticket);
            world.append_all(11..20);
            world.rest();
            world.flip(&last, byte);
            let of = |event| if event == 10 { bytes.clone() } else { payload(event) };
            let (next, error) = world.take_checking(1, of);
            assert!(next == 20 && error.is_none(), "{next}: {error:?}");
            let damage = tools::verify(&world.dirs()).unwrap().damage;
            let [finding] = &damage[..] else { panic!("large {large}, byte {byte}: {damage:?}") };
            assert_eq!((finding.frames, finding.events), (Some((last.number, last.number)), None));
        }
    }
}

#[test]
fn what_is_left_of_a_large_commit_is_never_given_out() {
    let mut world = World::with_events(3);
    let ticket = world.append_bytes(&vec![3; 100_000]);
    world.ack(&ticket);
    world.append_all(4..6);
    world.rest();
    let pieces: Vec<_> = world.frames().into_iter().filter(|frame| frame.span).collect();
    for piece in [0, 1, pieces.len() - 1] {
        for byte in [30, 70] {
            world.flip(&pieces[piece], byte);
            let (next, error) = world.take_from(0);
            assert_eq!(next, 3);
            assert!(matches!(error, Some(ReadError::Damaged { event: 3, .. })), "{error:?}");
            let damage = tools::verify(&world.dirs()).unwrap().damage;
            assert!(damage.iter().any(|f| f.events == Some((3, Some(4)))), "piece {piece}: {damage:?}");
            world.flip(&pieces[piece], byte);
        }
    }
}

#[test]
fn a_header_with_an_old_salt_does_not_bring_old_frames_back() {
    // Takes everything, so that files are used again, and looks for frames of the earlier use in them.
    let mut world = World::with_events(100);
    let cursor = world.log().cursor();
    while let Some(take) = cursor.try_take(10, 1 << 20).unwrap() {
        cursor.release(take.first_event, take.events, vec![]);
    }
    world.rest();
    world.append_all(100..140);
    world.rest();
    let mut stale = 0;
    for (path, bytes) in world.files().iter().filter(|(path, _)| path.starts_with("data/segment")) {
        let header = SegmentHeader::decode(&bytes[..HEADER_LEN]).unwrap();
        assert!(path.ends_with(&header.segment.file_name()));
        let frames = bytes.chunks(BLOCK as usize).filter(|block| block[..4] == *b"FLFR").count();
        let live = world.frames().iter().filter(|frame| frame.segment == header.segment).count();
        stale += frames - live;
    }
    assert!(stale > 0, "no file was used again: the test shows nothing");
    world.reopen();
    assert_eq!(world.take_from(100).0, 140);
    assert_eq!(tools::verify(&world.dirs()).unwrap().damage, []);
}
