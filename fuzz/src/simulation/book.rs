//! The oracle: what is known of each commit, and what a log must therefore hold.
//!
//! | commit | what a look must find |
//! | --- | --- |
//! | acked, or found by an earlier look | all its events, but those that were released |
//! | acked before its sync, not long ago and with not many bytes behind it, when the power was cut | it as a whole or not at all; then none that came later either, and not the progress that came with it |
//! | on its way when the process ended, or failed | it as a whole or not at all; from then on it is as acked, or never seen again |
//! | events released | after the end of a process: there again or not, until the log has rested or had its time to write that down, then not; in the same process: not |
//!
//! What is there is in the order of the appends, each event once, and its bytes are those that were appended.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::random::mix;
use crate::violation::{Broken, Kind};

/// Most events of a commit: their states are bits of a u64.
pub const EVENTS_MAX: u32 = 64;

/// What is known of all commits, in the order of their appends.
#[derive(Debug, Default)]
pub struct Book {
    commits: Vec<Entry>,
    /// All commits below are released for good.
    floor: usize,
    /// What was released and is not for good yet, oldest first: since which turn of the log, and the commit's events.
    recent: VecDeque<(u64, usize, u64)>,
    /// What was acked and is perhaps not synced yet, oldest first: at which turn of the log, and the commit.
    unsynced: VecDeque<(u64, usize)>,
    /// Bytes that may be acked and not synced at a time.
    unsynced_bytes_max: u64,
    /// Events that cannot be read, and may be passed over.
    excused: BTreeMap<usize, u64>,
}

#[derive(Debug)]
struct Entry {
    events: u32,
    bytes: usize,
    fate: Fate,
    /// Events that were released since they were last seen.
    released: u64,
    /// Events that must not be seen again.
    gone: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    OnItsWay,
    /// Its process ended, or its ticket failed: the log has it or has it not.
    Unknown,
    Acked,
    /// Acked, and its sync may be to come.
    Written,
    /// Was that when the power was cut, as were others below this number.
    Perhaps(usize),
    /// Was unknown, and was found.
    Found,
    /// Was unknown, or not synced when the power was cut, and was not found.
    Cut,
    /// The same, with all its events released before: nobody can tell whether it is there.
    Over,
}

impl Fate {
    fn must_be_there(self) -> bool {
        matches!(self, Self::Acked | Self::Written | Self::Found)
    }
}

/// What happened since the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The process ended, and another one opened the log.
    End,
    /// The log was in one process all the time, perhaps failed and reopened.
    Nothing,
}

/// What a look at the log counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events there that were acked.
    pub recovered: u64,
    /// Events there that had been released.
    pub repeated: u64,
    /// Events that are not there although they were acked and not released.
    pub lost: u64,
    /// Events that were acked before their sync, and that the power cut took.
    pub unsynced: u64,
}

/// All that a log holds, piece by piece.
#[derive(Debug)]
pub struct Look<'a> {
    book: &'a mut Book,
    since: Since,
    /// Events seen, by commit from the floor on.
    seen: Vec<u64>,
    last: Option<(usize, u32)>,
}

impl Book {
    /// How many commits there were.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// The bytes of the next commit to be appended.
    pub fn payload(&self, bytes: usize) -> Vec<u8> {
        payload(self.len(), bytes)
    }

    /// Enters the commit whose payload was just appended; returns its number.
    pub fn append(&mut self, events: u32, bytes: usize) -> usize {
        assert!((1..=EVENTS_MAX).contains(&events), "{events} events");
        self.commits.push(Entry { events, bytes, fate: Fate::OnItsWay, released: 0, gone: 0 });
        self.len() - 1
    }

    /// The log confirmed a commit; returns how many events it has. `late`: at which turn of the log, and how many bytes may
    /// wait for their sync, where it confirms before that.
    pub fn ack(&mut self, id: usize, late: Option<(u64, u64)>) -> u32 {
        self.commits[id].fate = Fate::Acked;
        if let Some((turn, bytes_max)) = late {
            self.commits[id].fate = Fate::Written;
            let others = if self.unsynced.is_empty() { 0 } else { self.unsynced_bytes_max };
            self.unsynced_bytes_max = bytes_max.max(others);
            self.unsynced.push_back((turn, id));
        }
        self.commits[id].events
    }

    /// What was acked before this turn is synced.
    pub fn synced_before(&mut self, turn: u64) {
        while self.unsynced.front().is_some_and(|(acked, _)| *acked < turn)
            && let Some((_, id)) = self.unsynced.pop_front()
        {
            self.commits[id].fate = Fate::Acked;
        }
    }

