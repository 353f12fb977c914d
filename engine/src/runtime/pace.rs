//! A source waits a moment for takers that are about to fall behind what is in memory.
//!
//! ```text
//!   a taker less than START of its memory behind    the put goes on at once
//!   more                                            it waits a millisecond, and again while that helps
//!   that did not help                               the next puts go on at once, twice as many each time in a row
//! ```
//!
//! Takers that keep up are handed the very buffers that were written. One that falls behind them reads the disk instead, which
//! from then on carries each event twice: the whole pipeline runs at half its speed, and cannot catch up before the source
//! pauses. Sources and sinks of one agent are about equally fast, so a hiccup decides. A sink that is slower than the source
//! anyhow is no reason to hold the source up: what is taken from it is durable, and that is what the channel is for.

use std::time::Duration;

use parking_lot::Mutex;

/// Share of the memory from which on a source waits: the writes that are in flight come on top.
const START: f64 = 0.375;

/// One wait.
const WAIT: Duration = Duration::from_millis(1);

/// Waits in a row of one put.
const WAITS_MAX: u32 = 4;

/// After so many puts that waited in vain the pause grows no more: 1024 puts.
const MISSES_MAX: u32 = 10;

/// One source's pace.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    misses: u32,
    /// Puts that go on without a look.
    pause: u32,
}

impl Pace {
    /// Waits, if that helps. `behind` says how far the takers are, as [`takers_behind`](flumen_api::channel::Channel::takers_behind).
    pub async fn wait(&self, behind: impl Fn() -> Option<f64>) {
        let near = || behind().filter(|share| *share > START);
        {
            let mut state = self.0.lock();
            if state.pause > 0 {
                state.pause -= 1;
                return;
            }
        }
        let Some(mut before) = near() else { return };
        for _ in 0..WAITS_MAX {
            tokio::time::sleep(WAIT).await;
            match near() {
                Some(now) if now >= before => {
                    let mut state = self.0.lock();
                    state.misses = (state.misses + 1).min(MISSES_MAX);
                    state.pause = 1 << state.misses;
                    return;
                }
                Some(now) => before = now,
                None => break,
            }
        }
        self.0.lock().misses = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_put_waits_for_takers_that_come_nearer() {
        let (pace, share) = (Pace::default(), Cell::new(0.9));
        let start = Instant::now();
        pace.wait(|| Some(share.replace(share.get() - 0.2))).await;
        assert_eq!(start.elapsed(), WAIT * 3, "0.9, then 0.7, 0.5 and 0.3");
        pace.wait(|| Some(0.1)).await;
        pace.wait(|| None).await;
        assert_eq!(start.elapsed(), WAIT * 3, "nobody is near the edge");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_in_vain_become_rare() {
        let pace = Pace::default();
        let start = Instant::now();
        for _ in 0..10_000 {
            pace.wait(|| Some(0.9)).await;
        }
        assert!(start.elapsed() < WAIT * 20, "{:?} for 10,000 puts", start.elapsed());
    }
}
