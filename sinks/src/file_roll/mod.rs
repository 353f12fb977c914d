//! `file_roll`: writes events to files of one directory and begins a new file every `sink.rollInterval` seconds.
//!
//! Names and rolling are Flume's: the first file is made when the sink first looks for events, and each interval ends
//! with a new file even if nothing came. What Flume does not promise: every event once, through kills, failed writes and
//! restarts, and nothing is released that is not synced.
//!
//! ```text
//!   begin a file     record { …, file, length 0 }  durable  -> create, never over an existing one
//!   deliver          bytes to the buffer or the file
//!   flush            write the buffer; a thread syncs file and directory; when it has: released { file, length }
//!   roll             write and sync the old file, then begin the next
//!   failure          forget the open file; the next call begins over where all is released (see `output`)
//!   kill             the same, from what the channel holds (see `record`)
//! ```
//!
//! After a kill between *record* and *create* the named file is not there: it is begun anew under another name. After a
//! kill later on, the file's bytes behind the released ones are compared with what comes again. Over a channel that
//! keeps nothing, each start begins a new file.
//!
//! Where bytes come in blocks (Avro, compression) they cannot be compared, for a block that comes again holds other events
//! than it did. Each flush ends a block, so what is released is a whole file; what follows is cut off, and files that were
//! begun behind it, in which nothing is released, are removed: empty, they would be no files of their kind.

mod continuing;
mod ledger;
mod output;
pub mod record;
mod settings;
mod syncer;
#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "avro"))]
mod tests_blocks;

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::event::{EventRef, Headers};
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};

use crate::codecs::Codec;
use crate::paths::{Naming, PathManager};
use crate::serializers::{self, Compressed};
use ledger::{Ledger, Standing};
use output::{Output, OutputError, Piece, Turn};
pub use settings::FileRollSettings;
use syncer::{Latch, Synced, Syncer, Target};

/// What may be delivered and not synced: large enough to keep a disk busy with large writes, small enough to be
/// written again soon after a kill.
const WINDOW: Window =
    Window { events: usize::MAX, bytes: 4 << 20, time: Duration::from_millis(20), flushes: 3 };

/// Rolling waits for releases when so many files hold what is not released: each is named in every record.
const OPEN_FILES_MAX: usize = 16;
/// Those of a line, for a serializer that writes bodies alone.
static NO_HEADERS: Headers = Headers::new();

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "file_roll",
        class_names: &["org.apache.flume.sink.RollingFileSink"],
        keys: FileRollSettings::KEYS,
        doc: "Writes events to files of a local directory and begins a new file every so many seconds.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let sink = FileRoll::from_config(config, problems)?;
    let batch_size = Some(("sink.batchSize", sink.settings.batch_size));
    Some(Built { component: Box::new(sink), batch_size })
}

/// The sink.
struct FileRoll {
    settings: FileRollSettings,
    naming: Naming,
    serializer: Box<dyn EventSerializer>,
    ledger: Arc<Ledger>,
    running: Option<Running>,
    /// The open file; `None` before the first, and after a failure.
    output: Option<Output>,
    /// The last call failed: what was delivered before it and not flushed is gone, and must not be released.
    failed: bool,
    /// Something was delivered since the last flush began.
    unflushed: bool,
    /// One event's bytes, while comparing.
    scratch: Vec<u8>,
    /// How the next start syncs, if not as usual.
    sync_one: Option<syncer::SyncOne>,
}

/// What a start makes.
struct Running {
    context: SinkContext,
    paths: PathManager,
    directory: Target,
    syncer: Syncer,
    latch: Latch,
    next_roll: Option<Instant>,
}

