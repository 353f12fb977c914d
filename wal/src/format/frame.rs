//! A frame: what one aligned durable write holds.
//!
//! ```text
//! byte 0       4           8         12        16        20         21       22       24
//!      +-------+-----------+---------+---------+---------+----------+--------+--------+---------------+
//!      | magic | header crc| body crc| stored  | raw len | encoding | flags  | key id | frame number  |
//!      | u32   | u32       | u32     | len u32 | u32     | u8       | u8     | u16    | u64           |
//!      +-------+-----------+---------+---------+---------+----------+--------+--------+---------------+
//!      24              32                 40            44                48                56        64
//!      ----------------+------------------+-------------+-----------------+-----------------+---------+
//!                      | first event      | event count | previous frame's| synced frame    | zero    | body …
//!                      | u64              | u32         | header crc u32  | u64             | 8 bytes | padding 0
//!      ----------------+------------------+-------------+-----------------+-----------------+---------+
//! ```
//!
//! `header crc` covers bytes 8..64, `body crc` the stored body; both are seeded with the segment's salt and number and the
//! frame's offset, so stale, misdirected or quoted bytes never verify. `stored len` is the body in the file, `raw len` the
//! body decoded, by the [`encoding`](super::codec) 0 (plain) or 1 (lz4); `key id` 0 is no encryption, and 1 that the stored body names its key.
//! The frame is padded with zeroes to the segment's alignment.
//!
//! `synced frame`: every frame up to that number was synced when this one was sealed. A reader that finds a frame bad knows
//! by the claims of others whether it was ever acked: that tells a torn tail from damage.
//!
//! A commit too large for one frame *spans* consecutive frames of one segment: their bodies, joined, are the record list.
//! Flags: 1 this frame is part of a span, 2 more frames of the span follow. All frames of a span have the span's first
//! event; the last one has its event count, the others 0.
//!
//! Behind a gap a reader must know whether a frame begins its span, for of a span that lacks its beginning nothing can be read.
//! Where nothing is compressed all frames of a span but the last have one length, and a gap shorter than that held none of
//! them. Where frames may be compressed their lengths say nothing, and flags do: 4 the first frame of its span, 8 a later one.

use super::FormatError;
use super::codec::Encoding;
use super::keys::OVERHEAD;
use super::segment::{FEATURE_ENCRYPTED, FEATURE_LZ4};
use super::wire::Input;
use crate::broken;
use crate::numbers::{FrameNumber, NUMBER_MAX, SegmentNumber};

/// Length of a frame's header.
pub const HEADER_LEN: usize = 64;
/// `FLFR` in the file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FLFR");
/// The frame is part of a commit that spans several.
pub const FLAG_SPAN: u8 = 1;
/// More frames of the span follow.
pub const FLAG_MORE: u8 = 2;
/// The first frame of its span, whose frames may be compressed.
pub const FLAG_FIRST: u8 = 4;
/// A later frame of such a span.
pub const FLAG_LATER: u8 = 8;

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Checksum of the stored body.
    pub body_crc: u32,
    /// Length of the body in the file.
    pub stored_len: u32,
    /// Length of the body.
    pub raw_len: u32,
    /// How it is stored.
    pub encoding: Encoding,
    /// Whether it stands in an envelope.
    pub encrypted: bool,
    /// [`FLAG_SPAN`], [`FLAG_MORE`], [`FLAG_FIRST`], [`FLAG_LATER`].
    pub flags: u8,
    /// The frame's number.
    pub frame: FrameNumber,
    /// Number of the first event in it, or of the next event if it has none.
    pub first_event: u64,
    /// How many events end in it.
    pub event_count: u32,
    /// Header checksum of the frame before it in the same life, 0 for the first.
    pub previous_crc: u32,
    /// All frames up to this one were synced when this frame was sealed.
    pub synced_frame: FrameNumber,
}

/// What both checksums are seeded with.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u32);

impl Seed {
    /// The seed for a frame at `offset` of a segment.
    pub fn new(salt: u64, segment: SegmentNumber, offset: u64) -> Self {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&salt.to_le_bytes());
        bytes[8..16].copy_from_slice(&segment.0.to_le_bytes());
        bytes[16..].copy_from_slice(&offset.to_le_bytes());
        Self(crc32fast::hash(&bytes))
    }

    /// Seeded checksum of `bytes`.
    pub fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

impl FrameHeader {
    /// Whether the frame is part of a span.
    pub fn is_span(&self) -> bool {
        self.flags & FLAG_SPAN != 0
    }

    /// Whether more frames of its span follow.
    pub fn has_more(&self) -> bool {
        self.flags & FLAG_MORE != 0
    }

    /// Whether the frame, part of a span, is its first one, where `gap` bytes before it hold no frame.
    pub fn begins_span(&self, gap: u64, alignment: u32) -> bool {
        match self.flags & (FLAG_FIRST | FLAG_LATER) {
            0 => gap < self.padded_len(alignment),
            flag => flag == FLAG_FIRST,
        }
    }

    /// Feature bits that a segment must have for it to stand there.
    pub fn features(&self) -> u32 {
        let lz4 = self.encoding == Encoding::Lz4 || self.flags & (FLAG_FIRST | FLAG_LATER) != 0;
        (if lz4 { FEATURE_LZ4 } else { 0 }) | if self.encrypted { FEATURE_ENCRYPTED } else { 0 }
    }

    /// Number of the event after its last.
    pub fn end_event(&self) -> u64 {
        self.first_event + u64::from(self.event_count)
    }

