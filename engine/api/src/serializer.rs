//! Event serializers: what of an event is written to a file, and how.
//!
//! ```text
//!   begin          what a file begins with              (or resume: go on with a file of ours)
//!   append …       one event after another
//!   flush          what append kept back: from here on a reader can read all that came so far
//!   append … flush …
//!   finish         what a file ends with
//! ```
//!
//! Every call appends to a buffer that the sink writes out. A sink names its serializer in one key (`sink.serializer`,
//! `serializer`) and gives it the keys below that.

use std::io::{self, Read};

use crate::event::EventRef;

/// Why an event was not appended. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This event cannot be written at all: the sink refuses it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be written to the file that was begun: the sink ends that file, begins another, and appends again.
    #[error("{0}")]
    NewFile(String),
    /// It may work later: the sink fails, and tries again.
    #[error("{0}")]
    Failed(String),
}

/// Turns events into bytes.
pub trait EventSerializer: Send {
    /// A new file begins; what was kept back of another is forgotten.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Goes on with a file that was begun and flushed earlier, of which `file` yields what was flushed; what was kept
    /// back of another is forgotten. `false`: that file cannot be gone on with, and a new one is begun.
    fn resume(&mut self, _file: &mut dyn Read) -> io::Result<bool> {
        Ok(true)
    }

    /// Appends the event's bytes, or keeps them back until they are enough, or until the [`flush`](Self::flush).
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError>;

    /// Appends what was kept back.
    fn flush(&mut self, _out: &mut Vec<u8>) {}

    /// Appends what was kept back and what a file ends with.
    fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
    }

    /// Whether an event's bytes are its body and a newline and nothing else: then whole runs of lines are written as
    /// they lie in the chunk, without looking at one event.
    fn writes_plain_lines(&self) -> bool {
        false
    }

    /// Whether an event's bytes depend on that event alone, and none are kept back. Then what a killed agent left in a
    /// file is compared with what comes again; else it is cut off, back to the last flush that counted.
    fn is_event_by_event(&self) -> bool;

    /// Names the bytes that come out. A file begun with one layout is not gone on with in another.
    fn layout(&self) -> &str;
}
