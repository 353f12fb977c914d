//! A segment's header: block 0, and once more in block 1, for one bad sector must not lose the salt and with it the
//! segment.
//!
//! ```text
//! byte 0         8      12        14       16         20         24        40         48      56      64        128
//!      +---------+------+---------+--------+----------+----------+---------+----------+-------+-------+---------+
//!      | magic   | crc  | version | lane   | features | alignment| log id  | segment  | salt  | size  | keys    |
//!      | 8 bytes | u32  | u16     | u16    | u32      | u32      | 16 bytes| u64      | u64   | u64   | 64 bytes|
//!      +---------+------+---------+--------+----------+----------+---------+----------+-------+-------+---------+
//! ```
//!
//! `crc` covers bytes 12..128. `version` 1; a newer one, or a feature bit that is not known, refuses the whole log and
//! changes nothing. `features` bit 0: frames may be compressed by lz4; bit 1: frames may be encrypted. A segment has the bits
//! of what its life writes, and of all that was to be delivered when the life began: so an older program, which reads the newest
//! segment at its start, refuses the log there, and does not take what it cannot read for damage later. `lane` is 0: several data
//! directories are one to the log. `alignment` is that of all frames. `salt` is random and fresh at every use of the file: a
//! frame of an earlier use never verifies. `size` is the file's length when the segment was prepared. The copies are equal;
//! where both are intact and differ, the file is a spare that was being prepared.
//!
//! `keys`, all zero without bit 1: up to four of { key id 8 bytes, end event u64 }, for the keys by which events below that number
//! may be encrypted that are not delivered; 2^64 - 1 for the life's own. By the newest segment's a start knows of a missing key
//! before a take comes to what it encrypted. Of more than four the oldest are left out.

use super::FormatError;
use super::keys::KeyId;
use super::wire::{Input, Output};
use crate::numbers::SegmentNumber;

/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"FLUMENWL";
/// The only version there is.
pub const VERSION: u16 = 1;
/// Frames of the segment may be compressed by lz4.
pub const FEATURE_LZ4: u32 = 1;
/// Frames of the segment may be encrypted.
pub const FEATURE_ENCRYPTED: u32 = 2;
/// All feature bits that this program knows.
pub const FEATURES: u32 = FEATURE_LZ4 | FEATURE_ENCRYPTED;
/// How many keys a header names.
pub const KEYS_MAX: usize = 4;
/// Bytes of one copy that carry anything; the rest of its block is zero.
pub const HEADER_LEN: usize = 128;
/// Least alignment of frames: a page, and the largest sector of common devices.
pub const ALIGNMENT_MIN: usize = 4096;
/// Largest alignment that is believed.
pub const ALIGNMENT_MAX: usize = 65536;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What a reader must know: [`FEATURE_LZ4`], [`FEATURE_ENCRYPTED`].
    pub features: u32,
    /// Alignment of frames, in bytes.
    pub alignment: u32,
    /// Random, chosen when the log was created: the same in all its segments.
    pub log_id: u128,
    /// The segment's number, as in the file name.
    pub segment: SegmentNumber,
    /// Random, fresh at every use of the file.
    pub salt: u64,
    /// The file's length when the segment was prepared.
    pub size: u64,
    /// What undelivered events may be encrypted by.
    pub keys: KeyTable,
}

/// A key, and what it was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// The key's id; [`KeyId::NONE`] in a place that is free.
    pub id: KeyId,
    /// Only events below this number are encrypted by it; `u64::MAX` as long as that is not known.
    pub end_event: u64,
}

/// The keys that a header names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTable([KeyUse; KEYS_MAX]);

impl KeyTable {
    /// Those of `uses` with the highest ends.
    pub fn of(mut uses: Vec<KeyUse>) -> Self {
        uses.sort_by_key(|key| std::cmp::Reverse(key.end_event));
        let mut table = Self::default();
        table.0.iter_mut().zip(uses).for_each(|(place, key)| *place = key);
        table
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &KeyUse> {
        self.0.iter().filter(|key| key.id != KeyId::NONE)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Why a header copy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not a header, or damaged.
    #[error(transparent)]
    Bad(#[from] FormatError),
    /// Written by a newer Flumen: nothing may be changed.
    #[error(
        "format version {version} with features {features:#x}; this program knows version {VERSION} and features {FEATURES:#x}"
    )]
    Newer {
        /// Its version.
        version: u16,
        /// Its incompatible-feature bits.
        features: u32,
    },
}

impl SegmentHeader {
    /// Where frames begin.
    pub fn data_offset(&self) -> u64 {
        2 * u64::from(self.alignment)
    }

