//! What every target has in common: a decoder's time and memory are bounded by the length of what it is given.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flumen_decoders::Decoder;

/// Processor time of one input: a pause of the whole process does not count.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Memory of one input, whatever its length: files, buffers and caches of a log in memory.
const BYTES_MAX: usize = 32 << 20;
/// Memory for each byte of input, beyond that.
const BYTES_PER_BYTE: usize = 256;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by `System`; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `decoder`; panics if it takes too long or too much memory.
pub fn bounded(decoder: Decoder, bytes: &[u8]) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let started = processor_time();
    decoder(bytes);
    let took = processor_time() - started;
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(took <= TIME_MAX, "{took:?} for {} bytes", bytes.len());
    assert!(peak <= BYTES_MAX + BYTES_PER_BYTE * bytes.len(), "{peak} bytes of memory for {}", bytes.len());
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
