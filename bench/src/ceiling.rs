//! What the device gives to a loop that does nothing else: the ceiling for any log on it.
//!
//! Aligned O_DIRECT writes with RWF_DSYNC into a file whose every block was written and synced before, from one thread
//! over an io_uring of fixed depth. With T threads that each wait for their commit, at most T commits are unsynced at any
//! time; so the ceiling for a shape is the best over the ways to cut these T commits into concurrent writes: depth d
//! from 1 to T (powers of two), each write of ceil(T / d) commits, aligned up to 4 KiB. Counted are the commits' payload
//! bytes, as for the logs; padding counts for nothing.
//!
//! That is what *any* log could reach. Beside it stands what the same writes give without a log: writes of the mean size of
//! those that the log made in this run, as many in flight as were on the average. What lies between the two is the price of
//! how the log cut its commits into writes; what lies between this one and the log is the price of everything else.

use std::alloc::Layout;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};
use serde::Serialize;

use crate::contender::{Shape, Writes};
use crate::failure::{Context, Failure};

pub(crate) mod fio;

pub(crate) const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 256 << 20;
/// What a log's frames and commits add to a payload at the very least; keeps the ceiling's writes from being smaller
/// than any log's could be.
const HEADER_BYTES: usize = 64;

/// The best way that was found, and what it gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    /// Payload MB/s.
    pub mb_per_s: f64,
    /// Writes a second.
    pub writes_per_s: f64,
    /// Writes in flight.
    pub depth: usize,
    /// Bytes of one write.
    pub write_bytes: usize,
}

/// What the writes of a log give without the log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SameWrites {
    /// Payload MB/s, interpolated between the whole depths below and above.
    pub mb_per_s: f64,
    /// Writes in flight at a time, on the average; below 1 where the device was idle between writes.
    pub mean_depth: f64,
    /// Bytes of a write, padding included.
    pub mean_bytes: f64,
}

/// A prewritten file to measure against.
pub struct RawFile {
    file: File,
}

impl RawFile {
    /// Writes and syncs the file; it is removed from the directory at once and lives as long as the value.
    pub fn prewrite(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join("ceiling");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .context(|| format!("create {} for direct I/O", path.display()))?;
        std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
        let buffer = Aligned::new(4 << 20);
        let mut offset = 0;
        while offset < FILE_BYTES {
            std::os::unix::fs::FileExt::write_all_at(&file, buffer.bytes(), offset)
                .context(|| format!("prewrite {}", path.display()))?;
            offset += buffer.bytes().len() as u64;
        }
        file.sync_all().context(|| format!("sync {}", path.display()))?;
        Ok(Self { file })
    }

    /// One durable write of all of `buffer` at `offset`, which goes round in the file.
    pub(crate) fn write_durable(&self, buffer: &Aligned, offset: u64) -> Result<(), Failure> {
        let len = buffer.bytes().len();
        let offset = (offset % FILE_BYTES).min(FILE_BYTES - len as u64);
        let part = [libc::iovec { iov_base: buffer.pointer().cast_mut().cast(), iov_len: len }];
        // SAFETY: one part, which lies in the buffer; the call only reads from it, and returns when it has.
        let written = unsafe {
            libc::pwritev2(self.file.as_raw_fd(), part.as_ptr(), 1, offset as libc::off_t, libc::RWF_DSYNC)
        };
        match written {
            _ if written == len as isize => Ok(()),
            -1 => Err(Failure(format!("raw write: {}", std::io::Error::last_os_error()))),
            short => Err(Failure(format!("raw write of {len} bytes returned {short}"))),
        }
    }

    /// The ceiling for `shape`, spending about `time` on it.
    pub fn measure(&self, shape: Shape, time: Duration) -> Result<Ceiling, Failure> {
        let depths: Vec<usize> =
            std::iter::successors(Some(1), |d| Some(d * 2)).take_while(|d| *d <= shape.threads).collect();
        let share = time / depths.len() as u32;
        let mut best: Option<Ceiling> = None;
        for depth in depths {
            let payload = shape.threads.div_ceil(depth) * shape.commit_bytes();
            let write_bytes = (payload + HEADER_BYTES).next_multiple_of(BLOCK);
            let writes_per_s = self.writes_per_s(depth, write_bytes, share)?;
            let found =
                Ceiling { mb_per_s: writes_per_s * payload as f64 / 1e6, writes_per_s, depth, write_bytes };
            if best.is_none_or(|best| found.mb_per_s > best.mb_per_s) {
                best = Some(found);
            }
        }
        best.ok_or_else(|| Failure("a shape without threads".into()))
    }

