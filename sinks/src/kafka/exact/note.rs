//! What the channel keeps of transactions, as text and numbers.
//!
//! ```text
//! prepared  v1 <id, 16 hex digits> <topic whose partition 0 the offset is of>\n  u64 × events of the transaction
//! carried   v1 <id>\n                                                            u64 × events in Kafka and not released
//! ```
//!
//! Numbers are little-endian; an event is noted by its hash.

use flumen_api::channel::SinkProgress;
use flumen_api::event::EventRef;
use flumen_api::progress::Position;

pub(super) const PREPARED: &str = "kafka.prepared";
pub(super) const RELEASED: &str = "kafka.released";
pub(super) const CARRIED: &str = "kafka.carried";
/// More are not carried on: they would be there twice, if ever they came.
pub(super) const CARRIED_MAX: usize = 8000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub number: u64,
    pub content: String,
    pub topic: String,
    pub sent: Vec<u64>,
}

impl Prepared {
    pub fn progress(&self) -> SinkProgress {
        let Self { content, topic, sent, .. } = self;
        progress(PREPARED, self.number, encode(&format!("v1 {content} {topic}"), sent))
    }

    pub fn decode(position: &Position) -> Option<Self> {
        let (head, sent) = decode(&position.rest)?;
        let (content, topic) = head.strip_prefix("v1 ")?.split_once(' ')?;
        Some(Self { number: position.to, content: content.into(), topic: topic.into(), sent })
    }
}

/// A line of text, then numbers.
pub(super) fn encode(head: &str, hashes: &[u64]) -> Vec<u8> {
    let mut out = format!("{head}\n").into_bytes();
    hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<(&str, Vec<u64>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let hashes = bytes[end + 1..].chunks_exact(8);
    hashes.remainder().is_empty().then_some(())?;
    Some((head, hashes.filter_map(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))).collect()))
}

pub(super) fn carried(content: &str, hashes: &[u64]) -> SinkProgress {
    match hashes.is_empty() {
        true => SinkProgress { key: CARRIED.into(), position: None },
        false => progress(CARRIED, 0, encode(&format!("v1 {content}"), hashes)),
    }
}

pub(super) fn progress(key: &str, to: u64, rest: Vec<u8>) -> SinkProgress {
    let position = Position { generation: 1, began: 0, to, rest: rest.into() };
    SinkProgress { key: key.into(), position: Some(position) }
}

/// FNV-1a: the same in every life and version.
pub(super) fn hash(event: EventRef<'_>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(event.body);
    for (key, value) in event.headers.iter() {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::super::EVENTS_MAX;
    use super::*;

    #[test]
    fn what_is_prepared_is_read_as_it_was_written() {
        let prepared = Prepared {
            number: 7,
            content: "0123456789abcdef".into(),
            topic: "some-topic".into(),
            sent: (0..2 * EVENTS_MAX as u64).chain([u64::MAX]).collect(),
        };
        let position = prepared.progress().position.expect("a position");
        assert_eq!(position.to, 7);
        assert_eq!(Prepared::decode(&position), Some(prepared));
        for bad in ["", "v1 a t", "v2 a t\n", "v1 a\n", "v1 a t\n1234567"] {
            let rest = bad.as_bytes().to_vec().into();
            assert_eq!(Prepared::decode(&Position { generation: 1, began: 0, to: 1, rest }), None, "{bad}");
        }
    }

    #[test]
    fn the_fullest_notes_fit_into_what_a_channel_keeps_of_a_key() {
        let (content, topic) = ("0123456789abcdef".to_string(), "t".repeat(249));
        let prepared = Prepared { number: 1, content: content.clone(), topic, sent: vec![0; 2 * EVENTS_MAX] };
        for note in [prepared.progress(), carried(&content, &[0; CARRIED_MAX])] {
            assert!(note.position.expect("a position").rest.len() <= 64 << 10);
        }
        assert_eq!(carried(&content, &[]).position, None);
    }
}
