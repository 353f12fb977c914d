//! A log on a simulated disk, driven by the test, and what may be done to its files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::tools::{self, Line};
use flumen_wal::{
    Commit, Directories, Driver, Environment, Log, OpenError, Options, ReadError, SegmentNumber, Ticket,
};

pub const BLOCK: u64 = 4096;

#[derive(Debug, Default)]
pub struct Simulated {
    pub micros: AtomicU64,
    pub random: AtomicU64,
}

impl Environment for Simulated {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        let x = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

pub fn options() -> Options {
    Options {
        segment_bytes: 128 << 10,
        frame_bytes: 16 << 10,
        eager_bytes: 4 << 10,
        // What is damaged on the disk shall not be read from memory.
        cache_bytes: 0,
        lock_wait: Duration::ZERO,
        ..Options::default()
    }
}

/// A log on a simulated disk, driven by the test.
pub struct World {
    pub disk: FaultyDisk,
    pub environment: Arc<Simulated>,
    pub running: Option<(Log, Driver)>,
    pub options: Options,
}

/// A frame as a dump shows it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub file: String,
    pub segment: SegmentNumber,
    pub offset: u64,
    pub number: u64,
    pub first_event: u64,
    pub events: u64,
    pub claims: u64,
    pub vouched: bool,
    pub span: bool,
}

/// Event `event`'s payload: two blocks with its header.
pub fn payload(event: u64) -> Vec<u8> {
    (0..5000u32).map(|i| (event as u8).wrapping_mul(31) ^ i as u8).collect()
}

impl World {
    pub fn new() -> Self {
        let mut world = Self::closed();
        world.open().unwrap();
        world
    }

    pub fn closed() -> Self {
        Self { disk: FaultyDisk::new(11), environment: Arc::default(), running: None, options: options() }
    }

    /// A log with so many events, a frame each.
    pub fn with_events(events: u64) -> Self {
        let mut world = Self::new();
        world.append_all(0..events);
        world
    }

    pub fn dirs(&self) -> Directories {
        let dirs =
            Directories { data: self.disk.directory("data"), checkpoint: self.disk.directory("checkpoint") };
        dirs.with_keys(&self.options.keys)
    }

    pub fn open(&mut self) -> Result<(), OpenError> {
        self.running = Some(Log::open_driven(self.dirs(), self.options.clone(), self.environment.clone())?);
        Ok(())
    }

    pub fn log(&self) -> &Log {
        &self.running.as_ref().unwrap().0
    }

    pub fn turn(&mut self) {
        self.running.as_mut().unwrap().1.turn();
    }

    pub fn append_bytes(&mut self, payload: &Vec<u8>) -> Ticket {
        let room = self.log().try_reserve(payload.len() as u64).unwrap();
        self.log().append(room, Commit { events: 1, payload, progress: vec![] }).unwrap()
    }

    pub fn ack(&mut self, ticket: &Ticket) {
        for _ in 0..1000 {
            if let Some(acked) = ticket.try_wait() {
                return acked.unwrap();
            }
            self.turn();
        }
        panic!("never acked: {:?}", self.log().stats());
    }

    pub fn append_all(&mut self, events: std::ops::Range<u64>) {
        for event in events {
            let ticket = self.append_bytes(&payload(event));
            self.ack(&ticket);
        }
    }

    /// Lets time pass until the log rests: its last frame is vouched for then.
    pub fn rest(&mut self) {
        for _ in 0..100 {
            self.environment.micros.fetch_add(1000, Ordering::Relaxed);
            self.turn();
        }
    }

    pub fn kill(&mut self) {
        self.disk.kill();
        self.disk.land_late_writes();
        self.running = None;
    }

    pub fn close(&mut self) {
        self.log().begin_close();
        self.rest();
        self.kill();
    }

    pub fn reopen(&mut self) {
        self.kill();
        self.open().unwrap();
    }

    /// Takes and checks events from `first` on, one by one; returns the event after the last one and what ended it.
    pub fn take_from(&self, first: u64) -> (u64, Option<ReadError>) {
        self.take_checking(first, payload)
    }

    pub fn take_checking(&self, first: u64, payload: impl Fn(u64) -> Vec<u8>) -> (u64, Option<ReadError>) {
        let cursor = self.log().cursor();
        let mut next = first;
        let mut taken = Vec::new();
        let error = loop {
            match cursor.try_take(1, 1 << 20) {
                Ok(None) => break None,
                Err(error) => break Some(error),
                Ok(Some(take)) => {
                    assert_eq!((take.first_event, take.events), (next, 1));
                    assert_eq!(take.pieces[0].payload[..], payload(next)[..], "event {next}");
                    taken.push(next);
                    next += 1;
                }
            }
        };
        taken.into_iter().for_each(|event| cursor.rollback(event, 1));
        (next, error)
    }

    #[track_caller]
    pub fn assert_all_there(&self, events: u64) {
        let (next, error) = self.take_from(0);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(next, events);
    }

    /// Takes stop at `frame`'s event and name the place.
    #[track_caller]
    pub fn assert_damaged_at(&self, frame: &Frame) {
        let (next, error) = self.take_from(0);
        assert_eq!(next, frame.first_event, "everything before it is readable: {error:?}");
        match error {
            Some(ReadError::Damaged { path, offset, event, .. }) => {
                assert_eq!(
                    (path.file_name().unwrap().to_str().unwrap(), offset),
                    (&*frame.file, frame.offset)
                );
                assert_eq!(event, frame.first_event);
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        tools::dump(&self.dirs(), &mut |line| {
            if let Line::Frame { place, header, vouched, .. } = line {
                frames.push(Frame {
                    file: place.segment.file_name(),
                    segment: place.segment,
                    offset: place.offset,
                    number: header.frame.0,
                    first_event: header.first_event,
                    events: u64::from(header.event_count),
                    claims: header.synced_frame.0,
                    vouched,
                    span: header.is_span(),
                });
            }
        })
        .unwrap();
        frames
    }

    pub fn frame_of(&self, event: u64) -> Frame {
        let holds = |f: &Frame| f.events > 0 && (f.first_event..f.first_event + f.events).contains(&event);
        self.frames().into_iter().find(holds).unwrap()
    }

    pub fn flip(&self, frame: &Frame, byte: u64) {
        self.disk.flip_bit(format!("data/{}", frame.file), frame.offset + byte, 3).unwrap();
    }

    /// All files but the lock.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for dir in ["data", "checkpoint"] {
            for entry in self.disk.directory(dir).list().unwrap() {
                if entry.name != "lock" {
                    let path = format!("{dir}/{}", entry.name);
                    files.insert(path.clone(), self.disk.contents(path).unwrap());
                }
            }
        }
        files
    }

    /// The start is refused, and nothing is different afterwards.
    #[track_caller]
    pub fn assert_refused(&mut self) -> OpenError {
        let before = self.files();
        let error = self.open().expect_err("refused");
        assert!(self.files() == before, "a refused start changed files: {error}");
        error
    }

    pub fn segments(&self) -> Vec<SegmentNumber> {
        let mut numbers: Vec<_> = self.frames().iter().map(|frame| frame.segment).collect();
        numbers.dedup();
        numbers
    }

    pub fn remove(&self, dir: &str, name: &str) {
        let dir = self.disk.directory(dir);
        dir.remove(name).unwrap();
        dir.sync().unwrap();
    }

    pub fn without_checkpoints(&self) {
        self.remove("checkpoint", "checkpoint-0");
        self.remove("checkpoint", "checkpoint-1");
    }
}
