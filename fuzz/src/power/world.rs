//! One simulated disk with one log on it, through many lives.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::{
    Commit, Cursor, Directories, Driver, Environment, Log, LogError, OpenError, Options, ProgressOp,
    ProgressUpdate, Space, Take, Ticket,
};

use super::book::{Book, EVENTS_MAX};
use crate::random::{Random, mix};
use crate::report::Report;
use crate::violation::{Broken, Kind};

const DATA: &str = "data";
const CHECKPOINT: &str = "checkpoint";

/// More events than this are drained, so that looking at all of them stays cheap.
const BACKLOG_MAX: u64 = 300;
/// Turns of a millisecond within which a log on a disk without faults must do what it was asked.
const TURNS_MAX: usize = 1000;
/// Starts that may be ended one after the other, before one is let through.
const STARTS_MAX: usize = 3;

/// Time and chance of the simulation.
#[derive(Debug, Default)]
struct Simulated {
    micros: AtomicU64,
    random: AtomicU64,
}

impl Environment for Simulated {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        mix(self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}

/// Small, so that a few dozen operations cross segments, spill the cache and span frames.
fn options() -> Options {
    Options {
        segment_bytes: 128 << 10,
        frame_bytes: 16 << 10,
        staged_bytes_max: 256 << 10,
        cache_bytes: 32 << 10,
        eager_bytes: 8 << 10,
        commit_bytes_max: 1 << 20,
        ..Options::default()
    }
}

struct Running {
    log: Log,
    driver: Driver,
}

/// The disk, the log and the book.
pub struct World {
    random: Random,
    disk: FaultyDisk,
    environment: Arc<Simulated>,
    running: Running,
    book: Book,
    tickets: Vec<(usize, Ticket)>,
    takes: Vec<Take>,
    /// What was done, for the report; its `cycles` is the cycle that is going on.
    pub report: Report,
    /// How long each start took.
    pub starts: Vec<Duration>,
}

impl World {
    /// A new disk with a new log.
    pub fn new(seed: u64) -> Result<Self, Broken> {
        let environment = Arc::new(Simulated::default());
        environment.random.store(seed, Ordering::Relaxed);
        let disk = FaultyDisk::new(seed);
        let running = open(&disk, &environment).map_err(|error| refused(&error))?;
        Ok(Self {
            random: Random::new(seed),
            disk,
            environment,
            running,
            book: Book::default(),
            tickets: Vec::new(),
            takes: Vec::new(),
            report: Report::default(),
            starts: Vec::new(),
        })
    }

    /// Works, ends at a random moment, starts again, and compares.
    pub fn cycle(&mut self) -> Result<(), Broken> {
        self.report.cycles += 1;
        // Most lives end within a disk operation, the others between two of ours.
        if !self.random.one_in(5) {
            let after = self.random.below(60);
            self.disk.crash_at(self.disk.operations() + after);
        }
        for _ in 0..4 + self.random.below(24) {
            self.act()?;
            if self.disk.crashed() {
                break;
            }
        }
        self.crash();
        self.restart()?;
        self.look()?;
        self.fresh_event()?;
        self.drain()
    }

    /// All that is left is delivered.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.look()?;
        while let Some(take) = self.take(1000)? {
            self.release(&take);
        }
        self.rest()?;
        self.crash();
        self.restart()?;
        self.look()
    }

    fn act(&mut self) -> Result<(), Broken> {
        match self.random.below(100) {
            0..35 => self.append(),
            35..65 => {
                (0..1 + self.random.below(6)).for_each(|_| self.turn());
                Ok(())
            }
            65..80 => {
                let events = 1 + self.random.below(40) as usize;
                let take = self.take(events)?;
                self.takes.extend(take);
                Ok(())
            }
            80..95 if !self.takes.is_empty() => {
                let take = self.pick_take();
                self.release(&take);
                Ok(())
            }
            95..98 if !self.takes.is_empty() => {
                let take = self.pick_take();
                self.cursor().rollback(take.first_event, take.events);
                Ok(())
            }
            98.. => self.rest(),
            _ => Ok(()),
        }
    }

    fn pick_take(&mut self) -> Take {
        let at = self.random.below(self.takes.len() as u64) as usize;
        self.takes.swap_remove(at)
    }

    fn cursor(&self) -> Cursor {
        self.running.log.cursor()
    }

    fn append(&mut self) -> Result<(), Broken> {
        let events = 1 + self.random.below(8).min(self.random.below(u64::from(EVENTS_MAX))) as u32;
        let bytes = match self.random.below(40) {
            // Spans several frames, and with luck segments.
            0 => 40_000 + self.random.below(120_000),
            1..8 => self.random.below(12_000),
            _ => self.random.below(600),
        };
        self.append_commit(events, bytes as usize).map(drop)
    }

