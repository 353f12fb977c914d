//! From events to bytes of files: an event's path and prefix name its bucket, whose file is begun where there is none.
//!
//! A file is begun in this order, so that no kill leaves one that nobody knows of:
//!
//! ```text
//!   journal: the names durable  ->  create, never over another  ->  journal: it was created  ->  the first bytes
//! ```
//!
//! What one path or one event is refused for goes to the dead letter where there is one; anything else fails the delivery.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use flumen_api::chunk::Events;
use flumen_api::event::{EventRef, Headers};
use flumen_api::serializer::AppendError;
use flumen_api::sink::SinkError;

use super::super::buckets::Open;
use super::super::client::Cause;
use super::super::hand::{Ended, Hand};
use super::super::record::Names;
use super::{HdfsSink, failed};
use crate::escapes::Lacking;

/// Names are tried so often where others are taken.
const NAMES_MAX: u32 = 100;

/// Events that were refused, and why the first was.
#[derive(Default)]
pub(super) struct Refused {
    pub why: String,
    pub which: Vec<u32>,
}

impl Refused {
    fn add(&mut self, why: impl Into<String>, which: Range<u32>) {
        if self.which.is_empty() {
            self.why = why.into();
        }
        self.which.extend(which);
    }
}

/// Why there is no new file.
enum Beginning {
    /// The path is refused.
    Denied(String),
    Failed(SinkError),
}

impl From<SinkError> for Beginning {
    fn from(error: SinkError) -> Self {
        Self::Failed(error)
    }
}

impl HdfsSink {
    /// The bucket for events with these headers.
    fn place(&mut self, headers: &Headers, now: i64) -> Result<Result<usize, Lacking>, SinkError> {
        let Some(running) = &mut self.running else {
            return Err(SinkError::plain("the sink is not started"));
        };
        let path = match running.paths.resolve(headers, now) {
            Ok(path) => path,
            Err(lacking) => return Ok(Err(lacking)),
        };
        Ok(running.prefixes.resolve(headers, now).map(|prefix| self.buckets.place(path, prefix)))
    }

    /// Writes the events to the files of their buckets, and says which are refused.
    pub(super) async fn write(&mut self, events: &Events) -> Result<Refused, SinkError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut refused = Refused::default();
        let mut first: u32 = 0;
        for slice in events.slices() {
            let next = first + slice.len() as u32;
            if self.takes_lines
                && let (Some(lines), Some(headers)) = (slice.lines(), slice.common_headers())
                && let Ok(at) = self.place(headers, now)?
                && self.open(at, 0).await?.is_ok()
                && (self.goes_on_whole() || self.buckets.has_room(at, slice.len(), slice.body_bytes()))
            {
                if let Some(open) = self.buckets.open(at) {
                    open.append_lines(lines, slice.len(), slice.body_bytes());
                }
            } else {
                for (event, which) in slice.iter().zip(first..next) {
                    if let Err(why) = self.write_one(event, now).await? {
                        refused.add(why, which..which + 1);
                    }
                }
            }
            first = next;
        }
        Ok(refused)
    }

    /// `Err` inside: the event is refused, for this reason.
    async fn write_one(&mut self, event: EventRef<'_>, now: i64) -> Result<Result<(), String>, SinkError> {
        let at = match self.place(event.headers, now)? {
            Ok(at) => at,
            Err(lacking) => return Ok(Err(lacking.to_string())),
        };
        // A second file where the first cannot take the event, and no third.
        for is_last in [false, true] {
            if let Err(why) = self.open(at, event.body.len()).await? {
                return Ok(Err(why));
            }
            let Some(open) = self.buckets.open(at) else { continue };
            match open.append(event) {
                Ok(()) => return Ok(Ok(())),
                Err(AppendError::Refused(why)) => return Ok(Err(why)),
                Err(AppendError::NewFile(why)) if !is_last && !open.is_empty() => {
                    if let Some(running) = &self.running {
                        tracing::info!(sink = %running.context.name, "{why}: a new file is begun");
                    }
                    self.seal(at);
                }
                Err(error) => return Err(SinkError::new(error.to_string(), error)),
            }
        }
        Err(SinkError::plain("there is no file for the event"))
    }

    /// Makes sure that the bucket has an open file with room for a body of so many bytes. `Err` inside: its path is refused, for this reason.
    async fn open(&mut self, at: usize, body_bytes: usize) -> Result<Result<(), String>, SinkError> {
        // Files that are released whole end between two takes: see `holds`.
        if self.buckets.is_full(at, body_bytes) && !self.goes_on_whole() {
            self.seal(at);
        }
        if self.buckets.open(at).is_some() {
            return Ok(Ok(()));
        }
        if let Some(why) = self.buckets.denied(at) {
            return Ok(Err(why));
        }
        if self.buckets.open_files() >= self.plan.max_open_files
            && let Some(eldest) = self.buckets.eldest()
        {
            self.seal(eldest);
            self.buckets.remove(eldest);
        }
        match self.begin_file(at).await {
            Ok(open) => {
                self.buckets.put(at, open);
                Ok(Ok(()))
            }
            Err(Beginning::Failed(error)) => Err(error),
            Err(Beginning::Denied(why)) => {
                self.buckets.deny(at, why.clone());
                Ok(Err(why))
            }
        }
    }

    async fn begin_file(&mut self, at: usize) -> Result<Open, Beginning> {
        let running = self.running.as_ref().ok_or_else(|| SinkError::plain("the sink is not started"))?;
        let metrics = &running.context.metrics;
        for _ in 0..NAMES_MAX {
            let names = self.buckets.next_names(at).ok_or_else(|| SinkError::plain("the bucket is gone"))?;
            let names = Names { place: running.place.clone(), ..names };
            let (in_use, mark) = (names.in_use.clone(), names.mark.clone());
            let format = self.plan.format.writer().map_err(SinkError::plain)?;
            let (number, named) = self.ledger.name(names);
            if let Err(error) = running.journal.record(vec![named]).await {
                self.ledger.forget(number);
                let message = format!("cannot note {in_use} before it is created: {error}");
                return Err(SinkError::new(message, error).into());
            }
            let fault = match running.client.create(&in_use, &mark).await {
                Ok(file) => {
                    tracing::info!(sink = %running.context.name, "Creating {in_use}");
                    metrics.connection_created.inc();
                    let runtime = running.workers.0.as_ref().map(|runtime| runtime.handle().clone());
                    let runtime = runtime.ok_or_else(|| SinkError::plain("the sink is stopped"))?;
                    self.buckets.blocks_have(running.client.block_size());
                    let made = running.journal.record(self.ledger.made(number).into_iter().collect());
                    return Ok(Open::new(
                        number,
                        Hand::new(file, made, self.backlog.clone(), &runtime),
                        format,
                    ));
                }
                Err(fault) => fault,
            };
            if fault.cause == Cause::Unknown {
                // It may be there, or come yet.
                self.finish(number, Ended::Gone);
            } else {
                // Nobody waits: what is lost of it is a name of a file that is not there.
                drop(running.journal.record(vec![self.ledger.forget(number)]));
            }
            match fault.cause {
                Cause::Exists => continue,
                Cause::Path if running.buries => {
                    metrics.connection_failed.inc();
                    return Err(Beginning::Denied(fault.to_string()));
                }
                _ => {
                    metrics.connection_failed.inc();
                    return Err(failed(fault).into());
                }
            }
        }
        Err(SinkError::plain("all names that were tried for a new file are taken").into())
    }
}
