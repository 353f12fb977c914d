//! Latency of a commit of one event: how long a caller waits until it is durable.
//!
//! ```text
//!   load     who commits                        a commit's time runs
//!   idle     one thread, a pause before each    from the call
//!   full     four threads, one after another    -            only to find out what 50 % is
//!   half     four threads, each at its times    from the moment that it was due, late or not
//! ```
//!
//! At half load a commit that starts late because the one before it took long has waited all the same, so its time runs
//! from when it was due; measured from the call, a stall of a millisecond would count once and not for all it held up.
//! The device's own aligned write of 4 KiB stands in the table as a contender, at the same loads.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::append::{beside_consumer, commit_for, fill};
use crate::contender::{self, Contender, DurableLog, RECORD_BYTES, Shape};
use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::place::Place;
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "seconds", "pause", "only"];

/// Threads at half load.
const COMMITTERS: usize = 4;

/// Fills files, so that a log in its recycled life writes into blocks that were written before.
const WARM_UP: Shape = Shape { threads: 4, records: 1000 };

/// Commits of one contender under one load in one round.
#[derive(Clone, Debug, Serialize)]
struct Run {
    round: usize,
    contender: String,
    life: &'static str,
    load: &'static str,
    /// Commits measured.
    commits: usize,
    /// Commits a second: as they came at idle, as they were due at half load.
    commits_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    contender: String,
    life: &'static str,
    load: &'static str,
    commits_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    /// The median beside that of the device's own write under the same load in the same round; the median of these.
    p50_over_raw: Option<f64>,
}

/// How long, and with what pauses.
#[derive(Clone, Copy)]
struct Times {
    load: Duration,
    pause: Duration,
}

