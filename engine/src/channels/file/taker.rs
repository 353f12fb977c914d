//! Takes: pieces of commits, decoded into events.

use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::channel::{Receipt, SinkProgress, TakeError, TakeLimit, Taken, Taker};
use flumen_api::chunk::{Chunk, Events};
use flumen_wal::{Cursor, Piece, ReadError};

use super::super::progress;
use super::Shared;

/// One consumer of a file channel.
pub(super) struct FileTaker {
    shared: Arc<Shared>,
    cursor: Cursor,
    /// The chunk that the last take ended within: the next one goes on there, and need not check it again. Holding it
    /// keeps its address from being used for another.
    last: Option<Chunk>,
}

impl FileTaker {
    pub fn new(shared: Arc<Shared>) -> Self {
        let cursor = shared.log.cursor();
        Self { shared, cursor, last: None }
    }

    fn chunk(&mut self, piece: &Piece) -> Result<Chunk, String> {
        let same = |chunk: &Chunk| {
            chunk.data().as_ptr() == piece.payload.as_ptr() && chunk.data().len() == piece.payload.len()
        };
        let chunk = match self.last.take().filter(same) {
            Some(chunk) => chunk,
            None => Chunk::decode(piece.payload.clone()).map_err(|error| error.to_string())?,
        };
        let end = piece.skip as usize + piece.events as usize;
        if end > chunk.len() {
            return Err(format!("a chunk of {} events where the log counts {end}", chunk.len()));
        }
        if end < chunk.len() {
            self.last = Some(chunk.clone());
        }
        Ok(chunk)
    }

    fn error(&self, error: ReadError) -> TakeError {
        let channel = self.shared.name.clone();
        match error {
            ReadError::Closed => TakeError::Closed { channel },
            ReadError::Damaged { .. } => {
                let reason = error.to_string();
                self.shared.stopped_at_damage(&reason);
                TakeError::Damaged { channel, reason }
            }
            _ => TakeError::Failed { channel, reason: error.to_string() },
        }
    }
}

#[async_trait]
impl Taker for FileTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        let metrics = &self.shared.metrics;
        if self.shared.is_closed() {
            return Err(TakeError::Closed { channel: self.shared.name.clone() });
        }
        let count = limit.events.min(self.shared.limits.read().transaction_capacity);
        let before = if self.shared.passes_damage { self.cursor.given_up_events() } else { 0 };
        let taken = self.cursor.try_take(count, limit.bytes).map_err(|error| {
            metrics.event_take_error.inc();
            self.error(error)
        })?;
        let after = if self.shared.passes_damage { self.cursor.given_up_events() } else { 0 };
        if taken.is_some() || after > before {
            self.shared.passed_damage(after - before);
        }
        let Some(take) = taken else {
            metrics.event_take_attempt.inc();
            return Ok(None);
        };
        let mut events = Events::new();
        for piece in &take.pieces {
            match self.chunk(piece) {
                Ok(chunk) => events.push(chunk.slice(piece.skip as usize, piece.events as usize)),
                Err(why) => {
                    // What came before is good; the rest goes back, and is the first of the next take.
                    let good = events.len() as u64;
                    self.cursor.rollback(take.first_event + good, take.events - good);
                    if good > 0 {
                        break;
                    }
                    self.shared.metrics.event_take_error.inc();
                    return Err(TakeError::Damaged {
                        channel: self.shared.name.clone(),
                        reason: format!(
                            "{}: event {}: {why}; look at it with `flumen wal dump`",
                            self.shared.data_path.display(),
                            take.first_event
                        ),
                    });
                }
            }
        }
        let events_taken = events.len() as u64;
        self.shared.metrics.event_take_attempt.add(events_taken);
        let receipt = FileReceipt {
            shared: self.shared.clone(),
            cursor: self.cursor.clone(),
            first_event: take.first_event,
            events: events_taken,
        };
        Ok(Some(Taken::new(events, take.first_event, Box::new(receipt))))
    }

    async fn ready(&mut self) {
        if !self.shared.is_closed() {
            self.cursor.ready().await;
        }
    }
}

struct FileReceipt {
    shared: Arc<Shared>,
    cursor: Cursor,
    first_event: u64,
    events: u64,
}

impl Receipt for FileReceipt {
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, sink: &str, progress: Vec<SinkProgress>) {
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        let mut ranges = vec![(self.first_event, self.events)];
        ranges.extend(rest.map(|receipt| (receipt.first_event, receipt.events)));
        let events = ranges.iter().map(|(_, events)| events).sum();
        self.cursor.release_all(ranges, progress::sink_updates(sink, progress));
        self.shared.gate.released();
        self.shared.metrics.event_take_success.add(events);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        self.cursor.rollback(self.first_event, self.events);
    }
}
