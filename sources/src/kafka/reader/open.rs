//! The batch that is being made: records in, events and each partition's progress out.

use std::time::Instant;

use flumen_api::batch::Batch;
use flumen_kafka::records::Record;

use super::part::Part;
use crate::kafka::place;
use crate::kafka::record::Shape;

/// The batch that is being made.
pub(super) struct Open {
    pub batch: Batch,
    /// Index of a part, by origin.
    parts: Vec<usize>,
    pub bytes: usize,
    pub since: Instant,
    /// The part of the last record: records of one come in a row.
    last: usize,
    pub unreadable: u64,
}

impl Open {
    pub fn new() -> Self {
        Self {
            batch: Batch::new(),
            parts: Vec::new(),
            bytes: 0,
            since: Instant::now(),
            last: 0,
            unreadable: 0,
        }
    }

    /// With room for what the one before had: of a topic the next batch is mostly as large.
    pub fn after(&self) -> Self {
        Self { batch: Batch::with_capacity(self.batch.len(), self.bytes), ..Self::new() }
    }

    /// Whether nothing is in it, not even progress.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes a record in.
    pub fn take(&mut self, record: &Record<'_>, parts: &mut [Part], shape: &Shape) {
        let (topic, number) = (record.topic(), record.partition());
        let is = |part: &Part| part.partition.1 == number && part.partition.0.as_bytes() == topic;
        if !parts.get(self.last).is_some_and(is) {
            match parts.iter().position(is) {
                Some(at) => self.last = at,
                // Of a partition that was given up meanwhile.
                None => return,
            }
        }
        if self.is_empty() {
            self.since = Instant::now();
        }
        let part = &mut parts[self.last];
        let offset = record.offset();
        if offset < part.read {
            if self.parts.contains(&self.last) || part.put != part.acked {
                // What is on its way has to land first; it is read again then.
                tracing::warn!("{}: offsets went back from {} to {offset}", part.key, part.read);
            }
            let anew = place::anew(Some(&part.position()), offset);
            *part = Part::new(part.partition.clone(), anew);
        }
        let origin = match self.parts.iter().position(|at| *at == self.last) {
            Some(origin) if self.batch.progress()[origin].generation == part.generation => origin as u32,
            _ => {
                self.parts.push(self.last);
                self.batch.add_progress(part.progress(part.put))
            }
        };
        part.read = offset + 1;
        self.batch.progress_mut()[origin as usize].to = part.read;
        match shape.event(record, &part.partition.0) {
            Ok((headers, body)) => {
                let set = self.batch.add_headers(headers);
                self.batch.push_with(body, set);
                self.batch.locate_last(origin, part.read);
                self.bytes += body.len();
            }
            Err(error) => {
                self.unreadable += 1;
                tracing::error!("{} offset {offset}: record left out: {error}", part.key);
            }
        }
    }
}
