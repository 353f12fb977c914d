//! Walks over a datum's bytes by its schema.
//!
//! Types without bytes are stepped over as a whole, so that each step stands for at least one byte: schemas of a few lines
//! could else ask for more steps than there are atoms. What is left of the steps is bounded by a budget.

use crate::DEPTH_MAX;
use crate::schema::{Schema, Type};

/// Most steps a byte, on the average over the bytes that are there. Real schemas take about one.
const STEPS_A_BYTE: usize = 64;

const SHORT: &str = "they end too early";

impl Schema {
    /// The length of the datum at the front of `bytes`, or why there is none. What it holds is not looked at where that does
    /// not change its length: texts that are not UTF-8, booleans that are neither 0 nor 1.
    pub fn datum(&self, bytes: &[u8]) -> Result<usize, &'static str> {
        let rest = self.walk(bytes, false)?;
        Ok(bytes.len() - rest.len())
    }

    /// Whether `bytes` are a datum, every reader's, from the first to the last, or why not.
    pub fn is_datum(&self, bytes: &[u8]) -> Result<(), String> {
        match self.walk(bytes, true)? {
            [] => Ok(()),
            rest => Err(format!("{} bytes more follow", rest.len())),
        }
    }

    fn walk<'a>(&self, bytes: &'a [u8], is_strict: bool) -> Result<&'a [u8], &'static str> {
        let steps = bytes.len().saturating_add(1).saturating_mul(STEPS_A_BYTE).saturating_add(self.size());
        Walk { schema: self, is_strict, steps }.beyond(&self.root, bytes, 0)
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    /// Contents are judged, too.
    is_strict: bool,
    /// How many more are allowed.
    steps: usize,
}

impl Walk<'_> {
    /// What follows the datum of this type at the front of `bytes`.
    fn beyond<'a>(&mut self, of: &Type, mut bytes: &'a [u8], depth: usize) -> Result<&'a [u8], &'static str> {
        if depth > DEPTH_MAX {
            return Err("data are nested too deep");
        }
        self.steps = self.steps.checked_sub(1).ok_or("they have too many parts for their bytes")?;
        if self.schema.is_void(of) {
            return Ok(bytes);
        }
        match of {
            Type::Null => Ok(bytes),
            Type::Boolean => match bytes.split_first() {
                None => Err(SHORT),
                Some((0 | 1, rest)) => Ok(rest),
                Some((_, rest)) if !self.is_strict => Ok(rest),
                Some(_) => Err("a boolean is neither 0 nor 1"),
            },
            Type::Fixed(count) => cut(bytes, *count).map(|(_, rest)| rest),
            Type::Int => match long(bytes) {
                Some((_, length @ ..=5)) => Ok(&bytes[length..]),
                Some(_) => Err("an int has more than 32 bits"),
                None => Err(SHORT),
            },
            Type::Long => Ok(number(bytes)?.1),
            Type::Enum(symbols) => {
                let (index, rest) = number(bytes)?;
                match usize::try_from(index).is_ok_and(|index| index < *symbols) {
                    true => Ok(rest),
                    false => Err("an enum has no such symbol"),
                }
            }
            Type::Bytes => counted(bytes).map(|(_, rest)| rest),
            Type::Text => {
                let (text, rest) = counted(bytes)?;
                match self.is_strict && std::str::from_utf8(text).is_err() {
                    true => Err("a string is not UTF-8"),
                    false => Ok(rest),
                }
            }
            Type::Union(branches) => {
                let (index, rest) = number(bytes)?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                self.beyond(branch.ok_or("a union has no such branch")?, rest, depth + 1)
            }
            Type::Record(record) => {
                for field in self.schema.fields(*record) {
                    bytes = self.beyond(field, bytes, depth + 1)?;
                }
                Ok(bytes)
            }
            Type::Array(items) => self.beyond_blocks(None, items, bytes, depth),
            Type::Map(values) => self.beyond_blocks(Some(&Type::Text), values, bytes, depth),
        }
    }

    fn beyond_blocks<'a>(
        &mut self,
        key: Option<&Type>,
        items: &Type,
        mut bytes: &'a [u8],
        depth: usize,
    ) -> Result<&'a [u8], &'static str> {
        loop {
            let (count, rest) = number(bytes)?;
            bytes = rest;
            if count == 0 {
                return Ok(bytes);
            }
            // Who skips the block goes by its size, who reads it by its items: both have to come to the same place.
            let end = match count < 0 {
                true => {
                    let (size, rest) = number(bytes)?;
                    bytes = rest;
                    let size = usize::try_from(size).map_err(|_negative| "a length is negative")?;
                    Some(rest.len().checked_sub(size).ok_or(SHORT)?)
                }
                false => None,
            };
            for _ in 0..count.unsigned_abs() {
                let before = bytes.len();
                if let Some(key) = key {
                    bytes = self.beyond(key, bytes, depth + 1)?;
                }
                bytes = self.beyond(items, bytes, depth + 1)?;
                // Items without bytes need no counting, whatever their number is said to be.
                if bytes.len() == before {
                    break;
                }
            }
            if end.is_some_and(|end| end != bytes.len()) {
                return Err("a block of items has another length than it says");
            }
        }
    }
}

