//! Durable append: each contender, each shape, first life and recycled life, several rounds in turn.
//!
//! ```text
//!   fresh directory -> open
//!   first life      T threads commit for S seconds; nothing is consumed              measured
//!   warm-up         a consumer joins, catches up and forgets, so space gets reused
//!   recycled life   T threads commit for S seconds, the consumer keeps up beside     measured
//!   close, remove
//! ```
//!
//! A contender that never uses its files again has a first life only. Every contender keeps all it has in its first life and forgets as it goes in the second. Within a round the
//! contenders take turns shape by shape and the ceiling is measured among them, so that a neighbour's burst on a shared
//! machine falls on all of them alike over the rounds. Right behind a log of ours, its own writes are made again without it.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ceiling::{Ceiling, RawFile, SameWrites, fio};
use crate::contender::{self, Contender, DurableLog, RECORD_BYTES, Shape, Writes};
use crate::failure::{Context, Failure};

use crate::options::Options;
use crate::place::Place;
use crate::report::{Stored, median, print_table};

/// Longest wait for a consumer to catch up between the lives.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// Options of the command.
pub const OPTIONS: &[&str] = &["dir", "results", "rounds", "seconds", "shapes", "only"];

/// One contender's life in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Round, from 0.
    pub round: usize,
    /// Who.
    pub contender: String,
    /// `threads x records`.
    pub shape: String,
    /// `first` or `recycled`.
    pub life: &'static str,
    /// Payload MB/s, MB = 10^6 bytes.
    pub mb_per_s: f64,
    /// Commits made durable.
    pub commits: u64,
    /// Seconds they took.
    pub seconds: f64,
    /// Median time of a commit in µs.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Slowest commit.
    pub max_us: f64,
    /// What the same writes give without the log, where the log counts its writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_writes: Option<SameWrites>,
    /// The writes that it made.
    #[serde(skip)]
    made: Writes,
}

/// The ceiling in one round.
#[derive(Clone, Debug, Serialize)]
pub struct CeilingRun {
    /// Round, from 0.
    pub round: usize,
    /// `threads x records`.
    pub shape: String,
    /// What was found.
    #[serde(flatten)]
    pub ceiling: Ceiling,
    /// The same writes by fio, where it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fio_mb_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum AnyRun {
    Log(Run),
    Ceiling(CeilingRun),
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    shape: String,
    life: &'static str,
    /// (contender, median MB/s, median p99 in µs), ours first; those that have no such life are left out.
    contenders: Vec<(String, f64, f64)>,
    ceiling_mb_per_s: f64,
    /// What the writes that uring made give without it.
    same_writes_mb_per_s: f64,
    std_over_uring: f64,
    /// Over the faster okaywal.
    uring_over_okaywal: Option<f64>,
    /// Over the fastest of all.
    uring_over_rival: Option<f64>,
    uring_over_ceiling: f64,
    uring_over_same_writes: f64,
}

