//! What was said to the log and what it answered, and so what it must, may and must not hold.
//!
//! | | when | after a start |
//! | --- | --- | --- |
//! | surely there | acked, taken, or there after an earlier start | there, but for what was released |
//! | perhaps there | on its way at the crash, or its append failed | there as a whole or not at all; on its way: only if all before it is |
//! | perhaps there | acked and not synced, where a sync comes later, and the power was cut | the same as on its way |
//! | surely not | not there after an earlier start | not there |
//!
//! The same holds for releases, and for progress: a source's stands exactly where the last commit that is there put it, a
//! sink's exactly where the last release did that is in the log.

use std::ops::Range;
use std::sync::OnceLock;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    OnItsWay,
    /// Its append failed: unknown, not undone.
    Failed,
    There,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    No,
    /// With the number of the release.
    Perhaps(u64),
    Surely,
}

/// A commit, or a source's progress alone (no events).
#[derive(Clone, Debug)]
struct Entry {
    bytes: usize,
    fate: Fate,
    /// The log has come to rest since it was acked: something vouches for its frame.
    rested: bool,
    /// Durable, whatever comes.
    synced: bool,
    events: Vec<Release>,
}

/// All entries, by number.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    /// How many releases there were; each says its number as the sink's progress.
    releases: u64,
    /// The last one that the present life heard of, or an earlier one kept.
    heard: u64,
    /// Up to this one they are durable.
    sure_releases: u64,
}

/// Entry `id`'s bytes behind its number.
fn filling(id: usize, bytes: usize) -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    let noise = NOISE.get_or_init(|| {
        (0..300_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    });
    &noise[id * 97 % 10_007..][..bytes]
}

impl Book {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn payload(&self, bytes: usize) -> Vec<u8> {
        let id = self.len();
        [&(id as u32).to_le_bytes()[..], filling(id, bytes)].concat()
    }

    /// A new entry that is on its way.
    pub fn append(&mut self, events: u32, bytes: usize) -> usize {
        let events = vec![Release::No; events as usize];
        self.entries.push(Entry { bytes, fate: Fate::OnItsWay, rested: false, synced: false, events });
        self.entries.len() - 1
    }

    pub fn resolve(&mut self, id: usize, acked: bool) {
        let fate = &mut self.entries[id].fate;
        // A take may have shown it before.
        if *fate == Fate::OnItsWay {
            *fate = if acked { Fate::There } else { Fate::Failed };
        }
    }

    pub fn is_there(&self, id: usize) -> bool {
        self.entries[id].fate == Fate::There
    }

    /// The entry that a payload belongs to, if it is intact.
    fn entry_of(&self, payload: &[u8]) -> usize {
        let id = u32::from_le_bytes(payload[..4].try_into().expect("a number")) as usize;
        assert!(id < self.len(), "entry {id} was never appended");
        assert!(payload[4..] == *filling(id, self.entries[id].bytes), "entry {id} is intact");
        id
    }

