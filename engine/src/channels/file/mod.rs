//! The file channel: Flume's, on the log of `flumen-wal`.
//!
//! ```text
//!   reserve ── gate: capacity (positions of the log) ── room in the log: memory, disk
//!   append  ── drop what is known ── chunk, written straight into the log's frame, and progress: one commit ──> ticket
//!   take    ── cursor: pieces of commits ── chunks, decoded once ──> release with the sink's progress | rollback
//! ```
//!
//! All state is the log's. What this module adds is Flume's limits, the chunk's meaning, and progress: which of a put's
//! events are known (`channels::progress`), and that no put is taken in behind one that was lost (`lineage`).
//!
//! The log may fail and reopen itself at any moment; every call then fails with the reason until it is back.

mod directories;
mod encryption;
mod lineage;
mod recent;
mod settings;
mod taker;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use flumen_wal::{
    Commit, Directories, Keys, Log, LogError, Options, Payload, ProgressOp, ProgressUpdate, Reserved,
    Space as Owned,
};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout_at};

use super::gate::{self, Amount, Gate, Grant, Refused};
use super::progress::{self, Known};
use encryption::Encryption;
use lineage::Lineage;
use recent::Recent;
use settings::DamagePolicy;
pub(super) use settings::FileSettings;
use taker::FileTaker;

