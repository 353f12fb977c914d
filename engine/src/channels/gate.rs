//! Who may put: a channel's limits, handed out in the order of asking.
//!
//! ```text
//!   held (from the channel's positions)      reserved             headroom
//!   |======================================|--------------------|..........................| limit
//!     appended - released                    promised, not yet    surely free; asked for
//!                                            appended             again when it runs out
//! ```
//!
//! What is held is never counted here: it is the distance between two positions of the channel, so nothing can drift.
//! Since only a reservation can use up room, `headroom` computed once stays a lower bound of what is free; the
//! positions are read again only when it does not suffice.
//!
//! A [`Grant`] is dropped when its events have been appended (the positions count them from then on) or when they never
//! will be; both are the same for the gate. Between append and drop the events count twice, which errs on the full side
//! and ends with a look at who waits.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// What a put needs, or what a channel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Events.
    pub events: u64,
    /// Parts of the byte capacity; 0 where a channel has none.
    pub slots: u64,
}

impl Amount {
    /// Whether `other` fits into this.
    pub fn covers(self, other: Self) -> bool {
        other.events <= self.events && other.slots <= self.slots
    }

    fn plus(self, other: Self) -> Self {
        Self { events: self.events + other.events, slots: self.slots + other.slots }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_sub(other.events),
            slots: self.slots.saturating_sub(other.slots),
        }
    }
}

/// A channel's positions, as far as its limits are concerned.
pub(super) trait Positions: Send + Sync + 'static {
    /// Appended and not released. Called with the gate locked: takes no lock under which the gate is called.
    fn held(&self) -> Amount;
}

/// Why there is no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No room now, or others wait for it already.
    Full,
    /// The channel is closed.
    Closed,
}

/// See the [module](self).
pub(super) struct Gate<P: Positions> {
    positions: Arc<P>,
    state: Mutex<State<P>>,
}

struct State<P: Positions> {
    limit: Amount,
    reserved: Amount,
    headroom: Amount,
    /// Oldest first. The first one blocks the others, or a large put would starve behind small ones.
    waiting: VecDeque<Waiting<P>>,
    next_id: u64,
    closed: bool,
    /// Somebody found no room since the last release.
    short: bool,
}

struct Waiting<P: Positions> {
    id: u64,
    amount: Amount,
    answer: oneshot::Sender<Grant<P>>,
}

/// Room for one put, until it is dropped.
pub(super) struct Grant<P: Positions> {
    gate: Arc<Gate<P>>,
    amount: Amount,
}

impl<P: Positions> Drop for Grant<P> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.reserved = state.reserved.minus(self.amount);
        self.gate.serve(state);
    }
}

/// Takes a future that is dropped out of the queue.
struct Leave<'a, P: Positions> {
    gate: &'a Arc<Gate<P>>,
    id: u64,
}

impl<P: Positions> Drop for Leave<'_, P> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        if let Some(at) = state.waiting.iter().position(|waiting| waiting.id == self.id) {
            state.waiting.remove(at);
            // Whoever stood behind may need less.
            self.gate.serve(state);
        }
    }
}

impl<P: Positions> Gate<P> {
    pub fn new(limit: Amount, positions: Arc<P>) -> Arc<Self> {
        let state = State {
            limit,
            reserved: Amount::default(),
            headroom: Amount::default(),
            waiting: VecDeque::new(),
            next_id: 0,
            closed: false,
            short: false,
        };
        Arc::new(Self { positions, state: Mutex::new(state) })
    }

    /// The limits of now.
    pub fn limit(&self) -> Amount {
        self.state.lock().limit
    }

    /// Room at once. What needs none gets it even behind those who wait.
    pub fn try_acquire(self: &Arc<Self>, amount: Amount) -> Result<Grant<P>, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let turn = state.waiting.is_empty() || amount == Amount::default();
        match turn && state.reserve(&*self.positions, amount) {
            true => Ok(Grant { gate: self.clone(), amount }),
            false => {
                state.short = true;
                Err(Refused::Full)
            }
        }
    }

    /// Whether somebody waits for room, or has found none since the last release.
    pub fn lacks_room(&self) -> bool {
        let state = self.state.lock();
        state.short || !state.waiting.is_empty()
    }

    /// Somebody found no room elsewhere that a release may give.
    pub fn found_no_room(&self) {
        self.state.lock().short = true;
    }

    /// Room, waited for without limit. Dropping the future leaves the queue and gives back what was granted meanwhile.
    pub async fn acquire(self: &Arc<Self>, amount: Amount) -> Result<Grant<P>, Refused> {
        match self.try_acquire(amount) {
            Err(Refused::Full) => {}
            other => return other,
        }
        let (answer, granted) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Refused::Closed);
            }
            let id = state.next_id;
            state.next_id += 1;
            state.waiting.push_back(Waiting { id, amount, answer });
            // Room may have come since the first look.
            self.serve(state);
            id
        };
        let _leave = Leave { gate: self, id };
        granted.await.map_err(|_closed| Refused::Closed)
    }
    /// Events were released: the positions show more room.
    pub fn released(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.short = false;
        self.serve(state);
    }

    /// Changes the limits; what is held stays, even beyond them.
    pub fn set_limit(self: &Arc<Self>, limit: Amount) {
        let mut state = self.state.lock();
        state.limit = limit;
        state.headroom = Amount::default();
        self.serve(state);
    }

    /// Refuses everybody from now on.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    /// Grants to those who wait, in order, as far as there is room.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State<P>>) {
        let mut served = Vec::new();
        while let Some(first) = state.waiting.front() {
            let amount = first.amount;
            if !state.reserve(&*self.positions, amount) {
                break;
            }
            let grant = Grant { gate: self.clone(), amount };
            served.extend(state.waiting.pop_front().map(|waiting| (waiting.answer, grant)));
        }
        drop(state);
        for (answer, grant) in served {
            // Who has gone meanwhile leaves the grant here; its drop locks the gate, which is free by now.
            drop(answer.send(grant));
        }
    }
}

