//! A log on a simulated disk, what was acked by it, and what damage does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::format::checkpoint::Checkpoint;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::storage::{AlignedBuf, striped};
use flumen_wal::tools::{self, Line, Repair};
use flumen_wal::{
    Commit, DamagePolicy, Directories, Driver, Environment, Keys, Log, OpenError, Options, Quarantine,
    ReadError,
};
use proptest::sample::Index;

const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
/// Of files over several directories: so small that every frame of two blocks lies in both.
const UNIT: u64 = BLOCK;
const LANES: [&str; 2] = ["data", "data-1"];
const CHECKPOINTS: [&str; 2] = ["checkpoint/checkpoint-0", "checkpoint/checkpoint-1"];

#[derive(Debug, Default)]
pub struct Simulated {
    micros: AtomicU64,
    random: AtomicU64,
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
        segment_bytes: 64 << 10,
        frame_bytes: 16 << 10,
        eager_bytes: 4 << 10,
        // What is damaged on the disk shall not be read from memory.
        cache_bytes: 0,
        lock_wait: Duration::ZERO,
        ..Options::default()
    }
}

/// The quarantine of the disk's present life.
pub fn quarantine(disk: &FaultyDisk) -> Quarantine {
    let disk = disk.clone();
    Quarantine::new(move || Ok(disk.directory("data/quarantine")))
}

/// What happens to a log before it is damaged.
#[derive(Clone, Debug)]
pub enum Event {
    /// One event of so many bytes.
    Append(usize),
    /// The log rests: its last frame is vouched for.
    Rest,
    /// So many events are taken and released.
    Deliver(usize),
    Close,
    Kill,
}

/// What happens to its files.
#[derive(Clone, Debug)]
pub enum Damage {
    Flip {
        file: Index,
        at: Index,
        bit: u8,
    },
    Zero {
        file: Index,
        at: Index,
        sectors: u64,
    },
    /// A bit in one of the first blocks of a segment: a copy of the header, or the first frame.
    Header {
        file: Index,
        block: u64,
    },
    Unreadable {
        file: Index,
        at: Index,
        blocks: u64,
    },
    Cut {
        file: Index,
        at: Index,
    },
    Remove {
        file: Index,
    },
}

/// A frame as a dump shows it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub path: String,
    pub offset: u64,
    pub len: u64,
    pub number: u64,
    pub first_event: u64,
    pub events: u64,
    claims: u64,
    span: bool,
    more: bool,
}

/// What the files held before they were damaged.
pub struct Inventory {
    files: BTreeMap<String, Vec<u8>>,
    frames: Vec<Frame>,
}

pub struct World {
    pub disk: FaultyDisk,
    /// How many data directories the log has.
    lanes: usize,
    pub environment: Arc<Simulated>,
    running: Option<(Log, Driver)>,
    /// Each event's bytes; all of them were acked.
    acked: Vec<usize>,
    /// Events below this one were released, perhaps for good.
    released: u64,
    /// What the next opening is told to do about damage.
    pub damage_policy: DamagePolicy,
    /// Bytes that cannot be read.
    unreadable: BTreeMap<String, Vec<(u64, u64)>>,
}

fn payload(event: u64, bytes: usize) -> Vec<u8> {
    let mut payload = event.to_le_bytes().to_vec();
    payload.extend((0..bytes).map(|i| (i as u8).wrapping_mul(7) ^ event as u8));
    payload
}

impl World {
    /// A closed log with so many events of two blocks, a frame each.
    pub fn with_events(events: usize) -> Self {
        Self::with_seed(1, events)
    }

    pub fn with_seed(seed: u64, events: usize) -> Self {
        Self::after(seed, &vec![Event::Append(5000); events])
    }

    /// A closed log to which this happened.
    pub fn after(seed: u64, events: &[Event]) -> Self {
        Self::over(1, seed, events)
    }

