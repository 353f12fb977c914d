//! Finishing files: what a sealed file, a broken one and one that an earlier life left have in common.
//!
//! ```text
//!   record   what is released of the file is durable in the journal: only then may readers find it
//!   recover  unless it was closed by its writer: the NameNode closes it, which takes it a few seconds
//!   cut      what follows the released length comes again to another file; HDFS through this library cannot cut, so the
//!            first part is copied beside, and the copy takes the file's name in one step
//!   rename   to the last name, never over another file
//!   sweep    where a store may still do what a writer that is gone had asked for: a while later that is cleared. Until then the journal
//!            has the file as one of which nothing is wanted, so that the next life sweeps in this one's place
//!   forget   in the journal
//! ```
//!
//! Each step finds out what an earlier try, or an earlier life, has done of it. A file of which nothing is released is
//! deleted, for all it has comes again. Only files of the journal are touched, and of those that the journal does not know as
//! created none that another may have written. One that is not there, and was begun in another file system than this, stays in the
//! journal: the sink finishes it once `hdfs.path` leads there again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::sink::SinkContext;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::client::{Cause, Client, Fault};
use super::hand::Ended;
use super::journal::{ALL, Journal};
use super::ledger::{Ledger, Left};
use super::record::Names;

/// How long the NameNode may take to close a file, and how often it is asked.
const RECOVERY: Duration = Duration::from_secs(60);
const RECOVERY_POLL: Duration = Duration::from_millis(500);
/// The first pause after a try that failed; each is twice the one before, up to `hdfs.retryInterval`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries to sweep, which is in no hurry.
const SWEEP_PAUSE_MAX: Duration = Duration::from_secs(600);
/// What is copied at a time.
const COPY_BYTES: u64 = 4 << 20;
/// Other names are tried so often where the last name is taken.
const NAMES_MAX: u32 = 1000;

/// Finishes files in the background.
#[derive(Clone)]
pub(super) struct Finisher(Arc<Inner>);

struct Inner {
    client: Client,
    /// The file system, as the journal has it.
    place: String,
    ledger: Arc<Ledger>,
    journal: Journal,
    context: SinkContext,
    runtime: Handle,
    tasks: TaskTracker,
    tries: u64,
    pause_max: Duration,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is nothing left to do.
    Finished,
    /// It is in another file system.
    Elsewhere,
}

/// How often, and with what pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    /// `hdfs.closeTries`.
    pub most: u64,
    /// `hdfs.retryInterval`.
    pub pause_max: Duration,
}

impl Tries {
    /// As Flume reads the two keys.
    pub fn of(close_tries: i64, retry_interval: i64) -> Self {
        let most = u64::try_from(close_tries).ok().filter(|most| *most > 0).unwrap_or(u64::MAX);
        match u64::try_from(retry_interval).ok().filter(|seconds| *seconds > 0) {
            Some(seconds) => Self { most, pause_max: Duration::from_secs(seconds) },
            None => Self { most: 1, pause_max: Duration::ZERO },
        }
    }
}

impl Finisher {
    pub fn new(
        client: Client,
        place: String,
        ledger: Arc<Ledger>,
        journal: Journal,
        context: SinkContext,
        runtime: Handle,
        tries: Tries,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            place,
            ledger,
            journal,
            context,
            runtime,
            tasks: TaskTracker::new(),
            tries: tries.most,
            pause_max: tries.pause_max,
        }))
    }

    /// Finishes a file.
    pub fn finish(&self, left: Left, ended: Ended) {
        let inner = self.0.clone();
        self.0.tasks.spawn_on(async move { inner.finish(left, ended).await }, &self.0.runtime);
    }

    /// Waits until everything is finished, at most `limit`.
    pub async fn wait(&self, limit: Duration) {
        self.0.tasks.close();
        if tokio::time::timeout(limit, self.0.tasks.wait()).await.is_err() {
            let files = self.0.tasks.len();
            tracing::warn!(
                sink = %self.0.context.name,
                "{files} files are not finished yet: the next start goes on with them, if the channel is durable"
            );
        }
    }
}

