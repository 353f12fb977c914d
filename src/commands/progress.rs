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
    last: Option<Instant>,
    read: u64,
    expected: u64,
}

impl Progress {
    /// Shown on stderr, if so.
    pub fn new(is_shown: bool) -> Self {
        Self { is_shown, last: None, read: 0, expected: 0 }
    }

    /// So many more bytes will be read.
    pub fn expect(&mut self, bytes: u64) {
        self.expected = self.read + bytes;
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// So many events are done.
    pub fn show(&mut self, events: u64) {
        if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.write(events, "");
            self.last = Some(Instant::now());
        }
    }

    /// All that will be done is done.
    pub fn end(&mut self, events: u64) {
        if self.is_shown {
            self.write(events, "\n");
        }
    }

    fn write(&self, events: u64, end: &str) {
        let line = line(self.read, self.expected, events);
        // Who has closed the terminal does not look.
        let _nobody = write!(std::io::stderr(), "\r{line}{end}");
    }
}

fn line(read: u64, expected: u64, events: u64) -> String {
    if expected == 0 {
        return format!("{events} events");
    }
    let part = |of: u64| (u128::from(read.min(expected)) * u128::from(of) / u128::from(expected)) as usize;
    let done = "=".repeat(part(WIDTH));
    format!("[{done:<width$}] {:>3} %   {events} events", part(100), width = WIDTH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_done() {
        assert_eq!(line(0, 0, 7), "7 events");
        assert_eq!(line(1, 4, 3), format!("[{:<40}]  25 %   3 events", "=".repeat(10)));
        assert!(line(9, 4, 3).contains("100 %"), "a file that grew");
    }
}
