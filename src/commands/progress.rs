//! A line on a terminal that says how far a command is.
//!
//! ```text
//!   [==================                      ]  45 %   123456 events
//! ```

use std::io::Write;
use std::time::{Duration, Instant};

/// The line is written anew at most so often.
const PAUSE: Duration = Duration::from_millis(100);
const WIDTH: u64 = 40;

/// How far a command is; says nothing where nobody looks.
pub struct Progress {
    is_shown: bool,
    /// What is counted.
    unit: &'static str,
    last: Option<Instant>,
    read: u64,
    expected: u64,
}

impl Progress {
    /// Shown on stderr, if so; of events, files or what there is.
    pub fn new(is_shown: bool, unit: &'static str) -> Self {
        Self { is_shown, unit, last: None, read: 0, expected: 0 }
    }

    /// So many more bytes will be read.
    pub fn expect(&mut self, bytes: u64) {
        self.expected = self.read + bytes;
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// So many are done.
    pub fn show(&mut self, count: u64) {
        if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.write(count, "");
            self.last = Some(Instant::now());
        }
    }

    /// All that will be done is done.
    pub fn end(&mut self, count: u64) {
        if self.is_shown {
            self.write(count, "\n");
        }
    }

    fn write(&self, count: u64, end: &str) {
        let line = line(self.read, self.expected, (count, self.unit));
        // Who has closed the terminal does not look.
        let _nobody = write!(std::io::stderr(), "\r{line}{end}");
    }
}

fn line(read: u64, expected: u64, (count, unit): (u64, &str)) -> String {
    if expected == 0 {
        return format!("{count} {unit}");
    }
    let part = |of: u64| (u128::from(read.min(expected)) * u128::from(of) / u128::from(expected)) as usize;
    let done = "=".repeat(part(WIDTH));
    format!("[{done:<width$}] {:>3} %   {count} {unit}", part(100), width = WIDTH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_done() {
        assert_eq!(line(0, 0, (7, "events")), "7 events");
        assert_eq!(line(1, 4, (3, "files")), format!("[{:<40}]  25 %   3 files", "=".repeat(10)));
        assert!(line(9, 4, (3, "events")).contains("100 %"), "a file that grew");
    }
}
