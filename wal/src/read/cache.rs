//! Bodies of synced frames, kept for readers that keep up. A reader that lags reads the disk instead.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::append::staging::Pool;
use crate::format::frame;
use crate::storage::AlignedBuf;

/// The latest frames with events, by event number.
#[derive(Debug)]
pub struct Cache {
    frames: VecDeque<CachedFrame>,
    bytes: usize,
    max: usize,
    /// Where the reader found what it looked for last, as `CachedFrame::at`; `None` if it reads the disk, and what is here
    /// is too new for it.
    read_at: Option<u64>,
    /// All bytes that were ever charged.
    charged: u64,
}

/// One frame's body.
#[derive(Clone, Debug)]
pub struct CachedFrame {
    pub first_event: u64,
    pub end_event: u64,
    pub body: Bytes,
    charge: usize,
    /// What was charged before it.
    at: u64,
}

/// A write buffer lent to readers: goes back to the pool when the last of them lets go.
struct Lent {
    buffer: Option<Arc<AlignedBuf>>,
    body_len: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        let buffer = self.buffer.as_ref().expect("present until dropped");
        &buffer[frame::HEADER_LEN..frame::HEADER_LEN + self.body_len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.put(buffer);
        }
    }
}

impl Cache {
    pub fn new(max: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max, read_at: None, charged: 0 }
    }

    /// Takes a synced frame's buffer. One that is mostly empty is to be copied if lending it would push out what a reader is
    /// about to read: then the body comes back, for a copy that is made without any lock and [put in its place](Self::replace).
    #[must_use]
    pub fn insert(
        &mut self,
        buffer: Arc<AlignedBuf>,
        body_len: usize,
        first_event: u64,
        end_event: u64,
        pool: &Arc<Pool>,
    ) -> Option<Bytes> {
        debug_assert!(self.frames.back().is_none_or(|last| last.end_event <= first_event));
        let pack =
            self.read_at.is_some() && body_len * 4 < buffer.len() && self.bytes + buffer.len() > self.max / 2;
        let charge = if pack { body_len } else { buffer.len() };
        let lent = Lent { buffer: Some(buffer), body_len, pool: Arc::clone(pool) };
        let body = Bytes::from_owner(lent);
        let to_copy = pack.then(|| body.clone());
        self.bytes += charge;
        self.frames.push_back(CachedFrame { first_event, end_event, body, charge, at: self.charged });
        self.charged += charge as u64;
        while self.bytes > self.max {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.charge;
        }
        to_copy
    }

    /// Puts a copy of a frame's body, which is found by its first event, in place of what is lent; no matter if it is gone.
    pub fn replace(&mut self, first_event: u64, copy: Bytes) {
        let at = self.frames.partition_point(|frame| frame.first_event < first_event);
        if let Some(frame) = self.frames.get_mut(at).filter(|frame| frame.first_event == first_event) {
            frame.body = copy;
        }
    }

    /// Forgets frames whose events are all released.
    pub fn release(&mut self, low: u64) {
        while let Some(oldest) = self.frames.front().filter(|oldest| oldest.end_event <= low) {
            self.bytes -= oldest.charge;
            self.frames.pop_front();
        }
    }

    /// The frame that holds `event`.
    pub fn find(&mut self, event: u64) -> Option<&CachedFrame> {
        let at = self.frames.partition_point(|frame| frame.end_event <= event);
        let found = self.frames.get(at).filter(|frame| frame.first_event <= event);
        self.read_at = found.map(|frame| frame.at);
        found
    }

    /// How far the reader is behind, from the frame that it read last, as a share of what may be held; `None` if it reads the
    /// disk, or will with its next frame.
    pub fn behind(&self) -> Option<f64> {
        let behind = self.charged - self.read_at?;
        (behind <= self.max as u64).then(|| behind as f64 / self.max as f64)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_copied_gives_its_buffer_back() {
        let pool = Arc::new(Pool::new(64 << 10, 0, 8));
        let mut cache = Cache::new(256 << 10);
        let mut kept = Vec::new();
        for event in 0..16u8 {
            let mut buffer = pool.get();
            let start = std::ptr::from_ref(&buffer[0]).addr();
            Arc::get_mut(&mut buffer).unwrap()[frame::HEADER_LEN..][..100].fill(event);
            let first = u64::from(event);
            let body = cache.insert(buffer, 100, first, first + 1, &pool);
            if let Some(body) = body {
                assert_eq!(body[..], [event; 100]);
                cache.replace(first, Bytes::copy_from_slice(&body));
                drop(body);
                let free = pool.get();
                assert_eq!(
                    std::ptr::from_ref(&free[0]).addr(),
                    start,
                    "event {event}: its buffer is free again"
                );
                pool.put(free);
                kept.push(event);
            }
            // A reader that keeps up.
            assert_eq!(cache.find(first).unwrap().body[..], [event; 100]);
        }
        assert_eq!(kept, (2..16).collect::<Vec<_>>(), "as soon as lending would fill half of it");
        cache.replace(99, Bytes::new());
        assert!((0..16u8).all(|event| cache.find(event.into()).unwrap().body[..] == [event; 100]));
    }
}
