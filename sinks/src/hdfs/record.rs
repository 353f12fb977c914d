//! What the journal keeps of a file that was begun and is not yet finished. The key is `f` and the file's number.
//!
//! ```text
//! byte 0         2             6         6+n            10+n
//!      +---------+-------------+---------+--------------+----------------+
//!      | version | path len n  | in use  | path len m   | final          |   little-endian, UTF-8
//!      +---------+-------------+---------+--------------+----------------+
//! ```
//!
//! `version` is 1. How many of the file's bytes are released is the position itself. Anything else is refused: the sink
//! says so, and leaves the file as it is.

use bytes::{BufMut, Bytes};

const VERSION: u16 = 1;
/// Hadoop's longest path.
const PATH_MAX: usize = 8000;

/// A file's two names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// While it is written.
    pub in_use: String,
    /// Once it is finished.
    pub last: String,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file's record: {what} at byte {at}")]
pub(super) struct RecordError {
    what: &'static str,
    at: usize,
}

impl Names {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(10 + self.in_use.len() + self.last.len());
        out.put_u16_le(VERSION);
        for path in [&self.in_use, &self.last] {
            out.put_u32_le(path.len() as u32);
            out.put_slice(path.as_bytes());
        }
        out.into()
    }

    /// From bytes.
    pub fn decode(data: &[u8]) -> Result<Self, RecordError> {
        let version = data.first_chunk::<2>().ok_or(RecordError { what: "no version", at: 0 })?;
        if u16::from_le_bytes(*version) != VERSION {
            return Err(RecordError { what: "unknown version", at: 0 });
        }
        let (in_use, at) = path(data, 2)?;
        let (last, at) = path(data, at)?;
        if at != data.len() {
            return Err(RecordError { what: "bytes left over", at });
        }
        Ok(Self { in_use, last })
    }
}

fn path(data: &[u8], at: usize) -> Result<(String, usize), RecordError> {
    let short = RecordError { what: "shorter than it says", at };
    let rest = data.get(at..).ok_or(short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > PATH_MAX {
        return Err(RecordError { what: "a path of no possible length", at });
    }
    let bytes = rest.get(..length).ok_or(short)?;
    let text =
        std::str::from_utf8(bytes).map_err(|_utf8| RecordError { what: "a path that is not UTF-8", at })?;
    Ok((text.to_string(), at + 4 + length))
}

/// The journal's key for file `number`.
pub(super) fn key(number: u64) -> String {
    format!("f{number}")
}

/// The number in a journal's key.
pub(super) fn number(key: &str) -> Option<u64> {
    key.strip_prefix('f')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_one_bytes_stay_as_they_are() {
        let names = Names { in_use: "/a.tmp".into(), last: "/a".into() };
        let bytes = names.encode();
        assert_eq!(&bytes[..], b"\x01\0\x06\0\0\0/a.tmp\x02\0\0\0/a");
        assert_eq!(Names::decode(&bytes), Ok(names));
        assert_eq!(number(&key(u64::MAX)), Some(u64::MAX));
        assert_eq!(number("file"), None);
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let whole = Names { in_use: "/a.tmp".into(), last: "/a".into() }.encode();
        for cut in 0..whole.len() {
            assert!(Names::decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = whole.to_vec();
        long.push(0);
        assert_eq!(Names::decode(&long), Err(RecordError { what: "bytes left over", at: 18 }));
        for (at, value, what) in [
            (0, 2, "unknown version"),
            (5, 0xff, "a path of no possible length"),
            (6, 0xff, "a path that is not UTF-8"),
        ] {
            let mut bad = whole.to_vec();
            bad[at] = value;
            assert_eq!(Names::decode(&bad).map_err(|error| error.what), Err(what));
        }
    }
}
