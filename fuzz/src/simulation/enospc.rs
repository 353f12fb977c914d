//! Mode `enospc`: the disk fills.

use std::time::Duration;

use super::book::Since;
use super::power::maybe_crash;
use super::world::World;
use crate::violation::{Broken, Kind};

/// What the disk may have left when it begins to fill.
const LEFT_MAX: u64 = 600 << 10;
/// Commits after which a disk must be full that had so much left: with room for frames that are mostly padding.
const FILL_MAX: usize = 600;
/// Rounds of two seconds within which a drained disk must have room.
const DRAIN_MAX: usize = 20;

/// Fills the disk, works, perhaps starts again, and gets room by draining or from the disk.
pub fn cycle(world: &mut World) -> Result<(), Broken> {
    for _ in 0..world.random.below(12) {
        work(world)?;
    }
    // The log must have its reserve before the disk is full, as one that was started on a disk with space has.
    world.rest()?;
    let left = if world.random.one_in(3) { 0 } else { world.random.below(LEFT_MAX) };
    world.disk.set_capacity(world.used() + left);
    world.lanes_stay = true;
    fill(world)?;
    for _ in 0..world.random.below(12) {
        work(world)?;
    }
    let restarted = world.random.one_in(2);
    if restarted {
        match world.random.below(3) {
            0 => world.close()?,
            _ => world.crash(),
        }
        world.restart(maybe_crash)?;
        world.expect_no_damage()?;
        world.look(Since::End)?;
    } else {
        world.look(Since::Nothing)?;
    }
    for _ in 0..world.random.below(12) {
        work(world)?;
    }
    if world.random.one_in(2) {
        drain_and_go_on(world)?;
    }
    world.disk.set_capacity(u64::MAX);
    world.lanes_stay = false;
    let _rests: bool = world.try_rest()?;
    world.fresh_event()?;
    world.look(Since::Nothing)?;
    world.drain()
}

/// Works with commits that fit into an ordinary segment: a larger one waits for a larger segment, which a full disk
/// has not.
fn work(world: &mut World) -> Result<(), Broken> {
    if world.random.one_in(3) {
        let most = if world.random.one_in(8) { 60_000 } else { 12_000 };
        let bytes = 1 + world.random.below(most);
        world.append_some(bytes as usize)?;
        return Ok(());
    }
    world.act_but_append()
}

/// Appends until the log says that the disk is full.
fn fill(world: &mut World) -> Result<(), Broken> {
    for _ in 0..FILL_MAX {
        let bytes = 4000 + world.random.below(10_000) as usize;
        world.append_some(bytes)?;
        world.turn()?;
        if world.stats().full.is_some() {
            world.report.faults += 1;
            return Ok(());
        }
    }
    Err(Broken::new(Kind::Failed, format!("a disk without space is never full: {:?}", world.stats())))
}

/// Releases everything: that alone must make room again, without a byte from the disk.
fn drain_and_go_on(world: &mut World) -> Result<(), Broken> {
    for _ in 0..DRAIN_MAX {
        world.look(Since::Nothing)?;
        world.release_some(u64::MAX)?;
        (0..20).try_for_each(|_| world.turn_after(Duration::from_millis(100)))?;
        let stats = world.stats();
        if stats.full.is_none() && !world.waits() {
            return world.fresh_event();
        }
    }
    let what = format!("the disk is still full when everything is released: {:?}", world.stats());
    Err(Broken::new(Kind::Stuck, what))
}