    /// The same over so many data directories.
    pub fn over(lanes: usize, seed: u64, events: &[Event]) -> Self {
        let environment = Arc::new(Simulated::default());
        environment.random.store(seed, Ordering::Relaxed);
        let mut world = Self {
            disk: FaultyDisk::new(seed),
            lanes,
            environment,
            running: None,
            acked: Vec::new(),
            released: 0,
            damage_policy: DamagePolicy::Halt,
            unreadable: BTreeMap::new(),
        };
        world.open().unwrap();
        for event in events {
            match event {
                Event::Append(bytes) => world.append(*bytes),
                Event::Rest => world.rest(),
                Event::Deliver(events) => world.deliver(*events),
                Event::Close => {
                    world.close();
                    world.open().unwrap();
                }
                Event::Kill => {
                    world.kill();
                    world.open().unwrap();
                }
            }
        }
        world.close();
        world
    }

    /// The same log on a disk of its own.
    pub fn fork(&self) -> Self {
        let environment = Arc::new(Simulated::default());
        environment.random.store(self.environment.random.load(Ordering::Relaxed), Ordering::Relaxed);
        let disk = self.disk.fork();
        disk.kill();
        Self {
            disk,
            lanes: self.lanes,
            environment,
            running: None,
            acked: self.acked.clone(),
            released: self.released,
            damage_policy: DamagePolicy::Halt,
            unreadable: self.unreadable.clone(),
        }
    }

    /// The directories of the present life, on a disk that lets itself be read.
    pub fn dirs(&self) -> Directories {
        self.try_dirs().unwrap()
    }