impl FileRoll {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = FileRollSettings::load(config, problems)?;
        let serializer = serializers::build(&settings.serializer, "sink.serializer", config, problems);
        let naming = Naming::of(
            &settings.path_manager,
            settings.prefix.clone(),
            settings.extension.clone(),
            "sink.pathManager",
            config,
            problems,
        );
        if settings.roll_interval < 0 {
            problems.warn(config, "sink.rollInterval", "below 0: files are never rolled, as with 0");
        }
        let (mut serializer, mut naming) = (serializer?, naming?);
        if let Some(codec) = Codec::for_files(&settings.compression) {
            let level = compression_level(codec, settings.compression_level, config, problems)?;
            serializer = Box::new(Compressed::new(serializer, codec, level));
            let dot = if naming.extension.is_empty() { "" } else { "." };
            naming.extension = format!("{}{dot}{}", naming.extension, codec.extension());
        }
        let ledger = Arc::new(Ledger::new(serializer.layout()));
        Some(Self {
            settings,
            naming,
            serializer,
            ledger,
            running: None,
            output: None,
            failed: false,
            unflushed: false,
            scratch: Vec::new(),
            sync_one: None,
        })
    }

    fn roll_interval(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.settings.roll_interval).ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// Makes sure that a file is open, and that nothing has failed since.
    async fn ready(&mut self) -> Result<(), SinkError> {
        if self.running.is_none() {
            return Err(SinkError::plain("the sink is not started"));
        }
        if self.ledger.is_broken() {
            self.close("given up");
        }
        if self.output.is_some() {
            return Ok(());
        }
        let Standing { released, files } = self.ledger.begin_over();
        self.failed = false;
        self.unflushed = false;
        if let Some(running) = &mut self.running {
            running.latch = Latch::default();
        }
        if files.iter().any(|file| file.path.parent() != Some(&self.settings.directory)) {
            tracing::info!("sink.directory is now {}", self.settings.directory.display());
            self.give_up(&files);
            self.ledger.found([]);
            return self.begin_file(released).await;
        }
        match self.go_on(&files, released).map_err(failed)? {
            Some(output) => self.output = Some(output),
            None => self.begin_file(released).await?,
        }
        Ok(())
    }

    /// Begins a file at stream position `start`.
    async fn begin_file(&mut self, start: u64) -> Result<(), SinkError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        loop {
            let path = running.paths.next_path();
            if path.symlink_metadata().is_ok() {
                continue;
            }
            let named = self.ledger.name(&path, start);
            if let Err(error) = running.context.record(vec![named]).await {
                self.ledger.unname();
                running.paths.give_back();
                let message = format!("cannot record {} before it is created: {error}", path.display());
                return Err(SinkError::new(message, error));
            }
            let created =
                File::options().read(true).write(true).create_new(true).mode(0o666).open(&path).and_then(
                    |file| {
                        let metadata = file.metadata()?;
                        Ok((file, metadata))
                    },
                );
            let (file, metadata) = match created {
                Ok(created) => created,
                Err(error) => {
                    self.ledger.unname();
                    if error.kind() == ErrorKind::AlreadyExists {
                        continue;
                    }
                    running.paths.give_back();
                    running.context.metrics.connection_failed.inc();
                    return Err(cannot("create", &path, error));
                }
            };
            self.ledger.created(metadata.dev(), metadata.ino());
            running.context.metrics.connection_created.inc();
            tracing::info!("created {}", path.display());
            let piece = Piece { file: Arc::new(file), path: path.into(), start, length: 0 };
            self.output = Output::over(VecDeque::from([piece]), start);
            if let Some(output) = &mut self.output {
                output.also_dirty(running.directory.clone());
                output.append_with(|out| self.serializer.begin(out)).map_err(failed)?;
                // Whoever looks at a file that waits for its first event finds one of its kind.
                output.write_out().map_err(failed)?;
            }
            return Ok(());
        }
    }

    /// Whether the interval has ended; then the next one ends a whole number of intervals later.
    fn is_roll_due(&mut self) -> bool {
        let interval = self.roll_interval();
        let (Some(running), Some(interval)) = (&mut self.running, interval) else { return false };
        let (Some(due), now) = (running.next_roll, Instant::now()) else { return false };
        if now < due || self.ledger.open_files() >= OPEN_FILES_MAX {
            return false;
        }
        let missed = now.duration_since(due).as_secs() / interval.as_secs();
        let intervals = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        running.next_roll = due.checked_add(interval.saturating_mul(intervals));
        true
    }

    /// Ends the open file and begins the next.
    async fn roll(&mut self) -> Result<(), SinkError> {
        let Some(output) = &mut self.output else { return Ok(()) };
        if output.cut_left_behind().map_err(failed)? == Turn::Cut {
            self.ledger.forget_after(output.path());
        }
        output.append_with(|out| self.serializer.finish(out)).map_err(failed)?;
        output.write_out().map_err(failed)?;
        let end = output.end();
        let dirty = output.take_dirty();
        // All of the old file is durable before a record names the next: a restart takes it for complete.
        if !dirty.is_empty() || self.ledger.released() < end {
            let synced = self.sync(dirty)?;
            wait(synced).await?;
        }
        if !self.unflushed {
            self.ledger.passed_over(end);
        }
        self.close("closed");
        self.begin_file(end).await
    }

    /// Writes the events. Returns those that cannot be written at all, with the reason of the first.
    async fn write(&mut self, events: &Events) -> Result<Option<(String, Vec<u32>)>, SinkError> {
        let plain = self.serializer.writes_plain_lines();
        let mut refused: Option<(String, Vec<u32>)> = None;
        let mut at = 0;
        for slice in events.slices() {
            if let Some(lines) = slice.lines()
                && let Some(output) = &mut self.output
                && plain
                && !output.is_left_behind()
            {
                output.append(lines).map_err(failed)?;
                at += slice.len() as u32;
                continue;
            }
            // Reading the headers of each event out of the chunk costs more than writing its line.
            let events: Box<dyn Iterator<Item = EventRef<'_>> + Send> = match plain {
                true => Box::new(slice.bodies().map(|body| EventRef { headers: &NO_HEADERS, body })),
                false => Box::new(slice.iter()),
            };
            for event in events {
                let mut written = self.write_one(event).map_err(failed)?;
                if let Err(AppendError::NewFile(why)) = &written {
                    tracing::info!("{why}: a new one is begun");
                    self.roll().await?;
                    written = self.write_one(event).map_err(failed)?;
                }
                match written {
                    Ok(()) => {}
                    Err(AppendError::Refused(why)) => {
                        refused.get_or_insert_with(|| (why, Vec::new())).1.push(at);
                    }
                    Err(error) => return Err(SinkError::new(error.to_string(), error)),
                }
                at += 1;
            }
        }
        Ok(refused)
    }

    fn write_one(&mut self, event: EventRef<'_>) -> Result<Result<(), AppendError>, OutputError> {
        let Some(output) = &mut self.output else { return Ok(Ok(())) };
        if !output.is_left_behind() {
            return output.append_with(|out| self.serializer.append(event, out));
        }
        self.scratch.clear();
        if let Err(error) = self.serializer.append(event, &mut self.scratch) {
            return Ok(Err(error));
        }
        if output.append_again(&self.scratch)? == Turn::Cut {
            self.ledger.forget_after(output.path());
        }
        Ok(Ok(()))
    }

    /// Gives the open file its end, unless something was delivered to it that comes again.
    async fn end_file(&mut self) -> Result<(), SinkError> {
        if self.failed || self.unflushed || self.ledger.is_broken() {
            return Ok(());
        }
        let Some(output) = self.output.as_mut().filter(|output| !output.is_left_behind()) else {
            return Ok(());
        };
        output.append_with(|out| self.serializer.finish(out)).map_err(failed)?;
        output.write_out().map_err(failed)?;
        let dirty = output.take_dirty();
        if dirty.is_empty() {
            return Ok(());
        }
        let synced = self.sync(dirty)?;
        wait(synced).await
    }

    fn sync(&self, targets: Vec<Target>) -> Result<Synced, SinkError> {
        let running = self.running.as_ref().ok_or_else(|| SinkError::plain("the sink is not started"))?;
        Ok(running.syncer.sync(targets, &running.latch))
    }

    /// Lets go of the open file with whatever is in its buffer: that was not released, and comes again.
    fn close(&mut self, word: &str) {
        if let (Some(output), Some(running)) = (self.output.take(), &self.running) {
            running.context.metrics.connection_closed.inc();
            tracing::info!("{word} {}", output.path().display());
        }
    }

    /// Gives up after an error, so that the next call begins over.
    fn after(&mut self, result: Result<(), SinkError>) -> Result<(), SinkError> {
        if result.is_err() {
            self.give_back();
        }
        result
    }

    fn give_back(&mut self) {
        self.close("given up");
        self.failed = true;
    }

    fn begin_flush(&mut self) -> Result<Option<FlushFuture>, SinkError> {
        self.unflushed = false;
        let Some(output) = &mut self.output else { return Ok(None) };
        if !output.is_left_behind() {
            output.append_with(|out| self.serializer.flush(out)).map_err(failed)?;
        }
        output.write_out().map_err(failed)?;
        let (end, dirty) = (output.end(), output.take_dirty());
        let synced = self.sync(dirty)?;
        let mark = self.ledger.begin_flush(end);
        Ok(Some(Box::pin(async move {
            wait(synced).await?;
            let given_up = || SinkError::plain("an earlier delivery failed: this one was given back with it");
            Ok(vec![mark.done().ok_or_else(given_up)?])
        })))
    }
}

