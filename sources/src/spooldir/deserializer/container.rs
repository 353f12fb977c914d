//! The framing of an Avro container file.
//!
//! ```text
//!   header   "Obj" 1 | map: avro.schema, avro.codec, … | sync (16 bytes)
//!   block    count of data | bytes of data | the data, compressed | sync          … to the end of the file
//! ```
//!
//! Numbers are zigzag varints. Every size is checked against the file, and against limits, before anything is read by it.

use bytes::Bytes;
use flumen_avro::long;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use super::{Input, Trouble};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: u64 = 16;
/// The longest header: schemas have some kilobytes.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// The longest block, as it is in the file and decompressed. Writers end blocks at some megabytes, or with one datum.
const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// Two numbers at most.
const BLOCK_HEAD_BYTES: u64 = 20;

/// A container file whose header was read.
#[derive(Debug)]
pub(in super::super) struct Container {
    meta: Vec<(String, Vec<u8>)>,
    codec: Codec,
    sync: [u8; SYNC_BYTES as usize],
    /// Where the first block begins.
    pub first_block: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
}

enum Refused {
    TooLarge,
    Broken(&'static str),
}

impl Codec {
    /// The data, unless they are more than `most` bytes, which is known before memory is taken for them.
    fn decompress(self, bytes: Bytes, most: u64) -> Result<Bytes, Refused> {
        let broken = Refused::Broken("cannot be decompressed");
        match self {
            Self::Null => Ok(bytes),
            Self::Deflate => match decompress_to_vec_with_limit(&bytes, most as usize) {
                Ok(data) => Ok(data.into()),
                Err(error) if error.status == TINFLStatus::HasMoreOutput => Err(Refused::TooLarge),
                Err(_broken) => Err(broken),
            },
            // The checksum of the decompressed data stands behind them.
            Self::Snappy => {
                let Some((data, crc)) = bytes.split_last_chunk::<4>() else { return Err(broken) };
                match snap::raw::decompress_len(data) {
                    Err(_broken) => return Err(broken),
                    Ok(length) if length as u64 > most => return Err(Refused::TooLarge),
                    Ok(_) => {}
                }
                let Ok(data) = snap::raw::Decoder::new().decompress_vec(data) else { return Err(broken) };
                match crc32fast::hash(&data) == u32::from_be_bytes(*crc) {
                    true => Ok(data.into()),
                    false => Err(Refused::Broken("have another checksum")),
                }
            }
        }
    }
}

/// One block's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Block {
    /// Where it begins.
    pub at: u64,
    /// How many data it holds.
    pub count: u64,
    data_at: u64,
    data_bytes: u64,
    /// Where the next one begins.
    pub next: u64,
}

