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
}

/// One frame's body.
#[derive(Clone, Debug)]
pub struct CachedFrame {
    pub first_event: u64,
    pub end_event: u64,
    pub body: Bytes,
    charge: usize,
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
        if let Some(buffer) = self.buffer.take().and_then(Arc::into_inner) {
            self.pool.put(buffer);
        }
    }
}

impl Cache {
    pub fn new(max: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max }
    }

    /// Takes a synced frame's buffer. What is mostly empty is copied, so that small frames do not hold large buffers.
    pub fn insert(
        &mut self,
        buffer: Arc<AlignedBuf>,
        body_len: usize,
        first_event: u64,
        end_event: u64,
        pool: &Arc<Pool>,
    ) {
        debug_assert!(self.frames.back().is_none_or(|last| last.end_event <= first_event));
        let small = body_len * 2 < buffer.len();
        let charge = if small { body_len } else { buffer.len() };
        let lent = Lent { buffer: Some(buffer), body_len, pool: Arc::clone(pool) };
        let body = if small { Bytes::copy_from_slice(lent.as_ref()) } else { Bytes::from_owner(lent) };
        self.bytes += charge;
        self.frames.push_back(CachedFrame { first_event, end_event, body, charge });
        self.shrink_to(self.max);
    }

    fn shrink_to(&mut self, max: usize) {
        while self.bytes > max {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.charge;
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
    pub fn find(&self, event: u64) -> Option<&CachedFrame> {
        let at = self.frames.partition_point(|frame| frame.end_event <= event);
        self.frames.get(at).filter(|frame| frame.first_event <= event)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
