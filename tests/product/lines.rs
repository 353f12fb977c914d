//! Numbered lines of 178 bytes, a thread that writes them, and the comparison with what arrived.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::world::delivered;

/// Bytes of a line, its end included.
pub const LINE: usize = 178;

/// How far the writer may be ahead of what is delivered: else the test would end with draining a long backlog.
const AHEAD_BYTES: u64 = 16 << 20;

const TEXT: &[u8] =
    b"10.1.2.3 - - [21/Nov/2026:07:31:00 +0000] \"GET /static/images/logo.png?size=large HTTP/1.1\" \
200 5316 \"https://example.org/start\" \"Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0\"";

/// Appends line number `number`.
pub fn push(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number:010} ").unwrap();
    // Each line begins at another place of the text, so that one line's end is no other line's end.
    let at = (number % TEXT.len() as u64) as usize;
    out.extend(TEXT[at..].iter().chain(&TEXT[..at]).cycle().take(LINE - 12));
    out.push(b'\n');
}

/// Lines `from..to`.
pub fn lines(from: u64, to: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity((to - from) as usize * LINE);
    (from..to).for_each(|number| push(&mut out, number));
    out
}

/// Fails unless `output` is lines `0..count`, in order.
#[track_caller]
pub fn assert_exact(output: &[u8], count: u64) {
    let mut expected = Vec::with_capacity(LINE);
    for (i, line) in output.chunks(LINE).enumerate() {
        expected.clear();
        push(&mut expected, i as u64);
        if line != expected {
            let from = i.saturating_sub(2) * LINE;
            let shown = &output[from..output.len().min(from + 5 * LINE)];
            panic!(
                "line {i} of {count} is not the one that was written (the output has {}); around it:\n{}",
                output.len() / LINE,
                String::from_utf8_lossy(shown)
            );
        }
    }
    assert_eq!(output.len() as u64, count * LINE as u64, "bytes of {count} lines");
}

/// Fails unless `output` is the lines of `range`, each once, in any order.
#[track_caller]
pub fn assert_each_once(output: &[u8], range: Range<u64>) {
    let mut numbers = Vec::with_capacity(output.len() / LINE);
    let mut expected = Vec::with_capacity(LINE);
    for line in output.chunks(LINE) {
        let number = std::str::from_utf8(&line[..line.len().min(10)]).ok().and_then(|text| text.parse().ok());
        expected.clear();
        push(&mut expected, number.unwrap_or(u64::MAX));
        assert!(line == expected, "not a line that was written: {}", String::from_utf8_lossy(line));
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let repeated: Vec<u64> =
        numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    numbers.dedup();
    let mut missing = Vec::new();
    let strange = numbers.iter().find(|number| !range.contains(number));
    assert!(strange.is_none(), "line {strange:?} came among lines {range:?}");
    let mut next = range.start;
    for number in numbers.iter().copied().chain([range.end]) {
        missing.extend(next..number);
        next = number + 1;
    }
    let shown = |numbers: &[u64]| format!("{} ({:?}…)", numbers.len(), &numbers[..numbers.len().min(5)]);
    assert!(
        repeated.is_empty() && missing.is_empty(),
        "of lines {range:?} repeated {}, missing {}",
        shown(&repeated),
        shown(&missing)
    );
}

/// A thread that appends lines to a file, as fast as they are delivered.
pub struct Writer {
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes to `path` what arrives in `out`. A `rate` in lines a second slows it down.
    pub fn start(path: PathBuf, out: PathBuf, rate: Option<u64>) -> Self {
        let (written, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (written, stop) = (written.clone(), stop.clone());
            std::thread::spawn(move || write(&path, &out, rate, &written, &stop))
        };
        Self { written, stop, thread: Some(thread) }
    }

    /// Lines that were written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Ends it; returns how many lines there are.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
        self.written()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn write(path: &Path, out: &Path, rate: Option<u64>, written: &AtomicU64, stop: &AtomicBool) {
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    let begun = std::time::Instant::now();
    let mut number = 0;
    let block = 500;
    while !stop.load(Ordering::Acquire) {
        let ahead = || (number * LINE as u64).saturating_sub(delivered(out)) > AHEAD_BYTES;
        let early =
            rate.is_some_and(|rate| begun.elapsed() < Duration::from_micros(number * 1_000_000 / rate));
        if early || (number % 10_000 == 0 && ahead()) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let bytes = lines(number, number + block);
        // In two pieces, so that lines are seen half written.
        let (head, tail) = bytes.split_at(bytes.len() / 2 + 7);
        file.write_all(head).unwrap();
        file.write_all(tail).unwrap();
        number += block;
        written.store(number, Ordering::Release);
    }
}

/// Random numbers that a seed gives again; the seed is shown when the test fails.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn new() -> Self {
        let given =
            std::env::var("FLUMEN_SEED").ok().map(|text| text.parse().expect("FLUMEN_SEED is a number"));
        let seed = given.unwrap_or_else(|| {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
        });
        Self { seed, state: seed | 1 }
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % end
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to replay: FLUMEN_SEED={}", self.seed);
        }
    }
}
