//! Syncs on a thread of their own, in order.
//!
//! In order, because Linux tells a descriptor of a failed write-back once: of two syncs of one file that run at the
//! same time, one gets the error and the other success, and that other may be the one whose bytes were lost. Jobs that
//! wait while one runs share the next sync. After a failure all later jobs of the same beginning fail, whatever their
//! own sync would say.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Something to sync.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub file: Arc<File>,
    pub path: Arc<Path>,
    /// A directory: its entries are metadata, which a data sync may leave out.
    pub directory: bool,
}

/// Why a sync failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot sync {}: {error}", path.display())]
pub(super) struct SyncError {
    path: PathBuf,
    #[source]
    error: Arc<io::Error>,
}

/// Holds the first failure since the sink began over.
pub(super) type Latch = Arc<Mutex<Option<SyncError>>>;

/// How one target is synced; tests put failures here.
pub(super) type SyncOne = Box<dyn FnMut(&Target) -> io::Result<()> + Send>;

struct Job {
    targets: Vec<Target>,
    latch: Latch,
    reply: oneshot::Sender<Result<(), SyncError>>,
}

/// The thread's handle. The thread ends when this is dropped and all jobs are answered.
pub(super) struct Syncer(mpsc::Sender<Job>);

/// Resolves when all bytes written to the targets before are durable.
pub(super) type Synced = oneshot::Receiver<Result<(), SyncError>>;

impl Syncer {
    pub fn spawn(sink: &str, sync_one: SyncOne) -> io::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        std::thread::Builder::new().name(format!("sync-{sink}")).spawn(move || run(&receiver, sync_one))?;
        Ok(Self(jobs))
    }

    /// Queues a sync. If the thread is gone, the answer is a closed channel.
    pub fn sync(&self, targets: Vec<Target>, latch: &Latch) -> Synced {
        let (reply, synced) = oneshot::channel();
        // A job that cannot be sent is dropped with its reply, which the receiver sees.
        drop(self.0.send(Job { targets, latch: latch.clone(), reply }));
        synced
    }
}

/// What the disk does.
pub(super) fn sync_one(target: &Target) -> io::Result<()> {
    if target.directory { target.file.sync_all() } else { target.file.sync_data() }
}

fn run(jobs: &mpsc::Receiver<Job>, mut sync_one: SyncOne) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter());
        let mut targets: Vec<Target> = Vec::new();
        for target in batch.iter().flat_map(|job| &job.targets) {
            if !targets.iter().any(|known| Arc::ptr_eq(&known.file, &target.file)) {
                targets.push(target.clone());
            }
        }
        let failure = targets.iter().find_map(|target| {
            let error = sync_one(target).err()?;
            Some(SyncError { path: target.path.to_path_buf(), error: Arc::new(error) })
        });
        for job in batch {
            let mut latch = job.latch.lock();
            if latch.is_none() {
                latch.clone_from(&failure);
            }
            let result = latch.clone().map_or(Ok(()), Err);
            drop(latch);
            // Nobody waits for a flush that was rolled back.
            drop(job.reply.send(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        Target { file, path: Path::new("/d/1").into(), directory: false }
    }

    #[tokio::test]
    async fn jobs_after_a_failed_one_fail_though_their_own_sync_succeeds() {
        let mut calls = 0;
        let fail_first = move |_: &Target| {
            calls += 1;
            if calls == 1 { Err(io::Error::other("medium error")) } else { Ok(()) }
        };
        let syncer = Syncer::spawn("k1", Box::new(fail_first)).expect("a thread");
        let latch = Latch::default();
        let first = syncer.sync(vec![target()], &latch).await.expect("answered");
        assert_eq!(first.expect_err("failed").to_string(), "cannot sync /d/1: medium error");
        assert!(syncer.sync(vec![target()], &latch).await.expect("answered").is_err());
        assert!(syncer.sync(vec![target()], &Latch::default()).await.expect("answered").is_ok());
    }

    #[tokio::test]
    async fn jobs_that_wait_share_one_sync() {
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let slow = move |_: &Target| {
            started.send(()).expect("the test listens");
            gate.recv().map_err(io::Error::other)
        };
        let syncer = Syncer::spawn("k1", Box::new(slow)).expect("a thread");
        let (latch, target) = (Latch::default(), target());
        let first = syncer.sync(vec![target.clone()], &latch);
        starts.recv().expect("the first sync runs");
        let second = syncer.sync(vec![target.clone()], &latch);
        let third = syncer.sync(vec![target], &latch);
        go.send(()).expect("the thread waits");
        first.await.expect("answered").expect("synced");
        go.send(()).expect("the thread waits");
        second.await.expect("answered").expect("synced");
        third.await.expect("answered").expect("synced");
        assert!(starts.try_recv().is_ok(), "the second sync");
        assert!(starts.try_recv().is_err(), "no third sync");
    }
}