    /// Header and body length, rounded up to `alignment`.
    pub fn padded_len(&self, alignment: u32) -> u64 {
        (HEADER_LEN as u64 + u64::from(self.stored_len)).next_multiple_of(u64::from(alignment))
    }

    /// Seals `frame`, whose body of `stored_len` bytes stands behind the header's place: computes both checksums, writes
    /// the header, and returns its checksum, the next frame's `previous_crc`.
    pub fn seal(mut self, frame: &mut [u8], seed: Seed) -> u32 {
        let (head, body) = frame.split_at_mut(HEADER_LEN);
        self.body_crc = seed.crc(&body[..self.stored_len as usize]);
        head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..12].copy_from_slice(&self.body_crc.to_le_bytes());
        head[12..16].copy_from_slice(&self.stored_len.to_le_bytes());
        head[16..20].copy_from_slice(&self.raw_len.to_le_bytes());
        head[20] = self.encoding as u8;
        head[21] = self.flags;
        head[22..24].copy_from_slice(&u16::from(self.encrypted).to_le_bytes());
        head[24..32].copy_from_slice(&self.frame.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.first_event.to_le_bytes());
        head[40..44].copy_from_slice(&self.event_count.to_le_bytes());
        head[44..48].copy_from_slice(&self.previous_crc.to_le_bytes());
        head[48..56].copy_from_slice(&self.synced_frame.0.to_le_bytes());
        head[56..64].fill(0);
        let crc = seed.crc(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads and verifies a header; returns it with its checksum.
    pub fn decode(head: &[u8], seed: Seed) -> Result<(Self, u32), FormatError> {
        let mut input = Input::new(head);
        if input.u32()? != MAGIC {
            return Err(FormatError { what: "no frame header", at: 0 });
        }
        let crc = input.u32()?;
        let covered = head.get(8..HEADER_LEN).ok_or(FormatError { what: "cut short", at: 8 })?;
        if seed.crc(covered) != crc {
            return Err(FormatError { what: "frame header fails its checksum", at: 4 });
        }
        let body_crc = input.u32()?;
        let stored_len = input.u32()?;
        let raw_len = input.u32()?;
        let encoding = Encoding::of(input.u8()?);
        let flags = input.u8()?;
        let key_id = input.u16()?;
        let Some(encoding) = encoding.filter(|_| key_id <= 1) else {
            return Err(FormatError { what: "frame in an encoding that is not known", at: 20 });
        };
        let header = Self {
            body_crc,
            stored_len,
            raw_len,
            encoding,
            encrypted: key_id == 1,
            flags,
            frame: FrameNumber(input.u64()?),
            first_event: input.u64()?,
            event_count: input.u32()?,
            previous_crc: input.u32()?,
            synced_frame: FrameNumber(input.u64()?),
        };
        let encoded_len =
            if header.encrypted { stored_len.checked_sub(OVERHEAD as u32) } else { Some(stored_len) };
        let sound = encoded_len.is_some_and(|len| encoding.allows(len, raw_len))
            && is_known(flags)
            && header.synced_frame < header.frame
            && header.frame.0 <= NUMBER_MAX
            && header.first_event <= NUMBER_MAX
            && input.u64()? == 0;
        if !sound {
            return Err(FormatError { what: "frame header with impossible fields", at: 21 });
        }
        Ok((header, crc))
    }

    /// Whether `body` is what was sealed.
    pub fn verify(&self, body: &[u8], seed: Seed) -> bool {
        body.len() == self.stored_len as usize && (broken::ignores_a_crc() || seed.crc(body) == self.body_crc)
    }
}

fn is_known(flags: u8) -> bool {
    const OF_SPANS: u8 = FLAG_MORE | FLAG_FIRST | FLAG_LATER;
    flags == 0
        || flags & FLAG_SPAN != 0
            && flags & !(FLAG_SPAN | OF_SPANS) == 0
            && flags & (FLAG_FIRST | FLAG_LATER) != FLAG_FIRST | FLAG_LATER
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: fn() -> Seed = || Seed::new(77, SegmentNumber(5), 8192);

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN];
        frame.extend_from_slice(body);
        let header = FrameHeader {
            body_crc: 0,
            stored_len: body.len() as u32,
            raw_len: body.len() as u32,
            encoding: Encoding::Plain,
            encrypted: false,
            flags: FLAG_SPAN | FLAG_MORE,
            frame: FrameNumber(41),
            first_event: 1000,
            event_count: 3,
            previous_crc: 17,
            synced_frame: FrameNumber(38),
        };
        header.seal(&mut frame, SEED());
        frame
    }

    #[test]
    fn a_sealed_frame_reads_back() {
        let frame = sealed(b"body");
        let (header, _) = FrameHeader::decode(&frame, SEED()).unwrap();
        assert_eq!(
            (header.frame, header.end_event(), header.synced_frame),
            (FrameNumber(41), 1003, FrameNumber(38))
        );
        assert!(header.verify(b"body", SEED()) && header.is_span() && header.has_more());
    }

    #[test]
    fn a_frame_verifies_only_where_it_was_written() {
        let frame = sealed(b"body");
        for other in [
            Seed::new(78, SegmentNumber(5), 8192),
            Seed::new(77, SegmentNumber(6), 8192),
            Seed::new(77, SegmentNumber(5), 12288),
        ] {
            assert!(FrameHeader::decode(&frame, other).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let frame = sealed(b"the body");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let whole = FrameHeader::decode(&flipped, SEED())
                .is_ok_and(|(header, _)| header.verify(&flipped[HEADER_LEN..], SEED()));
            assert!(!whole, "bit {bit}");
        }
    }
}
