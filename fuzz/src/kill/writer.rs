//! The thread that writes lines at full speed, to a file that it also rotates.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::lines::{self, LineId};
use super::output::Output;
use crate::random::Random;

/// How far the writer may be ahead of the output: else a run would end with draining a long backlog.
const AHEAD_BYTES: u64 = 4 << 20;
/// A file's length when it is rotated, at most.
const FILE_BYTES_MAX: u64 = 8 << 20;
const BLOCK_BYTES: usize = 64 << 10;

/// What was written up to a moment of rest.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Lines of each file.
    pub lines: Vec<u64>,
    /// Files that were rotated away and are still there.
    pub rotated: Vec<PathBuf>,
}

/// The writing thread. Dropping it ends it.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    order: Order,
    /// The thread rests, or has ended.
    rests: bool,
    written: Written,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Write,
    Rest,
    End,
}

impl Writer {
    /// Starts to write `a.log` in `directory`.
    pub fn start(directory: PathBuf, output: Arc<Output>, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let lines = Lines {
            shared: Arc::clone(&shared),
            output,
            random: Random::new(seed),
            path: directory.join("a.log"),
            directory,
            next: LineId { file: 0, line: 0 },
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || lines.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    /// Lets it rest at the end of a line, and returns what there is.
    pub fn rest(&self) -> io::Result<Written> {
        let mut state = self.shared.state.lock();
        state.order = Order::Rest;
        self.shared.changed.notify_all();
        self.shared.changed.wait_while(&mut state, |state| !state.rests);
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.written.clone()),
        }
    }

    /// Removes the rotated files, all of whose lines have arrived, and lets it write on.
    pub fn go_on(&self) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        for path in std::mem::take(&mut state.written.rotated) {
            fs::remove_file(path)?;
        }
        state.order = Order::Write;
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state.lock().order = Order::End;
        self.shared.changed.notify_all();
        // What it ended with was either seen by `rest` or matters no more.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

struct Lines {
    shared: Arc<Shared>,
    output: Arc<Output>,
    random: Random,
    directory: PathBuf,
    path: PathBuf,
    next: LineId,
}

impl Lines {
    fn run(mut self) {
        let error = self.write_files().err();
        let mut state = self.shared.state.lock();
        state.error = error;
        state.rests = true;
        self.shared.changed.notify_all();
    }

    /// Notes where it stands, and does what it is told: false to end.
    fn listen(&self) -> bool {
        let mut state = self.shared.state.lock();
        self.note(&mut state);
        if state.order == Order::Rest {
            state.rests = true;
            self.shared.changed.notify_all();
            self.shared.changed.wait_while(&mut state, |state| state.order == Order::Rest);
            state.rests = false;
        }
        state.order != Order::End
    }

    fn note(&self, state: &mut State) {
        state.written.lines.resize(self.next.file + 1, 0);
        state.written.lines[self.next.file] = self.next.line;
    }

    fn write_files(&mut self) -> io::Result<()> {
        while self.write_file()? {
            let old = self.directory.join(format!("a-{:08}.log", self.next.file));
            fs::rename(&self.path, &old)?;
            let mut state = self.shared.state.lock();
            self.note(&mut state);
            state.written.rotated.push(old);
            drop(state);
            self.next = LineId { file: self.next.file + 1, line: 0 };
        }
        Ok(())
    }

    /// Writes one file to its end; false to end altogether.
    fn write_file(&mut self) -> io::Result<bool> {
        let mut file = create(&self.path)?;
        let len = 1 + self.random.below(FILE_BYTES_MAX);
        let mut written = 0;
        let mut block = Vec::with_capacity(2 * BLOCK_BYTES);
        while written < len {
            if !self.listen() {
                return Ok(false);
            }
            if self.shared.bytes.load(Ordering::Relaxed) > self.output.delivered()? + AHEAD_BYTES {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            block.clear();
            let end = 1 + self.random.below(BLOCK_BYTES as u64) as usize;
            while block.len() < end {
                lines::push(&mut block, self.next);
                self.next.line += 1;
            }
            // In two pieces, so that lines are seen half written.
            let (head, tail) = block.split_at(self.random.below(block.len() as u64) as usize);
            file.write_all(head)?;
            file.write_all(tail)?;
            written += block.len() as u64;
            self.shared.bytes.fetch_add(block.len() as u64, Ordering::AcqRel);
        }
        Ok(true)
    }
}

/// A new file: no line of an earlier one may be in it.
fn create(path: &Path) -> io::Result<File> {
    File::options().append(true).create_new(true).open(path)
}
