//! Bytes to lines as `multiport_syslogtcp` sees them: whatever ends with `\n`, or is as long as a line may be.
//!
//! The line end counts: with a largest size of 10, nine bytes and their end are a line, and ten bytes are an incomplete
//! one. What follows is a new line.

/// Takes in one stream's bytes.
#[derive(Debug)]
pub(crate) struct Splitter {
    line: Vec<u8>,
    over: bool,
    size_max: usize,
}

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub bytes: &'a [u8],
    /// It reached the largest size.
    pub incomplete: bool,
}

impl Splitter {
    /// Lines of at most `size_max` bytes, at least one.
    pub fn new(size_max: usize) -> Self {
        Self { line: Vec::new(), over: false, size_max: size_max.max(1) }
    }

    /// Takes bytes off `input` up to the end of a line. `None`: all were taken, and more are needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Piece<'_>> {
        if self.over {
            self.over = false;
            self.line.clear();
        }
        let window = &input[..input.len().min(self.size_max - self.line.len())];
        let end = memchr::memchr(b'\n', window);
        let taken = end.unwrap_or(window.len());
        self.line.extend_from_slice(&window[..taken]);
        *input = &input[taken + usize::from(end.is_some())..];
        self.over = end.is_some() || self.line.len() == self.size_max;
        self.over.then_some(Piece { bytes: &self.line, incomplete: end.is_none() })
    }

    /// Bytes of a line whose end has not come.
    pub fn unfinished(&self) -> usize {
        if self.over { 0 } else { self.line.len() }
    }
}
