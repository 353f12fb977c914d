//! One member of the channel's group, for one sink or sink group.
//!
//! ```text
//!   partition   … | released | out | out | released | out | not read yet
//!                            ^ the group's offset: the first that is out
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::batch::Batch;
use flumen_api::channel::{Receipt, SinkProgress, TakeError, TakeLimit, Taken, Taker};
use flumen_api::chunk::{Chunk, ChunkWriter, Events};
use flumen_api::event::Headers;
use flumen_kafka::datum;
use flumen_kafka::member::{Change, Member, Partition};
use flumen_kafka::producer::KEY;
use flumen_kafka::rdkafka::Message;
use flumen_kafka::rdkafka::message::BorrowedMessage;
use flumen_kafka::zookeeper::OldOffsets;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;

/// See the [module](self).
pub(super) struct KafkaTaker {
    shared: Arc<Shared>,
    arrived: Arc<Notify>,
    /// Joins the group with the first take.
    side: Option<Arc<Side>>,
}

/// What receipts share with their taker.
struct Side {
    member: Member,
    arrived: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: BTreeMap<i32, Part>,
    /// Rolled back, by the first one's number.
    back: BTreeMap<u64, Piece>,
    /// Counts changes of the group: what was taken before one is not released behind it.
    epoch: u64,
}

#[derive(Default)]
struct Part {
    read: u64,
    out: BTreeSet<u64>,
    committed: u64,
}

impl Part {
    fn position(&self) -> u64 {
        self.out.first().copied().unwrap_or(self.read)
    }
}

/// Events that were taken together.
struct Piece {
    first: u64,
    chunk: Chunk,
    skip: usize,
    count: usize,
    /// Partition and offset of each of the chunk's events.
    places: Arc<[(i32, u64)]>,
    epoch: u64,
}

impl Side {
    /// Tells the group how far it is.
    fn commit(&self, state: &mut State, topic: &str, wait: bool) {
        if self.member.has_failed_to_commit() {
            state.parts.values_mut().for_each(|part| part.committed = 0);
        }
        let news: Vec<(Partition, u64)> = state
            .parts
            .iter()
            .filter(|(_, part)| part.position() > part.committed)
            .map(|(partition, part)| ((topic.to_string(), *partition), part.position()))
            .collect();
        let places = news.iter().map(|(partition, offset)| (partition, *offset, String::new()));
        if let Err(why) = self.member.commit(places, wait) {
            tracing::warn!(%topic, "offsets were not committed: {why}");
            return;
        }
        for ((_, partition), offset) in news {
            if let Some(part) = state.parts.get_mut(&partition) {
                part.committed = offset;
            }
        }
    }
}

impl KafkaTaker {
    pub fn new(shared: Arc<Shared>, arrived: Arc<Notify>) -> Self {
        Self { shared, arrived, side: None }
    }

    fn failed(&self, reason: String) -> TakeError {
        self.shared.metrics.event_take_error.inc();
        TakeError::Failed { channel: self.shared.name.clone(), reason }
    }

    fn side(&mut self) -> Result<Arc<Side>, TakeError> {
        if let Some(side) = &self.side {
            return Ok(side.clone());
        }
        let mut member = Member::new(&self.shared.setup.consumer).map_err(|why| self.failed(why))?;
        let arrived = self.arrived.clone();
        member.on_arrival(move || arrived.notify_one());
        member.subscribe(std::slice::from_ref(&self.shared.setup.topic)).map_err(|why| self.failed(why))?;
        let side = Arc::new(Side { member, arrived: self.arrived.clone(), state: Mutex::default() });
        Ok(self.side.insert(side).clone())
    }

