//! SequenceFile, version 6, as Hadoop 3 writes it. Numbers are big-endian; texts and vints are those of `writable`.
//!
//! ```text
//!   header   "SEQ" 6 | key class | value class: texts | compressed, in blocks: a byte each | [codec class: text]
//!            | entries of metadata: u32, none | marker, 16 bytes
//!
//!   without a codec
//!     record   bytes of key and value: u32 | bytes of the key: u32 | key | value
//!     sync     -1: u32 | marker                  before the record that would begin 100 KiB behind the last, and at a flush
//!
//!   with a codec
//!     block    -1: u32 | marker | records: vint | 4 times bytes: vint, then those, compressed each by itself:
//!              lengths of the keys, vints | keys | lengths of the values, vints | values
//!              when keys and values have a megabyte, and at a flush
//!
//!   key     the event's time, milliseconds since 1970: u64
//!   value   Writable: bytes of the body: u32 | body         Text: bytes of the body: vint | body, UTF-8 or not
//! ```
//!
//! The time is that of the header `timestamp`; without one it is the clock's. One that is no number poisons Flume's sink,
//! which tries the batch for ever: here the event is refused. Headers are not written.

use std::time::{SystemTime, UNIX_EPOCH};

use flumen_api::event::EventRef;

use super::Format;
use super::codec::HadoopCodec;
use super::stream::level;
use super::writable::{put_text, put_vint};
use crate::codecs::Compressor;
use crate::markers::new_marker;
use crate::serializers::AppendError;

/// Largest body: Java's arrays end at 2 GiB, and a block has to fit into one with what came before.
const BODY_MAX: usize = 1 << 30;
/// Where the next mark is due, from the last (`SequenceFile.SYNC_INTERVAL`).
const SYNC_INTERVAL: usize = 100 * 1024;
/// Where a block ends (`io.seqfile.compress.blocksize`).
const BLOCK_BYTES: usize = 1_000_000;
/// What each buffer of a block keeps when it is empty: a sink may have thousands of files open.
const KEPT_BYTES: usize = 64 << 10;
/// In place of a length: a mark follows.
const ESCAPE: [u8; 4] = (-1i32).to_be_bytes();
const KEY_BYTES: usize = 8;

/// `hdfs.writeFormat`: what the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// `Writable`: `BytesWritable`.
    Bytes,
    /// `Text`.
    Text,
}

impl Values {
    fn class_name(self) -> &'static str {
        match self {
            Self::Bytes => "org.apache.hadoop.io.BytesWritable",
            Self::Text => "org.apache.hadoop.io.Text",
        }
    }

    fn put(self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Bytes => out.extend_from_slice(&number(body.len())),
            Self::Text => put_vint(body.len(), out),
        }
        out.extend_from_slice(body);
    }
}

/// Writes SequenceFiles.
pub(super) struct SequenceFile {
    values: Values,
    block: Option<Block>,
    marker: [u8; 16],
    /// Bytes of the file since its last mark, or since it began.
    since_sync: usize,
}

impl SequenceFile {
    /// Files with such values, in blocks if there is a codec.
    pub fn new(values: Values, codec: Option<HadoopCodec>) -> Self {
        Self { values, block: codec.map(Block::new), marker: [0; 16], since_sync: 0 }
    }

    fn sync(&mut self, out: &mut Vec<u8>) {
        put_mark(&self.marker, out);
        self.since_sync = 0;
    }

    fn append_record(&mut self, time: i64, body: &[u8], out: &mut Vec<u8>) {
        if self.since_sync >= SYNC_INTERVAL {
            self.sync(out);
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number(KEY_BYTES));
        out.extend_from_slice(&time.to_be_bytes());
        self.values.put(body, out);
        let content = out.len() - start - 8;
        out[start..start + 4].copy_from_slice(&number(content));
        self.since_sync += out.len() - start;
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        if let Some(block) = self.block.as_mut().filter(|block| block.records > 0) {
            put_mark(&self.marker, out);
            block.end(out);
        }
    }
}

