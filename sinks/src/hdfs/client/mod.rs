//! The one room that calls a file system, each call with a limit of time.
//!
//! ```text
//!   Client ── limit, permits, what was called and why it failed ──> FileSystem   Hdfs (`hdfs`), local files (`local`),
//!                                                                                object stores (`object`)
//!   OpenFile ── limit ──────────────────────────────────────────> Writer
//! ```
//!
//! `hdfs-native` knows no limit for a call to the NameNode, and its `hsync` never comes back when a DataNode dies at the
//! wrong moment. So nothing else of this sink calls it, and whoever gets a [`Fault`] from an open file lets go of it: its
//! writer is of no use any more, and [`Client::recover`] closes the file in its place.

#[cfg(test)]
mod fake;
mod hdfs;
mod local;
#[cfg(feature = "object-store")]
mod object;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

#[cfg(test)]
pub(super) use fake::{FakeFiles, Told};
pub(super) use hdfs::{Access, Hdfs};
pub(super) use local::Local;
#[cfg(feature = "object-store")]
pub(super) use object::Objects;

/// What a failure means for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is something of this name.
    Exists,
    /// There is nothing of this name.
    Missing,
    /// This path cannot be written, and will be no better in a moment: no permission, a name that cannot be.
    Path,
    /// The answer was no: nothing happened.
    Refused,
    /// No answer: what was asked for may have happened, or not.
    Unknown,
}

/// What a file system says when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub cause: Cause,
    pub why: String,
}

impl Trouble {
    pub fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self { cause, why: why.into() }
    }
}

/// A call that failed, with what it was to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what} {path}: {why}")]
pub(super) struct Fault {
    pub cause: Cause,
    what: &'static str,
    path: Arc<str>,
    why: String,
}

impl Fault {
    /// Of our own finding.
    pub fn new(cause: Cause, what: &'static str, path: &str, why: impl Into<String>) -> Self {
        Self { cause, what, path: path.into(), why: why.into() }
    }
}

/// A file system, called through a [`Client`] alone. Paths have no scheme and no host.
#[async_trait]
pub(super) trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Begins a file that carries `mark`, where files can be marked, with the directories above it, never over another one.
    /// [`Cause::Exists`], [`Cause::Path`] and [`Cause::Refused`] say that there is no new file.
    async fn create(&self, path: &str, mark: &str) -> Result<Box<dyn Writer>, Trouble>;

    /// Whether the file that is being written at `path` is the one that was created with `mark`, and nobody else's; `None`, if that
    /// cannot be told.
    async fn is_own(&self, _path: &str, _mark: &str) -> Result<Option<bool>, Trouble> {
        Ok(None)
    }

    /// How long a file is; `None`, if there is none.
    async fn length(&self, path: &str) -> Result<Option<u64>, Trouble>;

    /// Renames a file, `over` another one or not.
    async fn rename(&self, from: &str, to: &str, over: bool) -> Result<(), Trouble>;

    /// Deletes a file; one that is not there is deleted.
    async fn delete(&self, path: &str) -> Result<(), Trouble>;

    /// Closes a file whose writer is gone. `false`: that is under way, and to be asked again.
    async fn recover(&self, path: &str) -> Result<bool, Trouble>;

    /// Bytes of a closed file.
    async fn read(&self, path: &str, from: u64, length: usize) -> Result<Bytes, Trouble>;

    /// Cuts a closed file in place; `false`, if this file system cannot.
    async fn truncate(&self, _path: &str, _length: u64) -> Result<bool, Trouble> {
        Ok(false)
    }

    /// The size of a block of a file, where there are blocks.
    fn block_size(&self) -> Option<u64> {
        None
    }

    /// How long after its writer is gone a file is better left alone before it is recovered.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }

    /// How long after a file whose writer is gone was finished it is to be swept, if at all.
    fn late(&self) -> Option<Duration> {
        None
    }

    /// Clears what its writer had asked for and what was done only after the file was finished. `mark` is the file's: where another
    /// has begun one of this name, nothing is done.
    async fn sweep(&self, _path: &str, _mark: &str) -> Result<(), Trouble> {
        Ok(())
    }
}

/// A sync that goes on while the file is written to.
pub(super) type Syncing<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// A sync is better left until then, or until there are so many bytes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub until: tokio::time::Instant,
    pub unless_bytes: u64,
}

