//! Puts events that nobody is answered for, so that nobody would send them again.
//!
//! ```text
//!   send(batch)   put, tried again with growing pauses until there is room      (meanwhile nothing more is read:
//!        │                                                                        the client's own buffers fill)
//!        v
//!   on their way  up to 8 puts, each with a copy of its events
//!        │ acked: the copy is dropped
//!        └ failed: it and all after it are put again, in order
//! ```
//!
//! Flume drops events when a channel is full or has failed; here they wait. After a put that failed, nobody knows how much
//! of it was kept, so events may come twice, but none is missing. A stop ends the waiting: what a channel has not taken
//! in by then, while it was full or failing, is counted and said.
//!
//! Thousands of clients may wait at once, so the bytes on their way are bounded for all clients of a source together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::channel::PutError;
use flumen_api::source::{Backoff, PutRefused, PutTicket, TICKETS_DEFAULT};
use flumen_api::{Batch, SourceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
/// The pause before events of a failed put are put again.
const AGAIN: Duration = Duration::from_millis(100);
/// Bytes of bodies that a source's clients have on their way together.
const BYTES_MAX: usize = 64 << 20;

/// What all clients of a source may have on their way together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX)))
    }
}

/// One client's events on their way.
pub(crate) struct Delivery {
    context: SourceContext,
    budget: Budget,
    on_their_way: VecDeque<OnItsWay>,
}

struct OnItsWay {
    ticket: PutTicket,
    copy: Batch,
    room: Room,
}

/// Part of the budget; both halves of a batch that was halved hold on to it. `None`: a stop did not wait for it.
type Room = Arc<Option<OwnedSemaphorePermit>>;

impl Delivery {
    /// Nothing on its way yet.
    pub fn new(context: SourceContext, budget: &Budget) -> Self {
        Self { context, budget: budget.clone(), on_their_way: VecDeque::new() }
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.on_their_way.is_empty()
    }

    /// Puts the batch; returns once it is on its way (or lost to a stop).
    pub async fn send(&mut self, batch: Batch) {
        while self.on_their_way.len() >= TICKETS_DEFAULT {
            self.settle_oldest().await;
        }
        let room = self.room(batch.body_bytes()).await;
        self.put(batch, room).await;
    }

    /// Waits until everything is acked, or lost to a stop.
    pub async fn finish(&mut self) {
        while !self.is_idle() {
            self.settle_oldest().await;
        }
    }

    /// Waits for the oldest put, to be handed to [`settle`](Self::settle); for ever if there is none. May be dropped and
    /// called again.
    pub async fn oldest(&mut self) -> Result<(), PutError> {
        match self.on_their_way.front_mut() {
            Some(oldest) => (&mut oldest.ticket).await,
            None => std::future::pending().await,
        }
    }

    /// Lets go of the oldest put, or puts it again with all that follow.
    pub async fn settle(&mut self, oldest: Result<(), PutError>) {
        let Some(first) = self.on_their_way.pop_front() else { return };
        let Err(error) = oldest else { return };
        tracing::warn!(source = %self.context.name, %error, "a put failed, its events are put again");
        // What follows a failed put fails as well, mostly; it goes behind the first again.
        let mut again = vec![(first.copy, first.room)];
        for OnItsWay { ticket, copy, room } in std::mem::take(&mut self.on_their_way) {
            if ticket.await.is_err() {
                again.push((copy, room));
            }
        }
        let stopped = self.context.sleep(AGAIN).await;
        for (batch, room) in again {
            match stopped {
                true => self.lost(&batch),
                false => self.put(batch, room).await,
            }
        }
    }

    async fn settle_oldest(&mut self) {
        let oldest = self.oldest().await;
        self.settle(oldest).await;
    }

    /// Room for so many bytes. Whoever waits for it has nothing on its way, so no two wait for each other.
    async fn room(&mut self, bytes: u64) -> Room {
        let bytes = bytes.min(BYTES_MAX as u64) as u32;
        let budget = self.budget.0.clone();
        loop {
            if let Ok(room) = budget.clone().try_acquire_many_owned(bytes) {
                return Arc::new(Some(room));
            }
            if self.is_idle() {
                break;
            }
            self.settle_oldest().await;
        }
        let room = self.context.shutdown.run_until_cancelled(budget.acquire_many_owned(bytes)).await;
        Arc::new(room.and_then(Result::ok))
    }

