//! The checkpoint: the log's state as of a synced frame, derived, in two files that are written in turn.
//!
//! ```text
//! byte 0         8      12        14     16          24            28     32
//!      +---------+------+---------+------+-----------+-------------+------+---------------------------+
//!      | magic   | crc  | version | zero | sequence  | payload len | zero | payload (bincode 2)       |
//!      | 8 bytes | u32  | u16     | u16  | u64       | u32         | u32  |                           |
//!      +---------+------+---------+------+-----------+-------------+------+---------------------------+
//! ```
//!
//! `crc` covers bytes 12..32+len. `version` 1; 2 if the payload stands in an [envelope](super::keys), which vouches for the
//! sequence too. The file with the higher sequence that verifies counts; the other is overwritten next.
//! Without any checkpoint the log recovers from its newest snapshot. A checkpoint that is newer than the log's own files
//! proves that some of them are missing.

use super::FormatError;
use super::keys::{Key, Keys, MissingKey, OVERHEAD, Unopened};
use super::record::{SegmentSummary, Snapshot};
use super::wire::{Input, Output};
use crate::numbers::{FrameNumber, NUMBER_MAX, Place, SegmentNumber};
use crate::state::{Owner, ProgressValue, Space};

/// First bytes of a checkpoint file.
pub const MAGIC: [u8; 8] = *b"FLUMENCP";
/// The version of a plain payload.
pub const VERSION: u16 = 1;
/// The version of an encrypted one.
pub const VERSION_ENCRYPTED: u16 = 2;
/// Length of the part before the payload.
pub const HEADER_LEN: usize = 32;
/// The two files.
pub const FILE_NAMES: [&str; 2] = ["checkpoint-0", "checkpoint-1"];

/// A checkpoint's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the log that it belongs to.
    pub log_id: u128,
    /// All frames up to this one are synced; the state is the one behind it.
    pub frame: FrameNumber,
    /// Where the next frame begins.
    pub place: Place,
    /// The state, as a snapshot has it.
    pub snapshot: Snapshot,
}

/// Space and name of an owner, and its keys: name, generation, from, to, rest.
type OwnerFields = (u8, String, Vec<(String, u64, u64, u64, Vec<u8>)>);

/// The payload's shape. Field order is the format: bincode writes no names.
#[derive(bincode::Encode, bincode::Decode)]
struct Payload {
    log_id: u128,
    frame: u64,
    segment: u64,
    offset: u64,
    next_event: u64,
    cursor_low: u64,
    released_above: Vec<(u64, u64)>,
    owners: Vec<OwnerFields>,
    segments: Vec<[u64; 7]>,
}

