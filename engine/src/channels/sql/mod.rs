//! The `jdbc` channel: Flume's, with SQLite in Derby's place, or in a server of MySQL's or PostgreSQL's.
//!
//! ```text
//!   append ── numbers, progress in memory ── queue ──> writer thread: one transaction for all that waits ──> tickets
//!   take   ── runs of numbers in memory ── rows ── chunks ──> release: the queue again | rollback: the runs again
//! ```
//!
//! A put is a row with its events as one chunk. What came together is committed together, so that the disk's sync is shared. A
//! source's progress stands in the same transaction as its events: the channel keeps no event twice, and says after a crash where
//! to resume.
//!
//! A transaction that fails takes with it all puts that wait: none may be in behind one that is lost. What was delivered stays
//! said, and is committed with the next transaction that succeeds.
//!
//! A server that goes away fails what waits. What its last COMMIT did is looked up when it is back, before anybody is told anything.
//!
//! Locks: `database` before `state`; the gate's is never taken inside either.

mod database;
#[cfg(feature = "sql-mysql")]
mod mysql;
mod place;
#[cfg(feature = "sql-postgres")]
mod postgres;
#[cfg(any(feature = "sql-mysql", feature = "sql-postgres"))]
mod server;
mod settings;
mod sqlite;
mod taker;
mod writer;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::channel::{
    Channel, ChannelLimits, ChannelStatus, OpenError, Put, PutError, Reservation, Room, SinkProgress, Space,
    Taker, Ticket,
};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::{Positions, Progress};
use flumen_api::registry::{ChannelContext, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_wal::{ProgressOp, ProgressUpdate, Space as Owned};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, oneshot};

use super::gate::{self, Amount, Gate, Grant, Refused};
use super::progress::{self, Known};
use database::{Database, Delivered, OpenFailed, Owners, Row, apply_in_memory};
use place::Place;
use settings::{DERBY, SqlSettings};
use sqlite::Sqlite;
use taker::SqlTaker;

/// Chunks that wait for a transaction have no more bytes; a larger put goes alone.
const QUEUE_BYTES_MAX: u64 = 8 << 20;

/// The type as the registry has it.
pub(super) fn spec() -> Spec {
    Spec {
        alias: "jdbc",
        class_names: &["org.apache.flume.channel.jdbc.JdbcChannel"],
        keys: SqlSettings::KEYS,
        doc: "Keeps events in an SQL database: SQLite, built in, in the place of Flume's Derby; or a server of MySQL, MariaDB or PostgreSQL.",
        factory: Factory::Channel { check, open, directories },
    }
}

/// Flume does not compare batch sizes with this channel, which has no limit there: larger puts are made in parts.
fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    SqlSettings::read(config, problems).map(|_| usize::MAX)
}

/// The file itself, or the tables: two channels in one would be two agents to each other.
fn directories(config: &ComponentConfig) -> Vec<PathBuf> {
    let settings = SqlSettings::read(config, &mut Problems::default());
    let place =
        settings.as_ref().and_then(|settings| Place::read(config, settings, &mut Problems::default()));
    if let Some(place) = place {
        return vec![place.name().into()];
    }
    settings.and_then(|settings| settings.path(&config.name).ok()).into_iter().collect()
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    Ok(Arc::new(SqlChannel::open(config, context)?))
}

fn read(config: &ComponentConfig) -> Result<SqlSettings, String> {
    let mut problems = Problems::default();
    SqlSettings::read(config, &mut problems).ok_or_else(|| super::errors(&problems))
}

/// See the [module](self).
struct SqlChannel(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    /// The file, or the server's tables, for messages.
    place: String,
    metrics: ChannelMetrics,
    limits: RwLock<ChannelLimits>,
    /// The longest chunk that the database takes.
    chunk_max: Arc<AtomicU64>,
    gate: Arc<Gate<Held>>,
    held: Arc<Held>,
    /// `None` when the channel is closed: the file is free then.
    database: Mutex<Option<Box<dyn Database>>>,
    /// Takers that found nothing.
    arrived: Notify,
}

/// What the gate asks, and all that the writer and the callers share.
struct Held {
    state: Mutex<State>,
    /// The writer waits here.
    wanted: Condvar,
}

