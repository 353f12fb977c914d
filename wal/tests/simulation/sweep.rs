//! Sweeps: a scenario's storage operations are counted, then each in turn is the last one of the process, or fails.

use crate::model::{Action, Simulation};
use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use std::panic::RefUnwindSafe;

fn append(events: u32, bytes: usize) -> Action {
    Action::Append { events, bytes }
}

/// The scenarios of which every operation is swept.
fn scenarios() -> Vec<(&'static str, Vec<Action>)> {
    let settle = || Action::Turn(6);
    let mut across = Vec::new();
    for i in 0..14 {
        across.extend([append(3, 7000 + i * 300), settle()]);
    }
    let mut recycle = Vec::new();
    for _ in 0..16 {
        recycle.extend([append(2, 12_000), settle(), Action::Take(10), Action::Release(0), Action::Quiesce]);
    }
    let spanning = vec![
        append(1, 10),
        append(5, 70_000),
        append(1, 10),
        settle(),
        append(2, 150_000),
        settle(),
        append(1, 1),
    ];
    let out_of_order = vec![
        append(4, 100),
        append(4, 100),
        append(4, 100),
        settle(),
        Action::Take(4),
        Action::Take(4),
        Action::Take(4),
        Action::Release(1),
        Action::Quiesce,
        Action::Release(0),
        Action::Rollback(0),
        Action::Quiesce,
    ];
    let reopen = vec![
        append(2, 500),
        settle(),
        Action::CloseAndReopen,
        append(2, 500),
        append(2, 20_000),
        Action::Kill,
        append(2, 500),
        settle(),
        Action::PowerCut(3),
        append(1, 500),
        settle(),
    ];
    vec![
        ("append across segments", across),
        ("spanning commits", spanning),
        ("recycle", recycle),
        ("release out of order", out_of_order),
        ("reopen", reopen),
    ]
}

fn count(actions: &[Action]) -> u64 {
    let mut simulation = Simulation::new(1);
    actions.iter().for_each(|action| simulation.act(action));
    simulation.disk().operations()
}

fn sweep(plan: impl Fn(&FaultyDisk, u64) + RefUnwindSafe) {
    for (name, actions) in scenarios() {
        let operations = count(&actions);
        for at in 0..operations {
            let run = std::panic::catch_unwind(|| {
                let mut simulation = Simulation::with_faults(1, |disk| plan(disk, at));
                actions.iter().for_each(|action| simulation.act(action));
                simulation.finish();
            });
            assert!(run.is_ok(), "{name}: operation {at} of {operations}");
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing() {
    sweep(|disk, at| disk.crash_at(at));
}

#[test]
fn an_error_at_any_operation_loses_nothing() {
    sweep(|disk, at| disk.fail_at(at, Fault::Io));
}

#[test]
fn no_space_at_any_operation_loses_nothing() {
    sweep(|disk, at| disk.fail_at(at, Fault::NoSpace));
}