    /// Appends a commit; its number, or `None` if there is no room now.
    fn append_commit(&mut self, events: u32, bytes: usize) -> Result<Option<usize>, Broken> {
        let payload = self.book.payload(bytes);
        let log = &self.running.log;
        let id = self.book.len();
        let op = ProgressOp::Set { generation: 1, from: id as u64, to: id as u64, rest: Bytes::new() };
        let progress = vec![ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "k".into(), op }];
        let appended = log
            .try_reserve(payload.len() as u64)
            .and_then(|room| log.append(room, Commit { events, payload: &payload, progress }));
        match appended {
            Ok(ticket) => {
                self.tickets.push((self.book.append(events, bytes), ticket));
                Ok(Some(id))
            }
            Err(LogError::Full { .. }) => Ok(None),
            Err(_) if self.disk.crashed() => Ok(None),
            Err(error) => Err(Broken::new(Kind::Failed, format!("an append is refused: {error}"))),
        }
    }

    fn take(&mut self, events: usize) -> Result<Option<Take>, Broken> {
        match self.cursor().try_take(events, 50_000) {
            Ok(take) => Ok(take),
            Err(_) if self.disk.crashed() => Ok(None),
            Err(error) => Err(Broken::new(Kind::Lost, format!("events cannot be read: {error}"))),
        }
    }

    fn release(&mut self, take: &Take) {
        for piece in &take.pieces {
            self.book.release(&piece.payload, piece.skip..piece.skip + piece.events);
        }
        self.cursor().release(take.first_event, take.events, vec![]);
    }

    fn turn(&mut self) {
        self.environment.micros.fetch_add(1000, Ordering::Relaxed);
        self.running.driver.turn();
        self.settle_tickets();
    }

    fn settle_tickets(&mut self) {
        let (book, report) = (&mut self.book, &mut self.report);
        self.tickets.retain(|(id, ticket)| match ticket.try_wait() {
            None => true,
            Some(confirmed) => {
                if confirmed.is_ok() {
                    report.acked += u64::from(book.ack(*id));
                }
                false
            }
        });
    }

    /// Lets time pass until the log rests: then releases are for good.
    fn rest(&mut self) -> Result<(), Broken> {
        // Past the delays after which releases and claims go out by themselves.
        (0..50).for_each(|_| self.turn());
        let rests = self.running.driver.settle(TURNS_MAX);
        self.settle_tickets();
        if self.disk.crashed() {
            return Ok(());
        }
        if !rests || !self.tickets.is_empty() {
            let what = format!("the log does not come to rest: {:?}", self.running.log.stats());
            return Err(Broken::new(Kind::Stuck, what));
        }
        self.book.rest();
        Ok(())
    }

    /// Ends the life: one in four is killed, the others lose power.
    fn crash(&mut self) {
        if self.random.one_in(4) {
            self.disk.kill();
        } else {
            self.disk.power_cut(self.random.next());
        }
        // A ticket that was resolved before was an ack that somebody may have seen.
        self.settle_tickets();
        self.tickets.clear();
        self.takes.clear();
    }

    fn restart(&mut self) -> Result<(), Broken> {
        self.disk.clear_faults();
        for starts in 0.. {
            if starts < STARTS_MAX && self.random.one_in(4) {
                let after = self.random.below(80);
                self.disk.crash_at(self.disk.operations() + after);
            }
            let begun = Instant::now();
            let opened = open(&self.disk, &self.environment);
            if self.disk.crashed() {
                // The log of a life that is over must be gone before the next begins, or it would still write.
                drop(opened);
                self.report.during_start += 1;
                self.crash();
                self.disk.clear_faults();
                continue;
            }
            self.running = opened.map_err(|error| refused(&error))?;
            self.starts.push(begun.elapsed());
            break;
        }
        self.disk.clear_faults();
        let damage = &self.running.log.recovery().damage;
        if !damage.is_empty() {
            let what = format!("damage is reported on a disk without any: {damage:?}");
            return Err(Broken::new(Kind::Lost, what));
        }
        Ok(())
    }

    /// Compares all that the log holds with the book, and puts it back.
    fn look(&mut self) -> Result<(), Broken> {
        let cursor = self.cursor();
        self.takes.drain(..).for_each(|take| cursor.rollback(take.first_event, take.events));
        let mut takes = Vec::new();
        let mut look = self.book.look();
        loop {
            let take = cursor.try_take(1000, 1 << 20).map_err(|error| {
                Broken::new(Kind::Lost, format!("events cannot be read after a start: {error}"))
            })?;
            let Some(take) = take else { break };
            for piece in &take.pieces {
                look.piece(&piece.payload, piece.skip..piece.skip + piece.events)?;
            }
            takes.push(take);
        }
        let last = look.last();
        let counts = look.end();
        let (counts, broken) = match counts {
            Ok(counts) => (counts, Ok(())),
            Err((counts, broken)) => (counts, Err(broken)),
        };
        self.report.recovered += counts.recovered;
        self.report.repeated += counts.repeated;
        self.report.lost += counts.lost;
        takes.iter().for_each(|take| cursor.rollback(take.first_event, take.events));
        broken.and_then(|()| self.look_at_progress(last))
    }

    /// The source's progress goes with its events: not behind the acked ones, nor behind those that are there.
    fn look_at_progress(&self, last: Option<usize>) -> Result<(), Broken> {
        let keys = self.running.log.progress(Space::Source, "r1");
        let to = keys.and_then(|keys| Some(keys.get("k")?.to as usize));
        let acked = self.book.last_acked();
        if to < acked.max(last) || to.is_some_and(|to| to >= self.book.len()) {
            let what = format!("progress says commit {to:?}; acked up to {acked:?}, there up to {last:?}");
            let kind = if to < acked.max(last) { Kind::Repeated } else { Kind::NeverWritten };
            return Err(Broken::new(kind, what));
        }
        Ok(())
    }

    /// An event that is appended now must be acked.
    fn fresh_event(&mut self) -> Result<(), Broken> {
        let appended = self.append_commit(1, 100)?;
        for _ in 0..TURNS_MAX {
            if appended.is_some() && self.tickets.is_empty() {
                break;
            }
            self.turn();
        }
        if appended.is_none() || self.book.last_acked() != appended {
            let what = format!("no fresh event flows after a start: {:?}", self.running.log.stats());
            return Err(Broken::new(Kind::Stuck, what));
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Broken> {
        let stats = self.running.log.stats();
        let mut backlog = stats.appended_event - stats.first_event;
        while backlog > BACKLOG_MAX {
            let Some(take) = self.take(100)? else { break };
            backlog -= take.events;
            self.release(&take);
        }
        Ok(())
    }

    /// Writes the disk's files, as a reader sees them, and its last operations into `directory`.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        let steps: Vec<_> = self.disk.recent().iter().map(|step| format!("{step:?}\n")).collect();
        std::fs::write(directory.join("operations"), steps.concat())?;
        // The life that is over would refuse to list anything.
        self.disk.kill();
        for name in [DATA, CHECKPOINT] {
            let target = directory.join(name);
            std::fs::create_dir_all(&target)?;
            for entry in self.disk.directory(name).list()? {
                std::fs::write(
                    target.join(&entry.name),
                    self.disk.contents(Path::new(name).join(&entry.name))?,
                )?;
            }
        }
        Ok(())
    }
}

