//! The queue over io_uring: one ring, one thread, several direct writes in flight.
//!
//! **System calls.** [`submit`](UringQueue::submit) writes an entry into the ring; the next `wait` hands it to the kernel in
//! the very call in which it sleeps. So a write costs one `io_uring_enter` between its submission and its completion.
//!
//! **Waking.** One read of an eventfd is always in the ring. A waker writes to the eventfd only if the queue's thread is
//! about to sleep or asleep, which a [word](Word) in memory says:
//!
//! ```text
//!             wait, nothing there              wake: write to the eventfd
//!   AWAKE ─────────────────────────▶ SLEEPING ───────────────────────────▶ NOTIFIED
//!     ▲  └────────────────────────────── wake: nothing more ─────────────────▶ │
//!     └──────────────────────────────── wait returns ──────────────────────────┘
//! ```
//!
//! The eventfd's write can come so late that the wait it was meant for is over; the next wait then sees the read complete
//! with the word still at `SLEEPING`, puts a new read into the ring and goes on sleeping.
//!
//! **The lock** is among the ring's registered files. A killed process's ring is torn down by the kernel when it has the time,
//! after the last request in it has ended; only then is the descriptor released and with it the flock. Without that, the
//! flock would end with the process and its last writes could land on what its successor wrote.
//!
//! **Kernels.** 5.6 brought `IORING_OP_WRITE` and the probe that tells. What newer ones add is tried from the best down:
//! completions run by this thread alone (6.1), completions without interrupts (5.19), a timeout as an argument (5.11;
//! before that a timeout is an entry of the ring, which ends with the first completion).

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::event::EventfdFlags;
use rustix::fs::FlockOperation;

use super::word::Word;
use crate::broken;
use crate::storage::{Completion, Lock, Wake, Write, WriteQueue, aligned};

/// Tags of entries that are no writes; those have the number of their slot.
const WAKE: u64 = u64::MAX;
const TIMEOUT: u64 = u64::MAX - 1;

/// The most that one entry writes; the rest goes on as after a short write.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Longer timeouts are cut into parts of this length, for the kernel's clock ends before `Duration`'s.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What the kernel is told to write: `len` bytes from `bytes` on, at `offset`.
pub(super) fn write_entry(
    descriptor: RawFd,
    bytes: *const u8,
    (offset, len): (u64, u32),
    durable: bool,
) -> squeue::Entry {
    let durable = durable && !broken::skips_every_disk_sync();
    opcode::Write::new(types::Fd(descriptor), bytes, len)
        .offset(offset)
        .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
        .build()
}

#[derive(Debug)]
struct Slot {
    write: Write,
    written: usize,
}

pub(super) struct UringQueue {
    ring: IoUring,
    slots: Vec<Option<Slot>>,
    in_flight: usize,
    /// Completions that `submit` or a broken ring made.
    refused: Vec<Completion>,
    signal: Arc<Signal>,
    /// Where the ring's read of the eventfd puts its eight bytes.
    wake_read: Arc<AtomicU64>,
    wake_armed: bool,
    alignment: usize,
    timeout_argument: bool,
    /// The ring still has to be enabled by the thread that will use it.
    disabled: bool,
    owner: Option<ThreadId>,
    /// Why the ring takes no more calls. The kernel may still use what is in flight, so that is never freed.
    broken: Option<i32>,
    lock: Box<dyn Lock>,
}

impl fmt::Debug for UringQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringQueue")
            .field("in_flight", &self.in_flight)
            .field("broken", &self.broken)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