impl gate::Positions for Held {
    fn held(&self) -> Amount {
        let state = self.state.lock();
        Amount {
            events: state.next - state.delivered.low - state.delivered.count_above(),
            slots: state.queue_bytes,
        }
    }
}

#[derive(Default)]
struct State {
    /// The next event's number.
    next: u64,
    /// Events below this number are committed.
    durable: u64,
    /// Ranges of committed events that wait to be taken.
    runs: BTreeMap<u64, u64>,
    delivered: Delivered,
    /// As of the last append.
    owners: Owners,
    queue: VecDeque<Job>,
    queue_bytes: u64,
    /// Generation and position where the earliest lost put of a source's key begins: a later one would leave a gap.
    lost: HashMap<(Arc<str>, String), (u64, u64)>,
    /// Why the last transaction failed.
    failure: Option<String>,
    closed: bool,
    /// The writer has ended.
    ended: bool,
}

type Answer = oneshot::Sender<Result<(), PutError>>;

/// What the writer is to commit.
struct Job {
    row: Option<Row>,
    updates: Vec<ProgressUpdate>,
    /// Its source comes again with it if it is lost.
    repeats: bool,
    /// Ranges that were delivered.
    released: Vec<(u64, u64)>,
    answer: Option<Answer>,
}

struct SqlRoom(Grant<Held>);

