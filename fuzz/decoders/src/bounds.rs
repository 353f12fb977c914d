//! A decoder's time and memory are bounded by the length of what it is given.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use super::Decoder;

/// Memory of one input, whatever its length: files, buffers and caches of a log in memory.
const BYTES_MAX: isize = 32 << 20;
/// Memory for each byte of input, beyond that.
const BYTES_PER_BYTE: isize = 256;

/// Counts for each thread by itself: tests run beside each other, and no decoder starts a thread.
struct Counting;

thread_local! {
    // Below zero where a thread gives back what another one took.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    let live = LIVE.get().wrapping_add(bytes);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: everything is done by `System`; counting touches no memory of the caller's and takes none: the cells are constant
// at first and need no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `decoder`; panics if it takes more processor time than that, or too much memory. A pause of the whole process does
/// not count.
pub fn bounded(decoder: Decoder, bytes: &[u8], time_max: Duration) {
    let before = LIVE.get();
    PEAK.set(before);
    let started = processor_time();
    decoder(bytes);
    let took = processor_time() - started;
    let peak = PEAK.get() - before;
    assert!(took <= time_max, "{took:?} for {} bytes", bytes.len());
    let most = BYTES_MAX + BYTES_PER_BYTE * bytes.len() as isize;
    assert!(peak <= most, "{peak} bytes of memory for {}", bytes.len());
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    #[should_panic(expected = "for 3 bytes")]
    fn a_decoder_that_takes_more_time_than_it_may_is_found() {
        let busy = |bytes: &[u8]| {
            let started = processor_time();
            while processor_time() - started < Duration::from_millis(bytes.len() as u64) {}
        };
        bounded(busy, b"abc", Duration::from_millis(2));
    }

    #[test]
    #[should_panic(expected = "bytes of memory for 3")]
    fn a_decoder_that_takes_more_memory_than_its_input_allows_is_found() {
        bounded(|bytes| drop(vec![bytes[0]; 64 << 20]), b"abc", MINUTE);
    }

    #[test]
    fn what_a_decoder_gives_back_does_not_count_twice() {
        bounded(|bytes| (0..8).for_each(|_| drop(vec![bytes[0]; 16 << 20])), b"abc", MINUTE);
    }
}
