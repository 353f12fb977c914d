//! Synced frames that a start cannot find: their events keep their numbers, and their bytes stay for the day on which they are
//! put right.

use flumen_wal::tools;

use crate::world::{BLOCK, Frame, World, payload};

/// A byte of a frame's header, and one of its body.
const HEADER: u64 = 10;
const BODY: u64 = 100;

/// A log, killed, whose newest segment holds `events` events; how many there are; and its frames. Nothing but claims of
/// frames says what was synced.
fn with_events_in_the_newest(events: usize) -> (World, u64, Vec<Frame>) {
    let mut world = World::with_events(30);
    for count in 31.. {
        world.append_all(count - 1..count);
        let frames = world.frames();
        let newest = frames.last().unwrap().segment;
        let of_newest: Vec<_> = frames.iter().filter(|frame| frame.segment == newest).collect();
        let has_events = of_newest.iter().filter(|frame| frame.events > 0).count();
        if of_newest[0].offset == 2 * BLOCK && has_events == events {
            world.kill();
            world.without_checkpoints();
            return (world, count, frames);
        }
    }
    unreachable!("segments fill")
}

/// Starts with damage in `bad`, twice, then puts the bytes right: all `events` must be there, and what was put meanwhile.
#[track_caller]
fn come_back(mut world: World, bad: &[(&Frame, u64)], events: u64, what: &str) {
    let lost = bad.iter().filter(|(frame, _)| frame.events > 0).map(|(frame, _)| frame.first_event).min();
    bad.iter().for_each(|(frame, byte)| world.flip(frame, *byte));
    world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_ne!(world.log().recovery().damage, [], "{what}");
    let (next, error) = world.take_from(0);
    assert_eq!(Some(next), lost, "{what}: {error:?}");
    let events = events.min(world.log().stats().appended_event);
    world.append_all(events..events + 1);
    let found = tools::verify(&world.dirs()).unwrap().damage;
    let names = |f: &tools::Finding| {
        f.events.is_some_and(|(first, end)| first <= next && end.is_none_or(|end| next < end))
    };
    assert!(found.iter().any(names), "{what}: verify finds {found:?}");
    world.rest();
    world.reopen();
    let (next, error) = world.take_from(0);
    assert_eq!(Some(next), lost, "{what}, again: {error:?}");
    world.kill();
    bad.iter().for_each(|(frame, byte)| world.flip(frame, *byte));
    world.open().unwrap_or_else(|error| panic!("{what}, right again: {error}"));
    let (next, error) = world.take_from(0);
    assert!(next == events + 1 && error.is_none(), "{what}, right again: {next}: {error:?}");
    let found = tools::verify(&world.dirs()).unwrap().damage;
    assert_eq!(found, [], "{what}, right again");
}

#[test]
fn events_lost_around_a_segments_begin_come_back_with_their_bytes() {
    for lost in ["above", "below", "both"] {
        let (world, events, frames) = with_events_in_the_newest(4);
        let newest = frames.last().unwrap().segment;
        let at = frames.iter().position(|frame| frame.segment == newest).unwrap();
        let (below, first, above) = (&frames[at - 1], &frames[at], &frames[at + 1]);
        assert!(below.events > 0 && first.events == 0 && above.events > 0);
        let bad: Vec<_> = match lost {
            "above" => vec![(first, HEADER), (above, HEADER)],
            "below" => vec![(below, HEADER), (first, HEADER)],
            _ => vec![(below, HEADER), (first, HEADER), (above, HEADER)],
        };
        come_back(world, &bad, events, lost);
    }
}

/// All that is left of the segment is written again elsewhere; what was lost of it was not.
#[test]
fn a_segment_of_which_frames_are_lost_stays_when_the_others_move() {
    let (world, events, frames) = with_events_in_the_newest(2);
    let [.., first, lost, last] = &frames[..] else { panic!("{frames:?}") };
    assert!(lost.vouched && !last.vouched && last.segment == first.segment && first.events == 0);
    come_back(world, &[(first, HEADER), (lost, HEADER)], events, "moved");
}