    /// All that was acked, and not taken by a power cut since, is synced.
    pub fn all_synced(&mut self) {
        self.synced_before(u64::MAX);
    }

    /// What is not synced may be gone.
    pub fn power_cut(&mut self) {
        let all = self.len();
        for (_, id) in self.unsynced.drain(..) {
            self.commits[id].fate = Fate::Perhaps(all);
        }
    }

    /// These events may be passed over by takes, or not.
    pub fn excuse(&mut self, id: usize, events: Range<u32>) {
        *self.excused.entry(id).or_default() |= mask(events);
    }

    /// From now on no event may be passed over.
    pub fn excuse_nothing(&mut self) {
        self.excused.clear();
    }

    /// Whether an earlier look did not find a commit, which it should have found if it was there.
    pub fn is_cut(&self, id: usize) -> bool {
        self.commits[id].fate == Fate::Cut
    }

    /// The log does not say, and will not say any more, whether it has a commit.
    pub fn fail(&mut self, id: usize) {
        if self.commits[id].fate == Fate::OnItsWay {
            self.commits[id].fate = Fate::Unknown;
        }
    }

    /// Which commit a piece is of, that a look has seen.
    pub fn id(&self, payload: &[u8]) -> usize {
        let id = number(payload).filter(|id| *id < self.len());
        id.expect("a piece that a look has seen")
    }

    /// Events of a commit were released, at this turn of the log.
    pub fn release(&mut self, id: usize, events: Range<u32>, turn: u64) {
        let events = mask(events);
        self.commits[id].released |= events;
        self.recent.push_back((turn, id, events));
    }

    /// What was released up to this turn stays so: the log had its time to write that down.
    pub fn released_for_good(&mut self, turn: u64) {
        while self.recent.front().is_some_and(|(released, ..)| *released <= turn)
            && let Some((_, id, events)) = self.recent.pop_front()
        {
            // What was seen since is not released any more.
            let commit = &mut self.commits[id];
            commit.gone |= commit.released & events;
        }
    }

    /// When the releases so far were made says nothing any more: their life is over, or something held the log up.
    pub fn forget_times(&mut self) {
        self.recent.clear();
    }

    /// The log has rested: what was released stays so.
    pub fn rest(&mut self) {
        for commit in &mut self.commits[self.floor..] {
            commit.gone |= commit.released;
        }
        let done = |commit: &&Entry| {
            commit.gone == mask(0..commit.events) || matches!(commit.fate, Fate::Cut | Fate::Over)
        };
        self.floor += self.commits[self.floor..].iter().take_while(done).count();
    }

    /// Bytes of the log were damaged, and with them perhaps any release.
    pub fn releases_may_be_lost(&mut self) {
        for commit in &mut self.commits {
            commit.released |= std::mem::take(&mut commit.gone);
        }
        self.floor = 0;
    }

    /// The last commit that was acked, and that no power cut can have taken.
    pub fn last_acked(&self) -> Option<usize> {
        self.commits.iter().rposition(|commit| matches!(commit.fate, Fate::Acked | Fate::Written))
    }

    /// Begins to compare what a log holds.
    pub fn look(&mut self, since: Since) -> Look<'_> {
        let seen = vec![0; self.len() - self.floor];
        Look { book: self, since, seen, last: None }
    }
}

