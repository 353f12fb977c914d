//! A log on a simulated disk, and the lives that it has there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::Directory;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::storage::striped::{self, LanesError};
use flumen_wal::{
    Commit, Compression, Cursor, Directories, Driver, Durability, Environment, Key, Keys, Log, LogError,
    OpenError, Options, ProgressUpdate, Ticket,
};

/// Lives that ended in a kill or a power cut, in all simulations of this process.
pub static CRASHES: AtomicU64 = AtomicU64::new(0);

/// The data directories, of which a log has the first ones.
pub const DATA: [&str; 3] = ["data", "data-1", "data-2"];
pub const CHECKPOINT: &str = "checkpoint";

/// The disk's time, and chance.
#[derive(Debug)]
struct Simulated {
    disk: FaultyDisk,
    random: AtomicU64,
}

impl Environment for Simulated {
    fn now(&self) -> Duration {
        self.disk.now()
    }

    fn random(&self) -> u64 {
        let x = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// Whether the log of this seed acks what is written and syncs it later.
pub fn acks_before_the_sync(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

/// Small, so that a few dozen actions cross segments, spill the cache and span frames; but a segment holds all frames that may
/// be on their way at a time, or a start on a full disk could not write them again in the one that is kept for it.
fn options(seed: u64) -> Options {
    let durability = match acks_before_the_sync(seed) {
        true => Durability::Written { interval: Duration::from_millis(150), bytes: 60_000 },
        false => Durability::Synced,
    };
    Options {
        durability,
        segment_bytes: if seed.is_multiple_of(2) { 128 << 10 } else { 192 << 10 },
        frame_bytes: 16 << 10,
        staged_bytes_max: 256 << 10,
        cache_bytes: 48 << 10,
        eager_bytes: 8 << 10,
        commit_bytes_max: 1 << 20,
        lock_wait: Duration::from_secs(1),
        ..Options::default()
    }
}

/// Names of the keys.
pub const KEYS: [&str; 2] = ["k1", "k2"];

/// Half of the largest frame: small ones have one part, and large ones one or two in each of two directories.
const UNIT: u64 = 8 << 10;

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Kill,
    /// With the seed of what survives.
    PowerCut(u64),
    PowerCutLosingAll,
}

#[derive(Debug)]
pub struct World {
    pub disk: FaultyDisk,
    environment: Arc<Simulated>,
    options: Options,
    /// How many data directories the next life has.
    pub lanes: usize,
    /// Each life compresses if the one before did not.
    pub compresses_in_turn: bool,
    /// Each life encrypts by the key after that of the one before, or not at all behind the last one.
    pub encrypts_in_turn: bool,
    running: Option<(Log, Driver)>,
}

impl World {
    /// A disk without a log.
    pub fn new(seed: u64, lanes: usize) -> Self {
        Self::on(FaultyDisk::new(seed), seed, lanes)
    }

    fn on(disk: FaultyDisk, seed: u64, lanes: usize) -> Self {
        let environment = Arc::new(Simulated { disk: disk.clone(), random: AtomicU64::new(seed) });
        Self {
            disk,
            environment,
            options: options(seed),
            lanes,
            compresses_in_turn: false,
            encrypts_in_turn: false,
            running: None,
        }
    }

    /// Another world that begins with this one's disk, after the end of the life that is going on here.
    pub fn fork(&self, end: End) -> Self {
        let mut fork =
            Self::on(self.disk.fork(), self.environment.random.load(Ordering::Relaxed), self.lanes);
        fork.options = self.options.clone();
        fork.disk.clear_faults();
        fork.end(end);
        fork
    }

    /// How lives write that begin from now on.
    pub fn compress(&mut self, on: bool) {
        self.options.compression = if on { Compression::Lz4 } else { Compression::None };
    }

    /// By which key lives encrypt that begin from now on. All keys are given at any time.
    pub fn encrypt(&mut self, key: Option<usize>) {
        let keys = KEYS.map(|name| Key::new(name, name.repeat(16).as_bytes()).expect("32 bytes"));
        self.options.keys = Keys::new(keys.to_vec(), key.map(|key| KEYS[key])).expect("one of them");
    }

    pub fn open(&mut self) -> Result<(), OpenError> {
        let dirs = Directories { data: self.data()?, checkpoint: self.disk.directory(CHECKPOINT) };
        let environment = Arc::clone(&self.environment) as Arc<dyn Environment>;
        self.running = Some(Log::open_driven(dirs, self.options.clone(), environment)?);
        Ok(())
    }

    fn data(&self) -> Result<Arc<dyn Directory>, OpenError> {
        let lanes: Vec<_> = DATA[..self.lanes].iter().map(|name| self.disk.directory(name)).collect();
        let find = |path: &Path| Ok(self.disk.directory(path.file_name().expect("of a directory")));
        striped::open(&lanes, UNIT, &*self.environment, &find).map_err(|error| match error {
            LanesError::Io { path, source } => OpenError::Io { action: "arrange", path, source },
            // A directory that a fault keeps from being opened looks like one that is not mounted: without faults it is there.
            error => OpenError::Io {
                action: "arrange",
                path: DATA[0].into(),
                source: std::io::Error::other(error.to_string()),
            },
        })
    }

    /// Ends the life. What was in flight at a kill lands before the next one has the lock.
    pub fn end(&mut self, end: End) {
        match end {
            End::Kill => self.disk.kill(),
            End::PowerCut(seed) => self.disk.power_cut(seed),
            End::PowerCutLosingAll => self.disk.power_cut_losing_all(),
        }
        CRASHES.fetch_add(1, Ordering::Relaxed);
        self.disk.land_late_writes();
        self.running = None;
        if self.compresses_in_turn {
            self.compress(self.options.compression == Compression::None);
        }
        if self.encrypts_in_turn {
            let active = self.options.keys.active().map(flumen_wal::Key::name);
            let next = active.and_then(|active| KEYS.iter().position(|name| *name == active));
            let next = next.map_or(0, |last| last + 1);
            self.encrypt((next < KEYS.len()).then_some(next));
        }
    }

    pub fn is_open(&self) -> bool {
        self.running.is_some()
    }

    pub fn log(&self) -> &Log {
        &self.running.as_ref().expect("open").0
    }

    pub fn cursor(&self) -> Cursor {
        self.log().cursor()
    }

    /// Lets a millisecond pass, and the log do what it can.
    pub fn turn(&mut self) {
        self.disk.advance(Duration::from_millis(1));
        if let Some((_, driver)) = &mut self.running {
            driver.turn();
        }
    }

    /// Whether nothing is left to do at the present time.
    pub fn settle(&mut self) -> bool {
        self.running.as_mut().expect("open").1.settle(200)
    }

    /// Appends a commit if there is room and the log works.
    pub fn append(&self, events: u32, payload: &Vec<u8>, progress: Vec<ProgressUpdate>) -> Option<Ticket> {
        let log = self.log();
        let room = match log.try_reserve(payload.len() as u64) {
            Ok(room) => room,
            Err(LogError::Full { .. } | LogError::Failed(_) | LogError::Closed) => return None,
            Err(error) => panic!("reserve: {error}"),
        };
        match log.append(room, Commit { events, payload, progress }) {
            Ok(ticket) => Some(ticket),
            Err(LogError::Failed(_) | LogError::Closed) => None,
            Err(error) => panic!("append: {error}"),
        }
    }

    /// Bytes on the disk.
    pub fn used(&self, capacity: u64) -> u64 {
        capacity - self.disk.directory(DATA[0]).free_bytes().expect("a new handle")
    }
}
