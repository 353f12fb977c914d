//! Messages that repeat: the first few of a minute are written, the others counted. Those that differ in long numbers alone, a
//! request's id, a client's port, an offset, are the same.
//!
//! A destination that is down is tried again and again, and each try says the same. Without a limit that fills the disk
//! that the channels need.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::Level;

/// How long a message is counted from its first writing on.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of one window are written.
const WRITTEN_MAX: u64 = 5;
/// Numbers of this length and more, in hexadecimal as well, make no difference.
const NUMBER_MIN: usize = 5;
/// How many different messages are remembered; beyond it new ones are written without being counted.
const REMEMBERED_MAX: usize = 1024;

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Write it, the last of its window.
    WriteLast,
    /// Only count it.
    Count,
}

#[derive(Debug)]
struct Seen {
    /// The first one.
    message: String,
    since: Instant,
    count: u64,
    level: Level,
}

/// Messages of the last window.
#[derive(Debug, Default)]
pub struct Repeats(HashMap<(String, String), Seen>);

impl Repeats {
    /// What to do with this message.
    pub fn of(&mut self, level: Level, target: &str, message: &str, now: Instant) -> Verdict {
        let key = (target.to_string(), without_numbers(message));
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            return Verdict::Write;
        }
        let seen = self.0.entry(key).or_insert_with(|| Seen {
            message: message.to_string(),
            since: now,
            count: 0,
            level,
        });
        seen.count += 1;
        match seen.count {
            count if count < WRITTEN_MAX => Verdict::Write,
            WRITTEN_MAX => Verdict::WriteLast,
            _ => Verdict::Count,
        }
    }

    /// Ends windows that are over, and returns the first messages of those of which some were not written, with how many.
    pub fn over(&mut self, now: Instant) -> Vec<(Level, String, String, u64)> {
        let mut counted = Vec::new();
        self.0.retain(|(target, _), seen| {
            if now.duration_since(seen.since) < WINDOW {
                return true;
            }
            if seen.count > WRITTEN_MAX {
                counted.push((
                    seen.level,
                    target.clone(),
                    std::mem::take(&mut seen.message),
                    seen.count - WRITTEN_MAX,
                ));
            }
            false
        });
        counted
    }
}

/// The message with `#` in place of each long number.
fn without_numbers(message: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric();
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let word = rest.split(|character| !is_part(character)).next().unwrap_or_default();
        let is_number = word.len() >= NUMBER_MIN
            && word.bytes().all(|byte| byte.is_ascii_hexdigit())
            && word.bytes().any(|byte| byte.is_ascii_digit());
        out.push_str(if is_number { "#" } else { word });
        rest = &rest[word.len()..];
        if let Some(between) = rest.chars().next() {
            out.push(between);
            rest = &rest[between.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_long_numbers_alone_are_the_same() {
        let said = |id: &str, port: &str| format!("shard=3 peer=10.0.0.7:{port} (request {id}) faded ✓");
        assert_eq!(without_numbers(&said("5F2A0C", "40312")), "shard=3 peer=10.0.0.7:# (request #) faded ✓");
        let mut repeats = Repeats::default();
        let now = Instant::now();
        for number in 0..1000 {
            let message = said(&format!("5F2A0C{number:018X}"), &(40_000 + number).to_string());
            let verdict = repeats.of(Level::WARN, "t", &message, now);
            assert_eq!(verdict == Verdict::Count, number >= WRITTEN_MAX, "{number}");
        }
        let over = repeats.over(now + WINDOW);
        assert_eq!(over, [(Level::WARN, "t".to_string(), said("5F2A0C000000000000000000", "40000"), 995)]);
    }

    #[test]
    fn repeated_messages_are_counted_and_the_count_is_told_when_the_window_ends() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let verdicts: Vec<_> = (0..8).map(|_| repeats.of(Level::WARN, "t", "down", start)).collect();
        assert_eq!(verdicts[..4], [Verdict::Write; 4]);
        assert_eq!(verdicts[4], Verdict::WriteLast);
        assert_eq!(verdicts[5..], [Verdict::Count; 3]);
        assert_eq!(repeats.of(Level::WARN, "t", "other", start), Verdict::Write);

        assert_eq!(repeats.over(start + WINDOW / 2), []);
        let over = repeats.over(start + WINDOW);
        assert_eq!(over, [(Level::WARN, "t".to_string(), "down".to_string(), 3)]);
        assert_eq!(repeats.of(Level::WARN, "t", "down", start + WINDOW), Verdict::Write);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost_beyond_it() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        for number in 0..REMEMBERED_MAX * 2 {
            assert_eq!(repeats.of(Level::WARN, "t", &format!("no {number}"), now), Verdict::Write);
        }
        assert!(repeats.0.len() <= REMEMBERED_MAX);
    }
}
