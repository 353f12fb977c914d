//! Events of requests: out of a payload into a batch over the very bytes that arrived, and out of a take into a payload.
//!
//! Neither copies a body on the way in nor allocates for each event: events with the same headers, as nearly all events of
//! a request have, share one set, which is found by the bytes that it was written as.

use bytes::Bytes;
use flumen_api::event::{EventRef, HeadersBuilder};
use flumen_api::{Batch, Headers};

use crate::Malformed;
use crate::input::Input;
use crate::output::{put_bytes, put_long};

/// Most events of one request. An event takes 24 bytes and its headers some hundred in memory, and two bytes in a request:
/// without a bound a small message could fill the memory.
pub const EVENTS_MAX: usize = 1 << 18;

/// Most headers in the different sets of one request: each takes some hundred bytes in memory, and four in a request.
pub const HEADERS_MAX: usize = 1 << 20;

/// Header sets that are remembered by their bytes.
const KNOWN: usize = 64;

/// Sets that were seen in this payload.
struct Sets<'a> {
    payload: &'a [u8],
    /// Where it stands, and its index in the batch.
    known: [(usize, usize, u32); KNOWN],
    /// In all sets so far.
    headers: usize,
}

/// Why no events were read.
#[derive(Debug)]
pub(crate) enum Unread {
    Malformed(Malformed),
    /// More events or headers than a request may have.
    TooMany,
}

impl From<Malformed> for Unread {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl<'a> Sets<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self { payload, known: [(0, 0, 0); KNOWN], headers: 0 }
    }

    /// The index of the set that stands next.
    #[inline]
    fn next(&mut self, input: &mut Input<'_>, batch: &mut Batch) -> Result<u32, Unread> {
        let start = input.at();
        input.skip_map()?;
        let bytes = &self.payload[start..input.at()];
        if bytes == [0] {
            return Ok(0);
        }
        let place = place(bytes);
        let (from, to, index) = self.known[place];
        if &self.payload[from..to] == bytes {
            return Ok(index);
        }
        let index = batch.add_headers(self.read(bytes, start)?);
        self.known[place] = (start, input.at(), index);
        Ok(index)
    }

    /// The pairs of a map; text that is no UTF-8 gets the sign that Java puts in place of it.
    fn read(&mut self, bytes: &[u8], start: usize) -> Result<Headers, Unread> {
        let mut input = Input::new(bytes);
        // Each pair has two lengths, of a byte at least.
        let mut headers = HeadersBuilder::with_capacity(4, bytes.len());
        input.items(|input| {
            self.headers += 1;
            if self.headers > HEADERS_MAX {
                return Err(Unread::TooMany);
            }
            let mut text = || input.bytes().map_err(|error| Malformed { at: error.at + start, ..error });
            let key = String::from_utf8_lossy(text()?);
            headers.push(key, String::from_utf8_lossy(text()?));
            Ok(())
        })?;
        Ok(headers.build())
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

/// Reads one event, which is appended to the batch.
#[inline]
fn event(input: &mut Input<'_>, sets: &mut Sets<'_>, batch: &mut Batch) -> Result<(), Unread> {
    let set = sets.next(input, batch)?;
    let body = input.bytes_at()?;
    batch.push_slice(body.start, body.len());
    if set != 0 {
        batch.use_headers(batch.len() - 1, set);
    }
    Ok(())
}

/// The parameter of `append`.
pub(crate) fn one(payload: &Bytes, input: &mut Input<'_>) -> Result<Batch, Unread> {
    let mut batch = Batch::over(payload.clone());
    event(input, &mut Sets::new(payload), &mut batch)?;
    input.end()?;
    Ok(batch)
}

/// The parameter of `appendBatch`.
pub(crate) fn many(payload: &Bytes, input: &mut Input<'_>) -> Result<Batch, Unread> {
    let mut batch = Batch::over(payload.clone());
    let mut sets = Sets::new(payload);
    input.items(|input| {
        if batch.len() == EVENTS_MAX {
            return Err(Unread::TooMany);
        }
        event(input, &mut sets, &mut batch)
    })?;
    input.end()?;
    Ok(batch)
}

/// Writes the headers of events, once for those that share a set.
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
    pub fn event(&mut self, out: &mut Vec<u8>, event: EventRef<'_>) {
        match self.last {
            Some((set, start, end)) if std::ptr::eq(set, event.headers) => out.extend_from_within(start..end),
            _ => {
                let start = out.len();
                put_map(out, event.headers);
                self.last = Some((std::ptr::from_ref(event.headers), start, out.len()));
            }
        }
        put_bytes(out, event.body);
    }
}

