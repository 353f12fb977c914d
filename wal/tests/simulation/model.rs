//! What a case does, to the log and to the book.

use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::{LogError, OpenError, ProgressOp, ProgressUpdate, ReadError, Space, Take, Ticket};

use crate::book::{Book, Seen};
use crate::world::{CHECKPOINT, DATA, End, World, acks_before_the_sync};

#[derive(Clone, Debug)]
pub enum Action {
    Append {
        events: u32,
        bytes: usize,
    },
    /// A source's progress without a commit.
    SourceProgress,
    /// A sink's progress without a release.
    SinkProgress,
    Turn(u8),
    /// So many milliseconds.
    Wait(u64),
    Take(usize),
    /// Of any take, not only the oldest.
    Release(usize),
    Rollback(usize),
    /// Takes and releases everything, so that the log gives its segments back.
    Trim,
    /// Lets time pass until the log rests: what was released by then is released for good.
    Quiesce,
    /// Closes the log, and opens it again.
    Reopen,
    /// The same; from there on frames are compressed, or are not.
    Compress(bool),
    /// The same; from there on frames are encrypted by that key, or are not.
    Encrypt(Option<usize>),
    Kill,
    PowerCut(u64),
    /// The life ends within one of the next operations, wherever that is; by a power cut of this seed, or a kill.
    CrashAfter {
        after: u64,
        cut: Option<u64>,
    },
    Fail {
        after: u64,
        kind: u8,
    },
    /// The next sync fails, of whatever it is.
    FailSync,
    /// From now on every operation takes up to so many milliseconds.
    Slow(u64),
    /// A bit of a file is wrong, while the log runs or for a start (on a copy of the disk): nothing wrong is given out, and
    /// nothing is lost without a word.
    FlipBit {
        place: u64,
        restart: bool,
    },
    /// No more than so many bytes beyond what is there, or even less.
    FillDisk(i64),
    FreeDisk,
    /// So many data directories from the next life on, which begins now; unless the disk is full.
    Lanes(usize),
}

/// The longest pause between attempts to reopen a failed log, and some time to work.
pub const BACK_OFF_AND_MORE: Duration = Duration::from_secs(15);

/// Starts that may end in a planned fault before one is let through.
const STARTS_MAX: usize = 3;

pub struct Simulation {
    world: World,
    book: Book,
    tickets: Vec<(usize, Ticket)>,
    takes: Vec<Take>,
    full: bool,
    /// Something was planned to fail.
    faults: bool,
    /// How many lives ended.
    life: u64,
    /// How the life ends at a planned crash.
    planned_end: End,
    acks_before_the_sync: bool,
    /// Faults that are planned stay planned when a life ends before them.
    keeps_planned: bool,
}

fn set(space: Space, owner: &str, to: u64) -> Vec<ProgressUpdate> {
    let op = ProgressOp::Set { generation: 1, from: to, to, rest: bytes::Bytes::new() };
    vec![ProgressUpdate { space, owner: owner.into(), key: "k".into(), op }]
}

impl Simulation {
    pub fn new(seed: u64, lanes: usize) -> Self {
        let mut simulation = Self::with_faults(seed, lanes, |_, _| ());
        simulation.faults = false;
        simulation
    }

    /// A simulation on a disk whose faults are planned before the log is first opened.
    pub fn with_faults(seed: u64, lanes: usize, plan: impl FnOnce(&mut Self, &FaultyDisk)) -> Self {
        let mut simulation = Self {
            world: World::new(seed, lanes),
            book: Book::default(),
            tickets: Vec::new(),
            takes: Vec::new(),
            full: false,
            faults: false,
            life: 0,
            planned_end: End::Kill,
            acks_before_the_sync: acks_before_the_sync(seed),
            keeps_planned: false,
        };
        let disk = simulation.world.disk.clone();
        plan(&mut simulation, &disk);
        simulation.faults = true;
        simulation.open();
        simulation
    }

    /// The first life compresses or does not, and each one does what the one before did not.
    pub fn compress_in_turn(&mut self, first: bool) {
        self.world.compress(first);
        self.world.compresses_in_turn = true;
    }

    /// The first life encrypts by this key or not at all, and those after it by the others in turn.
    pub fn encrypt_in_turn(&mut self, first: Option<usize>) {
        self.world.encrypt(first);
        self.world.encrypts_in_turn = true;
    }

    /// What is planned for an operation is planned for it in whatever life it comes.
    pub fn keep_planned_faults(&mut self) {
        self.keeps_planned = true;
    }

    /// A crash that is planned is a power cut.
    pub fn end_by_power_cut(&mut self, seed: u64) {
        self.planned_end = End::PowerCut(seed);
    }

    pub fn disk(&self) -> &FaultyDisk {
        &self.world.disk
    }