/// The last frame, which vouches for the one before it, is damaged too and cut as a torn tail.
#[test]
fn events_lost_before_a_frame_that_is_cut_keep_their_numbers_and_their_bytes() {
    for same_segment in [true, false] {
        let (mut world, events, frames) = with_events_in_the_newest(if same_segment { 4 } else { 2 });
        let [.., first, lost, last] = &frames[..] else { panic!("{frames:?}") };
        assert!(lost.vouched && !last.vouched && lost.events == 1);
        world.disk.overwrite(format!("data/{}", last.file), last.offset + BODY, &[0; 64]).unwrap();
        let bad = [(lost, HEADER), (first, HEADER)];
        let bad = if same_segment { &bad[..1] } else { &bad };
        world.running = None;
        come_back(world, bad, events - 1, &format!("{same_segment}"));
    }
}

/// Nothing names a segment whose two headers are lost, and its events may have been acked.
#[test]
fn a_segment_whose_headers_are_lost_is_never_used_again() {
    let (mut world, ..) = with_events_in_the_newest(3);
    let path = format!("data/{}", world.segments().last().unwrap().file_name());
    world.disk.overwrite(&path, 0, &[0; 128]).unwrap();
    world.disk.overwrite(&path, BLOCK, &[0; 128]).unwrap();
    let bytes = world.disk.contents(&path).unwrap();
    for start in 0..4 {
        world.open().unwrap();
        world.append_all(world.log().stats().appended_event..world.log().stats().appended_event + 1);
        world.kill();
        assert!(world.disk.contents(&path).is_ok_and(|now| now == bytes), "start {start} changed {path}");
    }
}

#[test]
fn verify_finds_what_is_lost_before_the_first_frame_that_is_left() {
    let mut world = World::with_events(30);
    for event in 30.. {
        world.append_all(event..event + 1);
        let frames = world.frames();
        let of_newest = |frame: &&Frame| frame.segment == frames.last().unwrap().segment && frame.events > 0;
        if frames.iter().filter(of_newest).count() == 4 {
            break;
        }
    }
    let newest = world.frames().last().unwrap().segment;
    let keep = world.frames().iter().find(|f| f.segment == newest && f.events > 0).unwrap().first_event;
    let take = world.log().cursor().try_take(keep as usize, 1 << 20).unwrap().unwrap();
    world.log().cursor().release(take.first_event, take.events, vec![]);
    assert_eq!(take.events, keep, "one take has all of them");
    world.rest();
    let frames = world.frames();
    assert_eq!((frames[0].segment, frames[0].offset), (newest, 2 * BLOCK), "all others are used again");
    world.flip(&frames[0], HEADER);
    world.flip(&world.frame_of(keep), HEADER);
    let found = tools::verify(&world.dirs()).unwrap().damage;
    let holds = |events: (u64, Option<u64>)| events.0 <= keep && events.1 == Some(keep + 1);
    assert!(found.iter().any(|finding| finding.events.is_some_and(holds)), "{found:?}");
}

/// An old checkpoint is all there is to start from, and its segment was used again since.
#[test]
fn a_checkpoint_whose_segment_is_gone_serves_where_newer_frames_are_left() {
    let mut world = World::with_events(40);
    world.rest();
    let slots = ["checkpoint/checkpoint-0", "checkpoint/checkpoint-1"];
    let old = slots.map(|slot| world.disk.contents(slot).unwrap());
    let then = *world.segments().last().unwrap();
    world.append_all(40..80);
    let released = 60;
    for _ in 0..released {
        let take = world.log().cursor().try_take(1, 1 << 20).unwrap().unwrap();
        world.log().cursor().release(take.first_event, take.events, vec![]);
    }
    world.rest();
    world.kill();
    assert!(!world.segments().contains(&then), "its events were all released");
    slots.iter().zip(&old).for_each(|(slot, bytes)| world.disk.overwrite(*slot, 0, bytes).unwrap());
    for first in world.frames().iter().filter(|frame| frame.offset == 2 * BLOCK) {
        world.flip(first, HEADER);
    }
    world.open().unwrap();
    let (next, error) = world.take_from(released);
    assert!(next == 80 && error.is_none(), "{next}: {error:?}");
}

