//! A frame's body and what of it stands in the file.
//!
//! ```text
//!   writer:  body --compress--> encoded --encrypt--> stored bytes --checksum--> file    raw len: the body's, stored len: the file's
//!   reader:  file --checksum--> stored bytes --decrypt--> encoded --decompress-> body
//! ```
//!
//! | encoding | stored bytes |
//! | --- | --- |
//! | 0 plain | the body itself; both lengths are equal |
//! | 1 lz4 | one block of the LZ4 block format, which names no length; stored len < raw len ≤ [`RAW_LEN_MAX`] |
//!
//! Where the frame's key id is 1 the encoded bytes stand in an [envelope](super::keys), which names its key, and stored len is
//! [`OVERHEAD`] more than theirs. The envelope vouches also for raw len, encoding, flags, first event and event count: an event has
//! its number by them. What may change when a start writes the frame again is not among them.
//!
//! Only frames that carry events are compressed, and only where that saves a block of the file: snapshots, control frames and
//! small commits are stored plain whatever the option says. Each frame of a span is compressed on its own. All frames of a life with
//! a key are encrypted, for snapshots and control frames hold paths and positions.
//!
//! [`read`] is the one way from bytes of a file to a body. Both lengths are the header's, which has verified by then; they are
//! bounded before memory is taken for them all the same, for a sound checksum over nonsense must not make a reader fall. What
//! does not decompress to exactly its length is damage, and so is what its key does not open. What is encrypted by a key that is
//! not given is neither damaged nor torn: nobody may decide anything about it.

use std::borrow::Cow;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::FormatError;
use super::frame::{FrameHeader, HEADER_LEN, Seed};
use super::keys::{Key, Keys, MissingKey, OVERHEAD, Unopened};
use super::segment::FEATURE_LZ4;

/// Bytes of the largest body that is compressed, and that a reader decompresses: those of the largest frame.
pub const RAW_LEN_MAX: usize = 4 << 20;

/// How events are stored from now on; what is there stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// LZ4: a fraction of the bytes, for time of the thread that writes.
    Lz4,
}

impl Compression {
    /// Feature bits of a segment that may hold such frames.
    pub(crate) fn features(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Lz4 => FEATURE_LZ4,
        }
    }
}

/// How one frame's body is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// As it is.
    #[default]
    Plain = 0,
    /// One LZ4 block.
    Lz4 = 1,
}

impl Encoding {
    /// The encoding of this number, if there is one.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Whether a body of `raw_len` bytes may be stored in `stored_len`.
    pub(super) fn allows(self, stored_len: u32, raw_len: u32) -> bool {
        match self {
            Self::Plain => stored_len == raw_len,
            Self::Lz4 => stored_len < raw_len && raw_len as usize <= RAW_LEN_MAX,
        }
    }
}

/// What a writer has stored of a body.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// How.
    pub encoding: Encoding,
    /// Bytes in the file.
    pub len: usize,
    /// Bytes of the body.
    pub raw_len: usize,
}

impl Stored {
    /// A body as it is.
    pub fn plain(len: usize) -> Self {
        Self { encoding: Encoding::Plain, len, raw_len: len }
    }
}

/// Why a body cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Its bytes are not what was written.
    #[error(transparent)]
    Bad(#[from] FormatError),
    /// They are, and the key is not here.
    #[error("frame body: {0}")]
    Locked(MissingKey),
}

/// The body of a frame whose header has verified; `frame` are its bytes in the file, header included.
pub fn read<'a>(
    header: &FrameHeader,
    seed: Seed,
    frame: &'a [u8],
    keys: &Keys,
) -> Result<Cow<'a, [u8]>, Unread> {
    let stored = frame.get(HEADER_LEN..HEADER_LEN + header.stored_len as usize);
    let stored = stored.filter(|stored| header.verify(stored, seed));
    let stored = stored.ok_or(FormatError { what: "frame body fails its checksum", at: HEADER_LEN })?;
    let encoded = match header.encrypted {
        false => Cow::Borrowed(stored),
        true => match keys.open(stored, &context(header)) {
            Ok(encoded) => Cow::Owned(encoded),
            Err(Unopened::Locked(missing)) => return Err(Unread::Locked(missing)),
            Err(Unopened::Bad) => {
                let what = "frame body is not what its key encrypted";
                return Err(FormatError { what, at: HEADER_LEN }.into());
            }
        },
    };
    match header.encoding {
        Encoding::Plain => Ok(encoded),
        Encoding::Lz4 => Ok(decompress(&encoded, header.raw_len as usize).map(Cow::Owned)?),
    }
}

