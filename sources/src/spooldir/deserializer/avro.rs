//! `AVRO`: each datum of an Avro container file is an event, its bytes as they are; a header says which schema they have.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flumen_api::{Batch, Headers};
use flumen_avro::Schema;

use super::container::{Block, Container};
use super::{Deserializer, Events, Frame, Input, Trouble};

/// Most data of a file whose schema gives them no bytes: their number is all that there is of them, so that a file of a
/// few bytes could hold more than anybody can count.
const DATA_WITHOUT_BYTES_MAX: u64 = 1 << 20;

/// How the schema is named in the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SchemaHeader {
    /// `flume.avro.schema.hash`
    Hash,
    /// `flume.avro.schema.literal`
    Literal,
}

pub(super) struct Data {
    input: Input,
    container: Container,
    schema: Schema,
    header: (&'static str, String),
    /// The file's headers with the schema's, made once.
    headers: Option<(Arc<Headers>, Arc<Headers>)>,
    block: Option<Open>,
    /// Where the block after that begins, and how many data lie before it.
    next: (u64, u64),
    /// How many data are read.
    at: u64,
    /// A block that the tracker file was written for, and how many data lie before it: what is next is seldom far.
    marked: (u64, u64),
}

/// The block that is being read.
struct Open {
    frame: Block,
    /// How many data lie before the block.
    before: u64,
    data: Bytes,
    /// Where the datum number `at` begins.
    offset: usize,
}

impl Open {
    /// How many data lie before the next block.
    fn after(&self) -> u64 {
        self.before.saturating_add(self.frame.count)
    }
}

impl Data {
    pub fn open(input: Input, kind: SchemaHeader) -> Result<Self, Trouble> {
        let container = Container::open(&input)?;
        let text = container.meta("avro.schema").ok_or_else(|| Trouble::Bad("it has no schema".into()))?;
        let text = std::str::from_utf8(text).map_err(|_not| Trouble::Bad("its schema is no text".into()))?;
        let schema =
            Schema::parse(text).map_err(|why| Trouble::Bad(format!("its schema cannot be used: {why}")))?;
        let header = match kind {
            SchemaHeader::Hash => ("flume.avro.schema.hash", schema.fingerprint()),
            SchemaHeader::Literal => ("flume.avro.schema.literal", text.to_string()),
        };
        let next = (container.first_block, 0);
        Ok(Self { input, container, schema, header, headers: None, block: None, next, at: 0, marked: next })
    }

    /// Opens the block with the datum number `at`; `false` at the end of the file.
    fn open_block(&mut self) -> Result<bool, Trouble> {
        loop {
            let (at, before) = self.next;
            let Some(frame) = self.container.block(&self.input, at)? else {
                self.block = None;
                return Ok(false);
            };
            let after = before.saturating_add(frame.count);
            if self.schema.has_no_bytes() && after > DATA_WITHOUT_BYTES_MAX {
                return Err(Trouble::Bad(format!(
                    "its data have no bytes, and with the block at {at} it is said to have {after} of them;                      {DATA_WITHOUT_BYTES_MAX} are read at most"
                )));
            }
            if after > self.at {
                let data = self.container.data(&self.input, &frame)?;
                self.block = Some(Open { frame, before, data, offset: 0 });
                self.next = (frame.next, after);
                return self.skip(before).map(|()| true);
            }
            self.next = (frame.next, after);
        }
    }

    /// Goes to the datum number `at` of the open block, which begins with the number `first`.
    fn skip(&mut self, first: u64) -> Result<(), Trouble> {
        for number in first..self.at {
            self.datum(number)?;
        }
        Ok(())
    }

    /// The datum at the block's offset, which moves behind it.
    fn datum(&mut self, number: u64) -> Result<Range<usize>, Trouble> {
        let Some(block) = &mut self.block else { return Ok(0..0) };
        let start = block.offset;
        let length = self.schema.datum(&block.data[start..]).map_err(|why| {
            let at = block.frame.at;
            Trouble::Bad(format!(
                "datum {number} of the file, in the block at {at}, is not as its schema says: {why}"
            ))
        })?;
        block.offset = start + length;
        if number + 1 == block.after() && block.offset != block.data.len() {
            return Err(Trouble::Bad(format!(
                "the block at {} has more bytes than its data",
                block.frame.at
            )));
        }
        Ok(start..block.offset)
    }