impl Inner {
    async fn finish(&self, mut left: Left, ended: Ended) {
        let closed = match ended {
            Ended::Gone => Err(None),
            Ended::Dropped(task) => {
                let _was_aborted = task.await;
                Err(None)
            }
            Ended::Closed(answer) => answer.wait().await.map_err(Some),
        };
        match &closed {
            Ok(()) => tracing::info!(sink = %self.context.name, "Closed {}", left.names.in_use),
            Err(_) => tokio::time::sleep(self.client.rest()).await,
        }
        let mut pause = FIRST_PAUSE.min(self.pause_max);
        for tries in 1.. {
            let fault = match self.try_once(&mut left, closed.is_ok()).await {
                Ok(End::Finished) => {
                    if let Err(Some(fault)) = &closed {
                        self.say(fault, "it was closed in its writer's place");
                    }
                    if closed.is_err() && !self.sweep(&left).await {
                        return;
                    }
                    // Nobody waits for it: the files are as they are, and a record that is lost is made again.
                    drop(self.journal.record(vec![self.ledger.forget(left.number)]));
                    return;
                }
                Ok(End::Elsewhere) => return self.say_elsewhere(&left.names),
                Err(fault) => fault,
            };
            if tries >= self.tries {
                let path = &left.names.in_use;
                if let Some(more) = self.context.quiet.failed(Instant::now()) {
                    tracing::error!(
                        sink = %self.context.name,
                        "{fault}: {path} is left as it is after {tries} tries; the next start goes on with it{more}"
                    );
                }
                return;
            }
            self.say(&fault, "it is tried again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.context.shutdown.cancelled() => return,
            }
            pause = pause.saturating_mul(2).min(self.pause_max);
        }
    }

