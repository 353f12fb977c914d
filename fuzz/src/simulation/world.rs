//! One simulated disk with one log on it, through many lives: what all modes do with it.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::{
    Commit, Cursor, Directories, Log, LogError, OpenError, ProgressOp, ProgressUpdate, ReadError, Space,
    Stats, Take, Ticket,
};

use super::Mode;
use super::book::{Book, EVENTS_MAX, Since};
use super::frames::Frame;
use super::life::{self, Decorate, Running, Simulated, refused};
use super::pieces::DATA;
use super::setting::{Extras, Setting, Settings};
use crate::random::Random;
use crate::report::Report;
use crate::violation::{Broken, Kind};

/// More events than this are drained, so that looking at all of them stays cheap.
const BACKLOG_MAX: u64 = 300;
/// Turns of a millisecond within which a log on a disk without faults must do what it was asked.
pub const TURNS_MAX: usize = 1000;
/// Turns after which a release is in a frame that is written on a disk without faults: its delay, and as much for the writes
/// before it.
const RELEASE_TURNS: u64 = 20 + 20;
/// Turns within which a sync that is due has ended: the writes before it may end in any order.
const SYNC_TURNS: u64 = 20;
/// How often a log may be found not to rest, 50 ms apart: after a full disk it waits for a while.
const RESTS_MAX: usize = 40;
/// Starts that may be hindered one after the other, before one is let through.
const STARTS_MAX: usize = 3;

/// Some events of a commit, by the numbers that the log gave them.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Number of the first.
    pub first_event: u64,
    /// How many.
    pub events: u32,
    /// The commit.
    pub id: usize,
    /// How many events of the commit come before.
    pub skip: u32,
}

impl Numbered {
    /// Number of the event behind them.
    pub fn end(&self) -> u64 {
        self.first_event + u64::from(self.events)
    }
}

/// The disk, the log and the book.
pub struct World {
    /// What decides what is done.
    pub random: Random,
    /// The simulated disk.
    pub disk: FaultyDisk,
    environment: Arc<Simulated>,
    running: Running,
    /// What is known.
    pub book: Book,
    tickets: Vec<(usize, Ticket)>,
    takes: Vec<Take>,
    /// The disk may fail: then so may the log, and a start.
    pub may_fail: bool,
    /// Tickets that failed in this world.
    pub failed_tickets: u64,
    /// Nothing holds the log up for long: what was released some time before a crash stays released.
    pub bounds_releases: bool,
    /// The disk has no room for another number of directories than there are.
    pub lanes_stay: bool,
    settings: Settings,
    decorate: Decorate,
    /// Turns of a millisecond that the log has had.
    turns: u64,
    /// The turn since which nothing has held up a sync.
    undisturbed_since: u64,
    /// What the last look found.
    pub seen: Vec<Numbered>,
    /// All frames that were ever damaged.
    pub damaged: Vec<Frame>,
    /// Events that the process had given up when the cycle began.
    pub given_up_before: u64,
    /// Progress need not say anything of commits below this one.
    pub progress_from: usize,
    /// What the sink said last, and where the log had it when it rested.
    sink_said: u64,
    sink_holds: u64,
    /// What was done, for the report; its `cycles` is the cycle that is going on.
    pub report: Report,
    /// How long each start took.
    pub starts: Vec<Duration>,
}

impl World {
    /// A new disk with a new log, whose lives are set as the seed says.
    pub fn new(mode: Mode, seed: u64) -> Result<Self, Broken> {
        Self::with(seed, Settings::of(mode, seed), |directory| directory)
    }

    /// A new disk with a new log, whose lives are set so.
    pub fn with(seed: u64, mut settings: Settings, decorate: Decorate) -> Result<Self, Broken> {
        let environment = Arc::new(Simulated::new(seed));
        let disk = FaultyDisk::new(seed);
        let running = Running::open(&disk, &environment, settings.next(None), decorate)
            .map_err(|error| refused(&error))?;
        Ok(Self {
            random: Random::new(seed),
            disk,
            environment,
            running,
            book: Book::default(),
            tickets: Vec::new(),
            takes: Vec::new(),
            may_fail: false,
            failed_tickets: 0,
            bounds_releases: false,
            lanes_stay: false,
            settings,
            decorate,
            turns: 0,
            undisturbed_since: 0,
            seen: Vec::new(),
            damaged: Vec::new(),
            given_up_before: 0,
            progress_from: 0,
            sink_said: 0,
            sink_holds: 0,
            report: Report::default(),
            starts: Vec::new(),
        })
    }