/// Runs the command. The first two contenders are ours (uring, std); one called `raw write` is what all are held against.
pub fn run(contenders: &[&dyn Contender], options: &Options) -> Result<(), Failure> {
    let contenders = contender::chosen(contenders, options)?;
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 3)?;
    let times = Times {
        load: Duration::from_secs_f64(options.get("seconds", 2.0)?),
        pause: Duration::from_micros(options.get("pause", 1500)?),
    };
    let place = Place::of(&directory)?;
    println!("{}\ncommits of one {RECORD_BYTES}-byte record, {rounds} rounds\n", place.headline());

    let mut runs = Vec::new();
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let contender = contenders[(turn + round) % contenders.len()];
            eprintln!("round {} of {rounds}, {}", round + 1, contender.name());
            runs.extend(lives(contender, round, times, &directory)?);
        }
    }
    let rows = rows(&contenders, &runs);
    print(&rows);
    let setting = serde_json::json!({
        "durability": "synced before a commit returns",
        "record_bytes": RECORD_BYTES,
        "records": 1,
        "committers": { "idle": 1, "half": COMMITTERS },
        "pause_us": times.pause.as_micros() as u64,
        "rounds": rounds,
        "seconds": times.load.as_secs_f64(),
    });
    let stored = Stored { bench: "latency", place: &place, setting, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn lives(
    contender: &dyn Contender,
    round: usize,
    times: Times,
    directory: &Path,
) -> Result<Vec<Run>, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("latency-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let log = contender.open(fresh.path())?;
    let mut runs = loads(&*log, contender.name(), "first", round, times)?;
    if contender.recycles() {
        runs.extend(beside_consumer(&*log, || {
            commit_for(&*log, WARM_UP, Duration::from_millis(500))?;
            loads(&*log, contender.name(), "recycled", round, times)
        })?);
    }
    log.close()?;
    Ok(runs)
}

fn loads(
    log: &dyn DurableLog,
    name: &str,
    life: &'static str,
    round: usize,
    times: Times,
) -> Result<Vec<Run>, Failure> {
    let summed_up = |load, samples: Samples| samples.into_run(round, name, life, load);
    let idle = summed_up("idle", idle(log, times)?);
    let full = commit_for(log, Shape { threads: COMMITTERS, records: 1 }, times.load / 4)?.commits_per_s();
    Ok(vec![idle, summed_up("half", at_rate(log, full / 2.0, times.load)?)])
}

struct Samples {
    seconds: f64,
    commits_ns: Vec<u64>,
}

impl Samples {
    fn into_run(mut self, round: usize, name: &str, life: &'static str, load: &'static str) -> Run {
        self.commits_ns.sort_unstable();
        let at = |share: f64| quantile(&self.commits_ns, share) / 1e3;
        Run {
            round,
            contender: name.into(),
            life,
            load,
            commits: self.commits_ns.len(),
            commits_per_s: self.commits_ns.len() as f64 / self.seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

/// The smallest of the sorted values that at least this share of all do not exceed; 0 of none.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |value| *value as f64)
}

fn idle(log: &dyn DurableLog, times: Times) -> Result<Samples, Failure> {
    let mut records = [[0; RECORD_BYTES]];
    fill(&mut records, 1);
    let mut commits_ns = Vec::new();
    let start = Instant::now();
    while start.elapsed() < times.load {
        std::thread::sleep(times.pause);
        let begin = Instant::now();
        log.append(&records)?;
        commits_ns.push(begin.elapsed().as_nanos() as u64);
    }
    Ok(Samples { seconds: start.elapsed().as_secs_f64(), commits_ns })
}

/// `rate` commits a second, each due at its own moment, whatever became of those before it.
fn at_rate(log: &dyn DurableLog, rate: f64, time: Duration) -> Result<Samples, Failure> {
    let every = Duration::from_secs_f64(COMMITTERS as f64 / rate);
    let ready = Barrier::new(COMMITTERS);
    std::thread::scope(|scope| {
        let committers: Vec<_> = (0..COMMITTERS as u32)
            .map(|n| {
                let ready = &ready;
                scope.spawn(move || -> Result<Vec<u64>, Failure> {
                    let mut records = [[0; RECORD_BYTES]];
                    fill(&mut records, u64::from(n) + 1);
                    let mut commits_ns = Vec::new();
                    ready.wait();
                    let start = Instant::now() + every * n / COMMITTERS as u32;
                    let mut due = start;
                    while due - start < time {
                        let begin = wait_until(due);
                        log.append(&records)?;
                        commits_ns.push(begin.elapsed().as_nanos() as u64);
                        due += every;
                    }
                    Ok(commits_ns)
                })
            })
            .collect();
        let mut commits_ns = Vec::new();
        for committer in committers {
            match committer.join() {
                Ok(samples) => commits_ns.extend(samples?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(Samples { seconds: time.as_secs_f64(), commits_ns })
    })
}

/// Sleeps until `due` and returns when the commit's time begins: that moment, or when the scheduler let this thread go on if
/// it slept until then, for the way out of a sleep is no log's time. Nobody spins: the log needs the processors.
fn wait_until(due: Instant) -> Instant {
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return due;
    }
    std::thread::sleep(left);
    Instant::now()
}

fn rows(contenders: &[&dyn Contender], runs: &[Run]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (life, load) in [("first", "idle"), ("first", "half"), ("recycled", "idle"), ("recycled", "half")] {
        let of = |name: &str, value: fn(&Run) -> f64| {
            let is = |run: &&Run| run.contender == name && run.life == life && run.load == load;
            median(runs.iter().filter(is).map(value))
        };
        let p50_in = |name: &str, round: usize| {
            let is =
                |run: &&Run| run.contender == name && (run.life, run.load, run.round) == (life, load, round);
            runs.iter().find(is).map(|run| run.p50_us)
        };
        for contender in contenders.iter().filter(|c| life == "first" || c.recycles()) {
            let p50_us = of(contender.name(), |run| run.p50_us);
            // Round by round: a shared device is slow for all of them, for a while.
            let rounds = runs.iter().map(|run| run.round + 1).max().unwrap_or(0);
            let over_raw: Vec<f64> = (0..rounds)
                .filter_map(|round| Some(p50_in(contender.name(), round)? / p50_in("raw write", round)?))
                .collect();
            rows.push(Row {
                contender: contender.name().into(),
                life,
                load,
                commits_per_s: of(contender.name(), |run| run.commits_per_s),
                p50_us,
                p99_us: of(contender.name(), |run| run.p99_us),
                p999_us: of(contender.name(), |run| run.p999_us),
                p50_over_raw: (!over_raw.is_empty()).then(|| median(over_raw)),
            });
        }
    }
    rows
}

fn print(rows: &[Row]) {
    let cells = |row: &Row| {
        vec![
            format!("{}, {}, {}", row.life, row.load, row.contender),
            format!("{:.0}", row.commits_per_s),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            row.p50_over_raw.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
        ]
    };
    let heads = ["life, load, contender", "commits/s", "p50 µs", "p99 µs", "p99.9 µs", "p50 / raw write"];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_reached_by_its_share_of_the_samples() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&sorted, share)),
            [500.0, 990.0, 999.0, 1000.0]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    /// Takes 20 ms for its first commit and nothing for the others.
    struct Stalls(std::sync::Once);

    impl DurableLog for Stalls {
        fn append(&self, _records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
            self.0.call_once(|| std::thread::sleep(Duration::from_millis(20)));
            Ok(())
        }
        fn consume(&self, _stop: &std::sync::atomic::AtomicBool) -> Result<(), Failure> {
            Ok(())
        }
        fn close(self: Box<Self>) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn a_stall_counts_for_every_commit_that_it_held_up() {
        let mut samples =
            at_rate(&Stalls(std::sync::Once::new()), 4000.0, Duration::from_millis(40)).unwrap();
        samples.commits_ns.sort_unstable();
        let held_up = samples.commits_ns.iter().filter(|ns| **ns > 2_000_000).count();
        assert!(
            held_up > 40,
            "{held_up} of {} commits felt a stall of half the run",
            samples.commits_ns.len()
        );
    }
}
