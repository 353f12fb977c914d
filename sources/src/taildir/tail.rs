//! One tailed file: who it is, how far it is read, and the next lines of it.
//!
//! ```text
//!   offset 0 ......... acked ........... put ........ scanned ....... length
//!          | in the channels | on the way | no line end | not looked at |
//! ```
//!
//! A file is its device and inode, whatever its name. Since an inode is used again once its file is gone, and a file may
//! be cut and written anew, the file is recognised by its birth time and by its first bytes as well, looked at after each
//! read and before anything of that read is put. Any doubt begins a new *generation* at offset 0. What no reader can
//! see: a file that was cut and has grown beyond the position again between two looks, with the same first
//! [`HEAD_BYTES`] bytes; and lines written between the last look and the cut (`copytruncate` loses those by design).
//!
//! What the channel keeps for each file, as the rest of the progress key `dev:inode`:
//!
//! ```text
//! v1 <birth, ns since 1970, 0 if unknown> <length of the head> <crc32 of the head, 8 hex digits> <path, any bytes>
//! ```

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_api::Headers;

use crate::files::buffers::Buffers;
use crate::files::{FileId, Status, read_at, read_head, status_of};

/// How many of a file's first bytes are remembered to recognise it: log lines begin with a time, so a few lines' worth
/// tells two files of one writer apart.
pub const HEAD_BYTES: usize = 256;

/// The longest line that is read into memory. Longer ones (a disk image among the logs) are skipped with an error; a
/// batch counts its bytes in 32 bits, and the line is copied once or twice on its way.
pub const LINE_BYTES_MAX: u64 = 1 << 30;

/// A file that listings do not show for this long (several listings) is lost.
const LOST_AFTER: Duration = Duration::from_secs(6);

/// How much of a line without end is looked through in one turn, so that one such file does not starve the others.
const SEARCH_BYTES: u64 = 16 << 20;

/// What a durable channel keeps about a file beside its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// Birth time, 0 if unknown.
    pub born_ns: u64,
    /// How many first bytes `head_crc` covers.
    pub head_len: usize,
    /// Their CRC-32.
    pub head_crc: u32,
    /// The file's path when this was written.
    pub path: PathBuf,
}

impl Memo {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = format!("v1 {} {} {:08x} ", self.born_ns, self.head_len, self.head_crc).into_bytes();
        out.extend_from_slice(self.path.as_os_str().as_bytes());
        out.into()
    }

    /// From bytes; `None` if they are none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(5, |byte| *byte == b' ');
        (parts.next()? == b"v1").then_some(())?;
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let born_ns = text()?.parse().ok()?;
        let head_len = text()?.parse().ok().filter(|len| *len <= HEAD_BYTES)?;
        let head_crc = u32::from_str_radix(text()?, 16).ok()?;
        let path = std::ffi::OsString::from_vec(parts.next()?.to_vec()).into();
        Some(Self { born_ns, head_len, head_crc, path })
    }

    /// Whether the open file is the one that this was written for, read up to `position`.
    pub fn fits(&self, file: &File, status: &Status, position: u64) -> io::Result<bool> {
        if status.len < position
            || (self.born_ns != 0 && status.born_ns != 0 && self.born_ns != status.born_ns)
        {
            return Ok(false);
        }
        let head = read_head(file, self.head_len)?;
        Ok(head.len() == self.head_len && crc32fast::hash(&head) == self.head_crc)
    }
}

/// What a turn of a file brought.
#[derive(Debug)]
pub enum Turn {
    /// Nothing new.
    Quiet,
    /// Nothing to put yet, but there is more to look through.
    Searching,
    /// Bytes from the position on, of which the first `end` are whole lines with their line ends.
    Lines {
        /// The bytes.
        base: Bytes,
        /// Where the last whole line ends.
        end: usize,
    },
    /// The last line, held back until now, without a line end.
    Unfinished(Bytes),
    /// A line of this many bytes, beyond [`LINE_BYTES_MAX`].
    TooLong(u64),
    /// The file was cut or written anew: it is to be read from 0 in a new generation.
    Restarted(&'static str),
}

/// A file that is being followed.
#[derive(Debug)]
pub struct Tail {
    /// Which file it is.
    pub id: FileId,
    /// Its progress key.
    pub key: String,
    /// Where it is now, as far as known.
    pub path: PathBuf,
    /// Headers of its events.
    pub headers: Arc<Headers>,
    /// Generation of the positions below.
    pub generation: u64,
    /// All before this offset is on its way to the channels.
    pub put: u64,
    /// All before this offset is acked.
    pub acked: u64,
    /// [`Memo`], encoded.
    pub rest: Bytes,
    /// The last time that something changed.
    pub changed_at: Instant,
    /// Since when listings have shown no name of it in the watched directories.
    pub gone_since: Option<Instant>,
    /// Its last put, which retires the key, is on its way.
    pub retiring: bool,
    /// While `put` is below the second number, at most so many lines go into a put.
    pub smaller_puts: Option<(usize, u64)>,
    /// There is something to read, by the last look.
    pub hot: bool,
    file: Option<File>,
    seen: Status,
    /// There is no line end between `put` and here.
    scanned: u64,
    head: Vec<u8>,
}

impl Tail {
    /// Follows `file` from `position` on.
    pub fn new(
        path: PathBuf,
        headers: Arc<Headers>,
        (file, status): (File, Status),
        (generation, position): (u64, u64),
    ) -> io::Result<Self> {
        let head = read_head(&file, HEAD_BYTES.min(position as usize))?;
        let mut tail = Self {
            id: status.id,
            key: status.id.key(),
            path,
            headers,
            generation,
            put: position,
            acked: position,
            rest: Bytes::new(),
            changed_at: Instant::now(),
            gone_since: None,
            retiring: false,
            smaller_puts: None,
            hot: true,
            file: Some(file),
            seen: status,
            scanned: position,
            head,
        };
        tail.renew_rest();
        Ok(tail)
    }

