//! What every implementation owes its callers, as one suite that runs over all of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{AlignedBuf, Directory, File, Write, WriteQueue};

mod tests;

const FOREVER: Option<Duration> = None;

/// Says on standard error why a test did nothing, which with `FLUMEN_REQUIRE_PEERS=1` is a failure.
pub(super) fn skipped(why: &dyn std::fmt::Display) {
    let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
    eprintln!("skipped: {why}");
}

/// Declares the suite as tests of a module: `suite!(memory, Fixture::memory())`, where the expression makes a
/// [`Fixture`] with an empty directory.
macro_rules! suite {
    ($module:ident, $fixture:expr) => {
        mod $module {
            use super::*;
            $crate::storage::suite::suite!(@ $fixture;
                writes_in_flight_complete_and_are_readable,
                a_buffer_is_free_for_reuse_only_when_its_write_is_done,
                a_lock_excludes_others_until_it_is_dropped,
                a_queue_holds_its_lock,
                a_wake_before_the_wait_is_not_lost,
                a_wake_during_the_wait_ends_it,
                wakes_and_completions_do_not_swallow_each_other,
                a_wait_without_writes_ends_at_its_timeout,
                a_dropped_queue_lands_nothing_afterwards,
                a_refused_write_completes_with_an_error_and_harms_no_other,
                unaligned_io_is_refused,
                files_are_created_listed_renamed_and_removed,
                a_removed_file_stays_readable_while_it_is_open,
                allocated_bytes_read_as_zero,
                truncation_cuts_and_regrowth_reads_as_zero,
                reads_end_with_the_file,
                free_bytes_are_told
            );
        }
    };
    (@ $fixture:expr; $($claim:ident),+) => {
        $(
            #[test]
            fn $claim() {
                let Some(fixture) = $fixture else { return };
                $crate::storage::suite::$claim(&*fixture.directory);
            }
        )+
    };
}
pub(super) use suite;

/// An empty directory, and what must live as long.
pub(super) struct Fixture {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) _guard: Option<tempfile::TempDir>,
}

fn filled(directory: &dyn Directory, blocks: usize, byte: u8) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(blocks * directory.alignment());
    buffer.fill(byte);
    buffer
}

fn read(file: &dyn File, len: usize, offset: u64) -> Vec<u8> {
    let mut buffer = AlignedBuf::zeroed(len);
    let read = file.read_at(&mut buffer, offset).expect("read");
    buffer[..read].to_vec()
}

fn ready_file(directory: &dyn Directory, name: &str, blocks: usize) -> Arc<dyn File> {
    let file = directory.create(name).expect("create");
    file.allocate((blocks * directory.alignment()) as u64).expect("allocate");
    file.sync().expect("sync file");
    directory.sync().expect("sync directory");
    file
}

fn queue(directory: &dyn Directory, depth: usize) -> Box<dyn WriteQueue> {
    let lock = directory.lock().expect("lock");
    directory.write_queue(lock, depth).expect("queue")
}

/// Writes `count` blocks with contents of their own, at most `depth` at a time.
fn write_blocks(
    directory: &dyn Directory,
    queue: &mut dyn WriteQueue,
    file: &Arc<dyn File>,
    count: u64,
    depth: usize,
) {
    let block = directory.alignment();
    let mut next = 0;
    let mut open = Vec::new();
    let mut done = Vec::new();
    while next < count || queue.in_flight() > 0 {
        while next < count && queue.in_flight() < depth {
            open.push(next);
            queue.submit(Write {
                token: next,
                file: file.clone(),
                buffer: Arc::new(filled(directory, 1, next as u8 + 1)),
                from: 0,
                len: block,
                offset: next * block as u64,
                durable: true,
            });
            next += 1;
        }
        let before = queue.in_flight();
        queue.wait(FOREVER, &mut done);
        assert_eq!(queue.in_flight(), before - done.len(), "completions leave the flight");
        for completion in done.drain(..) {
            completion.result.expect("write");
            let at = open
                .iter()
                .position(|token| *token == completion.token)
                .expect("completed once, after submission");
            open.swap_remove(at);
        }
    }
    assert!(open.is_empty(), "never completed: {open:?}");
}

pub(super) fn writes_in_flight_complete_and_are_readable(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = ready_file(directory, "file", 64);
    let mut queue = queue(directory, 4);
    write_blocks(directory, &mut *queue, &file, 64, 4);
    for number in 0..64_u64 {
        assert_eq!(
            read(&*file, block, number * block as u64),
            vec![number as u8 + 1; block],
            "block {number}"
        );
    }
}

pub(super) fn a_buffer_is_free_for_reuse_only_when_its_write_is_done(directory: &dyn Directory) {
    let file = ready_file(directory, "file", 64);
    let mut queue = queue(directory, 1);
    let buffer = Arc::new(filled(directory, 64, 9));
    queue.submit(Write {
        token: 0,
        file,
        buffer: buffer.clone(),
        from: 0,
        len: buffer.len(),
        offset: 0,
        durable: true,
    });
    let mut done = Vec::new();
    while done.is_empty() {
        queue.wait(FOREVER, &mut done);
    }
    assert_eq!(Arc::strong_count(&buffer), 1, "the queue gave its hold on the buffer back");
}