    /// Both copies, each padded to a block.
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(HEADER_LEN - 12);
        rest.put_u16(VERSION);
        rest.put_u16(0);
        rest.put_u32(self.features);
        rest.put_u32(self.alignment);
        rest.put(&self.log_id.to_le_bytes());
        rest.put_u64(self.segment.0);
        rest.put_u64(self.salt);
        rest.put_u64(self.size);
        for KeyUse { id, end_event } in &self.keys.0 {
            rest.put(&id.0);
            rest.put_u64(*end_event);
        }
        let mut block = Vec::with_capacity(2 * self.alignment as usize);
        block.put(&MAGIC);
        block.put_u32(crc32fast::hash(&rest));
        block.put(&rest);
        block.resize(self.alignment as usize, 0);
        block.extend_from_within(..);
        block
    }

    /// Reads one copy.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        let mut input = Input::new(block.get(..HEADER_LEN).unwrap_or(block));
        if input.bytes(8)? != MAGIC {
            return Err(FormatError { what: "no segment header", at: 0 }.into());
        }
        let crc = input.u32()?;
        let covered = block.get(12..HEADER_LEN).ok_or(FormatError { what: "cut short", at: 12 })?;
        if crc32fast::hash(covered) != crc {
            return Err(FormatError { what: "segment header fails its checksum", at: 8 }.into());
        }
        let version = input.u16()?;
        let lane = input.u16()?;
        let features = input.u32()?;
        if version != VERSION || features & !FEATURES != 0 {
            return Err(HeaderError::Newer { version, features });
        }
        let alignment = input.u32()?;
        let log_id = u128::from_le_bytes(input.bytes(16)?.try_into().expect("sixteen bytes"));
        let (segment, salt, size) = (SegmentNumber(input.u64()?), input.u64()?, input.u64()?);
        let mut keys = KeyTable::default();
        for place in &mut keys.0 {
            place.id = KeyId(input.bytes(8)?.try_into().expect("eight bytes"));
            place.end_event = input.u64()?;
        }
        let header = Self { features, alignment, log_id, segment, salt, size, keys };
        let sound = alignment.is_power_of_two()
            && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&(alignment as usize))
            && lane == 0
            && (features & FEATURE_ENCRYPTED != 0 || covered[64 - 12..].iter().all(|&b| b == 0));
        if !sound {
            return Err(FormatError { what: "segment header with impossible fields", at: 12 }.into());
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            features: FEATURE_LZ4,
            alignment: 4096,
            log_id: 7 << 100,
            segment: SegmentNumber(3),
            salt: 9,
            size: 1 << 25,
            keys: KeyTable::default(),
        }
    }

    #[test]
    fn a_header_names_the_keys_with_the_highest_ends_and_reads_back() {
        let uses = (1..=6).map(|n| KeyUse { id: KeyId([n; 8]), end_event: u64::from(n) * 10 });
        let keys = KeyTable::of(uses.collect());
        let header = SegmentHeader { features: FEATURE_ENCRYPTED, keys, ..header() };
        let ends: Vec<u64> = header.keys.iter().map(|key| key.end_event).collect();
        assert_eq!(ends, [60, 50, 40, 30]);
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let without_the_bit = SegmentHeader { features: 0, ..header };
        assert!(matches!(SegmentHeader::decode(&without_the_bit.encode()), Err(HeaderError::Bad(_))));
    }

    #[test]
    fn either_copy_of_a_header_is_enough() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), 8192);
        assert_eq!(SegmentHeader::decode(&bytes[..4096]), Ok(header()));
        assert_eq!(SegmentHeader::decode(&bytes[4096..]), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let bytes = header().encode();
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = bytes[..4096].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[12] = 2;
        let crc = crc32fast::hash(&bytes[12..HEADER_LEN]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&bytes),
            Err(HeaderError::Newer { version: 2, features: FEATURE_LZ4 })
        );
    }

    #[test]
    fn every_feature_that_is_not_known_is_refused_beside_those_that_are() {
        for bit in 0..32 {
            let header = SegmentHeader { features: FEATURE_LZ4 | 1 << bit, ..header() };
            let refused = Err(HeaderError::Newer { version: VERSION, features: header.features });
            let expected = if FEATURES & 1 << bit != 0 { Ok(header) } else { refused };
            assert_eq!(SegmentHeader::decode(&header.encode()), expected, "bit {bit}");
        }
    }
}
