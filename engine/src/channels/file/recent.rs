//! How much of what was written last a channel keeps in memory for its sink.
//!
//! A sink that is further behind reads the disk, which then carries each event twice. Where few channels are open there is memory
//! for twice what may be on its way to the disk at a time; a process with many keeps less of each, or they would hold a gigabyte.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Each of the first channels of a process.
const FEW: usize = 16 << 20;
/// Each further one.
const MANY: usize = 8 << 20;
/// How many are few.
const FEW_CHANNELS: usize = 16;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One open channel's share.
#[derive(Debug)]
pub(super) struct Recent {
    pub bytes: usize,
    open: &'static AtomicUsize,
}

impl Recent {
    pub fn take() -> Self {
        Self::of(&OPEN)
    }

    fn of(open: &'static AtomicUsize) -> Self {
        let others = open.fetch_add(1, Ordering::Relaxed);
        Self { bytes: if others < FEW_CHANNELS { FEW } else { MANY }, open }
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_channels_keep_more_each_than_many_and_those_that_close_make_room() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        let mut shares: Vec<Recent> = (0..FEW_CHANNELS + 2).map(|_| Recent::of(&HERE)).collect();
        let (few, many) = shares.split_at(FEW_CHANNELS);
        assert!(few.iter().all(|share| share.bytes == FEW) && many.iter().all(|share| share.bytes == MANY));
        shares.truncate(FEW_CHANNELS - 1);
        assert_eq!(Recent::of(&HERE).bytes, FEW);
    }
}