    /// The log's figures.
    pub fn stats(&self) -> Stats {
        self.running.log.stats()
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.running.log
    }

    /// Whether commits are on their way.
    pub fn waits(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// What is done besides in this world.
    pub fn extras(&self) -> Extras {
        self.settings.extras()
    }

    /// How the life that runs is set.
    pub fn setting(&self) -> Setting {
        self.running.setting
    }

    /// Directories of the life that runs, for tools.
    pub fn directories(&self) -> Result<Directories, Broken> {
        let Setting { lanes, .. } = self.running.setting;
        let dirs = life::directories(&self.disk, &self.environment, lanes, self.decorate);
        Ok(dirs.map_err(|error| refused(&error))?.with_keys(&self.running.setting.keys()))
    }

    /// Bytes on the disk.
    pub fn used(&self) -> u64 {
        u64::MAX - self.disk.directory(DATA).free_bytes().unwrap_or(u64::MAX)
    }

    /// Does one thing or another.
    pub fn act(&mut self) -> Result<(), Broken> {
        if self.random.below(100) < 35 { self.append() } else { self.act_but_append() }
    }

    /// Does one thing or another that puts nothing in.
    pub fn act_but_append(&mut self) -> Result<(), Broken> {
        match 35 + self.random.below(65) {
            ..65 => {
                let turns = 1 + self.random.below(6);
                (0..turns).try_for_each(|_| self.turn())
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
            98.. => self.try_rest().map(drop),
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
        let bytes = match self.random.below(40) {
            // Spans several frames, and with luck segments.
            0 => 40_000 + self.random.below(120_000),
            1..8 => self.random.below(12_000),
            _ => self.random.below(600),
        };
        self.append_some(bytes as usize).map(drop)
    }

    /// Appends a commit of so many bytes and any number of events; `None` if there is no room now.
    pub fn append_some(&mut self, bytes: usize) -> Result<Option<usize>, Broken> {
        let events = 1 + self.random.below(8).min(self.random.below(u64::from(EVENTS_MAX))) as u32;
        self.append_commit(events, bytes)
    }

    /// Appends a commit; its number, or `None` if there is no room now.
    pub fn append_commit(&mut self, events: u32, bytes: usize) -> Result<Option<usize>, Broken> {
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
            Err(LogError::Failed(_)) if self.may_fail => Ok(None),
            Err(_) if self.disk.crashed() => Ok(None),
            Err(error) => Err(Broken::new(Kind::Failed, format!("an append is refused: {error}"))),
        }
    }

    /// Takes some events, if there are any.
    pub fn take(&mut self, events: usize) -> Result<Option<Take>, Broken> {
        match self.cursor().try_take(events, 50_000) {
            Ok(take) => Ok(take),
            Err(ReadError::Failed(_) | ReadError::Io { .. }) if self.may_fail => Ok(None),
            Err(_) if self.disk.crashed() => Ok(None),
            Err(error) => Err(Broken::new(Kind::Lost, format!("events cannot be read: {error}"))),
        }
    }

    /// Releases what was taken.
    pub fn release(&mut self, take: &Take) {
        for piece in &take.pieces {
            self.book.release(
                self.book.id(&piece.payload),
                piece.skip..piece.skip + piece.events,
                self.turns,
            );
        }
        let mut progress = Vec::new();
        if self.extras().sink_says {
            self.sink_said += 1;
            let op = ProgressOp::Set { generation: 1, from: 0, to: self.sink_said, rest: Bytes::new() };
            progress.push(ProgressUpdate { space: Space::Sink, owner: "k1".into(), key: "k".into(), op });
        }
        self.cursor().release(take.first_event, take.events, progress);
    }

    /// Releases events that were never taken, by their numbers: whoever runs the log gives them up.
    pub fn give_up(&self, events: Range<u64>) {
        self.cursor().release(events.start, events.end - events.start, vec![]);
    }

    /// Bytes of the log were damaged, and with them perhaps any release, and what the sink said with it.
    pub fn releases_may_be_lost(&mut self) {
        self.book.releases_may_be_lost();
        self.sink_holds = 0;
    }

    /// Lets a millisecond pass, and the log do what is due.
    pub fn turn(&mut self) -> Result<(), Broken> {
        self.turn_after(Duration::from_millis(1))
    }

    /// Lets time pass, and the log do what is due.
    pub fn turn_after(&mut self, time: Duration) -> Result<(), Broken> {
        self.environment.pass(time);
        self.running.driver.turn();
        // A process that is gone does nothing with its time.
        self.turns += u64::from(!self.disk.crashed());
        self.settle_tickets()?;
        self.sync_in_time();
        Ok(())
    }

    /// What was acked before its sync and long enough ago is synced now: so it was promised.
    fn sync_in_time(&mut self) {
        let Some(late) = self.running.setting.late else { return };
        if self.may_fail {
            self.undisturbed_since = self.turns;
        }
        let before = self.turns.saturating_sub(u64::from(late.interval) + SYNC_TURNS);
        if self.undisturbed_since < before {
            self.book.synced_before(before);
        }
    }

    fn settle_tickets(&mut self) -> Result<(), Broken> {
        let Self { book, report, tickets, failed_tickets, running, turns, .. } = self;
        let late = running.setting.late.map(|late| (*turns, late.bytes_max()));
        let mut refused = None;
        tickets.retain(|(id, ticket)| match ticket.try_wait() {
            None => true,
            Some(Ok(())) => {
                report.acked += u64::from(book.ack(*id, late));
                false
            }
            Some(Err(error)) => {
                book.fail(*id);
                *failed_tickets += 1;
                refused = Some(error);
                false
            }
        });
        match refused {
            Some(error) if !self.may_fail && !self.disk.crashed() => {
                Err(Broken::new(Kind::Failed, format!("a commit is given up on a disk that works: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Lets time pass until the log rests: then releases are for good. False if it does not come to rest.
    pub fn try_rest(&mut self) -> Result<bool, Broken> {
        // Past the delays after which releases and claims go out by themselves, and syncs.
        (0..50).try_for_each(|_| self.turn())?;
        if let Some(late) = self.running.setting.late {
            self.turn_after(late.time())?;
            (0..50).try_for_each(|_| self.turn())?;
        }
        let rests = self.running.driver.settle(TURNS_MAX);
        self.settle_tickets()?;
        let stats = self.stats();
        // What was acked at last waits for its sync still.
        let rests = rests && self.tickets.is_empty() && stats.unsynced_bytes == 0;
        let rests = rests && stats.failure.is_none() && stats.full.is_none();
        if self.disk.crashed() || !rests {
            return Ok(self.disk.crashed());
        }
        self.book.all_synced();
        self.book.rest();
        self.sink_holds = self.sink_stands();
        Ok(true)
    }

    /// Lets time pass until the log rests, which it must.
    pub fn rest(&mut self) -> Result<(), Broken> {
        for _ in 0..RESTS_MAX {
            if self.try_rest()? {
                return Ok(());
            }
        }
        Err(Broken::new(Kind::Stuck, format!("the log does not come to rest: {:?}", self.stats())))
    }

    /// Closes the log as a clean stop does; what waits for room then fails.
    pub fn close(&mut self) -> Result<(), Broken> {
        self.running.log.begin_close();
        let may_fail = std::mem::replace(&mut self.may_fail, true);
        let closed = (0..TURNS_MAX).try_for_each(|_| self.turn());
        self.may_fail = may_fail;
        let crashed = self.disk.crashed();
        let whole = !crashed && self.stats().failure.is_none();
        let ends = crashed || matches!(self.cursor().try_take(1, 1), Err(ReadError::Closed));
        if closed.is_ok() && (!ends || self.waits()) {
            let what = format!("the log does not close, or keeps commits waiting: {:?}", self.stats());
            return Err(Broken::new(Kind::Stuck, what));
        }
        self.disk.kill();
        self.forget_flight();
        if whole {
            self.book.all_synced();
        }
        closed
    }

    /// Ends the life: one in four is killed, the others lose power.
    pub fn crash(&mut self) {
        let killed = self.random.one_in(4);
        if killed {
            self.disk.kill();
        } else {
            self.disk.power_cut(self.random.next());
        }
        self.forget_flight();
        if !killed {
            self.book.power_cut();
        }
    }

    fn forget_flight(&mut self) {
        if self.bounds_releases {
            let late = self.running.setting.late.map_or(0, |late| u64::from(late.interval) + SYNC_TURNS);
            self.book.released_for_good(self.turns.saturating_sub(RELEASE_TURNS + late));
        }
        self.book.forget_times();
        // A ticket that was resolved before was an ack that somebody may have seen.
        let may_fail = std::mem::replace(&mut self.may_fail, true);
        let settled = self.settle_tickets();
        self.may_fail = may_fail;
        debug_assert!(settled.is_ok(), "nothing is refused to a life that is over");
        self.tickets.drain(..).for_each(|(id, _)| self.book.fail(id));
        self.takes.clear();
    }

    /// Starts the log again. Before each of the first starts `hinder` may plan what befalls it.
    pub fn restart(&mut self, mut hinder: impl FnMut(&mut Self)) -> Result<(), Broken> {
        self.disk.clear_faults();
        for starts in 0.. {
            let hindered = starts < STARTS_MAX;
            if hindered {
                hinder(self);
            }
            let setting = self.settings.next(self.lanes_stay.then_some(self.running.setting));
            let begun = Instant::now();
            let opened = Running::open(&self.disk, &self.environment, setting, self.decorate);
            let crashed = self.disk.crashed();
            let failed = hindered
                && self.may_fail
                && matches!(opened, Err(OpenError::Io { .. } | OpenError::Format { .. }));
            if crashed || failed {
                // The log of a life that is over must be gone before the next begins, or it would still write.
                drop(opened);
                self.report.during_start += 1;
                if crashed {
                    self.crash()
                } else {
                    self.disk.kill()
                }
                self.disk.clear_faults();
                continue;
            }
            self.running = opened.map_err(|error| refused(&error))?;
            self.starts.push(begun.elapsed());
            self.given_up_before = 0;
            // A start syncs what it finds.
            self.book.all_synced();
            break;
        }
        self.disk.clear_faults();
        Ok(())
    }

    /// A start, or a reopen, on a disk whose bytes are as they were written finds no damage.
    pub fn expect_no_damage(&self) -> Result<(), Broken> {
        let (recovery, stats) = (self.running.log.recovery(), self.stats());
        if let Some(below) = recovery.missing_below.or(stats.reopen_missing_below) {
            let what = format!("segments with events below {below} are missing");
            return Err(Broken::new(Kind::Lost, what));
        }
        let damage = [&recovery.damage[..], &stats.reopen_damage].concat();
        if damage.is_empty() {
            return Ok(());
        }
        Err(Broken::new(Kind::Lost, format!("damage is reported on a disk without any: {damage:?}")))
    }

    /// Compares all that the log holds with the book, and puts it back.
    pub fn look(&mut self, since: Since) -> Result<(), Broken> {
        let unreadable =
            |error: &ReadError| Err(Broken::new(Kind::Lost, format!("events cannot be read: {error}")));
        self.look_until(since, unreadable)?;
        self.look_at_progress()
    }

    /// Whether the last look found some of these events.
    pub fn has_seen(&self, events: &Numbered) -> bool {
        self.seen.iter().any(|seen| {
            seen.id == events.id && seen.first_event < events.end() && events.first_event < seen.end()
        })
    }

    /// Compares all that the log gives until it ends, or meets an error that `judge` knows the event of. Puts it back.
    /// Returns whether it met one.
    pub fn look_until(
        &mut self,
        since: Since,
        judge: impl FnOnce(&ReadError) -> Result<(usize, u32), Broken>,
    ) -> Result<bool, Broken> {
        let cursor = self.cursor();
        self.takes.drain(..).for_each(|take| cursor.rollback(take.first_event, take.events));
        self.seen.clear();
        let mut takes = Vec::new();
        let mut look = self.book.look(since);
        let stop = loop {
            let take = match cursor.try_take(1000, 1 << 20) {
                Ok(Some(take)) => take,
                Ok(None) => break None,
                Err(error) => break Some(judge(&error)?),
            };
            let mut first_event = take.first_event;
            for &flumen_wal::Piece { ref payload, skip, events } in &take.pieces {
                let id = look.piece(payload, skip..skip + events)?;
                self.seen.push(Numbered { first_event, events, id, skip });
                first_event += u64::from(events);
            }
            takes.push(take);
        };
        let counts = look.end(stop);
        let (counts, broken) = match counts {
            Ok(counts) => (counts, Ok(())),
            Err((counts, broken)) => (counts, Err(broken)),
        };
        self.report.recovered += counts.recovered;
        self.report.repeated += counts.repeated;
        self.report.lost += counts.lost;
        self.report.unsynced += counts.unsynced;
        takes.iter().for_each(|take| cursor.rollback(take.first_event, take.events));
        broken.map(|()| stop.is_some())
    }

    /// How far the sink is, says the log.
    fn sink_stands(&self) -> u64 {
        let keys = self.running.log.progress(Space::Sink, "k1");
        keys.and_then(|keys| Some(keys.get("k")?.to)).unwrap_or(0)
    }

    /// The sink's progress is something that it said, and not before what it had said when the log rested. The source's goes
    /// with its events: not behind the acked ones, nor behind those that are there.
    pub fn look_at_progress(&self) -> Result<(), Broken> {
        let sink = self.sink_stands();
        if !(self.sink_holds..=self.sink_said).contains(&sink) {
            let kind = if sink < self.sink_holds { Kind::Repeated } else { Kind::NeverWritten };
            let what = format!(
                "the sink stands at {sink}; it said {}, and {} is for good",
                self.sink_said, self.sink_holds
            );
            return Err(Broken::new(kind, what));
        }
        let keys = self.running.log.progress(Space::Source, "r1");
        let to = keys.and_then(|keys| Some(keys.get("k")?.to as usize));
        let known = |id: &usize| *id >= self.progress_from;
        let acked = self.book.last_acked().filter(known);
        let last = self.seen.last().map(|seen| seen.id).filter(known);
        let kind = match to {
            to if to < acked.max(last) => Kind::Repeated,
            Some(to) if to >= self.book.len() => Kind::NeverWritten,
            // Its source would not send it again.
            Some(to) if self.book.is_cut(to) => Kind::Lost,
            _ => return Ok(()),
        };
        let what = format!("progress says commit {to:?}; acked up to {acked:?}, there up to {last:?}");
        Err(Broken::new(kind, what))
    }

    /// An event that is appended now must be acked.
    pub fn fresh_event(&mut self) -> Result<(), Broken> {
        let mut appended = None;
        for _ in 0..TURNS_MAX {
            if appended.is_none() {
                appended = self.append_commit(1, 100)?;
            }
            if appended.is_some() && self.tickets.is_empty() {
                break;
            }
            self.turn()?;
        }
        if appended.is_none() || self.book.last_acked() != appended {
            let what = format!("no fresh event flows: {:?}", self.stats());
            return Err(Broken::new(Kind::Stuck, what));
        }
        Ok(())
    }

    /// Releases so much that what is left can be looked at cheaply.
    pub fn drain(&mut self) -> Result<(), Broken> {
        let stats = self.stats();
        self.release_some((stats.appended_event - stats.first_event).saturating_sub(BACKLOG_MAX))
    }

    /// Takes and releases so many events, or all there are.
    pub fn release_some(&mut self, mut events: u64) -> Result<(), Broken> {
        while events > 0 {
            let Some(take) = self.take(100)? else { break };
            events = events.saturating_sub(take.events);
            self.release(&take);
        }
        Ok(())
    }

    /// All that is left is delivered, and stays so.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.look(Since::Nothing)?;
        self.release_some(u64::MAX)?;
        self.rest()?;
        self.crash();
        self.restart(|_| ())?;
        self.look(Since::End)
    }

    /// Writes the disk's files, as a reader sees them, and its last operations into `directory`.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        life::keep(&self.disk, directory)
    }
}

#[cfg(test)]
mod tests {
    use super::super::power;
    use super::*;

    fn worked(seed: u64) -> World {
        let mut world = World::with(seed, Settings::Plain, |directory| directory).unwrap();
        for _ in 0..5 {
            power::cycle(&mut world).unwrap();
        }
        world
    }

    fn restart_and_look(world: &mut World) -> Result<(), Broken> {
        world.restart(|_| ())?;
        world.expect_no_damage()?;
        world.look(Since::End)
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
        assert!(restart_and_look(&mut world).is_err());
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
        assert!(restart_and_look(&mut world).is_err());
    }

    #[test]
    fn an_ack_that_was_never_given_is_a_violation_when_its_events_are_missing() {
        let mut world = worked(5);
        let id = world.append_commit(2, 50).unwrap().unwrap();
        // As a log would that acks before it writes.
        world.book.ack(id, None);
        world.disk.power_cut_losing_all();
        world.crash();
        let broken = restart_and_look(&mut world).unwrap_err();
        assert_eq!(broken.kind, Kind::Lost, "{broken}");
        assert_eq!(world.report.lost, 2);
    }
}
