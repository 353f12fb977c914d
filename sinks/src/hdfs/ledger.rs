//! How much of which file is released: the sink writes it down, flushes on their way complete it.
//!
//! ```text
//!   named ── create ──> open ── roll, idle, stop ──> sealed ── all of it released ──> complete ── renamed ──> forgotten
//!                        │ flush: { file, length } …
//!                        v
//!                       released, with the takes, in the order of the flushes
//! ```
//!
//! Beside the takes that it releases, a flush releases a length of each file that they went to: the two become durable
//! together, in the channel. So whatever a file has behind its released length comes again, to another file, and is cut
//! off when the file is finished.
//!
//! A flush counts as released once it and all before it have been polled to success, as the runner releases. One that
//! is dropped, or that failed, was rolled back: it marks the ledger *broken*, and the sink begins over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_api::Position;
use flumen_api::channel::SinkProgress;
use flumen_api::progress::Positions;
use parking_lot::Mutex;

use super::record::{self, Names};

/// Far above every number that is given.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// A file that was begun.
#[derive(Clone, Debug)]
struct Entry {
    names: Names,
    released: u64,
    /// Nothing is appended any more; it is complete once this much is released.
    sealed: Option<u64>,
}

struct Flush {
    number: u64,
    targets: Vec<(u64, u64)>,
    done: bool,
}

struct Inner {
    files: BTreeMap<u64, Entry>,
    next_file: u64,
    /// Files with this number and above, up to the next one's, were begun by this very object.
    first_file: u64,
    /// On their way, oldest first.
    flushes: VecDeque<Flush>,
    next_flush: u64,
    /// Flushes with lower numbers belong to what was rolled back.
    valid_from: u64,
    broken: bool,
    /// Tries that failed in a row.
    failures: u32,
}

/// Shared between the sink and its flushes.
pub(super) struct Ledger(Mutex<Inner>);

/// A file that is left to be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub number: u64,
    pub names: Names,
    pub released: u64,
}

impl Ledger {
    /// Files get numbers from `first_file` on, or from behind those that an earlier life gave.
    pub fn new(first_file: u64) -> Self {
        Self(Mutex::new(Inner {
            files: BTreeMap::new(),
            next_file: first_file,
            first_file,
            flushes: VecDeque::new(),
            next_flush: 0,
            valid_from: 0,
            broken: false,
            failures: 0,
        }))
    }

    /// Takes over the files that an earlier life left. Returns what cannot be read, each with the reason.
    pub fn adopt(&self, positions: &Positions) -> Vec<String> {
        let mut inner = self.0.lock();
        if inner.next_file == inner.first_file {
            // A clock that was set back would give the numbers of an earlier life's files once more.
            let numbers = positions.keys().filter_map(|key| record::number(key));
            let behind = numbers.filter(|number| *number < NUMBER_MAX).map(|number| number + 1).max();
            inner.first_file = inner.first_file.max(behind.unwrap_or_default());
            inner.next_file = inner.first_file;
        }
        let mut unread = Vec::new();
        for (key, position) in positions {
            let Some(number) = record::number(key) else {
                unread.push(format!("the journal's key {key:?} is not one of this sink's"));
                continue;
            };
            // One of this life: it is known better here, or finished, which the channel may not have noted yet.
            if (inner.first_file..inner.next_file).contains(&number) || inner.files.contains_key(&number) {
                continue;
            }
            match Names::decode(&position.rest) {
                Ok(names) => {
                    inner.files.insert(number, Entry { names, released: position.to, sealed: None });
                }
                Err(error) => unread.push(format!("the journal's key {key}: {error}")),
            }
        }
        unread
    }

    /// All files, as they are to be finished.
    pub fn all(&self) -> Vec<Left> {
        self.0.lock().files.iter().map(|(number, entry)| entry.left(*number)).collect()
    }

    /// Names a file that is about to be created. Returns its number and what to record before.
    pub fn name(&self, names: Names) -> (u64, SinkProgress) {
        let mut inner = self.0.lock();
        let number = inner.next_file;
        inner.next_file += 1;
        let entry = Entry { names, released: 0, sealed: None };
        let progress = entry.progress(number);
        inner.files.insert(number, entry);
        (number, progress)
    }

    /// Notes that a file was created. Returns what to record.
    pub fn made(&self, number: u64) -> Option<SinkProgress> {
        let mut inner = self.0.lock();
        let entry = inner.files.get_mut(&number)?;
        entry.names.made = true;
        Some(entry.progress(number))
    }