/// Runs the command. The first two contenders are ours (uring, std), the others are rivals; the ratio is against the
/// faster okaywal and against the fastest.
pub fn run(contenders: &[&dyn Contender], options: &Options) -> Result<(), Failure> {
    let contenders = contender::chosen(contenders, options)?;
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 5)?;
    let time = Duration::from_secs_f64(options.get("seconds", 1.0)?);
    let shapes: Vec<Shape> = options.list("shapes", &Shape::ALL)?;
    let place = Place::of(&directory)?;
    println!("{}\n{RECORD_BYTES}-byte records, every commit durable, {rounds} rounds\n", place.headline());

    let raw = RawFile::prewrite(&directory)?;
    let (mut runs, mut ceilings) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for &shape in &shapes {
            eprintln!("round {} of {rounds}, {}", round + 1, shape.name());
            let ceiling = raw.measure(shape, time)?;
            let fio_mb_per_s = fio::writes_per_s(&directory, &ceiling, time)?
                .map(|writes_per_s| writes_per_s * ceiling.mb_per_s / ceiling.writes_per_s);
            ceilings.push(CeilingRun { round, shape: shape.name(), ceiling, fio_mb_per_s });
            // Who goes first changes from round to round: the one after a heavy writer meets its write-back.
            for turn in 0..contenders.len() {
                let contender = contenders[(turn + round) % contenders.len()];
                runs.extend(lives(contender, shape, round, time, &directory, &raw)?);
            }
        }
    }

    let rows = rows(&contenders, &shapes, &runs, &ceilings);
    print(&contenders, &rows);
    if ceilings.iter().any(|run| run.fio_mb_per_s.is_some()) {
        for shape in &shapes {
            let of_shape = ceilings.iter().filter(|run| run.shape == shape.name());
            let fio = median(of_shape.filter_map(|run| run.fio_mb_per_s));
            println!("the ceiling of {} by fio: {fio:.0} MB/s", shape.name());
        }
    }
    let setting = serde_json::json!({
        "durability": "synced before a commit returns",
        "record_bytes": RECORD_BYTES,
        "rounds": rounds,
        "seconds": time.as_secs_f64(),
    });
    let runs: Vec<AnyRun> =
        runs.into_iter().map(AnyRun::Log).chain(ceilings.into_iter().map(AnyRun::Ceiling)).collect();
    let stored = Stored { bench: "append", place: &place, setting, summary: &rows, runs: &runs };
    println!("\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

/// The lives that a contender has.
fn lives(
    contender: &dyn Contender,
    shape: Shape,
    round: usize,
    time: Duration,
    directory: &Path,
    raw: &RawFile,
) -> Result<Vec<Run>, Failure> {
    let fresh = tempfile::Builder::new()
        .prefix("append-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let log = contender.open(fresh.path())?;
    let measured = |life, spans: Spans| spans.into_run(round, contender.name(), shape, life);
    let mut runs = vec![measured("first", commit_for(&*log, shape, time)?)];
    if contender.recycles() {
        let recycled = beside_consumer(&*log, || {
            commit_for(&*log, shape, time / 2)?;
            commit_for(&*log, shape, time)
        })?;
        runs.push(measured("recycled", recycled));
    }
    log.close()?;
    for run in &mut runs {
        let payload = run.commits as f64 * shape.commit_bytes() as f64;
        run.same_writes = raw.measure_as(run.made, payload, run.seconds, time / 2)?;
    }
    Ok(runs)
}

/// Runs `measure` once a consumer has caught up, and while it keeps up.
pub(crate) fn beside_consumer<T>(
    log: &dyn DurableLog,
    measure: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let consumer = scope.spawn(|| log.consume(&stop));
        let measured = catch_up(log).and_then(|()| measure());
        stop.store(true, Ordering::Relaxed);
        match consumer.join() {
            Ok(consumed) => consumed.and(measured),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn catch_up(log: &dyn DurableLog) -> Result<(), Failure> {
    let start = Instant::now();
    while log.backlog_events() > 0 {
        if start.elapsed() > CATCH_UP_MAX {
            return Err(Failure(format!("{} events were not consumed in time", log.backlog_events())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What the writers saw.
pub(crate) struct Spans {
    seconds: f64,
    commits_ns: Vec<u32>,
    made: Writes,
}

impl Spans {
    pub(crate) fn commits_per_s(&self) -> f64 {
        self.commits_ns.len() as f64 / self.seconds
    }

    fn into_run(mut self, round: usize, contender: &str, shape: Shape, life: &'static str) -> Run {
        self.commits_ns.sort_unstable();
        let at = |share: f64| {
            let last = self.commits_ns.len().saturating_sub(1);
            self.commits_ns.get((last as f64 * share) as usize).map_or(0.0, |ns| f64::from(*ns) / 1e3)
        };
        let commits = self.commits_ns.len() as u64;
        Run {
            round,
            contender: contender.into(),
            shape: shape.name(),
            life,
            mb_per_s: commits as f64 * shape.commit_bytes() as f64 / 1e6 / self.seconds,
            commits,
            seconds: self.seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
            same_writes: None,
            made: self.made,
        }
    }
}

/// All threads commit until the time is over. The clock stops when the last one's last commit is durable.
pub(crate) fn commit_for(log: &dyn DurableLog, shape: Shape, time: Duration) -> Result<Spans, Failure> {
    let before = log.writes().unwrap_or_default();
    let ready = Barrier::new(shape.threads + 1);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..shape.threads)
            .map(|writer| {
                let ready = &ready;
                scope.spawn(move || -> Result<Vec<u32>, Failure> {
                    let mut records = vec![[0; RECORD_BYTES]; shape.records];
                    fill(&mut records, writer as u64 + 1);
                    let mut spans = Vec::with_capacity(1 << 16);
                    ready.wait();
                    let start = Instant::now();
                    let mut last = start;
                    while last - start < time {
                        // A number in each commit, so that no two are alike and nothing can be deduplicated.
                        records[0][..8].copy_from_slice(&(spans.len() as u64).to_le_bytes());
                        log.append(&records)?;
                        let now = Instant::now();
                        spans.push(u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX));
                        last = now;
                    }
                    Ok(spans)
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        let mut commits_ns = Vec::new();
        for writer in writers {
            match writer.join() {
                Ok(spans) => commits_ns.extend(spans?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let made = log.writes().unwrap_or_default().since(before);
        Ok(Spans { seconds, commits_ns, made })
    })
}

/// Bytes without pattern (xorshift), for devices and hosts that compress.
pub(crate) fn fill(records: &mut [[u8; RECORD_BYTES]], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in records.as_flattened_mut().chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

fn rows(contenders: &[&dyn Contender], shapes: &[Shape], runs: &[Run], ceilings: &[CeilingRun]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shape in shapes.iter().map(|shape| shape.name()) {
        let ceiling =
            median(ceilings.iter().filter(|run| run.shape == shape).map(|run| run.ceiling.mb_per_s));
        for life in ["first", "recycled"] {
            let of = |name: &str, value: fn(&Run) -> f64| {
                let is = |run: &&Run| run.contender == name && run.shape == shape && run.life == life;
                median(runs.iter().filter(is).map(value))
            };
            let lives = contenders.iter().filter(|c| life == "first" || c.recycles());
            let figures: Vec<_> = lives
                .map(|c| {
                    (c.name().to_string(), of(c.name(), |run| run.mb_per_s), of(c.name(), |run| run.p99_us))
                })
                .collect();
            let (uring, std) = (figures[0].1, figures[1].1);
            let fastest = |begins: &str| {
                let named = figures[2..].iter().filter(|(name, ..)| name.starts_with(begins));
                named.map(|(_, speed, _)| *speed).reduce(f64::max)
            };
            let (okaywal, rival) = (fastest("okaywal"), fastest(""));
            let same_writes = of(&figures[0].0, |run| run.same_writes.map_or(0.0, |same| same.mb_per_s));
            rows.push(Row {
                shape: shape.clone(),
                life,
                contenders: figures,
                ceiling_mb_per_s: ceiling,
                same_writes_mb_per_s: same_writes,
                std_over_uring: std / uring,
                uring_over_okaywal: okaywal.map(|rival| uring / rival),
                uring_over_rival: rival.map(|rival| uring / rival),
                uring_over_ceiling: uring / ceiling,
                uring_over_same_writes: uring / same_writes,
            });
        }
    }
    rows
}

fn print(contenders: &[&dyn Contender], rows: &[Row]) {
    let mut heads = vec!["threads x records, life"];
    let names: Vec<String> = contenders.iter().map(|c| format!("{} MB/s (p99 µs)", c.name())).collect();
    heads.extend(names.iter().map(String::as_str));
    heads.extend([
        "ceiling MB/s",
        "same writes MB/s",
        "uring/okaywal",
        "uring/fastest",
        "uring/ceiling",
        "uring/same writes",
        "std/uring",
    ]);
    let cells = |row: &Row| {
        let mut cells = vec![format!("{} {}", row.shape, row.life)];
        cells.extend(contenders.iter().map(|c| {
            let figures = row.contenders.iter().find(|(name, ..)| name == c.name());
            figures.map_or_else(|| "-".into(), |(_, speed, p99)| format!("{speed:.0} ({p99:.0})"))
        }));
        cells.push(format!("{:.0}", row.ceiling_mb_per_s));
        cells.push(format!("{:.0}", row.same_writes_mb_per_s));
        for ratio in [row.uring_over_okaywal, row.uring_over_rival] {
            cells.push(ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
        }
        cells.push(format!("{:.0} %", row.uring_over_ceiling * 100.0));
        cells.push(format!("{:.0} %", row.uring_over_same_writes * 100.0));
        cells.push(format!("{:.0} %", row.std_over_uring * 100.0));
        cells
    };
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}
