//! The log in this process, over the simulated disk: modes `power`, `eio`, `enospc`, `corrupt`.
//!
//! A *world* is a [simulated disk](flumen_wal::storage::faulty) with a log on it, for [`WORLD_CYCLES`] cycles of its mode.
//! What it holds is compared with the book (`book`) in each.
//!
//! | mode | a cycle | what must hold besides |
//! | --- | --- | --- |
//! | `power` | work; the power is cut or the process killed at any disk operation, also within the start that follows | |
//! | `eio` | work while reads, writes and syncs fail; the log reopens in process, or the process ends and starts again | what fails is known: the log is *failed*, refuses everything, and works again by itself; releases of a process hold |
//! | `enospc` | the disk fills; work, and perhaps the end of the process and a start; then it is drained, or gets space | nothing fails; puts wait; a drained disk takes puts again |
//! | `corrupt` | synced bytes change, before a start or beneath a running log | what cannot be read is in a damaged frame, its file and offset are named; puts go on; all else arrives |
//!
//! What a log's lives are like besides (`setting`: several directories, compression, acks before the sync, what becomes of
//! damage) is drawn from the world's seed too.
//!
//! Worlds share nothing, so they run on all processors; each has a seed of its own, made from the run's, with which it can
//! be run again alone. The same seed gives the same operations and the same result, to the bit.

mod book;
mod corrupt;
mod eio;
mod enospc;
mod frames;
mod life;
mod pieces;
mod power;
mod setting;
#[cfg(test)]
mod unfaithful;
mod world;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use world::World;

use crate::random::mix;
use crate::report::{Percentiles, Report};
use crate::violation::{Broken, Context, Failure, Kind, Violation};

/// Cycles of one world. Many lives on one disk find what a life leaves behind; many disks find what a first life does.
pub const WORLD_CYCLES: u64 = 50;
/// Starts of which the time is kept, for the percentiles: a sample of a long run's.
const STARTS_KEPT: usize = 1 << 20;

/// What befalls the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Power cuts and kills.
    Power,
    /// Operations that fail.
    Eio,
    /// No space.
    Enospc,
    /// Bytes that change at rest.
    Corrupt,
}

impl Mode {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Corrupt => "corrupt",
        }
    }

    fn cycle(self, world: &mut World) -> Result<(), Broken> {
        match self {
            Self::Power => power::cycle(world),
            Self::Eio => eio::cycle(world),
            Self::Enospc => enospc::cycle(world),
            Self::Corrupt => corrupt::cycle(world),
        }
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What befalls the disk.
    pub mode: Mode,
    /// Where the disk of a world with a violation is kept.
    pub directory: PathBuf,
    /// How many cycles in all.
    pub cycles: u64,
    /// Decides everything.
    pub seed: u64,
    /// How many worlds at a time; by default one for each processor.
    pub jobs: Option<usize>,
}

/// A world that came to its end, or to a violation.
struct Ended {
    index: u64,
    report: Report,
    starts: Vec<Duration>,
    broken: Option<(Broken, Option<World>)>,
}

/// What the threads share.
struct Shared<'a> {
    options: &'a Options,
    worlds: u64,
    next: AtomicU64,
    stop: &'a AtomicBool,
}

