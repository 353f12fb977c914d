//! Who makes room where all places are taken: the client that has rested longest.
//!
//! ```text
//!   between two calls, for a second at least      ── the longest of them is let go, once it has all its answers
//!   in the middle of a call, for a minute or more ── where nobody rests, the longest of them
//!   a call whose events are being put             ── never
//! ```
//!
//! Only clients whose calls are answered are guests: a call without an answer is made again on a new connection, so whoever
//! is let go loses nothing. Idle connections can therefore keep nobody out, however many there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Who has done nothing for so long may be let go.
const REST_LEAST: Duration = Duration::from_secs(1);
/// Whose call has been arriving for so long may be let go.
const CALL_LONGEST: Duration = Duration::from_secs(60);
/// The state of one whose call is at hand, or who has been told to go.
const BUSY: u64 = u64::MAX;

/// The guests of a source.
#[derive(Clone, Debug)]
pub(crate) struct Guests(Arc<List>);

#[derive(Debug)]
struct List {
    opened: Instant,
    number: AtomicU64,
    seated: Mutex<HashMap<u64, Arc<Seat>>>,
}

#[derive(Debug)]
struct Seat {
    /// Twice the milliseconds from the opening to its last change, and one if it is in the middle of a call; or [`BUSY`].
    state: AtomicU64,
    leave: CancellationToken,
}

/// A client; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    list: Arc<List>,
    number: u64,
    seat: Arc<Seat>,
}

impl Guests {
    pub fn new() -> Self {
        let (number, seated) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(List { opened: Instant::now(), number, seated }))
    }

    /// A client has come, which is to go when the token says so.
    pub fn enter(&self, leave: CancellationToken) -> Guest {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat { state: AtomicU64::new(BUSY), leave });
        self.0.seated.lock().insert(number, seat.clone());
        Guest { list: self.0.clone(), number, seat }
    }

    /// Tells the one that can best be done without to go, if there is one.
    pub fn make_room(&self, now: Instant) -> bool {
        let now = self.0.millis(now);
        let seated = self.0.seated.lock();
        let ages = seated.values().filter_map(|seat| {
            let state = seat.state.load(Ordering::Relaxed);
            let (is_within, age) = (state & 1 == 1, now.saturating_sub(state >> 1));
            let least = if is_within { CALL_LONGEST } else { REST_LEAST };
            (state != BUSY && age >= least.as_millis() as u64).then_some(((!is_within, age), seat))
        });
        let Some((_, seat)) = ages.max_by_key(|(order, _)| *order) else { return false };
        seat.state.store(BUSY, Ordering::Relaxed);
        seat.leave.cancel();
        true
    }
}

impl List {
    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.opened).as_millis() as u64
    }
}

impl Guest {
    /// Its calls are at hand: it cannot be done without.
    pub fn is_served(&self) {
        self.seat.state.store(BUSY, Ordering::Relaxed);
    }

    /// From `now` on it is waited for, for a call or for the rest of one.
    pub fn is_waited_for(&self, is_within: bool, now: Instant) {
        let state = (self.list.millis(now) << 1) | u64::from(is_within);
        self.seat.state.store(state, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.list.seated.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_rested_longest_goes_first_and_one_that_is_served_never() {
        let guests = Guests::new();
        let begun = guests.0.opened;
        let after = |seconds| begun + Duration::from_secs(seconds);
        let all: Vec<(Guest, CancellationToken)> = (0..4)
            .map(|_| {
                let leave = CancellationToken::new();
                (guests.enter(leave.clone()), leave)
            })
            .collect();
        let gone = || all.iter().map(|(_, leave)| leave.is_cancelled()).collect::<Vec<_>>();
        assert!(!guests.make_room(after(1000)), "all are served");
        all[1].0.is_waited_for(true, after(1));
        all[2].0.is_waited_for(false, after(50));
        all[3].0.is_waited_for(false, after(40));
        assert!(!guests.make_room(after(40)), "nobody has rested for a second");
        assert!(guests.make_room(after(55)));
        assert_eq!(gone(), [false, false, false, true]);
        assert!(guests.make_room(after(61)));
        assert_eq!(gone(), [false, false, true, true], "who rests goes before one in the middle of a call");
        assert!(!guests.make_room(after(60)));
        assert!(guests.make_room(after(61)));
        assert_eq!(gone(), [false, true, true, true]);
        assert!(
            !guests.make_room(after(9999)),
            "who is told to go is not told again, and who is served stays"
        );
        drop(all);
        assert!(guests.0.seated.lock().is_empty());
    }
}
