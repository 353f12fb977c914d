//! A write that fails while others commit.

use std::time::Duration;

use super::check;
use super::world::{Air, Body, World, options, together};
use crate::sync::thread;
use crate::{Log, LogError, Options, Stats};

fn failing() -> Options {
    Options { reopen_delay_max: Duration::from_millis(20), ..options() }
}

/// Appends until `times` have succeeded; each attempt is a commit of its own, for the one before it is unknown.
fn insist(world: &World, who: usize, waits: bool, times: usize) {
    let mut left = times;
    for attempt in 0.. {
        let body = Body::new(who, attempt, 400);
        let ended = match waits {
            true => world.append_and_wait(body),
            false => world.append(body).and_then(|sent| sent()),
        };
        match ended {
            Ok(()) if left == 1 => return,
            Ok(()) => left -= 1,
            Err(LogError::Failed(_)) => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_recoveries(air: &Air) {
    let (recoveries, early) = air.recoveries();
    assert!(recoveries > 1);
    assert_eq!(early, 0, "a recovery began while a write was in the air");
}

/// Each of the first writes in turn fails, while others are in the air, of committers and of the queue.
fn while_others_write(n: usize) {
    let air = Air::new(true);
    let world = World::on(air.clone(), failing());
    air.fail_write(n);
    let shared = world.clone();
    together(3, move |who| insist(&shared, who, who != 2, 2));
    world.close();
    check_recoveries(&air);
}

#[test]
fn the_first_write_fails_while_others_commit() {
    check(|| while_others_write(1));
}

#[test]
fn the_second_write_fails_while_others_commit() {
    check(|| while_others_write(2));
}

/// Method: two committers' own writes at once would need two slots and an eager frame; one of the two fails.
#[test]
fn a_reopen_waits_for_a_committers_own_write_that_is_in_the_air() {
    check(|| {
        let air = Air::new(true);
        let world = World::on(air.clone(), Options { eager_bytes: 1, ..failing() });
        air.fail_write(2);
        let shared = world.clone();
        together(3, move |who| insist(&shared, who, true, 1));
        world.close();
        let (_, early) = air.recoveries();
        assert_eq!(early, 0, "a recovery began while a write was in the air");
    });
}

/// Method: with two slots and eager frames a committer's own write and one of the queue are in the air at once; when the
/// committer's fails, the queue's completion comes to a log that has decided its fate.
#[test]
fn a_queued_write_that_lands_behind_a_committers_failed_one_harms_nobody() {
    check(|| {
        let air = Air::new(true);
        let world = World::on(air.clone(), Options { eager_bytes: 1, ..failing() });
        air.fail_write(2);
        let shared = world.clone();
        together(3, move |who| insist(&shared, who, who != 2, 2));
        world.close();
        check_recoveries(&air);
    });
}

#[test]
fn a_close_while_the_log_reopens_ends_every_commit() {
    check(|| {
        let air = Air::new(true);
        let world = World::on(air.clone(), failing());
        air.fail_write(1);
        let shared = world.clone();
        together(3, move |who| match who {
            0 => shared.log.close(),
            _ => drop(shared.append_and_wait(Body::new(who, 0, 300))),
        });
        world.close();
        let (_, early) = air.recoveries();
        assert_eq!(early, 0, "a recovery began while a write was in the air");
    });
}

/// Method: who closes the log has seen that it failed, so that the close meets a reopen, or the log behind it.
#[test]
fn a_close_that_meets_a_reopen_ends_the_log() {
    check(|| {
        let air = Air::new(true);
        let world = World::on(air.clone(), failing());
        air.fail_write(1);
        let shared = world.clone();
        together(2, move |who| match who {
            0 => {
                let seen = |stats: Stats| stats.failure.is_some() || stats.reopens > 0;
                while !seen(shared.log.stats()) {
                    thread::sleep(Duration::from_millis(1));
                }
                shared.log.close();
            }
            _ => drop(shared.append_and_wait(Body::new(who, 0, 300))),
        });
        world.close();
    });
}

/// A consumer that waits learns of the failure, and goes on behind it.
#[test]
fn who_waits_for_events_is_woken_by_a_failure() {
    check(|| {
        let air = Air::new(true);
        let world = World::on(air.clone(), failing());
        air.fail_write(1);
        let shared = world.clone();
        together(2, move |who| match who {
            0 => take_one(&shared.log),
            _ => insist(&shared, who, true, 1),
        });
        world.close();
        check_recoveries(&air);
    });
}

fn take_one(log: &Log) {
    let cursor = log.cursor();
    loop {
        super::readers::wait_for(cursor.ready());
        match cursor.try_take(1, 1 << 20) {
            Ok(Some(_)) => return,
            Ok(None) => {}
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
