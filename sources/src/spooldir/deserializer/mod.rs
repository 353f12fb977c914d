//! What of a file's bytes becomes events, and where each event ends.
//!
//! ```text
//!            an event                    its position, which the channel keeps
//!   LINE     a line, or a piece of one   the byte behind it
//!   BLOB     the file, or a piece of it  the byte behind it
//!   AVRO     a datum of a block          how many data end with it
//! ```
//!
//! An empty file is one event with an empty body, at position 1 (not for AVRO, where it is no container file).

mod avro;
mod blob;
mod container;
mod line;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use flumen_api::{Batch, Headers, Progress};
use flumen_java::Charset;

pub(super) use avro::SchemaHeader;
pub(super) use container::{Container, encode_container, encode_long};

use crate::files::buffers::Buffers;
use crate::files::read_at;

/// How much is read at once, where an event is not larger.
const CHUNK_BYTES: usize = 512 << 10;

/// Why a file cannot be read on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Its bytes are not what they should be, and never will be.
    Bad(String),
    /// The system refused; another attempt may succeed.
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What becomes of bytes that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnMalformed {
    /// The file is set aside.
    Fail,
    /// U+FFFD.
    Replace,
    /// Nothing.
    Ignore,
}

/// Which deserializer, with its keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// Lines.
    Line {
        /// Of the file.
        input: Charset,
        /// Of the bodies.
        output: Charset,
        /// Bytes that are no text of `input`.
        on_malformed: OnMalformed,
        /// Most characters of an event, as Java counts them.
        max: u64,
    },
    /// Data of an Avro container file.
    Avro(SchemaHeader),
    /// Whole files.
    Blob {
        /// Most bytes of an event.
        max: u64,
    },
}

impl Format {
    /// Opens the deserializer at the file's beginning.
    pub fn open(self, input: Input) -> Result<Box<dyn Deserializer>, Trouble> {
        Ok(match self {
            Self::Line { input: charset, output, on_malformed, max } => {
                Box::new(line::Lines::open(input, charset, output, on_malformed, max)?)
            }
            Self::Avro(header) => Box::new(avro::Data::open(input, header)?),
            Self::Blob { max } => Box::new(blob::Blobs::open(input, max)),
        })
    }
}

/// Events of one file in their order.
pub(super) trait Deserializer: Send {
    /// Goes on behind the event at `position`.
    fn seek(&mut self, position: u64) -> Result<(), Trouble>;

    /// At most `limit` events from the position on, which is that of `frame`; none at the end of the file. What cannot be
    /// read is an error only once no event before it is left.
    fn read(&mut self, limit: usize, frame: &Frame) -> Result<Batch, Trouble>;

    /// The position for the offset that Flume's tracker file has.
    fn of_tracker(&mut self, offset: u64) -> Result<u64, Trouble>;

    /// The offset for Flume's tracker file, from which Flume repeats nothing that it can help.
    fn to_tracker(&mut self, position: u64) -> Result<u64, Trouble>;
}

/// The bytes of an open file up to the length that it had when it was opened: what comes later is not read.
#[derive(Debug)]
pub(super) struct Input {
    /// For the log.
    pub path: PathBuf,
    file: File,
    len: u64,
    buffers: Buffers,
}

