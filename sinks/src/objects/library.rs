//! S3, Google's and Azure's stores, through `object_store`.
//!
//! Its uploads are written part by part, and go on in another process: that is why it is this library. What it cannot do:
//! list the uploads that were left behind, for which S3 and Google's are asked by [`uploads`](super::uploads), while Azure
//! forgets them by itself after a week; and complete an upload only where there is no
//! object of its name, so that is looked at a moment before.

use async_trait::async_trait;
use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, Error, GetOptions, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload,
};

use super::uploads::Uploads;
use super::{Begun, Found, Kind, Store, StoreError, Upload};

const MARK: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("flumen"));
const NAMES_MAX: usize = 1_000_000;

/// A bucket.
#[derive(Debug)]
pub(super) struct Library<S> {
    store: S,
    uploads: Option<Uploads>,
    /// An upload keeps a mark.
    is_marked: bool,
}

impl<S> Library<S> {
    pub fn new(store: S, uploads: Option<Uploads>, is_marked: bool) -> Self {
        Self { store, uploads, is_marked }
    }
}

fn path(key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|error| StoreError::new(Kind::Name, error.to_string()))
}

fn marked(mark: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(MARK, AttributeValue::from(mark.to_string()));
    attributes
}

pub(super) fn told(error: Error) -> StoreError {
    let kind = match &error {
        Error::NotFound { .. } => Kind::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Kind::Exists,
        Error::InvalidPath { .. } => Kind::Name,
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. } => Kind::Refused,
        _ => Kind::Unknown,
    };
    StoreError::new(kind, error.to_string())
}

#[async_trait]
impl<S: ObjectStore + MultipartStore> Store for Library<S> {
    async fn put(&self, key: &str, bytes: PutPayload) -> Result<(), StoreError> {
        self.store.put_opts(&path(key)?, bytes, PutOptions::default()).await.map_err(told)?;
        Ok(())
    }

    async fn put_new(&self, key: &str, bytes: PutPayload, mark: &str) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, attributes: marked(mark), ..PutOptions::default() };
        self.store.put_opts(&path(key)?, bytes, options).await.map_err(told)?;
        Ok(())
    }

    async fn look(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = match self.store.get_opts(&path(key)?, options).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(told)?,
        };
        let mark = found.attributes.get(&MARK).map(|mark| mark.as_ref().to_string());
        Ok(Some(Found { length: found.meta.size, mark }))
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let found = self.store.get_opts(&path(key)?, GetOptions::default()).await.map_err(told)?;
        found.bytes().await.map_err(told)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        use object_store::ObjectStoreExt;
        match self.store.delete(&path(key)?).await {
            Err(Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // The library's prefixes are whole steps of a path.
        let prefix = path(prefix.trim_end_matches('/'))?;
        let mut listed = self.store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(one) = std::future::poll_fn(|cx| listed.as_mut().poll_next(cx)).await {
            found.push(one.map_err(told)?.location.to_string());
            if found.len() > NAMES_MAX {
                return Err(StoreError::new(Kind::Refused, format!("more than {NAMES_MAX} names")));
            }
        }
        Ok(found)
    }

    async fn begin(&self, key: &str, mark: &str) -> Result<Upload, StoreError> {
        let attributes = if self.is_marked { marked(mark) } else { Attributes::new() };
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let id = self.store.create_multipart_opts(&path(key)?, options).await.map_err(told)?;
        Ok(Upload { id, is_marked: self.is_marked })
    }

    async fn part(
        &self,
        key: &str,
        upload: &str,
        number: usize,
        bytes: PutPayload,
    ) -> Result<String, StoreError> {
        let part = self.store.put_part(&path(key)?, &upload.to_string(), number, bytes).await;
        Ok(part.map_err(told)?.content_id)
    }

    async fn complete(&self, key: &str, upload: &str, tags: Vec<String>) -> Result<(), StoreError> {
        let parts = tags.into_iter().map(|content_id| PartId { content_id }).collect();
        self.store.complete_multipart(&path(key)?, &upload.to_string(), parts).await.map_err(told)?;
        Ok(())
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        match self.store.abort_multipart(&path(key)?, &upload.to_string()).await {
            Err(Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Begun>, StoreError> {
        match &self.uploads {
            Some(uploads) => uploads.below(prefix).await,
            None => Ok(Vec::new()),
        }
    }
}