    pub fn trace(&self) -> u64 {
        self.world.disk.trace()
    }

    /// Begins the next life, whatever faults are still planned, and compares what is there with the book.
    fn open(&mut self) {
        for _ in 0..STARTS_MAX {
            match self.world.open() {
                Ok(()) => break,
                // A fault that was planned for a later operation met the start: the process would be started again.
                Err(_) if self.world.disk.crashed() => self.end(self.planned_end),
                Err(OpenError::Io { .. } | OpenError::Format { .. }) => self.end(End::Kill),
                Err(error) => panic!("open: {error}"),
            }
            self.world.disk.clear_faults();
        }
        if !self.world.is_open() {
            self.world.disk.clear_faults();
            self.world.open().unwrap_or_else(|error| panic!("open without faults: {error}"));
        }
        let recovery = self.world.log().recovery();
        assert!(recovery.damage.is_empty(), "no bit is wrong: {recovery:?}");
        self.check();
    }

    /// Takes everything, and gives it back. With the error that ended it.
    fn look(world: &World, book: &Book) -> (Seen, Option<ReadError>) {
        let cursor = world.cursor();
        let mut look = book.look();
        let mut takes = Vec::new();
        let error = loop {
            match cursor.try_take(17, 100_000) {
                Ok(None) => break None,
                Err(error) => break Some(error),
                Ok(Some(take)) => {
                    for piece in &take.pieces {
                        look.piece(&piece.payload, piece.skip..piece.skip + piece.events);
                    }
                    takes.push(take);
                }
            }
        };
        takes.iter().for_each(|take| cursor.rollback(take.first_event, take.events));
        (look.end(), error)
    }

    fn check(&mut self) {
        let (seen, error) = Self::look(&self.world, &self.book);
        match error {
            None => {}
            // A planned fault met the look: the log, or this read, will work again later.
            Some(ReadError::Failed(_) | ReadError::Io { .. }) => return self.book.not_judged(),
            Some(error) => panic!("take: {error}"),
        }
        let stands = |space, owner| Some(self.world.log().progress(space, owner)?.get("k")?.to);
        let source = stands(Space::Source, "r1").map(|to| to as usize);
        self.book.judge(&seen, source, stands(Space::Sink, "k1"));
    }

    fn settle_tickets(&mut self) {
        let book = &mut self.book;
        self.tickets.retain(|(id, ticket)| {
            let resolved = ticket.try_wait();
            if let Some(result) = &resolved {
                book.resolve(*id, result.is_ok());
            }
            resolved.is_none()
        });
        let stats = self.world.is_open().then(|| self.world.log().stats());
        if stats.is_some_and(|stats| stats.unsynced_bytes == 0 && stats.failure.is_none()) {
            self.book.synced();
        }
    }

    pub fn turn(&mut self) {
        self.world.turn();
        self.settle_tickets();
        self.restart_if_crashed();
    }

    fn restart_if_crashed(&mut self) {
        if self.world.disk.crashed() {
            self.restart(self.planned_end);
        }
    }

    /// Ends the life, and begins another one.
    fn restart(&mut self, end: End) {
        // Tickets that resolved before were acks that somebody may have seen.
        self.settle_tickets();
        self.tickets.clear();
        self.takes.clear();
        self.life += 1;
        let reached = self.world.disk.crashed();
        self.end(end);
        if reached || !self.keeps_planned {
            self.world.disk.clear_faults();
        }
        self.open();
    }

    fn end(&mut self, end: End) {
        self.world.end(end);
        if self.acks_before_the_sync && !matches!(end, End::Kill) {
            self.book.power_cut();
        }
    }