/// A zigzag varint at the front of `bytes`, and its length.
pub fn long(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(((number >> 1) as i64 ^ -((number & 1) as i64), i + 1));
        }
    }
    None
}

fn number(bytes: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    match long(bytes) {
        Some((number, length)) => Ok((number, &bytes[length..])),
        None if bytes.len() < 10 => Err(SHORT),
        None => Err("a number has more than 64 bits"),
    }
}

/// What a length in front says.
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (count, rest) = number(bytes)?;
    cut(rest, usize::try_from(count).map_err(|_negative| "a length is negative")?)
}

fn cut(bytes: &[u8], count: usize) -> Result<(&[u8], &[u8]), &'static str> {
    bytes.split_at_checked(count).ok_or(SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;

    /// A schema of each kind, and a datum of it.
    const EACH_KIND: &[(&str, &[u8])] = &[
        (r#""null""#, b""),
        (r#""boolean""#, &[1]),
        (r#""int""#, &[0xac, 2]),
        (r#""long""#, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        (r#""float""#, &[1, 2, 3, 4]),
        (r#""double""#, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (r#""bytes""#, b"\x06\xff\xfe\xfd"),
        (r#""string""#, "\x06a\u{e9}".as_bytes()),
        (r#"{"type":"fixed","name":"F","size":3}"#, b"abc"),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2]),
        (r#"["null","string",{"type":"array","items":"int"}]"#, b"\x02\x04ab"),
        (r#"{"type":"array","items":"int"}"#, &[4, 2, 4, 2, 6, 0]),
        (r#"{"type":"array","items":"int"}"#, &[3, 4, 2, 4, 0]),
        (r#"{"type":"array","items":"null"}"#, &[254, 255, 255, 255, 15, 0]),
        (r#"{"type":"map","values":"boolean"}"#, b"\x02\x02k\x01\x00"),
        (r#"{"type":"map","values":"boolean"}"#, b"\x01\x06\x02k\x01\x00"),
        (LIST, &[2, 2, 2, 0]),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"s","type":"string"},{"name":"n","type":"null"},
                {"name":"u","type":["null","boolean"]},{"name":"b","type":"boolean"}]}"#,
            b"\x02x\x02\x01\x00",
        ),
    ];

    #[test]
    fn of_every_kind_the_end_is_found_and_no_shorter_datum_is_one() {
        for (text, bytes) in EACH_KIND {
            let schema = schema(text);
            assert_eq!(schema.is_datum(bytes), Ok(()), "{text}");
            assert_eq!(schema.datum(&[bytes, &b"\x05"[..]].concat()), Ok(bytes.len()), "{text}");
            assert!(schema.is_datum(&[bytes, &b"\x00"[..]].concat()).is_err(), "{text} and a byte more");
            for end in 0..bytes.len() {
                assert!(schema.is_datum(&bytes[..end]).is_err(), "{end} bytes of {text}");
                assert!(schema.datum(&bytes[..end]).is_err(), "{end} bytes of {text}");
            }
        }
    }

    #[test]
    fn what_some_reader_could_not_read_is_no_datum() {
        for (text, bytes, why, is_walked) in [
            (r#""boolean""#, &[2][..], "neither 0 nor 1", true),
            (r#""string""#, b"\x02\xff", "UTF-8", true),
            (r#"{"type":"map","values":"null"}"#, b"\x02\x02\xff\x00", "UTF-8", true),
            (r#""int""#, &[0x80, 0x80, 0x80, 0x80, 0x80, 1], "32 bits", false),
            (r#""long""#, &[0xff; 11], "64 bits", false),
            (r#""string""#, &[1], "negative", false),
            (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[4], "symbol", false),
            (r#"["null","int"]"#, &[4], "branch", false),
            (r#"["null","int"]"#, &[1], "branch", false),
            (r#"{"type":"array","items":"int"}"#, &[3, 2, 2, 4, 0], "another length", false),
            (r#"{"type":"array","items":"int"}"#, &[3, 6, 2, 4, 9, 0], "another length", false),
        ] {
            let schema = schema(text);
            let refused = schema.is_datum(bytes).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
            assert_eq!(schema.datum(bytes).is_ok(), is_walked, "{text} {bytes:?}");
        }
    }

    #[test]
    fn lengths_and_depths_that_are_announced_cost_nothing() {
        let huge = [254, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        for text in [r#""string""#, r#"{"type":"array","items":"long"}"#, r#"{"type":"map","values":"long"}"#]
        {
            assert!(schema(text).is_datum(&huge).is_err(), "{text}");
        }
        let negative = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 2];
        assert!(schema(r#"{"type":"array","items":"long"}"#).is_datum(&negative).is_err());
        assert_eq!(schema(LIST).datum(&[2; 100_000]), Err("data are nested too deep"));
    }

    /// Records of which each has two fields of the next, and the last one has a field of the type `last`.
    fn doubling(count: usize, last: &str) -> String {
        (0..count).fold(last.to_string(), |inner, i| {
            let inner_name = format!("\"R{}\"", i.wrapping_sub(1));
            let second = if i == 0 { last } else { &inner_name };
            format!(
                r#"{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":{second}}}]}}"#
            )
        })
    }

    #[test]
    fn a_schema_that_doubles_at_each_level_takes_no_longer_than_its_bytes() {
        let started = std::time::Instant::now();
        let nothing = schema(&doubling(35, r#""null""#));
        assert_eq!(nothing.datum(b"x"), Ok(0));
        assert!(nothing.has_no_bytes());
        let one = schema(&doubling(35, r#""boolean""#));
        assert!(!one.has_no_bytes());
        assert_eq!(one.datum(&[1; 1000]), Err(SHORT));
        assert_eq!(schema(&doubling(10, r#""boolean""#)).datum(&[1; 2000]), Ok(1024));
        let itself = schema(
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"R"},{"name":"b","type":"R"}]}"#,
        );
        assert_eq!(itself.datum(&[0; 10]), Err("data are nested too deep"));
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
    }

    #[test]
    fn numbers_take_ten_bytes_at_most() {
        for (bytes, number) in [
            (&[0][..], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 1], 64),
            (&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1], i64::MAX),
            (&[0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1], i64::MIN),
        ] {
            assert_eq!(long(bytes), Some((number, bytes.len())));
            assert_eq!(long(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(long(&[0x80; 11]), None);
    }
}