/// bincode's settings; with it `LIMIT` bounds what a length in a payload can make it allocate.
fn config<const LIMIT: usize>() -> impl bincode::config::Config {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

impl Payload {
    /// Reads a payload; a wrong length in it makes bincode allocate some hundred times the payload's size at most. What
    /// bincode counts is the size in memory, about four times that in the file.
    fn read(bytes: &[u8]) -> Option<Self> {
        fn within<const LIMIT: usize>(bytes: &[u8]) -> Option<Payload> {
            // Why it does not decode says nothing that its reader could use: the checksum was right.
            bincode::decode_from_slice(bytes, config::<LIMIT>()).ok().map(|(payload, _)| payload)
        }
        let read: fn(&[u8]) -> Option<Self> = match bytes.len().checked_ilog2().unwrap_or(0) {
            0..12 => within::<0x1_0000>,
            12..16 => within::<0x10_0000>,
            16..20 => within::<0x100_0000>,
            20..24 => within::<0x1000_0000>,
            _ => within::<0x1_0000_0000>,
        };
        read(bytes)
    }
}

impl Checkpoint {
    /// The file's bytes, with the payload as it is.
    pub fn encode(&self, sequence: u64) -> Vec<u8> {
        file(VERSION, sequence, &self.payload())
    }

    /// The file's bytes, with the payload encrypted. `random` gives numbers that were never given before.
    pub fn encrypt(&self, sequence: u64, key: &Key, random: &mut dyn FnMut() -> u64) -> Vec<u8> {
        let payload = self.payload();
        let mut envelope = vec![0; payload.len() + OVERHEAD];
        key.seal(&payload, &sequence.to_le_bytes(), random, &mut envelope);
        file(VERSION_ENCRYPTED, sequence, &envelope)
    }

    fn payload(&self) -> Vec<u8> {
        let state = &self.snapshot.state;
        let payload = Payload {
            log_id: self.log_id,
            frame: self.frame.0,
            segment: self.place.segment.0,
            offset: self.place.offset,
            next_event: self.snapshot.next_event,
            cursor_low: state.cursor.low,
            released_above: state.cursor.above().collect(),
            owners: state
                .owners
                .iter()
                .map(|((space, name), owner)| {
                    let keys = owner.keys.iter();
                    let keys = keys.map(|(k, v)| (k.clone(), v.generation, v.from, v.to, v.rest.to_vec()));
                    (u8::from(*space == Space::Sink), name.to_string(), keys.collect())
                })
                .collect(),
            segments: self.snapshot.segments.iter().map(summary_to_array).collect(),
        };
        bincode::encode_to_vec(payload, config::<0x1_0000_0000>()).expect("encoding into memory")
    }

    /// Reads a file's bytes; returns the checkpoint with its sequence.
    pub fn decode(bytes: &[u8], keys: &Keys) -> Result<(Self, u64), CheckpointError> {
        let mut input = Input::new(bytes);
        if input.bytes(8)? != MAGIC {
            return Err(FormatError { what: "no checkpoint", at: 0 }.into());
        }
        let crc = input.u32()?;
        let version = input.u16()?;
        input.u16()?;
        let sequence = input.u64()?;
        let len = input.u32()? as usize;
        input.u32()?;
        let payload = input.bytes(len)?;
        if crc32fast::hash(&bytes[12..HEADER_LEN + len]) != crc {
            return Err(FormatError { what: "checkpoint fails its checksum", at: 8 }.into());
        }
        let bad = |what| FormatError { what, at: HEADER_LEN };
        let opened = match version {
            VERSION => None,
            VERSION_ENCRYPTED => match keys.open(payload, &sequence.to_le_bytes()) {
                Ok(opened) => Some(opened),
                Err(Unopened::Locked(missing)) => return Err(CheckpointError::Locked { sequence, missing }),
                Err(Unopened::Bad) => return Err(bad("checkpoint is not what its key encrypted").into()),
            },
            version => return Err(CheckpointError::Newer { version }),
        };
        let payload = opened.as_deref().unwrap_or(payload);
        let payload = Payload::read(payload).ok_or(bad("checkpoint payload does not decode"))?;
        // A start from a checkpoint gives the numbers behind its own, and the next start must be able to read those.
        if payload.frame.max(payload.segment).max(payload.next_event) > NUMBER_MAX / 2
            || payload.offset.max(sequence) > NUMBER_MAX
        {
            return Err(bad("checkpoint with impossible numbers").into());
        }
        if payload.segment == 0 && payload.offset != 0 {
            return Err(bad("checkpoint with a place in no segment").into());
        }
        let segments = payload.segments.iter().map(summary_from_array).collect();
        let mut snapshot =
            Snapshot::checked(payload.next_event, payload.cursor_low, payload.released_above, segments)
                .map_err(bad)?;
        for (space, name, keys) in payload.owners {
            let space = if space == 0 { Space::Source } else { Space::Sink };
            let keys = keys.into_iter().map(|(key, generation, from, to, rest)| {
                (key, ProgressValue { generation, from, to, rest: rest.into() })
            });
            snapshot.state.owners.insert((space, name.into()), Owner { keys: keys.collect() });
        }
        let checkpoint = Self {
            log_id: payload.log_id,
            frame: FrameNumber(payload.frame),
            place: Place { segment: SegmentNumber(payload.segment), offset: payload.offset },
            snapshot,
        };
        Ok((checkpoint, sequence))
    }
}

/// Why a checkpoint file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a checkpoint, or damaged: the log recovers without it.
    #[error(transparent)]
    Bad(#[from] FormatError),
    /// Written by a newer Flumen: the log is refused.
    #[error("checkpoint format version {version}; this program knows version {VERSION_ENCRYPTED}")]
    Newer {
        /// Its version.
        version: u16,
    },
    /// Its key is not given.
    #[error("{missing}")]
    Locked {
        /// The higher one of the two files counts.
        sequence: u64,
        /// Which key.
        missing: MissingKey,
    },
}

/// The file's bytes around a payload.
fn file(version: u16, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut covered = Vec::with_capacity(payload.len() + HEADER_LEN);
    covered.put_u16(version);
    covered.put_u16(0);
    covered.put_u64(sequence);
    covered.put_u32(u32::try_from(payload.len()).expect("checkpoint below 4 GiB"));
    covered.put_u32(0);
    covered.put(payload);
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32(crc32fast::hash(&covered));
    bytes.put(&covered);
    bytes
}

fn summary_to_array(s: &SegmentSummary) -> [u64; 7] {
    [s.segment.0, s.salt, s.first_frame.0, s.last_frame.0, s.first_event, s.end_event, s.end_offset]
}

fn summary_from_array(a: &[u64; 7]) -> SegmentSummary {
    SegmentSummary {
        segment: SegmentNumber(a[0]),
        salt: a[1],
        first_frame: FrameNumber(a[2]),
        last_frame: FrameNumber(a[3]),
        first_event: a[4],
        end_event: a[5],
        end_offset: a[6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut state = crate::state::State::default();
        state.apply_release(0, 4);
        state.apply_release(6, 7);
        let value = ProgressValue { generation: 2, from: 33, to: 99, rest: bytes::Bytes::from_static(b"/x") };
        let owner = Owner { keys: [("1:2".to_string(), value)].into() };
        state.owners.insert((Space::Sink, "k1".into()), owner);
        Checkpoint {
            log_id: 5,
            frame: FrameNumber(8),
            place: Place { segment: SegmentNumber(2), offset: 12288 },
            snapshot: Snapshot { next_event: 10, state, segments: vec![SegmentSummary::default()] },
        }
    }

    #[test]
    fn a_checkpoint_reads_back_with_its_sequence() {
        assert_eq!(decode(&checkpoint().encode(3)), Ok((checkpoint(), 3)));
    }

    fn decode(bytes: &[u8]) -> Result<(Checkpoint, u64), CheckpointError> {
        Checkpoint::decode(bytes, &Keys::default())
    }

    #[test]
    fn an_encrypted_checkpoint_needs_its_key() {
        let key = |byte| Key::new("k", &[byte; 16]).unwrap();
        let keys = |byte| Keys::new(vec![key(byte)], None).unwrap();
        let bytes = checkpoint().encrypt(3, &key(1), &mut || 5);
        assert!(!bytes.windows(2).any(|window| window == b"k1"), "the owner's name is not to be read");
        assert_eq!(Checkpoint::decode(&bytes, &keys(1)), Ok((checkpoint(), 3)));
        for given in [keys(2), Keys::default()] {
            let error = Checkpoint::decode(&bytes, &given);
            assert!(matches!(error, Err(CheckpointError::Locked { sequence: 3, .. })), "{error:?}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(Checkpoint::decode(&flipped, &keys(1)), Err(CheckpointError::Bad(_))),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn the_bytes_of_a_checkpoint_are_those_of_version_1() {
        // bincode has no maintainer: a change of its bytes must be noticed here, not by a user's start.
        let hex: String = checkpoint().encode(3).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(crc32fast::hash(hex.as_bytes()), PINNED, "{hex}");
    }

    const PINNED: u32 = 3_339_514_758;

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_noticed() {
        let bytes = checkpoint().encode(3);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
