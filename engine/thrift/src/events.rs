//! Events of calls: out of a message into a batch over the very bytes that arrived, and out of a take into a message.
//!
//! Neither copies a body on the way in nor allocates for each event: events with the same headers, as nearly all events of
//! a call have, share one set, which is found by the bytes that it was written as.

use bytes::Bytes;
use flumen_api::event::{EventRef, HeadersBuilder};
use flumen_api::{Batch, Headers};

use crate::input::{Input, Type};
use crate::output::Output;
use crate::{Malformed, Protocol};

/// Most events, and most header sets, of one call. An event takes 24 bytes and a set some hundred in memory, and some bytes
/// in a message: without a bound a small message could fill the memory.
pub const EVENTS_MAX: usize = 1 << 18;

/// Most headers in the different sets of one call: each takes some hundred bytes in memory, and few in a message.
pub const HEADERS_MAX: usize = 1 << 20;

/// Header sets that are remembered by their bytes.
const KNOWN: usize = 64;

/// Why no events were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Malformed(Malformed),
    TooMany,
}

impl From<Malformed> for Unread {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// At most so many bytes does the event take in a message.
pub fn written_bytes(event: EventRef<'_>) -> usize {
    let headers: usize = event.headers.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
    24 + headers + event.body.len()
}

/// Reads events into a batch over the message.
pub(crate) struct Reader<'a> {
    input: Input<'a>,
    message: &'a [u8],
    protocol: Protocol,
    batch: Batch,
    /// Where a set stands, and its index in the batch.
    known: [(usize, usize, u32); KNOWN],
    /// Headers in all sets so far.
    headers: usize,
}

impl<'a> Reader<'a> {
    /// Goes on behind what of `message` the `input` has read.
    pub fn new(protocol: Protocol, message: &'a Bytes, input: Input<'a>) -> Self {
        let batch = Batch::over(message.clone());
        Self { input, message, protocol, batch, known: [(0, 0, 0); KNOWN], headers: 0 }
    }

    /// The arguments of `append`.
    pub fn one(mut self) -> Result<Batch, Unread> {
        self.arguments(Type::Struct, Self::event)
    }

    /// The arguments of `appendBatch`.
    pub fn many(mut self) -> Result<Batch, Unread> {
        self.arguments(Type::List, |reader| {
            let (kind, count) = reader.input.list()?;
            if kind != Type::Struct {
                return Err(reader.input.error("a list of something else than events").into());
            }
            for _ in 0..count {
                reader.event()?;
            }
            Ok(())
        })
    }

    /// A struct of one argument that is wanted; what else there is, is passed over.
    fn arguments(
        &mut self,
        kind: Type,
        mut read: impl FnMut(&mut Self) -> Result<(), Unread>,
    ) -> Result<Batch, Unread> {
        let (mut last, mut is_there) = (0, false);
        while let Some(field) = self.input.field(&mut last)? {
            match field.id {
                1 if field.kind == kind && !is_there => {
                    read(self)?;
                    is_there = true;
                }
                _ => self.input.pass(field)?,
            }
        }
        if !is_there {
            return Err(self.input.error("a call without events").into());
        }
        self.input.end()?;
        Ok(std::mem::take(&mut self.batch))
    }

    #[inline]
    fn event(&mut self) -> Result<(), Unread> {
        if self.batch.len() == EVENTS_MAX {
            return Err(Unread::TooMany);
        }
        let (mut last, mut headers, mut body) = (0, None, None);
        while let Some(field) = self.input.field(&mut last)? {
            match (field.id, field.kind) {
                (1, Type::Map) => headers = Some(self.headers()?),
                (2, Type::Binary) => body = Some(self.input.binary_at()?),
                _ => self.input.pass(field)?,
            }
        }
        let headers = headers.ok_or_else(|| self.input.error("an event without `headers`"))?;
        let body = body.ok_or_else(|| self.input.error("an event without `body`"))?;
        self.batch.push_slice(body.start, body.len());
        if headers != 0 {
            self.batch.use_headers(self.batch.len() - 1, headers);
        }
        Ok(())
    }

    /// The index of the set that stands next; 0 is the empty one.
    #[inline]
    fn headers(&mut self) -> Result<u32, Unread> {
        let start = self.input.at();
        let mut count = 0;
        self.input.pass_strings(|_, _| count += 1)?;
        if count == 0 {
            return Ok(0);
        }
        let message = self.message;
        let bytes = &message[start..self.input.at()];
        let place = place(bytes);
        let (from, to, index) = self.known[place];
        if &message[from..to] == bytes {
            return Ok(index);
        }
        self.headers += count;
        if self.batch.sets().len() > EVENTS_MAX || self.headers > HEADERS_MAX {
            return Err(Unread::TooMany);
        }
        let mut headers = HeadersBuilder::with_capacity(4, bytes.len());
        // Text that is no UTF-8 gets the sign that Java puts in place of it.
        Input::new(self.protocol, bytes).pass_strings(|key, value| {
            headers.push(String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        })?;
        let index = self.batch.add_headers(headers.build());
        self.known[place] = (start, self.input.at(), index);
        Ok(index)
    }
}

/// Where a set is remembered.
#[inline]
fn place(bytes: &[u8]) -> usize {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    (hash >> 58) as usize % KNOWN
}

/// Writes events, the headers once for those that share a set.
pub(crate) struct Writer {
    /// The set that was written last and where it stands.
    last: Option<(*const Headers, usize, usize)>,
}

impl Writer {
    pub fn new() -> Self {
        Self { last: None }
    }

    /// Appends an event. All events must be alive as long as the writer: a set is known by where it lies.
    #[inline]
    pub fn event(&mut self, output: &mut Output<'_>, event: EventRef<'_>) {
        match self.last {
            Some((set, from, to)) if std::ptr::eq(set, event.headers) => output.again(from, to),
            _ => {
                let from = output.len();
                output.strings_field(0, 1, event.headers.len());
                for (key, value) in event.headers.iter() {
                    output.binary(key.as_bytes());
                    output.binary(value.as_bytes());
                }
                self.last = Some((std::ptr::from_ref(event.headers), from, output.len()));
            }
        }
        output.binary_field(1, 2);
        output.binary(event.body);
        output.end();
    }
}
