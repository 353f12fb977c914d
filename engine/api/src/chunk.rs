//! A chunk: the events of one put, as every channel keeps them. Written once, at put; read in place ever after.
//!
//! ```text
//! byte 0        1        2           4              8               12              16
//!      +--------+--------+-----------+--------------+---------------+---------------+
//!      | version| flags  | zero u16  | events u32   | sets u32      | set bytes u32 |   little-endian
//!      +--------+--------+-----------+--------------+---------------+---------------+
//!      | header sets: for each { pairs u32, pairs × { key len u32, value len u32, key, value } }
//!      | body lengths: events × u32
//!      | header-set index of each event: events × u32, only with flag EACH_ITS_SET; else all have set 0
//!      | bodies, in order; with flag NEWLINE each is followed by one byte 0x0A that is not part of it
//!      +------------------------------------------------------------------------------------------------
//! ```
//!
//! `version` is 1. Unknown flags, a non-zero `zero`, counts or lengths that do not add up to exactly the chunk's size, an
//! index beyond the sets, header text that is not UTF-8: the chunk is refused with [`ChunkError`], which says where.
//! The frame that carries a chunk has a checksum of its own; these checks are for bytes that were never ours.
//!
//! NEWLINE lets lines that a source read in one piece be put with one copy and written by a text sink with none.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::batch::{Batch, Span};
use crate::event::{EventRef, Headers};

/// The only version there is.
pub const VERSION: u8 = 1;
/// Fixed part in front of the header sets.
pub const PREFIX_LEN: usize = 16;
/// Each body is followed by a newline that is not part of it.
pub const FLAG_NEWLINE: u8 = 0b01;
/// Each event names its header set.
pub const FLAG_EACH_ITS_SET: u8 = 0b10;

/// Why bytes are not a chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event chunk: {what} at byte {at} of {len}")]
pub struct ChunkError {
    /// What is wrong.
    pub what: &'static str,
    /// Where in the chunk.
    pub at: usize,
    /// The chunk's length.
    pub len: usize,
}

/// A batch, or some of its events, measured and ready to be written as a chunk.
pub struct ChunkWriter<'a> {
    batch: &'a Batch,
    /// Indexes of the events to write; `None` is all of them.
    selection: Option<&'a [u32]>,
    count: usize,
    set_bytes: usize,
    each_its_set: bool,
    /// All events are consecutive lines of the batch's base: `base[start..end]`, newlines included.
    lines: Option<(usize, usize)>,
    body_bytes: usize,
}

impl<'a> ChunkWriter<'a> {
    /// Measures all events of `batch`, or those whose indexes `selection` lists in rising order.
    pub fn new(batch: &'a Batch, selection: Option<&'a [u32]>) -> Self {
        let mut writer = Self {
            batch,
            selection,
            count: selection.map_or(batch.len(), <[u32]>::len),
            set_bytes: batch.sets().iter().map(|set| encoded_set_len(set)).sum(),
            each_its_set: false,
            lines: None,
            body_bytes: 0,
        };
        let base = batch.base();
        let mut lines: Option<(usize, usize)> = None;
        let mut consecutive = true;
        for span in writer.spans() {
            writer.each_its_set |= span.headers != 0;
            writer.body_bytes += span.len as usize;
            if consecutive {
                let (start, end) = (span.start as usize, span.start as usize + span.len as usize);
                consecutive = lines.is_none_or(|(_, next)| next == start) && base.get(end) == Some(&b'\n');
                lines = Some((lines.map_or(start, |(first, _)| first), end + 1));
            }
        }
        writer.lines = lines.filter(|_| consecutive);
        writer
    }

    /// How many events the chunk will hold.
    pub fn events(&self) -> usize {
        self.count
    }

    /// The chunk's exact length in bytes.
    pub fn encoded_len(&self) -> usize {
        let index = if self.each_its_set { 8 } else { 4 };
        let newlines = if self.lines.is_some() { self.count } else { 0 };
        PREFIX_LEN + self.set_bytes + self.count * index + self.body_bytes + newlines
    }

