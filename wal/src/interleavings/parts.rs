//! One hand-over each: every interleaving, or as many as [`EXHAUSTIVE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::RngCore;
use shuttle::scheduler::{DfsScheduler, RandomScheduler};

use super::{check, number, run};
use crate::append::staging::{OpenFrame, Pool};
use crate::append::ticket::{Stage, Ticket};
use crate::error::LogError;
use crate::format::frame::HEADER_LEN;
use crate::storage::{Completion, Mailbox, Wake, Word};
use crate::sync::{Condvar, Mutex, thread};

/// Interleavings of an ordinary run; most parts have fewer.
const EXHAUSTIVE: usize = 4_000;

fn check_all(test: fn()) {
    run(DfsScheduler::new(Some(number("RUNS", EXHAUSTIVE)), false), test);
}

/// What the kernel does: an eventfd, one read of it in the ring, completions of writes.
#[derive(Default)]
struct Ring {
    state: Mutex<RingState>,
    changed: Condvar,
}

#[derive(Default)]
struct RingState {
    counter: u64,
    is_armed: bool,
    completed: usize,
}

impl Ring {
    fn change(&self, change: impl FnOnce(&mut RingState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Sleeps until the read completes, or a write.
    fn enter(&self) {
        let mut state = self.state.lock();
        state.is_armed = true;
        while state.counter == 0 && state.completed == 0 {
            self.changed.wait(&mut state);
        }
        if state.counter > 0 {
            (state.counter, state.is_armed) = (0, false);
        }
    }

    fn reap(&self) -> usize {
        std::mem::take(&mut self.state.lock().completed)
    }
}

/// The queue's wait. Returns how many writes are done.
fn wait(word: &Word, ring: &Ring) -> usize {
    loop {
        let mut done = ring.reap();
        if done == 0 && word.fall_asleep() {
            ring.enter();
        }
        let woken = word.wake_up();
        done += ring.reap();
        if done > 0 || woken {
            return done;
        }
    }
}

/// Two wakers, whose eventfd's writes may come when a write has ended the wait they were meant for. The sleeper looks after
/// each wait for what was there before the wake, and ends when it has all.
fn wakes_of_the_ring() {
    let word = Arc::new(Word::default());
    let ring = Arc::new(Ring::default());
    let said = Arc::new(AtomicUsize::new(0));
    let wake = |_| {
        let (word, ring, said) = (word.clone(), ring.clone(), said.clone());
        thread::spawn(move || {
            said.fetch_add(1, Ordering::Relaxed);
            if word.notify() {
                ring.change(|state| state.counter += 1);
            }
        })
    };
    let mut threads: Vec<_> = (0..2).map(wake).collect();
    let disk = ring.clone();
    threads.push(thread::spawn(move || disk.change(|state| state.completed += 1)));
    let mut done = 0;
    while done == 0 || said.load(Ordering::Relaxed) < 2 {
        done += wait(&word, &ring);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_wake_of_the_ring_is_never_lost_and_shows_what_came_before_it() {
    check_all(wakes_of_the_ring);
    // There are too many for all: the others by chance.
    run(
        RandomScheduler::new_from_seed(number("SEED", 1) as u64, number("RUNS", EXHAUSTIVE)),
        wakes_of_the_ring,
    );
}

/// Method: the eventfd's write that was meant for an earlier wait comes now.
#[test]
fn a_late_write_to_the_eventfd_hides_no_wake() {
    check_all(|| {
        let word = Arc::new(Word::default());
        let ring = Arc::new(Ring::default());
        ring.change(|state| state.counter = 1);
        let (waker, eventfd) = (word.clone(), ring.clone());
        let thread = thread::spawn(move || {
            if waker.notify() {
                eventfd.change(|state| state.counter += 1);
            }
        });
        assert_eq!(wait(&word, &ring), 0);
        thread.join().unwrap();
    });
}

#[test]
fn the_mailbox_loses_no_completion_and_no_wake() {
    check_all(|| {
        let mailbox = Arc::new(Mailbox::default());
        let said = Arc::new(AtomicUsize::new(0));
        let (post, wake, saying) = (mailbox.clone(), mailbox.clone(), said.clone());
        let threads = [
            thread::spawn(move || post.post(Completion { token: 7, result: Ok(()) })),
            thread::spawn(move || {
                saying.store(1, Ordering::Relaxed);
                wake.wake();
            }),
        ];
        let mut done = Vec::new();
        while done.is_empty() || said.load(Ordering::Relaxed) == 0 {
            mailbox.collect(None, &mut done);
        }
        assert_eq!(done.len(), 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Regions of one frame are filled by two threads in steps; a third takes the frame as soon as it says that it is whole.
#[test]
fn a_frame_is_whole_only_behind_its_last_region() {
    check_all(|| {
        let pool = Pool::new(4096, 0, 2);
        let mut frame = OpenFrame::new(&pool, 0);
        let fillers: Vec<_> = [1_u8, 2]
            .map(|fill| {
                let mut region = frame.region(8);
                thread::spawn(move || {
                    region.bytes()[..4].fill(fill);
                    thread::yield_now();
                    region.bytes()[4..].fill(fill);
                })
            })
            .into_iter()
            .collect();
        for _ in 0..3 {
            if frame.is_whole() {
                break;
            }
            thread::yield_now();
        }
        if frame.is_whole() {
            let buffer = frame.into_buffer();
            assert_eq!(buffer[HEADER_LEN..HEADER_LEN + 16], [[1_u8; 8], [2; 8]].concat());
        }
        fillers.into_iter().for_each(|filler| filler.join().unwrap());
    });
}

/// A buffer goes back to the pool while a region of it is still being filled, and while a reader still has it.
#[test]
fn the_pool_gives_only_what_nobody_else_holds() {
    check_all(|| {
        let pool = Arc::new(Pool::new(4096, 0, 2));
        let mut frame = OpenFrame::new(&pool, 0);
        let mut region = frame.region(8);
        let filler = thread::spawn(move || {
            region.bytes().fill(1);
            thread::yield_now();
            assert_eq!(region.bytes(), [1; 8], "somebody else has the buffer");
        });
        pool.put(frame.into_buffer());
        thread::yield_now();
        let mut again = pool.get();
        Arc::get_mut(&mut again).expect("held by nobody else").fill(9);
        filler.join().unwrap();
    });
}

/// One waits on its thread, one as a task would, one only looks; the fate is decided meanwhile.
#[test]
fn everybody_with_a_ticket_learns_its_fate() {
    check(|| {
        let stage = Arc::new(Stage::default());
        let fails = shuttle::rand::thread_rng().next_u32().is_multiple_of(2);
        let [waits, looks, polls] = [0, 1, 2].map(|_| Ticket::new(&stage));
        let threads = [
            thread::spawn(move || waits.wait().is_ok()),
            thread::spawn(move || super::readers::wait_for(polls).is_ok()),
        ];
        let fate = if fails { Err(LogError::Closed) } else { Ok(()) };
        stage.decide(fate).into_iter().for_each(std::task::Waker::wake);
        assert_eq!(looks.try_wait().map(|fate| fate.is_ok()), Some(!fails));
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), !fails));
        super::assert_waited_at_most(std::time::Duration::ZERO);
    });
}