    fn headers(&mut self, of_file: &Arc<Headers>) -> Arc<Headers> {
        match &self.headers {
            Some((from, made)) if Arc::ptr_eq(from, of_file) => made.clone(),
            _ => {
                let mut headers = Headers::clone(of_file);
                headers.set(self.header.0, &self.header.1);
                let made = Arc::new(headers);
                self.headers = Some((of_file.clone(), made.clone()));
                made
            }
        }
    }

    /// Where the block with the datum number `position` begins, or the end of the file.
    fn block_of(&mut self, position: u64) -> Result<u64, Trouble> {
        if self.marked.1 > position {
            self.marked = (self.container.first_block, 0);
        }
        while let Some(block) = self.container.block(&self.input, self.marked.0)? {
            let after = self.marked.1.saturating_add(block.count);
            if after > position {
                break;
            }
            self.marked = (block.next, after);
        }
        Ok(self.marked.0)
    }
}

impl Deserializer for Data {
    fn seek(&mut self, position: u64) -> Result<(), Trouble> {
        self.at = position;
        self.block = None;
        self.next = (self.container.first_block, 0);
        Ok(())
    }

    fn read(&mut self, limit: usize, frame: &Frame) -> Result<Batch, Trouble> {
        let is_read = self.block.as_ref().is_none_or(|block| self.at >= block.after());
        let frame = Frame { headers: self.headers(&frame.headers), progress: frame.progress.clone() };
        if is_read && !self.open_block()? {
            return Ok(Events::over(Bytes::new(), &frame).batch);
        }
        let Some(block) = &self.block else { return Ok(Events::over(Bytes::new(), &frame).batch) };
        let end = block.after();
        let mut events = Events::over(block.data.clone(), &frame);
        while events.len() < limit && self.at < end {
            match self.datum(self.at) {
                Ok(range) => {
                    self.at += 1;
                    events.slice(range.start, range.len(), self.at);
                }
                Err(trouble) if events.len() == 0 => return Err(trouble),
                Err(_again) => break,
            }
        }
        Ok(events.batch)
    }

    /// Flume's offset is that of the sync marker before the block that is read next.
    fn of_tracker(&mut self, offset: u64) -> Result<u64, Trouble> {
        let to = self.container.block_from(&self.input, offset)?;
        let (mut at, mut before) = (self.container.first_block, 0_u64);
        while at < to
            && let Some(block) = self.container.block(&self.input, at)?
        {
            before = before.saturating_add(block.count);
            at = block.next;
        }
        Ok(before)
    }

    fn to_tracker(&mut self, position: u64) -> Result<u64, Trouble> {
        Ok(self.block_of(position)?.saturating_sub(16))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_resumes, events, events_from, frame};
    use super::super::{Format, encode_container, encode_long};
    use super::*;

