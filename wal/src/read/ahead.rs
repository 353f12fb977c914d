//! Reading ahead for a consumer that lags: a thread reads the next window while this one is gone through.
//!
//! ```text
//!   window   | frame | frame | frame | fra|        gone through
//!   ahead                            | frame | frame | ...      read by a thread meanwhile
//! ```
//!
//! The next window begins where the first frame stands that this one does not hold whole, which the frames' headers say. The
//! thread is there for a reader that has gone through a few windows, and ends with it. What it cannot read is read again by who
//! needs it, and told then.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::read::extents::CarefulWindow;
use crate::segment::window::{WINDOW_BYTES, read_full};
use crate::storage::{AlignedBuf, File};
use crate::sync::thread;

/// A reader that has filled so many windows lags: before, a thread would cost more than it gains.
const WINDOWS_BEFORE: u32 = 3;

/// A window that is read ahead of.
#[derive(Debug)]
pub struct AheadWindow {
    window: CarefulWindow,
    /// Whether a thread may be had.
    threaded: bool,
    /// Windows filled so far.
    filled: u32,
    helper: Option<Helper>,
}

#[derive(Debug)]
struct Helper {
    /// `None` only while it is dropped.
    asked: Option<Sender<Job>>,
    read: Receiver<io::Result<Read>>,
    thread: Option<thread::JoinHandle<()>>,
    /// What is asked for and not yet taken, or not wanted any more.
    pending: Option<(Arc<dyn File>, u64)>,
}

#[derive(Debug)]
struct Job {
    file: Arc<dyn File>,
    offset: u64,
    buffer: Arc<AlignedBuf>,
}

#[derive(Debug)]
struct Read {
    buffer: Arc<AlignedBuf>,
    len: usize,
}

impl AheadWindow {
    /// An empty window for files of this alignment.
    pub fn new(alignment: usize, threaded: bool) -> Self {
        Self { window: CarefulWindow::new(alignment), threaded, filled: 0, helper: None }
    }

    /// Forgets what was read, ahead as well.
    pub fn clear(&mut self) {
        self.window.clear();
        self.discard();
    }

    /// The same for another file, of this alignment.
    #[must_use]
    pub fn cleared(mut self, alignment: usize) -> Self {
        self.discard();
        self.window = self.window.cleared(alignment);
        self
    }

    /// As [`Window::get`](crate::segment::window::Window::get). `next` says, of bytes from an offset on, where the first frame
    /// begins that they do not hold whole; `None` if nothing is to be read ahead.
    pub fn get(
        &mut self,
        file: &Arc<dyn File>,
        offset: u64,
        len: usize,
        next: impl FnOnce(&[u8], u64) -> Option<u64>,
    ) -> io::Result<(Arc<AlignedBuf>, Range<usize>)> {
        if self.window.covers(offset, len) {
            return self.window.get(&**file, offset, len);
        }
        if let Some(Read { buffer, len }) = self.take(file, offset) {
            self.window.fill(buffer, offset, len);
        }
        let got = self.window.get(&**file, offset, len)?;
        self.filled = self.filled.saturating_add(1);
        if self.threaded
            && self.filled > WINDOWS_BEFORE
            && let Some((bytes, start)) = self.window.bytes()
            && let Some(next) = next(bytes, start)
        {
            self.ask(file, next);
        }
        Ok(got)
    }

    /// What was read ahead from `offset` of `file` on.
    fn take(&mut self, file: &Arc<dyn File>, offset: u64) -> Option<Read> {
        let helper = self.helper.as_mut()?;
        let (asked, from) = helper.pending.take()?;
        let read = helper.read.recv().ok()?.ok()?;
        let wanted = Arc::ptr_eq(&asked, file) && from == offset;
        if !wanted {
            self.window.keep(read.buffer);
            return None;
        }
        Some(read)
    }

    fn discard(&mut self) {
        if let Some(helper) = &mut self.helper
            && helper.pending.take().is_some()
            && let Ok(Ok(read)) = helper.read.recv()
        {
            self.window.keep(read.buffer);
        }
    }