    /// Gives a file another last name. Returns what to record before it is renamed.
    pub fn rename(&self, number: u64, last: String) -> Option<SinkProgress> {
        let mut inner = self.0.lock();
        let entry = inner.files.get_mut(&number)?;
        entry.names.last = last;
        Some(entry.progress(number))
    }

    /// Nothing of a file is wanted any more: it is finished, or thrown away. Returns what to record.
    pub fn settle(&self, number: u64) -> Option<SinkProgress> {
        let mut inner = self.0.lock();
        let entry = inner.files.get_mut(&number)?;
        entry.released = 0;
        // Its name may be another's from now on.
        entry.names.made = false;
        Some(entry.progress(number))
    }

    /// What holds of a file.
    pub fn progress(&self, number: u64) -> Option<SinkProgress> {
        Some(self.0.lock().files.get(&number)?.progress(number))
    }

    /// Forgets a file. Returns what to record.
    pub fn forget(&self, number: u64) -> SinkProgress {
        self.0.lock().files.remove(&number);
        SinkProgress { key: record::key(number), position: None }
    }

    /// Bytes of a file that are released.
    pub fn released(&self, number: u64) -> u64 {
        self.0.lock().files.get(&number).map_or(0, |entry| entry.released)
    }

    /// Nothing is appended to the file any more; it is complete once `length` of it is released.
    pub fn seal(&self, number: u64, length: u64) {
        if let Some(entry) = self.0.lock().files.get_mut(&number) {
            entry.sealed = Some(length);
        }
    }

    /// Whether the file is sealed, and all of it is released.
    pub fn is_complete(&self, number: u64) -> bool {
        let inner = self.0.lock();
        inner
            .files
            .get(&number)
            .is_some_and(|entry| entry.sealed.is_some_and(|length| entry.released >= length))
    }

    /// A file as it is to be finished.
    pub fn left(&self, number: u64) -> Option<Left> {
        Some(self.0.lock().files.get(&number)?.left(number))
    }

    /// Gives up all flushes on their way.
    pub fn begin_over(&self) {
        let mut inner = self.0.lock();
        inner.flushes.clear();
        inner.valid_from = inner.next_flush;
        inner.broken = false;
    }

    /// A flush has failed or was dropped since the sink began over.
    pub fn is_broken(&self) -> bool {
        self.0.lock().broken
    }

    /// Counts a try that failed; returns how many have in a row.
    pub fn failed(&self) -> u32 {
        let mut inner = self.0.lock();
        inner.failures = inner.failures.saturating_add(1);
        inner.failures
    }

    /// A flush begins, of these files up to these lengths.
    pub fn begin_flush(self: &Arc<Self>, targets: Vec<(u64, u64)>) -> FlushMark {
        let mut inner = self.0.lock();
        let number = inner.next_flush;
        inner.next_flush += 1;
        inner.flushes.push_back(Flush { number, targets, done: false });
        FlushMark { ledger: self.clone(), number, settled: false }
    }
}

impl Entry {
    fn left(&self, number: u64) -> Left {
        Left { number, names: self.names.clone(), released: self.released }
    }

    fn progress(&self, number: u64) -> SinkProgress {
        self.progress_at(number, self.released)
    }

    fn progress_at(&self, number: u64, released: u64) -> SinkProgress {
        let position = Position { generation: 0, began: 0, to: released, rest: self.names.encode() };
        SinkProgress { key: record::key(number), position: Some(position) }
    }
}

/// One flush on its way. Dropping it unsettled says that its takes were rolled back.
pub(super) struct FlushMark {
    ledger: Arc<Ledger>,
    number: u64,
    settled: bool,
}

impl FlushMark {
    /// All of the flush is durable, and the caller is about to release it. `None`: the sink has begun over since, and
    /// nothing may be released.
    pub fn done(mut self) -> Option<Vec<SinkProgress>> {
        self.settled = true;
        let mut guard = self.ledger.0.lock();
        let inner = &mut *guard;
        if self.number < inner.valid_from || inner.broken {
            return None;
        }
        inner.failures = 0;
        let flush = inner.flushes.iter_mut().find(|flush| flush.number == self.number)?;
        flush.done = true;
        let progress = flush
            .targets
            .iter()
            .filter_map(|(number, length)| Some(inner.files.get(number)?.progress_at(*number, *length)));
        let progress = progress.collect();
        while inner.flushes.front().is_some_and(|flush| flush.done) {
            let Some(flush) = inner.flushes.pop_front() else { break };
            for (number, length) in flush.targets {
                if let Some(entry) = inner.files.get_mut(&number) {
                    entry.released = length;
                }
            }
        }
        Some(progress)
    }
}

