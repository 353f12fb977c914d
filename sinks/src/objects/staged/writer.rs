//! The end of a file that bytes go to.
//!
//! ```text
//!   write   held ── a part's worth ──> a part on its way, a few at a time; the next bytes are held meanwhile
//!   flush   the rest of what is held goes up as well; the flush goes on by itself from here:
//!             parts up to here have landed ──> the manifest is put ──> done
//! ```
//!
//! So what is flushed is waited for by whoever releases it alone, and never by what is written next. Manifests go up one at a time, each
//! with no more than what is in the parts and pieces that have landed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes};
use object_store::PutPayload;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::{Kind, Store, StoreError};
use super::manifest::Manifest;
use super::{HELD_MAX, MANIFEST, Uploading};

/// Parts of one file that are on their way at a time.
pub(crate) const PARTS_AT_ONCE: usize = 3;
/// A store takes 10,000 parts: so often they become twice as large.
const PARTS_OF_A_SIZE: usize = 1000;
/// From so many bytes on a flush that is less than a part waits for a part of the pause only: an event that is not flushed takes room in
/// its channel.
const WORTH_A_FLUSH: u64 = 100 << 10;
const SHORTER: u32 = 5;

/// A file that is being written.
pub(crate) struct StagedWriter {
    store: Arc<dyn Store>,
    /// Where its staging is, without a slash at the end.
    at: Arc<str>,
    /// The object that it becomes.
    key: String,
    /// As it was put last. Locked while it is put.
    manifest: Arc<Mutex<Manifest>>,
    upload: Option<String>,
    uploading: Uploading,
    /// The bytes from `held_from` on that no part has.
    held: Vec<Bytes>,
    held_from: u64,
    /// Bytes up to here are in parts or pieces.
    staged: u64,
    length: u64,
    /// How many parts were begun, and the byte behind them.
    parts: usize,
    parts_end: u64,
    /// Those behind the last part.
    pieces: Vec<(u64, u64)>,
    landed: Arc<watch::Sender<Landed>>,
    places: Arc<Semaphore>,
    on_their_way: JoinSet<()>,
    flushed: Option<Instant>,
}

/// What has become of parts and pieces.
#[derive(Debug, Default)]
struct Landed {
    /// The parts: the byte behind each, and its tag once it is there.
    parts: Vec<(u64, Option<String>)>,
    /// So many parts, from the first on, are there.
    whole: usize,
    /// Pieces that no manifest has yet.
    pieces: Vec<(u64, u64)>,
    failed: Option<StoreError>,
}

impl Landed {
    fn part(&mut self, number: usize, tag: Result<String, StoreError>) {
        match (tag, self.parts.get_mut(number)) {
            (Ok(tag), Some((_, part))) => *part = Some(tag),
            (Ok(_), None) => {}
            (Err(error), _) => {
                self.failed.get_or_insert(error);
            }
        }
        self.whole += self.parts.iter().skip(self.whole).take_while(|(_, tag)| tag.is_some()).count();
    }
}

/// A flush that goes on by itself, unless this is dropped.
pub(crate) struct Flushing(AbortOnDropHandle<Result<(), StoreError>>);

impl Flushing {
    /// All that was written before it is durable when this is done.
    pub async fn wait(self) -> Result<(), StoreError> {
        self.0.await.unwrap_or_else(|ended| Err(StoreError::new(Kind::Unknown, ended.to_string())))
    }
}

impl StagedWriter {
    pub(super) fn new(store: Arc<dyn Store>, at: String, manifest: Manifest, uploading: Uploading) -> Self {
        Self {
            store,
            at: at.into(),
            key: manifest.key.clone(),
            manifest: Arc::new(Mutex::new(manifest)),
            upload: None,
            uploading,
            held: Vec::new(),
            held_from: 0,
            staged: 0,
            length: 0,
            parts: 0,
            parts_end: 0,
            pieces: Vec::new(),
            landed: Arc::default(),
            places: Arc::new(Semaphore::new(PARTS_AT_ONCE)),
            on_their_way: JoinSet::new(),
            flushed: None,
        }
    }

    /// The fewest bytes that are worth a part.
    fn least_part(&self) -> u64 {
        let least = self.store.least_part().min(self.uploading.part_size);
        least << (self.parts / PARTS_OF_A_SIZE).min(20)
    }

    /// Bytes that make a part by themselves.
    fn part_size(&self) -> u64 {
        self.uploading.part_size.max(self.least_part())
    }

