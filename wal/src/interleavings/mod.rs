//! The log's hand-synchronized parts under a scheduler that chooses who runs at each step.
//!
//! ```text
//!   parts     one hand-over each, small enough for every interleaving: signal word, mailbox, regions and pool, tickets
//!   world     storage whose writes stay in the air while others run, and a log on it with its threads
//!   commits   committers that write for themselves, tickets, room, spans, rolls, closing
//!   readers   takes, releases, progress, and what the submitter must be woken for
//!   failures  a write that fails while others commit, and the reopen behind it
//! ```
//!
//! What every test shows besides its own claim: everybody who waits is woken (the scheduler ends a run in which nobody can go
//! on, or that does not end), an ack comes only behind its frame and all before it, and the log opened again holds what was
//! acked, in order. A run is either *patient*: time stands still while anybody can run, so a lost wake costs a wait that the
//! test does not allow; or *hasty*: timeouts come whenever the scheduler likes.
//!
//! `cargo test -p flumen-wal --features shuttle --lib interleavings` runs them all. `RUNS=20000 SEED=7` before it makes more
//! interleavings, and others; the seed of a run that fails is printed, and `SHUTTLE_RANDOM_SEED` set to it replays that run.

mod commits;
mod failures;
mod parts;
mod readers;
mod world;

use std::cell::Cell;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, MaxSteps, Runner};

use crate::sync::model;

/// Interleavings of a test, in all.
const RUNS: usize = 100;

/// Steps of one interleaving; more are a loop without end.
const STEPS_MAX: usize = 200_000;

/// Threads keep whole recoveries on their stacks.
const STACK: usize = 512 << 10;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

thread_local! {
    static PATIENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `test` in many interleavings: random ones, and such of few preemptions at unlikely places; patient and hasty.
fn check(test: fn()) {
    let runs = number("RUNS", RUNS);
    check_as(true, runs / 2, test);
    check_as(false, runs / 2, test);
}

/// Only patient ones, for tests that look at the log after some time.
fn check_patiently(test: fn()) {
    check_as(true, number("RUNS", RUNS), test);
}

fn check_as(patient: bool, runs: usize, test: fn()) {
    let seed = number("SEED", 1) as u64;
    PATIENT.set(patient);
    run(Timed::new(RandomScheduler::new_from_seed(seed, runs.div_ceil(2)), patient), test);
    run(Timed::new(PctScheduler::new_from_seed(seed, 3, runs.div_ceil(2)), patient), test);
}

fn run(scheduler: impl Scheduler + 'static, test: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(move || {
        model::reset();
        test();
    });
}

/// In a patient run: no more time has passed than `limit`.
fn assert_waited_at_most(limit: Duration) {
    if PATIENT.get() {
        assert!(model::now() <= limit, "somebody waited for the clock: {:?} have passed", model::now());
    }
}

/// A scheduler that lets sleepers sleep while others can run; or only mostly, if it is not patient.
struct Timed<S> {
    inner: S,
    patient: bool,
    /// Mixed from what was chosen so far, so that a replayed run is hasty at the same steps.
    history: u64,
}

impl<S> Timed<S> {
    fn new(inner: S, patient: bool) -> Self {
        Self { inner, patient, history: 0 }
    }

    fn hurries(&self) -> bool {
        !self.patient && self.history >> 60 == 0
    }
}

impl<S: Scheduler> Scheduler for Timed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.history = 0;
        self.inner.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let until = |task: &&Task| model::asleep_until(task.id().into());
        let latest = if self.hurries() { model::FOR_EVER } else { Duration::ZERO };
        let mut choice = runnable.to_vec();
        choice.retain(|task| until(task).is_none_or(|until| until < latest));
        if choice.is_empty() {
            choice.extend(runnable.iter().min_by_key(|task| until(task)));
        }
        let chosen = self.inner.next_task(&choice, current, is_yielding)?;
        let mixed = (self.history ^ usize::from(chosen) as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.history = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Some(chosen)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