    /// Whether a descriptor is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the last look found the file without any name left.
    pub fn is_deleted(&self) -> bool {
        self.seen.links == 0
    }

    /// Whether it has left the watched directories for good. One listing proves nothing: a file that is renamed while
    /// its directory is read may be missing under both names, and forgetting it would send it again from its beginning.
    pub fn is_lost(&self, now: Instant) -> bool {
        self.gone_since.is_some_and(|since| now.duration_since(since) >= LOST_AFTER)
    }

    /// Whether everything that the last look saw is on its way.
    pub fn is_read(&self) -> bool {
        !self.hot && self.put >= self.seen.len
    }

    /// The file is at `path` now.
    pub fn moved_to(&mut self, path: &Path) {
        if self.path != path {
            self.path = path.to_path_buf();
            self.renew_rest();
        }
    }

    /// Lets go of the descriptor; [`reopen`](Self::reopen) takes the file up again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Lets go of a file that could not be read, so that it is opened again.
    pub fn give_up(&mut self) {
        self.file = None;
        self.hot = false;
        self.seen.modified_ns = 0;
    }

    /// Takes up a closed file again, which `opened` is by its device and inode. A file that was cut, or another one with
    /// the same inode, is noticed at the next [`turn`](Self::turn), whatever the caller does in between.
    pub fn reopen(&mut self, (file, status): (File, Status)) {
        debug_assert_eq!(status.id, self.id);
        if self.seen.born_ns != 0 && status.born_ns != 0 && self.seen.born_ns != status.born_ns {
            // Another file: no byte of it can be trusted to follow what was read, so let the head disagree.
            self.seen.born_ns = u64::MAX;
        }
        self.file = Some(file);
        self.changed_at = Instant::now();
        self.hot = true;
    }

    /// Whether a closed file, now found to be as `status` says, has to be opened again.
    pub fn differs(&self, status: &Status) -> bool {
        status.len != self.seen.len
            || status.modified_ns != self.seen.modified_ns
            || (self.seen.born_ns != 0 && status.born_ns != self.seen.born_ns)
    }

    /// Looks whether there is something new; cheap.
    pub fn look(&mut self, now: Instant) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let status = status_of(file)?;
        if status.len != self.seen.len || status.modified_ns != self.seen.modified_ns {
            self.hot = true;
            self.changed_at = now;
        }
        // The birth time stays as first seen, so that `turn` compares against it.
        self.seen = Status { born_ns: self.seen.born_ns, ..status };
        Ok(())
    }

    /// Begins a new generation at 0.
    pub fn restart(&mut self, generation: u64) -> io::Result<()> {
        self.generation = generation;
        self.put = 0;
        self.acked = 0;
        self.scanned = 0;
        self.head.clear();
        self.retiring = false;
        self.smaller_puts = None;
        self.hot = true;
        if let Some(file) = &self.file {
            self.seen = status_of(file)?;
        }
        self.renew_rest();
        Ok(())
    }

    /// Goes back to what is acked.
    pub fn rewind(&mut self) {
        if self.put != self.acked {
            self.put = self.acked;
            self.scanned = self.acked;
            self.hot = true;
        }
        self.retiring = false;
    }

    /// All before `position` is on its way.
    pub fn advance(&mut self, position: u64) {
        self.put = position;
        self.scanned = self.scanned.max(position);
    }

