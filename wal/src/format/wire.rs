//! Little-endian reading and writing with bounds.

use super::FormatError;

/// Reads a structure from its start; every read is checked.
pub struct Input<'a> {
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

    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn error(&self, what: &'static str) -> FormatError {
        FormatError { what, at: self.at }
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let bytes = self.bytes[self.at..].get(..len).ok_or_else(|| self.error("cut short"))?;
        self.at += len;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.bytes(1)?[0])
    }

    pub fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.bytes(2)?.try_into().expect("two bytes")))
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().expect("four bytes")))
    }

    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes")))
    }

    /// Bytes behind a 32-bit length.
    pub fn counted(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.u32()? as usize;
        self.bytes(len)
    }

    /// Text behind a 32-bit length.
    pub fn text(&mut self) -> Result<&'a str, FormatError> {
        let at = self.at;
        std::str::from_utf8(self.counted()?).map_err(|_utf8| FormatError { what: "text is not UTF-8", at })
    }
}

/// Appends to a buffer.
pub trait Output {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_u32(u32::try_from(bytes.len()).expect("counted bytes below 4 GiB"));
        self.put(bytes);
    }
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