impl UringQueue {
    pub(super) fn new(lock: Box<dyn Lock>, depth: usize, alignment: usize) -> io::Result<Self> {
        let (ring, disabled) = build(depth)?;
        let held: Vec<_> = lock.descriptors().iter().map(AsRawFd::as_raw_fd).collect();
        if !held.is_empty() {
            ring.submitter().register_files(&held)?;
        }
        // Blocking, for a read that could not block would fail instead of waiting in the ring.
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self {
            timeout_argument: ring.params().is_feature_ext_arg(),
            ring,
            slots: (0..depth).map(|_slot| None).collect(),
            in_flight: 0,
            refused: Vec::new(),
            signal: Arc::new(Signal { word: Word::default(), eventfd }),
            wake_read: Arc::default(),
            wake_armed: false,
            alignment,
            disabled,
            owner: None,
            broken: None,
            lock,
        })
    }

    /// Uses entries of the ring for timeouts, as kernels before 5.11 need it.
    #[cfg(test)]
    pub(super) fn for_old_kernels(lock: Box<dyn Lock>, depth: usize, alignment: usize) -> io::Result<Self> {
        let mut queue = Self::new(lock, depth, alignment)?;
        queue.timeout_argument = false;
        Ok(queue)
    }

    /// The first thread that uses the ring is the one that the kernel lets use it.
    fn take_possession(&mut self) {
        let current = thread::current().id();
        let owner = *self.owner.get_or_insert(current);
        assert!(owner == current, "a write queue stays with the thread that first used it");
        if std::mem::take(&mut self.disabled)
            && let Err(error) = self.ring.submitter().register_enable_rings()
        {
            self.give_up(&error);
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // The ring has room for a write in each slot, the wake and timeouts; it is full only if the kernel has not yet
        // taken what was pushed.
        loop {
            // SAFETY: what the entry points to stays until its completion: the buffer and the file are in a slot (or
            // leaked, once the ring is broken), `wake_read` is dropped after the read is reaped (or leaked), and the
            // kernel copies timeouts when it takes the entry.
            if unsafe { self.ring.submission().push(entry) }.is_ok() || self.broken.is_some() {
                return;
            }
            self.enter(None);
        }
    }

    fn push_write(&mut self, index: usize) {
        let Some(Slot { write, written }) = &self.slots[index] else { return };
        let Some(descriptor) = write.file.descriptor() else { return };
        let bytes = &write.buffer[write.from + *written..write.from + write.len];
        let len = bytes.len().min(ENTRY_BYTES_MAX) as u32;
        let place = (write.offset + *written as u64, len);
        let entry = write_entry(descriptor.as_raw_fd(), bytes.as_ptr(), place, write.durable);
        self.push(&entry.user_data(index as u64));
    }

    fn arm_wake(&mut self) {
        if !self.wake_armed {
            self.wake_armed = true;
            let entry = opcode::Read::new(
                types::Fd(self.signal.eventfd.as_raw_fd()),
                self.wake_read.as_ptr().cast(),
                size_of::<u64>() as u32,
            )
            .build()
            .user_data(WAKE);
            self.push(&entry);
        }
    }

    /// Hands over what was pushed; with `sleep`, waits for a completion or until that time is over.
    fn enter(&mut self, sleep: Option<Sleep>) {
        let result = match sleep {
            None => self.ring.submit(),
            Some(Sleep::Forever) => self.ring.submit_and_wait(1),
            Some(Sleep::For(time)) => {
                let timespec = types::Timespec::from(time.min(SLEEP_MAX));
                if self.timeout_argument {
                    let arguments = types::SubmitArgs::new().timespec(&timespec);
                    self.ring.submitter().submit_with_args(1, &arguments)
                } else {
                    // Ends with the time or with the first completion of something else.
                    let entry = opcode::Timeout::new(&timespec).count(1).build().user_data(TIMEOUT);
                    self.push(&entry);
                    self.ring.submit_and_wait(1)
                }
            }
        };
        match result {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // Over, interrupted, or more completions than room for them: what was pushed is pushed still.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY) => {}
                // The kernel is out of memory for a request.
                Some(libc::EAGAIN | libc::ENOMEM) => thread::yield_now(),
                _ => self.give_up(&error),
            },
        }
    }

    /// Takes completions out of the ring.
    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.refused);
        while let Some(entry) = self.next_completion() {
            let (tag, result) = entry;
            match tag {
                WAKE => self.wake_armed = false,
                TIMEOUT => {}
                index => self.complete(index as usize, result, done),
            }
        }
    }

    fn next_completion(&mut self) -> Option<(u64, i32)> {
        self.ring.completion().next().map(|entry| (entry.user_data(), entry.result()))
    }

    fn complete(&mut self, index: usize, result: i32, done: &mut Vec<Completion>) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        let left = slot.write.len - slot.written;
        let outcome = match result {
            errno if errno == -libc::EINTR || errno == -libc::EAGAIN => Ok(0),
            errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
            written => aligned::resume(self.alignment, written as usize, left),
        };
        match outcome {
            Ok(written) if written < left => {
                slot.written += written;
                self.push_write(index);
            }
            outcome => {
                let token = slot.write.token;
                self.slots[index] = None;
                self.in_flight -= 1;
                done.push(Completion { token, result: outcome.map(drop) });
            }
        }
    }

    /// The ring refused a call for good: all that is in flight fails, and the memory it uses is leaked. The kernel may carry
    /// it out all the same, so whoever asks whether the queue is [`broken`](WriteQueue::broken) is told.
    fn give_up(&mut self, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.broken = Some(errno);
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            let token = slot.write.token;
            std::mem::forget(slot);
            self.refused.push(Completion { token, result: Err(io::Error::from_raw_os_error(errno)) });
        }
        self.in_flight = 0;
        // The kernel has its own hold on the eventfd.
        std::mem::forget(self.wake_read.clone());
    }

    fn admit(&self, write: &Write) -> io::Result<()> {
        if let Some(errno) = self.broken {
            return Err(io::Error::from_raw_os_error(errno));
        }
        aligned::bytes_of(self.alignment, write)?;
        if write.file.descriptor().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file has no descriptor to write to",
            ));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Sleep {
    Forever,
    For(Duration),
}