impl Drop for FlushMark {
    fn drop(&mut self) {
        let mut inner = self.ledger.0.lock();
        if !self.settled && self.number >= inner.valid_from {
            inner.broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Names {
        let names = Names::new(format!("/d/{name}.tmp"), format!("/d/{name}"));
        Names { mark: "m".into(), ..names }
    }

    fn ledger() -> (Arc<Ledger>, u64) {
        let ledger = Arc::new(Ledger::new(100));
        let (number, _) = ledger.name(names("one"));
        (ledger, number)
    }

    fn lengths(progress: Option<Vec<SinkProgress>>) -> Vec<(String, u64)> {
        let progress = progress.expect("valid").into_iter();
        progress.map(|one| (one.key, one.position.expect("a position").to)).collect()
    }

    #[test]
    fn a_flush_is_released_only_after_all_before_it() {
        let (ledger, one) = ledger();
        let (first, second) = (ledger.begin_flush(vec![(one, 10)]), ledger.begin_flush(vec![(one, 20)]));
        ledger.seal(one, 20);
        assert_eq!(lengths(second.done()), [("f100".to_string(), 20)]);
        assert_eq!((ledger.released(one), ledger.is_complete(one)), (0, false));
        assert_eq!(lengths(first.done()), [("f100".to_string(), 10)]);
        assert_eq!((ledger.released(one), ledger.is_complete(one)), (20, true));
    }

    #[test]
    fn a_dropped_flush_breaks_the_ledger_until_the_sink_begins_over() {
        let (ledger, one) = ledger();
        let (first, second) = (ledger.begin_flush(vec![(one, 10)]), ledger.begin_flush(vec![(one, 20)]));
        drop(first);
        assert!(ledger.is_broken());
        assert!(second.done().is_none(), "what comes after a rollback is rolled back");
        ledger.begin_over();
        assert_eq!((ledger.is_broken(), ledger.released(one)), (false, 0));
    }

    #[test]
    fn a_flush_of_an_earlier_beginning_releases_nothing_and_breaks_nothing() {
        let (ledger, one) = ledger();
        let (old, older) = (ledger.begin_flush(vec![(one, 10)]), ledger.begin_flush(vec![(one, 20)]));
        ledger.begin_over();
        assert!(old.done().is_none());
        drop(older);
        assert_eq!((ledger.is_broken(), ledger.released(one)), (false, 0));
    }

    #[test]
    fn files_of_an_earlier_life_are_taken_over_and_those_of_this_one_are_not() {
        let (ledger, one) = ledger();
        let (finished, _) = ledger.name(names("finished"));
        assert_eq!(ledger.forget(finished).key, "f101");
        let position = |to, rest| Position { generation: 0, began: 0, to, rest };
        let positions: Positions = [
            ("f7".to_string(), position(5, names("old").encode())),
            ("f8".to_string(), position(5, "?".into())),
            (record::key(one), position(3, names("one").encode())),
            ("f101".to_string(), position(3, names("finished").encode())),
            ("x".to_string(), position(0, names("x").encode())),
        ]
        .into();
        let unread = ledger.adopt(&positions);
        assert_eq!(unread.len(), 2, "{unread:?}");
        let left = |number, name, released| Left { number, names: names(name), released };
        assert_eq!(ledger.all(), [left(7, "old", 5), left(100, "one", 0)]);
        assert_eq!(ledger.forget(7), SinkProgress { key: "f7".into(), position: None });
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_file_of_an_earlier_life_and_gives_no_number_twice() {
        let ledger = Ledger::new(100);
        let position = |name| Position { generation: 0, began: 0, to: 5, rest: names(name).encode() };
        let positions: Positions = [
            ("f90".to_string(), position("old")),
            ("f700".to_string(), position("later")),
            (record::key(u64::MAX), position("odd")),
        ]
        .into();
        assert_eq!(ledger.adopt(&positions), [""; 0]);
        assert_eq!(ledger.all().iter().map(|left| left.number).collect::<Vec<_>>(), [90, 700, u64::MAX]);
        let (number, _) = ledger.name(names("new"));
        assert_eq!(number, 701);
        ledger.forget(number);
        ledger.forget(700);
        let (next, _) = ledger.name(names("newer"));
        // Of this life, at another start of the same sink: the channel has not noted yet that it is finished.
        let positions = [(record::key(number), position("new"))].into();
        assert_eq!(ledger.adopt(&positions), [""; 0]);
        assert_eq!(ledger.all().iter().map(|left| left.number).collect::<Vec<_>>(), [90, next, u64::MAX]);
    }
}
