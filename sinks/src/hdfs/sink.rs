//! The sink at work.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::event::{EventRef, Headers};
use flumen_api::serializer::AppendError;
use flumen_api::settings::Process;
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use tokio::runtime::{Builder, Runtime};

use super::buckets::{Affixes, Buckets, Open, Rolls};
use super::client::{Access, Cause, Client, Fault, FileSystem, Hdfs, Local};
use super::conf::HadoopConf;
use super::finish::{Finisher, Tries};
use super::format::FileFormat;
use super::hand::{Answer, Hand};
use super::journal::Journal;
use super::ledger::Ledger;
use super::location::{Location, Place, Reached};
use super::record::Names;
use super::small::SmallFiles;
use super::store::StorePlan;
use crate::escapes::{Escaper, HostNames, Lacking, Policy, Template, TimeRules};

/// What may be delivered and not synced. A sync of HDFS is an answer of all DataNodes of a block and one of the NameNode, for
/// each file: the more events share one, the better for all.
const WINDOW: Window =
    Window { events: usize::MAX, bytes: 4 << 20, time: Duration::from_millis(100), flushes: 3 };

/// The same for an object store, where a flush is two requests at least, and wants the bytes of some parts.
const STORE_WINDOW: Window =
    Window { events: usize::MAX, bytes: 32 << 20, time: Duration::from_secs(2), flushes: 3 };

/// How often the sink looks for files whose time is over.
const LOOK: Duration = Duration::from_millis(200);
/// Names are tried so often where others are taken.
const NAMES_MAX: u32 = 100;
/// How long a stop waits for files to be closed and renamed. The process waits 20 s for all.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// The longest rest after a failure.
const REST_MAX: u64 = 10;

/// What the keys say.
#[derive(Clone)]
pub(super) struct Plan {
    pub location: Location,
    pub path: Template,
    pub prefix: Template,
    pub time: TimeRules,
    pub policy: Policy,
    pub affixes: Affixes,
    pub rolls: Rolls,
    pub format: FileFormat,
    pub batch_size: usize,
    pub max_open_files: usize,
    pub calls_at_once: usize,
    pub call_limit: Option<Duration>,
    pub tries: Tries,
    pub access: Access,
    pub store: StorePlan,
    pub exactly_once: bool,
    /// Where the journal is, if the channel does not keep it.
    pub journal: Option<PathBuf>,
    pub process: Process,
}

/// The sink.
pub(super) struct HdfsSink {
    plan: Plan,
    /// Whether whole runs of lines are what the files hold.
    takes_lines: bool,
    ledger: Arc<Ledger>,
    buckets: Buckets,
    /// Files that are being closed.
    closing: Vec<Closing>,
    running: Option<Running>,
    /// The last call failed: what was delivered before it and not flushed is given back.
    failed: bool,
    /// The file system has failed, and nobody has seen it work since.
    suspect: bool,
    next_look: Instant,
    small: SmallFiles,
}

/// A file that gets no more events.
struct Closing {
    number: u64,
    answer: Answer,
    /// Its length, if the next flush is to release it.
    unflushed: Option<u64>,
}

/// What a start makes.
struct Running {
    context: SinkContext,
    client: Client,
    /// The file system, as the journal has it.
    place: String,
    journal: Journal,
    finisher: Finisher,
    paths: Escaper,
    prefixes: Escaper,
    /// A file can be flushed, and goes on.
    flushes: bool,
    /// There is a dead letter for what is refused.
    buries: bool,
    // Last, for its tasks end with it.
    workers: Workers,
}

/// The threads of the file system's client. Whatever hangs there ends with the sink.
struct Workers(Option<Runtime>);

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropped by itself it would wait for its tasks, which tokio forbids here.
            runtime.shutdown_background();
        }
    }
}

/// Events that were refused, and why the first was.
#[derive(Default)]
struct Refused {
    why: String,
    which: Vec<u32>,
}

impl Refused {
    fn add(&mut self, why: impl Into<String>, which: Range<u32>) {
        if self.which.is_empty() {
            self.why = why.into();
        }
        self.which.extend(which);
    }
}

