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

mod ledger;
mod output;
pub mod record;
mod settings;
mod syncer;
#[cfg(test)]
mod tests;

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
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};

use crate::paths::{Naming, PathManager};
use crate::serializers::{self, EventSerializer};
use ledger::{KEY, Ledger, Standing, Stretch};
use output::{Output, OutputError, Piece, Turn};
use record::{Named, Record};
pub use settings::FileRollSettings;
use syncer::{Latch, Synced, Syncer, Target};

/// What may be delivered and not synced: large enough to keep a disk busy with large writes, small enough to be
/// written again soon after a kill.
const WINDOW: Window =
    Window { events: usize::MAX, bytes: 4 << 20, time: Duration::from_millis(20), flushes: 3 };

/// Rolling waits for releases when so many files hold what is not released: each is named in every record.
const OPEN_FILES_MAX: usize = 16;

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
        let serializer = serializers::build(
            &settings.serializer,
            "sink.serializer",
            &settings.serializer_keys,
            config,
            problems,
        );
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
        let (serializer, naming) = (serializer?, naming?);
        let ledger = Arc::new(Ledger::new(serializer.layout()));
        Some(Self {
            settings,
            naming,
            serializer,
            ledger,
            running: None,
            output: None,
            failed: false,
            scratch: Vec::new(),
            sync_one: None,
        })
    }

    fn roll_interval(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.settings.roll_interval).ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// Takes over what the channel holds.
    fn adopt(&self, context: &SinkContext) {
        let Some(position) = context.positions().remove(KEY) else { return };
        let files = match Record::decode(&position.rest) {
            Ok(record) if record.layout == self.serializer.layout() => record.files,
            Ok(record) => {
                tracing::info!("files were begun as {}: a new one is begun", record.layout);
                self.give_up(&record.files);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!("{}: {error}; a new file is begun", context.name);
                Vec::new()
            }
        };
        self.ledger.adopt(&position, files);
    }

    /// Cuts files that are not continued to what is released in them: the rest comes again, to another file.
    fn give_up(&self, files: &[Named]) {
        for named in files {
            let result = open_recorded(named).and_then(|piece| match piece {
                Some(piece) if piece.length > named.length => {
                    piece.cut(named.length)?;
                    piece.file.sync_data().map_err(|error| OutputError {
                        what: "sync",
                        path: named.path.clone(),
                        error,
                    })
                }
                _ => Ok(()),
            });
            if let Err(error) = result {
                tracing::warn!("{error}: what follows its first {} bytes comes again", named.length);
            }
        }
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
        if let Some(running) = &mut self.running {
            running.latch = Latch::default();
        }
        if files.iter().any(|file| file.path.parent() != Some(&self.settings.directory)) {
            tracing::info!("sink.directory is now {}", self.settings.directory.display());
            self.give_up(&files);
            self.ledger.found([]);
            return self.begin_file(released).await;
        }
        let mut pieces = VecDeque::new();
        let mut stretches = Vec::new();
        let mut start = released;
        for named in &files {
            let Some(piece) = open_recorded(named).map_err(failed)? else { continue };
            let metadata = piece.file.metadata().map_err(|error| cannot("look at", &named.path, error))?;
            let start_here = start - named.length;
            start = start_here + piece.length;
            stretches.push(Stretch {
                path: named.path.clone(),
                device: metadata.dev(),
                inode: metadata.ino(),
                start: start_here,
            });
            pieces.push_back(Piece { start: start_here, ..piece });
        }
        self.ledger.found(stretches);
        let Some(mut output) = Output::over(pieces, released) else {
            return self.begin_file(released).await;
        };
        tracing::info!("continuing {}", output.path().display());
        if let Some(running) = &self.running {
            // The file may have been created by a life that ended before the directory was synced.
            output.also_dirty(running.directory.clone());
            running.context.metrics.connection_created.inc();
        }
        self.output = Some(output);
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
        output.write_out().map_err(failed)?;
        let end = output.end();
        let dirty = output.take_dirty();
        // All of the old file is durable before a record names the next: a restart takes it for complete.
        if !dirty.is_empty() || self.ledger.released() < end {
            let synced = self.sync(dirty)?;
            wait(synced).await?;
        }
        self.close("closed");
        self.begin_file(end).await
    }

    fn write(&mut self, events: &Events) -> Result<(), OutputError> {
        let Some(output) = &mut self.output else { return Ok(()) };
        let plain = self.serializer.writes_plain_lines();
        for slice in events.slices() {
            match slice.lines() {
                Some(lines) if plain && !output.is_left_behind() => output.append(lines)?,
                _ => {
                    for event in slice.iter() {
                        if !output.is_left_behind() {
                            output.append_with(|out| self.serializer.append(event, out))?;
                            continue;
                        }
                        self.scratch.clear();
                        self.serializer.append(event, &mut self.scratch);
                        if output.append_again(&self.scratch)? == Turn::Cut {
                            self.ledger.forget_after(output.path());
                        }
                    }
                }
            }
        }
        Ok(())
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
        let Some(output) = &mut self.output else { return Ok(None) };
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
            self.write(events).map_err(failed)
        }
        .await;
        self.after(result)
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
        self.close("closed");
        self.running = None;
    }
}

/// Opens a file of which earlier bytes are released; `None`, with a log line, if it is not what was recorded.
fn open_recorded(named: &Named) -> Result<Option<Piece>, OutputError> {
    let path = &named.path;
    let fault = |what| move |error| OutputError { what, path: path.clone(), error };
    let leave = |why: &str| {
        tracing::warn!("{} {why}: it is left alone, and a new file is begun", path.display());
        Ok(None)
    };
    // Looked at before it is opened: opening a pipe that somebody put there would wait for its reader.
    match path.symlink_metadata() {
        // Named, and never created.
        Err(error) if error.kind() == ErrorKind::NotFound && named.inode == 0 => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return leave("is gone"),
        Err(error) => return Err(fault("look at")(error)),
        Ok(metadata) if !metadata.is_file() => return leave("is no file any more"),
        Ok(_) => {}
    }
    let file = File::options().read(true).write(true).open(path).map_err(fault("open"))?;
    let metadata = file.metadata().map_err(fault("look at"))?;
    if named.inode != 0 && (metadata.dev(), metadata.ino()) != (named.device, named.inode) {
        return leave("is another file than the one that was written");
    }
    if metadata.len() < named.length {
        return leave("is shorter than what was written durably");
    }
    let path: Arc<Path> = path.as_path().into();
    Ok(Some(Piece { file: Arc::new(file), path, start: 0, length: metadata.len() }))
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