/// Its last frames are intact and nothing vouches for them; one before them, that was synced, is damaged.
#[test]
fn a_large_commit_with_a_damaged_frame_was_perhaps_acked_although_nothing_vouches_for_its_end() {
    for byte in [HEADER, BODY] {
        let mut world = World::with_events(5);
        world.rest();
        let large = vec![7; 110_000];
        let ticket = world.append_bytes(&large);
        world.ack(&ticket);
        world.kill();
        world.without_checkpoints();
        let frames = world.frames();
        let last = frames.last().unwrap();
        assert!(last.span && last.events == 1 && last.claims < last.number);
        let damaged = frames.iter().rfind(|frame| frame.span && frame.number <= last.claims).unwrap();
        world.flip(damaged, byte);
        world.open().unwrap();
        let (next, error) = world.take_from(0);
        assert!(next == 5 && error.is_some(), "{next}: {error:?}");
        world.append_all(6..7);
        world.rest();
        world.kill();
        world.flip(damaged, byte);
        world.open().unwrap();
        let of = |event| if event == 5 { large.clone() } else { payload(event) };
        let (next, error) = world.take_checking(0, of);
        assert!(next == 7 && error.is_none(), "{next}: {error:?}");
    }
}

/// Its header is lost; the frame behind it, which says that it was synced, tells that it had no events.
#[test]
fn a_lost_frame_without_events_is_cut_off_and_the_damaged_events_before_it_come_back() {
    let mut world = World::with_events(5);
    world.rest();
    world.close();
    world.without_checkpoints();
    let frames = world.frames();
    let [.., events, lost, last] = &frames[..] else { panic!("{frames:?}") };
    assert!(events.events == 1 && lost.events == 0 && lost.vouched && last.segment == events.segment);
    world.flip(events, BODY);
    world.flip(lost, HEADER);
    world.open().unwrap();
    assert_eq!(world.log().recovery().damage.len(), 2, "{:?}", world.log().recovery());
    world.assert_damaged_at(events);
    world.append_all(5..6);
    world.kill();
    let left = world.disk.contents(format!("data/{}", events.file)).unwrap();
    assert_eq!(left.len() as u64, lost.offset, "up to the last event's frame all stays");
    world.flip(events, BODY);
    world.open().unwrap();
    world.assert_all_there(6);
    assert_eq!(tools::verify(&world.dirs()).unwrap().damage, []);
}

/// The torn one was on its way when the process ended. A frame behind both says that the first was synced.
#[test]
fn a_synced_frame_that_is_lost_before_a_torn_one_keeps_its_numbers_and_its_bytes() {
    let mut world = World::with_events(2);
    let dispatch = |event| {
        let ticket = world.append_bytes(&payload(event));
        world.turn();
        ticket
    };
    let tickets: Vec<_> = (2..12).map(dispatch).collect();
    tickets.iter().for_each(|ticket| world.ack(ticket));
    world.kill();
    world.without_checkpoints();
    let frames = world.frames();
    let [.., lost, torn, last] = &frames[..] else { panic!("{frames:?}") };
    assert!(last.claims == lost.number && torn.number == lost.number + 1 && lost.events > 0, "{frames:?}");
    world.flip(lost, HEADER);
    world.disk.overwrite(format!("data/{}", torn.file), torn.offset, &[0; 4096]).unwrap();
    world.open().unwrap();
    let (next, error) = world.take_from(0);
    assert!(next == lost.first_event && error.is_some(), "{next}: {error:?}");
    // Where the synced events ended nobody can say: the torn frame's numbers are not given again either.
    world.append_all(last.first_event..last.first_event + 1);
    world.rest();
    world.reopen();
    let (next, error) = world.take_from(0);
    assert!(next == lost.first_event && error.is_some(), "again: {next}: {error:?}");
    world.kill();
    world.flip(lost, HEADER);
    world.open().unwrap();
    let (next, error) = world.take_from(0);
    assert!(next == torn.first_event && error.is_some(), "right again: {next}: {error:?}");
    // Nobody was told that it was there. Given up, all others arrive.
    world.log().cursor().release(torn.first_event, torn.events, vec![]);
    world.rest();
    world.reopen();
    let cursor = world.log().cursor();
    let takes = std::iter::from_fn(|| cursor.try_take(1, 1 << 20).unwrap());
    let there: Vec<_> = takes.map(|take| take.first_event).collect();
    let expected: Vec<_> = (0..torn.first_event).chain([last.first_event]).collect();
    assert_eq!(there, expected);
}
