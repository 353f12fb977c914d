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
        Self::within(TOGETHER_MAX.max(request_max), request_max)
    }

    /// For bodies that together have `all` bytes at most.
    fn within(all: usize, request_max: usize) -> Self {
        Self { pieces: Arc::new(Semaphore::new(all.div_ceil(PIECE))), request_max }
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body_util::Full;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// A connection whose requests are answered with what became of their bodies.
    fn client(room: &Room) -> DuplexStream {
        let (here, there) = tokio::io::duplex(1 << 20);
        let room = room.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let room = room.clone();
            async move {
                let text = match room.read(request.into_body(), &CancellationToken::new()).await {
                    Ok(held) => format!("{} bytes", held.bytes.len()),
                    Err(why) => format!("{why:?}"),
                };
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(there), service));
        here
    }

    /// Sends the head of a request whose body has `length` bytes, and the first of them.
    async fn begin(client: &mut DuplexStream, length: usize, first: usize) {
        let head =
            format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; first]).await.unwrap();
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_string()
    }

    #[tokio::test]
    async fn requests_have_no_more_memory_together_than_there_is_room_for() {
        let room = Room::within(2 * PIECE, 2 * PIECE);
        let (mut large, mut small) = (client(&room), client(&room));
        begin(&mut large, PIECE + 10, PIECE + 1).await;
        while room.pieces.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begin(&mut small, 3, 3).await;
        assert_eq!(answer(&mut small).await, "NoRoom");
        large.write_all(&[b'x'; 9]).await.unwrap();
        assert_eq!(answer(&mut large).await, format!("{} bytes", PIECE + 10));
        let mut again = client(&room);
        begin(&mut again, 3, 3).await;
        assert_eq!(answer(&mut again).await, "3 bytes");
        let mut long = client(&room);
        begin(&mut long, 2 * PIECE + 1, 0).await;
        assert_eq!(answer(&mut long).await, "TooLong");
    }
}
