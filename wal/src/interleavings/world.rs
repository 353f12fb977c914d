//! Storage whose writes stay in the air while others run, and what must hold of a log on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use shuttle::rand::RngCore;

use crate::format::frame;
use crate::storage::memory::MemoryDirectory;
use crate::storage::{Directory, Entry, File, Lock, ThreadQueue, WriteQueue};
use crate::sync::thread;
use crate::{Commit, Directories, Log, LogError, Options, Payload, Take};

/// A day: what waits for it waits for ever.
pub const NEVER: Duration = Duration::from_secs(86_400);

/// A directory in memory that knows what is in the air and what has landed.
#[derive(Clone, Debug)]
pub struct Air {
    beneath: MemoryDirectory,
    /// Queued writes are carried out by threads and end in any order; else by the submitter.
    threads: bool,
    /// Never held across a step.
    flights: Arc<Mutex<Flights>>,
}

#[derive(Debug, Default)]
struct Flights {
    begun: usize,
    in_the_air: usize,
    /// The durable writes that fail, counted from now on.
    failing: BTreeSet<usize>,
    failed: usize,
    /// Frames by number, and in which of them each end of a body is.
    landed: BTreeSet<u64>,
    marks: BTreeMap<Vec<u8>, u64>,
    /// How often a recovery listed the directory, and how often while a write was in the air.
    listed: usize,
    listed_early: usize,
}

impl Air {
    pub fn new(threads: bool) -> Self {
        Self { beneath: MemoryDirectory::new("air"), threads, flights: Arc::default() }
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap()
    }

    /// The `n`-th durable write from now on fails; some of it has landed, nobody knows.
    pub fn fail_write(&self, n: usize) {
        let mut flights = self.flights();
        let at = flights.begun + n;
        flights.failing.insert(at);
    }

    /// How often a recovery began, and how often while a write was in the air.
    pub fn recoveries(&self) -> (usize, usize) {
        let flights = self.flights();
        (flights.listed, flights.listed_early)
    }

    /// Whether a frame with these bytes, which look like a body's end, has landed.
    pub fn has_landed(&self, mark: &str) -> bool {
        self.flights().marks.contains_key(mark.as_bytes())
    }

    /// Whether all of `body` has landed, and every frame before it.
    fn is_synced(&self, body: &[u8]) -> bool {
        let flights = self.flights();
        let ends = [&body[..MARK], &body[body.len() - MARK..]];
        let [Some(_), Some(last)] = ends.map(|end| flights.marks.get(end)) else { return false };
        let begin = flights.landed.first().expect("the frame of a mark");
        // Behind a failure numbers may be missing: a reopen does not write again what it finds.
        flights.failed > 0 || (*begin..=*last).all(|frame| flights.landed.contains(&frame))
    }

    fn fly(&self, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let fails = {
            let mut flights = self.flights();
            flights.in_the_air += 1;
            flights.begun += 1;
            let number = flights.begun;
            flights.failing.remove(&number)
        };
        // Most writes are short; beside some of them everything else has the time to happen.
        let steps = if shuttle::rand::thread_rng().next_u32().is_multiple_of(4) { 100 } else { 1 };
        (0..steps).for_each(|_| thread::yield_now());
        let content = bytes.to_vec();
        let result = if fails {
            write(&bytes[..bytes.len() / 2 / ALIGNMENT * ALIGNMENT])
                .and(Err(io::Error::from_raw_os_error(libc::EIO)))
        } else {
            write(bytes)
        };
        thread::yield_now();
        assert!(content == bytes, "a buffer was changed while it was in the air");
        let mut flights = self.flights();
        flights.in_the_air -= 1;
        flights.failed += usize::from(fails);
        if result.is_ok() && is_frame(&content) {
            let number = u64::from_le_bytes(content[24..32].try_into().unwrap());
            flights.landed.insert(number);
            let begins = content.iter().enumerate().filter(|(_, byte)| **byte == b'<').map(|(at, _)| at);
            let marks = begins.filter_map(|at| content.get(at..at + MARK));
            flights.marks.extend(marks.map(|mark| (mark.to_vec(), number)));
        }
        result
    }
}

fn is_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&frame::MAGIC.to_le_bytes())
}

const ALIGNMENT: usize = 4096;

impl Directory for Air {
    fn path(&self) -> &Path {
        self.beneath.path()
    }

    fn describe(&self) -> String {
        self.beneath.describe()
    }

    fn alignment(&self) -> usize {
        self.beneath.alignment()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Flying { beneath: self.beneath.create(name)?, air: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Flying { beneath: self.beneath.open(name)?, air: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut flights = self.flights();
        flights.listed += 1;
        flights.listed_early += usize::from(flights.in_the_air > 0);
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.beneath.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.beneath.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.beneath.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        if self.threads {
            return Ok(Box::new(ThreadQueue::new(lock, depth, self.alignment())?));
        }
        self.beneath.write_queue(lock, depth)
    }
}

#[derive(Debug)]
struct Flying {
    beneath: Arc<dyn File>,
    air: Air,
}

impl File for Flying {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.beneath.read_at(buffer, offset)
    }

    /// A frame flies, whether it shall be durable or not.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if is_frame(bytes) {
            return self.air.fly(bytes, |bytes| self.beneath.write_at(bytes, offset));
        }
        self.beneath.write_at(bytes, offset)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.air.fly(bytes, |bytes| self.beneath.write_durable_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.beneath.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.beneath.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.beneath.len()
    }
}