#[async_trait]
impl Sink for FileRoll {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.settings.batch_size)
    }

    fn window(&self) -> Window {
        WINDOW
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.output = None;
        let directory = &self.settings.directory;
        let name = |what: &str| format!("sink.directory {}: {what}", directory.display());
        let metadata =
            directory.metadata().map_err(|error| SinkError::new(name(&error.to_string()), error))?;
        if !metadata.is_dir() {
            return Err(SinkError::plain(name("not a directory")));
        }
        let file = File::open(directory).map_err(|error| SinkError::new(name(&error.to_string()), error))?;
        let target = Target { file: Arc::new(file), path: directory.as_path().into(), directory: true };
        let sync_one = self.sync_one.take().unwrap_or_else(|| Box::new(syncer::sync_one));
        let syncer = Syncer::spawn(&context.name, sync_one)
            .map_err(|error| SinkError::new(format!("cannot start a thread: {error}"), error))?;
        self.adopt(context);
        self.running = Some(Running {
            context: context.clone(),
            paths: self.naming.manager(directory),
            directory: target,
            syncer,
            latch: Latch::default(),
            next_roll: self.roll_interval().and_then(|interval| Instant::now().checked_add(interval)),
        });
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let result = async {
            self.ready().await?;
            // What is left behind comes again in this very delivery; rolling first would cut it off and write it anew.
            if !self.output.as_ref().is_some_and(Output::is_left_behind) && self.is_roll_due() {
                self.roll().await?;
            }
            self.unflushed = true;
            self.write(events).await
        }
        .await;
        match result {
            Ok(None) => Ok(()),
            Ok(Some((why, refused))) => {
                let error = self.running.as_ref().map(|running| running.context.refuse(why, refused));
                match error {
                    // The others stand as delivered.
                    Some(error) if !error.refused.is_empty() => Err(error),
                    error => self.after(error.map_or(Ok(()), Err)),
                }
            }
            Err(error) => self.after(Err(error)),
        }
    }

    fn flush(&mut self) -> FlushFuture {
        let result = if self.failed || self.ledger.is_broken() {
            Err(SinkError::plain(
                "an earlier delivery or flush failed: what was delivered since is given back with it",
            ))
        } else {
            self.begin_flush()
        };
        match result {
            Ok(Some(flush)) => flush,
            Ok(None) => Box::pin(std::future::ready(Ok(Vec::new()))),
            Err(error) => {
                self.give_back();
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        let result = async {
            self.ready().await?;
            if self.is_roll_due() { self.roll().await } else { Ok(()) }
        }
        .await;
        self.after(result)
    }

    async fn stop(&mut self) {
        if let Err(error) = self.end_file().await {
            tracing::warn!("{error}: the open file may lack its end");
        }
        self.close("closed");
        self.running = None;
    }
}

/// The level that the key asks for, or the usual one.
fn compression_level(
    codec: Codec,
    wanted: Option<i64>,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<i32> {
    let (min, usual, max) = codec.levels();
    let Some(wanted) = wanted else { return Some(usual) };
    let level = i32::try_from(wanted).ok().filter(|level| (min..=max).contains(level));
    if level.is_none() {
        problems.error(
            config,
            "sink.compressionLevel",
            format!("{wanted}: {codec} has levels {min} to {max}"),
        );
    }
    level
}

async fn wait(synced: Synced) -> Result<(), SinkError> {
    match synced.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(SinkError::new(error.to_string(), error)),
        Err(_gone) => Err(SinkError::plain("the sync thread has ended")),
    }
}

fn failed(error: OutputError) -> SinkError {
    SinkError::new(error.to_string(), error)
}

fn cannot(what: &'static str, path: &Path, error: std::io::Error) -> SinkError {
    failed(OutputError { what, path: path.to_path_buf(), error })
}
