//! Put and take at once: our channels beside Flume's, in turns, with the same shape and the same settings.
//!
//! ```text
//!   a turn   open in a fresh directory -> warm up, not counted -> put and take so many events as the warm-up says fill
//!            the time -> close, remove
//! ```
//!
//! A turn of Flume's is a Java machine of its own, in which the warm-up is longer. Everybody makes each body anew with a
//! number in it, and every taker looks at the numbers; so what is measured is also known to be right. Capacity and take
//! batch are swept alike, and each of Flume's channels is compared with at its best.

use std::path::Path;
use std::process::Stdio;

use flumen_api::registry::Storage;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::options::Options;
use crate::place::Place;
use crate::pump::{self, Pump, Shape};
use crate::report::{Stored, median, print_table};

/// Options of the command.
pub const OPTIONS: &[&str] = &[
    "dir",
    "results",
    "rounds",
    "seconds",
    "producers",
    "batch",
    "bytes",
    "in-flight",
    "cases",
    "only",
    flume::OPTIONS[0],
    flume::OPTIONS[1],
];

/// `capacity:take batch`, both in events: as large as Flume's default, with the take batch of most sinks; and smaller
/// ones, with which a memory channel's events stay in the processor's cache.
const CASES: [&str; 3] = ["1000000:100", "100000:1000", "10000:100"];

/// Events of the first phase, which only finds out how fast a channel is.
const GUESS_EVENTS: u64 = 20_000;

/// Puts of a producer on their way: as many as a tailing source has with batches of 100.
const IN_FLIGHT: usize = 32 * 1024 / 100;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ours { kind: &'static str, storage: Storage },
    Flume { kind: &'static str },
}

const ALL: [(&str, Who); 5] = [
    ("file, uring", Who::Ours { kind: "file", storage: Storage::Uring }),
    ("file, std", Who::Ours { kind: "file", storage: Storage::Std }),
    ("memory", Who::Ours { kind: "memory", storage: Storage::Auto }),
    (FLUME_FILE, Who::Flume { kind: "file" }),
    (FLUME_MEMORY, Who::Flume { kind: "memory" }),
];
const FLUME_FILE: &str = "Flume file";
const FLUME_MEMORY: &str = "Flume memory";

/// One channel with one capacity and take batch in one round.
#[derive(Debug, Serialize)]
struct Run {
    round: usize,
    channel: &'static str,
    case: String,
    events: u64,
    seconds: f64,
    mb_per_s: f64,
}

/// Medians of a channel with a case.
#[derive(Debug, Serialize)]
struct Row {
    channel: &'static str,
    case: String,
    events_per_s: f64,
    mb_per_s: f64,
    /// Over Flume's memory channel with the same case.
    over_flume_memory: Option<f64>,
    /// Over Flume's memory channel with the case that suits it best.
    over_flume_memory_best: Option<f64>,
    over_flume_file_best: Option<f64>,
}

/// What a Java machine of ours prints.
#[derive(Deserialize)]
struct Printed {
    runs: Vec<PrintedRun>,
}

#[derive(Deserialize)]
struct PrintedRun {
    capacity: u64,
    take_batch: usize,
    events: u64,
    seconds: f64,
}

struct Case {
    name: String,
    capacity: u64,
    take_batch: usize,
}

impl std::str::FromStr for Case {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (capacity, take) = text.split_once(':').ok_or(())?;
        let capacity = capacity.parse().map_err(|_not| ())?;
        Ok(Self { name: text.into(), capacity, take_batch: take.parse().map_err(|_not| ())? })
    }
}

