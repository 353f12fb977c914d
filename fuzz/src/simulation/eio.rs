//! Mode `eio`: reads, writes and syncs that fail, in a process that goes on or in one that then ends.
//!
//! A failed write may be there in any part; after a failed sync what was written is read as if it were there, and is gone
//! when the power is cut. So one life in four ends while the disk fails, or right after it; in some worlds it is closed then.

use std::time::Duration;

use flumen_wal::storage::faulty::Fault;
use flumen_wal::{LogError, ReadError};

use super::book::Since;
use super::pieces::LANES;
use super::power::maybe_crash;
use super::world::{TURNS_MAX, World};
use crate::violation::{Broken, Kind};

/// Time within which a log must work again when its disk does: its longest pause between two attempts, and more.
const REOPEN: Duration = Duration::from_secs(8);

/// Works while the disk fails, and compares when it does not any more.
pub fn cycle(world: &mut World) -> Result<(), Broken> {
    let before = world.stats();
    world.may_fail = true;
    for _ in 0..1 + world.random.below(3) {
        plan(world, 60);
    }
    if world.random.one_in(4) {
        break_a_place(world);
    }
    let end = world.random.one_in(4);
    if end && !world.random.one_in(3) {
        let after = world.random.below(60);
        world.disk.crash_at(world.disk.operations() + after);
    }
    let first = world.disk.operations();
    let failed_tickets = world.failed_tickets;
    for _ in 0..4 + world.random.below(24) {
        world.act()?;
        if world.disk.crashed() {
            break;
        }
        failed_means_failed(world)?;
    }
    let stats = world.stats();
    let noticed = stats.failure.is_some() || stats.reopens > before.reopens;
    if !noticed && !world.disk.crashed() {
        if world.failed_tickets > failed_tickets {
            return Err(Broken::new(Kind::Failed, "a commit failed in a log that did not"));
        }
        let recent = world.disk.recent();
        let frame = recent.iter().find(|step| step.index >= first && step.what == "complete" && !step.ok);
        // A write over several directories has failed when all of its parts have ended.
        let parts = world.setting().lanes.is_some() && world.disk.writes_in_flight() > 0;
        if let Some(step) = frame.filter(|_| !parts) {
            return Err(Broken::new(Kind::Failed, format!("the log did not notice that {step:?} failed")));
        }
    }
    world.report.faults +=
        world.disk.recent().iter().filter(|step| step.index >= first && !step.ok).count() as u64;
    world.report.reopens += stats.reopens - before.reopens;
    if end || world.disk.crashed() {
        match world.extras().closes && !world.disk.crashed() {
            true => close(world)?,
            false => world.crash(),
        }
        heal(world);
        world.restart(|world| if world.random.one_in(2) { plan(world, 80) } else { maybe_crash(world) })?;
        world.may_fail = false;
        world.expect_no_damage()?;
        world.look(Since::End)?;
    } else {
        heal(world);
        recover(world)?;
        world.report.reopens += world.stats().reopens - stats.reopens;
        world.may_fail = false;
        world.expect_no_damage()?;
        world.look(Since::Nothing)?;
    }
    world.fresh_event()?;
    world.drain()?;
    // A cycle's errors must not hide what the one before left behind.
    if world.random.one_in(4) { world.rest() } else { Ok(()) }
}

/// Closes the log while the disk fails, or while the log reopens: it ends whatever it meets, and leaves nobody waiting.
fn close(world: &mut World) -> Result<(), Broken> {
    plan(world, 20);
    world.close()
}

/// Lets one of the next operations fail, or several in a row.
fn plan(world: &mut World, within: u64) {
    let first = world.disk.operations() + world.random.below(within);
    let count = if world.random.one_in(4) { 2 + world.random.below(9) } else { 1 };
    let fault = match world.random.below(8) {
        0 => Fault::NoSpace,
        1 => Fault::Short,
        _ => Fault::Io,
    };
    (first..first + count).for_each(|operation| world.disk.fail_at(operation, fault));
}

/// Makes some blocks of a segment, or of a part of one, unreadable.
fn break_a_place(world: &mut World) -> Option<()> {
    let mut segments = Vec::new();
    for lane in lanes(world) {
        let entries = world.disk.directory(lane).list().ok()?;
        let of_lane = entries.into_iter().filter(|entry| entry.name.starts_with("segment-"));
        segments.extend(of_lane.map(|entry| (format!("{lane}/{}", entry.name), entry.len)));
    }
    let (path, len) = segments.get(world.random.below(segments.len() as u64) as usize)?.clone();
    let block = world.random.below((len / 4096).max(1));
    world.disk.fail_reads(path, block * 4096, 4096 * (1 + world.random.below(4))).ok()
}

/// Makes everything readable again, whatever its name is now.
fn heal(world: &World) {
    world.disk.clear_faults();
    for lane in lanes(world) {
        for entry in world.disk.directory(lane).list().unwrap_or_default() {
            let healed = world.disk.heal(format!("{lane}/{}", entry.name));
            debug_assert!(healed.is_ok(), "a file that was just listed");
        }
    }
}

/// The data directories that may be in use: of a log that never had several, its own.
fn lanes(world: &World) -> &'static [&'static str] {
    if world.setting().lanes.is_some() { &LANES } else { &LANES[..1] }
}

/// A log that says that it failed means it: it refuses everything, and keeps nobody waiting.
fn failed_means_failed(world: &World) -> Result<(), Broken> {
    let Some(failure) = world.stats().failure else { return Ok(()) };
    let refuses = matches!(world.log().try_reserve(1), Err(LogError::Failed(_)));
    let gives_nothing = matches!(world.log().cursor().try_take(1, 1), Err(ReadError::Failed(_)));
    if refuses && gives_nothing && !world.waits() {
        return Ok(());
    }
    let what = format!(
        "a log that says `{failure}` refuses puts: {refuses}; refuses takes: {gives_nothing}; keeps commits waiting: {}",
        world.waits()
    );
    Err(Broken::new(Kind::Failed, what))
}

/// The disk works again: so must the log, by itself.
fn recover(world: &mut World) -> Result<(), Broken> {
    let step = REOPEN / TURNS_MAX as u32;
    if world.setting().late.is_some() {
        // How a sync ended a log hears in the turn after.
        world.turn_after(step)?;
    }
    for _ in 0..TURNS_MAX {
        if world.stats().failure.is_none() && !world.waits() {
            return Ok(());
        }
        world.turn_after(step)?;
    }
    let what = format!("the log does not work again on a disk that does: {:?}", world.stats());
    Err(Broken::new(Kind::Stuck, what))
}
