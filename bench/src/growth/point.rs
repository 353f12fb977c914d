//! One point of a sweep, in a process of its own: put and take through file channels for a while.
//!
//! ```text
//!   fill       puts alone, until the backlog is there
//!   warm-up    producers and takers
//!   measured   bytes that were taken and released in so many seconds; the process's peak of memory at its end
//! ```
//!
//! Producers stay at most 8 MiB ahead of the takers, so that beyond the wanted backlog there is none. They are tasks on a
//! runtime with a thread a processor, as an agent's are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Space, TakeLimit};
use flumen_api::chunk::ChunkWriter;
use flumen_api::event::Headers;
use flumen_api::registry::Storage;
use flumen_api::source::InFlight;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::place::kib;
use crate::pump;

/// The command's name; only [`super::run`] calls it.
pub const COMMAND: &str = "growth-point";
/// Options of the command.
pub const OPTIONS: &[&str] = &["point", "dir"];

/// How far producers may be ahead of the takers, in KiB.
const AHEAD_KIB: usize = 8 << 10;
/// Puts of one producer on their way.
const IN_FLIGHT: usize = 8;
/// Events of a take.
const TAKE_EVENTS: usize = 1000;
const WARM_UP: Duration = Duration::from_millis(300);

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Headers of an event.
    pub headers: usize,
    /// Events of a put.
    pub put_events: usize,
    /// Bytes of bodies in the channel that stay there.
    pub backlog_bytes: u64,
    /// Channels at once.
    pub channels: usize,
    /// Producers of each channel.
    pub producers: usize,
    /// Takers of each channel.
    pub takers: usize,
    /// Seconds measured.
    pub seconds: f64,
}

