//! What an event costs, counted and not timed: the same on every machine, and a change that makes it grow fails here.
//!
//! ```text
//!   lines of a read, sliced into a batch ── file channel or log ── take, every event looked at ── release
//!        │                                        │                      │
//!        allocations and their bytes              operations and bytes   allocations and their bytes
//!        of all threads                           of the storage
//! ```
//!
//! Each bound stands a little above what is counted today. Who lowers a cost lowers its bound; who must raise one says what
//! it buys. Bytes that are copied need somewhere to go: a copy that is not into the log's own frames, which are used again
//! and again, shows in the bytes allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, Space, TakeLimit};
use flumen_api::chunk::{Chunk, ChunkWriter};
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::Progress;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::metered::{Meter, Meters};
use flumen_wal::{Commit, Directories, Driver, Environment, Log, Options, Payload};

/// Allocations an event, put and take through the file channel in batches of 1000 lines: those of the batch, its ticket
/// and its take, shared by a thousand.
const ALLOCATIONS_AN_EVENT: f64 = 0.05;
/// Bytes allocated a byte of body on that way. The batch's spans are the most of it; one more copy of the bodies adds 1.
const BYTES_ALLOCATED_A_BYTE: f64 = 0.17;
/// Allocations an event where every put has ten events.
const ALLOCATIONS_AN_EVENT_IN_SMALL_PUTS: f64 = 4.2;
/// `read` and `write` calls of the process, those that wake a thread included, for a thousand events in one put: the frame,
/// and the shares of new segments and checkpoints. Through plain system calls; a ring makes fewer. 1.04 is counted; on a
/// machine that pauses for 10 ms between two puts, a frame vouches for the first.
const CALLS_A_THOUSAND: f64 = 1.4;
/// Bytes written into frames by the caller for a byte of body: the body once, and what the chunk says of it.
const BYTES_COPIED_A_BYTE: f64 = 1.04;
/// Operations of the storage for a thousand events in puts of 1000, each waited for: a durable write, and the shares of
/// new segments and checkpoints.
const OPERATIONS_A_THOUSAND: f64 = 1.06;
/// The same for puts of ten that gather while they are not waited for: a hundred of them share a write.
const OPERATIONS_A_THOUSAND_GATHERED: f64 = 1.06;
/// Bytes written durably for a byte of body in puts of 1000: headers, padding to 4 KiB, checkpoints.
const BYTES_WRITTEN_A_BYTE: f64 = 1.06;
/// The same for a put of one event that is waited for: no less than a block of 4 KiB.
const BYTES_WRITTEN_A_LONE_EVENT: f64 = 4200.0;

/// Bytes of a line and of the body that it becomes.
const LINE: usize = 178;
const BODY: usize = LINE - 1;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(size.saturating_sub(layout.size()) as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test at a time: the counters count for all threads.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What `work` allocates: how often, and how many bytes.
fn allocated(work: impl FnOnce()) -> (f64, f64) {
    let before = (ALLOCATIONS.load(Ordering::Relaxed), ALLOCATED.load(Ordering::Relaxed));
    work();
    let after = (ALLOCATIONS.load(Ordering::Relaxed), ALLOCATED.load(Ordering::Relaxed));
    ((after.0 - before.0) as f64, (after.1 - before.1) as f64)
}

#[track_caller]
fn at_most(counted: f64, bound: f64, what: &str) {
    assert!(counted <= bound, "{what}: {counted:.4}, and {bound} is allowed");
    println!("{what}: {counted:.4} of {bound}");
}

/// A piece of a file with so many lines.
fn read_of(lines: usize) -> Bytes {
    let mut bytes = vec![b'x'; lines * LINE];
    bytes.chunks_mut(LINE).for_each(|line| line[BODY] = b'\n');
    Bytes::from(bytes)
}

/// The batch that a tailing source makes of it, the file read up to `from` before.
fn batch_of(read: &Bytes, from: u64) -> Batch {
    let mut batch = Batch::over(read.clone());
    let lines = read.len() / LINE;
    let key = "8:1234".to_string();
    let to = from + read.len() as u64;
    let origin =
        batch.add_progress(Progress { key, generation: 1, from, to, rest: Bytes::new(), retire: false });
    for line in 0..lines {
        batch.push_slice(line * LINE, BODY);
        batch.locate_last(origin, from + ((line + 1) * LINE) as u64);
    }
    batch
}

fn file_channel(dir: &tempfile::TempDir) -> Arc<dyn Channel> {
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (checkpoint, data) = (path("checkpoint"), path("data"));
    let keys = [("checkpointDir", &*checkpoint), ("dataDirs", &data), ("minimumRequiredSpace", "1048576")];
    let config = ComponentConfig::of(Kind::Channel, "c1", &keys);
    let context = ChannelContext {
        agent: "a1".into(),
        memory_limit: 1 << 30,
        ignore_flume_data: false,
        storage: Storage::Std,
        metrics: ChannelMetrics::default(),
    };
    let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "file");
    let Factory::Channel { open, .. } = spec.expect("registered").factory else { panic!("not a channel") };
    open(&config, context).expect("the channel opens")
}

