//! A file as the file system sees it: its identity, its status, its bytes. Names come and go.

pub mod buffers;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, OFlags, StatxFlags};

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl FileId {
    /// The progress key.
    pub fn key(&self) -> String {
        format!("{}:{}", self.device, self.inode)
    }

    /// Back from the progress key.
    pub fn parse(key: &str) -> Option<Self> {
        let (device, inode) = key.split_once(':')?;
        Some(Self { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

/// What the file system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which file it is.
    pub id: FileId,
    /// Birth time, 0 where the file system keeps none.
    pub born_ns: u64,
    /// Length.
    pub len: u64,
    /// Last write.
    pub modified_ns: u64,
    /// Names that it has.
    pub links: u32,
    /// An ordinary file.
    pub regular: bool,
    /// A directory.
    pub directory: bool,
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The status of what `path` leads to, through symbolic links.
pub fn status_at(path: &Path) -> io::Result<Status> {
    Ok(status(&rustix::fs::statx(CWD, path, AtFlags::empty(), WANTED)?))
}

/// The status of an open file.
pub fn status_of(file: &File) -> io::Result<Status> {
    Ok(status(&rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?))
}

fn status(found: &rustix::fs::Statx) -> Status {
    let ns = |time: &rustix::fs::StatxTimestamp| {
        u64::try_from(time.tv_sec).unwrap_or(0).wrapping_mul(1_000_000_000) + u64::from(time.tv_nsec)
    };
    let kind = FileType::from_raw_mode(u32::from(found.stx_mode));
    let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Status {
        id: FileId {
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        },
        born_ns: if has_birth { ns(&found.stx_btime) } else { 0 },
        len: found.stx_size,
        modified_ns: ns(&found.stx_mtime),
        links: found.stx_nlink,
        regular: kind == FileType::RegularFile,
        directory: kind == FileType::Directory,
    }
}

/// Opens `path` for reading without ever waiting, as opening a pipe would.
pub fn open(path: &Path) -> io::Result<(File, Status)> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let status = status_of(&file)?;
    Ok((file, status))
}

/// The first `len` bytes; fewer if there are no more.
pub fn read_head(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(len);
    read_at(file, &mut head, len, 0)?;
    Ok(head)
}

/// Appends up to `len` bytes from `offset` to `out`; fewer only at the end of the file.
pub fn read_at(file: &File, out: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<()> {
    let start = out.len();
    out.resize(start + len, 0);
    let mut have = 0;
    let result = loop {
        match file.read_at(&mut out[start + have..], offset + have as u64) {
            Ok(0) => break Ok(()),
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    out.truncate(start + have);
    result
}

/// A generation above `above` and above all that this source ever gave out, also in earlier lives: a key that was
/// retired in one channel and not yet in another must not be taken for the old one when its inode is used again.
pub fn next_generation(last: &mut u64, above: u64) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
    *last = (*last + 1).max(above + 1).max(clock);
    *last
}