impl Look<'_> {
    /// The next events that the log gave: some of one commit. Returns which.
    pub fn piece(&mut self, payload: &[u8], events: Range<u32>) -> Result<usize, Broken> {
        let first = events.start;
        let Some((id, commit)) = number(payload).and_then(|id| Some((id, self.book.commits.get(id)?))) else {
            let shown = &payload[..payload.len().min(16)];
            return Err(Broken::new(Kind::NeverWritten, format!("a commit that begins with {shown:02x?}")));
        };
        if !is_payload(payload, id, commit.bytes) {
            return Err(Broken::new(Kind::Changed, format!("commit {id} has other bytes than it was given")));
        }
        if events.is_empty() || events.end > commit.events {
            let what = format!("events {events:?} of commit {id}, which has {}", commit.events);
            return Err(Broken::new(Kind::NeverWritten, what));
        }
        let bits = mask(events.clone());
        let how = if matches!(commit.fate, Fate::Cut | Fate::Over) {
            Some((Kind::Order, "were not there at an earlier look and are there now"))
        } else if id < self.book.floor || commit.gone & bits != 0 {
            Some((Kind::Repeated, "were released for good and are there again"))
        } else if self.since == Since::Nothing && commit.released & bits != 0 {
            Some((Kind::Repeated, "were released by this process and are there again"))
        } else if self.seen[id - self.book.floor] & bits != 0 {
            Some((Kind::Repeated, "are there twice"))
        } else {
            None
        };
        if let Some((kind, how)) = how {
            return Err(Broken::new(kind, format!("events {events:?} of commit {id} {how}")));
        }
        if self.last.is_some_and(|last| last >= (id, first)) {
            let what = format!("commit {id} event {first} comes after {:?}", self.last);
            return Err(Broken::new(Kind::Order, what));
        }
        self.last = Some((id, events.end - 1));
        self.seen[id - self.book.floor] |= bits;
        Ok(id)
    }

    /// Everything was given, or everything below an event of a commit: compares, and notes what became of what.
    pub fn end(self, stop: Option<(usize, u32)>) -> Result<Counts, (Counts, Broken)> {
        let mut counts = Counts::default();
        let mut broken = None;
        let mut hole = Hole::default();
        let Book { commits, floor, excused, unsynced_bytes_max, .. } = self.book;
        let floor = *floor;
        for ((id, commit), &seen) in (floor..).zip(&mut commits[floor..]).zip(&self.seen) {
            let asked_for = match stop {
                Some((stop, _)) if stop < id => continue,
                Some((stop, event)) if stop == id => mask(0..event.min(commit.events)),
                _ => mask(0..commit.events),
            };
            let whole = asked_for == mask(0..commit.events);
            let excused = excused.get(&id).copied().unwrap_or(0);
            let due = asked_for & !commit.released & !commit.gone;
            let lost = due & !seen & !excused;
            let there = seen != 0 || commit.released | commit.gone != 0;
            if commit.fate.must_be_there() {
                counts.lost += u64::from(lost.count_ones());
            }
            if matches!(commit.fate, Fate::Acked | Fate::Written | Fate::Perhaps(_)) {
                counts.recovered += u64::from(seen.count_ones());
            }
            counts.repeated += u64::from((seen & commit.released).count_ones());
            let what = match (commit.fate, lost) {
                (_, 0) => None,
                (Fate::Acked | Fate::Written, _) => {
                    Some(format!("{} events of commit {id} were acked", lost.count_ones()))
                }
                (Fate::Found, _) => {
                    Some(format!("{} events of commit {id} were there at an earlier look", lost.count_ones()))
                }
                (Fate::Perhaps(_), _) if seen == 0 && lost == due => None,
                (Fate::Unknown | Fate::OnItsWay, _) if !there => None,
                (Fate::Cut | Fate::Over, _) => None,
                _ => Some(format!("{} events of commit {id} are not there, others are", lost.count_ones())),
            };
            let what = what.or_else(|| hole.is_passed_by(id).filter(|_| seen != 0));
            broken = broken.or(what.map(|what| Broken::new(Kind::Lost, what)));
            match commit.fate {
                Fate::Unknown if whole => {
                    // Whoever sent it, and sent it again when it was not confirmed, has it twice.
                    counts.repeated += u64::from(seen.count_ones());
                    // What was released is there: it had been taken.
                    commit.fate = if there { Fate::Found } else { Fate::Cut };
                }
                Fate::Perhaps(_) if whole && due == 0 && seen == 0 => commit.fate = Fate::Over,
                Fate::Perhaps(_) if whole && lost == 0 => commit.fate = Fate::Acked,
                Fate::Perhaps(all) if whole => {
                    commit.fate = Fate::Cut;
                    counts.unsynced += u64::from(commit.events);
                    hole.grow(id, all, if is_noise(id) { commit.bytes } else { 0 });
                }
                _ => {}
            }
            // What was passed over once is given up for good.
            commit.released = commit.released & !seen | asked_for & excused & !seen;
        }
        if hole.bytes_behind > *unsynced_bytes_max {
            let what = format!(
                "a power cut took {} bytes that were acked behind commit {:?}; no more than {unsynced_bytes_max} may wait \
                 for their sync",
                hole.bytes_behind, hole.first
            );
            broken = broken.or(Some(Broken::new(Kind::Lost, what)));
        }
        broken.map_or(Ok(counts), |broken| Err((counts, broken)))
    }
}

/// What a power cut took of what was acked before its sync.
#[derive(Default)]
struct Hole {
    /// The first commit, and the number below which others were in the same life.
    first: Option<(usize, usize)>,
    /// Bytes of those behind it: of the first itself most may have been synced.
    bytes_behind: u64,
}

impl Hole {
    fn grow(&mut self, id: usize, all: usize, bytes: usize) {
        if self.first.is_some_and(|(_, of)| of == all) {
            self.bytes_behind += bytes as u64;
        } else {
            *self = Self { first: Some((id, all)), bytes_behind: 0 };
        }
    }

