//! A start that ends at any of its operations, and whose first frame, if it got so far, rots before the next one.

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
