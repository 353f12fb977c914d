//! A log that fails and opens again within its process knows more than the disk may show; and a disk that goes on failing
//! must not be asked all the time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flumen_wal::ReadError;
use flumen_wal::storage::faulty::Fault;

use crate::world::{BLOCK, World, payload};

impl World {
    fn now(&self) -> Duration {
        Duration::from_micros(self.environment.micros.load(Ordering::Relaxed))
    }

    fn pass(&mut self, millis: u64) {
        self.environment.micros.fetch_add(millis * 1000, Ordering::Relaxed);
        self.turn();
    }

    /// Lets the next frame fail, and the log open again.
    fn fail_and_reopen(&mut self) {
        let before = self.log().stats().reopens;
        self.disk.fail_next("complete", Fault::Io);
        let ticket = self.append_bytes(&payload(99));
        for _ in 0..10_000 {
            self.pass(1);
            if self.log().stats().reopens > before {
                assert!(ticket.try_wait().is_some_and(|result| result.is_err()));
                return;
            }
        }
        panic!("never reopened: {:?}", self.log().stats());
    }

    /// As if the disk had never written the frame that it said was durable.
    fn lose(&self, event: u64) {
        let frame = self.frame_of(event);
        self.disk.overwrite(format!("data/{}", frame.file), frame.offset, &[0; 2 * BLOCK as usize]).unwrap();
    }
}

#[test]
fn a_reopen_notices_that_the_disk_lost_what_was_synced() {
    for (events, lost) in [(1, 0), (3, 2), (30, 29), (30, 12)] {
        let mut world = World::with_events(events);
        let frame = world.frame_of(lost);
        // The only ones who know of the last frame are the process and nobody on the disk.
        world.lose(lost);
        world.fail_and_reopen();
        let stats = world.log().stats();
        if lost + 1 == events {
            let [damage] = &stats.reopen_damage[..] else { panic!("{stats:?}") };
            assert_eq!((damage.place.segment, damage.first_frame), (frame.segment, frame.number));
        }
        let (next, error) = world.take_from(0);
        assert_eq!(next, lost, "{events}, {lost}: {error:?}");
        match error {
            Some(ReadError::Damaged { event, path, .. }) => {
                assert_eq!((event, path.ends_with(&frame.file)), (lost, true));
            }
            other => panic!("{events}, {lost}: {other:?}"),
        }
        // The lost event's number is not given to another one.
        assert_eq!(world.log().stats().synced_event, world.log().stats().appended_event);
        assert!(world.log().stats().appended_event >= events);
        let ticket = world.append_bytes(&payload(events));
        world.ack(&ticket);
        assert!(world.log().stats().synced_event > events);
        assert_eq!(world.take_from(0).0, lost, "takes stop at the place");
    }
}

#[test]
fn a_reopen_after_which_frames_fail_again_comes_later_each_time() {
    let mut world = World::with_events(3);
    (0..1000).for_each(|_| world.disk.fail_next("complete", Fault::Io));
    let (mut reopens, mut at) = (0, world.now());
    let mut pauses = Vec::new();
    while world.now() < Duration::from_secs(40) {
        if world.log().stats().failure.is_none() && world.disk.writes_in_flight() == 0 {
            drop(world.append_bytes(&payload(3)));
        }
        world.pass(1);
        if world.log().stats().reopens > reopens {
            reopens = world.log().stats().reopens;
            pauses.push(world.now() - at);
            at = world.now();
        }
    }
    assert!((8..25).contains(&pauses.len()), "{pauses:?}");
    let longest = pauses.iter().max().unwrap();
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(longest), "{pauses:?}");
    // The first frame that is synced ends it.
    world.disk.clear_faults();
    while world.log().stats().failure.is_some() {
        world.pass(1);
    }
    // Commits that failed are unknown, not undone: some are there.
    let known = world.log().stats().appended_event;
    world.append_all(known..known + 2);
    let at = world.now();
    world.fail_and_reopen();
    assert!(world.now() - at < Duration::from_millis(50), "{:?}", world.now() - at);
    let of = |event| if (3..known).contains(&event) { payload(3) } else { payload(event) };
    let cursor = world.log().cursor();
    for event in 0..known + 2 {
        let take = cursor.try_take(1, 1 << 20).unwrap().unwrap();
        assert_eq!((take.first_event, &take.pieces[0].payload[..]), (event, &of(event)[..]));
    }
}

/// A log of more segments than a snapshot tells of, opened again: where the oldest one's events end must be read in its
/// neighbour.
fn world_with_an_unknown_segment() -> World {
    let mut world = World::with_events(1100);
    world.close();
    assert!(world.segments().len() > 66, "{}", world.segments().len());
    world.open().unwrap();
    world
}

fn release(world: &World, events: u64) {
    let cursor = world.log().cursor();
    for _ in 0..events {
        let take = cursor.try_take(1, 1 << 20).unwrap().unwrap();
        cursor.release(take.first_event, take.events, vec![]);
    }
}

fn is_there(world: &World, name: &str) -> bool {
    world.files().contains_key(&format!("data/{name}"))
}