    pub fn act(&mut self, action: &Action) {
        let disk = &self.world.disk;
        match *action {
            Action::Append { events, bytes } => drop(self.append(events, bytes)),
            Action::SourceProgress => self.source_progress(),
            Action::SinkProgress => self.sink_progress(),
            Action::Wait(millis) => {
                self.world.disk.advance(Duration::from_millis(millis));
                (0..6).for_each(|_| self.turn());
            }
            Action::Turn(turns) => (0..turns).for_each(|_| self.turn()),
            Action::Take(events) => drop(self.take(events)),
            Action::Release(i) if !self.takes.is_empty() => {
                let take = self.takes.swap_remove(i % self.takes.len());
                self.release(&take);
            }
            Action::Rollback(i) if !self.takes.is_empty() => {
                let take = self.takes.swap_remove(i % self.takes.len());
                self.world.cursor().rollback(take.first_event, take.events);
            }
            Action::Release(_) | Action::Rollback(_) => {}
            Action::Trim => {
                while self.take(100) {}
                for take in std::mem::take(&mut self.takes) {
                    self.release(&take);
                }
                self.quiesce();
            }
            Action::Quiesce => drop(self.quiesce()),
            Action::Reopen | Action::Compress(_) | Action::Encrypt(_) => {
                match *action {
                    Action::Compress(on) => self.world.compress(on),
                    Action::Encrypt(key) => self.world.encrypt(key),
                    _ => {}
                }
                self.world.log().begin_close();
                (0..200).for_each(|_| self.turn());
                self.restart(End::Kill);
            }
            Action::Kill => self.restart(End::Kill),
            Action::PowerCut(seed) => self.restart(End::PowerCut(seed)),
            Action::CrashAfter { after, cut } => {
                self.planned_end = cut.map_or(End::Kill, End::PowerCut);
                disk.crash_at(disk.operations() + after);
            }
            Action::Fail { after, kind } => {
                self.faults = true;
                let fault = [Fault::Io, Fault::NoSpace, Fault::Short][usize::from(kind % 3)];
                disk.fail_at(disk.operations() + after, fault);
            }
            Action::FailSync => {
                self.faults = true;
                disk.fail_next("sync", Fault::Io);
            }
            Action::Slow(millis) => disk.set_latency(Duration::from_millis(millis)),
            Action::FlipBit { place, restart: false } => self.flip_a_bit_while_running(place),
            Action::FlipBit { place, restart: true } => self.flip_a_bit_before_a_start(place),
            Action::FillDisk(more) if !self.full => {
                (self.full, self.faults) = (true, true);
                disk.set_capacity(self.world.used(u64::MAX).saturating_add_signed(more));
            }
            Action::FillDisk(_) => {}
            Action::FreeDisk => self.free_disk(),
            Action::Lanes(lanes) if !self.full => {
                self.world.lanes = lanes;
                self.restart(End::Kill);
            }
            Action::Lanes(_) => {}
        }
        self.restart_if_crashed();
    }

    fn free_disk(&mut self) {
        self.full = false;
        self.world.disk.set_capacity(u64::MAX);
    }

    fn append(&mut self, events: u32, bytes: usize) -> Option<usize> {
        let payload = self.book.payload(bytes);
        let progress = set(Space::Source, "r1", self.book.len() as u64);
        let ticket = self.world.append(events, &payload, progress)?;
        let id = self.book.append(events, bytes);
        self.tickets.push((id, ticket));
        Some(id)
    }

    fn source_progress(&mut self) {
        match self.world.log().record(set(Space::Source, "r1", self.book.len() as u64)) {
            Ok(ticket) => self.tickets.push((self.book.append(0, 0), ticket)),
            Err(LogError::Failed(_) | LogError::Closed | LogError::Full { .. }) => {}
            Err(error) => panic!("record: {error}"),
        }
    }

    fn sink_progress(&mut self) {
        let number = self.book.begin_release();
        match self.world.log().record(set(Space::Sink, "k1", number)) {
            Ok(_) => self.book.heard(number),
            Err(LogError::Failed(_) | LogError::Closed) => {}
            Err(error) => panic!("record: {error}"),
        }
    }

    fn take(&mut self, events: usize) -> bool {
        let Ok(Some(take)) = self.world.cursor().try_take(events, 20_000) else { return false };
        take.pieces.iter().for_each(|piece| self.book.take(&piece.payload));
        self.takes.push(take);
        true
    }

    fn release(&mut self, take: &Take) {
        let number = self.book.begin_release();
        for piece in &take.pieces {
            self.book.release(&piece.payload, piece.skip..piece.skip + piece.events, number);
        }
        self.world.cursor().release(take.first_event, take.events, set(Space::Sink, "k1", number));
        self.book.heard(number);
    }

    /// Lets time pass. Whether the log rests, and no life ended meanwhile.
    fn quiesce(&mut self) -> bool {
        let life = self.life;
        // Past the delays of releases, syncs and claims; after a fault also past the time until a segment is prepared again.
        let turns = match (self.faults, self.acks_before_the_sync) {
            (true, _) => 600,
            (false, true) => 250,
            (false, false) => 60,
        };
        for _ in 0..turns {
            self.turn();
        }
        let before = self.world.log().stats();
        // A failed log rests only when it was reopened; one that is full, or has no next segment, cannot write releases once
        // its last one has no room for them.
        let stuck = self.full || before.full.is_some() || before.cannot_grow.is_some();
        if before.failure.is_some() || stuck || !self.world.settle() {
            return false;
        }
        self.settle_tickets();
        let after = self.world.log().stats();
        // Writes that take their time are on their way still.
        let rests = self.life == life
            && !self.world.disk.crashed()
            && after.reopens == before.reopens
            && after.failure.is_none()
            && after.unsynced_bytes == 0
            && self.in_flight() == 0;
        if rests {
            self.book.rest();
        }
        rests
    }

