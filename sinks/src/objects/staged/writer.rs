//! The end of a file that bytes go to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};
use object_store::PutPayload;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::{Kind, Store, StoreError};
use super::manifest::Manifest;
use super::{HELD_MAX, MANIFEST, Uploading};

/// Parts of one file that are on their way at a time.
pub(crate) const PARTS_AT_ONCE: usize = 3;
/// A store takes 10,000 parts: so often they become twice as large.
const PARTS_OF_A_SIZE: usize = 1000;

/// A file that is being written.
pub(crate) struct StagedWriter {
    store: Arc<dyn Store>,
    /// Where its staging is, without a slash at the end.
    at: String,
    /// As it was put last, but for parts and pieces that have become durable since.
    manifest: Manifest,
    uploading: Uploading,
    /// The bytes from `held_from` on that no part has.
    held: Vec<Bytes>,
    held_from: u64,
    /// Bytes up to here are in parts or pieces.
    staged: u64,
    length: u64,
    /// The parts: the byte behind each, and its tag once it is there.
    parts: Vec<(u64, Option<String>)>,
    on_their_way: JoinSet<(usize, Result<String, StoreError>)>,
    flushed: Option<Instant>,
}

impl StagedWriter {
    pub(super) fn new(store: Arc<dyn Store>, at: String, manifest: Manifest, uploading: Uploading) -> Self {
        Self {
            store,
            at,
            manifest,
            uploading,
            held: Vec::new(),
            held_from: 0,
            staged: 0,
            length: 0,
            parts: Vec::new(),
            on_their_way: JoinSet::new(),
            flushed: None,
        }
    }

    /// The fewest bytes that are worth a part.
    fn least_part(&self) -> u64 {
        let least = self.store.least_part().min(self.uploading.part_size);
        least << (self.parts.len() / PARTS_OF_A_SIZE).min(20)
    }

    fn parts_end(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    /// Appends.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.uploading.held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.length += bytes.len() as u64;
        self.held.push(bytes);
        if self.length - self.parts_end() >= self.uploading.part_size.max(self.least_part()) {
            self.begin_part().await?;
        }
        Ok(())
    }

