//! A decorator that counts: operations, bytes, failures, and how long durable operations took.
//!
//! A latency falls into the bucket of its highest bit in microseconds: bucket 0 is less than 1 µs, bucket `n` is
//! `2^(n-1) ..  2^n` µs, the last one has all that is longer. All numbers rise only, and are read without stopping anybody,
//! so that a sum may be one ahead of its count.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Completion, Directory, Entry, File, Lock, Wake, Write, WriteQueue};

/// Buckets of a [`Histogram`]: the last begins at 2^26 µs, about a minute.
pub const BUCKETS: usize = 28;

/// Counts, bytes and latencies of a directory's operations. Its numbers may be read at any time.
#[derive(Debug, Default)]
pub struct Meters {
    /// [`File::read_at`].
    pub reads: Meter,
    /// [`File::write_at`], not durable.
    pub writes: Meter,
    /// [`File::write_durable_at`], and queued writes from submission to the wait that returned them.
    pub durable_writes: Meter,
    /// [`File::sync`].
    pub file_syncs: Meter,
    /// [`Directory::sync`].
    pub directory_syncs: Meter,
    /// [`File::allocate`]; the bytes are the lengths asked for.
    pub allocations: Meter,
    /// Creations, renames, removals and truncations.
    pub changes: Meter,
}

/// One kind of operation.
#[derive(Debug, Default)]
pub struct Meter {
    count: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// Latencies by power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket, see the module's documentation.
    pub buckets: [u64; BUCKETS],
    /// The sum of all.
    pub total: Duration,
}