struct Setting {
    shape: Shape,
    seconds: f64,
    cases: Vec<Case>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.directory()?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let rounds: usize = options.get("rounds", 5)?;
    let names = options.list("cases", &CASES.map(String::from))?;
    let case =
        |name: &String| name.parse().map_err(|()| Failure(format!("--cases {name}: not capacity:batch")));
    let setting = Setting {
        shape: Shape {
            producers: options.get("producers", 4)?,
            put_batch: options.get("batch", 100)?,
            body_bytes: options.get("bytes", 512)?,
            in_flight: options.get("in-flight", IN_FLIGHT)?,
            take_batch: 0,
        },
        seconds: options.get("seconds", 2.0)?,
        cases: names.iter().map(case).collect::<Result<_, _>>()?,
    };
    let word = |name: &str| name.replace(", ", "-").replace(' ', "-");
    let only: Vec<String> = options.list("only", &ALL.map(|(name, _)| word(name)))?;
    let mut measured: Vec<(&'static str, Who)> = ALL.to_vec();
    measured.retain(|(name, _)| only.contains(&word(name)));
    let wants_flume = measured.iter().any(|(_, who)| matches!(who, Who::Flume { .. }));
    let flume = match wants_flume {
        true => Flume::build(options)?.inspect_err(|why| println!("Flume's channels skipped: {why}")).ok(),
        false => None,
    };
    measured.retain(|(_, who)| flume.is_some() || matches!(who, Who::Ours { .. }));
    let place = Place::of(&directory)?;
    let Shape { producers, put_batch, body_bytes, in_flight, .. } = setting.shape;
    println!(
        "{}\n{producers} producers, {put_batch} events of {body_bytes} bytes a put, one taker, {rounds} rounds; \
         case: capacity:take batch\n",
        place.headline()
    );

    let mut runs = Vec::new();
    for round in 0..rounds {
        // Who goes first changes from round to round: the one after a heavy writer meets its write-back.
        for turn in 0..measured.len() {
            let (name, who) = measured[(turn + round) % measured.len()];
            eprintln!("round {} of {rounds}, {name}", round + 1);
            let printed = match (who, &flume) {
                (Who::Ours { kind, storage }, _) => ours(kind, storage, &setting, &directory)?,
                (Who::Flume { kind }, Some(flume)) => flumes(flume, kind, &setting, &directory)?,
                (Who::Flume { .. }, None) => continue,
            };
            runs.extend(printed.into_iter().map(|run| Run {
                round,
                channel: name,
                case: format!("{}:{}", run.capacity, run.take_batch),
                events: run.events,
                seconds: run.seconds,
                mb_per_s: run.events as f64 * body_bytes as f64 / 1e6 / run.seconds,
            }));
        }
    }

    let rows = rows(&measured, &setting, &runs);
    print(&rows);
    let stored_setting = serde_json::json!({
        "durability": "our file channel and Flume's: every put synced before it is acked; memory channels: none",
        "producers": producers,
        "put_batch": put_batch,
        "body_bytes": body_bytes,
        "puts_in_flight": {"ours": in_flight, "Flume": 1},
        "rounds": rounds,
        "seconds": setting.seconds,
        "java": flume.map(|flume| flume.java),
    });
    let stored =
        Stored { bench: "channel", place: &place, setting: stored_setting, summary: &rows, runs: &runs };
    println!("\nevery event came out once and in order\n{}", stored.store(&options.results()?)?.display());
    Ok(())
}

fn fresh(directory: &Path) -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("channel-")
        .tempdir_in(directory)
        .context(|| format!("make a directory in {}", directory.display()))
}

fn ours(
    kind: &str,
    storage: Storage,
    setting: &Setting,
    directory: &Path,
) -> Result<Vec<PrintedRun>, Failure> {
    let mut runs = Vec::new();
    for case in &setting.cases {
        let fresh = fresh(directory)?;
        let channel = pump::open(kind, storage, case.capacity, fresh.path())?;
        let mut pump = Pump::new(channel, Shape { take_batch: case.take_batch, ..setting.shape });
        let as_long = |(events, seconds): (u64, f64)| (events as f64 / seconds * setting.seconds) as u64;
        let guess = pump.phase(GUESS_EVENTS)?;
        let warm = pump.phase(as_long(guess))?;
        let (events, seconds) = pump.phase(as_long(warm))?;
        pump.close()?;
        runs.push(PrintedRun { capacity: case.capacity, take_batch: case.take_batch, events, seconds });
    }
    Ok(runs)
}

