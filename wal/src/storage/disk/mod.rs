//! Real disks: one kind of file and directory, two kinds of queue.
//!
//! | | writes | one durable write | the queue |
//! | --- | --- | --- | --- |
//! | `uring` | `O_DIRECT` | `IORING_OP_WRITE` with `RWF_DSYNC` | a ring ([`uring`]) |
//! | `std` | `O_DIRECT` | `pwritev2` with `RWF_DSYNC` | a few threads ([`threads`]) |
//! | `std`, where `O_DIRECT` is refused | page cache | `pwrite`, then `fdatasync`, one at a time ([`file`]) | the same threads |
//!
//! Direct writes are the rule because a failed write-back of the page cache cannot be told from a successful one afterwards,
//! and because recovery must read what is on the medium. Which of the three runs is found out by trying on a file without a
//! name, for the file system decides, not the kernel's version.

mod file;
mod threads;
mod uring;
mod word;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use self::file::DiskFile;
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use self::{threads::ThreadQueue, word::Word};
use super::{AlignedBuf, Directory, Entry, File, LOCK_FILE, Lock, WriteQueue};
use crate::broken;

/// Which queue to use on a real disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Backend {
    /// `Uring` where it works, else `Std`.
    #[default]
    Auto,
    /// io_uring, or an error that says why not.
    Uring,
    /// Threads.
    Std,
}

/// The alignment that is good enough for every device that does not ask for more.
const ALIGNMENT: usize = super::buffer::ADDRESS_ALIGNMENT;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens an existing directory. With it comes one line for the agent's log: which storage runs, and if it is not the best
/// one, why and what would help.
pub fn open(path: impl Into<PathBuf>, backend: Backend) -> io::Result<(Arc<dyn Directory>, String)> {
    let path = path.into();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty())).map_err(|e| named(e.into()))?;
    let (direct, alignment) = probe(directory.as_fd()).map_err(named)?;
    let refusal = match (backend, &direct) {
        (Backend::Std, Ok(())) => None,
        (_, Err(refusal)) => Some(refusal.clone()),
        (Backend::Auto | Backend::Uring, Ok(())) => uring::refusal().map(|refusal| refusal.to_string()),
    };
    let engine = match (backend, &refusal) {
        (Backend::Uring, Some(refusal)) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{}: no io_uring here: {refusal}", path.display()),
            ));
        }
        (Backend::Std, _) | (_, Some(_)) => Engine::Threads,
        (_, None) => Engine::Uring,
    };
    let opened = DiskDirectory { path, directory, direct: direct.is_ok(), alignment, engine };
    let mut line = format!("storage of {}: {}", opened.path.display(), opened.describe());
    if let Some(refusal) = refusal {
        line = format!("{line}; not uring with O_DIRECT because {refusal}");
    }
    Ok((Arc::new(opened), line))
}

/// Tries what the log will do, on a file without a name: whether direct writes work, or why not, and their alignment.
fn probe(directory: BorrowedFd<'_>) -> io::Result<(Result<(), String>, usize)> {
    let refused = |step: &str, error: Errno| {
        let reason = format!(
            "the file system refuses direct I/O ({step}: {error}); keep the directory on ext4, xfs or another that has it"
        );
        Ok((Err(reason), ALIGNMENT))
    };
    let file = match unnamed(directory, OFlags::DIRECT) {
        Ok(file) => file,
        Err(error @ (Errno::INVAL | Errno::OPNOTSUPP)) => return refused("open", error),
        Err(error) => return Err(error.into()),
    };
    let alignment = match rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            // Zero says that this file cannot do direct I/O, whatever open said.
            if stat.stx_dio_offset_align == 0 || stat.stx_dio_mem_align as usize > ALIGNMENT {
                return refused("statx", Errno::INVAL);
            }
            (stat.stx_dio_offset_align as usize).max(ALIGNMENT)
        }
        // Older kernels cannot say.
        _ => ALIGNMENT,
    };
    let block = AlignedBuf::zeroed(alignment);
    let flags = ReadWriteFlags::DSYNC;
    match retry_on_intr(|| rustix::io::pwritev2(&file, &[io::IoSlice::new(&block)], 0, flags)) {
        Err(error @ (Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)) => refused("pwritev2", error),
        // A full or broken disk is the log's concern, not a matter of how to write.
        _ => Ok((Ok(()), alignment)),
    }
}

fn unnamed(directory: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | flags;
    match retry_on_intr(|| rustix::fs::openat(directory, c".", flags | OFlags::TMPFILE, FILE_MODE)) {
        // Not every file system has unnamed files; then one with a name, for a moment.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        done => return done,
    }
    let name = format!("probe-{}", std::process::id());
    let file = retry_on_intr(|| {
        rustix::fs::openat(directory, &name, flags | OFlags::CREATE | OFlags::EXCL, FILE_MODE)
    });
    match rustix::fs::unlinkat(directory, &name, AtFlags::empty()) {
        // Some file systems refuse direct I/O before, some after they made the file.
        Ok(()) | Err(Errno::NOENT) => file,
        Err(error) => file.and(Err(error)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Uring,
    Threads,
}

#[derive(Debug)]
struct DiskDirectory {
    path: PathBuf,
    directory: OwnedFd,
    direct: bool,
    alignment: usize,
    engine: Engine,
}

impl DiskDirectory {
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | flags;
        let flags = if self.direct { flags | OFlags::DIRECT } else { flags };
        let file = retry_on_intr(|| rustix::fs::openat(&self.directory, name, flags, FILE_MODE))?;
        Ok(Arc::new(DiskFile::new(file, self.direct, self.alignment)))
    }
}

impl Directory for DiskDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn describe(&self) -> String {
        match (self.engine, self.direct) {
            (Engine::Uring, _) => "uring, O_DIRECT + RWF_DSYNC".to_owned(),
            (Engine::Threads, true) => "std threads, O_DIRECT + RWF_DSYNC".to_owned(),
            (Engine::Threads, false) => "std threads, buffered + fdatasync".to_owned(),
        }
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open_file(name, OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open_file(name, OFlags::empty())
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in Dir::read_from(&self.directory)? {
            let found = found?;
            let Ok(name) = found.file_name().to_str() else { continue };
            if !matches!(found.file_type(), FileType::RegularFile | FileType::Unknown) {
                continue;
            }
            match rustix::fs::statat(&self.directory, found.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    entries.push(Entry { name: name.to_owned(), len: stat.st_size.unsigned_abs() });
                }
                // Of another kind, or removed since.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(entries)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.directory, from, &self.directory, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()))?)
    }

    fn sync(&self) -> io::Result<()> {
        if broken::skips_every_disk_sync() {
            return Ok(());
        }
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.directory))?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&self.directory))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        let name: &str = LOCK_FILE;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = retry_on_intr(|| rustix::fs::openat(&self.directory, name, flags, FILE_MODE))?;
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Box::new(DiskLock { file })),
            Err(Errno::WOULDBLOCK) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is locked by another process", self.path.join(LOCK_FILE).display()),
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Ok(match self.engine {
            Engine::Uring => Box::new(uring::UringQueue::new(lock, depth, self.alignment)?),
            Engine::Threads => Box::new(threads::ThreadQueue::new(lock, depth, self.alignment)?),
        })
    }
}

/// An flock: it lasts until the last descriptor of this opening is closed, wherever that is.
#[derive(Debug)]
struct DiskLock {
    file: OwnedFd,
}

impl Lock for DiskLock {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.file.as_fd()]
    }
}