impl Meter {
    /// Operations that ended, failed ones included.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Operations that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Bytes of the operations that succeeded.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long they took.
    pub fn latencies(&self) -> Histogram {
        Histogram {
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            total: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }

    fn note(&self, begin: Instant, bytes: Option<u64>) {
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        match bytes {
            Some(bytes) => self.bytes.fetch_add(bytes, Ordering::Relaxed),
            None => self.failures.fetch_add(1, Ordering::Relaxed),
        };
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Does it, and counts what `bytes` says of the result.
    fn measure<T>(
        &self,
        bytes: impl FnOnce(&T) -> u64,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let begin = Instant::now();
        let result = act();
        self.note(begin, result.as_ref().ok().map(bytes));
        result
    }
}

fn bucket(micros: u64) -> usize {
    (u64::BITS - micros.leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

impl Histogram {
    /// The upper bound of a bucket; `None` for the last, which has none.
    pub fn bound(bucket: usize) -> Option<Duration> {
        (bucket + 1 < BUCKETS).then(|| Duration::from_micros(1 << bucket))
    }

    /// The upper bound of the bucket in which this share (0 to 1) of all latencies is reached; `None` if there are none,
    /// or if that is the last bucket.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.and_then(Self::bound)
    }
}

impl Meters {
    /// `directory`, counted here.
    pub fn of(self: &Arc<Self>, directory: Arc<dyn Directory>) -> Arc<dyn Directory> {
        Arc::new(MeteredDirectory { inner: directory, meters: self.clone() })
    }
}

#[derive(Debug)]
struct MeteredDirectory {
    inner: Arc<dyn Directory>,
    meters: Arc<Meters>,
}

impl MeteredDirectory {
    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(MeteredFile { inner, meters: self.meters.clone() })
    }

    fn change<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.meters.changes.measure(|_done| 0, act)
    }
}

impl Directory for MeteredDirectory {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.change(|| self.inner.create(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|| self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|| self.inner.remove(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.meters.directory_syncs.measure(|()| 0, || self.inner.sync())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.inner.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let inner = self.inner.write_queue(lock, depth)?;
        Ok(Box::new(MeteredQueue { inner, meters: self.meters.clone(), begun: Vec::with_capacity(depth) }))
    }
}

#[derive(Debug)]
struct MeteredFile {
    inner: Arc<dyn File>,
    meters: Arc<Meters>,
}

impl File for MeteredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.meters.reads.measure(|read| *read as u64, || self.inner.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.meters.writes.measure(|()| bytes.len() as u64, || self.inner.write_at(bytes, offset))
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let meter = &self.meters.durable_writes;
        meter.measure(|()| bytes.len() as u64, || self.inner.write_durable_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.meters.file_syncs.measure(|()| 0, || self.inner.sync())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.meters.allocations.measure(|()| len, || self.inner.allocate(len))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.meters.changes.measure(|()| 0, || self.inner.truncate(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }

    fn key(&self) -> Option<u64> {
        self.inner.key()
    }

    fn beneath(&self) -> Option<Arc<dyn File>> {
        Some(self.inner.clone())
    }
}

#[derive(Debug)]
struct MeteredQueue {
    inner: Box<dyn WriteQueue>,
    meters: Arc<Meters>,
    /// Token, begin and bytes of the writes in flight.
    begun: Vec<(u64, Instant, u64)>,
}

impl WriteQueue for MeteredQueue {
    fn submit(&mut self, mut write: Write) {
        self.begun.push((write.token, Instant::now(), write.len as u64));
        if let Some(beneath) = write.file.beneath() {
            write.file = beneath;
        }
        self.inner.submit(write);
    }

    fn start(&mut self) {
        self.inner.start();
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        let before = done.len();
        self.inner.wait(timeout, done);
        for completion in &done[before..] {
            if let Some(at) = self.begun.iter().position(|(token, ..)| *token == completion.token) {
                let (_token, begin, bytes) = self.begun.swap_remove(at);
                self.meters.durable_writes.note(begin, completion.result.is_ok().then_some(bytes));
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn broken(&self) -> Option<io::Error> {
        self.inner.broken()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::AlignedBuf;
    use crate::storage::memory::MemoryDirectory;

    #[test]
    fn each_operation_is_counted_once_where_it_belongs() {
        let meters = Arc::new(Meters::default());
        let directory = meters.of(Arc::new(MemoryDirectory::with_capacity("/memory", 8192)));
        let file = directory.create("a").expect("create");
        file.allocate(8192).expect("allocate");
        file.allocate(16384).expect_err("allocate beyond the capacity");
        file.write_durable_at(&AlignedBuf::zeroed(4096), 0).expect("write");
        let mut queue = directory.write_queue(directory.lock().expect("lock"), 2).expect("queue");
        let buffer = Arc::new(AlignedBuf::zeroed(8192));
        queue.submit(Write {
            token: 5,
            file: file.clone(),
            buffer,
            from: 0,
            len: 8192,
            offset: 0,
            durable: true,
        });
        let mut done = Vec::new();
        queue.wait(None, &mut done);
        file.sync().expect("sync");
        let told = |meter: &Meter| (meter.count(), meter.failures(), meter.bytes());
        assert_eq!(told(&meters.changes), (1, 0, 0));
        assert_eq!(told(&meters.allocations), (2, 1, 8192));
        assert_eq!(told(&meters.durable_writes), (2, 0, 4096 + 8192));
        assert_eq!(told(&meters.file_syncs), (1, 0, 0));
        assert_eq!(told(&meters.writes), (0, 0, 0));
        assert_eq!(meters.durable_writes.latencies().buckets.iter().sum::<u64>(), 2);
    }

    #[test]
    fn latencies_fall_into_the_bucket_of_their_highest_bit() {
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024, u64::MAX].map(bucket), [0, 1, 2, 2, 3, 10, 11, BUCKETS - 1]);
        for micros in [0, 1, 7, 100, 1 << 20] {
            let bound = Histogram::bound(bucket(micros)).expect("bound");
            assert!(
                Duration::from_micros(micros) < bound && bound <= Duration::from_micros(2 * micros.max(1))
            );
        }
        assert_eq!(Histogram::bound(BUCKETS - 1), None);
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let mut histogram = Histogram { buckets: [0; BUCKETS], total: Duration::ZERO };
        assert_eq!(histogram.quantile(0.5), None);
        histogram.buckets[3] = 99;
        histogram.buckets[10] = 1;
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(8)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(8)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(1024)));
    }
}
