//! A source's put: interceptors, selector, room in all required channels, appends, one ticket.
//!
//! ```text
//!   batch ─> interceptors ─> selector ─> Route
//!     required  reserve in all of them, in the order of their names; any refusal gives everything back
//!               append to each, then one ticket over all
//!     durable channels without an event of the batch   append its progress alone, which nobody waits for
//!     optional  try_reserve and append; what finds no room is dropped and counted
//! ```
//!
//! One order of names for all sources, so that two sources which each hold room that the other waits for cannot be.
//! The interceptors and the selector see one batch at a time; puts of several callers overlap from there on, and one
//! caller's puts are appended in its order because it awaits each.
//!
//! A channel that does not know the source is marked, durably, before the first put with progress: if a crash then left
//! that put in some channels only, those without it would otherwise be taken for new ones, which miss nothing.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Reservation, Space, Ticket};
use flumen_api::chunk;
use flumen_api::interceptor::Interceptor;
use flumen_api::metrics::{Counter, SourceMetrics};
use flumen_api::progress::Positions;
use flumen_api::selector::{Route, Selected, Selector};
use flumen_api::source::{PutRefused, PutTicket, SourceEngine};
use parking_lot::Mutex;

use super::board::{Lags, Trouble};
use super::gaps::Gaps;
use super::pace::Pace;
use super::positions;

/// The engine's side of one source.
pub(super) struct SourcePut {
    name: Arc<str>,
    metrics: SourceMetrics,
    pipeline: Mutex<Pipeline>,
    /// In the order in which the source lists them, as the selector counts them.
    targets: Vec<Target>,
    /// Indexes into `targets`, by channel name.
    order: Vec<usize>,
    /// Where the source resumes; and held while the channels that do not know the source are marked, so that no put
    /// with progress overtakes the marks.
    start: tokio::sync::Mutex<Unmarked>,
    marked: AtomicBool,
    resume: Mutex<Option<Positions>>,
    gaps: Arc<Gaps>,
    pace: Pace,
    trouble: Trouble,
    lags: Lags,
}

/// What sees each batch before it is put.
pub(super) struct Pipeline {
    /// In chain order.
    pub interceptors: Vec<Link>,
    pub selector: Box<dyn Selector>,
}

/// One interceptor of the chain.
pub(super) struct Link {
    pub name: Arc<str>,
    pub interceptor: Box<dyn Interceptor>,
    /// Counts the events that it drops.
    pub dropped: Counter,
}

impl Pipeline {
    /// Runs the chain, which ends early when no event is left.
    fn intercept(&mut self, batch: &mut Batch) {
        for link in &mut self.interceptors {
            let before = batch.len();
            if before == 0 {
                break;
            }
            link.interceptor.intercept(batch);
            link.dropped.add(before.saturating_sub(batch.len()) as u64);
        }
    }
}

struct Target {
    channel: Arc<dyn Channel>,
    durable: bool,
    votes: bool,
}

/// Indexes of the channels that do not know the source.
type Unmarked = Vec<usize>;

impl SourcePut {
    pub fn new(
        name: Arc<str>,
        metrics: SourceMetrics,
        mut pipeline: Pipeline,
        channels: Vec<Arc<dyn Channel>>,
    ) -> Self {
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by(|&a, &b| channels[a].name().cmp(channels[b].name()));
        let targets = channels.into_iter().enumerate().map(|(i, channel)| {
            let durable = channel.limits().durable;
            Target { durable, votes: durable && pipeline.selector.may_require(i), channel }
        });
        let targets: Vec<Target> = targets.collect();
        if targets.iter().filter(|target| target.durable).count() > 1 {
            pipeline.selector.route_by_position();
        }
        Self {
            name,
            metrics,
            targets,
            order,
            pipeline: Mutex::new(pipeline),
            start: tokio::sync::Mutex::default(),
            marked: true.into(),
            resume: Mutex::default(),
            gaps: Arc::default(),
            pace: Pace::default(),
            trouble: Trouble::default(),
            lags: Lags::default(),
        }
    }

    /// Lets the source say in `trouble` what is wrong.
    pub fn with_trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    /// Lets the source say in `lags` how far it is behind.
    pub fn with_lags(mut self, lags: Lags) -> Self {
        self.lags = lags;
        self
    }

    /// The source is about to run, for the first time or again: reads where its channels stand.
    pub async fn begin(&self) {
        let mut unmarked = self.start.lock().await;
        unmarked.clear();
        let mut voters = Vec::new();
        for (i, target) in self.targets.iter().enumerate().filter(|(_, target)| target.votes) {
            target.channel.settle_source(&self.name).await;
            match target.channel.source_positions(&self.name) {
                Some(positions) => voters.push(positions),
                None => unmarked.push(i),
            }
        }
        self.marked.store(unmarked.is_empty(), Ordering::Release);
        *self.resume.lock() = positions::oldest(&voters);
        self.gaps.forget();
        *self.trouble.lock() = None;
        self.lags.lock().clear();
    }

