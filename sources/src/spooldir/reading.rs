//! One file that is being read: who it is, how far it is read, and what shall become of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use flumen_api::{Batch, Headers, Progress};

use super::deserializer::{Deserializer, Frame, Trouble};
use super::memo::Memo;
use crate::files::FileId;

/// What shall become of a file once everything read of it is acked.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was read to its end.
    Done,
    /// It is set aside, for this reason.
    Aside(String),
    /// It could not be read just now and is tried again later.
    Later(io::Error),
}

/// A file that is being read.
pub(super) struct Reading {
    pub id: FileId,
    /// Its progress key.
    pub key: String,
    /// Below the spooling directory.
    pub relative: PathBuf,
    pub path: PathBuf,
    pub memo: Memo,
    /// Generation of the positions below.
    pub generation: u64,
    /// All up to this position is on its way to the channels.
    pub put: u64,
    /// All up to this position is acked.
    pub acked: u64,
    /// A channel may hold the key.
    pub told: bool,
    /// Events put in this life of the source.
    pub events: u64,
    pub verdict: Option<Verdict>,
    /// While `put` is below the second number, at most so many events go into a put.
    pub smaller_puts: Option<(usize, u64)>,
    /// `memo`, encoded.
    pub rest: Bytes,
    pub headers: Arc<Headers>,
    /// Opened at the first read.
    pub deserializer: Option<Box<dyn Deserializer>>,
}

impl Reading {
    /// The file's progress, which stands at `put` and makes none.
    pub fn progress(&self) -> Progress {
        Progress {
            key: self.key.clone(),
            generation: self.generation,
            from: self.put,
            to: self.put,
            rest: self.rest.clone(),
            retire: false,
        }
    }

    /// The next events; none at the end of the file.
    pub fn read(&mut self, batch_size: usize) -> Result<Batch, Trouble> {
        let limit = match self.smaller_puts {
            Some((fewer, until)) if self.put < until => batch_size.min(fewer),
            _ => {
                self.smaller_puts = None;
                batch_size
            }
        };
        let frame = Frame { headers: self.headers.clone(), progress: self.progress() };
        let Some(deserializer) = &mut self.deserializer else { return Ok(Batch::new()) };
        deserializer.read(limit, &frame)
    }

    /// Goes back to what is acked, if more is on its way or was read in vain.
    pub fn rewind(&mut self) {
        if self.put != self.acked {
            self.put = self.acked;
            self.verdict = None;
        }
        if self.verdict.is_none() {
            self.seek();
        }
    }

    /// Goes on reading at `put`.
    pub fn seek(&mut self) {
        let Some(deserializer) = &mut self.deserializer else { return };
        if let Err(trouble) = deserializer.seek(self.put) {
            self.stop_for(trouble);
        }
    }

    /// Nothing more can be read.
    pub fn stop_for(&mut self, trouble: Trouble) {
        self.verdict = Some(match trouble {
            Trouble::Bad(why) => Verdict::Aside(why),
            Trouble::Io(error) => Verdict::Later(error),
        });
    }

    /// Whether all that was read of it is acked, and its fate is known.
    pub fn is_ripe(&self) -> bool {
        self.verdict.is_some() && self.acked == self.put
    }
}
