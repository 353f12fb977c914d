//! Both protocols, read with bounds everywhere.

use std::borrow::Cow;
use std::ops::Range;

use crate::{Malformed, Protocol};

/// Longest name of a method. Flume's has eleven bytes; a reply repeats it.
const NAME_MAX: usize = 256;
/// Deepest nesting of what is passed over.
const DEPTH_MAX: usize = 32;
const ENDS_TOO_EARLY: &str = "the message ends too early";

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

/// A field of a struct. In the compact protocol a truth is in its type, and no value follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub id: i16,
    pub kind: Type,
}

/// What a message begins with.
pub(crate) struct Head {
    pub kind: u8,
    pub name: String,
    pub serial: i32,
}

/// A message that is read from the front.
pub(crate) struct Input<'a> {
    protocol: Protocol,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(protocol: Protocol, bytes: &'a [u8]) -> Self {
        Self { protocol, bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn error(&self, what: impl Into<Cow<'static, str>>) -> Malformed {
        Malformed { what: what.into(), at: self.at }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error(ENDS_TOO_EARLY))?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = *rest.first_chunk().ok_or_else(|| self.error(ENDS_TOO_EARLY))?;
        self.at += N;
        Ok(array)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.error("a number of more than ten bytes"))
    }

    #[inline]
    fn varint32(&mut self) -> Result<u32, Malformed> {
        let number = self.varint()?;
        u32::try_from(number).map_err(|_large| self.error(format!("{number} where 32 bits are")))
    }

    fn zigzag32(&mut self) -> Result<i32, Malformed> {
        let number = self.varint32()?;
        Ok((number >> 1) as i32 ^ -((number & 1) as i32))
    }

    /// An `i32`.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        match self.protocol {
            Protocol::Compact => self.zigzag32(),
            Protocol::Binary => Ok(i32::from_be_bytes(self.array()?)),
        }
    }

    /// How many items, of a byte at least, follow.
    #[inline]
    fn length(&mut self) -> Result<usize, Malformed> {
        let announced = match self.protocol {
            Protocol::Compact => i64::from(self.varint32()?),
            Protocol::Binary => i64::from(i32::from_be_bytes(self.array()?)),
        };
        let length = usize::try_from(announced).ok().filter(|length| *length <= self.left());
        length.ok_or_else(|| self.error(format!("{announced} announced where {} bytes are", self.left())))
    }

    fn range(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        if length > self.left() {
            return Err(self.error(ENDS_TOO_EARLY));
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    /// Where the bytes of a string or binary stand.
    #[inline]
    pub fn binary_at(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.length()?;
        self.range(length)
    }

    /// A string or binary.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let range = self.binary_at()?;
        Ok(&self.bytes[range])
    }

    /// What a message begins with.
    pub fn head(&mut self) -> Result<Head, Malformed> {
        match self.protocol {
            Protocol::Compact => self.compact_head(),
            Protocol::Binary => self.binary_head(),
        }
    }

    fn compact_head(&mut self) -> Result<Head, Malformed> {
        match self.byte()? {
            0x82 => {}
            0x80 => return Err(self.error("this is the binary protocol, and `protocol` is compact here")),
            other => return Err(self.error(format!("byte {other:#04x} where the compact protocol has 0x82"))),
        }
        let second = self.byte()?;
        if second & 0x1f != 1 {
            return Err(self.error(format!("version {} of the compact protocol", second & 0x1f)));
        }
        let serial = self.varint32()? as i32;
        Ok(Head { kind: second >> 5, name: self.name()?, serial })
    }

    fn binary_head(&mut self) -> Result<Head, Malformed> {
        let first: [u8; 4] = self.array()?;
        match first {
            [0x80, 1, _, kind] => {
                let name = self.name()?;
                Ok(Head { kind, name, serial: i32::from_be_bytes(self.array()?) })
            }
            [0x82, ..] => Err(self.error("this is the compact protocol, and `protocol` is binary here")),
            [0x80..=0xff, ..] => Err(self.error("a version of the binary protocol that there is not")),
            // As it was before versions: the name is first.
            _ => {
                self.at -= first.len();
                let name = self.name()?;
                let kind = self.byte()?;
                Ok(Head { kind, name, serial: i32::from_be_bytes(self.array()?) })
            }
        }
    }

    fn name(&mut self) -> Result<String, Malformed> {
        let name = self.binary()?;
        if name.len() > NAME_MAX {
            return Err(self.error(format!("a method's name of {} bytes", name.len())));
        }
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// The next field of a struct, behind that with the id `last`; `None` at the struct's end.
    #[inline]
    pub fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed> {
        let first = self.byte()?;
        let kind = match self.protocol {
            Protocol::Compact => first & 0x0f,
            Protocol::Binary => first,
        };
        if kind == 0 {
            return Ok(None);
        }
        let kind = self.type_of(kind)?;
        let id = match (self.protocol, first >> 4) {
            (Protocol::Binary, _) => i16::from_be_bytes(self.array()?),
            (Protocol::Compact, 0) => {
                let id = self.zigzag32()?;
                i16::try_from(id).map_err(|_large| self.error(format!("a field {id}")))?
            }
            (Protocol::Compact, step) => {
                last.checked_add(i16::from(step)).ok_or_else(|| self.error("a field behind the last"))?
            }
        };
        *last = id;
        Ok(Some(Field { id, kind }))
    }

    fn type_of(&self, number: u8) -> Result<Type, Malformed> {
        Ok(match (self.protocol, number) {
            (Protocol::Compact, 1 | 2) | (Protocol::Binary, 2) => Type::Bool,
            (_, 3) => Type::Byte,
            (Protocol::Compact, 4) | (Protocol::Binary, 6) => Type::I16,
            (Protocol::Compact, 5) | (Protocol::Binary, 8) => Type::I32,
            (Protocol::Compact, 6) | (Protocol::Binary, 10) => Type::I64,
            (Protocol::Compact, 7) | (Protocol::Binary, 4) => Type::Double,
            (Protocol::Compact, 8) | (Protocol::Binary, 11) => Type::Binary,
            // Sets are written as lists are.
            (Protocol::Compact, 9 | 10) | (Protocol::Binary, 14 | 15) => Type::List,
            (Protocol::Compact, 11) | (Protocol::Binary, 13) => Type::Map,
            (_, 12) => Type::Struct,
            _ => return Err(self.error(format!("there is no type {number}"))),
        })
    }

    /// What a list or set holds, and how many; of an empty one the type means nothing.
    pub fn list(&mut self) -> Result<(Type, usize), Malformed> {
        let first = self.byte()?;
        let (kind, length) = match (self.protocol, first >> 4) {
            (Protocol::Compact, 0x0f) => (first & 0x0f, self.length()?),
            (Protocol::Compact, few) => (first & 0x0f, usize::from(few)),
            (Protocol::Binary, _) => (first, self.length()?),
        };
        if length == 0 {
            return Ok((Type::Struct, 0));
        }
        Ok((self.type_of(kind)?, length))
    }

    /// What a map holds, and how many pairs; of an empty one the types mean nothing.
    #[inline]
    pub fn map(&mut self) -> Result<(Type, Type, usize), Malformed> {
        let (key, value, length) = match self.protocol {
            Protocol::Compact => match self.length()? {
                0 => (0, 0, 0),
                length => {
                    let kinds = self.byte()?;
                    (kinds >> 4, kinds & 0x0f, length)
                }
            },
            Protocol::Binary => (self.byte()?, self.byte()?, self.length()?),
        };
        if length == 0 {
            return Ok((Type::Binary, Type::Binary, 0));
        }
        Ok((self.type_of(key)?, self.type_of(value)?, length))
    }

    /// A map of strings, looked through.
    #[inline]
    pub fn pass_strings(&mut self, mut pair: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), Malformed> {
        let (key, value, length) = self.map()?;
        if (key, value) != (Type::Binary, Type::Binary) {
            return Err(self.error("headers that are no strings"));
        }
        for _ in 0..length {
            let key = self.binary()?;
            pair(key, self.binary()?);
        }
        Ok(())
    }

    /// Passes over a field that nobody wants.
    pub fn pass(&mut self, field: Field) -> Result<(), Malformed> {
        if self.protocol == Protocol::Compact && field.kind == Type::Bool {
            return Ok(());
        }
        self.pass_value(field.kind, DEPTH_MAX)
    }

    fn pass_value(&mut self, kind: Type, depth: usize) -> Result<(), Malformed> {
        let Some(depth) = depth.checked_sub(1) else { return Err(self.error("too deep a nesting")) };
        match (kind, self.protocol) {
            (Type::Bool | Type::Byte, _) => {
                self.byte()?;
            }
            (Type::I16, Protocol::Binary) => {
                self.range(2)?;
            }
            (Type::I32, Protocol::Binary) => {
                self.range(4)?;
            }
            (Type::I64, Protocol::Binary) | (Type::Double, _) => {
                self.range(8)?;
            }
            (Type::I16 | Type::I32 | Type::I64, Protocol::Compact) => {
                self.varint()?;
            }
            (Type::Binary, _) => {
                self.binary_at()?;
            }
            (Type::List, _) => {
                let (kind, length) = self.list()?;
                for _ in 0..length {
                    self.pass_value(kind, depth)?;
                }
            }
            (Type::Map, _) => {
                let (key, value, length) = self.map()?;
                for _ in 0..length {
                    self.pass_value(key, depth)?;
                    self.pass_value(value, depth)?;
                }
            }
            (Type::Struct, _) => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    if self.protocol == Protocol::Binary || field.kind != Type::Bool {
                        self.pass_value(field.kind, depth)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(format!("{left} bytes are left over"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct with a field of every type, nested, in both protocols.
    const COMPACT: &[u8] = &[
        0x11, 0x12, // 1: true, 2: false
        0x13, 7, // 3: byte
        0x14, 0x80, 1, // 4: i16
        0x15, 9, 0x16, 0xff, 0xff, 3, // 5: i32, 6: i64
        0x17, 1, 2, 3, 4, 5, 6, 7, 8, // 7: double
        0x18, 2, b'h', b'i', // 8: binary
        0x19, 0x21, 1, 2, // 9: list of two truths
        0x1a, 0xf8, 1, 1, b'x', // 10: set of one binary, long form
        0x1b, 1, 0x8c, 1, b'k', 0x05, 0x02, 4, 0, // 11: map of binary to struct { 1: i32, long form }
        0x1b, 0, // 12: empty map
        0x1c, 0x21, 0, // 13: struct { 2: true }
        0,
    ];
    const BINARY: &[u8] = &[
        2, 0, 1, 1, // truth
        3, 0, 2, 7, 6, 0, 3, 0, 1, 8, 0, 4, 0, 0, 0, 1, // byte, i16, i32
        10, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, // i64, double
        11, 0, 7, 0, 0, 0, 1, b'x', // binary
        15, 0, 8, 2, 0, 0, 0, 2, 1, 0, // list of truths
        14, 0, 9, 3, 0, 0, 0, 1, 5, // set of bytes
        13, 0, 10, 11, 12, 0, 0, 0, 1, 0, 0, 0, 1, b'k', 2, 0, 1, 1, 0, // map of binary to struct
        13, 0, 11, 0, 0, 0, 0, 0, 0, // empty map of no types
        12, 0, 12, 0, // empty struct
        0,
    ];

    #[test]
    fn fields_of_every_type_are_passed_over_to_the_byte() {
        for (protocol, bytes, fields) in [(Protocol::Compact, COMPACT, 13), (Protocol::Binary, BINARY, 12)] {
            let mut input = Input::new(protocol, bytes);
            let (mut last, mut count) = (0, 0);
            while let Some(field) = input.field(&mut last).unwrap() {
                count += 1;
                assert_eq!(field.id, count, "{protocol:?}");
                input.pass(field).unwrap();
            }
            assert_eq!(count, fields);
            assert_eq!(input.end(), Ok(()));
            let mut whole = Input::new(protocol, bytes);
            assert_eq!(whole.pass_value(Type::Struct, DEPTH_MAX), Ok(()));
            assert_eq!(whole.end(), Ok(()));
        }
    }

    #[test]
    fn every_cut_of_a_struct_is_refused() {
        for (protocol, bytes) in [(Protocol::Compact, COMPACT), (Protocol::Binary, BINARY)] {
            for cut in 0..bytes.len() {
                let refused = Input::new(protocol, &bytes[..cut]).pass_value(Type::Struct, DEPTH_MAX);
                assert!(refused.is_err(), "{protocol:?} {cut}");
            }
        }
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deep = [0x1c; 100_000];
        let refused = Input::new(Protocol::Compact, &deep).pass_value(Type::Struct, DEPTH_MAX).unwrap_err();
        assert!(refused.what.contains("nesting"), "{refused}");
        let lists = [0x19; 100_000];
        assert!(Input::new(Protocol::Compact, &lists).pass_value(Type::List, DEPTH_MAX).is_err());
    }

    #[test]
    fn lengths_beyond_the_message_are_refused_before_anything_is_done() {
        let mut compact = Input::new(Protocol::Compact, &[0xff, 0xff, 0xff, 0xff, 0x07, 1]);
        assert!(compact.binary().unwrap_err().what.contains("2147483647 announced"));
        let mut binary = Input::new(Protocol::Binary, &[0xff, 0xff, 0xff, 0xff, 1]);
        assert!(binary.binary().unwrap_err().what.contains("-1 announced"));
        let mut endless = Input::new(Protocol::Compact, &[0xff; 20]);
        assert!(endless.i32().unwrap_err().what.contains("ten bytes"));
    }

    #[test]
    fn a_field_beyond_the_last_is_refused() {
        let mut input = Input::new(Protocol::Compact, &[0x03, 0xfe, 0xff, 0x03, 1, 0xf3, 1]);
        let mut last = 0;
        let field = input.field(&mut last).unwrap().unwrap();
        assert_eq!(field.id, i16::MAX);
        input.pass(field).unwrap();
        assert!(input.field(&mut last).is_err());
    }
}
