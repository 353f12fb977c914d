//! Reads request bodies: each of a bounded length, all together within a bounded memory, and none for ever.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::SILENCE_MAX;

/// What all requests together may hold, if one request alone may not hold more.
const TOGETHER_MAX: usize = 256 << 20;
/// Memory is asked for in such pieces.
const PIECE: usize = 64 << 10;

/// Memory for request bodies.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pieces: Arc<Semaphore>,
    request_max: usize,
}

/// A body with the memory that it takes.
pub(super) struct Held {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than one may be.
    TooLong,
    /// Others take all the memory.
    NoRoom,
    /// The client is silent.
    Silent,
    /// The source stops.
    Stopping,
    /// The connection is lost, or what came is no HTTP.
    Lost(hyper::Error),
}

impl Room {
    /// For bodies of at most `request_max` bytes.
    pub fn new(request_max: usize) -> Self {
        let pieces = TOGETHER_MAX.max(request_max).div_ceil(PIECE);
        Self { pieces: Arc::new(Semaphore::new(pieces)), request_max }
    }

    /// Reads a body to its end.
    pub async fn read(&self, mut body: Incoming, shutdown: &CancellationToken) -> Result<Held, Unread> {
        if body.size_hint().lower() > self.request_max as u64 {
            return Err(Unread::TooLong);
        }
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut held = 0;
        loop {
            let frame = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Unread::Stopping),
                frame = tokio::time::timeout(SILENCE_MAX, body.frame()) => frame.map_err(|_elapsed| Unread::Silent)?,
            };
            let Some(frame) = frame else { return Ok(Held { bytes: bytes.freeze(), _room: room }) };
            // Trailers say nothing that is wanted.
            let Ok(data) = frame.map_err(Unread::Lost)?.into_data() else { continue };
            if bytes.len() + data.len() > self.request_max {
                return Err(Unread::TooLong);
            }
            while held < bytes.len() + data.len() {
                let more = self.pieces.clone().try_acquire_owned().map_err(|_all_taken| Unread::NoRoom)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                held += PIECE;
            }
            bytes.extend_from_slice(&data);
        }
    }
}
