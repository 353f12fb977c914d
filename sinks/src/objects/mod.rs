//! Object stores: what there is to say to one, whatever its dialect, and files that grow in them.
//!
//! ```text
//!   staged    a file that is being written: parts of an upload, pieces beside them, a manifest     `staged`
//!      │
//!   Store     put, look, get, delete, list; begin, part, complete, abort                           here
//!      ├── Oss       Aliyun's own dialect, with its two signatures                                  `oss`
//!      └── Library   S3, Google's and Azure's, through `object_store`                               `library`, `uploads`
//!             │
//!   Wire      hyper and rustls; one exchange has one limit                                         `wire`
//! ```
//!
//! An object has no end to append to: it is there whole or not at all. `target` says which store a URI means, and
//! `access` where the secrets for it come from; they are shown nowhere.

pub(crate) mod access;
#[cfg(test)]
#[path = "../../../tests/support/oss/mod.rs"]
pub(crate) mod emulator;
mod library;
mod oss;
pub mod recover;
mod role;
pub(crate) mod staged;
pub(crate) mod target;
mod uploads;
mod wire;

use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::PutPayload;

/// What a failure means for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is an object of this name.
    Exists,
    /// There is no such object or upload.
    Missing,
    /// No object can have this name.
    Name,
    /// The answer was no: nothing happened.
    Refused,
    /// No answer: what was asked for may have happened, or not.
    Unknown,
}

/// What a store says when it fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct StoreError {
    pub kind: Kind,
    pub why: String,
}

impl StoreError {
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Whether there is no such thing.
    pub fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub length: u64,
    /// The mark that it was put with, if the store keeps any.
    pub mark: Option<String>,
}

/// An upload of parts that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub id: String,
    /// The object will have the mark.
    pub is_marked: bool,
}

/// An upload that is neither completed nor thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub key: String,
    pub id: String,
}

/// A bucket. Keys begin without a slash. A call tries again by itself what may be better in a moment, for some seconds.
#[async_trait]
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// Puts an object in the place of whatever is there.
    async fn put(&self, key: &str, bytes: PutPayload) -> Result<(), StoreError>;

    /// Puts an object where there is none, with a mark. An answer that was lost may turn into [`Kind::Exists`].
    async fn put_new(&self, key: &str, bytes: PutPayload, mark: &str) -> Result<(), StoreError>;

    /// The object, if there is one.
    async fn look(&self, key: &str) -> Result<Option<Found>, StoreError>;

    /// An object's bytes.
    async fn get(&self, key: &str) -> Result<Bytes, StoreError>;

    /// Deletes an object; one that is not there is deleted.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// All keys that begin so.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Begins an upload of parts.
    async fn begin(&self, key: &str, mark: &str) -> Result<Upload, StoreError>;

    /// Uploads the part of this number, from 0; returns its tag. All parts but the last must have [`Store::least_part`] bytes.
    async fn part(
        &self,
        key: &str,
        upload: &str,
        number: usize,
        bytes: PutPayload,
    ) -> Result<String, StoreError>;

    /// Makes an object of the parts with these tags, numbered from 0, all at once. [`Kind::Missing`]: there is no such
    /// upload, for one because it was completed.
    async fn complete(&self, key: &str, upload: &str, tags: Vec<String>) -> Result<(), StoreError>;

    /// Throws an upload away; one that is not there is thrown away.
    async fn abort(&self, key: &str, upload: &str) -> Result<(), StoreError>;

    /// All uploads to keys that begin so. Empty where a store cannot say.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Begun>, StoreError>;

    /// The fewest bytes of a part that is not the last.
    fn least_part(&self) -> u64 {
        5 << 20
    }
}

/// Uploads one object of these parts and does nothing else, to OSS or what speaks as it does: what a sink can reach at the most, for
/// the bench. The next part is asked for while others are on their way. The key is an id and its secret.
pub async fn upload_alone(
    endpoint: &str,
    bucket: &str,
    (id, secret): (&str, &str),
    parts: impl Iterator<Item = io::Result<Bytes>>,
) -> Result<(), String> {
    let access = access::Access {
        key_id: Some(id.into()),
        secret: Some(secret.into()),
        endpoint: Some(endpoint.into()),
        ..access::Access::default()
    };
    let (conf, process) = Default::default();
    let runtime = tokio::runtime::Handle::current();
    let store = target::Target::parse("oss", bucket)?.open(&access, &conf, &process, &runtime)?;
    let upload = async {
        let upload = store.begin("alone", "").await?.id;
        let (mut tags, mut on_their_way) = (Vec::new(), tokio::task::JoinSet::new());
        let mut parts = parts.fuse();
        loop {
            if on_their_way.len() < staged::PARTS_AT_ONCE
                && let Some(part) = parts.next()
            {
                let part = part.map_err(|error| StoreError::new(Kind::Refused, error.to_string()))?;
                let (store, upload, number) = (store.clone(), upload.clone(), tags.len());
                tags.push(String::new());
                on_their_way
                    .spawn(async move { (number, store.part("alone", &upload, number, part.into()).await) });
            } else if let Some(landed) = on_their_way.join_next().await {
                if let Ok((number, tag)) = landed
                    && let Some(place) = tags.get_mut(number)
                {
                    *place = tag?;
                }
            } else {
                return store.complete("alone", &upload, tags).await;
            }
        }
    };
    upload.await.map_err(|error| error.why)
}
