//! A partition that is read: how far, and in which count.
//!
//! ```text
//!   offset   acked ............ put ............... read
//!            | in the channels | on the way         | in the batch that is being made
//! ```

use bytes::Bytes;
use flumen_api::progress::{Position, Progress};
use flumen_kafka::member::Partition;

use crate::kafka::place::{self, Place};

/// A partition that is read.
pub(super) struct Part {
    pub partition: Partition,
    /// Its progress key.
    pub key: String,
    pub generation: u64,
    /// The lineage, as the progress's rest.
    lineage: Bytes,
    /// The group does not know the lineage yet.
    pub is_news: bool,
    began: u64,
    pub read: u64,
    pub put: u64,
    pub acked: u64,
    pub committed: u64,
}

impl Part {
    pub fn new(partition: Partition, place: Place) -> Self {
        let Place { offset, generation, lineage, is_news } = place;
        Self {
            key: format!("{}:{}", partition.0, partition.1),
            partition,
            generation,
            lineage: lineage.into_bytes().into(),
            is_news,
            began: offset,
            read: offset,
            put: offset,
            acked: offset,
            committed: offset,
        }
    }

    pub fn position(&self) -> Position {
        Position {
            generation: self.generation,
            began: self.began,
            to: self.acked,
            rest: self.lineage.clone(),
        }
    }

    /// Of what comes behind `put`.
    pub fn progress(&self, to: u64) -> Progress {
        let (key, rest) = (self.key.clone(), self.lineage.clone());
        Progress { key, generation: self.generation, from: self.put, to, rest, retire: false }
    }

    pub fn metadata(&self) -> String {
        place::metadata(&String::from_utf8_lossy(&self.lineage))
    }
}

/// The one of them that is this, in this count.
pub(super) fn part<'p>(
    parts: &'p mut [Part],
    partition: &Partition,
    generation: u64,
) -> Option<&'p mut Part> {
    parts.iter_mut().find(|part| part.partition == *partition && part.generation == generation)
}