/// A file that is being written.
#[async_trait]
pub(super) trait Writer: Send {
    /// Appends.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Trouble>;

    /// How long the next sync is better left, and until how many bytes more.
    fn rest(&self) -> Option<Rest> {
        None
    }

    /// All that was written is on the disks of the destination when this is done; or, if it returns a future, when that is done: the file
    /// may be written to meanwhile. Such a future goes on without being polled, and ends when it is dropped.
    async fn sync(&mut self) -> Result<Option<Syncing<Trouble>>, Trouble>;

    /// The same, and the file is closed.
    async fn close(&mut self) -> Result<(), Trouble>;
}

/// Calls a file system, each call with the limit.
#[derive(Clone, Debug)]
pub(super) struct Client {
    files: Arc<dyn FileSystem>,
    limit: Option<Duration>,
    permits: Arc<Semaphore>,
}

impl Client {
    /// Calls `files`, `at_once` calls at a time, each of which may take `limit`, or for ever.
    pub fn new(files: Arc<dyn FileSystem>, limit: Option<Duration>, at_once: usize) -> Self {
        Self { files, limit, permits: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// The same, with `at_once` calls of its own: however many of them hang, those of this one do not wait for them.
    pub fn beside(&self, at_once: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once.max(1))), ..self.clone() }
    }

    async fn call<T>(
        &self,
        what: &'static str,
        path: &str,
        call: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Fault> {
        // Waiting for others is not the call's fault, and does not count.
        let _permit = self.permits.acquire().await;
        limited(self.limit, what, path, call).await
    }

    /// As [`FileSystem::create`].
    pub async fn create(&self, path: &str, mark: &str) -> Result<OpenFile, Fault> {
        let writer = self.call("create", path, self.files.create(path, mark)).await?;
        Ok(OpenFile { writer, client: self.clone(), path: path.into() })
    }

    /// As [`FileSystem::is_own`].
    pub async fn is_own(&self, path: &str, mark: &str) -> Result<Option<bool>, Fault> {
        self.call("look at", path, self.files.is_own(path, mark)).await
    }

    /// As [`FileSystem::length`].
    pub async fn length(&self, path: &str) -> Result<Option<u64>, Fault> {
        self.call("look at", path, self.files.length(path)).await
    }

    /// As [`FileSystem::rename`].
    pub async fn rename(&self, from: &str, to: &str, over: bool) -> Result<(), Fault> {
        self.call("rename", from, self.files.rename(from, to, over)).await
    }

    /// As [`FileSystem::delete`].
    pub async fn delete(&self, path: &str) -> Result<(), Fault> {
        self.call("delete", path, self.files.delete(path)).await
    }

    /// As [`FileSystem::recover`].
    pub async fn recover(&self, path: &str) -> Result<bool, Fault> {
        self.call("recover the lease of", path, self.files.recover(path)).await
    }

    /// As [`FileSystem::read`].
    pub async fn read(&self, path: &str, from: u64, length: usize) -> Result<Bytes, Fault> {
        self.call("read", path, self.files.read(path, from, length)).await
    }

    /// As [`FileSystem::truncate`].
    pub async fn truncate(&self, path: &str, length: u64) -> Result<bool, Fault> {
        self.call("cut", path, self.files.truncate(path, length)).await
    }

    /// As [`FileSystem::block_size`].
    pub fn block_size(&self) -> Option<u64> {
        self.files.block_size()
    }

    /// As [`FileSystem::rest`].
    pub fn rest(&self) -> Duration {
        self.files.rest()
    }

    /// As [`FileSystem::late`].
    pub fn late(&self) -> Option<Duration> {
        self.files.late()
    }

    /// As [`FileSystem::sweep`].
    pub async fn sweep(&self, path: &str, mark: &str) -> Result<(), Fault> {
        self.call("sweep", path, self.files.sweep(path, mark)).await
    }
}

/// An open file whose calls have the limit. After the first that fails it is of no use any more.
pub(super) struct OpenFile {
    writer: Box<dyn Writer>,
    client: Client,
    path: Arc<str>,
}