    fn ask(&mut self, file: &Arc<dyn File>, offset: u64) {
        self.discard();
        if self.helper.is_none() {
            // Without a thread there is no reading ahead.
            self.helper = Helper::new().ok();
        }
        let Some(helper) = &mut self.helper else { return };
        let buffer = self.window.buffer(WINDOW_BYTES);
        let job = Job { file: Arc::clone(file), offset, buffer };
        if helper.asked.as_ref().is_some_and(|asked| asked.send(job).is_ok()) {
            helper.pending = Some((Arc::clone(file), offset));
        }
    }
}

impl Helper {
    fn new() -> io::Result<Self> {
        let (asked, jobs) = channel::<Job>();
        let (done, read) = channel();
        let work = move || {
            for Job { file, offset, mut buffer } in jobs {
                let result = match Arc::get_mut(&mut buffer) {
                    Some(bytes) => read_full(&*file, bytes, offset),
                    None => Err(io::Error::other("a buffer that somebody else holds")),
                };
                drop(file);
                if done.send(result.map(|len| Read { buffer, len })).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-reader".to_string()).spawn(work)?;
        Ok(Self { asked: Some(asked), read, thread: Some(thread), pending: None })
    }
}

impl Drop for Helper {
    /// Waits for a read under way: who lets go of a reader counts on its file being closed.
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::storage::Directory;
    use crate::storage::memory::MemoryDirectory;

    const BLOCK: usize = 4096;
    /// Does not divide a window, so that some lie across the ends of two.
    const FRAME: usize = 37 * BLOCK;

    /// A file of frames, each filled with its number.
    fn file(frames: usize) -> Arc<dyn File> {
        let file = MemoryDirectory::new("d").create("f").unwrap();
        for number in 0..frames {
            let mut bytes = AlignedBuf::zeroed(FRAME);
            bytes.fill(number as u8);
            file.write_at(&bytes, (number * FRAME) as u64).unwrap();
        }
        file
    }

    fn next(bytes: &[u8], start: u64) -> Option<u64> {
        Some(start + (bytes.len() / FRAME * FRAME) as u64)
    }

    #[test]
    fn frames_that_were_read_ahead_are_those_of_the_file_and_lent_ones_stay_as_they_are() {
        let file = file(120);
        let mut window = AheadWindow::new(BLOCK, true);
        let mut lent = Vec::new();
        for number in 0..120 {
            let at = (number * FRAME) as u64;
            let (_, head) = window.get(&file, at, BLOCK, next).unwrap();
            assert_eq!(head.len(), BLOCK);
            let (buffer, range) = window.get(&file, at, FRAME, next).unwrap();
            assert!(buffer[range.clone()].iter().all(|byte| *byte == number as u8), "frame {number}");
            if number % 5 == 0 {
                lent.push((number, buffer, range));
            }
        }
        assert!(window.helper.is_some(), "a reader that goes on is read ahead for");
        for (number, buffer, range) in lent {
            assert!(buffer[range].iter().all(|byte| *byte == number as u8), "frame {number}, lent");
        }
    }

    #[test]
    fn a_reader_that_looks_elsewhere_gets_what_is_there() {
        let (one, other) = (file(60), file(40));
        let mut window = AheadWindow::new(BLOCK, true);
        for number in (0..60).chain([3, 59, 0, 30]) {
            let (buffer, range) = window.get(&one, (number * FRAME) as u64, FRAME, next).unwrap();
            assert!(buffer[range].iter().all(|byte| *byte == number as u8), "frame {number}");
        }
        let mut window = window.cleared(BLOCK);
        for number in 0..40 {
            let (buffer, range) = window.get(&other, (number * FRAME) as u64, FRAME, next).unwrap();
            assert!(buffer[range].iter().all(|byte| *byte == number as u8), "frame {number} of the other");
        }
    }

    #[test]
    fn nothing_is_read_ahead_without_a_thread() {
        let file = file(60);
        let mut window = AheadWindow::new(BLOCK, false);
        for number in 0..60 {
            window.get(&file, (number * FRAME) as u64, FRAME, next).unwrap();
        }
        assert!(window.helper.is_none());
    }
}
