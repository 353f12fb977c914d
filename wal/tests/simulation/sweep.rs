//! Sweeps: a scenario's storage operations are counted, then each in turn is the last one of the life, fails, or is slow.

use std::panic::RefUnwindSafe;
use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};

use crate::model::{Action, Simulation};

/// Simulated time within which a log that met one fault works again, and a fresh event is acked.
const LIMIT: Duration = Duration::from_secs(5);

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
    // Longer than the interval of checkpoints, twice, then those of a roll and of a close.
    let checkpoint = vec![
        append(2, 500),
        Action::SourceProgress,
        Action::Wait(31_000),
        append(2, 500),
        Action::Take(1),
        Action::Release(0),
        Action::Wait(31_000),
        append(1, 60_000),
        append(1, 60_000),
        settle(),
        Action::Reopen,
        append(1, 500),
        settle(),
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
        Action::SinkProgress,
        Action::Quiesce,
        Action::Release(0),
        Action::Rollback(0),
        Action::Quiesce,
    ];
    let reopen = vec![
        append(2, 500),
        settle(),
        Action::Reopen,
        append(2, 500),
        append(2, 20_000),
        Action::Kill,
        append(2, 500),
        settle(),
        Action::PowerCut(3),
        append(1, 500),
        settle(),
    ];
    // A write fails, then a sync; what is swept is above all the reopening in process behind each.
    let failing = vec![
        append(2, 500),
        settle(),
        append(3, 9000),
        append(1, 10),
        Action::Take(2),
        Action::Release(0),
        Action::Fail { after: 0, kind: 0 },
        settle(),
        append(2, 500),
        settle(),
        append(1, 60_000),
        Action::FailSync,
        append(1, 60_000),
        settle(),
        Action::Wait(700),
        append(1, 60_000),
        settle(),
    ];
    vec![
        ("append across segments", across),
        ("spanning commits", spanning),
        ("recycle", recycle),
        ("checkpoint", checkpoint),
        ("release out of order", out_of_order),
        ("reopen", reopen),
        ("reopen in process", failing),
    ]
}

/// Seeds of logs that sync before the ack, and behind it.
const SYNCED: u64 = 1;
const WRITTEN: u64 = 3;

/// Scenarios of which each is swept over its number of data directories.
fn over_lanes() -> Vec<(&'static str, usize, Vec<Action>)> {
    let settle = || Action::Turn(6);
    let mut come_and_go = vec![append(3, 9000), settle()];
    for lanes in [2, 3, 1, 1] {
        come_and_go.extend([Action::Lanes(lanes), append(3, 30_000), append(1, 100), settle()]);
        come_and_go.extend([Action::Take(9), Action::Release(0), Action::Wait(50), Action::Turn(20)]);
    }
    let lanes = |name| match name {
        "append across segments" => Some(3),
        "reopen" => Some(2),
        _ => None,
    };
    let mut all: Vec<_> =
        scenarios().into_iter().filter_map(|(name, actions)| Some((name, lanes(name)?, actions))).collect();
    all.push(("directories come and go", 1, come_and_go));
    all
}

fn count(mut simulation: Simulation, actions: &[Action]) -> u64 {
    actions.iter().for_each(|action| simulation.act(action));
    simulation.disk().operations()
}

/// Those among them whose frames change most when they are compressed or encrypted.
fn to_be_compressed() -> Vec<(&'static str, usize, Vec<Action>)> {
    let mut scenarios = scenarios();
    scenarios.retain(|(name, _)| ["append across segments", "spanning commits", "reopen"].contains(name));
    scenarios.into_iter().map(|(name, actions)| (name, 1, actions)).collect()
}

fn sweep(seed: u64, plan: impl Fn(&mut Simulation, &FaultyDisk, u64) + RefUnwindSafe) {
    sweep_all(seed, scenarios().into_iter().map(|(name, actions)| (name, 1, actions)).collect(), plan);
}

