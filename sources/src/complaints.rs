//! Warnings that repeat are said once a minute for each thing they are about.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

const AGAIN: Duration = Duration::from_secs(60);
/// More than this many things at once are complained of without remembering: the memory of a log is not a leak.
const REMEMBERED_MAX: usize = 4096;

/// Who was complained of, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaints(HashMap<(String, &'static str), (Instant, u64)>);

impl Complaints {
    /// Logs that `path` has trouble `what`, unless that was said a short while ago.
    pub fn warn(&mut self, path: &Path, what: &'static str, error: impl Display) {
        let now = Instant::now();
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        let (said, held_back) = self.0.entry((path.display().to_string(), what)).or_insert((now, u64::MAX));
        if *held_back != u64::MAX && now.duration_since(*said) < AGAIN {
            *held_back += 1;
            return;
        }
        let repeated = if *held_back == u64::MAX { 0 } else { *held_back };
        tracing::warn!(path = %path.display(), %error, repeated, "{what}");
        (*said, *held_back) = (now, 0);
    }
}