/// Runs all worlds, until `stop` says to end early. Tells `progress` how many cycles are done; returns what was done also
/// when it fails.
pub fn run(
    options: &Options,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> (Report, Result<(), Failure>) {
    let begun = Instant::now();
    let worlds = options.cycles.div_ceil(WORLD_CYCLES);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.jobs.unwrap_or(processors).max(1) as u64;
    let shared = Shared { options, worlds, next: AtomicU64::new(0), stop };
    let mut report = Report { mode: options.mode.name(), seed: options.seed, ..Report::default() };
    let mut starts = Vec::new();
    // The violation of the first world that has one: which thread was quicker must not decide.
    let mut found: Option<(u64, Broken, Option<World>)> = None;
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads.min(worlds) {
            let (sender, shared) = (sender.clone(), &shared);
            scope.spawn(move || shared.run_worlds(&sender));
        }
        drop(sender);
        for ended in receiver {
            report.add(&ended.report);
            if starts.len() < STARTS_KEPT {
                starts.extend(ended.starts);
            }
            progress(report.cycles);
            if let Some((broken, world)) = ended.broken {
                // Worlds that run go on: one of them may come before this one.
                shared.next.store(worlds, Ordering::Relaxed);
                if found.as_ref().is_none_or(|(index, ..)| ended.index < *index) {
                    found = Some((ended.index, broken, world));
                }
            }
        }
    });
    report.interrupted = report.cycles < options.cycles && found.is_none();
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

impl Shared<'_> {
    fn run_worlds(&self, sender: &Sender<Ended>) {
        while !self.stop.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.worlds || sender.send(self.run_world(index)).is_err() {
                return;
            }
        }
    }

    fn run_world(&self, index: u64) -> Ended {
        let Options { mode, seed, .. } = *self.options;
        let mut world = match World::new(mode, world_seed(seed, index)) {
            Ok(world) => world,
            Err(broken) => {
                let broken = Some((broken, None));
                return Ended { index, report: Report::default(), starts: vec![], broken };
            }
        };
        // A panic is a violation like any other. Nothing of the world is used afterwards but its disk and its counts.
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..world_cycles(self.options, index) {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                world.report.cycles += 1;
                mode.cycle(&mut world)?;
            }
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
    let replay = format!("flumen-crash --mode {} --cycles {cycles} --seed {seed}", options.mode.name());
    Failure::Violation(Box::new(Violation { seed, cycle, broken, directory, replay }))
}

#[cfg(test)]
mod tests {
    use super::setting::{Extras, Settings};
    use super::*;

    fn run_some(mode: Mode, cycles: u64) -> Report {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { mode, directory: directory.path().into(), cycles, seed: 42, jobs: None };
        let mut last = 0;
        let (report, result) = run(&options, &AtomicBool::new(false), |cycles| last = cycles);
        result.unwrap();
        assert_eq!((report.cycles, last, report.lost, report.interrupted), (cycles, cycles, 0, false));
        assert!(report.acked > cycles && report.recovered > 0, "{report}");
        report
    }

    fn run_world(mut world: World, mode: Mode, seed: u64) {
        for cycle in 1..=WORLD_CYCLES {
            mode.cycle(&mut world).unwrap_or_else(|broken| panic!("{mode:?} {seed} {cycle}: {broken}"));
        }
        world.finish().unwrap_or_else(|broken| panic!("{mode:?} {seed}: {broken}"));
    }

    #[test]
    fn the_first_world_has_the_seed_that_was_given() {
        assert_eq!(world_seed(77, 0), 77);
        assert_ne!(world_seed(77, 1), world_seed(77, 2));
    }

    #[test]
    fn a_few_hundred_power_cuts_lose_nothing() {
        let report = run_some(Mode::Power, 230);
        assert!(report.during_start > 0 && report.recovery.samples >= 230, "{report}");
    }

    #[test]
    fn a_few_hundred_failing_disks_lose_nothing() {
        let report = run_some(Mode::Eio, 230);
        assert!(report.faults > 230 && report.reopens > 20 && report.during_start > 0, "{report}");
    }

    #[test]
    fn a_close_while_the_disk_fails_loses_nothing_and_leaves_nobody_waiting() {
        for seed in 1..6 {
            let extras = Extras { closes: true, sink_says: true };
            let settings = Settings::of(Mode::Eio, seed).with_extras(extras);
            run_world(World::with(seed, settings, |directory| directory).unwrap(), Mode::Eio, seed);
        }
    }

    #[test]
    fn a_few_hundred_full_disks_lose_nothing() {
        let report = run_some(Mode::Enospc, 120);
        assert!(report.faults > 60, "{report}");
    }

