//! Keeps a source that has several puts on their way from leaving a gap behind a put that failed.
//!
//! ```text
//!   put 1  [0, 100)    fails in c2
//!   put 2  [100, 200)  was built before the source heard of it; c2 has been reopened meanwhile and would take it
//!   put 1  [0, 100)    again: c2 stands at 200 and drops it as known - acked, and lost
//! ```
//!
//! So from a failure on, puts that begin beyond the failed one fail as well, until one begins at or before it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use flumen_api::progress::Progress;
use parking_lot::Mutex;

/// Which keys of a source have to go back, and how far.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Whether `open` holds anything: read at every put, where a failure is rare.
    any: AtomicBool,
    /// Generation and position, by key.
    open: Mutex<HashMap<String, (u64, u64)>>,
}

impl Gaps {
    /// A put with this progress failed after some channel may have appended it.
    pub fn failed(&self, progress: &[Progress]) {
        let mut open = self.open.lock();
        for made in progress {
            let gap = open.entry(made.key.clone()).or_insert((made.generation, made.from));
            if gap.0 != made.generation || made.from < gap.1 {
                *gap = (made.generation, made.from);
            }
        }
        self.any.store(!open.is_empty(), Ordering::Release);
    }

    /// The first key along which a put with this progress would leave a gap.
    pub fn left_by<'a>(&self, progress: &'a [Progress]) -> Option<&'a str> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let open = self.open.lock();
        let leaves = |made: &&Progress| {
            open.get(&made.key)
                .is_some_and(|&(generation, from)| made.generation == generation && made.from > from)
        };
        progress.iter().find(leaves).map(|made| made.key.as_str())
    }

    /// A put with this progress, which left no gap, has been appended: its keys have gone back.
    pub fn closed_by(&self, progress: &[Progress]) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut open = self.open.lock();
        for made in progress {
            open.remove(&made.key);
        }
        self.any.store(!open.is_empty(), Ordering::Release);
    }

    /// The source begins anew, where its channels stand.
    pub fn forget(&self) {
        self.open.lock().clear();
        self.any.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(generation: u64, from: u64, to: u64) -> Vec<Progress> {
        let key = "k".to_string();
        vec![Progress { key, generation, from, to, rest: Default::default(), retire: false }]
    }

    #[test]
    fn after_a_failure_puts_beyond_it_leave_a_gap_until_the_source_went_back() {
        let gaps = Gaps::default();
        assert_eq!(gaps.left_by(&span(1, 100, 200)), None);
        gaps.failed(&span(1, 100, 200));
        gaps.failed(&span(1, 200, 300));
        assert_eq!(gaps.left_by(&span(1, 200, 300)), Some("k"));
        assert_eq!(gaps.left_by(&span(1, 300, 400)), Some("k"));
        assert_eq!(gaps.left_by(&span(1, 100, 200)), None);
        gaps.closed_by(&span(1, 100, 200));
        assert_eq!(gaps.left_by(&span(1, 200, 300)), None);
    }

    #[test]
    fn a_new_generation_and_a_new_start_leave_no_gap() {
        let gaps = Gaps::default();
        gaps.failed(&span(1, 100, 200));
        assert_eq!(gaps.left_by(&span(2, 500, 600)), None);
        gaps.forget();
        assert_eq!(gaps.left_by(&span(1, 500, 600)), None);
    }
}