impl Default for Point {
    fn default() -> Self {
        Self {
            body_bytes: 512,
            headers: 0,
            put_events: 100,
            backlog_bytes: 0,
            channels: 1,
            producers: 4,
            takers: 1,
            seconds: 1.0,
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Bytes of bodies taken and released, MB = 10^6.
    pub mb_per_s: f64,
    /// Events taken and released.
    pub events_per_s: f64,
    /// Largest resident set of the process.
    pub peak_rss_mib: f64,
}

/// Runs the command: one line of JSON on stdout.
pub fn run(options: &Options) -> Result<(), Failure> {
    let json: String = options.get("point", String::new())?;
    let point: Point = serde_json::from_str(&json).context(|| format!("--point {json}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
    let outcome = runtime.context(|| "start a runtime".into())?.block_on(measure(point, options))?;
    println!("{}", serde_json::to_string(&outcome).context(|| "encode an outcome".into())?);
    Ok(())
}

/// A channel with what its producers and takers share.
struct Lane {
    channel: Arc<dyn Channel>,
    ahead: Semaphore,
    taken_events: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

async fn measure(point: Point, options: &Options) -> Result<Outcome, Failure> {
    let directory = options.directory()?;
    let home = tempfile::Builder::new()
        .prefix("growth-")
        .tempdir_in(&directory)
        .context(|| format!("make a directory in {}", directory.display()))?;
    let (taken, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let backlog = point.backlog_bytes / point.body_bytes as u64;
    let mut lanes = Vec::new();
    for n in 0..point.channels {
        let path = home.path().join(n.to_string());
        let channel = pump::open("file", Storage::Auto, backlog + 1_000_000, &path)?;
        let ahead = Semaphore::new(AHEAD_KIB);
        lanes.push(Arc::new(Lane { channel, ahead, taken_events: taken.clone(), stop: stop.clone() }));
    }
    for lane in &lanes {
        fill(lane, point, backlog).await?;
    }
    let mut tasks = Vec::new();
    for lane in &lanes {
        for producer in 0..point.producers {
            tasks.push(tokio::spawn(produce(lane.clone(), point, producer)));
        }
        tasks.extend((0..point.takers).map(|_| tokio::spawn(take(lane.clone(), point))));
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, start) = (taken.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(point.seconds)).await;
    let events = (taken.load(Ordering::Relaxed) - before) as f64;
    let seconds = start.elapsed().as_secs_f64();
    let peak_rss_mib = kib("/proc/self/status", "VmHWM") as f64 / 1024.0;
    stop.store(true, Ordering::Relaxed);
    for lane in &lanes {
        // Whoever waits for room finds that it is over.
        lane.ahead.close();
    }
    for task in tasks {
        task.await.context(|| "a task".into())??;
    }
    for lane in &lanes {
        lane.channel.close().await;
    }
    let events_per_s = events / seconds;
    Ok(Outcome { mb_per_s: events_per_s * point.body_bytes as f64 / 1e6, events_per_s, peak_rss_mib })
}

/// Puts until the backlog is there, all durable.
async fn fill(lane: &Lane, point: Point, events: u64) -> Result<(), Failure> {
    let mut flight = InFlight::new(IN_FLIGHT);
    let mut batches = Batches::new(point, usize::from(u8::MAX));
    for _ in 0..events.div_ceil(point.put_events as u64) {
        flight.push(put(lane, &batches.next()).await?, (), |()| {}).await.context(|| "put".into())?;
    }
    flight.drain(|()| {}).await.context(|| "put".into())
}

async fn produce(lane: Arc<Lane>, point: Point, producer: usize) -> Result<(), Failure> {
    let mut flight = InFlight::new(IN_FLIGHT);
    let mut batches = Batches::new(point, producer);
    let permits = kib_of(point, point.put_events);
    while !lane.stop.load(Ordering::Relaxed) {
        let Ok(permit) = lane.ahead.acquire_many(permits).await else { break };
        permit.forget();
        flight.push(put(&lane, &batches.next()).await?, (), |()| {}).await.context(|| "put".into())?;
    }
    flight.drain(|()| {}).await.context(|| "put".into())
}

async fn take(lane: Arc<Lane>, point: Point) -> Result<(), Failure> {
    let mut taker = lane.channel.taker();
    // What was taken and is less than a put gives room once it is one: permits are whole KiB of whole puts.
    let mut rest = 0;
    while !lane.stop.load(Ordering::Relaxed) {
        let Some(taken) = taker.try_take(TakeLimit::events(TAKE_EVENTS)).context(|| "take".into())? else {
            // A taker that nobody feeds any more looks at `stop` now and then.
            let _elapsed = tokio::time::timeout(Duration::from_millis(20), taker.ready()).await;
            continue;
        };
        let events = taken.events().len();
        let mut bytes = 0;
        for event in taken.events().iter() {
            bytes += event.body.len();
        }
        if bytes != events * point.body_bytes {
            return Err(Failure(format!("{events} events of {bytes} bytes came out")));
        }
        taken.release("k1", Vec::new());
        lane.taken_events.fetch_add(events as u64, Ordering::Relaxed);
        rest += events;
        lane.ahead.add_permits(kib_of(point, point.put_events) as usize * (rest / point.put_events));
        rest %= point.put_events;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn kib_of(point: Point, events: usize) -> u32 {
    (events * (point.body_bytes + 32 * point.headers)).div_ceil(1024).min(AHEAD_KIB) as u32
}

async fn put(lane: &Lane, batch: &Batch) -> Result<flumen_api::channel::Ticket, Failure> {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    let space = Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() };
    let room = loop {
        match lane.channel.reserve(space).await {
            Err(PutError::Full { .. }) => continue,
            other => break other.context(|| "reserve".into())?,
        }
    };
    let put = Put { source: "r1", batch, selection: None };
    lane.channel.append(room, put).context(|| "append".into())
}

/// Batches of one producer.
struct Batches {
    point: Point,
    producer: usize,
    number: u64,
    /// Names of the headers.
    keys: Vec<String>,
    /// Bytes without pattern, from which every batch is copied, as from a read.
    template: Vec<u8>,
}

impl Batches {
    fn new(point: Point, producer: usize) -> Self {
        let mut template = Vec::with_capacity(point.put_events * point.body_bytes + 8);
        let mut state = (producer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while template.len() < point.put_events * point.body_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            template.extend_from_slice(&state.to_le_bytes());
        }
        template.truncate(point.put_events * point.body_bytes);
        let keys = (0..point.headers).map(|n| format!("header-{n:02}")).collect();
        Self { point, producer, number: 0, keys, template }
    }

    fn next(&mut self) -> Batch {
        let mut batch = Batch::over(Bytes::copy_from_slice(&self.template));
        for event in 0..self.point.put_events {
            batch.push_slice(event * self.point.body_bytes, self.point.body_bytes);
            if self.point.headers > 0 {
                self.number += 1;
                let value = format!("{}-{:014}", self.producer % 10, self.number);
                let mut headers = Headers::with_capacity(self.keys.len(), 32 * self.keys.len());
                self.keys.iter().for_each(|key| headers.set(key, &value));
                batch.replace_headers(event, headers);
            }
        }
        batch
    }
}