/// `read` and `write` calls of this process so far; `None` where the kernel does not count them.
fn calls() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let count =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    Some(count("syscr:")? + count("syscw:")?)
}

/// Counted between a read and a release.
struct OnTheWay {
    allocations_an_event: f64,
    allocated_a_byte: f64,
    calls_a_thousand: Option<f64>,
}

fn through_the_file_channel(lines: usize, puts: usize) -> OnTheWay {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = file_channel(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let read = read_of(lines);
    let mut taker = channel.taker();
    let mut at = 0;
    let mut run = |puts: usize| {
        runtime.block_on(async {
            for _ in 0..puts {
                let batch = batch_of(&read, at);
                at += read.len() as u64;
                let chunk_bytes = ChunkWriter::new(&batch, None).encoded_len() as u64;
                let space = Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() };
                let room = channel.reserve(space).await.expect("room");
                let put = Put { source: "r1", batch: &batch, selection: None };
                channel.append(room, put).expect("append").await.expect("durable");
                let taken = loop {
                    match taker.try_take(TakeLimit::events(lines)).expect("take") {
                        Some(taken) => break taken,
                        None => taker.ready().await,
                    }
                };
                let bytes: usize = taken.events().iter().map(|event| event.body.len()).sum();
                assert_eq!(bytes, lines * BODY);
                taken.release("k1", Vec::new());
            }
        });
    };
    // The first puts fill pools and prepare segments.
    run(puts / 4);
    let calls_before = calls();
    let (allocations, bytes) = allocated(|| run(puts));
    let calls = calls().zip(calls_before).map(|(after, before)| after - before);
    runtime.block_on(channel.close());
    let events = (puts * lines) as f64;
    OnTheWay {
        allocations_an_event: allocations / events,
        allocated_a_byte: bytes / (events * BODY as f64),
        calls_a_thousand: calls.map(|calls| calls / events * 1000.0),
    }
}

#[test]
fn a_thousand_lines_share_their_allocations_and_calls() {
    let _alone = alone();
    // A machine that pauses adds what is written because of the time: it does not in each of several runs.
    let pauses = |cost: &OnTheWay| cost.calls_a_thousand.is_some_and(|calls| calls > CALLS_A_THOUSAND);
    let mut cost = through_the_file_channel(1000, 100);
    for _ in 0..20 {
        if !pauses(&cost) {
            break;
        }
        cost = through_the_file_channel(1000, 100);
    }
    at_most(cost.allocations_an_event, ALLOCATIONS_AN_EVENT, "allocations an event");
    at_most(cost.allocated_a_byte, BYTES_ALLOCATED_A_BYTE, "bytes allocated a byte of body");
    match cost.calls_a_thousand {
        Some(calls) => at_most(calls, CALLS_A_THOUSAND, "reads and writes a thousand events"),
        None => println!("skipped: this kernel does not count calls in /proc/self/io"),
    }
}

#[test]
fn small_puts_allocate_little() {
    let _alone = alone();
    let cost = through_the_file_channel(10, 300);
    at_most(
        cost.allocations_an_event,
        ALLOCATIONS_AN_EVENT_IN_SMALL_PUTS,
        "allocations an event in puts of ten",
    );
}

/// Time that stands still, so that nothing is written because of it.
#[derive(Debug, Default)]
struct Still(AtomicU64);

impl Environment for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

/// A log over counted memory that moves only when it is turned.
struct Counted {
    log: Log,
    driver: Driver,
    meters: Arc<Meters>,
    copied: AtomicU64,
}

/// A chunk that counts what is written of it.
struct CountedChunk<'a>(ChunkWriter<'a>, &'a AtomicU64);