    async fn put(&mut self, batch: Batch, room: Room) {
        // A put that is too large for the channel is put in halves: which events came together is chance.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if let Some([first, second]) = self.put_or_halve(part, &room).await {
                parts.extend([second, first]);
            }
        }
    }

    async fn put_or_halve(&mut self, batch: Batch, room: &Room) -> Option<[Batch; 2]> {
        let mut backoff = BACKOFF;
        let copy = batch.clone();
        let mut next = batch;
        loop {
            let PutRefused { batch, error } = match self.context.put(next).await {
                Ok(ticket) => {
                    self.on_their_way.push_back(OnItsWay { ticket, copy, room: room.clone() });
                    return None;
                }
                Err(refused) => refused,
            };
            match error {
                PutError::TooLarge { .. } if copy.len() > 1 => return Some(halves(&copy)),
                PutError::TooLarge { .. } => {
                    tracing::error!(source = %self.context.name, %error, "an event is too large for the channel: dropped");
                    self.context.metrics.event_read_fail.inc();
                    return None;
                }
                _ => tracing::warn!(source = %self.context.name, %error, "put refused, tried again"),
            }
            if self.context.sleep(backoff.pause()).await {
                self.lost(&copy);
                return None;
            }
            next = batch;
        }
    }

    fn lost(&self, batch: &Batch) {
        self.context.metrics.generic_processing_fail.inc();
        tracing::error!(
            source = %self.context.name, events = batch.len(),
            "events that had arrived are lost: the agent stops and the channel did not take them in"
        );
    }
}

/// The same events in two batches.
fn halves(batch: &Batch) -> [Batch; 2] {
    let middle = batch.len() / 2;
    let part = |range: std::ops::Range<usize>| {
        let mut part = Batch::new();
        for i in range {
            let event = batch.event(i);
            let headers = part.add_headers(event.headers.clone());
            part.push_with(event.body, headers);
        }
        part
    };
    [part(0..middle), part(middle..batch.len())]
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::{FakeEngine, Fate};

    fn batch(bodies: &[&str]) -> Batch {
        let mut batch = Batch::new();
        bodies.iter().for_each(|body| batch.push(body.as_bytes()));
        batch
    }

    #[tokio::test]
    async fn what_a_channel_refuses_or_loses_is_put_again_in_order() {
        let engine = FakeEngine::new();
        let mut delivery = Delivery::new(engine.context(&CancellationToken::new()), &Budget::new());
        engine.state().fates = [Fate::Full, Fate::Lost, Fate::Lost, Fate::Failing].into();
        delivery.send(batch(&["a", "b"])).await;
        delivery.send(batch(&["c"])).await;
        delivery.finish().await;
        assert_eq!(engine.bodies(), ["a", "b", "c"]);
        assert!(delivery.is_idle());
    }

    #[tokio::test]
    async fn batches_that_are_too_large_go_in_parts_and_an_event_that_is_is_counted() {
        let engine = FakeEngine::new();
        engine.state().largest_body = Some(4);
        let context = engine.context(&CancellationToken::new());
        let mut delivery = Delivery::new(context.clone(), &Budget::new());
        delivery.send(batch(&["11", "22", "33333", "44", "55"])).await;
        delivery.finish().await;
        assert_eq!(engine.bodies(), ["11", "22", "44", "55"]);
        assert_eq!(context.metrics.event_read_fail.get(), 1);
    }

    #[tokio::test]
    async fn a_stop_ends_the_waiting_for_a_channel_that_is_full() {
        let engine = FakeEngine::new();
        engine.state().fates = std::iter::repeat_n(Fate::Full, 1000).collect();
        let stop = CancellationToken::new();
        let context = engine.context(&stop);
        let mut delivery = Delivery::new(context.clone(), &Budget::new());
        stop.cancel();
        delivery.send(batch(&["a"])).await;
        delivery.finish().await;
        assert_eq!(context.metrics.generic_processing_fail.get(), 1);
        assert!(engine.bodies().is_empty());
    }

    #[tokio::test]
    async fn clients_wait_for_each_other_when_they_have_too_much_on_their_way() {
        let engine = FakeEngine::new();
        let budget = Budget::new();
        let context = engine.context(&CancellationToken::new());
        let mut first = Delivery::new(context.clone(), &budget);
        let mut second = Delivery::new(context, &budget);
        let large = "x".repeat(BYTES_MAX / 2 + 1);
        first.send(batch(&[&large])).await;
        {
            let mut waits = std::pin::pin!(second.send(batch(&[&large])));
            assert!(futures_now(waits.as_mut()).is_none(), "there is no room for both");
            first.finish().await;
            waits.await;
        }
        second.finish().await;
        assert_eq!(engine.state().events.len(), 2);
    }

    /// The future's value if it has one at once.
    fn futures_now<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