    /// All that is there is synced now.
    pub fn synced(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.synced |= entry.fate == Fate::There);
    }

    /// The power was cut: what was acked and not synced may be gone, like what was on its way.
    pub fn power_cut(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fate == Fate::There && !entry.synced) {
            entry.fate = Fate::OnItsWay;
        }
    }

    /// Events that were taken were acked.
    pub fn take(&mut self, payload: &[u8]) {
        let id = self.entry_of(payload);
        assert!(self.entries[id].fate != Fate::Gone, "entry {id} came back");
        self.entries[id].fate = Fate::There;
    }

    /// The number of a release that is about to be made.
    pub fn begin_release(&mut self) -> u64 {
        self.releases += 1;
        self.releases
    }

    /// The log has accepted it.
    pub fn heard(&mut self, number: u64) {
        self.heard = number;
    }

    pub fn release(&mut self, payload: &[u8], events: Range<u32>, number: u64) {
        let id = self.entry_of(payload);
        for event in events {
            self.entries[id].events[event as usize] = Release::Perhaps(number);
        }
    }

    /// The log rests: what was released is so for good.
    pub fn rest(&mut self) {
        self.sure_releases = self.heard;
        for entry in &mut self.entries {
            entry.rested = entry.fate == Fate::There;
            for release in &mut entry.events {
                if matches!(release, Release::Perhaps(_)) {
                    *release = Release::Surely;
                }
            }
        }
    }

    pub fn look(&self) -> Look<'_> {
        let seen = self.entries.iter().map(|entry| vec![false; entry.events.len()]).collect();
        Look { book: self, seen, last: None }
    }

    /// Nobody could look at what a start found: what was on its way may be gone, whatever comes behind it from now on.
    pub fn not_judged(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fate == Fate::OnItsWay) {
            entry.fate = Fate::Failed;
        }
    }

    /// Compares what was seen after a start on a sound disk. From then on everything is known.
    pub fn judge(&mut self, seen: &Seen, source: Option<usize>, sink: Option<u64>) {
        let sink = sink.unwrap_or(0);
        assert!(sink >= self.sure_releases, "sink progress {sink} behind release {}", self.sure_releases);
        assert!(sink <= self.releases, "sink progress {sink} of a release that never was");
        assert!(source >= seen.last.map(|(id, _)| id), "source progress {source:?} behind {:?}", seen.last);
        if let Some(at) = source {
            assert!(at < self.len(), "source progress {at} of a commit that never was");
            assert!(self.entries[at].fate != Fate::Gone, "source progress {at} of a commit that is gone");
        }
        for (id, entry) in self.entries.iter_mut().enumerate() {
            let seen = &seen.events[id];
            let covered = source >= Some(id);
            let mut any = entry.events.is_empty() && covered;
            let mut all = !entry.events.is_empty() || covered;
            for (event, release) in entry.events.iter_mut().enumerate() {
                match *release {
                    Release::No => {
                        any |= seen[event];
                        all &= seen[event];
                    }
                    Release::Surely => {
                        assert!(!seen[event], "entry {id} event {event} was released for good")
                    }
                    Release::Perhaps(number) => {
                        let held = number <= sink;
                        if entry.fate == Fate::OnItsWay && !held {
                            // Its release went as it did itself.
                            any |= seen[event];
                            all &= seen[event];
                            *release = Release::No;
                            continue;
                        }
                        assert!(
                            seen[event] != held,
                            "entry {id} event {event}: release {number}, progress of the sink {sink}, seen: {}",
                            seen[event]
                        );
                        any = true;
                        *release = if held { Release::Surely } else { Release::No };
                    }
                }
            }
            let released = entry.events.contains(&Release::Surely);
            assert!(all || !any || released, "entry {id} is there in part");
            match entry.fate {
                Fate::There => {
                    assert!(all, "entry {id} was there and is lost");
                    assert!(covered, "source progress {source:?} behind entry {id}");
                }
                Fate::Gone if entry.events.is_empty() => continue,
                Fate::Gone => assert!(!any, "entry {id} came back"),
                Fate::OnItsWay => {
                    let there = any || released;
                    assert!(there == covered, "entry {id}: there {there}, source progress {source:?}");
                }
                // Progress alone that failed shows only if nothing came after it.
                Fate::Failed if entry.events.is_empty() && source != Some(id) && covered => continue,
                Fate::Failed => assert!(covered || !any, "source progress {source:?} behind entry {id}"),
            }
            entry.fate =
                if all && (any || released || entry.fate == Fate::There) { Fate::There } else { Fate::Gone };
            // A start syncs what it finds.
            entry.synced = entry.fate == Fate::There;
        }
        (self.heard, self.sure_releases) = (sink, sink);
    }

    /// Compares what was seen of a disk on which a bit is wrong: `reported` says whether anybody was told.
    pub fn judge_damaged(&self, seen: &Seen, reported: bool) {
        for (id, entry) in self.entries.iter().enumerate() {
            let any = seen.events[id].iter().any(|seen| *seen);
            assert!(!any || entry.fate != Fate::Gone, "entry {id} came back");
            let lost = entry.events.iter().zip(&seen.events[id]).any(|(r, seen)| *r == Release::No && !seen);
            // What nothing vouched for may be taken for a torn tail.
            let surely = entry.rested && entry.fate == Fate::There;
            assert!(!(lost && surely) || reported, "entry {id} was there and is lost without a word");
        }
    }
}

/// What a start shows, in the order in which it is taken.
pub struct Look<'a> {
    book: &'a Book,
    seen: Vec<Vec<bool>>,
    last: Option<(usize, u32)>,
}

/// Which events were seen, by entry.
pub struct Seen {
    events: Vec<Vec<bool>>,
    last: Option<(usize, u32)>,
}

impl Look<'_> {
    pub fn piece(&mut self, payload: &[u8], events: Range<u32>) {
        let id = self.book.entry_of(payload);
        for event in events {
            assert!(self.last < Some((id, event)), "entry {id} event {event} after {:?}", self.last);
            self.last = Some((id, event));
            self.seen[id][event as usize] = true;
        }
    }

    pub fn end(self) -> Seen {
        Seen { events: self.seen, last: self.last }
    }
}