    /// Does what the group wants.
    fn change(&self, side: &Side, state: &mut State) -> Result<(), String> {
        let (topic, member) = (&self.shared.setup.topic, &side.member);
        let Some(change) = member.first_change() else { return Ok(()) };
        match &change {
            Change::Lost(lost) => {
                side.commit(state, topic, true);
                lost.iter().for_each(|(_, partition)| drop(state.parts.remove(partition)));
                // Whoever has the partitions next reads from the first that was out.
                state.back.clear();
                state.epoch += 1;
                member.give_up(lost)?;
            }
            Change::Gained(gained) => {
                let mut places = Vec::with_capacity(gained.len());
                let setup = &self.shared.setup;
                let mut old = OldOffsets::new(setup.zookeeper.as_deref(), &setup.group);
                for (partition, committed) in gained.iter().zip(member.committed(gained)?) {
                    let committed = match committed {
                        Some((offset, _)) => Some(offset),
                        None => old.of(partition)?,
                    };
                    let offset = match committed {
                        Some(offset) => offset,
                        None => {
                            let (first, next) = member.bounds(partition)?;
                            if setup.from_earliest { first } else { next }
                        }
                    };
                    let part = Part { read: offset, out: BTreeSet::new(), committed: 0 };
                    state.parts.insert(partition.1, part);
                    places.push((partition.clone(), offset));
                }
                member.take(&places)?;
                // Where it began is where it goes on, also if nothing is released.
                side.commit(state, topic, false);
            }
        }
        member.answered();
        Ok(())
    }

    /// Reads what is there.
    fn poll(&self, side: &Side, state: &mut State, limit: TakeLimit) -> Result<Option<Piece>, String> {
        let (mut batch, mut places, mut bytes) = (Batch::new(), Vec::new(), 0);
        while places.len() < limit.events && (bytes < limit.bytes || places.is_empty()) {
            if side.member.has_change() {
                if !places.is_empty() {
                    break;
                }
                self.change(side, state)?;
            }
            let message = match side.member.poll(Duration::ZERO) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    tracing::warn!(channel = %self.shared.name, "{error}");
                    break;
                }
                None if side.member.has_change() => continue,
                None => break,
            };
            let (partition, offset) = (message.partition(), message.offset().max(0) as u64);
            let Some(part) = state.parts.get_mut(&partition) else { continue };
            if offset < part.read {
                // Of a topic that was made anew: the group's offset is beyond all that it has.
                part.committed = 0;
            }
            part.read = offset + 1;
            match self.event(&message) {
                Ok((headers, body)) => {
                    let set = batch.add_headers(headers);
                    batch.push_with(body, set);
                    bytes += body.len();
                    part.out.insert(offset);
                    places.push((partition, offset));
                }
                Err(error) => {
                    self.shared.metrics.event_take_error.inc();
                    tracing::error!(channel = %self.shared.name, partition, offset, "record left out: {error}");
                }
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let count = places.len();
        let chunk =
            Chunk::decode(ChunkWriter::new(&batch, None).to_bytes()).map_err(|error| error.to_string())?;
        let first = self.shared.next.fetch_add(count as u64, Ordering::AcqRel);
        Ok(Some(Piece { first, chunk, skip: 0, count, places: places.into(), epoch: state.epoch }))
    }

    fn event<'m>(&self, message: &'m BorrowedMessage<'_>) -> Result<(Headers, &'m [u8]), datum::DatumError> {
        let value = message.payload().unwrap_or_default();
        let (mut headers, body) = match self.shared.setup.event_format {
            true => datum::decode(value)?,
            false => (Headers::new(), value),
        };
        if let Some(key) = message.key() {
            headers.set(KEY, String::from_utf8_lossy(key));
        }
        Ok((headers, body))
    }

    /// The first that came back, as much of it as the limit allows.
    fn returned(state: &mut State, limit: TakeLimit) -> Option<Piece> {
        let mut piece = state.back.pop_first()?.1;
        let slice = piece.chunk.slice(piece.skip, piece.count);
        let (mut count, mut bytes) = (0, 0);
        for event in slice.iter() {
            if count == limit.events || (count > 0 && bytes + event.body.len() > limit.bytes) {
                break;
            }
            count += 1;
            bytes += event.body.len();
        }
        if count < piece.count {
            let rest = Piece {
                first: piece.first + count as u64,
                chunk: piece.chunk.clone(),
                skip: piece.skip + count,
                count: piece.count - count,
                places: piece.places.clone(),
                epoch: piece.epoch,
            };
            state.back.insert(rest.first, rest);
            piece.count = count;
        }
        Some(piece)
    }
}