fn flumes(
    flume: &Flume,
    kind: &str,
    setting: &Setting,
    directory: &Path,
) -> Result<Vec<PrintedRun>, Failure> {
    let fresh = fresh(directory)?;
    let Shape { producers, put_batch, body_bytes, .. } = setting.shape;
    let mut words = vec![kind.to_string(), fresh.path().display().to_string()];
    words.extend([producers, put_batch, body_bytes].map(|number| number.to_string()));
    words.push(setting.seconds.to_string());
    words.extend(setting.cases.iter().map(|case| case.name.clone()));
    let output = flume
        .channels(&words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| "start java".into())?;
    if !output.status.success() {
        return Err(Failure(format!("Flume's {kind} channel: java ended ({})", output.status)));
    }
    // Flume's file channel writes to the same place, before.
    let said = String::from_utf8_lossy(&output.stdout);
    let printed: Printed = serde_json::from_str(said.lines().last().unwrap_or_default())
        .context(|| "read what ChannelBench printed".into())?;
    Ok(printed.runs)
}

fn rows(measured: &[(&'static str, Who)], setting: &Setting, runs: &[Run]) -> Vec<Row> {
    let of = |channel: &str, case: &str| {
        let is = |run: &&Run| run.channel == channel && run.case == case;
        let speed = median(runs.iter().filter(is).map(|run| run.mb_per_s));
        (speed > 0.0).then_some(speed)
    };
    let best =
        |channel: &str| setting.cases.iter().filter_map(|case| of(channel, &case.name)).reduce(f64::max);
    let (memory_best, file_best) = (best(FLUME_MEMORY), best(FLUME_FILE));
    let mut rows = Vec::new();
    for (channel, _) in measured {
        for case in setting.cases.iter().map(|case| &case.name) {
            let Some(mb_per_s) = of(channel, case) else { continue };
            let over = |other: Option<f64>| other.map(|other| mb_per_s / other);
            rows.push(Row {
                channel,
                case: case.clone(),
                events_per_s: mb_per_s * 1e6 / setting.shape.body_bytes as f64,
                mb_per_s,
                over_flume_memory: over(of(FLUME_MEMORY, case)),
                over_flume_memory_best: over(memory_best),
                over_flume_file_best: over(file_best),
            });
        }
    }
    rows
}

fn print(rows: &[Row]) {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
    let cells = |row: &Row| {
        vec![
            format!("{} {}", row.channel, row.case),
            format!("{:.0} k", row.events_per_s / 1e3),
            format!("{:.0}", row.mb_per_s),
            ratio(row.over_flume_memory),
            ratio(row.over_flume_memory_best),
            ratio(row.over_flume_file_best),
        ]
    };
    let heads = [
        "channel, case",
        "events/s",
        "MB/s",
        "over Flume memory, same case",
        "over Flume memory, its best",
        "over Flume file, its best",
    ];
    print_table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flume_is_compared_with_at_its_best() {
        let setting = Setting {
            shape: Shape { producers: 1, put_batch: 1, body_bytes: 512, in_flight: 1, take_batch: 0 },
            seconds: 1.0,
            cases: vec![
                "10:1".parse().unwrap_or_else(|()| panic!()),
                "99:2".parse().unwrap_or_else(|()| panic!()),
            ],
        };
        let run = |channel, case: &str, mb_per_s| Run {
            round: 0,
            channel,
            case: case.into(),
            events: 1,
            seconds: 1.0,
            mb_per_s,
        };
        let runs = [
            run("file, uring", "10:1", 100.0),
            run(FLUME_MEMORY, "10:1", 50.0),
            run(FLUME_MEMORY, "99:2", 200.0),
            run(FLUME_FILE, "99:2", 2.0),
        ];
        let rows = rows(&ALL, &setting, &runs);
        assert_eq!(rows[0].over_flume_memory, Some(2.0));
        assert_eq!(rows[0].over_flume_memory_best, Some(0.5));
        assert_eq!(rows[0].over_flume_file_best, Some(50.0));
        assert_eq!(rows.len(), 4);
    }
}
