//! What of the output is released: the sink writes it down, flushes on their way complete it.
//!
//! The sink's whole output is one stream of bytes, laid into one file after another:
//!
//! ```text
//!   stream   0 ............ 700 ......... 1300 .... 1500 ........... 1900
//!            |  file 1       | file 2                | file 3         |
//!                                  ^ released: 1000                   ^ written
//!                                  |<--- would come again after a rollback or a crash --->|
//!   record   { file 2, length 300 } { file 3, length 0 }
//! ```
//!
//! The runner releases a take when the future of its flush has said so, in order. So a flush counts as released once
//! it and all before it have been polled to success, never earlier: a mark that ran ahead would make the sink write
//! twice what comes again, and one that stayed behind would make it cut off what will not. A flush that is dropped, or
//! that failed, was rolled back; it marks the ledger *broken*, and the sink begins over at the released position.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_api::Position;
use flumen_api::channel::SinkProgress;
use parking_lot::Mutex;

use super::record::{Named, Record};

/// The key under which the channel keeps the position.
pub(super) const KEY: &str = "file";

/// One file's stretch of the stream.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub path: PathBuf,
    pub device: u64,
    /// 0 as long as the file is only named.
    pub inode: u64,
    /// The stream position of the file's first byte.
    pub start: u64,
}

struct Flush {
    number: u64,
    target: u64,
    done: bool,
}

struct Inner {
    layout: String,
    generation: u64,
    /// Everything before this stream position is durable, and its takes are released.
    released: u64,
    /// Oldest first; the first holds `released`.
    files: VecDeque<Stretch>,
    /// On their way, oldest first.
    flushes: VecDeque<Flush>,
    next_number: u64,
    /// Flushes with lower numbers belong to what was rolled back.
    valid_from: u64,
    broken: bool,
}

/// Shared between the sink and its flushes.
pub(super) struct Ledger(Mutex<Inner>);

/// Where the sink stands when it begins over.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The stream position up to which all is released.
    pub released: u64,
    /// The files to look at, as recorded.
    pub files: Vec<Named>,
}

impl Ledger {
    pub fn new(layout: &str) -> Self {
        Self(Mutex::new(Inner {
            layout: layout.to_string(),
            generation: 0,
            released: 0,
            files: VecDeque::new(),
            flushes: VecDeque::new(),
            next_number: 0,
            valid_from: 0,
            broken: false,
        }))
    }

    /// Takes over a recorded position, unless this ledger knows of a later one: the channel may not have noted the last
    /// release yet, and what was released never comes again.
    pub fn adopt(&self, position: &Position, files: Vec<Named>) {
        let mut inner = self.0.lock();
        if !inner.files.is_empty() && inner.released >= position.to {
            return;
        }
        inner.generation = position.generation;
        // A length beyond the stream's is impossible for a record of ours; the stream then begins further on.
        inner.released = position.to.max(files.first().map_or(0, |file| file.length));
        let released = inner.released;
        inner.files = files
            .into_iter()
            .map(|Named { path, device, inode, length }| Stretch {
                path,
                device,
                inode,
                start: released - length,
            })
            .collect();
    }

    /// Gives up all flushes on their way and says where to begin over.
    pub fn begin_over(&self) -> Standing {
        let mut inner = self.0.lock();
        inner.flushes.clear();
        inner.valid_from = inner.next_number;
        inner.broken = false;
        // Not from the file that seems to hold the position: of recorded files only the first one's place in the stream
        // is known, until they are found.
        Standing { released: inner.released, files: inner.named_from(0, inner.released) }
    }

    /// The files as they were found, the first of them holding the released position.
    pub fn found(&self, files: impl IntoIterator<Item = Stretch>) {
        self.0.lock().files = files.into_iter().collect();
    }

    /// Names a file that begins at stream position `start` and is about to be created. Returns the progress to record.
    pub fn name(&self, path: &Path, start: u64) -> SinkProgress {
        let mut inner = self.0.lock();
        inner.files.push_back(Stretch { path: path.into(), device: 0, inode: 0, start });
        inner.progress(inner.released)
    }

    /// The file named last was created.
    pub fn created(&self, device: u64, inode: u64) {
        let mut inner = self.0.lock();
        if let Some(last) = inner.files.back_mut() {
            (last.device, last.inode) = (device, inode);
        }
        inner.forget_released();
    }

    /// Forgets the file named last: it was not created.
    pub fn unname(&self) {
        self.0.lock().files.pop_back();
    }

    /// Forgets all files after the one at `path`: they hold nothing any more.
    pub fn forget_after(&self, path: &Path) {
        let mut inner = self.0.lock();
        if let Some(at) = inner.files.iter().position(|file| file.path == path) {
            inner.files.truncate(at + 1);
        }
    }

    /// How many files hold, or may hold, what is not released.
    pub fn open_files(&self) -> usize {
        self.0.lock().files.len()
    }

    pub fn released(&self) -> u64 {
        self.0.lock().released
    }

    /// All that was delivered is flushed: what was written since, up to stream position `end`, is durable and belongs to no
    /// event (a file's header, or its end). Unless a flush is still on its way, it counts as released; else each file that
    /// is rolled without an event would seem to hold one.
    pub fn passed_over(&self, end: u64) {
        let mut inner = self.0.lock();
        if inner.flushes.is_empty() && !inner.broken {
            inner.released = inner.released.max(end);
            inner.forget_released();
        }
    }