impl Payload for CountedChunk<'_> {
    fn len(&self) -> usize {
        self.0.encoded_len()
    }

    fn write_to(&self, out: &mut [u8]) {
        self.1.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.0.write_to(out);
    }
}

impl Counted {
    fn open() -> Self {
        let meters = Arc::<Meters>::default();
        let directory = |name: &str| meters.of(Arc::new(MemoryDirectory::new(name).writing_at_submit()));
        let directories = Directories { data: directory("data"), checkpoint: directory("checkpoint") };
        let (log, driver) = Log::open_driven(directories, Options::default(), Arc::new(Still::default()))
            .expect("the log opens");
        Self { log, driver, meters, copied: AtomicU64::new(0) }
    }

    /// Appends `puts` batches of `read` before anything is written, waits for them, takes and releases them.
    fn pass(&mut self, read: &Bytes, puts: usize) {
        let lines = (read.len() / LINE) as u32;
        let tickets: Vec<_> = (0..puts)
            .map(|_| {
                let batch = batch_of(read, 0);
                let chunk = CountedChunk(ChunkWriter::new(&batch, None), &self.copied);
                let room = self.log.try_reserve(chunk.len() as u64).expect("room");
                let commit = Commit { events: lines, payload: &chunk, progress: Vec::new() };
                self.log.append(room, commit).expect("append")
            })
            .collect();
        assert!(self.driver.settle(1000), "the log comes to rest");
        for ticket in tickets {
            ticket.try_wait().expect("written").expect("durable");
        }
        let mut left = puts as u64 * u64::from(lines);
        while left > 0 {
            let take = self.log.cursor().try_take(usize::MAX, 4 << 20).expect("take").expect("synced events");
            for piece in &take.pieces {
                let chunk = Chunk::decode(piece.payload.clone()).expect("a chunk");
                let events = chunk.slice(piece.skip as usize, piece.events as usize);
                assert_eq!(events.body_bytes(), piece.events as usize * BODY);
            }
            left -= take.events;
            self.log.cursor().release(take.first_event, take.events, Vec::new());
        }
    }

    /// Operations of every kind, and bytes written.
    fn cost(&self) -> (f64, f64) {
        let Meters { reads, writes, durable_writes, file_syncs, directory_syncs, allocations, changes } =
            &*self.meters;
        let all = [reads, writes, durable_writes, file_syncs, directory_syncs, allocations, changes];
        let operations: u64 = all.into_iter().map(Meter::count).sum();
        (operations as f64, (writes.bytes() + durable_writes.bytes()) as f64)
    }
}

/// Operations a thousand events, bytes written a byte of body, and bytes copied a byte of body.
fn through_the_log(lines: usize, puts_at_once: usize, passes: usize) -> (f64, f64, f64) {
    let read = read_of(lines);
    let mut counted = Counted::open();
    (0..passes / 4).for_each(|_| counted.pass(&read, puts_at_once));
    let (before, copied_before) = (counted.cost(), counted.copied.load(Ordering::Relaxed));
    (0..passes).for_each(|_| counted.pass(&read, puts_at_once));
    let after = counted.cost();
    let copied = counted.copied.load(Ordering::Relaxed) - copied_before;
    let events = (passes * puts_at_once * lines) as f64;
    let bodies = events * BODY as f64;
    ((after.0 - before.0) / events * 1000.0, (after.1 - before.1) / bodies, copied as f64 / bodies)
}

#[test]
fn a_thousand_events_are_one_write() {
    let _alone = alone();
    let (operations, written, copied) = through_the_log(1000, 1, 1000);
    at_most(operations, OPERATIONS_A_THOUSAND, "operations a thousand events");
    at_most(written, BYTES_WRITTEN_A_BYTE, "bytes written a byte of body");
    at_most(copied, BYTES_COPIED_A_BYTE, "bytes copied a byte of body");
}

#[test]
fn small_puts_share_a_write() {
    let _alone = alone();
    let (operations, ..) = through_the_log(10, 100, 400);
    at_most(operations, OPERATIONS_A_THOUSAND_GATHERED, "operations a thousand events in puts of ten");
}

#[test]
fn a_lone_event_is_one_block() {
    let _alone = alone();
    let (_, written, _) = through_the_log(1, 1, 4000);
    at_most(written * BODY as f64, BYTES_WRITTEN_A_LONE_EVENT, "bytes written for a lone event");
}
