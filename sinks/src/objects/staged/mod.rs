//! A file that grows in an object store, and becomes an object all at once.
//!
//! ```text
//!   <staging>/<path>/manifest              what there is of the file, up to where: JSON, see `manifest`
//!   <staging>/<path>/00000000000000001234  a piece: what came between two flushes, from this byte on
//!   <path>                                 an upload, whose parts nobody sees; the object, once it is complete
//!
//!   create     the manifest is put where there is none: so nobody else has the file's name
//!   write      bytes are held; enough of them for a part are uploaded, a few parts at a time           `writer`
//!   flush      what is held goes up as a part if it is large enough for one, else beside it as a piece; then the
//!              manifest is put anew, and all up to here is durable
//!   complete   what the last part does not have is read from the pieces and is the last part; the upload is completed, or
//!              a small object put, where there is none of its name; the staging is deleted, the manifest last, so that
//!              what a kill leaves of it is found                                                            `finish`
//!   sweep      where the writer was killed, a while later: what it had asked for may have been done after that
//! ```
//!
//! So a file can be completed at any flush that it had, by a process that knows nothing but where its manifest is: parts that
//! end behind it are left out, and pieces have the rest. Which flush that is the sink's journal says; `cut` beside the manifest
//! keeps it, for the writer that was let go of may still have a manifest on its way.

mod finish;
mod manifest;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) use finish::{Done, Staged};
use manifest::Manifest;
pub(crate) use writer::{PARTS_AT_ONCE, StagedWriter};

use super::{Kind, Store, StoreError};

/// The name of a manifest, below the file's staging.
pub(crate) const MANIFEST: &str = "manifest";
const CUT: &str = "cut";
/// Bytes that all files of a sink hold beside what is not flushed yet; beyond, pieces are read again when a part is due.
const HELD_MAX: u64 = 64 << 20;

/// How files are uploaded.
#[derive(Clone, Debug)]
pub(crate) struct Uploading {
    /// Bytes of a part.
    pub part_size: u64,
    /// The shortest time between two flushes of a file that each have less than a part.
    pub pause: Duration,
    /// Bytes that the files hold.
    pub held: Arc<AtomicU64>,
}

impl Uploading {
    /// Parts of so many bytes.
    pub fn new(part_size: u64, pause: Duration) -> Self {
        Self { part_size, pause, held: Arc::default() }
    }
}

/// Begins the file `key`, with its staging at `at`. Its manifest has the id `id`, which no other file ever has.
pub(crate) async fn create_as(
    store: &Arc<dyn Store>,
    at: &str,
    key: &str,
    id: &str,
    uploading: &Uploading,
) -> Result<StagedWriter, StoreError> {
    if store.look(key).await?.is_some() {
        return Err(StoreError::new(Kind::Exists, "there is an object of this name"));
    }
    let manifest = Manifest::new(key, id);
    take(&**store, at, &manifest).await?;
    Ok(StagedWriter::new(store.clone(), at.to_string(), manifest, uploading.clone()))
}

/// Puts the manifest where there is none, or has done so before. [`Kind::Exists`]: another has the name.
async fn take(store: &dyn Store, at: &str, manifest: &Manifest) -> Result<(), StoreError> {
    let (name, bytes) = (format!("{at}/{MANIFEST}"), manifest.bytes());
    match store.put_new(&name, bytes.into(), &manifest.id).await {
        Err(error) if error.kind == Kind::Exists => {
            // The answer to an earlier try may have been lost: then it is ours.
            let there = Manifest::read(&name, &store.get(&name).await?)?;
            if there.id == manifest.id { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// The same, with an id of nobody's choice.
#[cfg(test)]
pub(crate) async fn create(
    store: &Arc<dyn Store>,
    at: &str,
    key: &str,
    uploading: &Uploading,
) -> Result<StagedWriter, StoreError> {
    create_as(store, at, key, &format!("{:032x}", fastrand::u128(..)), uploading).await
}