pub(super) fn a_lock_excludes_others_until_it_is_dropped(directory: &dyn Directory) {
    let lock = directory.lock().expect("first lock");
    let refusal = directory.lock().expect_err("second lock");
    assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    drop(directory.lock().expect("lock after the first is dropped"));
}

pub(super) fn a_queue_holds_its_lock(directory: &dyn Directory) {
    let queue = queue(directory, 2);
    assert_eq!(directory.lock().expect_err("lock").kind(), io::ErrorKind::WouldBlock);
    drop(queue);
    drop(directory.lock().expect("lock after the queue is dropped"));
}

pub(super) fn a_wake_before_the_wait_is_not_lost(directory: &dyn Directory) {
    let mut queue = queue(directory, 2);
    let waker = queue.waker();
    let mut done = Vec::new();
    for _ in 0..100 {
        waker.wake();
        waker.wake();
        queue.wait(FOREVER, &mut done);
    }
    assert!(done.is_empty());
}

/// Two threads pass a turn to and fro: one lost wake and neither goes on.
pub(super) fn a_wake_during_the_wait_ends_it(directory: &dyn Directory) {
    const ROUNDS: usize = 2000;
    let mut queue = queue(directory, 2);
    let waker = queue.waker();
    let turn = Arc::new(AtomicBool::new(false));
    let other = turn.clone();
    let thread = thread::spawn(move || {
        for _ in 0..ROUNDS {
            while other.load(Ordering::Acquire) {
                thread::yield_now();
            }
            other.store(true, Ordering::Release);
            waker.wake();
        }
    });
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        while !turn.load(Ordering::Acquire) {
            queue.wait(FOREVER, &mut done);
        }
        turn.store(false, Ordering::Release);
    }
    thread.join().expect("waking thread");
}

pub(super) fn wakes_and_completions_do_not_swallow_each_other(directory: &dyn Directory) {
    let file = ready_file(directory, "file", 200);
    let mut queue = queue(directory, 4);
    let waker = queue.waker();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            waker.wake();
            thread::yield_now();
        }
    });
    write_blocks(directory, &mut *queue, &file, 200, 4);
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("waking thread");
}

pub(super) fn a_wait_without_writes_ends_at_its_timeout(directory: &dyn Directory) {
    let mut queue = queue(directory, 2);
    let mut done = Vec::new();
    for timeout in [Duration::ZERO, Duration::from_millis(15)] {
        let begin = Instant::now();
        queue.wait(Some(timeout), &mut done);
        let took = begin.elapsed();
        assert!(took >= timeout, "returned after {took:?} of {timeout:?}");
        assert!(took < Duration::from_secs(10), "returned after {took:?} of {timeout:?}");
    }
    // Longer than any clock: must neither panic nor return.
    queue.waker().wake();
    queue.wait(Some(Duration::MAX), &mut done);
    assert!(done.is_empty());
}

/// What is written after the drop stays, so nothing landed after it; and all that was submitted landed before.
pub(super) fn a_dropped_queue_lands_nothing_afterwards(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = ready_file(directory, "file", 64);
    for round in 0..8_u8 {
        let mut queue = queue(directory, 4);
        let buffer = Arc::new(filled(directory, 16, 100 + round));
        for part in 0..4_u64 {
            let offset = part * 16 * block as u64;
            queue.submit(Write {
                token: part,
                file: file.clone(),
                buffer: buffer.clone(),
                from: 0,
                len: buffer.len(),
                offset,
                durable: true,
            });
        }
        drop(queue);
        assert_eq!(Arc::strong_count(&buffer), 1, "no write holds the buffer");
        assert_eq!(read(&*file, 64 * block, 0), vec![100 + round; 64 * block]);
        file.write_durable_at(&filled(directory, 64, round), 0).expect("write");
        assert_eq!(read(&*file, 64 * block, 0), vec![round; 64 * block]);
    }
}

pub(super) fn a_refused_write_completes_with_an_error_and_harms_no_other(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = ready_file(directory, "file", 4);
    let mut queue = queue(directory, 4);
    let buffer = Arc::new(filled(directory, 1, 7));
    let write = |token, len, offset| Write {
        token,
        file: file.clone(),
        buffer: buffer.clone(),
        from: 0,
        len,
        offset,
        durable: true,
    };
    queue.submit(write(1, block, 0));
    queue.submit(write(2, block - 1, 0));
    queue.submit(write(3, 2 * block, 0));
    queue.submit(write(4, block, block as u64));
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        queue.wait(FOREVER, &mut done);
    }
    done.sort_by_key(|completion| completion.token);
    let ok: Vec<_> = done.iter().map(|completion| (completion.token, completion.result.is_ok())).collect();
    assert_eq!(ok, [(1, true), (2, false), (3, false), (4, true)]);
    assert_eq!(read(&*file, 4 * block, 0), [vec![7; 2 * block], vec![0; 2 * block]].concat());
}