#[test]
fn neighbours_that_cannot_be_read_are_asked_again_and_not_all_the_time() {
    let mut world = world_with_an_unknown_segment();
    let files: Vec<_> = world.segments().iter().map(|number| number.file_name()).collect();
    let (oldest, neighbours) = files.split_first().unwrap();
    let neighbours: Vec<_> = neighbours.iter().map(|name| format!("data/{name}")).collect();
    release(&world, 20);
    neighbours.iter().for_each(|name| world.disk.fail_reads(name, 0, 4 * BLOCK).unwrap());
    world.rest();
    let before = world.disk.operations();
    for _ in 0..5000 {
        world.pass(1);
    }
    let asked = world.disk.operations() - before;
    assert!((5..400).contains(&asked), "{asked} operations in 5 s");
    assert!(is_there(&world, oldest));
    neighbours.iter().for_each(|name| world.disk.heal(name).unwrap());
    for _ in 0..600 {
        world.pass(1);
    }
    assert!(!is_there(&world, oldest), "what is released is given back");
    assert_eq!(world.take_from(20).0, 1100);
}

/// Goal: a first frame that rotted, or that the disk cannot read, keeps no segment from being given back. Method: a backlog of
/// more segments than a table names, of which one begins with one, or more than are asked; all events are released, at once, or a
/// part before a restart and a part behind it.
#[test]
fn segments_beside_damaged_ones_are_given_back() {
    for (damage, neighbours) in [("header", 1), ("frame", 1), ("frame", 12), ("error", 1), ("error", 12)] {
        for restarts in [false, true] {
            let mut world = world_with_an_unknown_segment();
            let segments: Vec<_> = world.segments().iter().map(|number| number.file_name()).collect();
            let (active, sealed) = segments.split_last().unwrap();
            for name in &segments[1..=neighbours] {
                let name = format!("data/{name}");
                match damage {
                    "header" => {
                        for copy in [30, BLOCK + 30] {
                            world.disk.flip_bit(&name, copy, 1).unwrap();
                        }
                    }
                    "frame" => world.disk.flip_bit(&name, 2 * BLOCK + 100, 1).unwrap(),
                    _ => world.disk.fail_reads(&name, 2 * BLOCK, 4 * BLOCK).unwrap(),
                }
            }
            let what = format!("{neighbours} of {damage}, restarts: {restarts}");
            if restarts {
                world.log().cursor().release(0, 10, vec![]);
                (0..200).for_each(|_| world.pass(1));
                world.reopen();
            }
            world.log().cursor().release(0, 1100, vec![]);
            (0..200).for_each(|_| world.pass(1));
            let before = world.disk.operations();
            (0..600).for_each(|_| world.pass(1));
            assert!(world.disk.operations() - before < 50, "{what}: asked once");
            let left: Vec<_> = sealed.iter().filter(|name| is_there(&world, name)).collect();
            assert!(left.is_empty() && (restarts || is_there(&world, active)), "{what}: {left:?}");
            if damage == "error" {
                // The disk refuses to read these files also where they are used again.
                continue;
            }
            // Puts, rolls and restarts go on.
            world.append_all(1100..1130);
            world.rest();
            world.reopen();
            assert_eq!(world.log().stats().appended_event, 1130);
            let recovery = world.log().recovery();
            assert_eq!((recovery.damage.len(), recovery.missing_below), (0, None), "{what}");
            assert_eq!(world.take_from(1100).0, 1130, "{what}");
        }
    }
}

#[test]
fn a_reopen_that_finds_segments_gone_says_so() {
    let mut world = World::with_events(60);
    let segments = world.segments();
    let left = world.frames().iter().find(|frame| frame.segment == segments[1]).unwrap().first_event;
    world.remove("data", &segments[0].file_name());
    world.fail_and_reopen();
    let stats = world.log().stats();
    assert_eq!((stats.reopen_missing_below, stats.first_event), (Some(left), left));
    world.fail_and_reopen();
    assert_eq!(world.log().stats().reopen_missing_below, Some(left), "it stays said");
}

#[test]
fn a_released_segment_whose_file_could_not_be_changed_is_given_back_later() {
    for spares in [0, 8] {
        let mut world = World::closed();
        world.options.spare_segments = spares;
        world.open().unwrap();
        world.append_all(0..60);
        world.rest();
        let segments: Vec<String> = world.segments().iter().map(|number| number.file_name()).collect();
        let what = if spares > 0 { "rename" } else { "remove" };
        world.disk.fail_next(what, Fault::Io);
        release(&world, 50);
        (0..100).for_each(|_| world.pass(1));
        let left: Vec<&String> = segments.iter().filter(|name| is_there(&world, name)).collect();
        assert!(left.contains(&&segments[0]), "{what}: it is still there: {left:?}");
        assert!(!left.contains(&&segments[1]), "{what}: it holds no other one up: {left:?}");
        let before = world.disk.operations();
        (0..300).for_each(|_| world.pass(1));
        assert!(world.disk.operations() - before < 20, "{what}: not all the time");
        (0..300).for_each(|_| world.pass(1));
        assert!(!is_there(&world, &segments[0]), "{what}: tried again");
        assert_eq!(world.take_from(50).0, 60);
    }
}
