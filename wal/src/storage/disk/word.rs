//! The word by which a waker learns whether the ring's thread is asleep, and that thread whether there was a wake.

use crate::sync::atomic::{AtomicU32, Ordering};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// See the diagram in [`super::uring`].
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Default for Word {
    fn default() -> Self {
        Self(AtomicU32::new(AWAKE))
    }
}

impl Word {
    /// False if there was a wake since the last wait.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether there was a wake, which is over now.
    pub(crate) fn wake_up(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Whether there was a wake.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.load(Ordering::Acquire) == NOTIFIED
    }

    /// A wake. Returns whether the thread sleeps and must be told.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        // Always an exchange, never a mere look: what the caller wrote before must be visible to the thread that sees this.
        self.0.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING
    }
}