    /// A flush has failed or was dropped since the sink began over.
    pub fn is_broken(&self) -> bool {
        self.0.lock().broken
    }

    /// A flush of everything before stream position `target` begins.
    pub fn begin_flush(self: &Arc<Self>, target: u64) -> FlushMark {
        let mut inner = self.0.lock();
        let number = inner.next_number;
        inner.next_number += 1;
        inner.flushes.push_back(Flush { number, target, done: false });
        FlushMark { ledger: self.clone(), number, target, settled: false }
    }
}

impl Inner {
    /// The file that holds stream position `at`: where one ends and the next begins, the next.
    fn holding(&self, at: u64) -> usize {
        self.files.iter().rposition(|file| file.start <= at).unwrap_or(0)
    }

    /// Forgets files that are released to their end and have a successor.
    fn forget_released(&mut self) {
        let holding = self.holding(self.released);
        self.files.drain(..holding);
    }

    fn named_from(&self, first: usize, at: u64) -> Vec<Named> {
        let named = |(i, file): (usize, &Stretch)| Named {
            path: file.path.clone(),
            device: file.device,
            inode: file.inode,
            length: if i == 0 { at.saturating_sub(file.start) } else { 0 },
        };
        self.files.iter().skip(first).enumerate().map(named).collect()
    }

    /// What holds once all before stream position `at` is released. Names files begun meanwhile, too: a release that
    /// left out a file which an earlier record names would orphan it.
    fn progress(&self, at: u64) -> SinkProgress {
        let record = Record { layout: self.layout.clone(), files: self.named_from(self.holding(at), at) };
        let position = Position { generation: self.generation, began: 0, to: at, rest: record.encode() };
        SinkProgress { key: KEY.into(), position: Some(position) }
    }
}

/// One flush on its way. Dropping it unsettled says that its takes were rolled back.
pub(super) struct FlushMark {
    ledger: Arc<Ledger>,
    number: u64,
    target: u64,
    settled: bool,
}

impl FlushMark {
    /// All before the flush's target is durable, and the caller is about to release it. `None`: the sink has begun over
    /// since, and nothing may be released.
    pub fn done(mut self) -> Option<SinkProgress> {
        self.settled = true;
        let mut guard = self.ledger.0.lock();
        let inner = &mut *guard;
        if self.number < inner.valid_from || inner.broken {
            return None;
        }
        if let Some(flush) = inner.flushes.iter_mut().find(|flush| flush.number == self.number) {
            flush.done = true;
        }
        while inner.flushes.front().is_some_and(|flush| flush.done) {
            inner.released = inner.flushes.pop_front().map_or(inner.released, |flush| flush.target);
        }
        let progress = inner.progress(self.target);
        inner.forget_released();
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

    fn ledger() -> Arc<Ledger> {
        let ledger = Arc::new(Ledger::new("TEXT"));
        ledger.name(Path::new("/d/1"), 0);
        ledger.created(1, 11);
        ledger
    }

    fn files(progress: SinkProgress) -> Vec<(String, u64)> {
        let record = Record::decode(&progress.position.expect("a position").rest).expect("a record");
        record.files.iter().map(|file| (file.path.display().to_string(), file.length)).collect()
    }

    fn list(files: &[(&str, u64)]) -> Vec<(String, u64)> {
        files.iter().map(|(path, length)| (path.to_string(), *length)).collect()
    }

    #[test]
    fn a_flush_is_released_only_after_all_before_it() {
        let ledger = ledger();
        let (first, second) = (ledger.begin_flush(10), ledger.begin_flush(20));
        assert!(second.done().is_some());
        assert_eq!(ledger.released(), 0);
        assert!(first.done().is_some());
        assert_eq!(ledger.released(), 20);
    }

    #[test]
    fn a_flush_begun_before_a_roll_names_the_file_begun_after_it() {
        let ledger = ledger();
        let before = ledger.begin_flush(100);
        let named = ledger.name(Path::new("/d/2"), 150);
        assert_eq!(files(named), list(&[("/d/1", 0), ("/d/2", 0)]));
        let after = ledger.begin_flush(180);
        assert_eq!(files(before.done().expect("valid")), list(&[("/d/1", 100), ("/d/2", 0)]));
        assert_eq!(files(after.done().expect("valid")), list(&[("/d/2", 30)]));
        assert_eq!(ledger.open_files(), 1);
    }

    #[test]
    fn a_dropped_flush_breaks_the_ledger_until_the_sink_begins_over() {
        let ledger = ledger();
        let (first, second) = (ledger.begin_flush(10), ledger.begin_flush(20));
        drop(first);
        assert!(ledger.is_broken());
        assert!(second.done().is_none(), "what comes after a rollback is rolled back");
        assert_eq!(ledger.begin_over().released, 0);
        assert!(!ledger.is_broken());
    }

    #[test]
    fn a_flush_of_an_earlier_beginning_releases_nothing() {
        let ledger = ledger();
        let old = ledger.begin_flush(10);
        ledger.begin_over();
        assert!(old.done().is_none());
        assert_eq!(ledger.released(), 0);
    }

    #[test]
    fn an_older_position_of_the_channel_does_not_take_back_a_release() {
        let ledger = ledger();
        let early = ledger.begin_flush(10).done().expect("valid").position.expect("a position");
        ledger.begin_flush(20).done().expect("valid");
        ledger.adopt(&early, Record::decode(&early.rest).expect("a record").files);
        assert_eq!(ledger.begin_over().files[0].length, 20);
    }
}
