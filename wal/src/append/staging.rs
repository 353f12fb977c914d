//! What waits to be written: the open frame, full frames, commits that span frames, and control records.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::append::ticket::Stage;
use crate::format::frame;
use crate::format::record;
use crate::state::ProgressUpdate;
use crate::storage::AlignedBuf;

/// A frame that gathers commits. The header's place is left free.
#[derive(Debug)]
pub struct OpenFrame {
    pub buffer: AlignedBuf,
    /// Bytes used, header included.
    pub len: usize,
    pub first_event: u64,
    pub events: u32,
    pub updates: Vec<ProgressUpdate>,
    pub stage: Arc<Stage>,
    /// Room that its commits hold.
    pub reserved: u64,
}

impl OpenFrame {
    pub fn new(buffer: AlignedBuf, first_event: u64) -> Self {
        Self {
            buffer,
            len: frame::HEADER_LEN,
            first_event,
            events: 0,
            updates: Vec::new(),
            stage: Arc::default(),
            reserved: 0,
        }
    }

    /// Whether `bytes` more fit.
    pub fn fits(&self, bytes: usize) -> bool {
        self.len + bytes <= self.buffer.len()
    }

    /// Appends encoded records.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// A commit too large for one frame, with its progress behind it: one list of records, cut as it is submitted.
#[derive(Debug)]
pub struct Span {
    pub bytes: Vec<u8>,
    pub sent: usize,
    pub first_event: u64,
    pub events: u32,
    pub updates: Vec<ProgressUpdate>,
    pub stage: Arc<Stage>,
    pub reserved: u64,
}

/// What the submitter takes next.
#[derive(Debug)]
pub enum Staged {
    Frame(OpenFrame),
    Span(Span),
}

impl Staged {
    pub fn stage(&self) -> &Arc<Stage> {
        match self {
            Self::Frame(frame) => &frame.stage,
            Self::Span(span) => &span.stage,
        }
    }

    pub fn reserved(&self) -> u64 {
        match self {
            Self::Frame(frame) => frame.reserved,
            Self::Span(span) => span.reserved,
        }
    }
}

/// Releases and progress that wait for a frame to ride in. They hold together: all ride in one.
#[derive(Debug, Default)]
pub struct Pending {
    /// Ranges first..end, as released; neighbours are joined.
    pub released: Vec<(u64, u64)>,
    pub updates: Vec<ProgressUpdate>,
    /// When the oldest came.
    pub since: Option<Duration>,
    /// Who waits for it to be durable.
    pub stage: Option<Arc<Stage>>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    pub fn release(&mut self, first: u64, end: u64, now: Duration) {
        self.since.get_or_insert(now);
        match self.released.last_mut() {
            Some(last) if last.1 == first => last.1 = end,
            _ => self.released.push((first, end)),
        }
    }

    /// Adds an update; a later one of the same key replaces an earlier one.
    pub fn update(&mut self, update: ProgressUpdate, now: Duration) {
        self.since.get_or_insert(now);
        let same = |u: &&mut ProgressUpdate| {
            u.space == update.space
                && u.key == update.key
                && u.owner == update.owner
                && u.is_mark() == update.is_mark()
        };
        match self.updates.iter_mut().rev().find(same) {
            Some(known) => *known = update,
            None => self.updates.push(update),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.released.is_empty() {
            record::put_release(&mut bytes, &self.released);
        }
        for update in &self.updates {
            record::put_progress(&mut bytes, update);
        }
        bytes
    }
}

/// Frame buffers that nobody uses, kept for their pages.
#[derive(Debug)]
pub struct Pool {
    size: usize,
    keep: usize,
    free: Mutex<Vec<AlignedBuf>>,
}

impl Pool {
    pub fn new(size: usize, keep: usize) -> Self {
        Self { size, keep, free: Mutex::new(Vec::new()) }
    }

    /// A buffer of the pool's size. Its content is not defined.
    pub fn get(&self) -> AlignedBuf {
        let free = self.free.lock().pop();
        free.unwrap_or_else(|| AlignedBuf::zeroed(self.size))
    }

    pub fn put(&self, buffer: AlignedBuf) {
        let mut free = self.free.lock();
        if buffer.len() == self.size && free.len() < self.keep {
            free.push(buffer);
        }
    }
}