    /// Appends. Waits where too many parts are on their way.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.uploading.held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.length += bytes.len() as u64;
        self.held.push(bytes);
        if self.length - self.parts_end >= self.part_size() {
            self.begin_part().await?;
        }
        Ok(())
    }

    /// Begins to flush all that was written.
    pub async fn flush(&mut self) -> Result<Flushing, StoreError> {
        if self.length - self.parts_end >= self.least_part() {
            self.begin_part().await?;
        } else {
            self.put_piece().await?;
        }
        self.flushed = Some(Instant::now());
        Ok(self.note())
    }

    /// When the next flush is due, and how many bytes more make it worth its while at once. A flush of less than a part costs two requests,
    /// and nobody sees the file before its end, so there is a shortest time between two of them.
    pub fn rest(&self) -> Option<(Instant, u64)> {
        let pending = self.length - self.parts_end;
        let more = self.part_size().checked_sub(pending).filter(|more| *more > 0)?;
        let pause = match pending < WORTH_A_FLUSH {
            true => self.uploading.pause,
            false => self.uploading.pause / SHORTER,
        };
        Some((self.flushed? + pause, more)).filter(|_| pause > Duration::ZERO)
    }

    /// Flushes all that was written, and nothing is written any more.
    pub async fn close(&mut self) -> Result<(), StoreError> {
        let more = self.length - self.parts_end;
        if more > 0 && (self.parts > 0 || more >= self.least_part()) {
            // The last part may be small.
            self.begin_part().await?;
        } else {
            self.put_piece().await?;
        }
        self.note().wait().await
    }

    /// Uploads all that no part has.
    async fn begin_part(&mut self) -> Result<(), StoreError> {
        if self.length == self.parts_end {
            return Ok(());
        }
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => self.begin_upload().await?,
        };
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|closed| StoreError::new(Kind::Refused, closed.to_string()))?;
        while let Some(ended) = self.on_their_way.try_join_next() {
            if let Err(ended) = ended {
                return Err(StoreError::new(Kind::Unknown, ended.to_string()));
            }
        }
        if let Some(error) = &self.landed.borrow().failed {
            return Err(error.clone());
        }
        let mut bytes = self.read_again().await?;
        bytes.append(&mut self.held);
        self.let_go();
        let (store, key, number) = (self.store.clone(), self.key.clone(), self.parts);
        let payload: PutPayload = bytes.into_iter().collect();
        let (landed, end) = (self.landed.clone(), self.length);
        landed.send_modify(|landed| landed.parts.push((end, None)));
        self.on_their_way.spawn(async move {
            let tag = store.part(&key, &upload, number, payload).await;
            drop(place);
            landed.send_modify(|landed| landed.part(number, tag));
        });
        self.parts += 1;
        (self.parts_end, self.staged) = (self.length, self.length);
        self.pieces.clear();
        Ok(())
    }

    async fn begin_upload(&mut self) -> Result<String, StoreError> {
        let mut manifest = self.manifest.lock().await;
        let upload = self.store.begin(&self.key, &manifest.id).await?;
        manifest.begun(upload.clone());
        // At once, so that whoever comes after a kill finds the upload.
        put_manifest(&*self.store, &self.at, &manifest).await?;
        self.upload = Some(upload.id.clone());
        Ok(upload.id)
    }

    /// What is staged, in no part, and not held any more.
    async fn read_again(&self) -> Result<Vec<Bytes>, StoreError> {
        let gone: Vec<_> = self.pieces.iter().copied().filter(|(from, _)| *from < self.held_from).collect();
        read_pieces(&*self.store, &self.at, &gone).await
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
        let piece = (self.staged, self.length - self.staged);
        self.pieces.push(piece);
        self.landed.send_modify(|landed| landed.pieces.push(piece));
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

    /// Notes in the manifest what is staged, as soon as all of it has landed.
    fn note(&self) -> Flushing {
        let (length, parts) = (self.length, self.parts);
        let (store, at) = (self.store.clone(), self.at.clone());
        let (landed, manifest) = (self.landed.clone(), self.manifest.clone());
        Flushing(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut seen = landed.subscribe();
            let is_there = seen.wait_for(|landed| landed.failed.is_some() || landed.whole >= parts).await;
            match is_there.map(|landed| landed.failed.clone()) {
                Ok(None) => {}
                Ok(Some(error)) => return Err(error),
                Err(gone) => return Err(StoreError::new(Kind::Unknown, gone.to_string())),
            }
            let mut manifest = manifest.lock().await;
            if manifest.length >= length {
                // With a later flush.
                return Ok(());
            }
            let mut next = manifest.clone();
            {
                let landed = landed.borrow();
                if let Some(error) = &landed.failed {
                    return Err(error.clone());
                }
                let more = landed.parts.iter().take(parts).skip(next.parts.len());
                next.parts.extend(more.filter_map(|(end, tag)| Some((*end, tag.clone()?))));
                next.pieces.extend(landed.pieces.iter().filter(|(from, _)| *from < length));
            }
            next.length = length;
            let old = next.prune();
            // Only what was put counts: an earlier flush that finds itself in it is released.
            if let Err(error) = put_manifest(&*store, &at, &next).await {
                landed.send_modify(|landed| {
                    landed.failed.get_or_insert(error.clone());
                });
                return Err(error);
            }
            *manifest = next;
            landed.send_if_modified(|landed| {
                landed.pieces.retain(|(from, _)| *from >= length);
                // Nobody waits for this.
                false
            });
            for piece in old {
                store.delete(&piece_name(&at, piece)).await?;
            }
            Ok(())
        })))
    }
}

async fn put_manifest(store: &dyn Store, at: &str, manifest: &Manifest) -> Result<(), StoreError> {
    store.put(&format!("{at}/{MANIFEST}"), manifest.bytes().into()).await
}

impl Drop for StagedWriter {
    fn drop(&mut self) {
        self.uploading.held.fetch_sub(self.length - self.held_from, Ordering::Relaxed);
        // Parts that are on their way end with this, and flushes would wait for them.
        let gone = || StoreError::new(Kind::Unknown, "its writer has ended");
        self.landed.send_modify(|landed| {
            landed.failed.get_or_insert_with(gone);
        });
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
