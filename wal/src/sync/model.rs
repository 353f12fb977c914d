//! Locks, threads and time whose every step is chosen by a scheduler.
//!
//! **Time** stands still while anybody can run. A thread that waits with a timeout is asleep until it is notified or the
//! scheduler picks it; then the clock jumps to its deadline. A scheduler that picks sleepers only when nobody else can run,
//! the earliest first, makes a lost wake visible: it costs time that a right one does not. One that picks them at will tries
//! timeouts that come at the worst moment.
//!
//! The state belongs to the OS thread, on which all threads of an execution run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

pub use shuttle::sync::atomic;

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

#[derive(Default)]
struct World {
    now: Duration,
    /// Threads in a timed wait.
    sleepers: BTreeMap<usize, Sleeper>,
    /// Threads that were unparked and have not parked since.
    unparked: BTreeSet<usize>,
}

/// When a thread goes on that is parked without a timeout.
pub const FOR_EVER: Duration = Duration::MAX;

struct Sleeper {
    until: Duration,
    /// It holds no lock any more and waits.
    asleep: bool,
    notified: bool,
    /// Ended by an unpark; else by a condition variable.
    parked: bool,
}

fn world<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(look)
}

fn me() -> usize {
    shuttle::current::me().into()
}

/// A new execution: nobody sleeps, and no time has passed.
pub fn reset() {
    world(|world| *world = World::default());
}

/// Time since the execution began.
pub fn now() -> Duration {
    world(|world| world.now)
}

/// When thread `task` would go on by itself, if it is asleep.
pub fn asleep_until(task: usize) -> Option<Duration> {
    world(|world| {
        let sleeper = world.sleepers.get(&task)?;
        (sleeper.asleep && !sleeper.notified && sleeper.until > world.now).then_some(sleeper.until)
    })
}

fn lie_down(until: Duration, parked: bool) {
    let sleeper = Sleeper { until, asleep: false, notified: false, parked };
    world(|world| world.sleepers.insert(me(), sleeper));
}

/// Sleeps after `lie_down`; returns whether somebody ended it before its time.
fn sleep() -> bool {
    let task = me();
    world(|world| {
        if let Some(sleeper) = world.sleepers.get_mut(&task) {
            sleeper.asleep = true;
        }
    });
    shuttle::thread::yield_now();
    world(|world| {
        let Some(sleeper) = world.sleepers.remove(&task) else { return true };
        if !sleeper.notified {
            assert!(sleeper.until < FOR_EVER, "deadlock: a parked thread that nobody is left to unpark");
            world.now = world.now.max(sleeper.until);
        }
        sleeper.notified
    })
}

fn end_sleep(task: usize, parked: bool) {
    world(|world| {
        if let Some(sleeper) = world.sleepers.get_mut(&task).filter(|sleeper| sleeper.parked == parked) {
            sleeper.notified = true;
        }
    });
}

/// As `parking_lot`'s.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(shuttle::sync::Mutex<T>);

/// As `parking_lot`'s.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    /// Taken only within a wait.
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
    of: &'a shuttle::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { held: Some(acquire(&self.0)), of: &self.0 }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(held) => Some(MutexGuard { held: Some(held), of: &self.0 }),
            Err(std::sync::TryLockError::Poisoned(held)) => {
                Some(MutexGuard { held: Some(held.into_inner()), of: &self.0 })
            }
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

fn acquire<T: ?Sized>(mutex: &shuttle::sync::Mutex<T>) -> shuttle::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held outside of a wait")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held outside of a wait")
    }
}

/// As `parking_lot`'s.
#[derive(Debug, Default)]
pub struct Condvar {
    untimed: shuttle::sync::Condvar,
    timed: std::sync::Mutex<BTreeSet<usize>>,
}

/// Whether a wait ended by its time.
#[derive(Clone, Copy, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Self { untimed: shuttle::sync::Condvar::new(), timed: std::sync::Mutex::new(BTreeSet::new()) }
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("held outside of a wait");
        guard.held = Some(self.untimed.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        self.wait_until(guard, Instant::now() + timeout)
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeoutResult {
        // Registered before the lock goes: a notification between the two is not lost.
        lie_down(deadline.0, false);
        self.sleepers(|sleepers| sleepers.insert(me()));
        drop(guard.held.take());
        let notified = sleep();
        self.sleepers(|sleepers| sleepers.remove(&me()));
        guard.held = Some(acquire(guard.of));
        WaitTimeoutResult(!notified)
    }

    pub fn notify_one(&self) {
        match self.sleepers(BTreeSet::pop_first) {
            Some(task) => end_sleep(task, false),
            None => self.untimed.notify_one(),
        }
    }

    pub fn notify_all(&self) {
        self.sleepers(std::mem::take).into_iter().for_each(|task| end_sleep(task, false));
        self.untimed.notify_all();
    }

    fn sleepers<R>(&self, look: impl FnOnce(&mut BTreeSet<usize>) -> R) -> R {
        look(&mut self.timed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As `std`'s, of the execution's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Self(now())
    }

    pub fn elapsed(&self) -> Duration {
        now().saturating_sub(self.0)
    }

    pub fn checked_add(&self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).map(Self)
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// As `std`'s.
pub mod thread {
    use std::time::Duration;

    pub use shuttle::thread::{Builder, JoinHandle, spawn, yield_now};
    pub use std::thread::panicking;

    use super::{FOR_EVER, end_sleep, lie_down, me, now, world};

    /// A handle on a thread, to end its parking.
    #[derive(Clone, Debug)]
    pub struct Thread(shuttle::thread::Thread);

    pub fn current() -> Thread {
        Thread(shuttle::thread::current())
    }

    impl Thread {
        pub fn unpark(&self) {
            let task = self.0.id().into();
            world(|world| world.unparked.insert(task));
            end_sleep(task, true);
            yield_now();
        }
    }

    pub fn park() {
        park_until(FOR_EVER);
    }

    pub fn park_timeout(time: Duration) {
        park_until(now() + time);
    }

    fn park_until(until: Duration) {
        let unparked = || world(|world| world.unparked.remove(&me()));
        if !unparked() {
            lie_down(until, true);
            super::sleep();
            unparked();
        }
    }

    pub fn sleep(time: Duration) {
        lie_down(now() + time, false);
        super::sleep();
    }
}