impl WriteQueue for UringQueue {
    fn submit(&mut self, write: Write) {
        assert!(self.in_flight() < self.slots.len(), "more than {} writes in flight", self.slots.len());
        if let Err(error) = self.admit(&write) {
            self.refused.push(Completion { token: write.token, result: Err(error) });
            return;
        }
        self.take_possession();
        let index = self.slots.iter().position(Option::is_none).expect("fewer writes in flight than slots");
        self.slots[index] = Some(Slot { write, written: 0 });
        self.in_flight += 1;
        self.push_write(index);
    }

    fn start(&mut self) {
        self.take_possession();
        if !self.ring.submission().is_empty() {
            self.enter(None);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        self.take_possession();
        // A timeout beyond the clock's range is as good as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.reap(done);
            let signal = self.signal.clone();
            let sleep = done.is_empty() && self.broken.is_none() && signal.word.fall_asleep();
            if sleep {
                self.arm_wake();
                let time = match deadline {
                    Some(deadline) => Sleep::For(deadline.saturating_duration_since(Instant::now())),
                    None => Sleep::Forever,
                };
                self.enter(Some(time));
            } else if self.broken.is_none() {
                let queue = self.ring.submission();
                let pending = !queue.is_empty() || queue.taskrun();
                drop(queue);
                if pending {
                    self.enter(None);
                }
            }
            let woken = signal.word.wake_up();
            self.reap(done);
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !done.is_empty() || woken || over {
                return;
            }
            if self.broken.is_some() {
                // Only a waker or the clock can end this wait; neither needs the ring.
                signal.sleep_without_ring(deadline);
                return;
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight + self.refused.len()
    }

    fn broken(&self) -> Option<io::Error> {
        self.broken.map(io::Error::from_raw_os_error)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.signal.clone()
    }
}

impl Drop for UringQueue {
    fn drop(&mut self) {
        if self.owner.is_some_and(|owner| owner != thread::current().id()) {
            // The kernel takes no calls from here. Closing the ring makes it end what is in flight by itself, with the lock
            // held until then; only the memory cannot be waited for.
            if self.in_flight > 0 || self.wake_armed {
                self.give_up(&io::Error::from_raw_os_error(libc::EOWNERDEAD));
            }
            return;
        }
        if self.wake_armed {
            self.signal.notify();
        }
        let mut done = Vec::new();
        while self.broken.is_none() && (self.in_flight > 0 || self.wake_armed) {
            self.enter(Some(Sleep::Forever));
            self.reap(&mut done);
            done.clear();
        }
        if self.broken.is_none() {
            for descriptor in self.lock.descriptors() {
                // Nothing can land any more. The ring's own hold on the lock would end only when the kernel tears the ring
                // down, some milliseconds from now, and a reopening in this process would find it taken. If this fails,
                // the lock ends with the ring: later, and no less surely.
                rustix::fs::flock(descriptor, FlockOperation::Unlock).ok();
            }
        }
    }
}

#[derive(Debug)]
struct Signal {
    word: Word,
    eventfd: OwnedFd,
}

impl Signal {
    fn notify(&self) {
        // Cannot fail but by overflow, and then the reader has reason enough to wake.
        rustix::io::retry_on_intr(|| rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes())).ok();
    }

    fn sleep_without_ring(&self, deadline: Option<Instant>) {
        while !self.word.is_notified() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            thread::sleep(Duration::from_millis(1));
        }
        self.word.wake_up();
    }
}