    /// `false`: the next life does it.
    async fn sweep(&self, left: &Left) -> bool {
        let Some(mut pause) = self.client.late() else { return true };
        let path = &left.names.in_use;
        if let Some(progress) = self.ledger.settle(left.number) {
            // One that is lost is made again: what is finished already is finished once more.
            drop(self.journal.record(vec![progress]));
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.context.shutdown.cancelled() => return false,
            }
            match self.client.sweep(path, &left.names.mark).await {
                Ok(()) => return true,
                Err(fault) => self.say(&fault, "it is tried again"),
            }
            pause = pause.saturating_mul(2).min(SWEEP_PAUSE_MAX);
        }
    }

    async fn try_once(&self, left: &mut Left, closed: bool) -> Result<End, Fault> {
        let (number, in_use) = (left.number, left.names.in_use.clone());
        if let Some(progress) = self.ledger.progress(number) {
            self.record(&in_use, vec![progress]).await?;
        }
        if !closed || left.released == 0 {
            let Some(there) = self.client.length(&in_use).await? else {
                return self.is_gone(left).await;
            };
            if !left.names.made && !self.is_own(&left.names, there).await? {
                tracing::warn!(sink = %self.context.name, "{in_use} is left as it is: another has written it");
                return Ok(End::Finished);
            }
            // What is deleted need not be whole before: an erasure-coded file that has a few cells of one block never is.
            if !closed && left.released > 0 {
                self.recover(&in_use).await?;
            }
            if left.released == ALL && self.client.length(&in_use).await? == Some(0) {
                left.released = 0;
            }
            if left.released == 0 {
                self.client.delete(&in_use).await?;
                tracing::info!(
                    sink = %self.context.name,
                    "Deleted {in_use}: nothing of it was delivered, and what it had ({there} bytes) comes again"
                );
                return Ok(End::Finished);
            }
            self.cut(left).await?;
        }
        self.rename(left).await
    }

    /// Whether a file that the sink may have created, and has written nothing to, is its own.
    async fn is_own(&self, names: &Names, there: u64) -> Result<bool, Fault> {
        if let Some(is_own) = self.client.is_own(&names.in_use, &names.mark).await? {
            return Ok(is_own);
        }
        if there > 0 {
            return Ok(false);
        }
        // Whoever else writes it is told, and what it then has is all it ever will have.
        self.recover(&names.in_use).await?;
        Ok(self.client.length(&names.in_use).await? == Some(0))
    }

    /// There is no file of the name it had while it was written.
    async fn is_gone(&self, left: &Left) -> Result<End, Fault> {
        let names = &left.names;
        let is_elsewhere = !names.place.is_empty() && names.place != self.place;
        if (is_elsewhere || (left.released > 0 && left.released != ALL))
            && self.client.length(&names.last).await?.is_none()
        {
            if is_elsewhere {
                return Ok(End::Elsewhere);
            }
            tracing::error!(
                sink = %self.context.name,
                "{} and {} are gone, of which {} bytes were delivered: somebody took them away",
                names.in_use,
                names.last,
                left.released
            );
        }
        Ok(End::Finished)
    }

    async fn recover(&self, path: &str) -> Result<(), Fault> {
        let deadline = Instant::now() + RECOVERY;
        while !self.client.recover(path).await? {
            if Instant::now() > deadline {
                return Err(Fault::new(Cause::Unknown, "recover the lease of", path, "it takes long"));
            }
            tokio::time::sleep(RECOVERY_POLL).await;
        }
        Ok(())
    }

    /// Makes the file end where it is released.
    async fn cut(&self, left: &Left) -> Result<(), Fault> {
        let (path, length) = (&left.names.in_use, left.released);
        if length == ALL {
            return Ok(());
        }
        let there = self.client.length(path).await?.unwrap_or_default();
        if there < length {
            tracing::error!(
                sink = %self.context.name,
                "{path} has {there} bytes, of {length} that were synced: the file system lost the rest"
            );
            return Ok(());
        }
        if there == length || self.client.truncate(path, length).await? {
            return Ok(());
        }
        let copy = format!("{path}.cut");
        self.client.delete(&copy).await?;
        let mut to = self.client.create(&copy, &left.names.mark).await?;
        let mut at = 0;
        while at < length {
            let size = (length - at).min(COPY_BYTES);
            to.write(self.client.read(path, at, size as usize).await?).await?;
            at += size;
        }
        to.close().await?;
        drop(to);
        self.client.rename(&copy, path, true).await?;
        tracing::info!(
            sink = %self.context.name,
            "{path}: cut from {there} to {length} bytes: what follows was never delivered, and comes again"
        );
        Ok(())
    }

    async fn rename(&self, left: &mut Left) -> Result<End, Fault> {
        let in_use = left.names.in_use.clone();
        if left.names.last == in_use {
            return Ok(End::Finished);
        }
        let wanted = left.names.last.clone();
        for other in 1..=NAMES_MAX {
            match self.client.rename(&in_use, &left.names.last, false).await {
                Ok(()) => {
                    tracing::info!(sink = %self.context.name, "Renamed {in_use} to {}", left.names.last);
                    return Ok(End::Finished);
                }
                // An earlier try did it, and its answer was lost.
                Err(fault) if fault.cause == Cause::Missing => return self.is_gone(left).await,
                Err(fault) if fault.cause == Cause::Exists => {
                    // The answer to an earlier try may have been lost: then it is this very file that is there.
                    if self.client.length(&in_use).await?.is_none() {
                        return Ok(End::Finished);
                    }
                    let next = format!("{wanted}.{other}");
                    tracing::warn!(sink = %self.context.name, "{} is there already: {in_use} becomes {next}", left.names.last);
                    if let Some(progress) = self.ledger.rename(left.number, next.clone()) {
                        self.record(&in_use, vec![progress]).await?;
                    }
                    left.names.last = next;
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(Cause::Exists, "rename", &in_use, "all names that were tried are taken"))
    }

    async fn record(
        &self,
        path: &str,
        progress: Vec<flumen_api::channel::SinkProgress>,
    ) -> Result<(), Fault> {
        let recorded = self.journal.record(progress).await;
        recorded.map_err(|error| Fault::new(Cause::Unknown, "note", path, error.to_string()))
    }

    fn say_elsewhere(&self, names: &Names) {
        let Names { in_use, place, .. } = names;
        let Some(more) = self.context.quiet.failed(Instant::now()) else { return };
        tracing::warn!(
            sink = %self.context.name,
            "{in_use} was begun in {place}, and is not in {}: it stays in the journal, and is finished once `hdfs.path` leads there \
             again{more}",
            self.place
        );
    }

    fn say(&self, fault: &Fault, what: &str) {
        if let Some(more) = self.context.quiet.failed(Instant::now()) {
            tracing::warn!(sink = %self.context.name, "{fault}: {what}{more}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_and_pauses_are_read_as_flume_reads_them() {
        let of = |tries, seconds| {
            let Tries { most, pause_max } = Tries::of(tries, seconds);
            (most, pause_max.as_secs())
        };
        assert_eq!(of(i64::from(i32::MAX), 180), (i32::MAX as u64, 180));
        assert_eq!(of(0, 180), (u64::MAX, 180), "0 and less is without end");
        assert_eq!(of(3, 0), (1, 0), "no pause means one try");
    }
}
