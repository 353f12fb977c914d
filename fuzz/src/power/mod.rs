//! Power cuts: the log in this process, over the simulated disk.
//!
//! A *world* is a [simulated disk](flumen_wal::storage::faulty) with a log on it, for [`WORLD_CYCLES`] cycles: appends,
//! takes, releases and roll-backs, until the power is cut (or, one in four, the process killed) within or between any two
//! disk operations, in one start of four also within the start. After each start all that the log holds is compared with
//! the book (`book`), and a fresh event must be acked.
//!
//! Worlds share nothing, so they run on all processors; each has a seed of its own, made from the run's, with which it can
//! be run again alone. The same seed gives the same operations and the same result, to the bit.

mod book;
mod world;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use world::World;

use crate::random::mix;
use crate::report::{Percentiles, Report};
use crate::violation::{Broken, Context, Failure, Kind, Violation};

/// Cycles of one world. Many lives on one disk find what a life leaves behind; many disks find what a first life does.
pub const WORLD_CYCLES: u64 = 50;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the disk of a world with a violation is kept.
    pub directory: PathBuf,
    /// How many crashes in all.
    pub cycles: u64,
    /// Decides everything.
    pub seed: u64,
}

/// A world that came to its end, or to a violation.
struct Ended {
    index: u64,
    report: Report,
    starts: Vec<Duration>,
    broken: Option<(Broken, Option<World>)>,
}

/// Runs all worlds. Tells `progress` how many cycles are done; returns what was done also when it fails.
pub fn run(options: &Options, mut progress: impl FnMut(u64)) -> (Report, Result<(), Failure>) {
    let begun = Instant::now();
    let worlds = options.cycles.div_ceil(WORLD_CYCLES);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let next = AtomicU64::new(0);
    let mut report = Report { mode: "power", seed: options.seed, ..Report::default() };
    let mut starts = Vec::new();
    // The violation of the first world that has one: which thread was quicker must not decide.
    let mut found: Option<(u64, Broken, Option<World>)> = None;
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads.min(worlds) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || run_worlds(options, next, worlds, &sender));
        }
        drop(sender);
        for ended in receiver {
            report.add(&ended.report);
            starts.extend(ended.starts);
            progress(report.cycles);
            if let Some((broken, world)) = ended.broken {
                // Worlds that run go on: one of them may come before this one.
                next.store(worlds, Ordering::Relaxed);
                if found.as_ref().is_none_or(|(index, ..)| ended.index < *index) {
                    found = Some((ended.index, broken, world));
                }
            }
        }
    });
    report.recovery = Percentiles::of(starts);
    report.seconds = begun.elapsed().as_secs_f64();
    let result = match found {
        None => Ok(()),
        Some((index, broken, world)) => Err(violation(options, index, broken, world)),
    };
    (report, result)
}

fn world_seed(seed: u64, index: u64) -> u64 {
    // World 0 has the run's own seed: that is what makes `--seed` of a violation run its world first.
    if index == 0 { seed } else { mix(seed ^ mix(index)) }
}

fn world_cycles(options: &Options, index: u64) -> u64 {
    WORLD_CYCLES.min(options.cycles - index * WORLD_CYCLES)
}

fn run_worlds(options: &Options, next: &AtomicU64, worlds: u64, sender: &Sender<Ended>) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= worlds {
            return;
        }
        let ended = run_world(index, world_seed(options.seed, index), world_cycles(options, index));
        if sender.send(ended).is_err() {
            return;
        }
    }
}

fn run_world(index: u64, seed: u64, cycles: u64) -> Ended {
    let mut world = match World::new(seed) {
        Ok(world) => world,
        Err(broken) => {
            return Ended { index, report: Report::default(), starts: vec![], broken: Some((broken, None)) };
        }
    };
    // A panic is a violation like any other. Nothing of the world is used afterwards but its disk and its counts.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        (0..cycles).try_for_each(|_| world.cycle())?;
        world.finish()
    }));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Err(Broken::new(Kind::Failed, format!("panic: {text}")))
    });
    let (report, starts) = (world.report.clone(), std::mem::take(&mut world.starts));
    Ended { index, report, starts, broken: result.err().map(|broken| (broken, Some(world))) }
}

fn violation(options: &Options, index: u64, broken: Broken, world: Option<World>) -> Failure {
    let seed = world_seed(options.seed, index);
    let cycle = world.as_ref().map_or(0, |world| world.report.cycles);
    let cycles = world_cycles(options, index);
    let directory = options.directory.clone();
    if let Some(world) = world {
        let kept = world.keep(&directory).context(|| format!("keep the disk in {}", directory.display()));
        if let Err(failure) = kept {
            return failure;
        }
    }
    let replay = format!("flumen-crash --mode power --cycles {cycles} --seed {seed}");
    Failure::Violation(Box::new(Violation { seed, cycle, broken, directory, replay }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_world_has_the_seed_that_was_given() {
        assert_eq!(world_seed(77, 0), 77);
        assert_ne!(world_seed(77, 1), world_seed(77, 2));
    }

    #[test]
    fn a_few_hundred_power_cuts_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { directory: directory.path().into(), cycles: 230, seed: 42 };
        let mut last = 0;
        let (report, result) = run(&options, |cycles| last = cycles);
        result.unwrap();
        assert_eq!((report.cycles, last, report.lost), (230, 230, 0));
        assert!(report.acked > 1000 && report.recovered > 0 && report.during_start > 0, "{report}");
        assert!(report.recovery.samples >= 230);
    }
}
