//! A channel of numbered events that records what is done to it and fails when told to.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, Put, PutError, Receipt, Reservation, Room, SinkProgress, Space,
    TakeError, TakeLimit, Taken, Taker, Ticket,
};
use flumen_api::chunk::{Chunk, ChunkSlice, ChunkWriter, Events};
use flumen_api::progress::{Position, Positions, Progress};
use flumen_api::settings::ComponentConfig;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

pub(super) struct TestChannel {
    name: String,
    durable: bool,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub capacity: usize,
    /// Most bytes of the bodies of a put, if there is such a limit.
    pub bytes_max: Option<u64>,
    /// Events there to be taken.
    pub events: BTreeMap<u64, ChunkSlice>,
    next: u64,
    reserved: usize,
    pub out: usize,
    /// Every append: how many events, and the last position of its progress.
    pub appends: Vec<(usize, Option<u64>)>,
    pub positions: BTreeMap<String, Positions>,
    pub marks: Vec<Vec<Progress>>,
    /// Tickets stay unresolved until the test takes them from `tickets`.
    pub hold_tickets: bool,
    pub tickets: Vec<oneshot::Sender<Result<(), PutError>>>,
    pub fail_appends: bool,
    /// Puts that their source does not repeat.
    pub optional: usize,
    /// Sources that began.
    pub settled: Vec<String>,
    pub releases: Vec<(u64, Vec<SinkProgress>)>,
    pub rolled_back: Vec<u64>,
    pub reconfigured: usize,
    pub lacks_room: bool,
    pub closed: bool,
}

impl TestChannel {
    pub fn new(name: &str, durable: bool, capacity: usize) -> Arc<Self> {
        let inner = Arc::new(Inner::default());
        inner.state.lock().capacity = capacity;
        Arc::new(Self { name: name.into(), durable, inner })
    }

    pub fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.inner.state.lock()
    }

    pub fn failure(&self) -> PutError {
        PutError::Failed { channel: self.name.as_str().into(), reason: "told to".into() }
    }

    fn full(&self) -> PutError {
        PutError::Full { channel: self.name.as_str().into(), reason: "capacity".into() }
    }
}

struct TestRoom(Arc<Inner>, usize);

impl Room for TestRoom {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for TestRoom {
    fn drop(&mut self) {
        self.0.state.lock().reserved -= self.1;
    }
}

#[async_trait]
impl Channel for TestChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> ChannelLimits {
        let keep_alive = std::time::Duration::ZERO;
        ChannelLimits { transaction_capacity: 1000, keep_alive, durable: self.durable }
    }

    fn lacks_room(&self) -> bool {
        self.state().lacks_room
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let mut state = self.state();
        if state.bytes_max.is_some_and(|max| space.body_bytes > max) {
            return Err(PutError::TooLarge { channel: self.name.as_str().into(), reason: "bytes".into() });
        }
        if state.events.len() + state.out + state.reserved + space.events > state.capacity {
            return Err(self.full());
        }
        state.reserved += space.events;
        Ok(Reservation::new(space, Box::new(TestRoom(self.inner.clone(), space.events))))
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        self.try_reserve(space)
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        drop(room.into_room::<TestRoom>().expect("a room of this channel"));
        let mut state = self.state();
        if state.fail_appends {
            return Err(self.failure());
        }
        let writer = ChunkWriter::new(put.batch, put.selection);
        let chunk = Chunk::decode(writer.to_bytes()).expect("a chunk just written");
        for i in 0..chunk.len() {
            let number = state.next;
            state.events.insert(number, chunk.slice(i, 1));
            state.next += 1;
        }
        let positions = state.positions.entry(put.source.to_string()).or_default();
        for made in put.batch.progress() {
            let began = match positions.get(&made.key) {
                Some(known) if known.generation == made.generation => known.began,
                _ => made.from,
            };
            positions.insert(made.key.clone(), position(made, began));
        }
        state.appends.push((chunk.len(), put.batch.progress().last().map(|made| made.to)));
        self.inner.changed.notify_one();
        if !state.hold_tickets {
            return Ok(Ticket::done());
        }
        let (resolve, resolved) = oneshot::channel();
        state.tickets.push(resolve);
        Ok(Ticket::pending(async move { resolved.await.expect("the test resolves every ticket") }))
    }

    fn append_optional(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.state().optional += 1;
        self.append(room, put)
    }

    async fn settle_source(&self, source: &str) {
        self.state().settled.push(source.to_string());
    }

    fn taker(&self) -> Box<dyn Taker> {
        Box::new(TestTaker(self.inner.clone()))
    }

    fn source_positions(&self, source: &str) -> Option<Positions> {
        self.state().positions.get(source).filter(|_| self.durable).cloned()
    }

    fn sink_positions(&self, _: &str) -> Positions {
        Positions::new()
    }

    fn record(&self, _: &str, _: Vec<SinkProgress>) -> Ticket {
        Ticket::done()
    }

    fn mark_source(&self, source: &str, positions: Vec<Progress>) -> Ticket {
        let mut state = self.state();
        let marks = state.positions.entry(source.to_string()).or_default();
        for made in &positions {
            marks.insert(made.key.clone(), position(made, made.from));
        }
        state.marks.push(positions);
        Ticket::done()
    }

    fn status(&self) -> ChannelStatus {
        let state = self.state();
        ChannelStatus {
            events: (state.events.len() + state.out) as u64,
            capacity: state.capacity as u64,
            gauges: vec![("disk_bytes", 42.0)],
            ..ChannelStatus::default()
        }
    }

    fn reconfigure(&self, _: &ComponentConfig) -> Result<(), String> {
        self.state().reconfigured += 1;
        Ok(())
    }

    async fn close(&self) {
        self.state().closed = true;
    }
}

fn position(made: &Progress, began: u64) -> Position {
    Position { generation: made.generation, began, to: made.to, rest: made.rest.clone() }
}

struct TestTaker(Arc<Inner>);

#[async_trait]
impl Taker for TestTaker {
    fn try_take(&mut self, limit: TakeLimit) -> Result<Option<Taken>, TakeError> {
        let mut state = self.0.state.lock();
        let mut numbered = Vec::new();
        let mut events = Events::new();
        while numbered.len() < limit.events
            && let Some((number, slice)) = state.events.pop_first()
        {
            events.push(slice.clone());
            numbered.push((number, slice));
        }
        let Some(&(first, _)) = numbered.first() else { return Ok(None) };
        state.out += numbered.len();
        Ok(Some(Taken::new(events, first, Box::new(TestReceipt(self.0.clone(), numbered)))))
    }

    async fn ready(&mut self) {
        let changed = self.0.changed.notified();
        if self.0.state.lock().events.is_empty() {
            changed.await;
        }
    }
}

struct TestReceipt(Arc<Inner>, Vec<(u64, ChunkSlice)>);

impl Receipt for TestReceipt {
    fn release(self: Box<Self>, rest: Vec<Box<dyn Receipt>>, _sink: &str, mut progress: Vec<SinkProgress>) {
        let rest = rest.into_iter().filter_map(|receipt| receipt.into_any().downcast::<Self>().ok());
        for receipt in std::iter::once(self).chain(rest) {
            let mut state = receipt.0.state.lock();
            state.out -= receipt.1.len();
            state.releases.push((receipt.1[0].0, std::mem::take(&mut progress)));
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn rollback(self: Box<Self>) {
        let mut state = self.0.state.lock();
        state.out -= self.1.len();
        state.rolled_back.push(self.1[0].0);
        state.events.extend(self.1);
        self.0.changed.notify_one();
    }
}
