//! Committers, tickets and room.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Body, NEVER, World, options, together};
use super::{assert_waited_at_most, check, check_patiently};
use crate::storage::memory::MemoryDirectory;
use crate::sync::thread;
use crate::{Durability, LogError, Options};

/// What committers may wait for one who left, or who appends for the first time: their patience, a few times.
const PATIENCE: Duration = Duration::from_millis(2);

#[test]
fn every_committer_that_waits_is_woken_behind_its_frame() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| {
            for number in 0..2 {
                shared.append_and_wait(Body::new(who, number, 100)).unwrap();
            }
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: no release, no claim and no patience is due, so nobody is woken by the clock.
#[test]
fn no_ticket_waits_for_the_clock() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| {
            let first = shared.append(Body::new(who, 0, 100)).unwrap();
            let second = shared.append(Body::new(who, 1, 3000)).unwrap();
            first().unwrap();
            second().unwrap();
        });
        assert_waited_at_most(Duration::ZERO);
        world.close();
    });
}

#[test]
fn a_copy_under_way_holds_up_its_frame_and_nobody_for_ever() {
    check(|| {
        // Each fills most of a frame, so that frames are staged while their regions are being filled.
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| {
            let sent = shared.append(Body::new(who, 0, 9000)).unwrap();
            sent().unwrap();
        });
        assert_waited_at_most(Duration::ZERO);
        world.close();
    });
}

#[test]
fn committers_and_tickets_share_frames_and_none_waits_in_vain() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(4, move |who| match who {
            0 | 1 => (0..2).for_each(|n| shared.append_and_wait(Body::new(who, n, 200)).unwrap()),
            _ => {
                let tickets: Vec<_> =
                    (0..2).map(|n| shared.append(Body::new(who, n, 5000)).unwrap()).collect();
                tickets.into_iter().for_each(|ticket| ticket().unwrap());
            }
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: three commit together, so that the next frame expects three; then one of them comes alone.
#[test]
fn committers_that_leave_are_waited_for_a_moment() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| {
            for number in 0..=2 * usize::from(who == 0) {
                shared.append_and_wait(Body::new(who, number, 50)).unwrap();
            }
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

#[test]
fn room_is_handed_on_to_everybody_who_waits_for_it() {
    check(|| {
        let world = World::new(Options { staged_bytes_max: 100, ..options() });
        let shared = world.clone();
        together(4, move |who| shared.append_and_wait(Body::new(who, 0, 40 + 30 * who)).unwrap());
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: the first in the queue stops waiting when nobody else has anything left to do, or at any time.
#[test]
fn who_stops_waiting_for_room_hands_his_turn_on() {
    check(|| {
        let world = World::new(Options { staged_bytes_max: 100, ..options() });
        let shared = world.clone();
        together(3, move |who| {
            if who == 0 {
                let mut leaves = shared.log.reserve(100).unwrap();
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let room = std::pin::Pin::new(&mut leaves).poll(&mut context);
                thread::sleep(Duration::from_millis(1));
                drop((leaves, room));
            } else {
                shared.append_and_wait(Body::new(who, 0, 80)).unwrap();
            }
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

#[test]
fn commits_beyond_a_frame_keep_their_place_among_others() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| {
            let len = if who == 0 { 40_000 } else { 300 };
            (0..2).for_each(|number| shared.append_and_wait(Body::new(who, number, len)).unwrap());
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: a segment holds four such frames; each roll needs the keeper.
#[test]
fn committers_go_on_over_rolls() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(2, move |who| {
            (0..6).for_each(|number| shared.append_and_wait(Body::new(who, number, 12_000)).unwrap());
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: every frame asks for a sync, which the keeper carries out beside the commits; a roll waits for it.
#[test]
fn acks_before_the_sync_go_on_over_syncs_and_rolls_and_a_close_waits_for_them() {
    check(|| {
        let durability = Durability::Written { interval: NEVER, bytes: 1 };
        let world = World::new(Options { durability, ..options() });
        let shared = world.clone();
        together(3, move |who| {
            for number in 0..4 {
                let body = Body::new(who, number, 12_000);
                match who {
                    2 => shared.append(body).and_then(|sent| sent()).unwrap(),
                    _ => shared.append_and_wait(body).unwrap(),
                }
            }
        });
        assert_waited_at_most(PATIENCE);
        let log = world.log.clone();
        world.close();
        assert_eq!(log.stats().unsynced_bytes, 0, "a close syncs what was acked");
    });
}

#[test]
fn a_close_ends_every_commit_one_way_or_the_other() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(4, move |who| match who {
            0 => shared.log.close(),
            1 => {
                let sent = shared.append(Body::new(who, 0, 300));
                let ended = sent.and_then(|sent| sent());
                assert!(matches!(ended, Ok(()) | Err(LogError::Closed)), "{ended:?}");
            }
            _ => {
                let ended = shared.append_and_wait(Body::new(who, 0, 300));
                assert!(matches!(ended, Ok(()) | Err(LogError::Closed)), "{ended:?}");
            }
        });
        assert_waited_at_most(PATIENCE);
        world.close();
    });
}

/// Method: somebody holds most of the budget all the while, so that nobody is let in.
#[test]
fn a_close_ends_waiting_for_room() {
    check(|| {
        let world = World::new(Options { staged_bytes_max: 100, ..options() });
        let held = world.log.try_reserve(95).unwrap();
        let shared = world.clone();
        together(3, move |who| match who {
            0 => shared.log.close(),
            _ => {
                let ended = shared.append_and_wait(Body::new(who, 0, 90));
                assert!(matches!(ended, Err(LogError::Closed)), "{ended:?}");
            }
        });
        assert_waited_at_most(PATIENCE);
        drop(held);
        world.close();
    });
}

/// Dropping the last handle closes, also while the tickets of what it appended are waited for elsewhere.
#[test]
fn what_was_appended_before_the_last_handle_goes_is_written() {
    check(|| {
        let dir: Arc<dyn crate::storage::Directory> = Arc::new(MemoryDirectory::new("d"));
        let dirs = || crate::Directories { data: dir.clone(), checkpoint: dir.clone() };
        let log = crate::Log::open(dirs(), options()).unwrap();
        let body = Body::new(0, 0, 100);
        let room = log.try_reserve(100).unwrap();
        let ticket = log.append(room, World::commit(&body)).unwrap();
        let waits = thread::spawn(move || ticket.wait().unwrap());
        drop(log);
        waits.join().unwrap();
        assert_waited_at_most(Duration::ZERO);
        let log = crate::Log::open(dirs(), options()).unwrap();
        assert_eq!(log.stats().synced_event, 1);
        log.close();
    });
}

/// Method: releases and claims are off; the only deadlines are hours away.
#[test]
fn a_log_at_rest_waits_for_nothing() {
    check_patiently(|| {
        let world = World::new(options());
        world.append_and_wait(Body::new(0, 0, 100)).unwrap();
        thread::sleep(NEVER / 2);
        assert_eq!(world.log.stats().control_frames, 0);
        world.append_and_wait(Body::new(0, 1, 100)).unwrap();
        assert_waited_at_most(NEVER / 2);
        world.close();
    });
}
