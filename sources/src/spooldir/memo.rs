//! What the channel keeps of a spooled file beside its position, and whether a file is still the one that it was.
//!
//! ```text
//! s1 <birth, ns since 1970, 0 if unknown> <length> <last write, ns> <length of the head> <crc32 of the head, hex> <path, any bytes>
//! ```
//!
//! Length and last write are those at the moment when the file was opened first: a spooled file must not change, and one
//! that did so while nobody looked is found out by them.

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::files::{Status, read_head};

/// How many first bytes tell two files with one inode number apart, where births are not known.
const HEAD_BYTES: usize = 256;

/// A file as it was when it was opened first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// Birth time, 0 if unknown.
    pub born_ns: u64,
    /// Its length then.
    pub len: u64,
    /// Its last write then.
    pub modified_ns: u64,
    /// How many first bytes `head_crc` covers.
    pub head_len: usize,
    /// Their CRC-32.
    pub head_crc: u32,
    /// Its path then.
    pub path: PathBuf,
}

impl Memo {
    /// The open file as it is now.
    pub fn of(path: &Path, file: &File, status: &Status) -> io::Result<Self> {
        let head = read_head(file, HEAD_BYTES.min(usize::try_from(status.len).unwrap_or(HEAD_BYTES)))?;
        Ok(Self {
            born_ns: status.born_ns,
            len: status.len,
            modified_ns: status.modified_ns,
            head_len: head.len(),
            head_crc: crc32fast::hash(&head),
            path: path.to_path_buf(),
        })
    }

    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let Self { born_ns, len, modified_ns, head_len, head_crc, .. } = self;
        let mut out = format!("s1 {born_ns} {len} {modified_ns} {head_len} {head_crc:08x} ").into_bytes();
        out.extend_from_slice(self.path.as_os_str().as_bytes());
        out.into()
    }

    /// From bytes; `None` if they are none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(7, |byte| *byte == b' ');
        (parts.next()? == b"s1").then_some(())?;
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let born_ns = text()?.parse().ok()?;
        let len = text()?.parse().ok()?;
        let modified_ns = text()?.parse().ok()?;
        let head_len = text()?.parse().ok().filter(|len| *len <= HEAD_BYTES)?;
        let head_crc = u32::from_str_radix(text()?, 16).ok()?;
        let path = std::ffi::OsString::from_vec(parts.next()?.to_vec()).into();
        Some(Self { born_ns, len, modified_ns, head_len, head_crc, path })
    }

    /// Whether the open file with the same inode number is the same file, changed or not. Births decide where they are
    /// known, else the first bytes.
    pub fn is_of(&self, file: &File, status: &Status) -> io::Result<bool> {
        match self.born_ns != 0 && status.born_ns != 0 {
            true => Ok(self.born_ns == status.born_ns),
            false => self.has_head(file),
        }
    }

    /// Whether an open file under another device number, which are handed out at mount, is this one.
    pub fn is_of_elsewhere(&self, file: &File, status: &Status) -> io::Result<bool> {
        let told_apart = self.head_len > 0 && self.born_ns != 0 && self.born_ns == status.born_ns;
        Ok(told_apart && self.has_head(file)?)
    }

    fn has_head(&self, file: &File) -> io::Result<bool> {
        let head = read_head(file, self.head_len)?;
        Ok(head.len() == self.head_len && crc32fast::hash(&head) == self.head_crc)
    }

    /// How the file has changed since then, for the log.
    pub fn change(&self, status: &Status) -> Option<String> {
        if status.len != self.len {
            return Some(format!("it had {} bytes when it was opened and has {} now", self.len, status.len));
        }
        (status.modified_ns != self.modified_ns).then(|| "it was written to after it was opened".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::open;

    #[test]
    fn a_memo_survives_its_bytes() {
        let memo = Memo {
            born_ns: 5,
            len: 6,
            modified_ns: 7,
            head_len: 6,
            head_crc: 0xab,
            path: "/spool/a file".into(),
        };
        assert_eq!(memo.encode(), "s1 5 6 7 6 000000ab /spool/a file");
        assert_eq!(Memo::decode(&memo.encode()), Some(memo));
        for bad in ["", "s1", "v1 5 6 ab /x", "s1 5 6 7 257 ab /x", "s1 5 6 7 6 g /x", "s1 5 6 7 6 ab"] {
            assert_eq!(Memo::decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_change_and_another_file_are_told_apart() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let (file, status) = open(&path).unwrap();
        let memo = Memo::of(&path, &file, &status).unwrap();
        assert!(memo.is_of(&file, &status).unwrap());
        assert_eq!(memo.change(&status), None);
        std::fs::write(&path, "other").unwrap();
        let (file, status) = open(&path).unwrap();
        assert!(memo.change(&status).unwrap().contains("4 bytes when it was opened and has 5 now"));
        // Where births are known they say that it is the same file; where not, its first bytes do.
        assert_eq!(memo.is_of(&file, &status).unwrap(), status.born_ns != 0);
        assert!(!Memo { born_ns: 0, ..memo.clone() }.is_of(&file, &status).unwrap());
        assert!(
            !Memo { born_ns: 1, ..memo }
                .is_of(&file, &crate::files::Status { born_ns: 2, ..status })
                .unwrap()
        );
    }
}