impl Room for SqlRoom {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl SqlChannel {
    fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Self, OpenError> {
        let settings = read(config).map_err(OpenError::Config)?;
        let chunk_max = Arc::new(AtomicU64::new(u64::MAX));
        let (mut database, place) = match Place::read(config, &settings, &mut Problems::default()) {
            Some(place) => in_server(place, settings.create_schema, &chunk_max)?,
            None => in_file(config, &settings, context.ignore_flume_data)?,
        };
        let content =
            database.content().map_err(|why| OpenError::Other(format!("cannot open {place}: {why}")))?;
        let mut state = State {
            next: content.next,
            durable: content.next,
            delivered: content.delivered,
            owners: content.owners,
            ..State::default()
        };
        let mut waits_from = state.delivered.low;
        for (first, end) in &state.delivered.above {
            state.runs.insert(waits_from, *first);
            waits_from = *end;
        }
        if waits_from < state.next {
            state.runs.insert(waits_from, state.next);
        }
        let held = Arc::new(Held { state: Mutex::new(state), wanted: Condvar::new() });
        let shared = Arc::new(Shared {
            name: config.name.clone(),
            place,
            metrics: context.metrics,
            limits: RwLock::new(limits(&settings)),
            chunk_max,
            gate: Gate::new(limit(&settings), held.clone()),
            held,
            database: Mutex::new(Some(database)),
            arrived: Notify::new(),
        });
        let writer = shared.clone();
        let spawned =
            std::thread::Builder::new().name("sql-channel".into()).spawn(move || writer::run(&writer));
        spawned.map_err(|error| OpenError::Other(format!("cannot start a thread: {error}")))?;
        Ok(Self(shared))
    }
}

impl Drop for SqlChannel {
    /// Without a close the writer ends as well, when what waits is committed.
    fn drop(&mut self) {
        self.0.held.state.lock().closed = true;
        self.0.held.wanted.notify_one();
    }
}

type Opened = (Box<dyn Database>, String);

fn in_file(
    config: &ComponentConfig,
    settings: &SqlSettings,
    ignore_flume_data: bool,
) -> Result<Opened, OpenError> {
    let path = settings.path(&config.name).map_err(OpenError::Config)?;
    if settings.is_embedded() && !ignore_flume_data {
        refuse_derby(&settings.folder().map_err(OpenError::Config)?)?;
    }
    let failed = |error: std::io::Error| OpenError::Other(format!("cannot open {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    close_to_others(&path).map_err(failed)?;
    let place = path.display().to_string();
    let database = Sqlite::open(&path, settings.create_schema).map_err(|error| refused(error, &place))?;
    Ok((Box::new(database), place))
}

#[cfg(any(feature = "sql-mysql", feature = "sql-postgres"))]
fn in_server(place: Place, create: bool, chunk_max: &Arc<AtomicU64>) -> Result<Opened, OpenError> {
    let (name, prefix) = (place.name(), place.prefix.clone());
    let connect: server::Connect = match place.kind {
        #[cfg(feature = "sql-mysql")]
        place::Kind::Mysql => mysql::connect(place, chunk_max.clone()),
        #[cfg(feature = "sql-postgres")]
        place::Kind::Postgres => postgres::connect(place),
        #[allow(unreachable_patterns, reason = "a build may have one of them alone")]
        kind => return Err(OpenError::Config(format!("{} is not built in", kind.db_type()))),
    };
    let database = server::Server::open(connect, prefix, create).map_err(|error| refused(error, &name))?;
    Ok((Box::new(database), name))
}

#[cfg(not(any(feature = "sql-mysql", feature = "sql-postgres")))]
fn in_server(place: Place, _create: bool, _chunk_max: &Arc<AtomicU64>) -> Result<Opened, OpenError> {
    Err(OpenError::Config(format!("{} is not built in", place.kind.db_type())))
}

fn refused(error: OpenFailed, place: &str) -> OpenError {
    match error {
        OpenFailed::Busy => OpenError::Locked { path: place.into() },
        OpenFailed::Foreign(why) => OpenError::Foreign(format!("cannot open {place}: {why}")),
        OpenFailed::Other(why) => OpenError::Other(format!("cannot open {place}: {why}")),
    }
}

/// Flume's own data, which only Java reads, would be passed over without a word.
fn refuse_derby(folder: &Path) -> Result<(), OpenError> {
    let derby = folder.join(DERBY);
    if !derby.join("service.properties").exists() && !derby.join("seg0").exists() {
        return Ok(());
    }
    Err(OpenError::Foreign(format!(
        "{} holds the database of Apache Flume's jdbc channel, Derby's, which is not read here. Let Flume deliver what is in it (stop \
         the sources, run Flume until its channel is empty) and move the folder away; or, if the data is not needed, start once with \
         --ignore-flume-data",
        derby.display()
    )))
}

/// Whoever may read the file reads the events.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn limit(settings: &SqlSettings) -> Amount {
    let events = if settings.capacity == 0 { u64::MAX / 2 } else { settings.capacity };
    Amount { events, slots: QUEUE_BYTES_MAX }
}

fn limits(settings: &SqlSettings) -> ChannelLimits {
    ChannelLimits {
        transaction_capacity: settings.transaction_capacity,
        keep_alive: Duration::from_secs(settings.keep_alive.max(0).unsigned_abs()),
        durable: true,
    }
}

impl Shared {
    fn amount(&self, space: Space) -> Result<Amount, PutError> {
        let transaction_capacity = self.limits.read().transaction_capacity;
        if space.events > transaction_capacity {
            let reason = super::over_transaction_capacity(space.events, transaction_capacity);
            return Err(PutError::TooLarge { channel: self.name.clone(), reason });
        }
        let chunk_max = self.chunk_max.load(Ordering::Relaxed);
        if space.events > 0 && space.chunk_bytes > chunk_max {
            let reason = format!(
                "{} bytes are more than the {chunk_max} that the server takes at once: raise its max_allowed_packet",
                space.chunk_bytes
            );
            return Err(PutError::TooLarge { channel: self.name.clone(), reason });
        }
        let slots = if space.events == 0 { 0 } else { space.chunk_bytes.min(QUEUE_BYTES_MAX) };
        Ok(Amount { events: space.events as u64, slots })
    }

    fn refusal(&self, refused: Refused, amount: Amount, waited: Duration) -> PutError {
        let channel = self.name.clone();
        if refused == Refused::Closed {
            return PutError::Closed { channel };
        }
        let (held, limit) = (gate::Positions::held(&*self.held), self.gate.limit());
        let reason = match held.events + amount.events > limit.events {
            true => format!("maximum.capacity: {} of {} events are there", held.events, limit.events),
            false => "the disk is slower than what comes in".to_string(),
        };
        PutError::Full {
            channel,
            reason: format!("{reason}; no room for {} more{}", amount.events, super::after(waited)),
        }
    }

    fn failed(&self, reason: impl Into<String>) -> PutError {
        PutError::Failed { channel: self.name.clone(), reason: reason.into() }
    }

    /// Hands a job to the writer.
    fn submit(&self, state: &mut State, job: Job) {
        state.queue_bytes += job.row.as_ref().map_or(0, |row| row.chunk.len() as u64);
        state.queue.push_back(job);
        self.held.wanted.notify_one();
    }

    /// A job that somebody waits for, as a ticket.
    fn ticket(
        &self,
        state: &mut State,
        row: Option<Row>,
        updates: Vec<ProgressUpdate>,
        repeats: bool,
    ) -> Ticket {
        if state.closed {
            return Ticket::pending(std::future::ready(Err(PutError::Closed { channel: self.name.clone() })));
        }
        let (answer, answered) = oneshot::channel();
        let events = row.as_ref().map_or(0, |row| row.events);
        self.submit(state, Job { row, updates, repeats, released: Vec::new(), answer: Some(answer) });
        let (name, put_success) = (self.name.clone(), self.metrics.event_put_success.clone());
        Ticket::pending(async move {
            answered.await.unwrap_or(Err(PutError::Closed { channel: name }))?;
            put_success.add(events);
            Ok(())
        })
    }

    fn append(&self, room: Reservation, put: Put<'_>, repeats: bool) -> Result<Ticket, PutError> {
        let foreign = || self.failed("the reservation is of another channel");
        let SqlRoom(grant) = *room.into_room::<SqlRoom>().ok_or_else(foreign)?;
        let source: Arc<str> = put.source.into();
        let made = put.batch.progress();
        // Held over the encoding where a source says where it stands: what is known must not change in between.
        let mut state = self.held.state.lock();
        if state.closed {
            return Err(PutError::Closed { channel: self.name.clone() });
        }
        let known: Vec<Option<Known>> = made.iter().map(|made| state.known(&source, &made.key)).collect();
        if let Some(key) = state.gap(&source, made, &known) {
            return Err(self.failed(format!("an earlier put of {key} failed; this one would leave a gap")));
        }
        let updates = progress::updates(&source, made, &known);
        let new = progress::new_events(put.batch, put.selection, &known);
        let writer = ChunkWriter::new(put.batch, new.as_deref().or(put.selection));
        let events = writer.events() as u64;
        if events == 0 && updates.is_empty() && made.is_empty() {
            return Ok(Ticket::done());
        }
        let row = (events > 0).then(|| Row { first: state.next, events, chunk: writer.to_bytes() });
        state.next += events;
        updates.iter().for_each(|update| apply_in_memory(&mut state.owners, update));
        for made in made {
            state.lost.remove(&(source.clone(), made.key.clone()));
        }
        // Of a put whose events are all known the ticket resolves when they are durable: behind what waits.
        let ticket = self.ticket(&mut state, row, updates, repeats);
        drop(state);
        // The positions count the events from here on.
        drop(grant);
        Ok(ticket)
    }

    /// Progress alone.
    fn record(&self, updates: Vec<ProgressUpdate>) -> Ticket {
        let mut state = self.held.state.lock();
        updates.iter().for_each(|update| apply_in_memory(&mut state.owners, update));
        self.ticket(&mut state, None, updates, true)
    }
}

impl State {
    fn known(&self, source: &Arc<str>, key: &str) -> Option<Known> {
        let value = self.owners.get(&(Owned::Source, source.clone()))?.get(key)?;
        Some(Known::from(value.clone()))
    }

    /// The first key along which this progress would leave a gap behind a put that was lost.
    fn gap<'a>(&self, source: &Arc<str>, made: &'a [Progress], known: &[Option<Known>]) -> Option<&'a str> {
        let leaves = |(made, known): &(&Progress, &Option<Known>)| {
            let Some(&(generation, from)) = self.lost.get(&(source.clone(), made.key.clone())) else {
                return false;
            };
            let stands =
                known.is_some_and(|known| known.generation == made.generation && known.to >= made.from);
            generation == made.generation && made.from > from && !stands
        };
        if self.lost.is_empty() {
            return None;
        }
        made.iter().zip(known).find(leaves).map(|(made, _)| made.key.as_str())
    }