    /// Marks the channels that do not know the source, and waits until all marks are durable.
    async fn mark(&self) -> Result<(), PutError> {
        let mut unmarked = self.start.lock().await;
        let marks = self.resume.lock().as_ref().map(positions::as_marks).unwrap_or_default();
        let tickets = unmarked
            .iter()
            .map(|&i| self.targets[i].channel.mark_source(&self.name, marks.clone()))
            .collect();
        Ticket::all(tickets).await?;
        unmarked.clear();
        self.marked.store(true, Ordering::Release);
        Ok(())
    }

    fn refuse(&self, batch: Batch, error: PutError) -> PutRefused {
        self.metrics.channel_write_fail.inc();
        PutRefused { batch, error }
    }

    /// Of the channels that the route requires, the one that is closest to where its takers leave memory.
    fn takers_behind(&self, required: &[Selected]) -> Option<f64> {
        let taken = self.targets.iter().zip(required).filter(|(_, selected)| selection(selected).is_some());
        taken.filter_map(|(target, _)| target.channel.takers_behind()).reduce(f64::max)
    }

    /// Room in every channel that the route requires, in name order.
    async fn reserve(
        &self,
        batch: &Batch,
        required: &[Selected],
    ) -> Result<Vec<(usize, Reservation)>, PutError> {
        let mut rooms = Vec::with_capacity(required.len());
        let mut whole = None;
        for &i in &self.order {
            let Some(selection) = selection(&required[i]) else { continue };
            let space = match selection {
                None => *whole.get_or_insert_with(|| space(batch, None)),
                some => space(batch, some),
            };
            let channel = &self.targets[i].channel;
            let room = match channel.try_reserve(space) {
                Err(PutError::Full { .. }) => channel.reserve(space).await?,
                other => other?,
            };
            rooms.push((i, room));
        }
        Ok(rooms)
    }

    /// Counts `events` as accepted, or notes the failure, when `ticket` resolves.
    fn watch(&self, mut ticket: Ticket, batch: &Batch) -> Ticket {
        let events = batch.len() as u64;
        // A ticket that needs no waiting, as a memory channel's, costs no allocation here.
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                self.metrics.event_accepted.add(events);
                Ticket::done()
            }
            Poll::Ready(Err(error)) => {
                self.metrics.channel_write_fail.inc();
                self.gaps.failed(batch.progress());
                failed(error)
            }
            Poll::Pending => {
                let metrics = self.metrics.clone();
                let gaps = self.gaps.clone();
                let progress = batch.progress().to_vec();
                Ticket::pending(async move {
                    let result = ticket.await;
                    match &result {
                        Ok(()) => metrics.event_accepted.add(events),
                        Err(_) => {
                            metrics.channel_write_fail.inc();
                            gaps.failed(&progress);
                        }
                    }
                    result
                })
            }
        }
    }
}

#[async_trait]
impl SourceEngine for SourcePut {
    async fn put(&self, mut batch: Batch) -> Result<PutTicket, PutRefused> {
        let route = {
            let mut pipeline = self.pipeline.lock();
            if !batch.is_intercepted() {
                self.metrics.event_received.add(batch.len() as u64);
                pipeline.intercept(&mut batch);
                batch.mark_intercepted();
            }
            match batch.is_empty() {
                true => nowhere(self.targets.len()),
                false => pipeline.selector.route(&batch, self.targets.len()),
            }
        };
        assert_eq!(route.required.len(), self.targets.len(), "the selector's route, required");
        assert_eq!(route.optional.len(), self.targets.len(), "the selector's route, optional");
        let has_progress = !batch.progress().is_empty();
        if has_progress {
            if let Some(key) = self.gaps.left_by(batch.progress()) {
                return Ok(failed(PutError::Failed {
                    channel: self.targets[self.order[0]].channel.name().into(),
                    reason: format!("an earlier put of {key} failed; this one would leave a gap"),
                }));
            }
            if !self.marked.load(Ordering::Acquire)
                && let Err(error) = self.mark().await
            {
                return Err(self.refuse(batch, error));
            }
        }

        self.pace.wait(|| self.takers_behind(&route.required)).await;
        let rooms = match self.reserve(&batch, &route.required).await {
            Ok(rooms) => rooms,
            Err(error) => return Err(self.refuse(batch, error)),
        };
        let mut tickets = Vec::with_capacity(rooms.len());
        for (i, room) in rooms {
            let selection = selection(&route.required[i]).flatten();
            let put = Put { source: &self.name, batch: &batch, selection };
            match self.targets[i].channel.append(room, put) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) if tickets.is_empty() => return Err(self.refuse(batch, error)),
                // Some channels have it already, so the batch cannot be refused any more.
                Err(error) => {
                    self.gaps.failed(batch.progress());
                    tickets.push(failed(error));
                    return Ok(self.watch(Ticket::all(tickets), &batch));
                }
            }
        }
        if has_progress {
            match self.append_progress(&batch, &route.required, &route.optional) {
                Ok(aside) if tickets.is_empty() => tickets = aside,
                Ok(_unwaited) => {}
                Err(error) if tickets.is_empty() => return Err(self.refuse(batch, error)),
                // The channel stands further back than it could: after a crash its source reads some events again,
                // which the others drop.
                Err(error) => tracing::debug!(source = %self.name, %error, "progress not written"),
            }
            self.gaps.closed_by(batch.progress());
        }
        self.put_optional(&batch, &route.required, &route.optional);
        self.metrics.nowhere.add(route.nowhere as u64);
        Ok(self.watch(Ticket::all(tickets), &batch))
    }

    fn positions(&self) -> Option<Positions> {
        self.resume.lock().clone()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn report(&self, trouble: Option<String>) {
        *self.trouble.lock() = trouble;
    }

    fn lag(&self, part: &str, seconds: Option<u64>) {
        let mut lags = self.lags.lock();
        match seconds {
            Some(seconds) => drop(lags.insert(part.to_string(), seconds)),
            None => drop(lags.remove(part)),
        }
    }
}