    /// The next lines, or with `finish` the last line even without its end.
    pub fn turn(&mut self, buffers: &Buffers, finish: bool, now: Instant) -> io::Result<Turn> {
        let Some(file) = &self.file else {
            self.hot = false;
            return Ok(Turn::Quiet);
        };
        let mut found = Found::End;
        let mut bytes = Bytes::new();
        if self.scanned - self.put >= buffers.chunk_bytes() as u64 {
            // The line is longer than a chunk. Only what is new is looked through, so that a line which grows slowly is
            // not read again and again, and memory is asked for once, when the line is whole.
            found = search(file, buffers, self.scanned)?;
        } else {
            bytes = buffers.read(file, self.put)?;
            if let Some(last) = memchr::memrchr(b'\n', &bytes) {
                found = Found::LineEnd(self.put + last as u64);
            } else if bytes.len() == buffers.chunk_bytes() {
                found = Found::NothingUpTo(self.put + bytes.len() as u64);
            }
        }
        let read_to = match found {
            Found::LineEnd(at) => at + 1,
            Found::NothingUpTo(to) => to,
            Found::End => self.put + bytes.len() as u64,
        };
        if let Some(why) = self.is_another(read_to)? {
            return Ok(Turn::Restarted(why));
        }
        if self.head.len() < HEAD_BYTES {
            self.lengthen_head(&bytes)?;
        }
        match found {
            Found::LineEnd(at) => {
                self.changed_at = now;
                self.scanned = self.scanned.max(at + 1);
                let length = at + 1 - self.put;
                if !bytes.is_empty() {
                    return Ok(Turn::Lines { base: bytes, end: length as usize });
                }
                self.whole(length, true)
            }
            Found::NothingUpTo(to) => {
                self.scanned = to;
                Ok(Turn::Searching)
            }
            Found::End => {
                if !bytes.is_empty() {
                    self.scanned = self.put + bytes.len() as u64;
                }
                let held = self.seen.len.max(self.scanned) - self.put;
                if finish && held > 0 {
                    return self.whole(held, false);
                }
                // A change that came after the read shows in the next look, which compares with what was seen before it.
                self.hot = false;
                Ok(Turn::Quiet)
            }
        }
    }

    /// One line of `length` bytes in a buffer of its own.
    fn whole(&mut self, length: u64, ended: bool) -> io::Result<Turn> {
        if length > LINE_BYTES_MAX {
            return Ok(Turn::TooLong(length));
        }
        let file = self.file.as_ref().expect("turn has found it open");
        let mut line = Vec::new();
        read_at(file, &mut line, length as usize, self.put)?;
        if let Some(why) = self.is_another(self.put + length)? {
            return Ok(Turn::Restarted(why));
        }
        match memchr::memrchr(b'\n', &line) {
            Some(last) => Ok(Turn::Lines { base: line.into(), end: last + 1 }),
            None if ended => Ok(Turn::Restarted("its bytes changed while they were read")),
            None => Ok(Turn::Unfinished(line.into())),
        }
    }

    /// Whether this is not the file whose bytes up to `put` were read, asked after reading on to `read_to`.
    fn is_another(&mut self, read_to: u64) -> io::Result<Option<&'static str>> {
        let file = self.file.as_ref().expect("turn has found it open");
        let status = status_of(file)?;
        if self.seen.born_ns != 0 && status.born_ns != 0 && self.seen.born_ns != status.born_ns {
            return Ok(Some("another file has its inode"));
        }
        if status.len < self.put.max(read_to) {
            return Ok(Some("it became shorter"));
        }
        let mut now = [0; HEAD_BYTES];
        let now = &mut now[..self.head.len()];
        if !now.is_empty() {
            use std::os::unix::fs::FileExt;
            match file.read_exact_at(now, 0) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Some("it became shorter"));
                }
                other => other?,
            }
            if *now != *self.head {
                return Ok(Some("its first bytes changed"));
            }
        }
        Ok(None)
    }

    /// Remembers more of the file's first bytes, of which `bytes` are those from `put` on.
    fn lengthen_head(&mut self, bytes: &[u8]) -> io::Result<()> {
        let known = self.head.len();
        if self.put as usize <= known {
            let skip = known - self.put as usize;
            let more = bytes.get(skip..).unwrap_or_default();
            self.head.extend_from_slice(&more[..more.len().min(HEAD_BYTES - known)]);
        } else if let Some(file) = &self.file {
            self.head = read_head(file, HEAD_BYTES.min(self.put as usize))?;
        }
        if self.head.len() != known {
            self.renew_rest();
        }
        Ok(())
    }

    fn renew_rest(&mut self) {
        let memo = Memo {
            born_ns: self.seen.born_ns,
            head_len: self.head.len(),
            head_crc: crc32fast::hash(&self.head),
            path: self.path.clone(),
        };
        self.rest = memo.encode();
    }
}

/// Where a line ends.
enum Found {
    /// The line end is here.
    LineEnd(u64),
    /// There is none before this offset; beyond it nobody has looked.
    NothingUpTo(u64),
    /// There is none in the file.
    End,
}

fn search(file: &File, buffers: &Buffers, from: u64) -> io::Result<Found> {
    let mut at = from;
    while at - from < SEARCH_BYTES {
        let bytes = buffers.read(file, at)?;
        if let Some(i) = memchr::memchr(b'\n', &bytes) {
            return Ok(Found::LineEnd(at + i as u64));
        }
        at += bytes.len() as u64;
        if bytes.len() < buffers.chunk_bytes() {
            return Ok(if at == from { Found::End } else { Found::NothingUpTo(at) });
        }
    }
    Ok(Found::NothingUpTo(at))
}
