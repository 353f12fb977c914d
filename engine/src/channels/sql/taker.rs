//! Takes: rows, decoded into events.

use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::channel::{Receipt, SinkProgress, TakeError, TakeLimit, Taken, Taker};
use flumen_api::chunk::{Chunk, Events};

use super::super::progress;
use super::database::apply_in_memory;
use super::{Job, Shared};

/// One consumer of the channel.
pub(super) struct SqlTaker {
    shared: Arc<Shared>,
    /// The chunk that the last take ended within, by its first event: the next one need not read it again.
    last: Option<(u64, Chunk)>,
}

impl SqlTaker {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last: None }
    }

    /// Chunks that hold events from `first` on, with their first events' numbers.
    fn chunks(&mut self, first: u64, end: u64, bytes: usize) -> Result<Vec<(u64, Chunk)>, TakeError> {
        let channel = || self.shared.name.clone();
        let mut chunks = Vec::new();
        let (mut from, mut left) = (first, bytes);
        if let Some((begins, chunk)) = self.last.take()
            && (begins..begins + chunk.len() as u64).contains(&first)
        {
            from = begins + chunk.len() as u64;
            left = left.saturating_sub(chunk.data().len());
            chunks.push((begins, chunk));
        }
        if from >= end || (left == 0 && !chunks.is_empty()) {
            return Ok(chunks);
        }
        let rows = match &mut *self.shared.database.lock() {
            Some(database) => database.read(from, end, left),
            None => return Err(TakeError::Closed { channel: channel() }),
        };
        let place = &self.shared.place;
        let rows = rows.map_err(|error| TakeError::Failed {
            channel: channel(),
            reason: format!("cannot read {place}: {error}"),
        })?;
        for row in rows {
            let chunk = Chunk::decode(row.chunk).map_err(|error| error.to_string());
            let chunk = chunk.and_then(|chunk| match chunk.len() as u64 == row.events {
                true => Ok(chunk),
                false => Err(format!("a chunk of {} events in a row of {}", chunk.len(), row.events)),
            });
            match chunk {
                Ok(chunk) => chunks.push((row.first, chunk)),
                // What comes before it is good.
                Err(_) if !chunks.is_empty() => break,
                Err(why) => {
                    let reason = format!("{place}: flumen_puts, row {}: {why}", row.first);
                    return Err(TakeError::Damaged { channel: channel(), reason });
                }
            }
        }
        Ok(chunks)
    }
}

#[async_trait]
impl Taker for SqlTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        let shared = self.shared.clone();
        let most = limit.events.min(shared.limits.read().transaction_capacity).max(1) as u64;
        let (first, end) = {
            let mut state = shared.held.state.lock();
            if state.closed {
                return Err(TakeError::Closed { channel: shared.name.clone() });
            }
            let Some((first, until)) = state.runs.pop_first() else {
                shared.metrics.event_take_attempt.inc();
                return Ok(None);
            };
            let end = until.min(first + most);
            if end < until {
                state.runs.insert(end, until);
            }
            (first, end)
        };
        let give_back = |from: u64| {
            if from < end {
                shared.held.state.lock().waits(from, end);
                shared.arrived.notify_waiters();
            }
        };
        let chunks = self.chunks(first, end, limit.bytes).inspect_err(|_| give_back(first))?;
        let mut events = Events::new();
        let (mut next, mut bytes) = (first, limit.bytes);
        for (begins, chunk) in chunks {
            let chunk_end = begins + chunk.len() as u64;
            if next >= end || begins > next || (bytes == 0 && !events.is_empty()) {
                break;
            }
            // An event's share of the chunk's bytes, tables included.
            let event_bytes = (chunk.data().len() / chunk.len().max(1)).max(1);
            let fitting = (bytes / event_bytes).max(usize::from(events.is_empty())) as u64;
            let count = (chunk_end.min(end) - next).min(fitting);
            if count == 0 {
                break;
            }
            events.push(chunk.slice((next - begins) as usize, count as usize));
            bytes = bytes.saturating_sub(count as usize * event_bytes);
            next += count;
            if next < chunk_end {
                self.last = Some((begins, chunk));
                break;
            }
        }
        give_back(next.max(first));
        if events.is_empty() {
            let reason = format!("{}: no row holds event {first}", shared.place);
            return Err(TakeError::Damaged { channel: shared.name.clone(), reason });
        }
        shared.metrics.event_take_attempt.add(events.len() as u64);
        let receipt = SqlReceipt { shared, first, end: next };
        Ok(Some(Taken::new(events, first, Box::new(receipt))))
    }

    async fn ready(&mut self) {
        let mut arrived = std::pin::pin!(self.shared.arrived.notified());
        // From here on an arrival is noticed, so none can fall between the look and the wait.
        arrived.as_mut().enable();
        {
            let state = self.shared.held.state.lock();
            if state.closed || !state.runs.is_empty() {
                return;
            }
        }
        arrived.await;
    }
}

struct SqlReceipt {
    shared: Arc<Shared>,
    first: u64,
    end: u64,
}

impl Receipt for SqlReceipt {
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, sink: &str, progress: Vec<SinkProgress>) {
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        let mut released = vec![(self.first, self.end)];
        released.extend(rest.map(|receipt| (receipt.first, receipt.end)));
        let events = released.iter().map(|(first, end)| end - first).sum();
        let updates = progress::sink_updates(sink, progress);
        let mut state = self.shared.held.state.lock();
        updates.iter().for_each(|update| apply_in_memory(&mut state.owners, update));
        released.iter().for_each(|&(first, end)| state.delivered.add(first, end));
        // After the end nobody commits it: the events go out again.
        if !state.ended {
            self.shared.submit(&mut state, Job { row: None, updates, repeats: true, released, answer: None });
        }
        drop(state);
        self.shared.gate.released();
        self.shared.metrics.event_take_success.add(events);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        self.shared.held.state.lock().waits(self.first, self.end);
        self.shared.arrived.notify_waiters();
    }
}