    /// Makes a range takeable, joined with its neighbours.
    fn waits(&mut self, mut first: u64, mut end: u64) {
        if let Some((before, until)) = self.runs.range(..=first).next_back().map(|(a, b)| (*a, *b))
            && until == first
        {
            self.runs.remove(&before);
            first = before;
        }
        if let Some(until) = self.runs.remove(&end) {
            end = until;
        }
        self.runs.insert(first, end);
    }
}

#[async_trait]
impl Channel for SqlChannel {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn limits(&self) -> ChannelLimits {
        *self.0.limits.read()
    }

    fn lacks_room(&self) -> bool {
        self.0.gate.lacks_room()
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let amount = self.0.amount(space)?;
        match self.0.gate.try_acquire(amount) {
            Ok(grant) => {
                // Who finds no room here asks again with `reserve`, which counts.
                self.0.metrics.event_put_attempt.add(space.events as u64);
                Ok(Reservation::new(space, Box::new(SqlRoom(grant))))
            }
            Err(refused) => Err(self.0.refusal(refused, amount, Duration::ZERO)),
        }
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        self.0.metrics.event_put_attempt.add(space.events as u64);
        let amount = self.0.amount(space)?;
        let keep_alive = self.0.limits.read().keep_alive;
        match tokio::time::timeout(keep_alive, self.0.gate.acquire(amount)).await {
            Ok(Ok(grant)) => Ok(Reservation::new(space, Box::new(SqlRoom(grant)))),
            Ok(Err(refused)) => Err(self.0.refusal(refused, amount, Duration::ZERO)),
            Err(_elapsed) => Err(self.0.refusal(Refused::Full, amount, keep_alive)),
        }
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.0.append(room, put, true)
    }

