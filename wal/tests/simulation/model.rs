//! The model: a list of commits with what is known of each, beside the real log on the simulated disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::{
    Commit, Cursor, Directories, Driver, Environment, Log, LogError, OpenError, Options, ProgressOp,
    ProgressUpdate, ReadError, Space, Take, Ticket,
};

/// Time and chance of the simulation.
#[derive(Debug, Default)]
pub struct Simulated {
    micros: AtomicU64,
    random: AtomicU64,
}

impl Simulated {
    fn advance(&self, by: Duration) {
        self.micros.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Environment for Simulated {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        let x = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// What a case does.
#[derive(Clone, Debug)]
pub enum Action {
    Append {
        events: u32,
        bytes: usize,
    },
    Turn(u8),
    Take(usize),
    Release(usize),
    Rollback(usize),
    /// Lets time pass until the log rests: what was released by then is released for good.
    Quiesce,
    CloseAndReopen,
    Kill,
    PowerCut(u64),
    Fail {
        after: u64,
        kind: u8,
    },
    /// The process ends within one of the next operations, wherever it is.
    CrashAfter {
        after: u64,
    },
    /// No more than so many bytes beyond what is there.
    FillDisk(u64),
    FreeDisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    OnItsWay,
    Acked,
    Unknown,
}

#[derive(Debug)]
struct ModelCommit {
    events: u32,
    bytes: usize,
    fate: Fate,
    /// Events of it that were released: perhaps, and for good.
    perhaps_released: Vec<bool>,
    surely_released: Vec<bool>,
}

pub struct Simulation {
    disk: FaultyDisk,
    environment: Arc<Simulated>,
    log: Option<(Log, Driver)>,
    commits: Vec<ModelCommit>,
    tickets: Vec<(usize, Ticket)>,
    takes: Vec<Take>,
    full: bool,
}

const DATA: &str = "data";
const CHECKPOINT: &str = "checkpoint";

pub fn options() -> Options {
    Options {
        segment_bytes: 128 << 10,
        frame_bytes: 16 << 10,
        staged_bytes_max: 256 << 10,
        cache_bytes: 48 << 10,
        eager_bytes: 8 << 10,
        commit_bytes_max: 1 << 20,
        lock_wait: Duration::from_secs(1),
        ..Options::default()
    }
}

/// Commit `id`'s payload: its number, then bytes that depend on it.
fn payload(id: usize, bytes: usize) -> Vec<u8> {
    let mut payload = (id as u32).to_le_bytes().to_vec();
    payload.extend((0..bytes).map(|i| (i as u8).wrapping_mul(7) ^ (id as u8)));
    payload
}

impl Simulation {
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, |_| ())
    }

    /// A simulation on a disk whose faults are planned before the log is first opened.
    pub fn with_faults(seed: u64, plan: impl FnOnce(&FaultyDisk)) -> Self {
        let environment = Arc::new(Simulated::default());
        environment.random.store(seed, Ordering::Relaxed);
        let mut simulation = Self {
            disk: FaultyDisk::new(seed),
            environment,
            log: None,
            commits: Vec::new(),
            tickets: Vec::new(),
            takes: Vec::new(),
            full: false,
        };
        plan(&simulation.disk);
        simulation.open();
        simulation
    }

    pub fn disk(&self) -> &FaultyDisk {
        &self.disk
    }

    pub fn trace(&self) -> u64 {
        self.disk.trace()
    }

    fn try_open(&mut self) -> Result<(), OpenError> {
        let dirs =
            Directories { data: self.disk.directory(DATA), checkpoint: self.disk.directory(CHECKPOINT) };
        self.log = Some(Log::open_driven(dirs, options(), self.environment.clone())?);
        Ok(())
    }

    /// Opens the log after a crash or a close, whatever faults are still planned, and checks what it holds.
    fn open(&mut self) {
        for _ in 0..3 {
            match self.try_open() {
                Ok(()) => break,
                // A fault that was planned for a later operation met the start: the process would be started again.
                Err(_) if self.disk.crashed() => self.disk.power_cut(7),
                Err(OpenError::Io { .. } | OpenError::Format { .. }) => self.disk.kill(),
                Err(error) => panic!("open: {error}"),
            }
            self.disk.clear_faults();
        }
        if self.log.is_none() {
            self.disk.clear_faults();
            self.try_open().unwrap_or_else(|error| panic!("open without faults: {error}"));
        }
        let (log, _) = self.log.as_ref().expect("opened");
        assert!(log.recovery().damage.is_empty(), "undamaged disk: {:?}", log.recovery());
        self.check();
    }

    fn cursor(&self) -> Cursor {
        self.log.as_ref().expect("open").0.cursor()
    }

    /// Everything that is not released is there once, in order, intact; nothing else is.
    fn check(&mut self) {
        let cursor = self.cursor();
        let mut takes = Vec::new();
        let mut seen: Vec<Vec<bool>> = self.commits.iter().map(|c| vec![false; c.events as usize]).collect();
        let mut last = None;
        loop {
            let take = match cursor.try_take(17, 100_000) {
                Ok(None) => break,
                Ok(Some(take)) => take,
                // A planned fault met the check: the log, or this read, will work again later.
                Err(ReadError::Failed(_) | ReadError::Io { .. }) => {
                    takes.iter().for_each(|take: &Take| cursor.rollback(take.first_event, take.events));
                    return;
                }
                Err(error) => panic!("take: {error}"),
            };
            for piece in &take.pieces {
                let id = u32::from_le_bytes(piece.payload[..4].try_into().expect("an id")) as usize;
                let commit = &self.commits[id];
                assert_eq!(piece.payload[..], payload(id, commit.bytes)[..], "commit {id} is intact");
                for event in piece.skip..piece.skip + piece.events {
                    assert!(last < Some((id, event)), "commit {id} event {event} after {last:?}");
                    last = Some((id, event));
                    let i = event as usize;
                    assert!(!commit.surely_released[i], "commit {id} event {event} was released for good");
                    seen[id][i] = true;
                }
            }
            takes.push(take);
        }
        for (id, commit) in self.commits.iter().enumerate() {
            let there = seen[id].iter().filter(|s| **s).count();
            for (event, seen) in seen[id].iter().enumerate() {
                let may_lack = commit.fate != Fate::Acked || commit.perhaps_released[event];
                assert!(*seen || may_lack, "commit {id} event {event} was acked and is lost");
            }
            let released = commit.perhaps_released.iter().any(|r| *r);
            assert!(
                there == 0 || there == commit.events as usize || released,
                "commit {id} is there in part: {there} of {}",
                commit.events
            );
        }
        for (commit, seen) in self.commits.iter_mut().zip(&seen) {
            // A release that a crash took back may be given again, or not.
            commit.perhaps_released.iter_mut().zip(seen).for_each(|(released, seen)| *released &= !seen);
        }
        takes.iter().for_each(|take| cursor.rollback(take.first_event, take.events));
        self.check_progress(last.map(|(id, _)| id));
    }

    /// Progress stands where the last commit in the log put it.
    fn check_progress(&self, last_seen: Option<usize>) {
        let (log, _) = self.log.as_ref().expect("open");
        let progress = log.progress(Space::Source, "r1");
        let to = progress.as_ref().and_then(|keys| keys.get("k")).map(|value| value.to as usize);
        let acked = self.commits.iter().rposition(|commit| commit.fate == Fate::Acked);
        assert!(to >= acked, "progress {to:?} behind the last acked commit {acked:?}");
        assert!(to >= last_seen, "progress {to:?} behind the commit {last_seen:?} that is there");
        assert!(to < Some(self.commits.len()), "progress {to:?} of a commit that never was");
    }

    fn forget_flight(&mut self) {
        self.settle_tickets();
        for (id, _) in self.tickets.drain(..) {
            self.commits[id].fate = Fate::Unknown;
        }
        self.takes.clear();
    }

    fn settle_tickets(&mut self) {
        let commits = &mut self.commits;
        self.tickets.retain(|(id, ticket)| match ticket.try_wait() {
            None => true,
            Some(Ok(())) => {
                commits[*id].fate = Fate::Acked;
                false
            }
            Some(Err(_)) => {
                commits[*id].fate = Fate::Unknown;
                false
            }
        });
    }

    pub fn turn(&mut self) {
        self.environment.advance(Duration::from_millis(1));
        if let Some((_, driver)) = &mut self.log {
            driver.turn();
        }
        self.settle_tickets();
        if self.disk.crashed() {
            self.restart(|disk| disk.kill());
        }
    }

    /// Ends the process by `crash`, and starts it again.
    fn restart(&mut self, crash: impl FnOnce(&FaultyDisk)) {
        crash(&self.disk);
        // Tickets that resolved before the crash were acks that somebody may have seen.
        self.forget_flight();
        self.log = None;
        self.disk.clear_faults();
        self.open();
    }

    pub fn act(&mut self, action: &Action) {
        match *action {
            Action::Append { events, bytes } => self.append(events, bytes),
            Action::Turn(turns) => (0..turns).for_each(|_| self.turn()),
            Action::Take(events) => {
                if let Ok(Some(take)) = self.cursor().try_take(events, 20_000) {
                    self.takes.push(take);
                }
            }
            Action::Release(i) if !self.takes.is_empty() => {
                let take = self.takes.swap_remove(i % self.takes.len());
                self.release(&take);
            }
            Action::Rollback(i) if !self.takes.is_empty() => {
                let take = self.takes.swap_remove(i % self.takes.len());
                self.cursor().rollback(take.first_event, take.events);
            }
            Action::Release(_) | Action::Rollback(_) => {}
            Action::Quiesce => self.quiesce(),
            Action::CloseAndReopen => {
                self.log.as_ref().expect("open").0.begin_close();
                for _ in 0..200 {
                    self.turn();
                }
                self.restart(|disk| disk.kill());
            }
            Action::Kill => self.restart(|disk| disk.kill()),
            Action::PowerCut(seed) => self.restart(|disk| disk.power_cut(seed)),
            Action::Fail { after, kind } => {
                let fault = [Fault::Io, Fault::NoSpace, Fault::Short][usize::from(kind % 3)];
                self.disk.fail_at(self.disk.operations() + after, fault);
            }
            Action::CrashAfter { after } => self.disk.crash_at(self.disk.operations() + after),
            Action::FillDisk(more) => {
                self.full = true;
                let (log, _) = self.log.as_ref().expect("open");
                self.disk.set_capacity(log.stats().disk_bytes + more);
            }
            Action::FreeDisk => self.free_disk(),
        }
        if self.disk.crashed() {
            self.restart(|disk| disk.kill());
        }
    }

    fn free_disk(&mut self) {
        self.full = false;
        self.disk.set_capacity(u64::MAX);
    }

    fn append(&mut self, events: u32, bytes: usize) {
        let id = self.commits.len();
        let payload = payload(id, bytes);
        let (log, _) = self.log.as_ref().expect("open");
        let room = match log.try_reserve(payload.len() as u64) {
            Ok(room) => room,
            Err(LogError::Full { .. } | LogError::Failed(_) | LogError::Closed) => return,
            Err(error) => panic!("reserve: {error}"),
        };
        let op = ProgressOp::Set { generation: 1, from: id as u64, to: id as u64, rest: bytes::Bytes::new() };
        let progress = vec![ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "k".into(), op }];
        let ticket = match log.append(room, Commit { events, payload: &payload, progress }) {
            Ok(ticket) => ticket,
            Err(LogError::Failed(_) | LogError::Closed) => return,
            Err(error) => panic!("append: {error}"),
        };
        self.tickets.push((id, ticket));
        self.commits.push(ModelCommit {
            events,
            bytes,
            fate: Fate::OnItsWay,
            perhaps_released: vec![false; events as usize],
            surely_released: vec![false; events as usize],
        });
    }

