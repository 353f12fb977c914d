//! Mode `power`: power cuts and kills of a log on a disk that works.

use super::book::Since;
use super::world::World;
use crate::violation::Broken;

/// Works, ends at a random moment, starts again, and compares.
pub fn cycle(world: &mut World) -> Result<(), Broken> {
    world.bounds_releases = true;
    // Most lives end within a disk operation, the others between two of ours.
    if !world.random.one_in(5) {
        let after = world.random.below(60);
        world.disk.crash_at(world.disk.operations() + after);
    }
    if world.random.one_in(8) {
        burst(world)?;
    }
    for _ in 0..4 + world.random.below(24) {
        world.act()?;
        if world.disk.crashed() {
            break;
        }
    }
    world.crash();
    world.restart(maybe_crash)?;
    world.expect_no_damage()?;
    world.look(Since::End)?;
    world.fresh_event()?;
    world.drain()
}

/// Fills segments while writes are in flight: what a roll must wait for shows only then.
fn burst(world: &mut World) -> Result<(), Broken> {
    for _ in 0..8 + world.random.below(24) {
        let bytes = 6000 + world.random.below(8000) as usize;
        world.append_some(bytes)?;
        if world.random.one_in(3) {
            world.turn()?;
        }
        if world.disk.crashed() {
            break;
        }
    }
    Ok(())
}

/// One start in four ends within.
pub fn maybe_crash(world: &mut World) {
    if world.random.one_in(4) {
        let after = world.random.below(80);
        world.disk.crash_at(world.disk.operations() + after);
    }
}