fn open(disk: &FaultyDisk, environment: &Arc<Simulated>) -> Result<Running, OpenError> {
    let directories = Directories { data: disk.directory(DATA), checkpoint: disk.directory(CHECKPOINT) };
    let (log, driver) = Log::open_driven(directories, options(), Arc::clone(environment) as _)?;
    Ok(Running { log, driver })
}

fn refused(error: &OpenError) -> Broken {
    Broken::new(Kind::Failed, format!("a start is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worked(seed: u64) -> World {
        let mut world = World::new(seed).unwrap();
        for _ in 0..5 {
            world.cycle().unwrap();
        }
        world
    }

    /// The disk's segments.
    fn segments(world: &World) -> Vec<String> {
        let entries = world.disk.directory(DATA).list().unwrap();
        let paths = entries.into_iter().map(|entry| format!("{DATA}/{}", entry.name));
        paths.filter(|path| path.contains("segment-")).collect()
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let traces = || (worked(3).disk.trace(), worked(3).report.acked);
        assert_eq!(traces(), traces());
        assert_ne!(worked(3).disk.trace(), worked(4).disk.trace());
    }

    #[test]
    fn bytes_that_rot_on_the_disk_are_a_violation() {
        let mut world = worked(1);
        // No housekeeping of a later life may sweep the events' segment away.
        world.append_commit(5, 3000).unwrap();
        world.rest().unwrap();
        let payload = super::super::book::Book::default().payload(0);
        assert_eq!(payload.len(), 8);
        world.disk.kill();
        for path in segments(&world) {
            let bytes = world.disk.contents(&path).unwrap();
            for at in (8192 + 70..bytes.len() as u64).step_by(4096) {
                world.disk.flip_bit(&path, at, 3).unwrap();
            }
        }
        world.crash();
        assert!(world.restart().and_then(|()| world.look()).is_err());
    }

    #[test]
    fn a_disk_that_forgets_what_it_synced_is_a_violation() {
        let mut world = worked(2);
        world.append_commit(5, 3000).unwrap();
        world.rest().unwrap();
        world.disk.kill();
        let data = world.disk.directory(DATA);
        for entry in data.list().unwrap().iter().filter(|entry| entry.name.contains("segment-")) {
            data.remove(&entry.name).unwrap();
        }
        data.sync().unwrap();
        world.crash();
        assert!(world.restart().and_then(|()| world.look()).is_err());
    }

    #[test]
    fn an_ack_that_was_never_given_is_a_violation_when_its_events_are_missing() {
        let mut world = worked(5);
        let id = world.append_commit(2, 50).unwrap().unwrap();
        // As a log would that acks before it writes.
        world.book.ack(id);
        world.disk.power_cut_losing_all();
        world.crash();
        let broken = world.restart().and_then(|()| world.look()).unwrap_err();
        assert_eq!(broken.kind, Kind::Lost, "{broken}");
        assert_eq!(world.report.lost, 2);
    }
}