/// A commit of one event: its bytes are like no other's at both ends, and are copied in two steps.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", String::from_utf8_lossy(&self.0[..MARK]), self.0.len())
    }
}

/// Bytes at a body's ends that tell it from all others.
const MARK: usize = 16;

impl Body {
    pub fn new(who: usize, number: usize, len: usize) -> Self {
        let mark = |end: char| format!("<{end}-{who:05}-{number:05}-{end}").into_bytes();
        let mut bytes = vec![who as u8; len.max(2 * MARK)];
        bytes[..MARK].copy_from_slice(&mark('a')[..MARK]);
        let tail = bytes.len() - MARK;
        bytes[tail..].copy_from_slice(&mark('z')[..MARK]);
        Self(bytes)
    }
}

impl Payload for Body {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn write_to(&self, out: &mut [u8]) {
        let half = out.len() / 2;
        out[..half].copy_from_slice(&self.0[..half]);
        thread::yield_now();
        out[half..].copy_from_slice(&self.0[half..]);
    }
}

/// A log in the air, and what was acked.
#[derive(Clone, Debug)]
pub struct World {
    pub air: Air,
    pub log: Log,
    acked: Arc<Mutex<Vec<Body>>>,
}

/// Small, and without anything that goes by the clock.
pub fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        frame_bytes: 16 << 10,
        in_flight: 2,
        release_delay: NEVER,
        idle_delay: NEVER,
        checkpoint_interval: NEVER,
        ..Options::default()
    }
}

impl World {
    pub fn new(options: Options) -> Self {
        Self::on(Air::new(true), options)
    }

    pub fn on(air: Air, options: Options) -> Self {
        let log = open(&air, options);
        Self { air, log, acked: Arc::default() }
    }

    pub fn commit(body: &Body) -> Commit<'_> {
        Commit { events: 1, payload: body, progress: Vec::new() }
    }

    /// Appends, waits, and looks whether the ack was due.
    pub fn append_and_wait(&self, body: Body) -> Result<(), LogError> {
        self.log.append_and_wait(Self::commit(&body)).map(|()| self.note_ack(body))
    }

    /// Appends without waiting; who calls what it returns waits.
    pub fn append(&self, body: Body) -> Result<impl FnOnce() -> Result<(), LogError> + use<>, LogError> {
        let room = self.log.try_reserve(body.len() as u64)?;
        let ticket = self.log.append(room, Self::commit(&body))?;
        let world = self.clone();
        Ok(move || ticket.wait().map(|()| world.note_ack(body)))
    }

    /// `body` was acked.
    pub fn note_ack(&self, body: Body) {
        assert!(self.air.is_synced(&body.0), "acked before it and all before it were synced: {body:?}");
        self.acked.lock().unwrap().push(body);
    }

    /// Whether all that was taken was synced.
    pub fn check_take(&self, take: &Take) {
        for piece in &take.pieces {
            assert!(self.air.is_synced(&piece.payload), "taken before it was synced");
        }
    }

    /// Closes the log; opened again it holds every commit that was acked, those of each committer in order.
    pub fn close(self) {
        self.close_leaving(0);
    }

    /// The same, where up to `event` all was released.
    pub fn close_leaving(self, event: u64) {
        let Self { air, log, acked } = self;
        log.close();
        drop(log);
        let log = open(&air, options());
        let (mut next, mut there) = (None, Vec::new());
        while let Some(take) = log.cursor().try_take(1, 1 << 20).unwrap() {
            let expected = next.replace(take.first_event + take.events);
            assert!(expected.is_none_or(|expected| expected == take.first_event), "a gap before {take:?}");
            there.extend(take.pieces.iter().map(|piece| Body(piece.payload.to_vec())));
        }
        log.close();
        for body in acked.lock().unwrap().iter().filter(|_| event == 0) {
            assert!(there.contains(body), "acked and lost: {body:?}");
        }
        let mut last = BTreeMap::new();
        for body in &there {
            let before = last.insert(body.0[2..8].to_vec(), body.0.clone());
            assert!(before.is_none_or(|before| before[..MARK] < body.0[..MARK]), "a committer's order");
        }
    }
}

fn open(air: &Air, options: Options) -> Log {
    let dir: Arc<dyn Directory> = Arc::new(air.clone());
    Log::open(Directories { data: dir.clone(), checkpoint: dir }, options).unwrap()
}

/// Runs `each` on `threads` threads and waits for all.
pub fn together(threads: usize, each: impl Fn(usize) + Send + Sync + 'static) {
    let each = Arc::new(each);
    let spawn = |i| {
        let each = each.clone();
        thread::spawn(move || each(i))
    };
    let all: Vec<_> = (0..threads).map(spawn).collect();
    all.into_iter().for_each(|one| one.join().unwrap());
}