#[async_trait]
impl Taker for KafkaTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        if self.shared.closed.load(Ordering::Acquire) {
            self.leave();
            return Err(TakeError::Closed { channel: self.shared.name.clone() });
        }
        let side = self.side()?;
        let mut state = side.state.lock();
        // Also while there is enough to hand out: the group wants to hear of its members.
        if side.member.has_change() {
            self.change(&side, &mut state).map_err(|why| self.failed(why))?;
        }
        let piece = match Self::returned(&mut state, limit) {
            Some(piece) => Some(piece),
            None => self.poll(&side, &mut state, limit).map_err(|why| self.failed(why))?,
        };
        drop(state);
        let Some(piece) = piece else {
            self.shared.metrics.event_take_attempt.inc();
            return Ok(None);
        };
        self.shared.metrics.event_take_attempt.add(piece.count as u64);
        let slice = piece.chunk.slice(piece.skip, piece.count);
        let weight = Weight::new(slice.body_bytes(), self.shared.taken.clone());
        let mut events = Events::new();
        events.push(slice);
        let first = piece.first;
        let receipt = KafkaReceipt { shared: self.shared.clone(), side, piece, _weight: weight };
        Ok(Some(Taken::new(events, first, Box::new(receipt))))
    }

    async fn ready(&mut self) {
        if self.shared.closed.load(Ordering::Acquire)
            || self.side.as_ref().is_some_and(|side| !side.state.lock().back.is_empty())
        {
            return;
        }
        // Not for longer: the group takes a member that does not poll for one that is dead.
        let _either = tokio::time::timeout(self.shared.setup.poll_timeout, self.arrived.notified()).await;
    }
}

impl KafkaTaker {
    fn leave(&mut self) {
        if let Some(side) = self.side.take() {
            side.commit(&mut side.state.lock(), &self.shared.setup.topic, true);
        }
    }
}

impl Drop for KafkaTaker {
    fn drop(&mut self) {
        self.leave();
    }
}

struct KafkaReceipt {
    shared: Arc<Shared>,
    side: Arc<Side>,
    piece: Piece,
    _weight: Weight,
}

/// Bytes that count as taken until this is dropped.
struct Weight {
    bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Weight {
    fn new(bytes: usize, taken: Arc<AtomicUsize>) -> Self {
        taken.fetch_add(bytes, Ordering::AcqRel);
        Self { bytes, taken }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Receipt for KafkaReceipt {
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, _sink: &str, _progress: Vec<SinkProgress>) {
        let (shared, side) = (self.shared.clone(), self.side.clone());
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        let mut state = side.state.lock();
        for receipt in std::iter::once(self).chain(rest) {
            let Piece { places, skip, count, epoch, .. } = &receipt.piece;
            shared.metrics.event_take_success.add(*count as u64);
            if *epoch != state.epoch {
                continue;
            }
            for (partition, offset) in &places[*skip..skip + count] {
                if let Some(part) = state.parts.get_mut(partition) {
                    part.out.remove(offset);
                }
            }
        }
        side.commit(&mut state, &shared.setup.topic, false);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        let Self { side, piece, .. } = *self;
        let mut state = side.state.lock();
        // Of another life of the group: it is read again, by whoever has the partition.
        if piece.epoch == state.epoch {
            state.back.insert(piece.first, piece);
        }
        drop(state);
        side.arrived.notify_one();
    }
}