    const SCHEMA: &str =
        r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"s","type":"string"}]}"#;
    const SYNC: [u8; 16] = *b"0123456789abcdef";
    const HASH: Format = Format::Avro(SchemaHeader::Hash);

    fn datum(number: i64) -> Vec<u8> {
        let text = "x".repeat(number as usize % 7);
        [encode_long(number), encode_long(text.len() as i64), text.into_bytes()].concat()
    }

    /// Data 0 to 9 in blocks of 3, 4, none and 3.
    fn blocks(compress: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<(i64, Vec<u8>)> {
        let block = |numbers: Range<i64>| {
            (numbers.end - numbers.start, compress(numbers.map(datum).collect::<Vec<_>>().concat()))
        };
        vec![block(0..3), block(3..7), block(7..7), block(7..10)]
    }

    fn file(codec: &str, compress: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
        let meta = [("avro.schema", SCHEMA.as_bytes()), ("avro.codec", codec.as_bytes())];
        encode_container(&meta, SYNC, &blocks(compress))
    }

    fn snappy(data: Vec<u8>) -> Vec<u8> {
        let compressed = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        [compressed, crc32fast::hash(&data).to_be_bytes().to_vec()].concat()
    }

    #[test]
    fn each_datum_is_an_event_whatever_the_codec_and_can_be_gone_on_behind() {
        let deflate = |data: Vec<u8>| miniz_oxide::deflate::compress_to_vec(&data, 6);
        for bytes in [file("null", |data| data), file("deflate", deflate), file("snappy", snappy)] {
            let expected: Vec<_> = (0..10).map(|number| (number as u64 + 1, datum(number))).collect();
            assert_eq!(events(HASH, &bytes), expected);
            assert_resumes(HASH, &bytes);
        }
    }

    fn open(bytes: &[u8], kind: SchemaHeader) -> Data {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Data::open(Input::new("test".into(), file, bytes.len() as u64), kind).unwrap()
    }

    #[test]
    fn the_schema_is_in_the_headers_beside_the_files() {
        let bytes = file("null", |data| data);
        let mut frame = frame(0);
        Arc::make_mut(&mut frame.headers).set("file", "/x");
        let header = |kind, key| {
            let batch = open(&bytes, kind).read(1, &frame).unwrap();
            let headers = batch.event(0).headers;
            assert_eq!(headers.get("file"), Some("/x"));
            headers.get(key).unwrap().to_string()
        };
        assert_eq!(header(SchemaHeader::Literal, "flume.avro.schema.literal"), SCHEMA);
        let hash = Schema::parse(SCHEMA).unwrap().fingerprint();
        assert_eq!(header(SchemaHeader::Hash, "flume.avro.schema.hash"), hash);
    }

    #[test]
    fn flumes_offset_is_the_marker_before_the_block() {
        let bytes = file("null", |data| data);
        let mut data = open(&bytes, SchemaHeader::Hash);
        let markers: Vec<u64> =
            (0..bytes.len() - 15).filter(|at| bytes[*at..].starts_with(&SYNC)).map(|at| at as u64).collect();
        assert_eq!(markers.len(), 5);
        for (position, marker) in [(0, 0), (2, 0), (3, 1), (6, 1), (7, 3), (9, 3), (10, 4)] {
            assert_eq!(data.to_tracker(position).unwrap(), markers[marker], "{position}");
        }
        for (offset, position) in
            [(0, 0), (markers[0], 0), (markers[0] + 1, 3), (markers[1], 3), (markers[4], 10)]
        {
            assert_eq!(data.of_tracker(offset).unwrap(), position, "{offset}");
        }
    }

    #[test]
    fn data_without_bytes_are_events_up_to_a_number_and_beyond_the_file_is_refused() {
        let file = |counts: &[u64]| {
            let blocks: Vec<_> = counts.iter().map(|count| (*count as i64, Vec::new())).collect();
            encode_container(&[("avro.schema", br#""null""#)], SYNC, &blocks)
        };
        assert_eq!(events(HASH, &file(&[2, 3])).len(), 5);
        for counts in [&[1 << 62][..], &[4, DATA_WITHOUT_BYTES_MAX - 3]] {
            let (before, why) = events_from(HASH, &file(counts), 0, 100).unwrap_err();
            assert_eq!(before.len(), if counts.len() == 1 { 0 } else { 4 });
            assert!(why.contains("no bytes"), "{why}");
        }
        // With bytes, the number is told by them.
        let (before, why) = events_from(HASH, &lying(), 0, 100).unwrap_err();
        assert!(before.len() == 3 && why.contains("too early"), "{why}");
    }

    /// A block of three data that says it has any number of them.
    fn lying() -> Vec<u8> {
        let data: Vec<u8> = (0..3).flat_map(datum).collect();
        encode_container(&[("avro.schema", SCHEMA.as_bytes())], SYNC, &[(1 << 62, data)])
    }

    #[test]
    fn what_is_no_container_file_or_is_broken_says_where_and_what_came_before_is_kept() {
        let bytes = file("null", |data| data);
        let broken = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            events_from(HASH, &bytes, 0, 100).unwrap_err()
        };
        let of = |bytes: &[u8]| events_from(HASH, bytes, 0, 100).unwrap_err();
        assert!(of(b"").1.contains("no Avro container file"));
        assert!(of(b"plain text").1.contains("no Avro container file"));
        assert!(of(&bytes[..40]).1.contains("ends within the header"));
        assert!(of(&file("zstandard", |data| data)).1.contains("codec"));
        let (before, why) = of(&bytes[..bytes.len() - 1]);
        assert!(before.len() == 7 && why.contains("ends within the block"), "{why}");
        let (before, why) = broken(bytes.len() - 1, b'!');
        assert!(before.len() == 7 && why.contains("sync marker"), "{why}");
        // The last datum says that its text is longer than the block.
        let last = bytes.len() - 16 - datum(9).len() + 1;
        let (before, why) = broken(last, 100);
        assert!(before.len() == 9 && why.contains("datum 9"), "{why}");
        let (_, why) = of(&file("deflate", |data| data));
        assert!(why.contains("cannot be decompressed"), "{why}");
        let wrong_sum = |data: Vec<u8>| {
            let mut data = snappy(data);
            *data.last_mut().unwrap() ^= 1;
            data
        };
        assert!(of(&file("snappy", wrong_sum)).1.contains("checksum"));
    }
}