fn put_map(out: &mut Vec<u8>, headers: &Headers) {
    if !headers.is_empty() {
        put_long(out, headers.len() as i64);
        for (key, value) in headers.iter() {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_long(out, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers and body.
    type Plain<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

    fn written(events: &[Plain<'_>]) -> Vec<u8> {
        let sets: Vec<Headers> =
            events.iter().map(|(headers, _)| headers.iter().copied().collect()).collect();
        let mut out = Vec::new();
        put_long(&mut out, events.len() as i64);
        let mut writer = Writer::new();
        for (headers, (_, body)) in sets.iter().zip(events) {
            writer.event(&mut out, EventRef { headers, body });
        }
        put_long(&mut out, 0);
        out
    }

    fn read(bytes: Vec<u8>) -> Batch {
        let payload = Bytes::from(bytes);
        many(&payload, &mut Input::new(&payload)).unwrap()
    }

    #[test]
    fn events_are_read_as_they_are_written_over_the_payload_itself() {
        let events: &[Plain<'_>] = &[
            (&[], b"plain"),
            (&[("host", "h1"), ("schlüssel", "wert ✓")], b"\x00\xff"),
            (&[("host", "h1"), ("schlüssel", "wert ✓")], b""),
            (&[("", "")], b"an empty key and value"),
            (&[("host", "h1"), ("schlüssel", "wert ✓")], b"again"),
        ];
        let batch = read(written(events));
        assert_eq!(batch.len(), events.len());
        for (event, (headers, body)) in batch.iter().zip(events) {
            assert_eq!(event.body, *body);
            assert_eq!(*event.headers, headers.iter().copied().collect());
        }
        assert_eq!(batch.sets().len(), 3, "sets are shared, the common one is empty");
        assert!(batch.spans().iter().all(|span| (span.start as usize) < batch.base().len()));
    }

    #[test]
    fn a_thousand_sets_in_turns_are_each_what_they_were() {
        let texts: Vec<String> = (0..1000).map(|i| format!("{}", i % 300)).collect();
        let pairs: Vec<[(&str, &str); 2]> =
            texts.iter().map(|text| [("n", text.as_str()), ("x", "y")]).collect();
        let events: Vec<Plain<'_>> = pairs.iter().map(|pair| (&pair[..], b"b".as_slice())).collect();
        let batch = read(written(&events));
        for (event, text) in batch.iter().zip(&texts) {
            assert_eq!(event.headers.get("n"), Some(text.as_str()));
        }
    }

    #[test]
    fn text_that_is_no_utf_8_is_read_as_java_reads_it() {
        let batch = read(vec![2, 2, 2, 0xff, 2, b'v', 0, 0, 0]);
        assert_eq!(batch.event(0).headers.get("\u{fffd}"), Some("v"));
    }

    #[test]
    fn more_events_than_memory_is_given_for_are_no_batch() {
        let mut bytes = Vec::new();
        put_long(&mut bytes, EVENTS_MAX as i64 + 1);
        bytes.resize(bytes.len() + 2 * (EVENTS_MAX + 1), 0);
        bytes.push(0);
        let payload = Bytes::from(bytes);
        assert!(matches!(many(&payload, &mut Input::new(&payload)), Err(Unread::TooMany)));
    }

    #[test]
    fn more_headers_than_memory_is_given_for_are_no_batch() {
        // In one set, and in many.
        for (events, headers) in [(1, HEADERS_MAX + 1), (1 << 11, 1 << 10)] {
            let mut bytes = Vec::new();
            put_long(&mut bytes, events as i64);
            for event in 0..events {
                put_long(&mut bytes, headers as i64);
                for _ in 0..headers {
                    put_bytes(&mut bytes, &(event as u16).to_be_bytes());
                    put_bytes(&mut bytes, b"");
                }
                bytes.extend_from_slice(&[0, 0]);
            }
            put_long(&mut bytes, 0);
            let payload = Bytes::from(bytes);
            assert!(matches!(many(&payload, &mut Input::new(&payload)), Err(Unread::TooMany)));
        }
    }

    #[test]
    fn a_count_without_events_is_refused() {
        let mut bytes = Vec::new();
        put_long(&mut bytes, i64::MAX);
        let payload = Bytes::from(bytes);
        assert!(many(&payload, &mut Input::new(&payload)).is_err());
    }
}
