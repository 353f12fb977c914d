//! Memory for requests: what all clients of a source together may hold that was not put yet.
//!
//! A client's first 4 KiB are free: 40 MiB with ten thousand clients. Beyond that each piece of a request has to find room
//! before its bytes are read; who finds none waits, with its bytes in the system's buffers, for others to be put. So no number
//! of clients, and no length that they announce, fills the memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What all requests together may hold, if one request alone may not hold more.
const TOGETHER_MAX: usize = 64 << 20;
/// Memory is asked for in such pieces; the first is free.
const PIECE: usize = 4 << 10;
/// Requests that are half there may wait for each other: after so long one gives up, and its client sends it again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory for requests.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// One client's part of it; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Room {
    /// For requests that take at most `request_max` bytes each.
    pub fn new(request_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER_MAX.max(request_max).div_ceil(PIECE))))
    }

    /// Bytes that nobody has.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.0.available_permits() * PIECE
    }

    /// Lets `held` stand for `bytes` at least; the error says that there was no room for too long.
    pub async fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), String> {
        let pieces = (bytes / PIECE) as u32;
        let has = held.pieces();
        if pieces <= has {
            return Ok(());
        }
        let wanted = self.0.clone().acquire_many_owned(pieces - has);
        let Ok(Ok(more)) = timeout(PATIENCE, wanted).await else {
            return Err(format!("no memory for {bytes} bytes of a request: other requests have taken it"));
        };
        held.add(more);
        Ok(())
    }

    /// Lets `held` stand for `bytes` more as far as they are free: what a request takes once it is read, beside its own bytes. It is
    /// in memory already, so nothing waits here, where two might wait for each other; whoever reads next does.
    pub fn hold_read(&self, held: &mut Held, bytes: usize) {
        let pieces = (bytes / PIECE).min(self.0.available_permits()) as u32;
        // Taken meanwhile by others, who wait then.
        if let Ok(more) = self.0.clone().try_acquire_many_owned(pieces) {
            held.add(more);
        }
    }
}

impl Held {
    fn pieces(&self) -> u32 {
        self.0.as_ref().map_or(0, |permit| permit.num_permits()) as u32
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_requests_are_free_and_large_ones_wait_for_each_other_but_not_for_ever() {
        let room = Room::new(TOGETHER_MAX / 4);
        let (mut first, mut second, mut small) = (Held::default(), Held::default(), Held::default());
        room.hold(&mut first, TOGETHER_MAX / 2).await.unwrap();
        room.hold(&mut first, TOGETHER_MAX / 2).await.unwrap();
        room.hold(&mut second, TOGETHER_MAX / 2).await.unwrap();
        room.hold(&mut small, PIECE - 1).await.unwrap();
        let error = room.hold(&mut second, TOGETHER_MAX / 2 + PIECE).await.unwrap_err();
        assert!(error.contains("no memory"), "{error}");
        let waits = room.hold(&mut second, TOGETHER_MAX / 2 + PIECE);
        let lets_go = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(first);
        };
        let (found, ()) = tokio::join!(waits, lets_go);
        found.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_takes_once_it_is_read_keeps_others_from_being_read_and_waits_for_nobody() {
        let room = Room::new(TOGETHER_MAX);
        let (mut first, mut second) = (Held::default(), Held::default());
        room.hold(&mut first, TOGETHER_MAX / 2).await.unwrap();
        room.hold(&mut second, PIECE).await.unwrap();
        room.hold_read(&mut first, TOGETHER_MAX);
        room.hold_read(&mut second, TOGETHER_MAX);
        assert!(room.hold(&mut Held::default(), PIECE).await.is_err(), "the first has all of it");
        drop(first);
        room.hold_read(&mut second, PIECE - 1);
        assert_eq!(second.pieces(), 1);
    }
}
