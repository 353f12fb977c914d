//! A start that ends at any of its operations, and whose first frame, if it got so far, rots before the next one; or that finds
//! no file to use but one with something in it.

use flumen_wal::storage::faulty::Fault;

use crate::world::{BLOCK, World, payload};

const EVENTS: u64 = 60;

/// Ends a start after each number of operations in turn. Where it left a first frame, that is damaged; then `judge` has the
/// log as the next start makes it. Returns how many starts had left one.
fn rotten_starts(before: &World, judge: impl Fn(World, u64)) -> usize {
    let highest = before.segments().last().copied().unwrap();
    let mut rotten = 0;
    for operations in 0.. {
        let mut world = World { disk: before.disk.fork(), ..World::closed() };
        world.disk.kill();
        world.disk.crash_at(world.disk.operations() + operations);
        let ended = world.open().is_err();
        world.kill();
        let newest = world.frames().into_iter().rfind(|frame| frame.offset == 2 * BLOCK);
        if let Some(first) = newest.filter(|newest| newest.segment > highest) {
            world.flip(&first, 100);
            rotten += 1;
        }
        world.open().unwrap_or_else(|error| panic!("operation {operations}: {error}"));
        judge(world, operations);
        if !ended {
            return rotten;
        }
    }
    unreachable!("a start ends")
}

/// Its predecessor left a checkpoint that names a segment without events.
#[test]
fn a_start_keeps_what_the_older_checkpoint_names_until_its_own_is_durable() {
    let mut world = World::with_events(EVENTS);
    world.rest();
    world.close();
    world.open().unwrap();
    world.close();
    let rotten = rotten_starts(&world, |mut world, operation| {
        let (next, error) = world.take_from(0);
        assert!(next == EVENTS && error.is_none(), "operation {operation}: {next}: {error:?}");
        world.append_all(EVENTS..EVENTS + 1);
    });
    assert!(rotten > 4, "{rotten} operations behind the first frame");
}

/// Nothing vouches for the last events but that they were acked.
#[test]
fn what_a_start_writes_again_stays_where_it_was_until_a_checkpoint_vouches_for_it() {
    let mut world = World::with_events(EVENTS);
    assert!(!world.frame_of(EVENTS - 1).vouched);
    world.kill();
    let rotten = rotten_starts(&world, |mut world, operation| {
        let (next, error) = world.take_from(0);
        assert!(next == EVENTS && error.is_none(), "operation {operation}: {next}: {error:?}");
        world.append_all(EVENTS..EVENTS + 1);
    });
    assert!(rotten > 4, "{rotten} operations behind the first frame");
}

/// What a start cut off, as a write that was never acked, the next one must cut off as well when the first frame of the one
/// before landed in part: were it called damaged, takes would stop at it for good.
#[test]
fn a_torn_end_is_no_damage_to_the_start_after_one_whose_first_frame_is_torn() {
    let mut world = World::with_events(EVENTS);
    let last = world.frame_of(EVENTS - 1);
    assert!(!last.vouched);
    world.kill();
    world.flip(&last, 100);
    let rotten = rotten_starts(&world, |mut world, operation| {
        let damage = &world.log().recovery().damage;
        assert!(damage.is_empty(), "operation {operation}: {damage:?}");
        let (next, error) = world.take_from(0);
        assert!(next == EVENTS - 1 && error.is_none(), "operation {operation}: {next}: {error:?}");
        world.append_all(EVENTS - 1..EVENTS + 1);
    });
    assert!(rotten > 0);
}

/// Evidence ends within the commit, and starts that end leave copies of it behind.
#[test]
fn a_large_commit_is_written_again_as_a_whole_after_starts_that_ended() {
    let mut before = World::with_events(5);
    let large = vec![7; 110_000];
    let ticket = before.append_bytes(&large);
    before.ack(&ticket);
    let last = before.frames().pop().unwrap();
    assert!(last.span && before.frames().iter().any(|frame| frame.span && frame.number == last.claims));
    before.kill();
    for operations in 0.. {
        let mut world = World { disk: before.disk.fork(), ..World::closed() };
        world.disk.kill();
        world.disk.crash_at(world.disk.operations() + operations);
        let ended = world.open().is_err();
        world.kill();
        world.open().unwrap();
        let of = |event| if event == 5 { large.clone() } else { payload(event) };
        let (next, error) = world.take_checking(0, of);
        assert!(next == 6 && error.is_none(), "operation {operations}: {next}: {error:?}");
        if !ended {
            break;
        }
    }
}

/// A log, killed, whose newest segment holds one event, acked behind a first frame that was synced before; nothing vouches for
/// the event, and beside the segments that hold something there is no file. How many events there are.
fn without_reserve() -> (World, u64) {
    let mut world = World::closed();
    // The snapshot takes the only slot: what follows it vouches for it.
    world.options.in_flight = 1;
    world.open().unwrap();
    for count in 1.. {
        world.append_all(count - 1..count);
        let frames = world.frames();
        let (first, last) = (&frames[frames.len() - 2], &frames[frames.len() - 1]);
        if count < 30 || (first.offset, first.events, last.events) != (2 * BLOCK, 0, 1) {
            continue;
        }
        assert!(last.claims == first.number && !last.vouched);
        world.kill();
        world.without_checkpoints();
        let holds_some: Vec<_> = frames.iter().map(|frame| &frame.file).collect();
        for name in world.disk.directory("data").list().unwrap().into_iter().map(|entry| entry.name) {
            if name != "lock" && !holds_some.contains(&&name) {
                world.remove("data", &name);
            }
        }
        world.flip(first, 10);
        return (world, count);
    }
    unreachable!("segments fill")
}

/// Goal: what is to be written again stays where it is until it is. Method: the first frame of its segment is lost, so that no
/// table names it; there is no spare; the start ends at each of its operations in turn, by a crash or for lack of space.
#[test]
fn a_start_uses_no_file_again_that_holds_what_it_is_to_write_again() {
    let (before, events) = without_reserve();
    for operations in 0.. {
        let mut world = World { disk: before.disk.fork(), ..World::closed() };
        world.disk.kill();
        world.disk.crash_at(world.disk.operations() + operations);
        let ended = world.open().is_err();
        world.kill();
        world.open().unwrap_or_else(|error| panic!("operation {operations}: {error}"));
        let (next, error) = world.take_from(0);
        assert!(next == events && error.is_none(), "operation {operations}: {next}: {error:?}");
        if !ended {
            break;
        }
    }
    let mut world = World { disk: before.disk.fork(), ..World::closed() };
    let files = world.files();
    world.disk.fail_next("allocate", Fault::NoSpace);
    world.open().expect_err("no space for a segment");
    let kept: Vec<_> = files.iter().filter(|(name, bytes)| world.files().get(*name) != Some(bytes)).collect();
    assert!(kept.is_empty(), "{:?}", kept.iter().map(|(name, _)| name).collect::<Vec<_>>());
    world.open().unwrap();
    world.assert_all_there(events);
}
