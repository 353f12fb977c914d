//! Receives datagrams into a queue, so that a channel without room costs nothing at first.
//!
//! ```text
//!   socket ──> reader task ──> queue of at most 16 MiB ──> the source
//!                   └ no room: the datagram is dropped and counted (ChannelWriteFail)
//! ```
//!
//! Nobody can ask a sender of datagrams to wait. Left in the socket, they would be dropped all the same, by the kernel and
//! uncounted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::SourceContext;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Delivery;

/// The largest datagram there is.
const DATAGRAM_MAX: usize = 65_535;
/// What the queue may hold, in bytes.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What a datagram costs beside its bytes.
const OVERHEAD: usize = 128;
/// The pause after a socket that could not be read.
const PAUSE: Duration = Duration::from_millis(100);

/// One datagram.
pub(crate) struct Datagram {
    pub bytes: Vec<u8>,
    pub peer: SocketAddr,
    _room: OwnedSemaphorePermit,
}

/// Datagrams in the order of their arrival.
pub(crate) struct Inbox {
    queue: mpsc::UnboundedReceiver<Datagram>,
    /// Ends when dropped, so that a source that fails gives its port back.
    _reader: JoinSet<()>,
}

impl Inbox {
    /// Begins to receive; ends when a stop is asked for.
    pub fn new(socket: UdpSocket, context: SourceContext) -> Self {
        let (sender, queue) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(read(socket, context, sender));
        Self { queue, _reader: reader }
    }

    /// The next datagrams, at most `most` of those that are there; `None` after the stop, when all have been handed out.
    /// Sees to what is on its way meanwhile.
    pub async fn next(&mut self, most: usize, delivery: &mut Delivery) -> Option<Vec<Datagram>> {
        let mut datagrams = Vec::new();
        loop {
            tokio::select! {
                biased;
                oldest = delivery.oldest() => delivery.settle(oldest).await,
                count = self.queue.recv_many(&mut datagrams, most) => return (count > 0).then_some(datagrams),
            }
        }
    }
}

async fn read(socket: UdpSocket, context: SourceContext, queue: mpsc::UnboundedSender<Datagram>) {
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        let received = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            received = socket.recv_from(&mut bytes) => received,
        };
        match received {
            Ok((length, peer)) => {
                let cost = (length + OVERHEAD) as u32;
                let Ok(room) = room.clone().try_acquire_many_owned(cost) else {
                    context.metrics.channel_write_fail.inc();
                    tracing::warn!(source = %context.name, "datagrams are dropped: the channel takes in less than arrives");
                    continue;
                };
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let datagram = Datagram { bytes: bytes[..length].to_vec(), peer, _room: room };
                if queue.send(datagram).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(source = %context.name, %error, "cannot receive");
                context.metrics.generic_processing_fail.inc();
                if context.sleep(PAUSE).await {
                    return;
                }
            }
        }
    }
}
