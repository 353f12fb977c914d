//! A batch of events on its way from a source through interceptors to the channels.
//!
//! ```text
//!   base  (shared bytes, e.g. one read of a file)     extra (bytes pushed or replaced one by one)
//!   +----------------------------------------------+  +------------------------+
//!   |line one\nline two\nline three\n              |  |replaced body           |
//!   +----------------------------------------------+  +------------------------+
//!   0         9         18                       base.len()                  …
//!   spans: {start 0, len 8} {start 9, len 8} {start base.len(), len 13}
//! ```
//!
//! Nothing is allocated per event, and bytes are never rewritten in place: a replaced body is appended to `extra`. Header
//! sets are interned in `sets`; set 0 is the batch's common set.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{EventRef, Headers};
use crate::progress::Progress;

/// The largest number of body bytes a batch may refer to: spans count in 32 bits.
pub const BATCH_BYTES_MAX: usize = u32::MAX as usize;

/// Where one event of a batch lies, what headers it has, and where its source found it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Offset in `base` followed by `extra`.
    pub start: u32,
    /// Body length in bytes.
    pub len: u32,
    /// Index of the header set.
    pub headers: u32,
    /// Index in [`Batch::progress`] of the key that this event advances, or [`Span::NO_ORIGIN`].
    pub origin: u32,
    /// The key's position once this event is taken in: a channel that stands there or beyond has the event already.
    pub position: u64,
}

impl Span {
    /// The event comes from a source that cannot seek.
    pub const NO_ORIGIN: u32 = u32::MAX;
}

/// Events of one put, with the progress that they make. See the module's picture.
#[derive(Clone, Debug)]
pub struct Batch {
    base: Bytes,
    extra: Vec<u8>,
    spans: Vec<Span>,
    sets: Vec<Arc<Headers>>,
    progress: Vec<Progress>,
    intercepted: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch whose bodies are pushed one by one.
    pub fn new() -> Self {
        Self::over(Bytes::new())
    }

