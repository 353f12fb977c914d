//! A file whose writer is done, or gone: completed, or thrown away. Each step finds out what an earlier try has done of it.

use std::time::Instant;

use flumen_api::quiet::Quiet;

use super::super::{Found, Kind, Store, StoreError};
use super::manifest::{Manifest, UpTo};
use super::writer::read_pieces;
use super::{CUT, MANIFEST, take};

/// A file by its staging.
pub(crate) struct Staged<'a> {
    store: &'a dyn Store,
    at: &'a str,
    /// For what is said of many files at once.
    quiet: &'a Quiet,
}

/// What completing a file did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The object is there, with so many bytes.
    Complete(u64),
    /// It had none, and its staging is gone.
    Nothing,
}

impl<'a> Staged<'a> {
    /// With its staging at `at`.
    pub fn new(store: &'a dyn Store, at: &'a str, quiet: &'a Quiet) -> Self {
        Self { store, at, quiet }
    }

    async fn get(&self, name: &str) -> Result<Option<bytes::Bytes>, StoreError> {
        match self.store.get(&format!("{}/{name}", self.at)).await {
            Err(error) if error.is_missing() => Ok(None),
            other => other.map(Some),
        }
    }

    /// The manifest, if there is any.
    pub async fn manifest(&self) -> Result<Option<Manifest>, StoreError> {
        let Some(bytes) = self.get(MANIFEST).await? else { return Ok(None) };
        Manifest::read(&format!("{}/{MANIFEST}", self.at), &bytes).map(Some)
    }

    async fn cut_at(&self) -> Result<Option<u64>, StoreError> {
        let Some(bytes) = self.get(CUT).await? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let at = text.trim().parse().map_err(|_not_a_number| {
            StoreError::new(Kind::Refused, format!("{}/{CUT} holds {text:?} and no number", self.at))
        })?;
        Ok(Some(at))
    }

    /// How long the file will be; `None`, if nothing of it is staged.
    pub async fn length(&self) -> Result<Option<u64>, StoreError> {
        let Some(manifest) = self.manifest().await? else { return Ok(None) };
        Ok(Some(self.cut_at().await?.map_or(manifest.length, |cut| cut.min(manifest.length))))
    }

    /// Makes sure that nothing is appended any more: what a writer that was let go of still has on its way does not count.
    pub async fn fence(&self) -> Result<(), StoreError> {
        let Some(manifest) = self.manifest().await? else { return Ok(()) };
        if self.cut_at().await?.is_none() {
            self.cut(manifest.length).await?;
        }
        Ok(())
    }

    /// Makes the file end at this byte.
    pub async fn cut(&self, at: u64) -> Result<(), StoreError> {
        self.store.put(&format!("{}/{CUT}", self.at), at.to_string().into()).await
    }

    /// Makes the object `to`, or the one that the file was begun as, appear, and clears the staging.
    pub async fn complete(&self, to: Option<&str>) -> Result<Done, StoreError> {
        let Some(manifest) = self.manifest().await? else {
            return Err(StoreError::new(Kind::Missing, "nothing of it is staged"));
        };
        let cut = self.cut_at().await?.unwrap_or(u64::MAX);
        let there = manifest.up_to(cut)?;
        // Parts can become the object alone that their upload was begun for.
        let key = manifest.key.as_str();
        let wanted = to.unwrap_or(key);
        let to = if there.parts > 0 { key } else { wanted };
        if cut < there.end
            && cut != u64::MAX
            && let Some(more) = self.quiet.failed(Instant::now())
        {
            tracing::warn!(
                "{to}: cut at byte {} instead of {cut}: some events may come twice{more}",
                there.end
            );
        }
        if there.end == 0 {
            self.clear(None).await?;
            return Ok(Done::Nothing);
        }
        match self.is_complete(to, &manifest, there.end).await {
            Ok(true) => {}
            Ok(false) => self.make(to, &manifest, &there).await?,
            Err(error) if error.kind == Kind::Exists && to != wanted => {
                let why = format!("{error}, and what is uploaded can have no other name: move it away");
                return Err(StoreError::new(Kind::Refused, why));
            }
            Err(error) => return Err(error),
        }
        self.clear(manifest.upload.as_deref().filter(|_| there.parts > 0)).await?;
        Ok(Done::Complete(there.end))
    }