    fn try_dirs(&self) -> Result<Directories, OpenError> {
        let checkpoint = self.disk.directory("checkpoint");
        if self.lanes == 1 {
            return Ok(Directories { data: self.disk.directory("data"), checkpoint });
        }
        let lanes: Vec<_> = LANES[..self.lanes].iter().map(|name| self.disk.directory(*name)).collect();
        let find = |path: &Path| Ok(self.disk.directory(path.file_name().unwrap()));
        let data = striped::open(&lanes, UNIT, &*self.environment, &find).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            OpenError::Io { action: "arrange", path: "data".into(), source }
        })?;
        Ok(Directories { data, checkpoint })
    }

    fn with_block(&self, path: &str, offset: u64, change: impl FnOnce(&mut u8)) {
        let name = path.strip_prefix("data/").unwrap();
        let file = self.dirs().data.open(name).unwrap();
        let mut block = AlignedBuf::zeroed(BLOCK as usize);
        let at = offset / BLOCK * BLOCK;
        file.read_at(&mut block, at).unwrap();
        change(&mut block[(offset - at) as usize]);
        file.write_durable_at(&block, at).unwrap();
    }

    /// Inverts a bit of a segment, in whichever directory it lies.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) {
        self.with_block(path, offset, |byte| *byte ^= 1 << bit);
    }

    /// Fills whole blocks of a segment, in whichever directories they lie.
    pub fn fill(&self, path: &str, len: u64, with: u8) {
        let file = self.dirs().data.open(path.strip_prefix("data/").unwrap()).unwrap();
        let mut blocks = AlignedBuf::zeroed(len as usize);
        blocks.fill(with);
        file.write_durable_at(&blocks, 0).unwrap();
    }

    /// How long a segment is.
    pub fn len_of(&self, path: &str) -> u64 {
        self.dirs().data.open(path.strip_prefix("data/").unwrap()).unwrap().len().unwrap()
    }

    /// Removes a segment.
    pub fn remove_segment(&self, name: &str) {
        let data = self.dirs().data;
        data.remove(name).unwrap();
        data.sync().unwrap();
    }

    /// Bytes of a frame as they stand in its segment.
    pub fn bytes_of(&self, frame: &Frame) -> Vec<u8> {
        let file = self.dirs().data.open(frame.path.strip_prefix("data/").unwrap()).unwrap();
        let mut bytes = AlignedBuf::zeroed(frame.len as usize);
        file.read_at(&mut bytes, frame.offset).unwrap();
        bytes.to_vec()
    }

    /// A sector that is written again is sound again, which the simulated ones are not by themselves.
    fn heal_what_was_used_again(&self) {
        if self.unreadable.is_empty() {
            return;
        }
        for path in self.files().keys().filter(|path| !self.unreadable.contains_key(*path)) {
            self.disk.heal(path).unwrap();
        }
    }

    pub fn open(&mut self) -> Result<(), OpenError> {
        self.heal_what_was_used_again();
        self.running = Some(Log::open_driven(
            self.try_dirs()?,
            Options { damage: self.damage_policy.clone(), ..options() },
            self.environment.clone(),
        )?);
        Ok(())
    }

    pub fn log(&self) -> &Log {
        &self.running.as_ref().unwrap().0
    }

    fn turn(&mut self) {
        self.running.as_mut().unwrap().1.turn();
    }

    pub fn append(&mut self, bytes: usize) {
        let payload = payload(self.acked.len() as u64, bytes);
        let room = self.log().try_reserve(payload.len() as u64).unwrap();
        let commit = Commit { events: 1, payload: &payload, progress: vec![] };
        let ticket = self.log().append(room, commit).unwrap();
        for _ in 0..1000 {
            if let Some(acked) = ticket.try_wait() {
                acked.unwrap();
                self.acked.push(bytes);
                return;
            }
            self.turn();
        }
        panic!("never acked: {:?}", self.log().stats());
    }

    pub fn rest(&mut self) {
        for _ in 0..100 {
            self.environment.micros.fetch_add(1000, Ordering::Relaxed);
            self.turn();
        }
    }

    fn deliver(&mut self, events: usize) {
        let cursor = self.log().cursor();
        if let Some(take) = cursor.try_take(events, 1 << 20).unwrap() {
            cursor.release(take.first_event, take.events, vec![]);
            self.released = self.released.max(take.first_event + take.events);
        }
    }

    pub fn kill(&mut self) {
        self.end(FaultyDisk::kill);
    }

    /// Ends the life, if one is going on.
    pub fn end(&mut self, end: impl Fn(&FaultyDisk)) {
        end(&self.disk);
        self.disk.land_late_writes();
        self.running = None;
    }

    pub fn close(&mut self) {
        self.log().begin_close();
        self.rest();
        self.kill();
    }

    pub fn examine(&self) -> Result<Repair, OpenError> {
        tools::examine(&self.dirs(), &options(), &*self.environment)
    }

    pub fn repair(&self) -> Result<Repair, OpenError> {
        self.heal_what_was_used_again();
        tools::repair(&self.try_dirs()?, &quarantine(&self.disk), &options(), &*self.environment)
    }

    /// All files but the locks.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for dir in ["data", "checkpoint", "data/quarantine"] {
            for entry in self.disk.directory(dir).list().unwrap() {
                if entry.name != "lock" {
                    let path = format!("{dir}/{}", entry.name);
                    files.insert(path.clone(), self.disk.contents(path).unwrap());
                }
            }
        }
        files
    }

    pub fn segment_names(&self) -> Vec<String> {
        let names = self.frames().into_iter().map(|frame| frame.path["data/".len()..].to_string());
        let mut names: Vec<_> = names.collect();
        names.dedup();
        names
    }

    pub fn segment_files(&self) -> usize {
        self.files().keys().filter(|path| path.starts_with("data/segment-")).count()
    }

    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        tools::dump(&self.dirs(), &mut |line| {
            if let Line::Frame { place, header, .. } = line {
                frames.push(Frame {
                    path: format!("data/{}", place.segment.file_name()),
                    offset: place.offset,
                    len: header.padded_len(BLOCK as u32),
                    number: header.frame.0,
                    first_event: header.first_event,
                    events: u64::from(header.event_count),
                    claims: header.synced_frame.0,
                    span: header.is_span(),
                    more: header.has_more(),
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

    pub fn inventory(&self) -> Inventory {
        Inventory { files: self.files(), frames: self.frames() }
    }

    pub fn remove(&self, dir: &str, name: &str) {
        let dir = self.disk.directory(dir);
        dir.remove(name).unwrap();
        dir.sync().unwrap();
    }

    pub fn fail_reads(&mut self, path: &str, at: u64, blocks: u64) {
        self.disk.fail_reads(path, at, blocks * BLOCK).unwrap();
        self.unreadable.entry(path.to_string()).or_default().push((at, at + blocks * BLOCK));
    }

    pub fn damage(&mut self, damage: &Damage) {
        let files: Vec<_> = self.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let pick = |file: &Index| file.get(&files);
        let within = |at: &Index, bytes: &[u8]| at.index(bytes.len()) as u64;
        match damage {
            Damage::Flip { file, at, bit } => {
                let (path, bytes) = pick(file);
                self.disk.flip_bit(path, within(at, bytes), *bit).unwrap();
            }
            Damage::Zero { file, at, sectors } => {
                let (path, bytes) = pick(file);
                let at = within(at, bytes) / SECTOR * SECTOR;
                let len = (sectors * SECTOR).min(bytes.len() as u64 - at);
                self.disk.overwrite(path, at, &vec![0; len as usize]).unwrap();
            }
            Damage::Header { file, block } => {
                let (path, bytes) = pick(file);
                let at = (block * BLOCK + 30).min(bytes.len() as u64 - 1);
                self.disk.flip_bit(path, at, 2).unwrap();
            }
            Damage::Unreadable { file, at, blocks } => {
                let (path, bytes) = pick(file);
                // A simulated sector stays bad when it is written again; a header could not be.
                let at = (within(at, bytes) / BLOCK).max(2) * BLOCK;
                if at < bytes.len() as u64 {
                    self.fail_reads(path, at, *blocks);
                }
            }
            Damage::Cut { file, at } => {
                let (path, bytes) = pick(file);
                let (dir, name) = path.rsplit_once('/').unwrap();
                let file = self.disk.directory(dir).open(name).unwrap();
                let len = within(at, bytes) / BLOCK * BLOCK;
                file.truncate(len).unwrap();
                file.sync().unwrap();
                // Blocks that are given back are not the ones that the file gets when it grows again.
                self.disk.heal(path).unwrap();
                for (first, end) in self.unreadable.remove(path).unwrap_or_default() {
                    let blocks = end.min(len).saturating_sub(first) / BLOCK;
                    if blocks > 0 {
                        self.fail_reads(path, first, blocks);
                    }
                }
            }
            Damage::Remove { file } => {
                let (path, _) = pick(file);
                let (dir, name) = path.rsplit_once('/').unwrap();
                self.remove(dir, name);
            }
        }
    }

    /// Numbers of all events that a take gives, whose bytes are checked.
    pub fn taken(&self) -> Vec<u64> {
        let (taken, error) = self.take_all();
        assert!(error.is_none(), "after {taken:?}: {error:?}");
        taken
    }

    /// The same up to damage, and whether there was none.
    pub fn taken_until_damage(&self) -> (Vec<u64>, bool) {
        let (taken, error) = self.take_all();
        (taken, error.is_none())
    }

    /// What ends the takes, if anything does.
    pub fn take_error(&self) -> Option<ReadError> {
        self.take_all().1
    }

    fn take_all(&self) -> (Vec<u64>, Option<ReadError>) {
        self.heal_what_was_used_again();
        let cursor = self.log().cursor();
        let mut taken = Vec::new();
        loop {
            match cursor.try_take(1, 1 << 20) {
                Ok(None) => return (taken, None),
                Err(error) => return (taken, Some(error)),
                Ok(Some(take)) => {
                    let got = &take.pieces[0].payload[..];
                    let event = u64::from_le_bytes(got[..8].try_into().unwrap());
                    let bytes = *self.acked.get(event as usize).expect("an event that was put");
                    assert!(got == payload(event, bytes), "event {event} is intact");
                    taken.push(event);
                }
            }
        }
    }

    #[track_caller]
    pub fn assert_takes(&self, events: impl IntoIterator<Item = u64>) {
        assert_eq!(self.taken(), events.into_iter().collect::<Vec<_>>());
    }

    /// The log opens, gives out events in order, each once, among them all that stand in undamaged frames, and goes on.
    pub fn assert_delivers(&mut self, due: &BTreeSet<u64>, report: &Repair) {
        self.open().unwrap();
        assert_eq!(self.log().recovery().damage, []);
        self.append(10);
        let fresh = self.acked.len() as u64 - 1;
        let taken = self.taken();
        assert!(taken.is_sorted_by(|a, b| a < b), "in order, each once: {taken:?}");
        assert_eq!(taken.last(), Some(&fresh), "a fresh event flows");
        let missing: Vec<_> = due.iter().filter(|event| !taken.contains(event)).collect();
        assert!(
            missing.is_empty(),
            "{missing:?} stand in undamaged frames; {taken:?} were taken; {report:#?}"
        );
        self.kill();
        self.open().unwrap();
        assert_eq!(self.taken(), taken, "after another start");
    }

    /// Events that were not released, in frames that were vouched for and are as they were.
    pub fn due(&self, before: &Inventory) -> BTreeSet<u64> {
        let after = self.files();
        let same = |path: &str, from: u64, to: u64| {
            let (old, new) = (&before.files[path], after.get(path));
            let bad = self
                .unreadable
                .get(path)
                .into_iter()
                .flatten()
                .any(|(first, end)| *first < to && from < *end);
            !bad && new.is_some_and(|new| {
                new.len() as u64 >= to && new[from as usize..to as usize] == old[from as usize..to as usize]
            })
        };
        let header = |path: &str| same(path, 0, BLOCK) || same(path, BLOCK, 2 * BLOCK);
        let intact =
            |frame: &Frame| header(&frame.path) && same(&frame.path, frame.offset, frame.offset + frame.len);
        let mut vouched = 0;
        for frame in before.frames.iter().filter(|frame| intact(frame)) {
            vouched = vouched.max(frame.claims);
        }
        for path in CHECKPOINTS {
            let Some(bytes) = before.files.get(path) else { continue };
            if let Ok((checkpoint, _)) = Checkpoint::decode(bytes, &Keys::default())
                && same(path, 0, bytes.len() as u64)
            {
                vouched = vouched.max(checkpoint.frame.0);
            }
        }
        let mut due = BTreeMap::new();
        let mut span = true;
        let mut previous: Option<&Frame> = None;
        for frame in &before.frames {
            let whole = intact(frame) && frame.number <= vouched;
            if !frame.span {
                span = true;
            }
            let follows = previous
                .is_some_and(|p| p.path == frame.path && p.more && p.first_event == frame.first_event);
            if frame.span && !follows {
                // Behind a gap the first frame of a span cannot be told from a later one.
                span = previous.is_none_or(|previous| previous.path != frame.path || intact(previous));
                let first = frame.offset == 2 * BLOCK;
                span &= first || previous.is_some_and(|previous| previous.path == frame.path);
            }
            span &= whole;
            previous = Some(frame);
            if frame.more {
                continue;
            }
            for event in frame.first_event..frame.first_event + frame.events {
                // Of several frames that held it the last one counts.
                due.insert(event, if frame.span { span } else { whole });
            }
        }
        due.retain(|event, due| *due && *event >= self.released);
        due.into_keys().collect()
    }
}