impl HdfsSink {
    pub fn new(plan: Plan) -> Self {
        // Numbers of files go on rising from life to life, unless the clock is set back by more than the life before took.
        let first_file = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let takes_lines = plan.format.writer().is_ok_and(|format| format.writes_plain_lines());
        Self {
            buckets: Buckets::new(plan.affixes.clone(), plan.rolls),
            plan,
            takes_lines,
            ledger: Arc::new(Ledger::new(u64::try_from(first_file).unwrap_or(u64::MAX / 2))),
            closing: Vec::new(),
            running: None,
            failed: false,
            suspect: false,
            next_look: Instant::now(),
            small: SmallFiles::new(Instant::now()),
        }
    }

    fn running(&self) -> Result<&Running, SinkError> {
        self.running.as_ref().ok_or_else(|| SinkError::plain("the sink is not started"))
    }

    /// Makes sure that nothing has failed since, that the file system works, and that files end when they should.
    async fn ready(&mut self) -> Result<(), SinkError> {
        let client = self.running()?.client.clone();
        if self.failed || self.ledger.is_broken() {
            self.begin_over();
        }
        self.finish_complete();
        if self.suspect {
            // Before a file is named and created, of which nobody would know whether it is there.
            client.length("/").await.map_err(failed)?;
            self.suspect = false;
        }
        self.end_due();
        Ok(())
    }

    /// What was not released has gone back to the channel. Files that have something of it are finished with what is
    /// released of them; the others go on.
    fn begin_over(&mut self) {
        self.failed = false;
        self.suspect = true;
        self.ledger.begin_over();
        for Closing { number, answer, .. } in std::mem::take(&mut self.closing) {
            let whole = self.ledger.is_complete(number);
            self.finish(number, whole.then_some(answer));
        }
        for at in self.buckets.all_open() {
            let Some(open) = self.buckets.open(at) else { continue };
            let released = self.ledger.released(open.number);
            if !open.pending && open.length() == released {
                continue;
            }
            let Some(open) = self.buckets.take(at) else { continue };
            let number = open.number;
            if open.handed() == released {
                // What comes again never left this process.
                let answer = open.hand.close();
                self.finish(number, Some(answer));
            } else {
                open.hand.drop_file();
                self.finish(number, None);
            }
            self.closed();
        }
    }

    fn finish(&self, number: u64, closed: Option<Answer>) {
        if let (Some(running), Some(left)) = (&self.running, self.ledger.left(number)) {
            running.finisher.finish(left, closed);
        }
    }

    fn closed(&self) {
        if let Some(running) = &self.running {
            running.context.metrics.connection_closed.inc();
        }
    }

    /// Finishes the files all of which is released.
    fn finish_complete(&mut self) {
        let closing = std::mem::take(&mut self.closing);
        for file in closing {
            if file.unflushed.is_none() && self.ledger.is_complete(file.number) {
                self.finish(file.number, Some(file.answer));
            } else {
                self.closing.push(file);
            }
        }
    }

    /// Ends the bucket's file, which gets no more events.
    fn seal(&mut self, at: usize) {
        let Some(mut open) = self.buckets.take(at) else { return };
        let (before, pending) = (open.length(), open.pending);
        open.end();
        // What a file ends with belongs to no event.
        let length = if pending { open.handed() } else { before };
        self.ledger.seal(open.number, length);
        if let (Some(left), Some(running)) = (self.ledger.left(open.number), &self.running) {
            tracing::info!(sink = %running.context.name, "Closing {}", left.names.in_use);
        }
        self.small.ended(open.handed());
        let answer = open.hand.close();
        self.closing.push(Closing { number: open.number, answer, unflushed: pending.then_some(length) });
        self.closed();
    }

    /// Ends the files whose time is over, and their buckets.
    fn end_due(&mut self) {
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        for at in self.buckets.due() {
            self.seal(at);
            self.buckets.remove(at);
        }
        let block = self.running.as_ref().and_then(|running| running.client.block_size());
        if let (Some(advice), Some(running)) = (self.small.advice(now, block), &self.running) {
            tracing::warn!(sink = %running.context.name, "{advice}");
        }
        self.finish_complete();
    }

