//! Blocks of one container file, gathered and written.

use super::head::{Head, MAGIC};
use super::{codec_name, put_bytes, put_long};
use crate::codecs::{Codec, Compressor};
use crate::markers::new_marker;

/// Events between two markers, and how they are compressed.
pub(super) struct Container {
    codec: Option<Codec>,
    compressor: Option<Compressor>,
    sync_interval: usize,
    marker: [u8; 16],
    block: Vec<u8>,
    events: i64,
    packed: Vec<u8>,
}

impl Container {
    pub fn new(codec: Option<Codec>, sync_interval: usize) -> Self {
        Self {
            codec,
            compressor: codec.map(Compressor::usual),
            sync_interval,
            marker: [0; 16],
            block: Vec::new(),
            events: 0,
            packed: Vec::new(),
        }
    }

    pub fn codec_name(&self) -> &'static str {
        codec_name(self.codec)
    }

    /// Appends a new file's header, with a marker of its own.
    pub fn begin(&mut self, schema: &str, out: &mut Vec<u8>) {
        self.forget();
        self.marker = new_marker();
        out.extend_from_slice(MAGIC);
        put_long(out, 2);
        for (key, value) in [("avro.codec", self.codec_name()), ("avro.schema", schema)] {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        put_long(out, 0);
        out.extend_from_slice(&self.marker);
    }

    /// Goes on with a file that has this header.
    pub fn resume(&mut self, head: &Head) {
        self.forget();
        self.marker = head.marker;
    }

    /// Forgets the events of a block that was not written.
    pub fn forget(&mut self) {
        self.block.clear();
        self.events = 0;
    }

    /// Adds one event, which `encode` appends to the block, and writes the block if that makes it full.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        encode(&mut self.block);
        self.events += 1;
        if self.block.len() >= self.sync_interval {
            self.end_block(out);
        }
    }

    /// Writes the block, if there is an event in it.
    pub fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.events == 0 {
            return;
        }
        put_long(out, self.events);
        match &mut self.compressor {
            None => put_bytes(out, &self.block),
            Some(compressor) => {
                self.packed.clear();
                compressor.compress(&self.block, &mut self.packed);
                put_bytes(out, &self.packed);
            }
        }
        out.extend_from_slice(&self.marker);
        self.forget();
    }
}
