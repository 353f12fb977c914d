//! What the journal keeps of a file that was begun and is not yet finished. The key is `f` and the file's number.
//!
//! ```text
//! byte 0         2             6         6+n
//!      +---------+-------------+---------+-----------+-----------------+------------------+---------+
//!      | version | text len n  | in use  | … final   | … file system   | … mark           | made    |   little-endian, UTF-8
//!      +---------+-------------+---------+-----------+-----------------+------------------+---------+
//! ```
//!
//! `version` is 2. Each text has its length in front. `made` is 1 once the file was created, else 0. Version 1 ends with the final
//! path, and is still read. How many of the file's bytes are released is the position itself. Anything else is refused: the sink
//! says so, and leaves the file as it is.

use bytes::{BufMut, Bytes};

const VERSION: u16 = 2;
const WITHOUT_PLACE: u16 = 1;
/// Hadoop's longest path.
const PATH_MAX: usize = 8000;

/// A file's two names, and how it is told from others of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// While it is written.
    pub in_use: String,
    /// Once it is finished.
    pub last: String,
    /// The file system, a URI without a path. Empty where a record of version 1 does not say it.
    pub place: String,
    /// What the file carries while it is written, where a file system can mark files.
    pub mark: String,
    /// The file was created: what there is of its name is the sink's own. Before, it may as well be another's that had the
    /// same name first.
    pub made: bool,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file's record: {what} at byte {at}")]
pub(super) struct RecordError {
    what: &'static str,
    at: usize,
}

impl Names {
    /// Of a file that is about to be created at `place`.
    pub fn new(in_use: String, last: String) -> Self {
        let mark = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Self { in_use, last, place: String::new(), mark, made: false }
    }

    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let texts = [&self.in_use, &self.last, &self.place, &self.mark];
        let length: usize = texts.iter().map(|text| 4 + text.len()).sum();
        let mut out = Vec::with_capacity(3 + length);
        out.put_u16_le(VERSION);
        for text in texts {
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
        out.put_u8(u8::from(self.made));
        out.into()
    }

    /// From bytes.
    pub fn decode(data: &[u8]) -> Result<Self, RecordError> {
        let version = data.first_chunk::<2>().ok_or(RecordError { what: "no version", at: 0 })?;
        let version = u16::from_le_bytes(*version);
        if ![WITHOUT_PLACE, VERSION].contains(&version) {
            return Err(RecordError { what: "unknown version", at: 0 });
        }
        let (in_use, at) = path(data, 2)?;
        let (last, at) = path(data, at)?;
        // Whoever wrote version 1 took each file for the sink's own.
        let mut names = Self { in_use, last, place: String::new(), mark: String::new(), made: true };
        let mut end = at;
        if version == VERSION {
            let (place, at) = text(data, at)?;
            let (mark, at) = text(data, at)?;
            names.made = match data.get(at) {
                Some(0) => false,
                Some(1) => true,
                Some(_) => return Err(RecordError { what: "neither made nor not made", at }),
                None => return Err(RecordError { what: "shorter than it says", at }),
            };
            (names.place, names.mark, end) = (place, mark, at + 1);
        }
        if end != data.len() {
            return Err(RecordError { what: "bytes left over", at: end });
        }
        Ok(names)
    }
}

fn path(data: &[u8], at: usize) -> Result<(String, usize), RecordError> {
    let (path, end) = text(data, at)?;
    if path.is_empty() {
        return Err(RecordError { what: "a path of no possible length", at });
    }
    Ok((path, end))
}

fn text(data: &[u8], at: usize) -> Result<(String, usize), RecordError> {
    let short = RecordError { what: "shorter than it says", at };
    let rest = data.get(at..).ok_or(short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > PATH_MAX {
        return Err(RecordError { what: "a path of no possible length", at });
    }
    let bytes = rest.get(..length).ok_or(short)?;
    let text =
        std::str::from_utf8(bytes).map_err(|_utf8| RecordError { what: "a text that is not UTF-8", at })?;
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

    fn whole() -> Names {
        Names {
            in_use: "/a.tmp".into(),
            last: "/a".into(),
            place: "hdfs://n".into(),
            mark: "m1".into(),
            made: true,
        }
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let bytes = whole().encode();
        assert_eq!(&bytes[..], b"\x02\0\x06\0\0\0/a.tmp\x02\0\0\0/a\x08\0\0\0hdfs://n\x02\0\0\0m1\x01");
        assert_eq!(Names::decode(&bytes), Ok(whole()));
        let unmade = Names { place: String::new(), mark: String::new(), made: false, ..whole() };
        assert_eq!(Names::decode(&unmade.encode()), Ok(unmade));
        assert_eq!(number(&key(u64::MAX)), Some(u64::MAX));
        assert_eq!(number("file"), None);
    }

    #[test]
    fn version_one_is_still_read() {
        let names = Names { place: String::new(), mark: String::new(), ..whole() };
        assert_eq!(Names::decode(b"\x01\0\x06\0\0\0/a.tmp\x02\0\0\0/a"), Ok(names));
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let whole = whole().encode();
        for cut in 0..whole.len() {
            assert!(Names::decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = whole.to_vec();
        long.push(0);
        let left_over = RecordError { what: "bytes left over", at: whole.len() };
        assert_eq!(Names::decode(&long), Err(left_over));
        for (at, value, what) in [
            (0, 3, "unknown version"),
            (5, 0xff, "a path of no possible length"),
            (6, 0xff, "a text that is not UTF-8"),
            (whole.len() - 1, 2, "neither made nor not made"),
        ] {
            let mut bad = whole.to_vec();
            bad[at] = value;
            assert_eq!(Names::decode(&bad).map_err(|error| error.what), Err(what));
        }
        assert!(Names::decode(b"\x01\0\0\0\0\0\x02\0\0\0/a").is_err(), "no path");
    }
}