    /// Writes the chunk into `out`, which is exactly [`encoded_len`](Self::encoded_len) bytes long.
    pub fn write_to(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.encoded_len(), "chunk buffer");
        let flags = if self.lines.is_some() { FLAG_NEWLINE } else { 0 }
            | if self.each_its_set { FLAG_EACH_ITS_SET } else { 0 };
        let (prefix, mut rest) = out.split_at_mut(PREFIX_LEN);
        prefix[0] = VERSION;
        prefix[1] = flags;
        prefix[2..4].fill(0);
        prefix[4..8].copy_from_slice(&(self.count as u32).to_le_bytes());
        prefix[8..12].copy_from_slice(&(self.batch.sets().len() as u32).to_le_bytes());
        prefix[12..16].copy_from_slice(&(self.set_bytes as u32).to_le_bytes());
        for set in self.batch.sets() {
            put(&mut rest, &(set.len() as u32).to_le_bytes());
            for (key, value) in set.iter() {
                put(&mut rest, &(key.len() as u32).to_le_bytes());
                put(&mut rest, &(value.len() as u32).to_le_bytes());
                put(&mut rest, key.as_bytes());
                put(&mut rest, value.as_bytes());
            }
        }
        for span in self.spans() {
            put(&mut rest, &span.len.to_le_bytes());
        }
        if self.each_its_set {
            for span in self.spans() {
                put(&mut rest, &span.headers.to_le_bytes());
            }
        }
        match self.lines {
            Some((start, end)) => put(&mut rest, &self.batch.base()[start..end]),
            None => {
                for span in self.spans() {
                    put(&mut rest, self.batch.body(span));
                }
            }
        }
        assert!(rest.is_empty(), "chunk measured {} bytes too long", rest.len());
    }

    /// The chunk as bytes of its own, for channels that keep it in memory.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = vec![0; self.encoded_len()];
        self.write_to(&mut out);
        out.into()
    }

    fn spans(&self) -> impl Iterator<Item = &'a Span> + use<'a> {
        let spans = self.batch.spans();
        let selection = self.selection;
        (0..self.count).map(move |i| match selection {
            None => &spans[i],
            Some(selection) => &spans[selection[i] as usize],
        })
    }
}

fn encoded_set_len(set: &Headers) -> usize {
    4 + 8 * set.len() + set.text_len()
}

#[inline]
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    let (head, tail) = std::mem::take(rest).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *rest = tail;
}

/// A chunk whose layout has been checked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chunk {
    data: Bytes,
    count: u32,
    newline: bool,
    set_count: u32,
    /// Made when somebody asks for headers: who writes bodies alone never pays for them.
    sets: Arc<OnceLock<Box<[Headers]>>>,
    lengths_at: usize,
    indexes_at: Option<usize>,
    bodies_at: usize,
}

impl Chunk {
    /// Checks the layout of `data`. Bodies are not copied.
    pub fn decode(data: Bytes) -> Result<Self, ChunkError> {
        let len = data.len();
        let bad = |what, at| ChunkError { what, at, len };
        if len < PREFIX_LEN {
            return Err(bad("shorter than its prefix", len));
        }
        if data[0] != VERSION {
            return Err(bad("unknown version", 0));
        }
        let flags = data[1];
        if flags & !(FLAG_NEWLINE | FLAG_EACH_ITS_SET) != 0 {
            return Err(bad("unknown flag", 1));
        }
        if data[2..4] != [0, 0] {
            return Err(bad("reserved bytes set", 2));
        }
        let count = u32_at(&data, 4);
        let set_count = u32_at(&data, 8);
        let set_bytes = u32_at(&data, 12) as usize;
        let newline = flags & FLAG_NEWLINE != 0;
        let each = flags & FLAG_EACH_ITS_SET != 0;
        let lengths_at = PREFIX_LEN
            .checked_add(set_bytes)
            .filter(|&at| at <= len)
            .ok_or_else(|| bad("header sets run past the end", 12))?;
        let bodies_at = lengths_at as u64 + u64::from(count) * if each { 8 } else { 4 };
        if bodies_at > len as u64 {
            return Err(bad("length table runs past the end", lengths_at));
        }
        let bodies_at = bodies_at as usize;
        walk_sets(&data[..lengths_at], set_count, len, |_set| {})?;
        let mut total = if newline { u64::from(count) } else { 0 };
        for i in 0..count as usize {
            total += u64::from(u32_at(&data, lengths_at + 4 * i));
        }
        if bodies_at as u64 + total != len as u64 {
            return Err(bad("body lengths do not add up", bodies_at));
        }
        let indexes_at = each.then(|| lengths_at + 4 * count as usize);
        match indexes_at {
            None if set_count == 0 && count > 0 => return Err(bad("events without a header set", 8)),
            None => {}
            Some(indexes_at) => {
                for i in 0..count as usize {
                    if u32_at(&data, indexes_at + 4 * i) >= set_count {
                        return Err(bad("header-set index out of range", indexes_at + 4 * i));
                    }
                }
            }
        }
        let sets = Arc::default();
        Ok(Self { data, count, newline, set_count, sets, lengths_at, indexes_at, bodies_at })
    }

