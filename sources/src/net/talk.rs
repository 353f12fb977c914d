//! A client that sends and is not answered: bytes to events to puts, until it ends or a stop is asked for.

use std::io;

use flumen_api::{Batch, SourceContext};

use super::delivery::Delivery;
use super::stream::ReadBuffer;
use super::{Budget, Connection};

/// A batch is put once it has so many bytes, whatever the number of its events.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// What a source makes of its clients' bytes.
pub(crate) trait Protocol: Send {
    /// Takes bytes off `input` up to the end of an event, which goes into the batch unless the bytes are none. `false`:
    /// all were taken, and more are needed.
    fn next(&mut self, input: &mut &[u8], batch: &mut Batch) -> bool;

    /// How many bytes of an event are there whose end has not come.
    fn unfinished(&self) -> usize;
}

/// How a client is read.
pub(crate) struct Reading {
    /// Most events of one put.
    pub events_max: usize,
    /// Size of the first reads.
    pub buffer: usize,
    pub budget: Budget,
}

/// Serves one client.
pub(crate) async fn talk(
    mut connection: Connection,
    context: SourceContext,
    reading: &Reading,
    mut protocol: impl Protocol,
) -> io::Result<()> {
    let mut buffer = ReadBuffer::new(reading.buffer);
    let mut delivery = Delivery::new(context.clone(), &reading.budget);
    let ended = loop {
        let read = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break Ok(()),
            // Nothing may come for hours: what is acked is not held until then.
            oldest = delivery.oldest() => {
                delivery.settle(oldest).await;
                continue;
            }
            read = buffer.read(&mut connection.stream) => read,
        };
        let mut input = match read {
            Ok([]) => break Ok(()),
            Ok(bytes) => bytes,
            Err(error) => break Err(error),
        };
        let mut batch = Batch::new();
        while protocol.next(&mut input, &mut batch) {
            if batch.len() >= reading.events_max || batch.body_bytes() >= BATCH_BYTES_MAX {
                delivery.send(std::mem::take(&mut batch)).await;
            }
        }
        if !batch.is_empty() {
            delivery.send(batch).await;
        }
    };
    let unfinished = protocol.unfinished();
    if unfinished > 0 {
        context.metrics.event_read_fail.inc();
        let peer = connection.peer;
        tracing::warn!(source = %context.name, %peer, bytes = unfinished, "dropped a line without an end");
    }
    delivery.finish().await;
    ended
}
