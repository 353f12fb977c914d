//! Both protocols, written.

use crate::Protocol;

/// A message that is written to the end of a buffer.
pub(crate) struct Output<'a> {
    protocol: Protocol,
    out: &'a mut Vec<u8>,
}

impl<'a> Output<'a> {
    pub fn new(protocol: Protocol, out: &'a mut Vec<u8>) -> Self {
        Self { protocol, out }
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The bytes `from..to` once more.
    #[inline]
    pub fn again(&mut self, from: usize, to: usize) {
        self.out.extend_from_within(from..to);
    }

    #[inline]
    fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    pub fn i32(&mut self, number: i32) {
        match self.protocol {
            Protocol::Compact => self.varint(((number << 1) ^ (number >> 31)) as u32),
            Protocol::Binary => self.out.extend_from_slice(&number.to_be_bytes()),
        }
    }

    /// A length, which the frame around it keeps below 2 GiB.
    #[inline]
    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match self.protocol {
            Protocol::Compact => self.varint(length),
            Protocol::Binary => self.out.extend_from_slice(&length.to_be_bytes()),
        }
    }

    /// A string or binary.
    #[inline]
    pub fn binary(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// What a message begins with.
    pub fn head(&mut self, kind: u8, name: &str, serial: i32) {
        match self.protocol {
            Protocol::Compact => {
                self.out.extend_from_slice(&[0x82, kind << 5 | 1]);
                self.varint(serial as u32);
                self.binary(name.as_bytes());
            }
            Protocol::Binary => {
                self.out.extend_from_slice(&[0x80, 1, 0, kind]);
                self.binary(name.as_bytes());
                self.i32(serial);
            }
        }
    }

    /// A field of type `i32`, behind that with the id `last`.
    pub fn i32_field(&mut self, last: i16, id: i16) {
        self.field(last, id, 5, 8);
    }

    /// A field of type string or binary.
    #[inline]
    pub fn binary_field(&mut self, last: i16, id: i16) {
        self.field(last, id, 8, 11);
    }

    /// A field of type struct.
    pub fn struct_field(&mut self, last: i16, id: i16) {
        self.field(last, id, 12, 12);
    }

    /// A field that is a list of structs, and its length.
    pub fn structs_field(&mut self, last: i16, id: i16, length: usize) {
        self.field(last, id, 9, 15);
        match (self.protocol, length) {
            (Protocol::Compact, 0..15) => self.out.push((length as u8) << 4 | 12),
            (Protocol::Compact, _) => {
                self.out.push(0xfc);
                self.length(length);
            }
            (Protocol::Binary, _) => {
                self.out.push(12);
                self.length(length);
            }
        }
    }

    /// A field that is a map of strings, and how many pairs it has.
    pub fn strings_field(&mut self, last: i16, id: i16, pairs: usize) {
        self.field(last, id, 11, 13);
        match self.protocol {
            Protocol::Compact => {
                self.length(pairs);
                if pairs > 0 {
                    self.out.push(0x88);
                }
            }
            Protocol::Binary => {
                self.out.extend_from_slice(&[11, 11]);
                self.length(pairs);
            }
        }
    }

    #[inline]
    fn field(&mut self, last: i16, id: i16, compact: u8, binary: u8) {
        match (self.protocol, id - last) {
            (Protocol::Compact, step @ 1..=15) => self.out.push((step as u8) << 4 | compact),
            (Protocol::Compact, _) => {
                self.out.push(compact);
                self.i32(i32::from(id));
            }
            (Protocol::Binary, _) => {
                self.out.push(binary);
                self.out.extend_from_slice(&id.to_be_bytes());
            }
        }
    }

    /// The end of a struct.
    #[inline]
    pub fn end(&mut self) {
        self.out.push(0);
    }
}