/// What a parser lacks.
enum Lack {
    /// Bytes, if there are more.
    Bytes,
    /// Sense.
    Sense(&'static str),
}

/// A slice that is read from its front.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Lack> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Lack::Bytes)?;
        self.0 = rest;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64, Lack> {
        match long(self.0) {
            Some((number, length)) => {
                self.0 = &self.0[length..];
                Ok(number)
            }
            None if self.0.len() < 10 => Err(Lack::Bytes),
            None => Err(Lack::Sense("a number of more than 64 bits")),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Lack> {
        let length = usize::try_from(self.long()?).map_err(|_negative| Lack::Sense("a negative length"))?;
        if length as u64 > HEADER_BYTES_MAX {
            return Err(Lack::Sense("a header of more than 16 MiB"));
        }
        self.take(length)
    }
}

fn put_long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl Container {
    /// Reads the header.
    pub fn open(input: &Input) -> Result<Self, Trouble> {
        let mut most = 64 << 10;
        loop {
            let bytes = input.read(0, most)?;
            match Self::parse(&bytes) {
                Ok(container) => return Ok(container),
                Err(Lack::Bytes) if (bytes.len() as u64) < input.len() && most < HEADER_BYTES_MAX => {
                    most *= 4
                }
                Err(Lack::Bytes) => return Err(bad("it ends within the header of an Avro container file")),
                Err(Lack::Sense(what)) => return Err(bad(format!("it is no Avro container file: {what}"))),
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Lack> {
        let mut cursor = Cursor(bytes);
        let begins = bytes.len().min(MAGIC.len());
        if bytes[..begins] != MAGIC[..begins] || bytes.is_empty() {
            return Err(Lack::Sense("it does not begin as one"));
        }
        cursor.take(MAGIC.len())?;
        let mut meta = Vec::new();
        loop {
            let mut count = cursor.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                cursor.long()?;
                count = count.checked_neg().ok_or(Lack::Sense("a count out of range"))?;
            }
            for _ in 0..count {
                let name = cursor.bytes()?;
                let name = std::str::from_utf8(name).map_err(|_not| Lack::Sense("a key that is no text"))?;
                let value = cursor.bytes()?;
                meta.push((name.to_string(), value.to_vec()));
            }
        }
        let mut sync = [0; SYNC_BYTES as usize];
        sync.copy_from_slice(cursor.take(SYNC_BYTES as usize)?);
        let first_block = (bytes.len() - cursor.0.len()) as u64;
        let mut container = Self { meta, codec: Codec::Null, sync, first_block };
        container.codec = match container.meta("avro.codec").unwrap_or(b"null") {
            b"null" | b"" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            _ => return Err(Lack::Sense("its codec is none of null, deflate and snappy")),
        };
        Ok(container)
    }

    /// A value of the header.
    pub fn meta(&self, key: &str) -> Option<&[u8]> {
        self.meta.iter().find(|(name, _)| name == key).map(|(_, value)| &value[..])
    }

    /// The frame of the block that begins at `at`; `None` at the end of the file.
    pub fn block(&self, input: &Input, at: u64) -> Result<Option<Block>, Trouble> {
        if at >= input.len() {
            return Ok(None);
        }
        let head = input.read(at, BLOCK_HEAD_BYTES)?;
        let mut cursor = Cursor(&head);
        let numbers = cursor.long().and_then(|count| Ok((count, cursor.long()?)));
        let (count, data_bytes) = match numbers {
            Ok((count, bytes)) => (u64::try_from(count).ok(), u64::try_from(bytes).ok()),
            Err(Lack::Bytes) => return Err(bad(format!("it ends within the block at {at}"))),
            Err(Lack::Sense(what)) => return Err(bad(format!("the block at {at} begins with {what}"))),
        };
        let (Some(count), Some(data_bytes)) = (count, data_bytes) else {
            return Err(bad(format!("the block at {at} has a negative size")));
        };
        if data_bytes > BLOCK_BYTES_MAX {
            return Err(too_large(at));
        }
        let data_at = at + (head.len() - cursor.0.len()) as u64;
        let next = data_at + data_bytes + SYNC_BYTES;
        if next > input.len() {
            return Err(bad(format!("it ends within the block at {at}")));
        }
        if input.read(data_at + data_bytes, SYNC_BYTES)? != self.sync[..] {
            return Err(bad(format!("the block at {at} does not end with the file's sync marker")));
        }
        Ok(Some(Block { at, count, data_at, data_bytes, next }))
    }

    /// The block's data, decompressed.
    pub fn data(&self, input: &Input, block: &Block) -> Result<Bytes, Trouble> {
        let bytes = input.read(block.data_at, block.data_bytes)?;
        self.codec.decompress(bytes, BLOCK_BYTES_MAX).map_err(|why| match why {
            Refused::TooLarge => too_large(block.at),
            Refused::Broken(what) => bad(format!("the data of the block at {} {what}", block.at)),
        })
    }

    /// Where the first block begins whose sync marker before it is at `offset` or later: so Avro's `sync` goes on.
    pub fn block_from(&self, input: &Input, offset: u64) -> Result<u64, Trouble> {
        let mut at = self.first_block;
        while at < offset.saturating_add(SYNC_BYTES) {
            match self.block(input, at)? {
                Some(block) => at = block.next,
                None => break,
            }
        }
        Ok(at)
    }
}

/// A container file of blocks, each so many data that have these bytes, compressed as `meta` says.
pub(in super::super) fn encode_container(
    meta: &[(&str, &[u8])],
    sync: [u8; 16],
    blocks: &[(i64, Vec<u8>)],
) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_long(meta.len() as i64, &mut out);
    for (key, value) in meta {
        for part in [key.as_bytes(), value] {
            put_long(part.len() as i64, &mut out);
            out.extend_from_slice(part);
        }
    }
    put_long(0, &mut out);
    out.extend_from_slice(&sync);
    for (count, data) in blocks {
        put_long(*count, &mut out);
        put_long(data.len() as i64, &mut out);
        out.extend_from_slice(data);
        out.extend_from_slice(&sync);
    }
    out
}

/// A number as an Avro `long`.
pub(in super::super) fn encode_long(number: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_long(number, &mut out);
    out
}

fn bad(why: impl Into<String>) -> Trouble {
    Trouble::Bad(why.into())
}

fn too_large(at: u64) -> Trouble {
    bad(format!("the block at {at} has more than {} MiB", BLOCK_BYTES_MAX >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_block_that_would_grow_beyond_the_limit_is_refused() {
        let data = vec![0; 5000];
        let deflated: Bytes = miniz_oxide::deflate::compress_to_vec(&data, 6).into();
        let sum = crc32fast::hash(&data).to_be_bytes().to_vec();
        let snappy: Bytes = [snap::raw::Encoder::new().compress_vec(&data).unwrap(), sum].concat().into();
        for (codec, bytes) in [(Codec::Deflate, deflated), (Codec::Snappy, snappy)] {
            assert!(bytes.len() < 500);
            assert!(matches!(codec.decompress(bytes.clone(), 4999), Err(Refused::TooLarge)), "{codec:?}");
            assert!(codec.decompress(bytes, 5000).is_ok_and(|found| found == data), "{codec:?}");
        }
    }

    #[test]
    fn numbers_survive_their_bytes() {
        for number in [0, 1, -1, 63, -64, 64, 1 << 40, i64::MAX, i64::MIN] {
            let bytes = encode_long(number);
            assert_eq!(long(&bytes), Some((number, bytes.len())));
        }
    }
}