    /// What is wrong if commit `id` is there.
    fn is_passed_by(&self, id: usize) -> Option<String> {
        let (first, _) = self.first.filter(|(first, all)| (first + 1..*all).contains(&id))?;
        Some(format!("commit {first} was acked and is gone, and {id} is there, which came later"))
    }
}

/// Bits of these events.
fn mask(events: Range<u32>) -> u64 {
    let below = |n: u32| if n >= u64::BITS { u64::MAX } else { (1 << n) - 1 };
    below(events.end) & !below(events.start)
}

/// The bytes of commit `id`: its number, then bytes that follow from it.
fn payload(id: usize, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes + 16);
    payload.extend_from_slice(&(id as u64).to_le_bytes());
    words(id, |word| {
        payload.extend_from_slice(word);
        payload.len() < bytes
    });
    payload.truncate(bytes.max(8));
    payload
}

/// Whether these are the bytes of commit `id`, without making them anew.
fn is_payload(payload: &[u8], id: usize, bytes: usize) -> bool {
    let Some((_number, mut rest)) = payload.split_first_chunk::<8>() else { return false };
    let mut same = payload.len() == bytes.max(8);
    words(id, |word| {
        let (now, later) = rest.split_at(rest.len().min(word.len()));
        same &= now == &word[..now.len()];
        rest = later;
        same && !rest.is_empty()
    });
    same
}

/// Gives the words of commit `id` behind its number to `take`, for as long as it wants more.
fn words(id: usize, mut take: impl FnMut(&[u8; 8]) -> bool) {
    let mut random = mix(id as u64 + 1) | 1;
    while take(&random.to_le_bytes()) {
        if is_noise(id) {
            random = random.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        }
    }
}

/// Whether nothing can compress a commit's bytes. Others are one word over and over.
fn is_noise(id: usize) -> bool {
    !id.is_multiple_of(3)
}