    fn append_optional(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.0.append(room, put, false)
    }

    fn taker(&self) -> Box<dyn Taker> {
        Box::new(SqlTaker::new(self.0.clone()))
    }

    async fn settle_source(&self, source: &str) {
        let behind_all = {
            let mut state = self.0.held.state.lock();
            self.0.ticket(&mut state, None, Vec::new(), false)
        };
        // Whether what is before it failed, the positions say: they are those of what is committed again.
        drop(behind_all.await);
        self.0.held.state.lock().lost.retain(|(owner, _), _| &**owner != source);
    }

    fn source_positions(&self, source: &str) -> Option<Positions> {
        let state = self.0.held.state.lock();
        state.owners.get(&(Owned::Source, source.into())).cloned().map(progress::positions)
    }

    fn sink_positions(&self, sink: &str) -> Positions {
        let state = self.0.held.state.lock();
        state.owners.get(&(Owned::Sink, sink.into())).cloned().map(progress::positions).unwrap_or_default()
    }

    fn record(&self, sink: &str, progress: Vec<SinkProgress>) -> Ticket {
        self.0.record(progress::sink_updates(sink, progress))
    }

    fn mark_source(&self, source: &str, positions: Vec<Progress>) -> Ticket {
        let owner: Arc<str> = source.into();
        let mark = ProgressUpdate {
            space: Owned::Source,
            owner: owner.clone(),
            key: String::new(),
            op: ProgressOp::Mark,
        };
        let updates = positions.iter().map(|made| progress::update(&owner, made, None));
        self.0.record(std::iter::once(mark).chain(updates).collect())
    }

    fn status(&self) -> ChannelStatus {
        let state = self.0.held.state.lock();
        let delivered = state.delivered.low + state.delivered.count_above();
        let status = ChannelStatus {
            events: state.durable.saturating_sub(delivered),
            capacity: 0,
            oldest: None,
            failure: state.failure.clone(),
            gauges: vec![
                ("queued_bytes", state.queue_bytes as f64),
                ("progress_keys", state.owners.values().map(BTreeMap::len).sum::<usize>() as f64),
            ],
        };
        drop(state);
        ChannelStatus { capacity: self.0.gate.limit().events, ..status }
    }

    fn reconfigure(&self, config: &ComponentConfig) -> Result<(), String> {
        let settings = read(config)?;
        *self.0.limits.write() = limits(&settings);
        self.0.gate.set_limit(limit(&settings));
        Ok(())
    }

    async fn close(&self) {
        self.0.gate.close();
        self.0.held.state.lock().closed = true;
        self.0.held.wanted.notify_one();
        self.0.arrived.notify_waiters();
        loop {
            let mut ended = std::pin::pin!(self.0.arrived.notified());
            ended.as_mut().enable();
            if self.0.held.state.lock().ended {
                return;
            }
            ended.await;
        }
    }
}