    /// How many events the chunk holds.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the chunk holds no event.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Events `first..first + count` as one slice.
    pub fn slice(&self, first: usize, count: usize) -> ChunkSlice {
        assert!(first + count <= self.len(), "events {first}+{count} of {}", self.len());
        let mut body_at = self.bodies_at;
        for i in 0..first {
            body_at += self.body_len(i) + usize::from(self.newline);
        }
        let mut body_bytes = 0;
        for i in first..first + count {
            body_bytes += self.body_len(i);
        }
        ChunkSlice { chunk: self.clone(), first, count, body_at, body_bytes }
    }

    #[inline]
    fn body_len(&self, i: usize) -> usize {
        u32_at(&self.data, self.lengths_at + 4 * i) as usize
    }

    #[inline]
    fn headers(&self, i: usize) -> &Headers {
        match self.indexes_at {
            None => &self.sets()[0],
            Some(at) => &self.sets()[u32_at(&self.data, at + 4 * i) as usize],
        }
    }

    fn sets(&self) -> &[Headers] {
        self.sets.get_or_init(|| {
            let mut sets = Vec::with_capacity(self.set_count as usize);
            let table = &self.data[..self.lengths_at];
            let walked = walk_sets(table, self.set_count, self.data.len(), |pairs| {
                // A guess that costs little where it is wrong: the count comes from outside.
                let mut headers = Headers::with_capacity(pairs.count.min(16), pairs.bytes.len());
                pairs.for_each(|key, value| headers.set(key, value));
                sets.push(headers);
            });
            walked.expect("the chunk was checked");
            sets.into()
        })
    }
}

/// The pairs of one header set, checked.
struct Pairs<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Pairs<'a> {
    fn for_each(&self, mut see: impl FnMut(&'a str, &'a str)) {
        let mut rest = self.bytes;
        for _ in 0..self.count {
            let (key_len, value_len) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
            let text = std::str::from_utf8(&rest[8..8 + key_len + value_len]).expect("checked");
            let (key, value) = text.split_at(key_len);
            see(key, value);
            rest = &rest[8 + key_len + value_len..];
        }
    }
}

/// Checks the table of header sets and shows each.
fn walk_sets<'a>(
    data: &'a [u8],
    set_count: u32,
    len: usize,
    mut see: impl FnMut(Pairs<'a>),
) -> Result<(), ChunkError> {
    let bad = |what, at| ChunkError { what, at, len };
    let mut at = PREFIX_LEN;
    let mut take = |want: usize| -> Result<(usize, &'a [u8]), ChunkError> {
        let from = at;
        let bytes = data
            .get(at..)
            .and_then(|rest| rest.get(..want))
            .ok_or(bad("header set runs past its table", at))?;
        at += want;
        Ok((from, bytes))
    };
    // A set takes at least four bytes: a count beyond that is refused before anything is allocated for it.
    if set_count as usize > data.len() / 4 {
        return Err(bad("more header sets than bytes", 8));
    }
    let mut end = PREFIX_LEN;
    for _ in 0..set_count {
        let (from, number) = take(4)?;
        let count = u32_at(number, 0) as usize;
        let start = from + 4;
        end = start;
        for _ in 0..count {
            let (_, lengths) = take(8)?;
            let (key_len, value_len) = (u32_at(lengths, 0) as usize, u32_at(lengths, 4) as usize);
            let (from, text) = take(key_len.saturating_add(value_len))?;
            // Both in one: what is text together is text apart where no character lies across.
            let is_text = std::str::from_utf8(text).is_ok_and(|text| text.is_char_boundary(key_len));
            if !is_text {
                return Err(bad("header text is not UTF-8", from));
            }
            end = from + text.len();
        }
        see(Pairs { count, bytes: &data[start..end] });
    }
    if end != data.len() {
        return Err(bad("bytes left over after the header sets", end));
    }
    Ok(())
}

#[inline]
fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