/// The number at a payload's start.
fn number(payload: &[u8]) -> Option<usize> {
    let bytes = payload.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 100;

    /// Four acked commits of three events, then one that was not acked.
    fn book() -> Book {
        let mut book = Book::default();
        for _ in 0..5 {
            book.append(3, BYTES);
        }
        (0..4).for_each(|id| assert_eq!(book.ack(id, None), 3));
        book
    }

    fn whole() -> Vec<(Vec<u8>, Range<u32>)> {
        (0..4).map(|id| (payload(id, BYTES), 0..3)).collect()
    }

    fn verdict(book: &mut Book, pieces: &[(Vec<u8>, Range<u32>)]) -> Result<Counts, Kind> {
        verdict_since(Since::End, book, pieces)
    }

    fn verdict_since(
        since: Since,
        book: &mut Book,
        pieces: &[(Vec<u8>, Range<u32>)],
    ) -> Result<Counts, Kind> {
        let mut look = book.look(since);
        for (payload, events) in pieces {
            look.piece(payload, events.clone()).map_err(|broken| broken.kind)?;
        }
        look.end(None).map_err(|(_, broken)| broken.kind)
    }

    #[test]
    fn what_was_acked_is_accepted_with_or_without_what_was_not() {
        let counts = Counts { recovered: 12, ..Counts::default() };
        assert_eq!(verdict(&mut book(), &whole()), Ok(counts));
        let more = [whole(), vec![(payload(4, BYTES), 0..3)]].concat();
        assert_eq!(verdict(&mut book(), &more), Ok(counts));
        let part = [whole(), vec![(payload(4, BYTES), 0..2)]].concat();
        assert_eq!(verdict(&mut book(), &part), Err(Kind::Lost));
    }

    #[test]
    fn a_lost_event_is_found_wherever_it_was() {
        for lost in 0..4 {
            let mut pieces = whole();
            pieces.remove(lost);
            assert_eq!(verdict(&mut book(), &pieces), Err(Kind::Lost), "commit {lost}");
            let mut pieces = whole();
            pieces[lost].1 = 0..2;
            assert_eq!(verdict(&mut book(), &pieces), Err(Kind::Lost), "one event of commit {lost}");
        }
    }

    #[test]
    fn a_repeated_event_is_found_once_its_release_is_for_good() {
        let mut twice = whole();
        twice.push(twice[3].clone());
        assert_eq!(verdict(&mut book(), &twice), Err(Kind::Repeated));

        let mut book = book();
        book.release(0, 0..3, 0);
        book.release(2, 1..2, 0);
        let counts = Counts { recovered: 12, repeated: 4, ..Counts::default() };
        assert_eq!(verdict(&mut book, &whole()), Ok(counts), "the releases were not durable yet");
        book.release(0, 0..3, 0);
        book.rest();
        assert_eq!(verdict(&mut book, &whole()), Err(Kind::Repeated));
        assert_eq!(verdict(&mut book, &whole()[1..]), Ok(Counts { recovered: 9, ..Counts::default() }));
        assert_eq!(verdict(&mut book, &whole()[2..]), Err(Kind::Lost), "commit 1 was not released");
    }

    #[test]
    fn what_was_released_long_ago_may_not_come_back_though_the_log_never_rested() {
        let mut book = book();
        book.release(0, 0..3, 10);
        book.release(2, 0..1, 60);
        book.released_for_good(40);
        assert_eq!(verdict(&mut book, &whole()), Err(Kind::Repeated));
        assert!(verdict(&mut book, &whole()[1..]).is_ok(), "what was released since may come back");
    }

    #[test]
    fn swapped_commits_are_found() {
        let mut swapped = whole();
        swapped.swap(1, 2);
        assert_eq!(verdict(&mut book(), &swapped), Err(Kind::Order));
    }

    #[test]
    fn a_changed_byte_is_found_and_so_is_what_was_never_appended() {
        for at in [9, 50, BYTES - 1] {
            let mut changed = whole();
            changed[1].0[at] ^= 1;
            assert_eq!(verdict(&mut book(), &changed), Err(Kind::Changed), "byte {at}");
        }
        let mut short = whole();
        short[1].0.pop();
        assert_eq!(verdict(&mut book(), &short), Err(Kind::Changed));
        let more = [whole(), vec![(payload(5, BYTES), 0..3)]].concat();
        assert_eq!(verdict(&mut book(), &more), Err(Kind::NeverWritten));
        let mut more = whole();
        more[3].1 = 0..4;
        assert_eq!(verdict(&mut book(), &more), Err(Kind::NeverWritten));
        assert_eq!(verdict(&mut book(), &[(vec![1, 2], 0..1)]), Err(Kind::NeverWritten));
    }

    #[test]
    fn what_was_not_confirmed_is_there_for_good_or_never() {
        let more = [whole(), vec![(payload(4, BYTES), 0..3)]].concat();
        let unknown = || {
            let mut book = book();
            book.fail(4);
            book
        };
        let mut found = unknown();
        assert_eq!(
            verdict(&mut found, &more),
            Ok(Counts { recovered: 12, repeated: 3, ..Counts::default() })
        );
        assert_eq!(verdict(&mut found, &whole()), Err(Kind::Lost));
        let mut cut = unknown();
        assert_eq!(verdict(&mut cut, &whole()), Ok(Counts { recovered: 12, ..Counts::default() }));
        assert_eq!(verdict(&mut cut, &more), Err(Kind::Order));
    }

    #[test]
    fn what_was_not_confirmed_and_was_taken_and_released_is_there() {
        let mut book = book();
        book.fail(4);
        book.release(4, 0..3, 0);
        assert!(verdict_since(Since::Nothing, &mut book, &whole()).is_ok());
        assert!(!book.is_cut(4));
        let more = [whole(), vec![(payload(4, BYTES), 0..3)]].concat();
        assert!(verdict(&mut book, &more).is_ok(), "the release was not durable yet");
    }

    #[test]
    fn in_one_process_a_release_holds_at_once() {
        let mut book = book();
        book.release(0, 0..2, 0);
        assert_eq!(verdict_since(Since::Nothing, &mut book, &whole()), Err(Kind::Repeated));
        let mut rest = whole();
        rest[0].1 = 2..3;
        assert!(verdict_since(Since::Nothing, &mut book, &rest).is_ok());
    }

    #[test]
    fn where_takes_stop_all_that_comes_before_must_have_been_there() {
        let stopped = |pieces: &[(Vec<u8>, Range<u32>)], stop| {
            let mut book = book();
            let mut look = book.look(Since::End);
            for (payload, events) in pieces {
                look.piece(payload, events.clone()).unwrap();
            }
            look.end(Some(stop)).map_err(|(_, broken)| broken.kind)
        };
        assert!(stopped(&whole()[..2], (2, 0)).is_ok());
        assert_eq!(stopped(&whole()[..1], (2, 0)), Err(Kind::Lost));
        assert_eq!(stopped(&whole()[..2], (2, 1)), Err(Kind::Lost));
        let part = [whole()[..2].to_vec(), vec![(payload(2, BYTES), 0..1)]].concat();
        assert!(stopped(&part, (2, 1)).is_ok());
    }
}