    fn release(&mut self, take: &Take) {
        for piece in &take.pieces {
            let id = u32::from_le_bytes(piece.payload[..4].try_into().expect("an id")) as usize;
            for event in piece.skip..piece.skip + piece.events {
                self.commits[id].perhaps_released[event as usize] = true;
            }
        }
        self.cursor().release(take.first_event, take.events, vec![]);
    }

    fn quiesce(&mut self) {
        for _ in 0..60 {
            self.turn();
        }
        let (log, driver) = self.log.as_mut().expect("open");
        let before = log.stats();
        let full = before.full.is_some();
        // A failed log rests only when it was reopened; a full one cannot write releases once its reserve is gone.
        if before.failure.is_none()
            && !self.full
            && !full
            && driver.settle(200)
            && log.stats().reopens == before.reopens
        {
            for commit in &mut self.commits {
                commit.surely_released.clone_from(&commit.perhaps_released);
            }
        }
        self.settle_tickets();
    }

    /// After all faults: the log works, everything is there, and a fresh event flows.
    pub fn finish(&mut self) {
        self.disk.clear_faults();
        self.free_disk();
        let takes = std::mem::take(&mut self.takes);
        takes.iter().for_each(|take| self.cursor().rollback(take.first_event, take.events));
        self.environment.advance(Duration::from_secs(10));
        for _ in 0..20 {
            self.environment.advance(Duration::from_secs(1));
            self.quiesce();
        }
        let (log, _) = self.log.as_ref().expect("open");
        assert!(log.stats().failure.is_none(), "still failed: {:?}", log.stats());
        assert!(self.tickets.is_empty(), "a ticket never resolved: {:?}", log.stats());
        let fresh = self.commits.len();
        self.append(3, 100);
        assert_eq!(
            self.commits.len(),
            fresh + 1,
            "no room for a fresh event: {:?}",
            self.log.as_ref().expect("open").0.stats()
        );
        self.quiesce();
        assert_eq!(self.commits[fresh].fate, Fate::Acked, "a fresh event flows");
        self.check();
        self.restart(|disk| disk.power_cut_losing_all());
    }
}