/// Puts an encoded body into the place that `out` has for it; `header` says the rest of the frame.
pub fn encrypt(
    key: &Key,
    header: &FrameHeader,
    encoded: &[u8],
    random: &mut dyn FnMut() -> u64,
    out: &mut [u8],
) {
    key.seal(encoded, &context(header), random, &mut out[..encoded.len() + OVERHEAD]);
}

/// What an envelope vouches for beside its content.
fn context(header: &FrameHeader) -> [u8; 18] {
    let mut context = [0; 18];
    context[..4].copy_from_slice(&header.raw_len.to_le_bytes());
    context[4] = header.encoding as u8;
    context[5] = header.flags;
    context[6..14].copy_from_slice(&header.first_event.to_le_bytes());
    context[14..].copy_from_slice(&header.event_count.to_le_bytes());
    context
}

fn decompress(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, FormatError> {
    let wrong = FormatError { what: "frame body does not decompress to its length", at: HEADER_LEN };
    if raw_len > RAW_LEN_MAX {
        return Err(wrong);
    }
    let mut body = vec![0; raw_len];
    match decompress_into(stored, &mut body) {
        Ok(len) if len == raw_len => Ok(body),
        Ok(_) | Err(_) => Err(wrong),
    }
}

/// Compresses bodies, one after another in the same memory.
pub struct Compressor {
    table: CompressTable,
    out: Vec<u8>,
}

impl Compressor {
    /// One that does what the option asks for; `None` if that is nothing.
    pub fn new(compression: Compression) -> Option<Self> {
        match compression {
            Compression::None => None,
            Compression::Lz4 => Some(Self { table: CompressTable::large(), out: Vec::new() }),
        }
    }

    /// What is to be stored in place of `body`; `None` if that would not save a block of `alignment` bytes.
    pub fn compress(&mut self, body: &[u8], alignment: usize) -> Option<&[u8]> {
        let blocks = |len: usize| (HEADER_LEN + len).div_ceil(alignment);
        // One block is the least that a frame costs.
        if blocks(body.len()) == 1 || body.len() > RAW_LEN_MAX {
            return None;
        }
        let most = get_maximum_output_size(body.len());
        if self.out.len() < most {
            self.out.resize(most, 0);
        }
        let len = compress_into_with_table(body, &mut self.out, &mut self.table).ok()?;
        (blocks(len) < blocks(body.len())).then(|| &self.out[..len])
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor({} bytes)", self.out.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::numbers::{FrameNumber, SegmentNumber};

    const BLOCK: usize = 4096;

    fn seed() -> Seed {
        Seed::new(77, SegmentNumber(5), 8192)
    }

    fn compressor() -> Compressor {
        Compressor::new(Compression::Lz4).unwrap()
    }

    /// A sealed frame of these stored bytes.
    fn frame(encoding: Encoding, stored: &[u8], raw_len: usize) -> Vec<u8> {
        let header = FrameHeader {
            body_crc: 0,
            stored_len: stored.len() as u32,
            raw_len: raw_len as u32,
            encoding,
            encrypted: false,
            flags: 0,
            frame: FrameNumber(41),
            first_event: 1000,
            event_count: 3,
            previous_crc: 17,
            synced_frame: FrameNumber(38),
        };
        let mut frame = [&[0; HEADER_LEN][..], stored].concat();
        header.seal(&mut frame, seed());
        frame
    }

    fn read_back(frame: &[u8]) -> Result<Vec<u8>, FormatError> {
        let (header, _) = FrameHeader::decode(frame, seed())?;
        match read(&header, seed(), frame, &Keys::default()) {
            Ok(body) => Ok(body.into_owned()),
            Err(Unread::Bad(error)) => Err(error),
            Err(Unread::Locked(missing)) => panic!("{missing}"),
        }
    }

    fn lines(bytes: usize) -> Vec<u8> {
        let line = |i| format!("10.0.{}.{} GET /item/{} 200\n", i % 7, i % 251, i * i % 10_007).into_bytes();
        (0..).flat_map(line).take(bytes).collect()
    }

    #[test]
    fn a_compressed_body_reads_back() {
        let body = lines(100_000);
        let mut compressor = compressor();
        let stored = compressor.compress(&body, BLOCK).expect("lines compress");
        assert!(stored.len() < body.len() / 2, "{}", stored.len());
        assert!(read_back(&frame(Encoding::Lz4, stored, body.len())) == Ok(body));
    }

    #[test]
    fn every_flipped_bit_of_a_compressed_frame_is_noticed() {
        let body = lines(9000);
        let mut compressor = compressor();
        let frame = frame(Encoding::Lz4, compressor.compress(&body, BLOCK).unwrap(), body.len());
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_back(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_saves_no_block_is_stored_plain() {
        let mut compressor = compressor();
        assert_eq!(compressor.compress(&lines(4000), BLOCK), None, "one block is the least");
        let noise: Vec<u8> =
            (0..20_000u32).map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        assert_eq!(compressor.compress(&noise, BLOCK), None);
        assert!(compressor.compress(&lines(20_000), BLOCK).is_some());
        assert_eq!(compressor.compress(&lines(20_000), 64 << 10), None, "in one large block");
        assert!(Compressor::new(Compression::None).is_none());
    }

    #[test]
    fn lengths_that_no_writer_writes_are_refused_before_memory_is_taken() {
        let wrong = |encoding, stored_len: usize, raw_len: usize| {
            read_back(&frame(encoding, &vec![0; stored_len], raw_len)).unwrap_err().what
        };
        assert_eq!(wrong(Encoding::Lz4, 100, RAW_LEN_MAX + 1), "frame header with impossible fields");
        assert_eq!(wrong(Encoding::Lz4, 100, u32::MAX as usize), "frame header with impossible fields");
        assert_eq!(wrong(Encoding::Lz4, 100, 100), "frame header with impossible fields");
        assert_eq!(wrong(Encoding::Plain, 100, 101), "frame header with impossible fields");
        let mut unknown = frame(Encoding::Lz4, &[0; 100], 200);
        unknown[20] = 2;
        let crc = seed().crc(&unknown[8..HEADER_LEN]);
        unknown[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_back(&unknown).unwrap_err().what, "frame in an encoding that is not known");
    }

    #[test]
    fn a_sound_checksum_over_what_does_not_decompress_is_an_error() {
        let body = lines(9000);
        let mut compressor = compressor();
        let stored = compressor.compress(&body, BLOCK).unwrap().to_vec();
        let wrong =
            |stored: &[u8], raw_len| read_back(&frame(Encoding::Lz4, stored, raw_len)).unwrap_err().what;
        let what = "frame body does not decompress to its length";
        assert_eq!(wrong(&stored, body.len() + 1), what, "it is longer");
        assert_eq!(wrong(&stored, body.len() - 1), what, "it is shorter");
        assert_eq!(wrong(&stored[..stored.len() - 1], body.len()), what, "its end is missing");
        assert_eq!(wrong(&[], body.len()), what, "it is empty");
        assert_eq!(wrong(&[0xff; 300], RAW_LEN_MAX), what, "it is nonsense");
    }

    fn encrypted(key: &Key, encoding: Encoding, encoded: &[u8], raw_len: usize) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN + encoded.len() + OVERHEAD];
        let header = FrameHeader {
            body_crc: 0,
            stored_len: (encoded.len() + OVERHEAD) as u32,
            raw_len: raw_len as u32,
            encoding,
            encrypted: true,
            flags: 0,
            frame: FrameNumber(41),
            first_event: 1000,
            event_count: 3,
            previous_crc: 17,
            synced_frame: FrameNumber(38),
        };
        let mut number = 0;
        let mut random = || {
            number += 1;
            number
        };
        encrypt(key, &header, encoded, &mut random, &mut frame[HEADER_LEN..]);
        header.seal(&mut frame, seed());
        frame
    }

    fn keys(byte: u8) -> Keys {
        Keys::new(vec![Key::new("k", &[byte; 32]).unwrap()], Some("k")).unwrap()
    }

    #[test]
    fn an_encrypted_body_reads_back_compressed_or_not() {
        let (keys, body) = (keys(1), lines(9000));
        let mut compressor = compressor();
        let block = compressor.compress(&body, BLOCK).unwrap();
        for (encoding, encoded) in [(Encoding::Plain, &body[..]), (Encoding::Lz4, block)] {
            let frame = encrypted(keys.active().unwrap(), encoding, encoded, body.len());
            let (header, _) = FrameHeader::decode(&frame, seed()).unwrap();
            assert_eq!(read(&header, seed(), &frame, &keys).map(Cow::into_owned), Ok(body.clone()));
        }
    }

    #[test]
    fn a_frame_whose_key_is_not_given_is_told_from_a_damaged_one() {
        let frame = encrypted(keys(1).active().unwrap(), Encoding::Plain, b"body", 4);
        let (header, _) = FrameHeader::decode(&frame, seed()).unwrap();
        for given in [Keys::default(), keys(2)] {
            assert!(matches!(read(&header, seed(), &frame, &given), Err(Unread::Locked(_))));
        }
        let mut torn = frame.clone();
        torn[HEADER_LEN + 40] ^= 1;
        for given in [Keys::default(), keys(1)] {
            assert!(matches!(read(&header, seed(), &torn, &given), Err(Unread::Bad(_))), "the crc is first");
        }
    }

    #[test]
    fn an_envelope_in_another_events_frame_does_not_open() {
        let frame = encrypted(keys(1).active().unwrap(), Encoding::Plain, b"body", 4);
        let (header, _) = FrameHeader::decode(&frame, seed()).unwrap();
        let moved = FrameHeader { first_event: 1001, ..header };
        let mut frame = frame.clone();
        moved.seal(&mut frame, seed());
        let (moved, _) = FrameHeader::decode(&frame, seed()).unwrap();
        assert!(matches!(read(&moved, seed(), &frame, &keys(1)), Err(Unread::Bad(_))));
        // A start that writes it again changes these.
        let again =
            FrameHeader { frame: FrameNumber(77), previous_crc: 3, synced_frame: FrameNumber(70), ..header };
        again.seal(&mut frame, seed());
        let (again, _) = FrameHeader::decode(&frame, seed()).unwrap();
        assert_eq!(read(&again, seed(), &frame, &keys(1)).as_deref(), Ok(&b"body"[..]));
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 1..3000usize).prop_map(|(byte, len)| vec![byte; len]);
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        let text = (0..9000usize).prop_map(lines);
        prop::collection::vec(prop_oneof![run, noise, text], 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_body_reads_back_and_is_no_longer_stored(bodies in prop::collection::vec(body(), 1..4)) {
            // One compressor for all: nothing of one body is left in the next.
            let mut compressor = compressor();
            for body in bodies {
                let Some(stored) = compressor.compress(&body, BLOCK) else { continue };
                prop_assert!(HEADER_LEN + stored.len() <= (HEADER_LEN + body.len()).next_multiple_of(BLOCK) - BLOCK);
                prop_assert!(read_back(&frame(Encoding::Lz4, stored, body.len())) == Ok(body));
            }
        }

        #[test]
        fn no_stored_bytes_make_a_reader_fall(stored in prop::collection::vec(any::<u8>(), 0..600), raw in 1..RAW_LEN_MAX) {
            let sealed = frame(Encoding::Lz4, &stored, raw.max(stored.len() + 1));
            if let Ok(body) = read_back(&sealed) {
                prop_assert_eq!(body.len(), raw.max(stored.len() + 1));
            }
        }
    }
}