    /// The same, with room for so many events of so many bytes, each with headers of its own.
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        let mut batch = Self::new();
        batch.extra.reserve(bytes);
        batch.spans.reserve(events);
        batch.sets.reserve(events);
        batch
    }

    /// An empty batch whose events are slices of `base`, added with [`push_slice`](Self::push_slice).
    pub fn over(base: Bytes) -> Self {
        assert!(base.len() <= BATCH_BYTES_MAX, "batch base of {} bytes", base.len());
        Self {
            base,
            extra: Vec::new(),
            spans: Vec::new(),
            sets: vec![Arc::new(Headers::new())],
            progress: Vec::new(),
            intercepted: false,
        }
    }

    /// Makes `headers` the common set: that of all events pushed without a set of their own.
    pub fn set_common_headers(&mut self, headers: Arc<Headers>) {
        self.sets[0] = headers;
    }

    /// Adds a header set and returns its index for [`push_with`](Self::push_with). A set equal to the last one is shared.
    pub fn add_headers(&mut self, headers: Headers) -> u32 {
        if self.sets.last().is_some_and(|last| **last == headers) {
            return self.sets.len() as u32 - 1;
        }
        self.sets.push(Arc::new(headers));
        self.sets.len() as u32 - 1
    }

    /// Appends an event that copies `body`, with the common headers.
    pub fn push(&mut self, body: &[u8]) {
        self.push_with(body, 0);
    }

    /// Appends an event that copies `body`, with header set `headers` of [`add_headers`](Self::add_headers).
    pub fn push_with(&mut self, body: &[u8], headers: u32) {
        assert!((headers as usize) < self.sets.len(), "header set {headers} of {}", self.sets.len());
        let start = self.append_extra(body);
        self.spans.push(Span {
            start,
            len: body.len() as u32,
            headers,
            origin: Span::NO_ORIGIN,
            position: 0,
        });
    }

    /// Appends an event whose body is `base[start..start + len]`, with the common headers.
    #[inline]
    pub fn push_slice(&mut self, start: usize, len: usize) {
        assert!(start + len <= self.base.len(), "slice {start}+{len} of a base of {}", self.base.len());
        self.spans.push(Span {
            start: start as u32,
            len: len as u32,
            headers: 0,
            origin: Span::NO_ORIGIN,
            position: 0,
        });
    }

    /// Says that the last event pushed stands at `position` along the key of `progress()[origin]`.
    #[inline]
    pub fn locate_last(&mut self, origin: u32, position: u64) {
        assert!((origin as usize) < self.progress.len(), "origin {origin} of {}", self.progress.len());
        let span = self.spans.last_mut().expect("locate_last follows a push");
        span.origin = origin;
        span.position = position;
    }

    /// Adds progress that this batch makes and returns its index for [`locate_last`](Self::locate_last).
    pub fn add_progress(&mut self, progress: Progress) -> u32 {
        self.progress.push(progress);
        self.progress.len() as u32 - 1
    }

    /// The progress that this batch makes.
    pub fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// The same, to set `to` when the last event is known.
    pub fn progress_mut(&mut self) -> &mut [Progress] {
        &mut self.progress
    }

    /// How many events the batch holds.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the batch holds no event (it may still carry progress).
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Sum of the bodies' lengths.
    pub fn body_bytes(&self) -> u64 {
        self.spans.iter().map(|s| u64::from(s.len)).sum()
    }

    /// Event `i`.
    pub fn event(&self, i: usize) -> EventRef<'_> {
        let span = &self.spans[i];
        EventRef { headers: &self.sets[span.headers as usize], body: self.body(span) }
    }

    /// All events in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        (0..self.len()).map(|i| self.event(i))
    }

    /// Sets a header on all events.
    pub fn set_all(&mut self, key: &str, value: &str) {
        for set in &mut self.sets {
            Arc::make_mut(set).set(key, value);
        }
    }

    /// Changes the headers of all events, once for each distinct header set.
    pub fn edit_all_headers(&mut self, mut edit: impl FnMut(&mut Headers)) {
        for set in &mut self.sets {
            edit(Arc::make_mut(set));
        }
    }

    /// Replaces header sets by others, for all events that have them, once for each distinct set. An interceptor that
    /// remembers what it made of the last set spares building it again: sources share theirs across batches.
    pub fn map_header_sets(&mut self, mut map: impl FnMut(&Arc<Headers>) -> Arc<Headers>) {
        for set in &mut self.sets {
            *set = map(set);
        }
    }

    /// Gives event `i` the header set `headers` of [`add_headers`](Self::add_headers) or of another event.
    pub fn use_headers(&mut self, i: usize, headers: u32) {
        assert!((headers as usize) < self.sets.len(), "header set {headers} of {}", self.sets.len());
        self.spans[i].headers = headers;
    }

    /// Sets a header on event `i` alone.
    pub fn set(&mut self, i: usize, key: &str, value: &str) {
        let mut headers = Headers::clone(&self.sets[self.spans[i].headers as usize]);
        headers.set(key, value);
        self.spans[i].headers = self.add_headers(headers);
    }

    /// Replaces the headers of event `i`.
    pub fn replace_headers(&mut self, i: usize, headers: Headers) {
        self.spans[i].headers = self.add_headers(headers);
    }

    /// How many bytes may still be pushed or replaced; see [`BATCH_BYTES_MAX`].
    pub fn room(&self) -> usize {
        BATCH_BYTES_MAX - self.base.len() - self.extra.len()
    }

    /// Replaces the body of event `i`; the new one must fit into the batch's [`room`](Self::room).
    pub fn replace_body(&mut self, i: usize, body: &[u8]) {
        let start = self.append_extra(body);
        self.spans[i].start = start;
        self.spans[i].len = body.len() as u32;
    }

    /// Keeps the events for which `keep` says so, called with each event's index and content.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, EventRef<'_>) -> bool) {
        let mut spans = std::mem::take(&mut self.spans);
        let mut i = 0;
        spans.retain(|span| {
            let event = EventRef { headers: &self.sets[span.headers as usize], body: self.body(span) };
            i += 1;
            keep(i - 1, event)
        });
        self.spans = spans;
    }

    /// Whether the interceptors have seen this batch: a put that is tried again must not run them twice.
    pub fn is_intercepted(&self) -> bool {
        self.intercepted
    }

    /// Marks the batch as seen by the interceptors.
    pub fn mark_intercepted(&mut self) {
        self.intercepted = true;
    }

    /// The events' spans, for encoding.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Bytes that the batch takes in memory, about, beside those that it was made [over](Self::over).
    pub fn memory(&self) -> usize {
        let sets: usize = self.sets.iter().map(|set| set.memory()).sum();
        self.spans.capacity() * size_of::<Span>() + self.extra.capacity() + sets
    }

    /// The header sets, for encoding.
    pub fn sets(&self) -> &[Arc<Headers>] {
        &self.sets
    }

    /// The body that a span of this batch names.
    #[inline]
    pub fn body(&self, span: &Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        match start.checked_sub(self.base.len()) {
            None => &self.base[start..start + len],
            Some(start) => &self.extra[start..start + len],
        }
    }

    /// The shared bytes beneath the sliced events.
    pub fn base(&self) -> &Bytes {
        &self.base
    }

    fn append_extra(&mut self, body: &[u8]) -> u32 {
        let start = self.base.len() + self.extra.len();
        assert!(start + body.len() <= BATCH_BYTES_MAX, "batch of more than {BATCH_BYTES_MAX} bytes");
        self.extra.extend_from_slice(body);
        start as u32
    }
}