impl SourcePut {
    /// Progress alone for each durable channel that gets no event of the batch, so that it pins nobody.
    fn append_progress(
        &self,
        batch: &Batch,
        required: &[Selected],
        optional: &[Selected],
    ) -> Result<Vec<Ticket>, PutError> {
        const NOTHING: Space = Space { events: 0, chunk_bytes: 0, body_bytes: 0 };
        let mut tickets = Vec::new();
        let mut result = Ok(());
        for &i in &self.order {
            let target = &self.targets[i];
            if !target.durable || selection(&required[i]).is_some() || selection(&optional[i]).is_some() {
                continue;
            }
            let put = Put { source: &self.name, batch, selection: Some(&[]) };
            match target.channel.try_reserve(NOTHING).and_then(|room| target.channel.append(room, put)) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => result = Err(error),
            }
        }
        match result {
            Err(error) if tickets.is_empty() => Err(error),
            _ => Ok(tickets),
        }
    }

    fn put_optional(&self, batch: &Batch, required: &[Selected], optional: &[Selected]) {
        for &i in &self.order {
            // A channel that is both required and optional for the batch has it already.
            if selection(&required[i]).is_some() {
                continue;
            }
            let Some(selection) = selection(&optional[i]) else { continue };
            let space = space(batch, selection);
            if space.events == 0 {
                continue;
            }
            let channel = &self.targets[i].channel;
            let put = Put { source: &self.name, batch, selection };
            match channel.try_reserve(space).and_then(|room| channel.append_optional(room, put)) {
                // Nobody waits for an optional channel; what fails after the append, it reports itself.
                Ok(_unwaited) => {}
                Err(_full) => self.metrics.optional_dropped.add(space.events as u64),
            }
        }
    }
}

/// The route of a batch without events: only its progress goes on.
fn nowhere(channels: usize) -> Route {
    let none = vec![Selected::None; channels];
    Route { required: none.clone(), optional: none, nowhere: 0 }
}

fn failed(error: PutError) -> Ticket {
    Ticket::pending(std::future::ready(Err(error)))
}

/// `None` if nothing is selected, else what [`Put::selection`] wants.
fn selection(selected: &Selected) -> Option<Option<&[u32]>> {
    match selected {
        Selected::None => None,
        Selected::All => Some(None),
        Selected::Some(indexes) if indexes.is_empty() => None,
        Selected::Some(indexes) => Some(Some(indexes)),
    }
}

/// What the selected events need; the chunk's length as an upper bound, which spares its exact measure.
pub(super) fn space(batch: &Batch, selection: Option<&[u32]>) -> Space {
    let (events, body_bytes) = match selection {
        None => (batch.len(), batch.body_bytes()),
        Some(indexes) => {
            let spans = batch.spans();
            (indexes.len(), indexes.iter().map(|&i| u64::from(spans[i as usize].len)).sum())
        }
    };
    let pair = |(key, value): (&str, &str)| 8 + key.len() + value.len();
    let sets: usize = batch.sets().iter().map(|set| 4 + set.iter().map(pair).sum::<usize>()).sum();
    // Each event: its length, its header set, a newline.
    let chunk_bytes = (chunk::PREFIX_LEN + sets + events * 9) as u64 + body_bytes;
    Space { events, chunk_bytes, body_bytes }
}

#[cfg(test)]
mod tests {
    use flumen_api::chunk::ChunkWriter;
    use flumen_api::event::Headers;

    use super::*;

    #[test]
    fn the_room_asked_for_is_never_less_than_the_chunk() {
        let mut lines = Batch::over("one\ntwo\n".into());
        lines.push_slice(0, 3);
        lines.push_slice(4, 3);
        let mut mixed = Batch::new();
        mixed.push(b"plain");
        let set = mixed.add_headers(Headers::from_iter([("host", "h1")]));
        mixed.push_with(b"", set);
        for batch in [Batch::new(), lines, mixed] {
            let last = [batch.len().saturating_sub(1) as u32];
            for selection in [None, Some(&last[..batch.len().min(1)])] {
                let writer = ChunkWriter::new(&batch, selection);
                let space = space(&batch, selection);
                assert!(space.chunk_bytes >= writer.encoded_len() as u64, "{space:?}");
                assert_eq!(space.events, writer.events());
            }
        }
    }
}
