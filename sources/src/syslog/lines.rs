//! Bytes to lines as `syslogtcp` and `syslogudp` see them: a line's first bytes are judged on the way.
//!
//! ```text
//!   start ──'<'──> priority ──'>'──────────────────────> data ──'\n'──> a line
//!     │               └──not a digit, or a fourth one──>  ^   └─largest size reached─> a line, incomplete
//!     └──any other byte───────────────────────(bad)───────┘
//!     └──'\n': skipped
//! ```
//!
//! What follows an incomplete line is taken for a new line, so a long message comes as several events. `<>` is bad. A
//! line end within the priority is part of the (bad) line. A `\r` stays.

/// The smallest largest size: a priority always fits.
pub(crate) const SIZE_MIN: usize = 10;

/// Digits of a priority.
const DIGITS_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Priority,
    Data,
    /// The line has been handed out.
    Over,
}

/// Takes in one stream's bytes.
#[derive(Debug)]
pub(crate) struct Lines {
    state: State,
    line: Vec<u8>,
    bad: bool,
    size_max: usize,
}

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub bytes: &'a [u8],
    /// It does not begin with a priority.
    pub bad: bool,
    /// It reached the largest size.
    pub incomplete: bool,
}

impl Lines {
    /// Lines of at most `size_max` bytes, at least [`SIZE_MIN`].
    pub fn new(size_max: usize) -> Self {
        Self { state: State::Start, line: Vec::new(), bad: false, size_max: size_max.max(SIZE_MIN) }
    }

    /// Takes bytes off `input` up to the end of a line. `None`: all were taken, and more are needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Line<'_>> {
        if self.state == State::Over {
            self.state = State::Start;
            self.bad = false;
            self.line.clear();
        }
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Start if byte == b'\n' => *input = rest,
                State::Start => {
                    *input = rest;
                    self.line.push(byte);
                    self.bad = byte != b'<';
                    self.state = if self.bad { State::Data } else { State::Priority };
                }
                State::Priority => {
                    *input = rest;
                    self.line.push(byte);
                    let digits = self.line.len() - 1;
                    if byte == b'>' {
                        self.bad = digits == 1;
                        self.state = State::Data;
                    } else if !byte.is_ascii_digit() || digits > DIGITS_MAX {
                        self.bad = true;
                        self.state = State::Data;
                    }
                }
                State::Data => {
                    let window = &input[..input.len().min(self.size_max - self.line.len())];
                    let end = memchr::memchr(b'\n', window);
                    let taken = end.unwrap_or(window.len());
                    self.line.extend_from_slice(&window[..taken]);
                    *input = &input[taken + usize::from(end.is_some())..];
                    if end.is_some() || self.line.len() == self.size_max {
                        self.state = State::Over;
                        return Some(Line { bytes: &self.line, bad: self.bad, incomplete: end.is_none() });
                    }
                }
                State::Over => unreachable!("begun anew above, and handed out where it is set"),
            }
        }
        None
    }

    /// Bytes of a line whose end has not come.
    pub fn unfinished(&self) -> usize {
        if self.state == State::Over { 0 } else { self.line.len() }
    }

    /// What there is of a line: the end of a datagram is the end of its line.
    pub fn rest(&mut self) -> Line<'_> {
        self.state = State::Over;
        Line { bytes: &self.line, bad: self.bad, incomplete: false }
    }
}
