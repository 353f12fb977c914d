//! The log over the simulated disk: a model that knows what is surely there, what may be there, and what surely is not.
//!
//! ```text
//!   world   the log on its simulated disk, in one thread, with the disk's clock: lives that begin and end
//!   book    what was appended, acked, released and said; compares that with what the log holds after a start
//!   model   the actions of a case, and what each does to both
//!   sweep   scenarios of which every storage operation in turn is the last one, fails, or is slow
//!   found   cases that failed once
//! ```
//!
//! A case is a disk seed and a list of actions, so a failure shrinks and replays; its seed is kept in the file
//! `seeds` beside this one. `cargo test -p flumen-wal --test simulation` runs [`CASES`] cases;
//!
//! ```text
//! CRASHES=1000000 SEED=1 cargo test --release -p flumen-wal --test simulation -- --ignored --nocapture a_long_run
//! ```
//!
//! is the long run: it goes on until so many lives have ended in a crash (a kill or a power cut), from this seed on, prints
//! how many there were and how fast, and shrinks what it finds. With `LANES=1` its logs have one to three data directories,
//! which come and go.

mod book;
mod found;
mod model;
mod sweep;
mod world;

use std::sync::atomic::Ordering;
use std::time::Instant;

use model::{Action, Simulation};
use proptest::prelude::*;
use proptest::test_runner::{
    FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

/// Cases of an ordinary run.
const CASES: u32 = 2000;

fn action() -> impl Strategy<Value = Action> {
    let index = || any::<prop::sample::Index>().prop_map(|i| i.index(1000));
    prop_oneof![
        10 => (1..6u32, 0..40_000usize).prop_map(|(events, bytes)| Action::Append { events, bytes }),
        10 => (1..4u32, 0..600usize).prop_map(|(events, bytes)| Action::Append { events, bytes }),
        2 => Just(Action::SourceProgress),
        2 => Just(Action::SinkProgress),
        8 => (1..6u8).prop_map(Action::Turn),
        1 => (100..40_000u64).prop_map(Action::Wait),
        4 => (1..30usize).prop_map(Action::Take),
        4 => index().prop_map(Action::Release),
        2 => index().prop_map(Action::Rollback),
        1 => Just(Action::Trim),
        3 => Just(Action::Quiesce),
        1 => Just(Action::Reopen),
        1 => any::<bool>().prop_map(Action::Compress),
        1 => key().prop_map(Action::Encrypt),
        2 => Just(Action::Kill),
        2 => any::<u64>().prop_map(Action::PowerCut),
        1 => (0..40u64, any::<Option<u64>>()).prop_map(|(after, cut)| Action::CrashAfter { after, cut }),
        2 => (0..12u64, 0..3u8).prop_map(|(after, kind)| Action::Fail { after, kind }),
        1 => Just(Action::FailSync),
        1 => (0..40u64).prop_map(Action::Slow),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(place, restart)| Action::FlipBit { place, restart }),
        1 => (-200_000..300_000i64).prop_map(Action::FillDisk),
        1 => Just(Action::FreeDisk),
    ]
}

fn key() -> impl Strategy<Value = Option<usize>> {
    prop::option::of(0..world::KEYS.len())
}

/// Half of the logs are compressed from their beginning, and half are encrypted.
fn case() -> impl Strategy<Value = (u64, Vec<Action>)> {
    let compressed = any::<bool>().prop_map(|on| on.then_some(Action::Compress(true)));
    let encrypted = key().prop_map(|key| key.map(|key| Action::Encrypt(Some(key))));
    let actions = (compressed, encrypted, prop::collection::vec(action(), 1..60)).prop_map(
        |(compressed, encrypted, actions)| compressed.into_iter().chain(encrypted).chain(actions).collect(),
    );
    (any::<u64>(), actions)
}

/// A case over several data directories, of which some come and go.
fn case_over_lanes() -> impl Strategy<Value = (usize, u64, Vec<Action>)> {
    let action = prop_oneof![15 => action(), 1 => (1..=3usize).prop_map(Action::Lanes)];
    (1..=3usize, any::<u64>(), prop::collection::vec(action, 1..60))
}

fn run(seed: u64, actions: &[Action]) -> Simulation {
    run_over(1, seed, actions)
}

/// Over so many data directories at first.
fn run_over(lanes: usize, seed: u64, actions: &[Action]) -> Simulation {
    let mut simulation = Simulation::new(seed, lanes);
    actions.iter().for_each(|action| simulation.act(action));
    simulation.finish(model::BACK_OFF_AND_MORE);
    simulation
}

/// Seeds of failures go where no other test's are.
fn config() -> ProptestConfig {
    let seeds = Box::new(FileFailurePersistence::Direct("tests/simulation/seeds"));
    ProptestConfig {
        cases: CASES,
        max_shrink_iters: 4000,
        failure_persistence: Some(seeds),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_acked_is_there_after_any_crash((seed, actions) in case()) {
        run(seed, &actions);
    }

    #[test]
    fn what_was_acked_is_there_whatever_directories_come_and_go((lanes, seed, actions) in case_over_lanes()) {
        run_over(lanes, seed, &actions);
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
#[ignore = "runs for as long as it is told to"]
fn a_long_run() {
    let (wanted, first) = (setting("CRASHES", 1_000_000), setting("SEED", 1));
    let cases_of_run = match setting("LANES", 0) {
        0 => case().prop_map(|(seed, actions)| (1, seed, actions)).boxed(),
        _ => case_over_lanes().boxed(),
    };
    let begun = Instant::now();
    // What a panic says comes with the case that is left after shrinking.
    std::panic::set_hook(Box::new(|_| ()));
    let mut cases = 0u64;
    while world::CRASHES.load(Ordering::Relaxed) < wanted {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(first + cases).to_le_bytes());
        let config = ProptestConfig {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 4000,
            ..Default::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let result = TestRunner::new_with_rng(config, rng).run(&cases_of_run, |(lanes, seed, actions)| {
            std::panic::catch_unwind(|| drop(run_over(lanes, seed, &actions))).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                TestCaseError::fail(text.unwrap_or_default())
            })
        });
        if let Err(error) = result {
            let _default = std::panic::take_hook();
            match error {
                TestError::Fail(why, (lanes, seed, actions)) => {
                    panic!("SEED={}: {why}\n{lanes} lanes, seed {seed}, actions {actions:#?}", first + cases)
                }
                error => panic!("SEED={}: {error}", first + cases),
            }
        }
        cases += 1;
        if cases.is_multiple_of(10_000) {
            report(cases, begun);
        }
    }
    report(cases, begun);
}

fn report(cases: u64, begun: Instant) {
    let crashes = world::CRASHES.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{crashes} crashes in {cases} cases, {seconds:.0} s: {:.0} a second", crashes as f64 / seconds);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let mut actions = vec![Action::Slow(3)];
        for i in 0..60usize {
            actions.extend([Action::Append { events: 1 + i as u32 % 4, bytes: i * 700 }, Action::Turn(2)]);
            match i % 13 {
                3 => actions.push(Action::Take(5)),
                5 => actions.push(Action::Release(0)),
                9 => actions.push(Action::PowerCut(i as u64)),
                11 => actions.push(Action::FlipBit { place: i as u64, restart: true }),
                _ => {}
            }
        }
        run(42, &actions).trace()
    };
    assert_eq!(trace(), trace());
}