    /// All that was written is durable when this is done.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        if self.manifest.length == self.length {
            return Ok(());
        }
        if self.length - self.parts_end() >= self.least_part() {
            self.begin_part().await?;
        } else {
            self.put_piece().await?;
        }
        self.note().await
    }

    /// Waits until the next flush is due. A flush of less than a part costs two requests, and nobody sees the file before its
    /// end, so there is a shortest time between two of them.
    pub async fn rest(&self) {
        if let Some(flushed) = self.flushed
            && self.length - self.parts_end() < self.least_part()
        {
            tokio::time::sleep_until(flushed + self.uploading.pause).await;
        }
    }

    /// The same; nothing is written any more.
    pub async fn close(&mut self) -> Result<(), StoreError> {
        let more = self.length - self.parts_end();
        if more > 0 && (!self.parts.is_empty() || more >= self.least_part()) {
            // The last part may be small.
            self.begin_part().await?;
        } else {
            self.put_piece().await?;
        }
        self.note().await
    }

    /// Uploads all that no part has.
    async fn begin_part(&mut self) -> Result<(), StoreError> {
        let upload = match &self.manifest.upload {
            Some(upload) => upload.clone(),
            None => {
                let upload = self.store.begin(&self.manifest.key, &self.manifest.id).await?;
                self.manifest.begun(upload.clone());
                // At once, so that whoever comes after a kill finds the upload.
                self.put_manifest().await?;
                upload.id
            }
        };
        while self.on_their_way.len() >= PARTS_AT_ONCE {
            self.land_part().await?;
        }
        let mut bytes = self.read_again().await?;
        bytes.append(&mut self.held);
        self.let_go();
        let (store, key, number) = (self.store.clone(), self.manifest.key.clone(), self.parts.len());
        let payload: PutPayload = bytes.into_iter().collect();
        self.on_their_way.spawn(async move { (number, store.part(&key, &upload, number, payload).await) });
        self.parts.push((self.length, None));
        self.staged = self.length;
        Ok(())
    }

    /// What is staged, in no part, and not held any more.
    async fn read_again(&self) -> Result<Vec<Bytes>, StoreError> {
        let from = self.parts_end();
        let Some(pieces) = self.manifest.pieces_between(from, self.held_from.max(from)) else {
            return Err(StoreError::new(Kind::Refused, "a piece of the file is not there any more"));
        };
        read_pieces(&*self.store, &self.at, &pieces).await
    }

    async fn land_part(&mut self) -> Result<(), StoreError> {
        match self.on_their_way.join_next().await {
            None => Ok(()),
            Some(Ok((number, tag))) => {
                if let Some((_, part)) = self.parts.get_mut(number) {
                    *part = Some(tag?);
                }
                Ok(())
            }
            Some(Err(ended)) => Err(StoreError::new(Kind::Unknown, ended.to_string())),
        }
    }

    async fn put_piece(&mut self) -> Result<(), StoreError> {
        let mut skip = (self.staged - self.held_from.min(self.staged)) as usize;
        let mut piece = Vec::new();
        for bytes in &self.held {
            let mut bytes = bytes.clone();
            let skipped = skip.min(bytes.len());
            bytes.advance(skipped);
            skip -= skipped;
            if !bytes.is_empty() {
                piece.push(bytes);
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.store.put(&piece_name(&self.at, self.staged), piece.into_iter().collect()).await?;
        self.manifest.pieces.push((self.staged, self.length - self.staged));
        self.staged = self.length;
        if self.uploading.held.load(Ordering::Relaxed) > HELD_MAX {
            self.held.clear();
            self.let_go();
        }
        Ok(())
    }

    /// Nothing is held any more.
    fn let_go(&mut self) {
        self.uploading.held.fetch_sub(self.length - self.held_from, Ordering::Relaxed);
        self.held_from = self.length;
    }

    /// Notes in the manifest what is staged.
    async fn note(&mut self) -> Result<(), StoreError> {
        while !self.on_their_way.is_empty() {
            self.land_part().await?;
        }
        let ends = self.parts.iter().skip(self.manifest.parts.len());
        let more: Vec<_> = ends.filter_map(|(end, tag)| Some((*end, tag.clone()?))).collect();
        self.manifest.parts.extend(more);
        self.manifest.length = self.length;
        let old = self.manifest.prune();
        self.put_manifest().await?;
        for piece in old {
            self.store.delete(&piece_name(&self.at, piece)).await?;
        }
        self.flushed = Some(Instant::now());
        Ok(())
    }

    async fn put_manifest(&self) -> Result<(), StoreError> {
        self.store.put(&format!("{}/{MANIFEST}", self.at), self.manifest.bytes().into()).await
    }
}

impl Drop for StagedWriter {
    fn drop(&mut self) {
        self.uploading.held.fetch_sub(self.length - self.held_from, Ordering::Relaxed);
    }
}

/// A piece's name.
pub(super) fn piece_name(at: &str, from: u64) -> String {
    format!("{at}/{from:020}")
}

/// The bytes of pieces.
pub(super) async fn read_pieces(
    store: &dyn Store,
    at: &str,
    pieces: &[(u64, u64)],
) -> Result<Vec<Bytes>, StoreError> {
    let mut found = Vec::with_capacity(pieces.len());
    for (from, length) in pieces {
        let name = piece_name(at, *from);
        let bytes = store
            .get(&name)
            .await
            .map_err(|error| StoreError { why: format!("{name}: {error}"), ..error })?;
        if bytes.len() as u64 != *length {
            let why = format!("{name} has {} bytes instead of {length}", bytes.len());
            return Err(StoreError::new(Kind::Refused, why));
        }
        found.push(bytes);
    }
    Ok(found)
}
