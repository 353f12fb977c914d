//! What the channel keeps for a file_roll sink, under the key `file`: where its output stands.
//!
//! ```text
//! byte 0         2              4                    4+n          6+n
//!      +---------+--------------+--------------------+------------+
//!      | version | layout len n | layout, UTF-8 text | files u16  |   little-endian
//!      +---------+--------------+--------------------+------------+
//!      for each file: { device u64 | inode u64 | length u64 | path len u32 | path }
//! ```
//!
//! `version` is 1. The files are those that may hold bytes which are not released, oldest first: the first is released
//! up to `length`, the later ones hold nothing that is released (length 0). Between them there are no gaps: the next
//! event goes behind the first file's last one, and where that file is full, to the one after it. `inode` 0 is a file
//! that was named and perhaps never created. `layout` is the serializer's. Anything else - another version, lengths
//! that do not add up, no file at all - is refused: the sink says so and begins a new file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes};

/// The only version there is.
const VERSION: u16 = 1;

/// One file, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where it is.
    pub path: PathBuf,
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`; 0 as long as the file is only named.
    pub inode: u64,
    /// Bytes released.
    pub length: u64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The serializer's layout.
    pub layout: String,
    /// The files, oldest first.
    pub files: Vec<Named>,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file position: {what} at byte {at} of {len}")]
pub struct RecordError {
    what: &'static str,
    at: usize,
    len: usize,
}

impl Record {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u16_le(VERSION);
        out.put_u16_le(self.layout.len() as u16);
        out.put_slice(self.layout.as_bytes());
        out.put_u16_le(self.files.len() as u16);
        for file in &self.files {
            out.put_u64_le(file.device);
            out.put_u64_le(file.inode);
            out.put_u64_le(file.length);
            let path = file.path.as_os_str().as_bytes();
            out.put_u32_le(path.len() as u32);
            out.put_slice(path);
        }
        out.into()
    }

    /// From bytes.
    pub fn decode(data: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader { data, at: 0 };
        if reader.u16()? != VERSION {
            return Err(RecordError { at: 0, ..reader.bad("unknown version") });
        }
        let layout_len = reader.u16()? as usize;
        let layout = std::str::from_utf8(reader.take(layout_len)?)
            .map_err(|_utf8| reader.bad("layout is not UTF-8"))?
            .to_string();
        let count = reader.u16()?;
        if count == 0 {
            return Err(reader.bad("no file"));
        }
        let mut files = Vec::new();
        for i in 0..count {
            let (device, inode, length) = (reader.u64()?, reader.u64()?, reader.u64()?);
            if i > 0 && length > 0 {
                return Err(reader.bad("released bytes in a later file"));
            }
            let path_len = reader.u32()? as usize;
            let path = Path::new(OsStr::from_bytes(reader.take(path_len)?)).to_path_buf();
            files.push(Named { path, device, inode, length });
        }
        if reader.at != data.len() {
            return Err(reader.bad("bytes left over"));
        }
        Ok(Self { layout, files })
    }
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self, what: &'static str) -> RecordError {
        RecordError { what, at: self.at, len: self.data.len() }
    }

    fn take(&mut self, want: usize) -> Result<&'a [u8], RecordError> {
        let bytes = self.data[self.at..].get(..want).ok_or_else(|| self.bad("shorter than it says"))?;
        self.at += want;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes")))
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            layout: "TEXT".into(),
            files: vec![
                Named { path: "/d/1-1".into(), device: 1, inode: 2, length: 3 },
                Named { path: "/d/1-2".into(), device: 0, inode: 0, length: 0 },
            ],
        }
    }

    #[test]
    fn version_one_bytes_stay_as_they_are() {
        let file = |device: u8, inode: u8, length: u8, path: &[u8; 6]| {
            let mut bytes = vec![0; 28];
            (bytes[0], bytes[8], bytes[16], bytes[24]) = (device, inode, length, 6);
            bytes.extend_from_slice(path);
            bytes
        };
        let mut expected = b"\x01\x00\x04\x00TEXT\x02\x00".to_vec();
        expected.extend(file(1, 2, 3, b"/d/1-1"));
        expected.extend(file(0, 0, 0, b"/d/1-2"));
        assert_eq!(record().encode(), expected);
        assert_eq!(Record::decode(&expected), Ok(record()));
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        let good = record().encode();
        for cut in 0..good.len() {
            assert!(Record::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(Record::decode(&longer).expect_err("too long").what, "bytes left over");
        let mut newer = good.to_vec();
        newer[0] = 2;
        assert_eq!(Record::decode(&newer).expect_err("newer").what, "unknown version");
        let mut later = record();
        later.files[1].length = 9;
        assert!(Record::decode(&later.encode()).is_err());
        assert!(Record::decode(&Record { layout: String::new(), files: vec![] }.encode()).is_err());
    }
}
