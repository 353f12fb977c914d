//! An open file of a real disk.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use crate::storage::{AlignedBuf, File, aligned};

/// How many zeroes at a time, where the file system cannot allocate.
const ZEROES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct DiskFile {
    file: OwnedFd,
    direct: bool,
    alignment: usize,
}

impl DiskFile {
    pub(super) fn new(file: OwnedFd, direct: bool, alignment: usize) -> Self {
        Self { file, direct, alignment }
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
            return self.write_all(bytes, offset, |bytes, at| {
                rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], at, ReadWriteFlags::DSYNC)
            });
        }
        self.write_at(bytes, offset)?;
        Ok(retry_on_intr(|| rustix::fs::fdatasync(&self.file))?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.file))?)
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