    /// What writes like those of a log give: `made` in `seconds`, for `payload` bytes. `None` if it made none.
    pub fn measure_as(
        &self,
        made: Writes,
        payload: f64,
        seconds: f64,
        time: Duration,
    ) -> Result<Option<SameWrites>, Failure> {
        if made.count == 0 {
            return Ok(None);
        }
        let mean_bytes = made.bytes as f64 / made.count as f64;
        let write_bytes = (mean_bytes.round() as usize).next_multiple_of(BLOCK);
        let mean_depth = made.in_flight.as_secs_f64() / seconds;
        // A device that idles between two writes of a lone committer is not what is measured here.
        let depth = mean_depth.max(1.0);
        let below = self.writes_per_s(depth as usize, write_bytes, time / 2)?;
        let above = self.writes_per_s(depth.ceil() as usize, write_bytes, time / 2)?;
        let writes_per_s = below + (above - below) * depth.fract();
        let payload_of_one = payload / made.count as f64;
        Ok(Some(SameWrites { mb_per_s: writes_per_s * payload_of_one / 1e6, mean_depth, mean_bytes }))
    }

    fn writes_per_s(&self, depth: usize, write_bytes: usize, time: Duration) -> Result<f64, Failure> {
        let mut ring = IoUring::new(depth.next_power_of_two() as u32)
            .context(|| "io_uring for the ceiling (kernel.io_uring_disabled, seccomp?)".into())?;
        let buffer = Aligned::new(write_bytes);
        let fd = types::Fd(self.file.as_raw_fd());
        let places = FILE_BYTES / write_bytes as u64;
        let (mut submitted, mut completed) = (0u64, 0u64);
        let mut submit = |ring: &mut IoUring| {
            let offset = submitted % places * write_bytes as u64;
            submitted += 1;
            let entry = opcode::Write::new(fd, buffer.pointer(), write_bytes as u32)
                .offset(offset)
                .rw_flags(libc::RWF_DSYNC)
                .build();
            // SAFETY: the buffer outlives the operation: it is freed only after the loop below has reaped every write,
            // and forgotten where that is not possible.
            unsafe { ring.submission().push(&entry) }.is_ok()
        };
        let start = Instant::now();
        let mut failure = None;
        let mut flying = 0;
        for _ in 0..depth {
            assert!(submit(&mut ring), "a new ring of {depth} entries or more is full");
            flying += 1;
        }
        let mut elapsed = Duration::ZERO;
        while flying > 0 {
            match ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                // Without a way to reap, the kernel may still read the buffer: leave it to the process's end.
                Err(error) => {
                    std::mem::forget(buffer);
                    return Err(Failure(format!("io_uring wait: {error}")));
                }
            }
            let results: Vec<i32> = ring.completion().map(|done| done.result()).collect();
            elapsed = start.elapsed();
            for result in results {
                flying -= 1;
                if result == write_bytes as i32 {
                    completed += 1;
                } else {
                    failure = Some(format!("write of {write_bytes} bytes returned {result}"));
                }
                if failure.is_none() && elapsed < time && submit(&mut ring) {
                    flying += 1;
                }
            }
        }
        match failure {
            Some(why) => Err(Failure(why)),
            None => Ok(completed as f64 / elapsed.as_secs_f64()),
        }
    }
}

/// A zeroed buffer aligned for direct I/O.
pub struct Aligned {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: an allocation of its own, as a boxed slice is: read through `&`, written through `&mut`.
unsafe impl Send for Aligned {}

impl Aligned {
    /// `len` bytes, whole blocks of 4 KiB.
    pub fn new(len: usize) -> Self {
        assert!(len > 0 && len.is_multiple_of(BLOCK), "{len} bytes are not whole blocks");
        let layout = Layout::from_size_align(len, BLOCK).expect("a buffer far below the address space");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { std::alloc::handle_alloc_error(layout) };
        // A page that was never written is the kernel's zero page, which costs no memory traffic: touch each one.
        // SAFETY: the whole allocation is ours.
        unsafe { start.as_ptr().write_bytes(0x5a, len) };
        Self { start, layout }
    }

    /// Where it begins.
    pub fn pointer(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// Overwrites its beginning.
    pub fn fill(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.layout.size(), "{} bytes into {}", bytes.len(), self.layout.size());
        // SAFETY: the allocation is ours, long enough, and cannot overlap a slice that is borrowed beside `&mut self`.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised by `new`, written by nobody since.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}