impl OpenFile {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As [`Writer::write`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Fault> {
        // Without a permit: what is written waits for a DataNode alone, and for no other file's call.
        limited(self.client.limit, "write", &self.path, self.writer.write(bytes)).await
    }

    /// As [`Writer::rest`].
    pub fn rest(&self) -> Option<Rest> {
        self.writer.rest()
    }

    /// As [`Writer::sync`].
    pub async fn sync(&mut self) -> Result<Option<Syncing<Fault>>, Fault> {
        const WHAT: &str = "sync";
        let permit = self.client.permits.clone().acquire_owned().await;
        let (limit, path) = (self.client.limit, self.path.clone());
        let Some(syncing) = limited(limit, WHAT, &path, self.writer.sync()).await? else { return Ok(None) };
        Ok(Some(Box::pin(async move {
            let _permit = permit;
            limited(limit, WHAT, &path, syncing).await
        })))
    }

    /// As [`Writer::close`].
    pub async fn close(&mut self) -> Result<(), Fault> {
        self.client.call("close", &self.path, self.writer.close()).await
    }
}

async fn limited<T>(
    limit: Option<Duration>,
    what: &'static str,
    path: &str,
    call: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Fault> {
    let result = match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_elapsed| {
            let why = format!("no answer within {} ms (`hdfs.callTimeout`)", limit.as_millis());
            Err(Trouble::new(Cause::Unknown, why))
        }),
    };
    result.map_err(|Trouble { cause, why }| Fault { cause, what, path: path.into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_comes_back_ends_at_its_limit() {
        let limit = Some(Duration::from_millis(30_000));
        let hung = limited::<()>(limit, "sync", "/d/f", std::future::pending()).await;
        let fault = hung.expect_err("a limit");
        assert_eq!(fault.cause, Cause::Unknown);
        assert_eq!(fault.to_string(), "cannot sync /d/f: no answer within 30000 ms (`hdfs.callTimeout`)");
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_has_the_limit_those_of_an_open_file_as_well() {
        let files = FakeFiles::default();
        let client = Client::new(Arc::new(files.clone()), Some(Duration::from_secs(30)), 10);
        let mut open = client.create("/d/f", "").await.expect("created");
        for call in ["create", "rename", "delete", "recover", "sync", "close"] {
            files.tell(call, Some(Told::Hang));
        }
        let begun = tokio::time::Instant::now();
        let calls = async {
            [
                client.create("/d/g", "").await.map(|_| ()).expect_err("create"),
                client.rename("/d/f", "/d/g", false).await.expect_err("rename"),
                client.delete("/d/f").await.expect_err("delete"),
                client.recover("/d/f").await.expect_err("recover"),
                open.sync().await.map(drop).expect_err("sync"),
                open.close().await.expect_err("close"),
            ]
        };
        let faults = tokio::time::timeout(Duration::from_secs(3600), calls).await.expect("limits");
        assert!(faults.iter().all(|fault| fault.to_string().contains("`hdfs.callTimeout`")), "{faults:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(6 * 30));
    }

    /// Nobody answers how long a file is.
    #[derive(Debug)]
    struct Hanging;

    #[async_trait]
    impl FileSystem for Hanging {
        async fn create(&self, _: &str, _: &str) -> Result<Box<dyn Writer>, Trouble> {
            Err(Trouble::new(Cause::Exists, "is there"))
        }

        async fn length(&self, _: &str) -> Result<Option<u64>, Trouble> {
            std::future::pending().await
        }

        async fn rename(&self, _: &str, _: &str, _: bool) -> Result<(), Trouble> {
            Ok(())
        }

        async fn delete(&self, _: &str) -> Result<(), Trouble> {
            Ok(())
        }

        async fn recover(&self, _: &str) -> Result<bool, Trouble> {
            Ok(true)
        }

        async fn read(&self, _: &str, _: u64, _: usize) -> Result<Bytes, Trouble> {
            Ok(Bytes::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_side_that_hang_hold_up_none_of_the_other() {
        let client = Client::new(Arc::new(Hanging), Some(Duration::from_secs(30)), 10);
        let left = client.beside(5);
        let hung: Vec<_> = (0..1000)
            .map(|_| {
                tokio::spawn({
                    let left = left.clone();
                    async move { left.length("/left").await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(client.create("/live", "").await.map(|_| ()).expect_err("no").cause, Cause::Exists);
        // The clock goes on when nothing else can.
        assert_eq!(begun.elapsed(), Duration::ZERO);
        hung.iter().for_each(|one| one.abort());
    }
}
