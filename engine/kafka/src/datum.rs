//! A whole event as a record's value: Avro's binary form of Flume's `AvroFlumeEvent`, without magic, schema or length.
//!
//! ```text
//!   headers  map<string>: blocks { count, [count < 0: its bytes,] count × { string key, string value } } … 0
//!   body     bytes: length, that many bytes
//!
//!   numbers are zigzag varints of 64 bits; a string is its length and its bytes
//! ```
//!
//! One block is written; any number is read. Text that is not UTF-8 is read with U+FFFD, as Java reads it. What follows the body
//! is ignored, as Java ignores it.

use flumen_api::event::{Headers, HeadersBuilder};

/// Why bytes are not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatumError {
    what: &'static str,
    at: usize,
    len: usize,
}

impl std::fmt::Display for DatumError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not an event in Flume's Avro format: {} at byte {} of {}", self.what, self.at, self.len)
    }
}

impl std::error::Error for DatumError {}

/// Appends the event to `out`.
pub fn encode(headers: &Headers, body: &[u8], out: &mut Vec<u8>) {
    if !headers.is_empty() {
        number(headers.len() as i64, out);
        for (key, value) in headers.iter() {
            bytes(key.as_bytes(), out);
            bytes(value.as_bytes(), out);
        }
    }
    out.push(0);
    bytes(body, out);
}

/// Reads an event; the body is a part of `data`.
pub fn decode(data: &[u8]) -> Result<(Headers, &[u8]), DatumError> {
    let mut reader = Reader { data, at: 0 };
    let mut headers = HeadersBuilder::default();
    loop {
        let mut count = reader.number()?;
        if count == 0 {
            break;
        }
        if count < 0 {
            // The block's length in bytes, for those who skip it.
            reader.number()?;
            count = count.checked_neg().ok_or_else(|| reader.bad("a block's count is out of range"))?;
        }
        // A pair takes two bytes at least: more of them than bytes are left cannot be there.
        if count as u64 > (data.len() - reader.at) as u64 / 2 {
            return Err(reader.bad("more headers than bytes"));
        }
        for _ in 0..count {
            let key = String::from_utf8_lossy(reader.bytes()?);
            let value = String::from_utf8_lossy(reader.bytes()?);
            headers.push(key, value);
        }
    }
    Ok((headers.build(), reader.bytes()?))
}

fn number(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    number(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self, what: &'static str) -> DatumError {
        DatumError { what, at: self.at, len: self.data.len() }
    }

    fn number(&mut self) -> Result<i64, DatumError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.data.get(self.at) else { return Err(self.bad("it ends within a number")) };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(self.bad("a number of more than 64 bits"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], DatumError> {
        let length = self.number()?;
        let length = usize::try_from(length).map_err(|_range| self.bad("a negative length"))?;
        let found = self.data[self.at..].get(..length);
        let found = found.ok_or_else(|| self.bad("a length beyond the end"))?;
        self.at += length;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that Java's `SpecificDatumWriter<AvroFlumeEvent>` writes.
    #[test]
    fn the_bytes_are_flumes() {
        let mut out = Vec::new();
        encode(&Headers::from_iter([("k", "v"), ("ä", "")]), b"body", &mut out);
        assert_eq!(out, b"\x04\x02k\x02v\x04\xc3\xa4\x00\x00\x08body");
        let mut out = Vec::new();
        encode(&Headers::new(), b"", &mut out);
        assert_eq!(out, [0, 0]);
    }

    #[test]
    fn blocks_with_a_length_are_read_and_what_follows_is_ignored() {
        let (headers, body) = decode(b"\x01\x08\x02a\x02b\x02\x02c\x02d\x00\x02xrest").expect("an event");
        assert_eq!(headers, Headers::from_iter([("a", "b"), ("c", "d")]));
        assert_eq!(body, b"x");
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_place() {
        for (data, said) in [
            (&b""[..], "it ends within a number at byte 0 of 0"),
            (b"\x04\x02k", "more headers than bytes"),
            (b"\x00\x08bod", "a length beyond the end at byte 2 of 5"),
            (b"\x00\x01", "a negative length"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "out of range"),
        ] {
            let error = decode(data).expect_err("refused").to_string();
            assert!(error.contains(said), "{data:x?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            pairs in proptest::collection::vec((".{0,9}", ".{0,9}"), 0..40),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let headers = Headers::from_iter(pairs);
            let mut out = Vec::new();
            encode(&headers, &body, &mut out);
            prop_assert_eq!(decode(&out), Ok((headers, &body[..])));
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = decode(&data);
        }
    }
}
