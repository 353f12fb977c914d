//! Avro's binary encoding, read with bounds everywhere.

use std::borrow::Cow;
use std::ops::Range;

/// Why bytes are not what Flume's wire has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub what: Cow<'static, str>,
    /// Where in the message.
    pub at: usize,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<Cow<'static, str>>, at: usize) -> Self {
        Self { what: what.into(), at }
    }
}

/// Bytes that are read from the front.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn error(&self, what: impl Into<Cow<'static, str>>) -> Malformed {
        Malformed::new(what, self.at)
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("the message ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    /// A `long`.
    #[inline]
    pub fn long(&mut self) -> Result<i64, Malformed> {
        let first = self.byte()?;
        let mut number = u64::from(first & 0x7f);
        let mut last = first;
        let mut shift = 7;
        while last & 0x80 != 0 {
            if shift > 63 {
                return Err(self.error("a number of more than ten bytes"));
            }
            last = self.byte()?;
            number |= u64::from(last & 0x7f) << shift;
            shift += 7;
        }
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Where the next `length` bytes stand.
    #[inline]
    fn range(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        if length > self.bytes.len() - self.at {
            return Err(
                self.error(format!("{length} bytes announced where {} are", self.bytes.len() - self.at))
            );
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    /// Where the bytes of a `bytes` or `string` stand.
    #[inline]
    pub fn bytes_at(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.long()?;
        let length =
            usize::try_from(length).map_err(|_negative| self.error(format!("a length of {length}")))?;
        self.range(length)
    }

    /// `bytes` or `string`.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let range = self.bytes_at()?;
        Ok(&self.bytes[range])
    }

    /// `fixed` of 16 bytes.
    pub fn hash(&mut self) -> Result<[u8; 16], Malformed> {
        let range = self.range(16)?;
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.bytes[range]);
        Ok(hash)
    }

    /// Whether a union of null and something holds something.
    pub fn is_some(&mut self) -> Result<bool, Malformed> {
        match self.long()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error(format!("branch {other} of a union of two"))),
        }
    }

    /// The items of an array or map, which come in blocks; a block with a negative count has its size in bytes behind it.
    #[inline]
    pub fn items<E: From<Malformed>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                let size = self.long()?;
                count = count
                    .checked_neg()
                    .filter(|_| size >= 0)
                    .ok_or_else(|| self.error("a block of no size"))?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    /// A map of bytes or strings, looked through.
    #[inline]
    pub fn skip_map(&mut self) -> Result<(), Malformed> {
        self.items(|input| {
            input.bytes_at()?;
            input.bytes_at()?;
            Ok(())
        })
    }

    /// A map of bytes or strings; whether it has this key.
    pub fn map_has(&mut self, wanted: &[u8]) -> Result<bool, Malformed> {
        let mut has = false;
        self.items(|input| {
            has |= input.bytes()? == wanted;
            input.bytes_at()?;
            Ok(())
        })?;
        Ok(has)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(self.error(format!("{left} bytes are left over"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::put_long;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let numbers = [0, -1, 1, 63, 64, -64, -65, 8191, i64::from(i32::MAX), i64::MAX, i64::MIN];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| put_long(&mut bytes, *number));
        let mut input = Input::new(&bytes);
        for number in numbers {
            assert_eq!(input.long(), Ok(number));
        }
        assert_eq!(input.end(), Ok(()));
        let error = Input::new(&[0x80; 11]).long().unwrap_err();
        assert_eq!(error.to_string(), "a number of more than ten bytes at byte 10");
    }

    #[test]
    fn lengths_beyond_the_message_are_refused_before_anything_is_done() {
        let mut bytes = Vec::new();
        put_long(&mut bytes, i64::MAX);
        assert!(Input::new(&bytes).bytes_at().is_err());
        bytes.clear();
        put_long(&mut bytes, -5);
        assert!(Input::new(&bytes).bytes_at().unwrap_err().to_string().contains("a length of -5"));
    }

    #[test]
    fn maps_come_in_blocks_with_or_without_their_size() {
        // Two blocks: one of one pair, one of one pair with its size in front.
        let bytes = [2, 2, b'a', 2, b'1', 1, 8, 2, b'b', 2, b'2', 0];
        let mut input = Input::new(&bytes);
        assert_eq!(input.skip_map(), Ok(()));
        assert_eq!(input.end(), Ok(()));
        let mut least = Vec::new();
        put_long(&mut least, i64::MIN);
        put_long(&mut least, 1);
        assert!(Input::new(&least).skip_map().is_err());
    }
}