impl<P: Positions> State<P> {
    fn reserve(&mut self, positions: &P, amount: Amount) -> bool {
        if !self.headroom.covers(amount) {
            self.headroom = self.limit.minus(positions.held()).minus(self.reserved);
            if !self.headroom.covers(amount) {
                return false;
            }
        }
        self.headroom = self.headroom.minus(amount);
        self.reserved = self.reserved.plus(amount);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Positions for Counted {
        fn held(&self) -> Amount {
            events(self.0.load(Ordering::Relaxed))
        }
    }

    fn events(events: u64) -> Amount {
        Amount { events, slots: 0 }
    }

    fn gate(limit: u64) -> (Arc<Gate<Counted>>, Arc<Counted>) {
        let counted = Arc::new(Counted::default());
        (Gate::new(events(limit), counted.clone()), counted)
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_was_promised_and_what_is_held_share_the_limit() {
        let (gate, held) = gate(10);
        let first = gate.try_acquire(events(6)).expect("room for six");
        assert!(gate.try_acquire(events(5)).is_err());
        held.0.store(6, Ordering::Relaxed);
        drop(first);
        assert!(gate.try_acquire(events(5)).is_err(), "appended events count on");
        held.0.store(5, Ordering::Relaxed);
        assert!(gate.try_acquire(events(5)).is_ok());
    }

    #[test]
    fn a_large_request_goes_before_small_ones_that_came_later() {
        let (gate, held) = gate(10);
        held.0.store(5, Ordering::Relaxed);
        let mut large = pin!(gate.acquire(events(10)));
        assert!(poll(large.as_mut()).is_pending());
        let mut small = pin!(gate.acquire(events(1)));
        assert!(poll(small.as_mut()).is_pending());
        assert!(gate.try_acquire(events(1)).is_err(), "others wait");
        held.0.store(0, Ordering::Relaxed);
        gate.released();
        assert!(poll(small.as_mut()).is_pending());
        let Poll::Ready(Ok(grant)) = poll(large.as_mut()) else { panic!("the large one has its room") };
        drop(grant);
        assert!(poll(small.as_mut()).is_ready());
    }

    #[test]
    fn who_stops_waiting_lets_the_next_one_pass_and_leaks_nothing() {
        let (gate, held) = gate(10);
        held.0.store(5, Ordering::Relaxed);
        let mut large = Box::pin(gate.acquire(events(10)));
        assert!(poll(large.as_mut()).is_pending());
        let mut small = pin!(gate.acquire(events(5)));
        assert!(poll(small.as_mut()).is_pending());
        drop(large);
        let Poll::Ready(Ok(grant)) = poll(small.as_mut()) else { panic!("nobody is before it any more") };
        held.0.store(0, Ordering::Relaxed);
        // Granted and never looked at.
        let mut unseen = Box::pin(gate.acquire(events(10)));
        assert!(poll(unseen.as_mut()).is_pending());
        drop(grant);
        drop(unseen);
        assert!(gate.try_acquire(events(10)).is_ok());
    }

    #[test]
    fn who_finds_no_room_is_known_until_something_is_released() {
        let (gate, held) = gate(10);
        assert!(!gate.lacks_room());
        held.0.store(5, Ordering::Relaxed);
        assert!(gate.try_acquire(events(6)).is_err());
        assert!(gate.lacks_room());
        gate.released();
        assert!(!gate.lacks_room());
        let mut waiting = Box::pin(gate.acquire(events(6)));
        assert!(poll(waiting.as_mut()).is_pending());
        gate.released();
        assert!(gate.lacks_room(), "it waits on");
        held.0.store(4, Ordering::Relaxed);
        gate.released();
        assert!(poll(waiting.as_mut()).is_ready() && !gate.lacks_room());
    }

    #[test]
    fn closing_ends_every_wait() {
        let (gate, _held) = gate(1);
        let mut waiting = pin!(gate.acquire(events(2)));
        assert!(poll(waiting.as_mut()).is_pending());
        gate.close();
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Err(Refused::Closed))));
        assert!(matches!(gate.try_acquire(Amount::default()), Err(Refused::Closed)));
    }
}