    fn in_flight(&self) -> usize {
        self.world.disk.writes_in_flight()
    }

    fn flip_a_bit_while_running(&mut self, place: u64) {
        let cursor = self.world.cursor();
        self.takes.drain(..).for_each(|take| cursor.rollback(take.first_event, take.events));
        let Some((path, offset)) = self.place_of_a_bit(place) else { return };
        let bit = (place % 8) as u8;
        self.world.disk.flip_bit(&path, offset, bit).expect("the file is there");
        let (seen, error) = Self::look(&self.world, &self.book);
        self.book.judge_damaged(&seen, error.is_some());
        // Flipped back, it is as if nothing had been.
        self.world.disk.flip_bit(&path, offset, bit).expect("the file is there");
    }

    fn flip_a_bit_before_a_start(&self, place: u64) {
        let end = if place.is_multiple_of(3) { End::PowerCut(place) } else { End::Kill };
        let mut world = self.world.fork(end);
        let Some((path, offset)) = place_of_a_bit(&world, place) else { return };
        world.disk.flip_bit(&path, offset, (place % 8) as u8).expect("the file is there");
        for life in 0..2 {
            if let Err(error) = world.open() {
                // Where the log begins may be what cannot be told any more.
                let telling = path.starts_with(DATA[0]) && offset < START_OF_FRAMES;
                assert!(telling, "{path} at {offset}, life {life}: refused: {error}");
                return;
            }
            let (seen, error) = Self::look(&world, &self.book);
            let recovery = world.log().recovery();
            let reported = error.is_some() || !recovery.damage.is_empty() || recovery.missing_below.is_some();
            self.book.judge_damaged(&seen, reported);
            // Puts go on.
            if !self.full {
                let ticket = world.append(1, &self.book.payload(10), vec![]).expect("room in a fresh life");
                for _ in 0..1000 {
                    world.turn();
                }
                let acked = ticket.try_wait();
                assert!(
                    matches!(acked, Some(Ok(()))),
                    "{path} at {offset}: {acked:?}: {:?}",
                    world.log().stats()
                );
            }
            world.end(End::Kill);
            if !self.full {
                return;
            }
        }
    }

    fn place_of_a_bit(&self, place: u64) -> Option<(String, u64)> {
        place_of_a_bit(&self.world, place)
    }

    /// After all faults: within `limit` the log works, everything is there, and a fresh event flows.
    pub fn finish(&mut self, limit: Duration) {
        let takes = std::mem::take(&mut self.takes);
        takes.iter().for_each(|take| self.world.cursor().rollback(take.first_event, take.events));
        self.world.disk.clear_faults();
        self.world.disk.set_latency(Duration::ZERO);
        self.free_disk();
        let until = self.world.disk.now() + limit;
        let mut fresh = None;
        while self.world.disk.now() < until {
            // One that a failure of before still met is lost, and its source comes again.
            let flows = fresh.is_some_and(|id| self.book.is_there(id));
            if !flows && self.tickets.is_empty() {
                fresh = self.append(3, 100);
            }
            self.turn();
            if fresh.is_some_and(|id| self.book.is_there(id)) && self.tickets.is_empty() {
                break;
            }
        }
        let stats = self.world.log().stats();
        assert!(self.tickets.is_empty(), "a ticket never resolved: {stats:?}");
        assert!(fresh.is_some_and(|id| self.book.is_there(id)), "no fresh event flows: {stats:?}");
        assert!((0..20).any(|_| self.quiesce()), "no rest: {:?}", self.world.log().stats());
        self.check();
        self.restart(End::PowerCutLosingAll);
    }
}

/// Header, its copy, and a snapshot of this simulation's size.
const START_OF_FRAMES: u64 = 16 << 10;

/// Some byte of a file in use, mostly in what was written.
fn place_of_a_bit(world: &World, place: u64) -> Option<(String, u64)> {
    // The life may be over: then nobody may list any more.
    let mut files = Vec::new();
    for dir in [&DATA[..], &[CHECKPOINT]].concat() {
        let listed = world.disk.directory(dir).list().ok()?;
        files.extend(
            listed.into_iter().filter(|entry| entry.name != "lock").map(|e| format!("{dir}/{}", e.name)),
        );
    }
    let path = files.get(place as usize / 8 % files.len().max(1))?.clone();
    let bytes = world.disk.contents(&path).ok()?;
    let written: Vec<_> =
        (0u64..).zip(bytes.chunks(512)).filter(|(_, s)| s.iter().any(|b| *b != 0)).collect();
    let (sector, _) = written.get(place as usize / 1000 % written.len().max(1))?;
    Some((path, sector * 512 + place / 7 % 512))
}