/// The type as the registry has it.
pub(super) fn spec() -> Spec {
    Spec {
        alias: "file",
        class_names: &["org.apache.flume.channel.file.FileChannel"],
        keys: FileSettings::KEYS,
        doc: "Keeps events on disk: what was put survives the process and the power.",
        factory: Factory::Channel { check, open, directories: owned_directories },
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    FileSettings::read(config, problems).map(|settings| settings.transaction_capacity())
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    Ok(Arc::new(FileChannel::open(config, context)?))
}

fn owned_directories(config: &ComponentConfig) -> Vec<PathBuf> {
    let settings = FileSettings::read(config, &mut Problems::default());
    settings.map(|settings| settings.directories()).unwrap_or_default()
}

/// A free lock takes microseconds; a wait worth a line is one for a dying process's last writes.
const LOCK_WAIT_TOLD: Duration = Duration::from_millis(1);

/// How often somebody who waits for a failed log to recover looks at it.
const RECOVERY_LOOK: Duration = Duration::from_millis(50);

/// How often an operator is told that takes stop at damage.
const DAMAGE_TOLD: Duration = Duration::from_secs(60);

/// See the [module](self).
pub struct FileChannel(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    data_path: PathBuf,
    metrics: ChannelMetrics,
    limits: RwLock<ChannelLimits>,
    log: Log,
    gate: Arc<Gate<LogPositions>>,
    /// Puts of sources that say where they stand.
    sources: Mutex<HashMap<Arc<str>, Arc<Mutex<Lineage>>>>,
    closed: AtomicBool,
    /// While takes stop at damage: when that was said last.
    damage: Mutex<Option<Instant>>,
    /// Damage is set aside and passed over.
    passes_damage: bool,
    /// Its share of memory, as long as it is there.
    _recent: Recent,
}

struct LogPositions(Log);

impl gate::Positions for LogPositions {
    fn held(&self) -> Amount {
        let stats = self.0.stats();
        let unreleased = stats.appended_event.saturating_sub(stats.first_event);
        Amount { events: unreleased.saturating_sub(stats.released_above), slots: 0 }
    }
}

struct FileRoom {
    grant: Grant<LogPositions>,
    /// Room in the log; a put without events needs none.
    log: Option<Reserved>,
}

impl Room for FileRoom {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

/// Written where it stays: into the log's own buffer.
struct ChunkPayload<'a>(&'a ChunkWriter<'a>);

impl Payload for ChunkPayload<'_> {
    fn len(&self) -> usize {
        self.0.encoded_len()
    }

    fn write_to(&self, out: &mut [u8]) {
        self.0.write_to(out);
    }
}

impl FileChannel {
    /// Opens the channel that `config` describes: locks its directories and recovers its log. Blocks meanwhile.
    pub fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Self, OpenError> {
        let settings = read(config).map_err(OpenError::Config)?;
        let keys = Encryption::of(&settings, config, &mut Problems::default()).unwrap_or_default();
        let keys = keys.keys().map_err(OpenError::Other)?;
        let (directories, lines) = directories::open(
            &settings.checkpoint_dir,
            &settings.data_dirs.0,
            context.ignore_flume_data,
            context.storage,
        )?;
        for line in lines {
            tracing::info!(channel = %config.name, "{line}");
        }
        // An error about a key names it by its id.
        for key in keys.iter() {
            tracing::info!(channel = %config.name, "has the key `{}` with id {}", key.name(), key.id());
        }
        match keys.active() {
            Some(key) => tracing::info!(channel = %config.name, "encrypts by the key `{}`", key.name()),
            None => tracing::debug!(channel = %config.name, "encrypts nothing"),
        }
        Self::start(config.name.clone(), &settings, keys, directories, context.metrics)
    }

    /// The first event that is not released, and the one that the next put begins with, in the log's numbers.
    pub(super) fn numbers(&self) -> (u64, u64) {
        let stats = self.0.log.stats();
        (stats.first_event, stats.appended_event)
    }

    /// The event up to which takes find all that there is.
    pub(super) fn synced_event(&self) -> u64 {
        self.0.log.stats().synced_event
    }

    /// As [`Channel::append`], but without the progress that the batch makes: all its events are taken in. With the number of the
    /// first one, if nobody else appends meanwhile.
    pub(super) fn append_numbered(&self, room: Reservation, put: Put<'_>) -> Result<(Ticket, u64), PutError> {
        let shared = &*self.0;
        let room = shared.own(room)?;
        let (_, first) = self.numbers();
        let writer = ChunkWriter::new(put.batch, put.selection);
        if writer.events() == 0 {
            return Ok((Ticket::done(), first));
        }
        let ticket = shared.append_commit(*room, &writer, Vec::new())?;
        Ok((shared.ticket(ticket, writer.events() as u64), first))
    }

    fn start(
        name: Arc<str>,
        settings: &FileSettings,
        keys: Keys,
        directories: Directories,
        metrics: ChannelMetrics,
    ) -> Result<Self, OpenError> {
        let data_path = directories.data.path().to_path_buf();
        let recent = Recent::take();
        let options = Options { cache_bytes: recent.bytes, ..settings.log_options(&data_path, keys) };
        let log = Log::open(directories, options).map_err(|error| open_error(error, &data_path))?;
        tell_recovery(&name, &log);
        let gate = Gate::new(limit(settings), Arc::new(LogPositions(log.clone())));
        Ok(Self(Arc::new(Shared {
            name,
            data_path,
            metrics,
            limits: RwLock::new(limits(settings)),
            log,
            gate,
            sources: Mutex::default(),
            closed: AtomicBool::new(false),
            damage: Mutex::new(None),
            passes_damage: settings.damage_policy == DamagePolicy::Quarantine,
            _recent: recent,
        })))
    }
}

fn read(config: &ComponentConfig) -> Result<FileSettings, String> {
    let mut problems = Problems::default();
    FileSettings::read(config, &mut problems).ok_or_else(|| super::errors(&problems))
}

fn limit(settings: &FileSettings) -> Amount {
    Amount { events: settings.capacity.unsigned_abs(), slots: 0 }
}

fn limits(settings: &FileSettings) -> ChannelLimits {
    ChannelLimits {
        transaction_capacity: settings.transaction_capacity(),
        // Flume's wait for a negative time ends at once.
        keep_alive: Duration::from_secs(settings.keep_alive.max(0).unsigned_abs()),
        durable: true,
    }
}

fn tell_recovery(channel: &str, log: &Log) {
    let found = log.recovery();
    tracing::info!(
        channel,
        "recovered in {:?}: {} events to deliver, {} frames written again, {} cut off that were never acknowledged",
        found.took,
        found.backlog,
        found.rewritten,
        found.cut
    );
    if found.waited_for_lock >= LOCK_WAIT_TOLD {
        tracing::info!(channel, "waited {:?} for the lock of an earlier process", found.waited_for_lock);
    }
    if let Some(event) = found.missing_below {
        tracing::error!(channel, "files are missing: events below {event} that were not delivered are lost");
    }
    for damage in &found.damage {
        tracing::error!(
            channel,
            "damaged at {}: frames {} to {}: {}; `flumen wal verify` says which events they held",
            damage.place,
            damage.first_frame,
            damage.last_frame,
            damage.what
        );
    }
}

impl Shared {
    /// Takes stop at damage. Said once a minute for as long as that lasts: whoever looks at the log must not look for long.
    fn stopped_at_damage(&self, reason: &str) {
        let mut told = self.damage.lock();
        if told.is_some_and(|told| told.elapsed() < DAMAGE_TOLD) {
            return;
        }
        *told = Some(Instant::now());
        tracing::error!(
            channel = %self.name,
            "takes stop, puts go on: {reason}. Stop the agent and see what `flumen wal repair --dry-run {}` says; or set \
             damagePolicy = quarantine",
            self.data_path.display()
        );
    }

    /// A take went well; `given_up` events were passed over on its way.
    fn passed_damage(&self, given_up: u64) {
        self.damage.lock().take();
        if given_up > 0 {
            let folder = self.data_path.join(flumen_wal::tools::QUARANTINE);
            tracing::error!(
                channel = %self.name,
                "{given_up} events were damaged and are given up; what they stood in is in {}",
                folder.display()
            );
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn amount(&self, space: Space) -> Result<Amount, PutError> {
        let transaction_capacity = self.limits.read().transaction_capacity;
        if space.events > transaction_capacity {
            let reason = super::over_transaction_capacity(space.events, transaction_capacity);
            return Err(PutError::TooLarge { channel: self.name.clone(), reason });
        }
        Ok(Amount { events: space.events as u64, slots: 0 })
    }

    fn refusal(&self, refused: Refused, amount: Amount, waited: Duration) -> PutError {
        let channel = self.name.clone();
        if refused == Refused::Closed {
            return PutError::Closed { channel };
        }
        let held = gate::Positions::held(&LogPositions(self.log.clone())).events;
        let reason = format!(
            "capacity: {held} of {} events are there; no room for {} more{}",
            self.gate.limit().events,
            amount.events,
            super::after(waited)
        );
        PutError::Full { channel, reason }
    }

    fn put_error(&self, error: LogError) -> PutError {
        put_error(&self.name, error)
    }

    fn own(&self, room: Reservation) -> Result<Box<FileRoom>, PutError> {
        room.into_room::<FileRoom>().ok_or_else(|| PutError::Failed {
            channel: self.name.clone(),
            reason: "the reservation is of another channel".into(),
        })
    }

    fn reservation(&self, space: Space, grant: Grant<LogPositions>, log: Option<Reserved>) -> Reservation {
        Reservation::new(space, Box::new(FileRoom { grant, log }))
    }

    /// Room in the log, waited for until `deadline`.
    async fn log_room(&self, bytes: u64, deadline: Instant) -> Result<Reserved, PutError> {
        let waiting = self.log.reserve(bytes).map_err(|error| self.put_error(error))?;
        match timeout_at(deadline, waiting).await {
            Ok(room) => room,
            // The log knows what it lacks; and room may have come this very moment.
            Err(_elapsed) => self.log.try_reserve(bytes),
        }
        .map_err(|error| self.put_error(error))
    }

    /// The ticket of a put of `events` events.
    fn ticket(&self, ticket: flumen_wal::Ticket, events: u64) -> Ticket {
        let (name, metrics) = (self.name.clone(), self.metrics.clone());
        Ticket::pending(async move {
            match ticket.await {
                Ok(()) => metrics.event_put_success.add(events),
                Err(error) => {
                    metrics.event_put_error.inc();
                    return Err(put_error(&name, error));
                }
            }
            Ok(())
        })
    }

    /// Progress alone, which nothing waits for.
    fn record(&self, updates: Vec<ProgressUpdate>) -> Result<Ticket, PutError> {
        if updates.is_empty() {
            return Ok(Ticket::done());
        }
        match self.log.record(updates) {
            Ok(ticket) => Ok(self.ticket(ticket, 0)),
            Err(error) => Err(self.put_error(error)),
        }
    }

    fn source(&self, source: &str) -> (Arc<str>, Arc<Mutex<Lineage>>) {
        let mut sources = self.sources.lock();
        if let Some((name, lineage)) = sources.get_key_value(source) {
            return (name.clone(), lineage.clone());
        }
        let name: Arc<str> = source.into();
        let lineage = sources.entry(name.clone()).or_default().clone();
        (name, lineage)
    }

    fn append_commit(
        &self,
        room: FileRoom,
        writer: &ChunkWriter<'_>,
        progress: Vec<ProgressUpdate>,
    ) -> Result<flumen_wal::Ticket, PutError> {
        let FileRoom { grant, log } = room;
        let reserved = log.ok_or_else(|| PutError::Failed {
            channel: self.name.clone(),
            reason: "the reservation was for a put without events".into(),
        })?;
        let events =
            u32::try_from(writer.events()).expect("no more than transactionCapacity, which has 31 bits");
        let commit = Commit { events, payload: &ChunkPayload(writer), progress };
        let ticket = self.log.append(reserved, commit).map_err(|error| self.put_error(error))?;
        // The log's positions count the events from here on.
        drop(grant);
        Ok(ticket)
    }

    fn known(&self, source: &Arc<str>, key: &str) -> Option<Known> {
        self.log.progress_of(Owned::Source, source, key).map(Known::from)
    }

    fn append(&self, room: Reservation, put: Put<'_>, repeats: bool) -> Result<Ticket, PutError> {
        let room = self.own(room)?;
        if !put.batch.progress().is_empty() {
            return self.append_with_progress(*room, put, repeats);
        }
        let writer = ChunkWriter::new(put.batch, put.selection);
        if writer.events() == 0 {
            return Ok(Ticket::done());
        }
        let ticket = self.append_commit(*room, &writer, Vec::new())?;
        Ok(self.ticket(ticket, writer.events() as u64))
    }

    /// A put of a source that says where it stands: drops what is known, and leaves no gap.
    fn append_with_progress(&self, room: FileRoom, put: Put<'_>, repeats: bool) -> Result<Ticket, PutError> {
        let (source, lineage) = self.source(put.source);
        let made = put.batch.progress();
        // Held over the append: what is known must not change in between.
        let mut lineage = lineage.lock();
        let known: Vec<Option<Known>> = made.iter().map(|made| self.known(&source, &made.key)).collect();
        if let Some(key) = lineage.gap(made, &known) {
            let reason = format!("an earlier put of {key} failed; this one would leave a gap");
            return Err(PutError::Failed { channel: self.name.clone(), reason });
        }
        let updates = progress::updates(&source, made, &known);
        if put.selection.is_some_and(<[u32]>::is_empty) || put.batch.is_empty() {
            return self.record(updates);
        }
        let new = progress::new_events(put.batch, put.selection, &known);
        let selection = new.as_deref().or(put.selection);
        let writer = ChunkWriter::new(put.batch, selection);
        if writer.events() == 0 && updates.is_empty() {
            // All is there, but perhaps not synced yet.
            return Ok(lineage.last().map_or_else(Ticket::done, |ticket| self.ticket(ticket, 0)));
        }
        let ticket = self.append_commit(room, &writer, updates)?;
        lineage.appended(ticket.clone(), made, repeats);
        Ok(self.ticket(ticket, writer.events() as u64))
    }
}

fn open_error(error: flumen_wal::OpenError, data_path: &Path) -> OpenError {
    use flumen_wal::OpenError as Log;
    if let Log::Io { source, .. } = &error
        && flumen_wal::MissingKey::of(source).is_some()
    {
        let advice = "name its file in encryption.keyProvider.keys until all that it encrypted is delivered";
        return OpenError::Foreign(format!("{error}; {advice}"));
    }
    if error.repair_helps() {
        let dir = data_path.display();
        let advice =
            format!("`flumen wal repair --dry-run {dir}` says what is left, and what a repair would give up");
        return match error {
            Log::Foreign { .. } => OpenError::Foreign(format!("{error}. {advice}")),
            _ => OpenError::Other(format!("{error}. {advice}")),
        };
    }
    match error {
        Log::Locked { path } => OpenError::Locked { path },
        Log::Newer { .. } | Log::Foreign { .. } => OpenError::Foreign(error.to_string()),
        Log::Io { .. } | Log::Format { .. } => OpenError::Other(error.to_string()),
    }
}

fn put_error(channel: &Arc<str>, error: LogError) -> PutError {
    let channel = channel.clone();
    match error {
        LogError::Closed => PutError::Closed { channel },
        LogError::Full { .. } => PutError::Full { channel, reason: error.to_string() },
        LogError::TooLarge { .. } => {
            PutError::TooLarge { channel, reason: format!("{error} (eventSizeMax)") }
        }
        LogError::Failed(_) => PutError::Failed { channel, reason: error.to_string() },
    }
}

#[async_trait]
impl Channel for FileChannel {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn limits(&self) -> ChannelLimits {
        *self.0.limits.read()
    }

    fn takers_behind(&self) -> Option<f64> {
        self.0.log.consumer_behind()
    }

    fn lacks_room(&self) -> bool {
        self.0.gate.lacks_room()
    }

    fn try_reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let shared = &*self.0;
        let amount = shared.amount(space)?;
        let grant = shared
            .gate
            .try_acquire(amount)
            .map_err(|refused| shared.refusal(refused, amount, Duration::ZERO))?;
        let room = match space.events {
            0 => None,
            _ => Some(shared.log.try_reserve(space.chunk_bytes).map_err(|error| shared.put_error(error))?),
        };
        // Who finds no room here asks again with `reserve`, which counts.
        shared.metrics.event_put_attempt.add(space.events as u64);
        Ok(shared.reservation(space, grant, room))
    }

    async fn reserve(&self, space: Space) -> Result<Reservation, PutError> {
        let shared = &*self.0;
        shared.metrics.event_put_attempt.add(space.events as u64);
        let amount = shared.amount(space)?;
        let keep_alive = shared.limits.read().keep_alive;
        let deadline = Instant::now() + keep_alive;
        let grant = match timeout_at(deadline, shared.gate.acquire(amount)).await {
            Ok(Ok(grant)) => grant,
            Ok(Err(refused)) => return Err(shared.refusal(refused, amount, Duration::ZERO)),
            Err(_elapsed) => return Err(shared.refusal(Refused::Full, amount, keep_alive)),
        };
        let room = match space.events {
            0 => None,
            _ => Some(shared.log_room(space.chunk_bytes, deadline).await.inspect_err(|_| {
                // The disk is full, or nearly: only what is released gives segments back.
                shared.gate.found_no_room();
            })?),
        };
        Ok(shared.reservation(space, grant, room))
    }

    fn append(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.0.append(room, put, true)
    }

    fn append_optional(&self, room: Reservation, put: Put<'_>) -> Result<Ticket, PutError> {
        self.0.append(room, put, false)
    }

    fn taker(&self) -> Box<dyn Taker> {
        Box::new(FileTaker::new(self.0.clone()))
    }

    async fn settle_source(&self, source: &str) {
        let (_, lineage) = self.0.source(source);
        loop {
            let last = lineage.lock().last();
            let Some(ticket) = last else { break };
            // Whether it failed, the positions say.
            drop(ticket.await);
        }
        // Until the log has recovered, positions are those of what it may have lost.
        while self.0.log.stats().failure.is_some() {
            tokio::time::sleep(RECOVERY_LOOK).await;
        }
        lineage.lock().begin();
    }

    fn source_positions(&self, source: &str) -> Option<Positions> {
        self.0.log.progress(Owned::Source, source).map(progress::positions)
    }

    fn sink_positions(&self, sink: &str) -> Positions {
        self.0.log.progress(Owned::Sink, sink).map(progress::positions).unwrap_or_default()
    }

    fn record(&self, sink: &str, progress: Vec<SinkProgress>) -> Ticket {
        let recorded = self.0.record(progress::sink_updates(sink, progress));
        recorded.unwrap_or_else(|error| Ticket::pending(std::future::ready(Err(error))))
    }

    fn mark_source(&self, source: &str, positions: Vec<Progress>) -> Ticket {
        let (owner, _) = self.0.source(source);
        let mark = ProgressUpdate {
            space: Owned::Source,
            owner: owner.clone(),
            key: String::new(),
            op: ProgressOp::Mark,
        };
        let updates = positions.iter().map(|made| progress::update(&owner, made, None));
        let recorded = self.0.record(std::iter::once(mark).chain(updates).collect());
        recorded.unwrap_or_else(|error| Ticket::pending(std::future::ready(Err(error))))
    }

    fn status(&self) -> ChannelStatus {
        let stats = self.0.log.stats();
        let synced = stats.synced_event.saturating_sub(stats.first_event);
        ChannelStatus {
            events: synced.saturating_sub(stats.released_above),
            capacity: self.0.gate.limit().events,
            oldest: stats.oldest,
            failure: stats.failure.or(stats.cannot_grow),
            gauges: vec![
                ("disk_bytes", stats.disk_bytes as f64),
                ("segments", stats.segments as f64),
                ("reserve_segments", stats.reserve_segments as f64),
                ("disk_full", f64::from(u8::from(stats.full.is_some()))),
                ("staged_bytes", stats.staged_bytes as f64),
                ("cached_bytes", stats.cached_bytes as f64),
                ("unsynced_bytes", stats.unsynced_bytes as f64),
                ("progress_keys", stats.progress_keys as f64),
                ("frames", stats.frames as f64),
                ("frame_bytes", stats.frame_bytes as f64),
                ("stored_bytes", stats.stored_bytes as f64),
                ("raw_bytes", stats.raw_bytes as f64),
                ("control_frames", stats.control_frames as f64),
                ("reopens", stats.reopens as f64),
                ("checkpoint_errors", stats.checkpoint_errors as f64),
                ("damaged_places", (self.0.log.recovery().damage.len() + stats.reopen_damage.len()) as f64),
                ("damaged", f64::from(u8::from(self.0.damage.lock().is_some()))),
                ("given_up_events", stats.given_up_events as f64),
                ("set_aside_places", stats.set_aside_places as f64),
            ],
        }
    }

    fn reconfigure(&self, config: &ComponentConfig) -> Result<(), String> {
        let settings = read(config)?;
        *self.0.limits.write() = limits(&settings);
        self.0.gate.set_limit(limit(&settings));
        Ok(())
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.gate.close();
        let log = self.0.log.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(channel = %self.0.name, %error, "the log did not close well");
        }
        if let Some(failure) = self.0.log.stats().failure {
            tracing::error!(
                channel = %self.0.name,
                "closed after a failure; puts that were on their way may or may not be there at the next start: {failure}"
            );
        }
    }
}
