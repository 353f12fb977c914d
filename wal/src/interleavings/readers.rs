//! The consumer, progress, and what becomes due.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use bytes::Bytes;

use super::world::{Body, NEVER, World, options, together};
use super::{assert_waited_at_most, check, check_patiently};
use crate::sync::thread;
use crate::{Options, ProgressOp, ProgressUpdate, Space};

/// Runs a future on this thread.
pub fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A name by which the storage finds a frame.
const SINK: &str = "<the only sink->";

fn progress(to: u64) -> ProgressUpdate {
    let op = ProgressOp::Set { generation: 1, from: 0, to, rest: Bytes::new() };
    ProgressUpdate { space: Space::Sink, owner: Arc::from(SINK), key: "at".to_owned(), op }
}

/// Takes and releases until `events` were taken.
fn consume(world: &World, events: u64) {
    let cursor = world.log.cursor();
    let mut taken = 0;
    while taken < events {
        wait_for(cursor.ready());
        if let Some(take) = cursor.try_take(2, 1 << 20).unwrap() {
            world.check_take(&take);
            taken += take.events;
            cursor.release(take.first_event, take.events, vec![progress(taken)]);
        }
    }
}

#[test]
fn a_consumer_sees_only_what_is_synced_and_is_woken_for_all_of_it() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(3, move |who| match who {
            0 => consume(&shared, 4),
            _ => (0..2).for_each(|n| shared.append_and_wait(Body::new(who, n, 700)).unwrap()),
        });
        assert_waited_at_most(Duration::from_millis(2));
        world.close_leaving(4);
    });
}

/// Method: buffers are few and the cache holds two, so that a buffer is wanted again while a consumer holds its bytes.
#[test]
fn a_buffer_is_not_used_again_while_somebody_holds_its_bytes() {
    check(|| {
        let world = World::new(Options { cache_bytes: 32 << 10, in_flight: 1, ..options() });
        let shared = world.clone();
        together(2, move |who| match who {
            0 => {
                let cursor = shared.log.cursor();
                let mut held = Vec::new();
                while held.len() < 3 {
                    wait_for(cursor.ready());
                    if let Some(take) = cursor.try_take(1, 1 << 20).unwrap() {
                        let payload = take.pieces[0].payload.clone();
                        held.push((payload.to_vec(), payload));
                        cursor.release(take.first_event, 1, Vec::new());
                    }
                    thread::yield_now();
                }
                held.iter().for_each(|(copy, payload)| assert!(copy == payload, "a lent buffer was changed"));
            }
            _ => (0..5).for_each(|n| shared.append_and_wait(Body::new(who, n, 700)).unwrap()),
        });
        world.close_leaving(3);
    });
}

#[test]
fn what_is_given_back_wakes_who_waits_for_events() {
    check(|| {
        let world = World::new(options());
        world.append_and_wait(Body::new(0, 0, 100)).unwrap();
        let take = world.log.cursor().try_take(1, 100).unwrap().unwrap();
        let shared = world.clone();
        together(2, move |who| match who {
            0 => consume(&shared, 1),
            _ => shared.log.cursor().rollback(take.first_event, take.events),
        });
        world.close_leaving(1);
    });
}

#[test]
fn a_close_ends_waiting_for_events() {
    check(|| {
        let world = World::new(options());
        let shared = world.clone();
        together(2, move |who| match who {
            0 => {
                wait_for(shared.log.cursor().ready());
                assert!(shared.log.cursor().try_take(1, 100).is_err());
            }
            _ => shared.log.close(),
        });
        world.close();
    });
}

const DELAY: Duration = Duration::from_millis(20);

/// Method: nothing but the release delay makes the submitter write what a sink says; committers write their own frames, behind
/// the submitter's back, before it, meanwhile and after it.
#[test]
fn progress_is_durable_after_the_release_delay_whatever_committers_do() {
    check(|| {
        let world = World::new(Options { release_delay: DELAY, ..options() });
        let shared = world.clone();
        together(2, move |who| match who {
            0 => shared.append_and_wait(Body::new(who, 0, 100)).unwrap(),
            _ => shared.log.record(vec![progress(7)]).unwrap().wait().unwrap(),
        });
        assert_waited_at_most(DELAY + Duration::from_millis(2));
        world.close();
    });
}

#[test]
fn releases_are_durable_after_the_release_delay_whatever_committers_do() {
    check_patiently(|| {
        let world = World::new(Options { release_delay: DELAY, ..options() });
        world.append_and_wait(Body::new(0, 0, 100)).unwrap();
        let shared = world.clone();
        together(2, move |who| match who {
            0 => shared.append_and_wait(Body::new(who, 1, 100)).unwrap(),
            _ => shared.log.cursor().release(0, 1, vec![progress(1)]),
        });
        thread::sleep(2 * DELAY);
        assert!(world.air.has_landed(SINK), "a release that waits for ever");
        world.close_leaving(1);
    });
}

/// Method: everybody sleeps when the release comes.
#[test]
fn a_release_wakes_a_log_at_rest() {
    check_patiently(|| {
        let world = World::new(Options { release_delay: DELAY, ..options() });
        world.append_and_wait(Body::new(0, 0, 100)).unwrap();
        thread::sleep(DELAY);
        world.log.cursor().release(0, 1, vec![progress(1)]);
        thread::sleep(2 * DELAY);
        assert!(world.air.has_landed(SINK), "a release that waits for ever");
        world.close_leaving(1);
    });
}

#[test]
fn progress_wakes_a_log_at_rest() {
    check_patiently(|| {
        let world = World::new(Options { release_delay: DELAY, ..options() });
        world.append_and_wait(Body::new(0, 0, 100)).unwrap();
        thread::sleep(DELAY);
        world.log.record(vec![progress(1)]).unwrap().wait().unwrap();
        assert_waited_at_most(3 * DELAY);
        world.close();
    });
}

/// A burst's end is vouched for, also if its last frame was written by a committer while the submitter slept.
#[test]
fn what_committers_wrote_is_vouched_for_after_the_idle_delay() {
    check_patiently(|| {
        let world = World::new(Options { idle_delay: DELAY, ..options() });
        let shared = world.clone();
        together(2, move |who| shared.append_and_wait(Body::new(who, 0, 100)).unwrap());
        thread::sleep(3 * DELAY);
        assert!(world.log.stats().control_frames > 0, "nobody vouched for the last frame");
        assert_waited_at_most(4 * DELAY);
        thread::sleep(NEVER / 2);
        assert_eq!(world.log.stats().control_frames, 1, "one vouches for all");
        world.close();
    });
}