    /// Makes sure that the bucket has an open file with room for a body of so many bytes. `Err` inside: its path is refused, for this reason.
    async fn open(&mut self, at: usize, body_bytes: usize) -> Result<Result<(), String>, SinkError> {
        if self.buckets.is_full(at, body_bytes) {
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
                    return Ok(Open::new(number, Hand::new(file, made, &runtime), format));
                }
                Err(fault) => fault,
            };
            if fault.cause == Cause::Unknown {
                // It may be there, or come yet.
                self.finish(number, None);
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

    async fn write(&mut self, events: &Events) -> Result<Refused, SinkError> {
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
                && self.buckets.has_room(at, slice.len(), slice.body_bytes())
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

    fn begin_flush(&mut self) -> FlushFuture {
        let flushes = self.running.as_ref().is_none_or(|running| running.flushes);
        if !flushes {
            // What is to be released has to be complete.
            for at in self.buckets.all_open() {
                if self.buckets.open(at).is_some_and(|open| open.pending) {
                    self.seal(at);
                }
            }
        }
        let (mut targets, mut answers) = (Vec::new(), Vec::new());
        for file in &mut self.closing {
            if let Some(length) = file.unflushed.take() {
                targets.push((file.number, length));
                answers.push(file.answer.clone());
            }
        }
        for at in self.buckets.all_open() {
            if let Some(open) = self.buckets.open(at).filter(|open| open.pending) {
                open.flush();
                targets.push((open.number, open.handed()));
                answers.push(open.hand.sync());
            }
        }
        let mark = self.ledger.begin_flush(targets);
        let ledger = self.ledger.clone();
        Box::pin(async move {
            for answer in answers {
                answer.wait().await.map_err(|fault| rested(failed(fault), &ledger))?;
            }
            let given_up = || SinkError::plain("an earlier delivery failed: this one was given back with it");
            mark.done().ok_or_else(given_up)
        })
    }

    fn after(&mut self, result: Result<(), SinkError>) -> Result<(), SinkError> {
        result.map_err(|error| {
            self.failed = true;
            rested(error, &self.ledger)
        })
    }

    fn connect(&mut self, context: &SinkContext) -> Result<Running, SinkError> {
        let plan = &self.plan;
        let (mut staging, mut flushes) = (None, true);
        let conf = HadoopConf::load(&plan.process).map_err(SinkError::plain)?;
        let no_threads = |error| SinkError::new("cannot start the threads of the client", error);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("hdfs-{}", context.name))
            .enable_all()
            .build()
            .map_err(no_threads)?;
        let handle = runtime.handle().clone();
        let workers = Workers(Some(runtime));
        let reached = plan.location.reached(&conf).map_err(SinkError::plain)?;
        let place = reached.to_string();
        let files: Arc<dyn FileSystem> = match reached {
            Reached::Local => Arc::new(Local),
            Reached::Cluster(url) => {
                let access = access(&plan.access)?;
                Arc::new(Hdfs::new(&url, &conf, &access, &handle).map_err(SinkError::plain)?)
            }
            Reached::ObjectStore(uri) => {
                let store = plan.store.open(&uri, &conf, &plan.process, &handle);
                (staging, flushes) = (Some(plan.store.staging(&conf)), plan.store.flushes(&conf));
                Arc::new(store.map_err(SinkError::plain)?)
            }
        };
        for file in &conf.read {
            tracing::info!(sink = %context.name, "read {}", file.display());
        }
        let hosts = match plan.path.needs_hosts() || plan.prefix.needs_hosts() {
            true => HostNames::look_up().map_err(SinkError::plain)?,
            false => HostNames::default(),
        };
        let escaper = |template| {
            let fell_back = context.metrics.fell_back.clone();
            Escaper::new(template, &hosts, plan.time.clone(), plan.policy.clone(), fell_back)
        };
        let client = Client::new(files, plan.call_limit, plan.calls_at_once);
        let journal = Journal::open(context, plan.journal.as_deref());
        let finisher = Finisher::new(
            client.beside(plan.calls_at_once.div_ceil(2)),
            place.clone(),
            self.ledger.clone(),
            journal.clone(),
            context.clone(),
            handle,
            plan.tries,
        );
        self.buckets.stage_below(staging);
        Ok(Running {
            client,
            place,
            journal,
            finisher,
            paths: escaper(&plan.path),
            prefixes: escaper(&plan.prefix),
            flushes,
            // Asked in the only way there is.
            buries: !context.refuse("", vec![0]).refused.is_empty(),
            context: context.clone(),
            workers,
        })
    }
}

/// With this host's name in the principal, where `_HOST` stands for it.
fn access(access: &Access) -> Result<Access, SinkError> {
    let mut access = access.clone();
    if let Some((principal, _)) = &mut access.kerberos
        && principal.contains("_HOST")
    {
        let host = HostNames::look_up().map_err(SinkError::plain)?.canonical.to_lowercase();
        *principal = principal.replace("_HOST", &host);
    }
    Ok(access)
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

fn failed(fault: Fault) -> SinkError {
    SinkError::new(fault.to_string(), fault)
}

/// With a rest that grows with each failure in a row: an outage is to cost neither time nor log lines, and its end is to be
/// noticed soon.
fn rested(error: SinkError, ledger: &Ledger) -> SinkError {
    let rest = Duration::from_secs((1 << (ledger.failed() - 1).min(4)).min(REST_MAX));
    SinkError { retry_after: error.retry_after.or(Some(rest)), ..error }
}

#[async_trait]
impl Sink for HdfsSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.plan.batch_size)
    }

    fn window(&self) -> Window {
        match self.plan.location.place {
            Place::ObjectStore(_) => STORE_WINDOW,
            _ => WINDOW,
        }
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        if self.plan.exactly_once && !context.is_durable() {
            return Err(SinkError::plain(
                "hdfs.exactlyOnce needs a channel that keeps which file has which events: `type = file`",
            ));
        }
        // An earlier start's threads, locks and leases.
        self.running = None;
        let running = self.connect(context)?;
        // A panic may have left anything; what was released is known.
        self.buckets.clear();
        self.closing.clear();
        self.ledger.begin_over();
        self.failed = false;
        self.suspect = false;
        let unread = self.ledger.adopt(&running.journal.positions());
        for why in unread {
            tracing::warn!(sink = %context.name, "{why}: it is left as it is");
        }
        let left = self.ledger.all();
        if !left.is_empty() {
            tracing::info!(sink = %context.name, "{} files that were begun earlier are finished", left.len());
        }
        for left in left {
            running.finisher.finish(left, None);
        }
        self.running = Some(running);
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let result = match self.ready().await {
            Ok(()) => self.write(events).await,
            Err(error) => Err(error),
        };
        let refused = match result {
            Ok(refused) if refused.which.is_empty() => return Ok(()),
            Ok(refused) => refused,
            Err(error) => return self.after(Err(error)),
        };
        match self.running()?.context.refuse(refused.why, refused.which) {
            // The others stand as delivered.
            error if !error.refused.is_empty() => Err(error),
            error => self.after(Err(error)),
        }
    }

    fn flush(&mut self) -> FlushFuture {
        if self.failed || self.ledger.is_broken() {
            let message =
                "an earlier delivery or flush failed: what was delivered since is given back with it";
            return Box::pin(std::future::ready(Err(SinkError::plain(message))));
        }
        self.begin_flush()
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        if self.running.is_none() {
            return Ok(());
        }
        if self.failed || self.ledger.is_broken() {
            self.begin_over();
        }
        self.end_due();
        self.finish_complete();
        Ok(())
    }

    async fn stop(&mut self) {
        // Everything that was delivered has been flushed, or was given back.
        self.begin_over();
        for at in self.buckets.all_open() {
            self.seal(at);
        }
        self.buckets.clear();
        self.finish_complete();
        if let Some(running) = self.running.take() {
            running.finisher.wait(STOP_LIMIT).await;
        }
    }
}