/// Consecutive events of one chunk.
#[derive(Clone, Debug)]
pub struct ChunkSlice {
    chunk: Chunk,
    first: usize,
    count: usize,
    /// Offset in the chunk of the first event's body.
    body_at: usize,
    body_bytes: usize,
}

impl ChunkSlice {
    /// How many events the slice holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the slice holds no event.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of the bodies' lengths.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// All bodies, each followed by a newline, where the chunk holds them so: a text sink writes them as they are.
    pub fn lines(&self) -> Option<&[u8]> {
        let end = self.body_at + self.body_bytes + self.count;
        self.chunk.newline.then(|| &self.chunk.data[self.body_at..end])
    }

    /// The headers of all events, where they share one set: a sink that sorts by headers looks at them once.
    pub fn common_headers(&self) -> Option<&Headers> {
        match self.chunk.indexes_at {
            None => self.chunk.sets().first(),
            Some(_) => None,
        }
    }

    /// The slice's events in order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        let places = self.first..self.first + self.count;
        places.zip(self.bodies()).map(|(i, body)| EventRef { headers: self.chunk.headers(i), body })
    }

    /// The events' bodies in order: for a sink that looks at no header, which are not read from the chunk then.
    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.body_at;
        let gap = usize::from(self.chunk.newline);
        (self.first..self.first + self.count).map(move |i| {
            let len = self.chunk.body_len(i);
            let body = &self.chunk.data[at..at + len];
            at += len + gap;
            body
        })
    }
}

/// The events of a take: slices of the very chunks that were put.
#[derive(Clone, Debug, Default)]
pub struct Events {
    slices: Vec<ChunkSlice>,
    count: usize,
    body_bytes: usize,
}

impl Events {
    /// No events yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All events of a batch, for tests and for channels of one's own.
    pub fn from_batch(batch: &Batch) -> Self {
        let chunk = Chunk::decode(ChunkWriter::new(batch, None).to_bytes()).expect("a chunk just written");
        let mut events = Self::new();
        events.push(chunk.slice(0, chunk.len()));
        events
    }

    /// Appends a slice.
    pub fn push(&mut self, slice: ChunkSlice) {
        self.count += slice.len();
        self.body_bytes += slice.body_bytes();
        self.slices.push(slice);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of the bodies' lengths.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The slices in order, for sinks that write whole runs of lines.
    pub fn slices(&self) -> &[ChunkSlice] {
        &self.slices
    }

    /// The events in order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.slices.iter().flat_map(ChunkSlice::iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One event with one header.
    fn chunk(key: &str, value: &str) -> Vec<u8> {
        let mut batch = Batch::new();
        let set = batch.add_headers(Headers::from_iter([(key, value)]));
        batch.push_with(b"body", set);
        ChunkWriter::new(&batch, None).to_bytes().to_vec()
    }

    #[test]
    fn header_text_is_refused_at_once_where_a_character_lies_across_key_and_value() {
        let whole = chunk("kä", "v");
        let decoded = Chunk::decode(whole.clone().into()).expect("a chunk");
        assert_eq!(decoded.slice(0, 1).iter().next().expect("an event").headers.get("kä"), Some("v"));
        let at = whole.windows(4).position(|part| part == "käv".as_bytes()).expect("the text") - 8;
        let mut torn = whole;
        torn[at..at + 8].copy_from_slice(&[2, 0, 0, 0, 2, 0, 0, 0]);
        let refused = Chunk::decode(torn.into()).expect_err("half a character in each");
        assert_eq!((refused.what, refused.at), ("header text is not UTF-8", at + 8));
    }

    #[test]
    fn bodies_are_those_of_the_events_and_read_no_headers() {
        let mut batch = Batch::new();
        for number in 0..10_u8 {
            let set = batch.add_headers(Headers::from_iter([("number", number.to_string())]));
            batch.push_with(&vec![number; usize::from(number)], set);
        }
        let chunk = Chunk::decode(ChunkWriter::new(&batch, None).to_bytes()).expect("a chunk");
        let slice = chunk.slice(3, 5);
        let bodies: Vec<&[u8]> = slice.bodies().collect();
        assert!(chunk.sets.get().is_none(), "headers that nobody asked for");
        assert_eq!(bodies, slice.iter().map(|event| event.body).collect::<Vec<_>>());
        assert_eq!(slice.iter().map(|event| event.headers.get("number")).next(), Some(Some("3")));
    }
}