impl Format for SequenceFile {
    fn begin(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.marker = new_marker();
        out.extend_from_slice(b"SEQ\x06");
        put_text("org.apache.hadoop.io.LongWritable", out);
        put_text(self.values.class_name(), out);
        match &mut self.block {
            None => out.extend_from_slice(&[0, 0]),
            Some(block) => {
                block.forget();
                out.extend_from_slice(&[1, 1]);
                put_text(&block.codec.class_name(), out);
            }
        }
        out.extend_from_slice(&number(0));
        out.extend_from_slice(&self.marker);
        self.since_sync = out.len() - start;
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        let time = time(event)?;
        if event.body.len() > BODY_MAX {
            return Err(AppendError::Refused(format!("the body is larger than {BODY_MAX} bytes")));
        }
        match &mut self.block {
            None => self.append_record(time, event.body, out),
            Some(block) => {
                if block.push(time, self.values, event.body) {
                    self.end_block(out);
                }
            }
        }
        Ok(())
    }

    fn flush_point(&mut self, out: &mut Vec<u8>) {
        if self.block.is_none() && self.since_sync > 0 {
            self.sync(out);
        }
        self.end(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.end_block(out);
        if let Some(block) = &mut self.block {
            block.rest();
        }
    }
}

/// Records that are compressed together.
struct Block {
    codec: HadoopCodec,
    compressor: Compressor,
    records: usize,
    key_lengths: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u8>,
    values: Vec<u8>,
    packed: Vec<u8>,
}

impl Block {
    fn new(codec: HadoopCodec) -> Self {
        Self {
            codec,
            compressor: Compressor::new(codec.codec, level(codec.codec)),
            records: 0,
            key_lengths: Vec::new(),
            keys: Vec::new(),
            value_lengths: Vec::new(),
            values: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Adds a record, and says whether the block is full.
    fn push(&mut self, time: i64, values: Values, body: &[u8]) -> bool {
        put_vint(KEY_BYTES, &mut self.key_lengths);
        self.keys.extend_from_slice(&time.to_be_bytes());
        let start = self.values.len();
        values.put(body, &mut self.values);
        put_vint(self.values.len() - start, &mut self.value_lengths);
        self.records += 1;
        self.keys.len() + self.values.len() >= BLOCK_BYTES
    }

    /// Appends what follows a block's mark.
    fn end(&mut self, out: &mut Vec<u8>) {
        put_vint(self.records, out);
        for part in [&self.key_lengths, &self.keys, &self.value_lengths, &self.values] {
            self.packed.clear();
            self.compressor.compress(part, &mut self.packed);
            put_vint(self.packed.len(), out);
            out.extend_from_slice(&self.packed);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.records = 0;
        for buffer in self.buffers() {
            buffer.clear();
        }
    }

    /// Gives back memory: it may be long until the next record.
    fn rest(&mut self) {
        self.compressor.rest();
        for buffer in self.buffers() {
            buffer.shrink_to(KEPT_BYTES);
        }
    }

    fn buffers(&mut self) -> [&mut Vec<u8>; 5] {
        [&mut self.key_lengths, &mut self.keys, &mut self.value_lengths, &mut self.values, &mut self.packed]
    }
}

fn put_mark(marker: &[u8; 16], out: &mut Vec<u8>) {
    out.extend_from_slice(&ESCAPE);
    out.extend_from_slice(marker);
}

/// A length that the limits keep far below 2 GiB.
fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn time(event: EventRef<'_>) -> Result<i64, AppendError> {
    match event.headers.get("timestamp") {
        Some(text) => text.parse().map_err(|_none| {
            AppendError::Refused(format!("the header timestamp, `{}`, is no number", short(text)))
        }),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
        }
    }
}

/// As much of a text as a line of a log should show.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