impl Input {
    /// The first `len` bytes of `file`.
    pub fn new(path: PathBuf, file: File, len: u64) -> Self {
        Self { path, file, len, buffers: Buffers::new(CHUNK_BYTES) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes from `at` on: `most`, or all that are left.
    pub fn read(&self, at: u64, most: u64) -> Result<Bytes, Trouble> {
        let wanted = self.len.saturating_sub(at).min(most);
        let bytes = if wanted <= CHUNK_BYTES as u64 {
            let bytes = self.buffers.read(&self.file, at)?;
            bytes.slice(..bytes.len().min(wanted as usize))
        } else {
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let mut bytes = Vec::new();
            read_at(&self.file, &mut bytes, wanted, at)?;
            bytes.into()
        };
        if (bytes.len() as u64) < wanted {
            let now = at + bytes.len() as u64;
            return Err(Trouble::Bad(format!(
                "it became shorter while it was read: {} bytes, then {now}",
                self.len
            )));
        }
        Ok(bytes)
    }
}

/// What all events of a file share.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Their headers.
    pub headers: Arc<Headers>,
    /// Stands, from `from` to `to`, where the next event begins.
    pub progress: Progress,
}

/// A batch in the making.
struct Events {
    batch: Batch,
    origin: u32,
}

impl Events {
    /// No event yet; those to come are slices of `base` or bytes of their own.
    fn over(base: Bytes, frame: &Frame) -> Self {
        let mut batch = Batch::over(base);
        batch.set_common_headers(frame.headers.clone());
        let origin = batch.add_progress(frame.progress.clone());
        Self { batch, origin }
    }

    fn slice(&mut self, start: usize, len: usize, position: u64) {
        self.batch.push_slice(start, len);
        self.locate(position);
    }

    fn push(&mut self, body: &[u8], position: u64) {
        self.batch.push(body);
        self.locate(position);
    }

    fn locate(&mut self, position: u64) {
        self.batch.locate_last(self.origin, position);
        self.batch.progress_mut()[self.origin as usize].to = position;
    }

    fn len(&self) -> usize {
        self.batch.len()
    }

    /// At the end of a file of `len` bytes that holds no more: a file without any event is an empty one.
    fn or_empty_file(mut self, frame: &Frame, len: u64) -> Batch {
        if self.len() == 0 && frame.progress.from == 0 {
            self.push(b"", len.max(1));
        }
        self.batch
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::Write;

    use super::*;

    /// Positions and bodies.
    pub type Found = Vec<(u64, Vec<u8>)>;

    /// The events of a file with these bytes, read in batches of `limit` from `position` on; `Err` says what
    /// stopped it, and what came before.
    pub fn events_from(
        format: Format,
        bytes: &[u8],
        position: u64,
        limit: usize,
    ) -> Result<Found, (Found, String)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut events = Vec::new();
        let mut result = || -> Result<(), Trouble> {
            let mut reader = format.open(Input::new("test".into(), file.try_clone()?, bytes.len() as u64))?;
            reader.seek(position)?;
            let mut frame = frame(position);
            loop {
                let batch = reader.read(limit, &frame)?;
                assert!(batch.len() <= limit);
                if batch.is_empty() {
                    return Ok(());
                }
                assert_eq!(batch.progress()[0].from, frame.progress.from);
                assert_eq!(batch.progress()[0].to, batch.spans()[batch.len() - 1].position);
                for (event, span) in batch.iter().zip(batch.spans()) {
                    assert!(span.position > frame.progress.from, "positions rise");
                    frame.progress.from = span.position;
                    events.push((span.position, event.body.to_vec()));
                }
                frame.progress.to = frame.progress.from;
            }
        };
        match result() {
            Ok(()) => Ok(events),
            Err(Trouble::Bad(why)) => Err((events, why)),
            Err(Trouble::Io(error)) => panic!("{error}"),
        }
    }

    pub fn events(format: Format, bytes: &[u8]) -> Found {
        events_from(format, bytes, 0, 3).unwrap()
    }

    /// Whoever goes on behind any event gets the same as who reads all at once.
    pub fn assert_resumes(format: Format, bytes: &[u8]) {
        let all = events(format, bytes);
        for (i, (position, _)) in all.iter().enumerate() {
            assert_eq!(events_from(format, bytes, *position, 2).unwrap(), all[i + 1..], "behind {position}");
        }
    }

    pub fn frame(position: u64) -> Frame {
        let progress = Progress {
            key: "k".into(),
            generation: 1,
            from: position,
            to: position,
            rest: Bytes::new(),
            retire: false,
        };
        Frame { headers: Arc::default(), progress }
    }
}
