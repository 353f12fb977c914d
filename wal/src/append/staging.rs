//! What waits to be written: the open frame, full frames, commits that span frames, and control records.

use std::sync::Arc;
use std::time::Duration;

use crate::append::ticket::Stage;
use crate::format::frame;
use crate::format::record;
use crate::state::ProgressUpdate;
use crate::storage::AlignedBuf;
use crate::sync::Mutex;

/// A frame that gathers commits. The header's place is left free.
///
/// ```text
///   buffer   | header's place | region | region | region ...      | free
///                              copied    being copied             ^ len
/// ```
///
/// Place is handed out under the log's lock, and filled without it: a large commit's copy holds nobody up.
#[derive(Debug)]
pub struct OpenFrame {
    /// Shared with the regions that are being filled.
    buffer: Arc<AlignedBuf>,
    /// How much of the buffer may be handed out.
    capacity: usize,
    /// Bytes handed out, header included.
    pub len: usize,
    pub first_event: u64,
    pub events: u32,
    pub updates: Vec<ProgressUpdate>,
    pub stage: Arc<Stage>,
    /// Room that its commits hold.
    pub reserved: u64,
    /// How many of its commits have a thread that waits for them; `None` if one has not: then nobody is waited for.
    pub committers: Option<u32>,
}

impl OpenFrame {
    pub fn new(pool: &Pool, first_event: u64) -> Self {
        Self {
            buffer: pool.get(),
            capacity: pool.size - pool.spared,
            len: frame::HEADER_LEN,
            first_event,
            events: 0,
            updates: Vec::new(),
            stage: Arc::default(),
            reserved: 0,
            committers: Some(0),
        }
    }

    /// Whether `bytes` more fit.
    pub fn fits(&self, bytes: usize) -> bool {
        self.len + bytes <= self.capacity
    }

    /// Bytes that it may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Hands out the next `bytes`, which fit.
    pub fn region(&mut self, bytes: usize) -> Region {
        assert!(self.fits(bytes), "a region within its frame");
        let at = self.len;
        self.len += bytes;
        Region { buffer: Arc::clone(&self.buffer), at, len: bytes }
    }

    /// Whether all regions are filled.
    pub fn is_whole(&mut self) -> bool {
        Arc::get_mut(&mut self.buffer).is_some()
    }

    /// The buffer of a whole frame.
    pub fn into_buffer(self) -> Arc<AlignedBuf> {
        self.buffer
    }
}

/// A part of an open frame, to be filled by who asked for it. The frame is whole when its regions are dropped.
#[derive(Debug)]
pub struct Region {
    buffer: Arc<AlignedBuf>,
    at: usize,
    len: usize,
}

impl Region {
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: regions of a frame do not overlap, for each begins where the one before ends, and each is handed out
        // once. Nobody else looks at the buffer before the last region is dropped: the writer and the pool reach it by
        // `Arc::get_mut`, which also orders their reads behind what is written here.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.start().add(self.at), self.len) }
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

    /// Whether all its bytes are there.
    pub fn is_whole(&mut self) -> bool {
        match self {
            Self::Frame(frame) => frame.is_whole(),
            Self::Span(_) => true,
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

    /// At least as much as [`encode`](Self::encode) makes; 0 if that is nothing.
    pub fn encoded_len_max(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let updates: usize = self.updates.iter().map(ProgressUpdate::encoded_len).sum();
        80 + 16 * self.released.len() + updates
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
    /// Bytes at the end of each buffer that open frames leave free: what they become is so much longer than they are.
    spared: usize,
    keep: usize,
    free: Mutex<Vec<Arc<AlignedBuf>>>,
}

impl Pool {
    pub fn new(size: usize, spared: usize, keep: usize) -> Self {
        Self { size, spared, keep, free: Mutex::new(Vec::new()) }
    }

    /// Bytes of each buffer.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A buffer of the pool's size that nobody else holds. Its content is not defined.
    pub fn get(&self) -> Arc<AlignedBuf> {
        let free = self.free.lock().pop();
        free.unwrap_or_else(|| Arc::new(AlignedBuf::zeroed(self.size)))
    }

    /// Takes a buffer back from its last holder; what others hold still is theirs.
    pub fn put(&self, mut buffer: Arc<AlignedBuf>) {
        if buffer.len() != self.size || Arc::get_mut(&mut buffer).is_none() {
            return;
        }
        let mut free = self.free.lock();
        if free.len() < self.keep {
            free.push(buffer);
        }
    }
}