    /// Whether the object is there already. Another one of its name is an error.
    async fn is_complete(&self, to: &str, manifest: &Manifest, length: u64) -> Result<bool, StoreError> {
        let Some(Found { length: there, mark }) = self.store.look(to).await? else { return Ok(false) };
        let is_ours = match manifest.marked {
            true => mark.as_deref() == Some(&manifest.id),
            false => there == length,
        };
        match is_ours {
            true => Ok(true),
            false => Err(StoreError::new(Kind::Exists, format!("there is another object {to}"))),
        }
    }

    /// Makes the object of parts and pieces.
    async fn make(&self, to: &str, manifest: &Manifest, there: &UpTo) -> Result<(), StoreError> {
        match self.try_make(to, manifest, there).await {
            // The answer to an earlier try may have been lost.
            Err(error) if matches!(error.kind, Kind::Missing | Kind::Exists) => {
                if self.is_complete(to, manifest, there.end).await? {
                    return Ok(());
                }
                let why = format!("{error}: does a rule of the bucket throw away what is staged?");
                Err(StoreError::new(Kind::Refused, why))
            }
            other => other,
        }
    }

    async fn try_make(&self, to: &str, manifest: &Manifest, there: &UpTo) -> Result<(), StoreError> {
        let rest = read_pieces(self.store, self.at, &there.pieces).await?;
        let Some(upload) = manifest.upload.as_ref().filter(|_| there.parts > 0) else {
            return self.store.put_new(to, rest.into_iter().collect(), &manifest.id).await;
        };
        let parts = manifest.parts.iter().take(there.parts);
        let mut tags: Vec<String> = parts.map(|(_, tag)| tag.clone()).collect();
        if !rest.is_empty() {
            tags.push(self.store.part(to, upload, there.parts, rest.into_iter().collect()).await?);
        }
        self.store.complete(to, upload, tags).await
    }

    /// Throws the file away.
    pub async fn discard(&self) -> Result<(), StoreError> {
        // First of all: what is half cleared is never completed.
        if self.manifest().await?.is_some() {
            self.cut(0).await?;
        }
        self.clear(None).await
    }

    /// Clears what arrived since the file was finished, of requests that its writer had sent before it went: an upload that was begun, a
    /// piece, a manifest. `key` and `id` are those that the file was begun with: where another has a file of this name now, nothing is done.
    pub async fn sweep(&self, key: &str, id: &str) -> Result<(), StoreError> {
        // Whoever has the manifest has the name: nobody else begins anything there meanwhile.
        match take(self.store, self.at, &Manifest::new(key, id)).await {
            Ok(()) => self.discard().await,
            Err(error) if error.kind == Kind::Exists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes what is staged, the manifest after the pieces, and throws all uploads away but the one that was completed: not every
    /// server says of such a one that it is gone, and its refusal would keep the staging for ever.
    async fn clear(&self, completed: Option<&str>) -> Result<(), StoreError> {
        let names = self.store.list(&format!("{}/", self.at)).await?;
        let last = [CUT, MANIFEST].map(|name| format!("{}/{name}", self.at));
        if let Some(manifest) = self.manifest().await? {
            // One that the manifest knows, and, where its writer is gone, one that it may not know.
            let is_fenced = last.first().is_some_and(|cut| names.contains(cut));
            if manifest.upload.is_some() || is_fenced {
                self.abort_all(&manifest, completed).await?;
            }
        }
        for name in &names {
            if !last.contains(name) {
                self.store.delete(name).await?;
            }
        }
        for name in last {
            self.store.delete(&name).await?;
        }
        Ok(())
    }

    /// An upload whose begin was answered to nobody, or to somebody who was killed then, is in no manifest.
    async fn abort_all(&self, manifest: &Manifest, completed: Option<&str>) -> Result<(), StoreError> {
        let key = manifest.key.as_str();
        // Not every store can say, and not everybody may ask: what is staged is cleared all the same.
        let listed = match self.store.uploads(key).await {
            Ok(listed) => listed,
            Err(error) => {
                if let Some(more) = self.quiet.failed(Instant::now()) {
                    tracing::warn!("{key}: uploads that were left behind are not looked for: {error}{more}");
                }
                Vec::new()
            }
        };
        let mut ids: Vec<_> =
            listed.into_iter().filter(|begun| begun.key == key).map(|begun| begun.id).collect();
        ids.extend(manifest.upload.clone().filter(|known| !ids.contains(known)));
        for id in ids.iter().filter(|id| completed != Some(id.as_str())) {
            if manifest.upload.as_ref() != Some(id) {
                tracing::info!("{key}: an upload that was left behind is thrown away");
            }
            self.store.abort(key, id).await?;
        }
        Ok(())
    }
}