fn sweep_all(
    seed: u64,
    scenarios: Vec<(&'static str, usize, Vec<Action>)>,
    plan: impl Fn(&mut Simulation, &FaultyDisk, u64) + RefUnwindSafe,
) {
    for (name, lanes, actions) in scenarios {
        let never = |simulation: &mut Simulation, disk: &FaultyDisk| plan(simulation, disk, u64::MAX);
        let operations = count(Simulation::with_faults(seed, lanes, never), &actions);
        assert!(operations > 40, "{name} is a scenario of {operations} operations");
        for at in 0..operations {
            let run = std::panic::catch_unwind(|| {
                let mut simulation = Simulation::with_faults(seed, lanes, |simulation, disk| {
                    simulation.keep_planned_faults();
                    plan(simulation, disk, at);
                });
                actions.iter().for_each(|action| simulation.act(action));
                simulation.finish(LIMIT);
            });
            assert!(run.is_ok(), "{name} over {lanes}: operation {at} of {operations}");
        }
    }
}

#[test]
fn a_kill_at_any_operation_loses_nothing() {
    sweep(SYNCED, |_, disk, at| disk.crash_at(at));
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing() {
    sweep(SYNCED, |simulation, disk, at| {
        simulation.end_by_power_cut(at);
        disk.crash_at(at);
    });
}

/// The life that the cut ends compresses and the next one does not, or the other way round.
#[test]
fn a_power_cut_at_any_operation_of_a_compressed_log_loses_nothing() {
    for first in [true, false] {
        sweep_all(SYNCED, to_be_compressed(), |simulation, disk, at| {
            simulation.compress_in_turn(first);
            simulation.end_by_power_cut(at);
            disk.crash_at(at);
        });
    }
}

/// The life that the cut ends encrypts by one key, and the next one by another or not at all.
#[test]
fn a_power_cut_at_any_operation_of_an_encrypted_log_loses_nothing() {
    for first in [Some(0), Some(1), None] {
        sweep_all(SYNCED, to_be_compressed(), |simulation, disk, at| {
            simulation.encrypt_in_turn(first);
            simulation.compress_in_turn(at.is_multiple_of(2));
            simulation.end_by_power_cut(at);
            disk.crash_at(at);
        });
    }
}

#[test]
fn no_space_at_any_operation_of_an_encrypted_log_loses_nothing() {
    sweep(SYNCED, |simulation, disk, at| {
        simulation.encrypt_in_turn(Some(0));
        disk.fail_at(at, Fault::NoSpace);
    });
}

#[test]
fn an_error_at_any_operation_loses_nothing() {
    sweep(SYNCED, |_, disk, at| disk.fail_at(at, Fault::Io));
}

#[test]
fn a_kill_at_any_operation_loses_nothing_that_was_acked_before_its_sync() {
    sweep(WRITTEN, |_, disk, at| disk.crash_at(at));
}

#[test]
fn a_power_cut_at_any_operation_takes_a_tail_at_most_of_what_was_acked_before_its_sync() {
    sweep(WRITTEN, |simulation, disk, at| {
        simulation.end_by_power_cut(at);
        disk.crash_at(at);
    });
}

#[test]
fn an_error_at_any_operation_loses_nothing_that_was_acked_before_its_sync() {
    sweep(WRITTEN, |_, disk, at| disk.fail_at(at, Fault::Io));
}

#[test]
fn no_space_at_any_operation_loses_nothing() {
    sweep(SYNCED, |_, disk, at| disk.fail_at(at, Fault::NoSpace));
}

#[test]
fn a_short_transfer_at_any_operation_loses_nothing() {
    sweep(SYNCED, |_, disk, at| disk.fail_at(at, Fault::Short));
}

#[test]
fn a_slow_operation_holds_up_nothing_for_good() {
    sweep(SYNCED, |_, disk, at| disk.delay_at(at, Duration::from_secs(4)));
}

#[test]
fn a_kill_at_any_operation_over_several_directories_loses_nothing() {
    sweep_all(SYNCED, over_lanes(), |_, disk, at| disk.crash_at(at));
}

#[test]
fn a_power_cut_at_any_operation_over_several_directories_loses_nothing() {
    sweep_all(SYNCED, over_lanes(), |simulation, disk, at| {
        simulation.end_by_power_cut(at);
        disk.crash_at(at);
    });
}

#[test]
fn an_error_at_any_operation_over_several_directories_loses_nothing() {
    sweep_all(SYNCED, over_lanes(), |_, disk, at| disk.fail_at(at, Fault::Io));
}

#[test]
fn no_space_at_any_operation_over_several_directories_loses_nothing() {
    sweep_all(SYNCED, over_lanes(), |_, disk, at| disk.fail_at(at, Fault::NoSpace));
}

#[test]
fn a_short_transfer_at_any_operation_over_several_directories_loses_nothing() {
    sweep_all(SYNCED, over_lanes(), |_, disk, at| disk.fail_at(at, Fault::Short));
}

#[test]
fn a_slow_operation_over_several_directories_holds_up_nothing_for_good() {
    sweep_all(SYNCED, over_lanes(), |_, disk, at| disk.delay_at(at, Duration::from_secs(4)));
}
