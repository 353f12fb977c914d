//! The sink at work: what the runner calls, and when files end.
//!
//! ```text
//!   start      the client, the journal; files that an earlier life left are finished                       `start`
//!   deliver    after a failure begin over; then each event to the file of its bucket                       `write`
//!   flush      every file with something new is synced, or ended where a file cannot be synced; the answer
//!              completes what the ledger wrote down when the flush began
//!   idle       files whose time is over end; those all of which is released get their last name
//!   stop       all files end, and are finished, as far as time allows
//! ```

mod start;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::settings::Process;
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};

use self::start::Running;
use super::buckets::{Affixes, Buckets, Rolls};
use super::client::{Access, Fault};
use super::finish::Tries;
use super::format::FileFormat;
use super::hand::{Answer, Backlog, Ended, Hand};
use super::ledger::Ledger;
use super::location::{Location, Place};
use super::small::SmallFiles;
use super::store::StorePlan;
use crate::escapes::{Policy, Template, TimeRules};

/// What may be delivered and not synced. A sync of HDFS is an answer of all DataNodes of a block and one of the NameNode, for
/// each file: the more events share one, the better for all.
const WINDOW: Window =
    Window { events: usize::MAX, bytes: 4 << 20, time: Duration::from_millis(100), flushes: 3 };

/// The same for an object store, where a flush is two requests at least, and wants the bytes of some parts.
const STORE_WINDOW: Window =
    Window { events: usize::MAX, bytes: 32 << 20, time: Duration::from_secs(2), flushes: 3 };

/// What may wait to be uploaded where nothing is flushed before its object ends, and no window bounds it.
const BACKLOG_MAX: usize = 32 << 20;

/// How often the sink looks for files whose time is over.
const LOOK: Duration = Duration::from_millis(200);
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
    /// What the open files' hands have before them.
    backlog: Backlog,
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
    hand: Hand,
    answer: Answer,
    /// Its length, if the next flush is to release it.
    unflushed: Option<u64>,
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
            backlog: Backlog::default(),
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
        match self.goes_on_whole() {
            true => self.look_at_hands(),
            false => {
                self.end_due();
                Ok(())
            }
        }
    }

    /// Fails where a file's writer has failed. No flush says so before the object's end, and all of that is lost labour.
    fn look_at_hands(&self) -> Result<(), SinkError> {
        match self.buckets.fault() {
            Some(fault) => Err(failed(fault.clone())),
            None => Ok(()),
        }
    }

    /// What was not released has gone back to the channel. Files that have something of it are finished with what is
    /// released of them; the others go on.
    fn begin_over(&mut self) {
        self.failed = false;
        self.suspect = true;
        self.ledger.begin_over();
        for Closing { number, hand, answer, .. } in std::mem::take(&mut self.closing) {
            let ended = match self.ledger.is_complete(number) {
                true => Ended::Closed(answer),
                // What it writes yet would come behind the file's end.
                false => hand.drop_file(),
            };
            self.finish(number, ended);
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
                self.finish(number, Ended::Closed(open.hand.close()));
            } else {
                self.finish(number, open.hand.drop_file());
            }
            self.closed();
        }
    }

    fn finish(&self, number: u64, ended: Ended) {
        if let (Some(running), Some(left)) = (&self.running, self.ledger.left(number)) {
            running.finisher.finish(left, ended);
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
                self.finish(file.number, Ended::Closed(file.answer));
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
        self.small.ended(open.handed());
        let (number, hand) = (open.number, open.hand);
        let (answer, unflushed) = (hand.close(), pending.then_some(length));
        self.closing.push(Closing { number, hand, answer, unflushed });
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

    /// Whether nothing of a file can be released before all of it.
    fn goes_on_whole(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.flushes)
    }

    fn begin_flush(&mut self) -> FlushFuture {
        if self.goes_on_whole() {
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
            running.finisher.finish(left, Ended::Gone);
        }
        self.running = Some(running);
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let result = match self.ready().await {
            Ok(()) => self.write(events).await,
            Err(error) => Err(error),
        };
        if self.goes_on_whole() {
            self.backlog.is_below(BACKLOG_MAX).await;
        }
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

    /// Where flushing is off, takes are released when their objects are whole at the store: all that are open end together, for a take may
    /// have gone to any of them, and is released once. So this is where they end, and not in front of a take, which would be an
    /// object of its own.
    fn holds(&mut self) -> bool {
        if self.failed || !self.goes_on_whole() {
            return false;
        }
        self.end_due();
        !self.closing.iter().any(|file| file.unflushed.is_some()) && !self.buckets.has_full()
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
        match self.goes_on_whole() {
            true => {
                let result = self.look_at_hands();
                self.after(result)
            }
            false => Ok(()),
        }
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
