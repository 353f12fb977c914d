//! Flushes on their way, with the takes that they release.
//!
//! ```text
//!   push ──> flying ── polled ──> ready: released, oldest first; or failed, and then everything that is left goes back, newest first
//! ```

use std::collections::VecDeque;
use std::task::{Context, Poll};

use flumen_api::channel::{SinkProgress, Taken};
use flumen_api::sink::{FlushFuture, Flushed, SinkError};

/// Oldest first.
#[derive(Default)]
pub(super) struct Flights(VecDeque<Flight>);

struct Flight {
    state: Flush,
    takes: Vec<Taken>,
    events: usize,
}

enum Flush {
    /// On its way.
    Flying(FlushFuture),
    /// Ready; an older one may still be on its way.
    Ready(Flushed),
    /// Failed, and its error has been passed on: its takes go back.
    Failed,
}

/// What a flush releases, with the progress that goes with it.
pub(super) struct Landed {
    pub takes: Vec<Taken>,
    pub events: usize,
    pub progress: Vec<SinkProgress>,
}

impl Flights {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, flush: FlushFuture, takes: Vec<Taken>, events: usize) {
        self.0.push_back(Flight { state: Flush::Flying(flush), takes, events });
    }

    /// Gives each a chance to go on.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        for flight in &mut self.0 {
            if let Flush::Flying(flush) = &mut flight.state
                && let Poll::Ready(flushed) = flush.as_mut().poll(cx)
            {
                flight.state = Flush::Ready(flushed);
            }
        }
    }

    /// The oldest is ready, or has failed.
    pub fn has_landed(&self) -> bool {
        self.0.front().is_some_and(|flight| !matches!(flight.state, Flush::Flying(_)))
    }

    /// One has failed, the oldest or another.
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(|flight| matches!(flight.state, Flush::Ready(Err(_)) | Flush::Failed))
    }

    /// What the oldest releases, if it is ready. One that has failed stays, to be rolled back.
    pub fn land(&mut self) -> Option<Result<Landed, SinkError>> {
        let flight = self.0.front_mut()?;
        let progress = match std::mem::replace(&mut flight.state, Flush::Failed) {
            Flush::Ready(Ok(progress)) => progress,
            Flush::Ready(Err(error)) => return Some(Err(error)),
            Flush::Failed => return Some(Err(SinkError::plain("an earlier flush failed"))),
            flying => {
                flight.state = flying;
                return None;
            }
        };
        let Flight { takes, events, .. } = self.0.pop_front()?;
        Some(Ok(Landed { takes, events, progress }))
    }

    /// Drops all, newest first: what they took goes back.
    pub fn roll_back(&mut self) {
        while let Some(mut flight) = self.0.pop_back() {
            while flight.takes.pop().is_some() {}
        }
    }
}