impl Wake for Signal {
    fn wake(&self) {
        if self.word.notify() {
            self.notify();
        }
    }
}

/// A ring with the best flags that the kernel takes, and whether it must be enabled first.
fn build(depth: usize) -> io::Result<(IoUring, bool)> {
    // Slots, the wake, and timeouts that wait for their end.
    let entries = (depth + 3).next_power_of_two() as u32;
    let mut best = IoUring::builder();
    // One thread submits and reaps, and the kernel completes when that thread asks: no interrupts, no locking. Disabled
    // at first, for the thread that makes the ring is not always the one that uses it.
    best.dontfork().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_r_disabled();
    let mut good = IoUring::builder();
    good.dontfork().setup_coop_taskrun().setup_taskrun_flag();
    let mut plain = IoUring::builder();
    plain.dontfork();
    let refused = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    match best.build(entries) {
        Ok(ring) => return Ok((ring, true)),
        Err(error) if refused(&error) => {}
        Err(error) => return Err(error),
    }
    match good.build(entries) {
        Err(error) if refused(&error) => Ok((plain.build(entries)?, false)),
        built => Ok((built?, false)),
    }
}

/// Why io_uring cannot be used here, with what would help; `None` if it can.
pub(super) fn refusal() -> Option<Refusal> {
    let tried = build(1).and_then(|(ring, _disabled)| {
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let supported = probe.is_supported(opcode::Write::CODE) && probe.is_supported(opcode::Read::CODE);
        if supported { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    });
    let error = tried.err()?;
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    Some(Refusal::explain(&error, sysctl.as_deref().map(str::trim)))
}

/// A reason and a remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) remedy: &'static str,
}

impl Refusal {
    pub(super) fn explain(error: &io::Error, sysctl: Option<&str>) -> Self {
        let (reason, remedy) = match (error.raw_os_error(), sysctl) {
            (Some(libc::EPERM), Some("1")) => (
                "kernel.io_uring_disabled is 1".to_owned(),
                "set it to 0 by sysctl, or put this user's group into kernel.io_uring_group",
            ),
            (Some(libc::EPERM), Some("2")) => {
                ("kernel.io_uring_disabled is 2".to_owned(), "set it to 0 by sysctl")
            }
            (Some(libc::EPERM | libc::EACCES), _) => (
                "io_uring is forbidden to this process, probably by a container's seccomp profile".to_owned(),
                "use a profile that allows io_uring_setup, io_uring_enter and io_uring_register",
            ),
            (Some(libc::ENOSYS), _) => (
                "the kernel has no io_uring, or a seccomp profile hides it".to_owned(),
                "use Linux 5.6 or newer, and a profile that allows io_uring_setup, io_uring_enter and io_uring_register",
            ),
            (Some(libc::EINVAL), _) => {
                ("the kernel's io_uring is too old".to_owned(), "use Linux 5.6 or newer")
            }
            (Some(libc::ENOMEM), _) => (
                "there is no memory for a ring".to_owned(),
                "raise RLIMIT_MEMLOCK (ulimit -l), or free memory",
            ),
            _ => (format!("a ring cannot be made: {error}"), "see the error"),
        };
        Self { reason, remedy }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; remedy: {}", self.reason, self.remedy)
    }
}