pub(super) fn unaligned_io_is_refused(directory: &dyn Directory) {
    let block = directory.alignment();
    assert!(block >= 4096 && block.is_power_of_two());
    let file = ready_file(directory, "file", 4);
    let mut buffer = filled(directory, 2, 1);
    for (from, to, offset) in [(0, block - 1, 0), (0, block, 1), (512, block + 512, 0)] {
        let invalid = |result: io::Result<()>| {
            assert_eq!(result.expect_err("unaligned").kind(), io::ErrorKind::InvalidInput);
        };
        invalid(file.write_at(&buffer[from..to], offset));
        invalid(file.write_durable_at(&buffer[from..to], offset));
        invalid(file.read_at(&mut buffer[from..to], offset).map(drop));
    }
    assert_eq!(read(&*file, block, 0), vec![0; block]);
}

pub(super) fn files_are_created_listed_renamed_and_removed(directory: &dyn Directory) {
    let listed = || {
        let mut entries: Vec<_> =
            directory.list().expect("list").into_iter().map(|entry| (entry.name, entry.len)).collect();
        entries.sort();
        entries
    };
    let block = directory.alignment();
    let one = directory.create("one").expect("create");
    one.write_at(&filled(directory, 1, 1), 0).expect("write");
    let two = directory.create("two").expect("create");
    assert!(two.is_empty().expect("length"));
    assert_eq!(listed(), [("one".to_owned(), block as u64), ("two".to_owned(), 0)]);

    assert_eq!(directory.create("one").expect_err("create again").kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(directory.open("three").expect_err("open").kind(), io::ErrorKind::NotFound);
    assert_eq!(directory.rename("three", "four").expect_err("rename").kind(), io::ErrorKind::NotFound);
    assert_eq!(directory.remove("three").expect_err("remove").kind(), io::ErrorKind::NotFound);

    directory.rename("one", "two").expect("rename over another");
    directory.sync().expect("sync");
    assert_eq!(listed(), [("two".to_owned(), block as u64)]);
    assert_eq!(read(&*directory.open("two").expect("open"), block, 0), vec![1; block]);

    directory.remove("two").expect("remove");
    directory.sync().expect("sync");
    assert_eq!(listed(), []);
}

pub(super) fn a_removed_file_stays_readable_while_it_is_open(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = directory.create("file").expect("create");
    file.write_durable_at(&filled(directory, 1, 3), 0).expect("write");
    directory.remove("file").expect("remove");
    assert_eq!(read(&*file, block, 0), vec![3; block]);
    assert_eq!(directory.create("file").expect("create").len().expect("length"), 0);
}

pub(super) fn allocated_bytes_read_as_zero(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = directory.create("file").expect("create");
    file.write_at(&filled(directory, 1, 5), 0).expect("write");
    file.allocate(8 * block as u64).expect("allocate");
    file.sync().expect("sync");
    assert_eq!(file.len().expect("length"), 8 * block as u64);
    assert_eq!(read(&*file, 8 * block, 0), [vec![5; block], vec![0; 7 * block]].concat());
    file.allocate(block as u64).expect("allocate less");
    assert_eq!(file.len().expect("length"), 8 * block as u64, "allocation never cuts");
}

pub(super) fn truncation_cuts_and_regrowth_reads_as_zero(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = directory.create("file").expect("create");
    file.write_durable_at(&filled(directory, 4, 5), 0).expect("write");
    file.truncate(block as u64).expect("truncate");
    assert_eq!(file.len().expect("length"), block as u64);
    file.allocate(4 * block as u64).expect("allocate");
    assert_eq!(read(&*file, 4 * block, 0), [vec![5; block], vec![0; 3 * block]].concat());
    file.sync().expect("sync");
    assert_eq!(read(&*file, 4 * block, 0), [vec![5; block], vec![0; 3 * block]].concat());
}

pub(super) fn reads_end_with_the_file(directory: &dyn Directory) {
    let block = directory.alignment();
    let file = directory.create("file").expect("create");
    assert_eq!(read(&*file, block, 0), []);
    file.write_at(&filled(directory, 2, 5), 0).expect("write");
    assert_eq!(read(&*file, 4 * block, block as u64), vec![5; block]);
    assert_eq!(read(&*file, block, 2 * block as u64), []);
    assert_eq!(read(&*file, block, 64 * block as u64), []);
    file.truncate(block as u64 + 10).expect("truncate");
    assert_eq!(read(&*file, 4 * block, block as u64), vec![5; 10], "a file may end anywhere");
}

pub(super) fn free_bytes_are_told(directory: &dyn Directory) {
    assert!(directory.free_bytes().expect("free bytes") > 0);
}
