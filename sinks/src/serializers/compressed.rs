//! Any serializer's bytes, compressed in pieces: each flush ends one, so a file is whole behind every flush.

use std::io::{self, Read};

use flumen_api::event::EventRef;

use super::{AppendError, EventSerializer};
use crate::codecs::{Codec, Compressor};

/// A piece ends early at this many plain bytes, which bounds what is held in memory.
const PIECE_BYTES: usize = 4 << 20;
/// What the buffer keeps when it is empty: a sink may have thousands of files open.
const KEPT_BYTES: usize = 64 << 10;

/// Compresses what another serializer writes.
pub struct Compressed {
    inner: Box<dyn EventSerializer>,
    compressor: Compressor,
    layout: String,
    /// What the piece holds so far.
    plain: Vec<u8>,
    /// The file has a piece: one without any is no file of its kind.
    has_piece: bool,
}

impl Compressed {
    /// Compresses what `inner` writes.
    pub fn new(inner: Box<dyn EventSerializer>, codec: Codec, level: i32) -> Self {
        let layout = format!("{codec}/{}", inner.layout());
        let compressor = Compressor::new(codec, level);
        Self { inner, compressor, layout, plain: Vec::new(), has_piece: false }
    }

    fn end_piece(&mut self, out: &mut Vec<u8>) {
        self.compressor.compress(&self.plain, out);
        self.plain.clear();
        self.has_piece = true;
    }

    fn rest(&mut self) {
        self.plain.shrink_to(KEPT_BYTES);
        self.compressor.rest();
    }
}

impl EventSerializer for Compressed {
    fn begin(&mut self, _: &mut Vec<u8>) {
        self.plain.clear();
        self.has_piece = false;
        self.inner.begin(&mut self.plain);
    }

    fn resume(&mut self, _: &mut dyn Read) -> io::Result<bool> {
        self.plain.clear();
        self.has_piece = true;
        // Where an earlier serializer's bytes can only be gone on with after looking at them, they are not.
        Ok(self.inner.is_event_by_event())
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        self.inner.append(event, &mut self.plain)?;
        if self.plain.len() >= PIECE_BYTES {
            self.end_piece(out);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.inner.flush(&mut self.plain);
        if !self.plain.is_empty() {
            self.end_piece(out);
        }
        self.rest();
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.inner.finish(&mut self.plain);
        if !self.plain.is_empty() || !self.has_piece {
            self.end_piece(out);
        }
        self.rest();
    }

    fn is_event_by_event(&self) -> bool {
        false
    }

    fn layout(&self) -> &str {
        &self.layout
    }
}
