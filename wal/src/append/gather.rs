//! Who is waited for before a frame of blocking commits goes out.
//!
//! ```text
//!   commits synced -> their committers are expected back, with those in flight and in the open frame
//!   all are back   -> the frame goes out: one write for all
//!   patience over  -> it goes out without the others, and nobody is waited for in the next few frames
//! ```
//!
//! Committers that do nothing but commit are back within microseconds, and one write for all of them is cheaper than one for
//! the first and another for the rest. Committers that come when they have something to say are not: waiting for them costs
//! every commit the patience of its first. Which kind they are shows by whether they come, so a wait in vain is followed by
//! frames without one, twice as many each time in a row.

/// After so many waits in vain the pause grows no more: 256 frames.
const MISSES_MAX: u32 = 8;

#[derive(Debug, Default)]
pub struct Gathering {
    /// How many threads are about to commit and wait. 0: nobody is waited for.
    expected: u32,
    /// Waits in vain since the last one that was not.
    misses: u32,
    /// Frames that go without waiting.
    pause: u32,
}

impl Gathering {
    /// Commits are synced; `committers` threads are expected to commit again.
    pub fn expect(&mut self, committers: u32) {
        self.expected = if self.pause > 0 { 0 } else { committers };
        self.pause = self.pause.saturating_sub(1);
    }

    /// Whether a frame of so many committers waits for more; `None` if nobody is waited for.
    pub fn waits(&self, committers: u32) -> Option<bool> {
        (self.expected > 0).then_some(committers < self.expected)
    }

    /// A frame of so many committers goes out.
    pub fn goes(&mut self, committers: u32) {
        if self.expected > 1 && committers >= self.expected {
            self.misses = 0;
        }
    }

    /// Somebody does not come.
    pub fn give_up(&mut self) {
        if self.expected > 0 {
            self.expected = 0;
            self.misses = (self.misses + 1).min(MISSES_MAX);
            self.pause = 1 << self.misses;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_waits_for_all_who_were_synced_last() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.waits(1), None);
        gathering.expect(3);
        assert_eq!((gathering.waits(2), gathering.waits(3)), (Some(true), Some(false)));
    }

    #[test]
    fn waits_in_vain_become_rare_and_one_that_was_not_brings_them_back() {
        let mut gathering = Gathering::default();
        let mut waited = 0;
        for _ in 0..1000 {
            gathering.expect(4);
            if gathering.waits(1) == Some(true) {
                waited += 1;
                gathering.give_up();
            }
            gathering.goes(1);
        }
        assert!(waited < 12, "{waited} of 1000");
        while gathering.waits(4).is_none() {
            gathering.expect(4);
        }
        gathering.goes(4);
        gathering.expect(4);
        gathering.give_up();
        let without = std::iter::from_fn(|| {
            gathering.expect(4);
            gathering.waits(4).is_none().then_some(())
        });
        assert_eq!(without.count(), 2, "as after a first one");
    }
}
