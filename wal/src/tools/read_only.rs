//! A directory of a real disk that is only looked at.
//!
//! Files are read with plain `pread`, direct where the file system allows it, and never mapped. A verification must see
//! what is on the medium, which a mapping shows only as far as the page cache has not got it already. A page of a mapping
//! that cannot be read, or that a running log has cut off its file meanwhile, is a SIGBUS and so the end of the process;
//! a read says the same with an error that names its place.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::storage::{Directory, Entry, File, LOCK_FILE, Lock, WriteQueue};

/// What segments are aligned to at least, and what every direct read here is aligned to.
const ALIGNMENT: usize = crate::format::segment::ALIGNMENT_MIN;

#[derive(Debug)]
struct ReadOnlyDirectory {
    path: PathBuf,
    directory: OwnedFd,
}

#[derive(Debug)]
struct ReadOnlyFile {
    file: OwnedFd,
    direct: bool,
}

/// An flock, as long as the descriptor is open.
#[derive(Debug)]
struct ReadOnlyLock {
    _file: Option<OwnedFd>,
}

impl Lock for ReadOnlyLock {}

/// Opens an existing directory for looking at it. Nothing in it is ever changed or created.
pub fn open(path: impl Into<PathBuf>) -> io::Result<Arc<dyn Directory>> {
    let path = path.into();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))?;
    Ok(Arc::new(ReadOnlyDirectory { path, directory }))
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the log was opened for looking at it only"))
}

impl ReadOnlyDirectory {
    fn open_with(&self, name: &str, more: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
        retry_on_intr(|| rustix::fs::openat(&self.directory, name, flags, Mode::empty()))
    }
}

/// Whether direct reads at our alignment are allowed, as far as the kernel says.
fn reads_direct(file: &OwnedFd) -> bool {
    match rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            (1..=ALIGNMENT as u32).contains(&stat.stx_dio_offset_align)
                && stat.stx_dio_mem_align as usize <= ALIGNMENT
        }
        _ => true,
    }
}

impl Directory for ReadOnlyDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn describe(&self) -> String {
        "read only".to_owned()
    }

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        match self.open_with(name, OFlags::DIRECT) {
            Ok(file) if reads_direct(&file) => return Ok(Arc::new(ReadOnlyFile { file, direct: true })),
            Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Arc::new(ReadOnlyFile { file: self.open_with(name, OFlags::empty())?, direct: false }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in Dir::read_from(&self.directory)? {
            let found = found?;
            let Ok(name) = found.file_name().to_str() else { continue };
            match rustix::fs::statat(&self.directory, found.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    entries.push(Entry { name: name.to_owned(), len: stat.st_size.unsigned_abs() });
                }
                // Of another kind, or a running log removed it since.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(entries)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&self.directory))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The lock of a running log, without making the file that carries it: where there is none, there was no log yet.
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        let file = match self.open_with(LOCK_FILE, OFlags::empty()) {
            Err(Errno::NOENT) => return Ok(Box::new(ReadOnlyLock { _file: None })),
            file => file?,
        };
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(Box::new(ReadOnlyLock { _file: Some(file) }))
    }

    fn write_queue(&self, _lock: Box<dyn Lock>, _depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        refused()
    }
}

impl File for ReadOnlyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let read = retry_on_intr(|| rustix::io::pread(&self.file, &mut buffer[done..], at))?;
            done += read;
            // A direct read that ends within a block has met the end of the file; going on from there is refused.
            if read == 0 || (self.direct && !done.is_multiple_of(ALIGNMENT)) {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn write_durable_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.file)?.st_size.unsigned_abs())
    }
}
