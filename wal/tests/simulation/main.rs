//! The log over the simulated disk: a model that knows what must be there, what may be there, and what must not.
//!
//! Everything runs in one thread with a clock of its own; a case is a disk seed and a list of actions, so a failure
//! shrinks and replays. `PROPTEST_CASES=100000 cargo test -p flumen-wal --release --test simulation` is the long run.

mod model;
mod sweep;

use model::{Action, Simulation};
use proptest::prelude::*;

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (1..6u32, 0..40_000usize).prop_map(|(events, bytes)| Action::Append { events, bytes }),
        10 => (1..4u32, 0..600usize).prop_map(|(events, bytes)| Action::Append { events, bytes }),
        8 => (1..6u8).prop_map(Action::Turn),
        4 => (1..30usize).prop_map(Action::Take),
        4 => any::<prop::sample::Index>().prop_map(|i| Action::Release(i.index(1000))),
        2 => any::<prop::sample::Index>().prop_map(|i| Action::Rollback(i.index(1000))),
        3 => Just(Action::Quiesce),
        1 => Just(Action::CloseAndReopen),
        2 => Just(Action::Kill),
        2 => any::<u64>().prop_map(Action::PowerCut),
        2 => (0..12u64, 0..3u8).prop_map(|(after, kind)| Action::Fail { after, kind }),
        1 => (0..30u64).prop_map(|after| Action::CrashAfter { after }),
        1 => (0..400_000u64).prop_map(Action::FillDisk),
        1 => Just(Action::FreeDisk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acked_is_there_after_any_crash(seed in any::<u64>(), actions in prop::collection::vec(action(), 1..60)) {
        let mut simulation = Simulation::new(seed);
        for action in &actions {
            simulation.act(action);
        }
        simulation.finish();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let mut simulation = Simulation::new(42);
        for i in 0..60usize {
            simulation.act(&Action::Append { events: 1 + i as u32 % 4, bytes: i * 700 });
            simulation.act(&Action::Turn(2));
            match i % 13 {
                3 => simulation.act(&Action::Take(5)),
                5 => simulation.act(&Action::Release(0)),
                9 => simulation.act(&Action::PowerCut(i as u64)),
                _ => {}
            }
        }
        simulation.finish();
        simulation.trace()
    };
    assert_eq!(run(), run());
}
