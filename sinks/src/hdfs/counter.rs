//! The numbers in files' names.
//!
//! A row of numbers begins at the time in milliseconds and goes on one by one. All sinks of this process that name files of one
//! path and prefix share it while any of them does: two rows that began in the same millisecond would give one name twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

static ROWS: LazyLock<Mutex<HashMap<String, Weak<AtomicU64>>>> = LazyLock::new(Mutex::default);

/// The row of one path and prefix.
pub(super) struct Counter {
    of: String,
    last: Arc<AtomicU64>,
}

impl Counter {
    /// Goes on from now, or from where another sink of this process is.
    pub fn new(of: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        let mut rows = ROWS.lock();
        let last = rows.get(of).and_then(Weak::upgrade).unwrap_or_default();
        last.fetch_max(now, Ordering::Relaxed);
        rows.insert(of.to_string(), Arc::downgrade(&last));
        Self { of: of.to_string(), last }
    }

    /// The next number, which nobody else in this process gets.
    pub fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number that was given last.
    #[cfg(test)]
    pub fn last(&self) -> &AtomicU64 {
        &self.last
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let mut rows = ROWS.lock();
        // Nobody takes another one meanwhile.
        if Arc::strong_count(&self.last) == 1 {
            rows.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_of_one_path_and_prefix_never_get_one_number_twice_and_a_row_ends_with_the_last() {
        let (one, two) = (Counter::new("/counted/x"), Counter::new("/counted/x"));
        let mut numbers: Vec<u64> = (0..50).flat_map(|_| [one.next(), two.next(), two.next()]).collect();
        numbers.dedup();
        assert!(numbers.is_sorted() && numbers.len() == 150, "{numbers:?}");
        drop(one);
        assert!(two.next() > numbers[149]);
        assert!(ROWS.lock().contains_key("/counted/x"));
        drop(two);
        assert!(!ROWS.lock().contains_key("/counted/x"));
    }
}
