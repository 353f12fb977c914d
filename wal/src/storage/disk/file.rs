//! An open file of a real disk.
//!
//! **Through the page cache** a write is durable when a sync behind it says so, and the kernel says once for each open file that
//! writing back failed: the first sync to look takes the error with it, and the pages look clean afterwards. So syncs of such a
//! file come one after the other, and once one failed all later ones fail ([`WriteBack`]). Acks, and a reopen that trusts what
//! was synced before it, rely on what follows: *before a sync that said yes nothing of this file had failed, so that it vouches
//! for all that was written before it.* What has no such sync is unvouched after a failure, also where the page cache shows it
//! whole, and is written again elsewhere.
//!
//! Direct writes each have their own error, and need none of this.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use crate::broken;
use crate::storage::{AlignedBuf, File, aligned};
use crate::sync::Mutex;

/// How many zeroes at a time, where the file system cannot allocate.
const ZEROES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct DiskFile {
    file: OwnedFd,
    direct: bool,
    alignment: usize,
    write_back: WriteBack,
}

/// Syncs of one open file in the page cache.
#[derive(Debug, Default)]
struct WriteBack {
    /// The first error. Held while a sync runs: between the kernel's error and this one nobody else is told that all is well.
    failed: Mutex<Option<Errno>>,
}

impl WriteBack {
    fn run(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut failed = self.failed.lock();
        if let Some(error) = *failed {
            return Err(error);
        }
        let synced = sync();
        *failed = synced.err();
        synced
    }
}

impl DiskFile {
    pub(super) fn new(file: OwnedFd, direct: bool, alignment: usize) -> Self {
        Self { file, direct, alignment, write_back: WriteBack::default() }
    }

    fn write_all(
        &self,
        bytes: &[u8],
        offset: u64,
        write: impl Fn(&[u8], u64) -> Result<usize, Errno>,
    ) -> io::Result<()> {
        aligned::check(self.alignment, bytes, offset)?;
        let mut done = 0;
        while done < bytes.len() {
            let written = retry_on_intr(|| write(&bytes[done..], offset + done as u64))?;
            done += aligned::resume(self.alignment, written, bytes.len() - done)?;
        }
        Ok(())
    }

    fn write_zeroes(&self, len: u64) -> io::Result<()> {
        // The first zeroes must begin at an aligned place; up to there the file system provides them.
        let begin = self.len()?.next_multiple_of(self.alignment as u64).min(len);
        retry_on_intr(|| rustix::fs::ftruncate(&self.file, begin))?;
        let zeroes = AlignedBuf::zeroed(ZEROES.next_multiple_of(self.alignment));
        let mut at = begin;
        while at < len {
            let part = (len - at).next_multiple_of(self.alignment as u64).min(zeroes.len() as u64);
            self.write_at(&zeroes[..part as usize], at)?;
            at += part;
        }
        if at > len {
            retry_on_intr(|| rustix::fs::ftruncate(&self.file, len))?;
        }
        Ok(())
    }
}

impl File for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        aligned::check(self.alignment, buffer, offset)?;
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let read = retry_on_intr(|| rustix::io::pread(&self.file, &mut buffer[done..], at))?;
            done += read;
            // A direct read that ends within a block has met the end of the file; going on from there is refused.
            if read == 0
                || (self.direct
                    && !done.is_multiple_of(self.alignment)
                    && offset + done as u64 >= self.len()?)
            {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all(bytes, offset, |bytes, at| rustix::io::pwrite(&self.file, bytes, at))
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.direct {
            let lies = broken::skips_every_disk_sync();
            let flags = if lies { ReadWriteFlags::empty() } else { ReadWriteFlags::DSYNC };
            return self.write_all(bytes, offset, |bytes, at| {
                rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], at, flags)
            });
        }
        self.write_at(bytes, offset)?;
        if broken::skips_every_disk_sync() {
            return Ok(());
        }
        Ok(self.write_back.run(|| retry_on_intr(|| rustix::fs::fdatasync(&self.file)))?)
    }

    fn sync(&self) -> io::Result<()> {
        if broken::skips_every_disk_sync() {
            return Ok(());
        }
        let sync = || retry_on_intr(|| rustix::fs::fsync(&self.file));
        Ok(if self.direct { sync() } else { self.write_back.run(sync) }?)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if len > self.len()? => self.write_zeroes(len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::ftruncate(&self.file, len))?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(retry_on_intr(|| rustix::fs::fstat(&self.file))?.st_size.unsigned_abs())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// The kernel's memory of a failed write-back, for one open file: who asks first has it.
    fn take(error: &AtomicBool) -> Result<(), Errno> {
        if error.swap(false, SeqCst) { Err(Errno::IO) } else { Ok(()) }
    }

    #[test]
    fn after_a_failed_sync_every_later_one_fails() {
        let (write_back, error) = (WriteBack::default(), AtomicBool::new(false));
        assert_eq!(write_back.run(|| take(&error)), Ok(()));
        error.store(true, SeqCst);
        assert_eq!(write_back.run(|| take(&error)), Err(Errno::IO));
        assert_eq!(write_back.run(|| take(&error)), Err(Errno::IO));
        assert_eq!(write_back.run(|| Ok(())), Err(Errno::IO));
    }

    /// One sync has taken the error from the kernel and has not come back yet when another one begins.
    #[test]
    fn a_sync_beside_one_that_takes_the_error_fails_as_well() {
        let (write_back, error) = (WriteBack::default(), AtomicBool::new(true));
        let (took, taken) = mpsc::channel();
        let (write_back, error) = (&write_back, &error);
        std::thread::scope(|scope| {
            let second = scope.spawn(move || {
                taken.recv().unwrap();
                write_back.run(|| take(error))
            });
            let first = write_back.run(|| {
                let result = take(error);
                took.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                result
            });
            assert_eq!((first, second.join().unwrap()), (Err(Errno::IO), Err(Errno::IO)));
        });
    }
}
