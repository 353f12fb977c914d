//! Files in an object store, as if it were a file system: see [`objects::staged`](crate::objects::staged).
//!
//! A file's name while it is written is where it is staged, `<staging>/<path>`: nobody sees it before it is renamed to its
//! last name, which completes it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_api::quiet::Quiet;

use super::{Cause, FileSystem, Rest, Syncing, Trouble, Writer};
use crate::objects::staged::{self, MANIFEST, Staged, StagedWriter, Uploading};
use crate::objects::{Kind, Store, StoreError};

/// How long a request of a process that was killed may be on its way, and with the store, before what it asked for is done.
const LATE: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(30) };

/// A bucket.
#[derive(Debug)]
pub(in super::super) struct Objects {
    store: Arc<dyn Store>,
    staging: String,
    uploading: Uploading,
    /// Its own: what is left of another's failures says nothing of the sink's.
    quiet: Quiet,
}

impl Objects {
    /// With files staged below `staging`, `/tmp` for one.
    pub fn new(store: Arc<dyn Store>, staging: &str, part_size: u64, pause: Duration) -> Self {
        let staging = staging.trim_matches('/').to_string();
        Self { store, staging, uploading: Uploading::new(part_size, pause), quiet: Quiet::default() }
    }

    fn staged<'a>(&'a self, path: &'a str) -> Staged<'a> {
        Staged::new(&*self.store, key(path), &self.quiet)
    }

    /// The object that the file at `path` is begun as.
    fn object<'a>(&self, path: &'a str) -> Result<&'a str, Trouble> {
        let object = key(path).strip_prefix(&self.staging).map(key);
        object.ok_or_else(|| Trouble::new(Cause::Path, "is not below the staging path"))
    }
}

fn key(path: &str) -> &str {
    path.trim_start_matches('/')
}

impl From<StoreError> for Trouble {
    fn from(StoreError { kind, why }: StoreError) -> Self {
        let cause = match kind {
            Kind::Exists => Cause::Exists,
            Kind::Missing => Cause::Missing,
            Kind::Name => Cause::Path,
            Kind::Refused => Cause::Refused,
            Kind::Unknown => Cause::Unknown,
        };
        Self::new(cause, why)
    }
}

#[async_trait]
impl FileSystem for Objects {
    async fn create(&self, path: &str, mark: &str) -> Result<Box<dyn Writer>, Trouble> {
        let object = self.object(path)?;
        let writer = staged::create_as(&self.store, key(path), object, mark, &self.uploading).await?;
        Ok(Box::new(ObjectWriter(writer)))
    }

    async fn is_own(&self, path: &str, mark: &str) -> Result<Option<bool>, Trouble> {
        let manifest = self.staged(path).manifest().await?;
        Ok(manifest.map(|manifest| manifest.id == mark))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, Trouble> {
        if key(path).is_empty() {
            // Whether the store answers.
            self.store.look(&format!("{}/{MANIFEST}", self.staging)).await?;
            return Ok(None);
        }
        if let Some(length) = self.staged(path).length().await? {
            return Ok(Some(length));
        }
        Ok(self.store.look(key(path)).await?.map(|found| found.length))
    }

    async fn rename(&self, from: &str, to: &str, _over: bool) -> Result<(), Trouble> {
        self.staged(from).complete(Some(key(to))).await?;
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), Trouble> {
        Ok(self.staged(path).discard().await?)
    }

    async fn recover(&self, path: &str) -> Result<bool, Trouble> {
        self.staged(path).fence().await?;
        Ok(true)
    }

    async fn read(&self, _path: &str, _from: u64, _length: usize) -> Result<Bytes, Trouble> {
        Err(Trouble::new(Cause::Refused, "a file that is staged is not read"))
    }

    async fn truncate(&self, path: &str, length: u64) -> Result<bool, Trouble> {
        self.staged(path).cut(length).await?;
        Ok(true)
    }

    fn late(&self) -> Option<Duration> {
        Some(LATE)
    }

    async fn sweep(&self, path: &str, mark: &str) -> Result<(), Trouble> {
        match self.object(path) {
            Ok(object) => Ok(self.staged(path).sweep(object, mark).await?),
            // Staged where an earlier life had its staging: of which object is not known any more.
            Err(_elsewhere) => Ok(()),
        }
    }
}

struct ObjectWriter(StagedWriter);

#[async_trait]
impl Writer for ObjectWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Trouble> {
        Ok(self.0.write(bytes).await?)
    }

    fn rest(&self) -> Option<Rest> {
        self.0.rest().map(|(until, unless_bytes)| Rest { until, unless_bytes })
    }

    async fn sync(&mut self) -> Result<Option<Syncing<Trouble>>, Trouble> {
        let flushing = self.0.flush().await?;
        Ok(Some(Box::pin(async move { Ok(flushing.wait().await?) })))
    }

    async fn close(&mut self) -> Result<(), Trouble> {
        Ok(self.0.close().await?)
    }
}