    #[test]
    fn of_a_few_hundred_damaged_logs_only_what_was_damaged_is_missing() {
        let report = run_some(Mode::Corrupt, 230);
        assert!(report.faults > 100 && report.unreadable > 50, "{report}");
    }

    #[test]
    fn worlds_that_once_broke_the_log_do_so_no_more() {
        let found = [
            (Mode::Eio, 1_775_890_720_714_696_217),
            (Mode::Corrupt, 2_236_889_825_569_137_375),
            (Mode::Corrupt, 17_555_388_075_678_620_588),
            (Mode::Corrupt, 5_568_932_464_311_455_849),
            (Mode::Corrupt, 10_862_516_127_198_857_807),
            (Mode::Corrupt, 9_652_174_498_006_377_367),
            (Mode::Corrupt, 15_371_138_147_771_955_302),
        ];
        for (mode, seed) in found {
            // They were found before logs were set in more than one way.
            run_world(World::with(seed, Settings::Plain, |directory| directory).unwrap(), mode, seed);
        }
    }

    /// A rest that came before the sync of what was acked last; a write of which one part had not ended; a sync of whose failure the
    /// log had not heard.
    #[test]
    fn what_has_not_ended_yet_is_not_held_against_the_log() {
        for seed in [14_264_654_759_408_213_216, 1_065_545_216_331_485_117, 9_974_914_367_318_207_471] {
            // They were found before anything was done besides.
            let settings = Settings::of(Mode::Eio, seed).with_extras(Extras::default());
            run_world(World::with(seed, settings, |directory| directory).unwrap(), Mode::Eio, seed);
        }
    }

    #[test]
    fn worlds_that_broke_the_log_by_how_it_was_set_do_so_no_more() {
        // A take that went on for ever at damage behind what was released out of order; a full disk whose space waited for a
        // sync; a start on a full disk that had more to write again than the segment that was kept for it; a segment that was
        // cut to the length of a piece, and whose new name was lost.
        let found = [
            (Mode::Power, 11_514_342_265_547_724_382),
            (Mode::Corrupt, 14_026_160_589_095_004_880),
            (Mode::Enospc, 42),
            (Mode::Enospc, 3_054_717_614_501_726_792),
        ];
        for (mode, seed) in found {
            // They were found before logs were encrypted, and before anything was done besides.
            let settings = Settings::of(mode, seed).in_clear().with_extras(Extras::default());
            run_world(World::with(seed, settings, |directory| directory).unwrap(), mode, seed);
        }
    }

    /// In a build with one of the features `broken-`; others are shown to be sound by the tests above.
    #[test]
    fn a_log_that_is_broken_on_purpose_is_found_by_one_of_the_modes() {
        let Some(fault) = flumen_wal::broken_on_purpose() else { return };
        let directory = tempfile::tempdir().unwrap();
        let found = [Mode::Power, Mode::Eio, Mode::Enospc, Mode::Corrupt].into_iter().any(|mode| {
            let options =
                Options { mode, directory: directory.path().into(), cycles: 2000, seed: 1, jobs: None };
            let (_, result) = run(&options, &AtomicBool::new(false), |_| ());
            matches!(result, Err(Failure::Violation(_)))
        });
        assert!(found, "{fault} is found by no mode");
    }

    #[test]
    fn a_run_that_is_stopped_says_how_far_it_came() {
        let directory = tempfile::tempdir().unwrap();
        let (mode, directory) = (Mode::Power, directory.path().into());
        let options = Options { mode, directory, cycles: 1_000_000, seed: 1, jobs: Some(1) };
        let stop = AtomicBool::new(false);
        let (report, result) = run(&options, &stop, |_| stop.store(true, Ordering::Relaxed));
        result.unwrap();
        assert!(report.interrupted && report.cycles >= WORLD_CYCLES && report.cycles < 1000, "{report}");
    }
}
