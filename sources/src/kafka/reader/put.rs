//! Batches into the channels: room is waited for without leaving the group, and what fails is read again.

use std::time::Duration;

use flumen_api::SourceError;
use flumen_api::batch::Batch;
use flumen_api::channel::PutError;
use flumen_api::source::{PutRefused, PutTicket};
use flumen_kafka::rdkafka::Message;

use super::open::Open;
use super::part::part;
use super::{BYTES_ON_THE_WAY, Halt, Reader, STAY, Tag, fatal};

impl Reader<'_> {
    pub(super) async fn put_open(&mut self) -> Result<(), Halt> {
        if self.open.is_empty() {
            return Ok(());
        }
        let Open { batch, unreadable, bytes, .. } = {
            let next = self.open.after();
            std::mem::replace(&mut self.open, next)
        };
        self.context.metrics.event_read_fail.add(unreadable);
        if self.parts.iter().any(|part| part.is_news) {
            let mut parts = std::mem::take(&mut self.parts);
            let told = self.tell_news(&mut parts);
            self.parts = parts;
            told.map_err(fatal("the group does not take an offset"))?;
        }
        let events = batch.len();
        let mut tag = Tag { places: Vec::new(), bytes };
        for made in batch.progress() {
            let part =
                self.parts.iter().find(|part| part.key == made.key && part.generation == made.generation);
            tag.places.extend(part.map(|part| (part.partition.clone(), made.generation, made.to)));
        }
        let ticket = self.put(batch, events, &tag).await?;
        self.is_put(&tag);
        if let Some((_, left)) = &mut self.smaller {
            *left = left.saturating_sub(events.max(1));
            if *left == 0 {
                self.smaller = None;
            }
        }
        self.push(ticket, tag).await
    }

    /// Puts, waiting for room as long as it takes. The group is not kept waiting for it.
    pub(super) async fn put(
        &mut self,
        mut batch: Batch,
        events: usize,
        tag: &Tag,
    ) -> Result<PutTicket, Halt> {
        let mut paused = false;
        let result = loop {
            match self.try_put(batch, &mut paused).await? {
                Ok(ticket) => break Ok(ticket),
                Err(refused) => match refused.error {
                    error @ PutError::TooLarge { .. } => {
                        break Err(Halt::TooLarge(events, tag.clone(), error));
                    }
                    error if !error.is_retriable() => {
                        break Err(match self.context.shutdown.is_cancelled() {
                            true => Halt::Stopped,
                            false => Halt::Fatal(SourceError::new("a put is impossible", error)),
                        });
                    }
                    error => {
                        tracing::warn!(source = %self.context.name, %error, "put refused, tried again");
                        batch = refused.batch;
                    }
                },
            }
            // A put that failed meanwhile comes first.
            self.acked_now()?;
            self.stay(&mut paused)?;
            if self.rest().await {
                break Err(Halt::Stopped);
            }
        };
        if result.is_ok() {
            self.refusals = 0;
        }
        if paused {
            self.records.member.pause(false).map_err(fatal("cannot go on after a pause"))?;
        }
        result
    }

    pub(super) async fn try_put(
        &mut self,
        batch: Batch,
        paused: &mut bool,
    ) -> Result<Result<PutTicket, PutRefused>, Halt> {
        let context = self.context.clone();
        let mut put = std::pin::pin!(context.put(batch));
        loop {
            tokio::select! {
                biased;
                result = &mut put => return Ok(result),
                () = self.context.shutdown.cancelled() => return Err(Halt::Stopped),
                () = tokio::time::sleep(STAY) => self.stay(paused)?,
            }
        }
    }

    /// Polls while nothing can be taken in, so that the group knows this member lives.
    pub(super) fn stay(&mut self, paused: &mut bool) -> Result<(), Halt> {
        if !*paused {
            self.records.member.pause(true).map_err(fatal("cannot pause"))?;
            *paused = true;
        }
        while let Some(polled) = self.records.member.poll(Duration::ZERO) {
            if let Ok(message) = polled {
                // It was under way when the pause began, and nobody has taken it in.
                let partition = (message.topic().to_string(), message.partition());
                let offset = message.offset().max(0) as u64;
                drop(message);
                self.records.member.seek(&partition, offset).map_err(fatal("cannot go back"))?;
            }
        }
        match self.records.member.has_change() {
            true => Err(Halt::Change),
            false => Ok(()),
        }
    }

    /// A batch was too large for a channel: smaller ones; an event that is too large by itself is left out, and stays in Kafka.
    pub(super) async fn put_less(&mut self, events: usize, tag: Tag, error: &PutError) -> Result<(), Halt> {
        self.rewind().await.map_err(Halt::Fatal)?;
        if events > 1 {
            tracing::debug!(%error, events, "put in halves");
            self.smaller = Some((events / 2, events * 2));
            return Ok(());
        }
        self.context.metrics.event_read_fail.inc();
        let mut batch = Batch::new();
        for (partition, generation, to) in &tag.places {
            let Some(part) = part(&mut self.parts, partition, *generation) else { continue };
            tracing::error!(source = %self.context.name, "{} up to offset {to}: an event is left out, and stays in Kafka: {error}", part.key);
            batch.add_progress(part.progress(*to));
            self.records.member.seek(partition, *to).map_err(fatal("cannot go on behind an event"))?;
            part.read = *to;
        }
        let ticket = self.put(batch, 0, &tag).await?;
        self.is_put(&tag);
        self.push(ticket, tag).await
    }

    /// Up to there all is on its way.
    pub(super) fn is_put(&mut self, tag: &Tag) {
        for (partition, generation, to) in &tag.places {
            if let Some(part) = part(&mut self.parts, partition, *generation) {
                part.put = *to;
            }
        }
    }

    /// Everything that is not in the channels is read again.
    pub(super) async fn rewind(&mut self) -> Result<(), SourceError> {
        if let Err(error) = self.land().await {
            tracing::debug!(source = %self.context.name, %error, "and another put failed");
        }
        self.open = Open::new();
        if self.records.member.has_change() && self.parts.is_empty() {
            return Ok(());
        }
        for part in self.parts.iter_mut().filter(|part| part.read != part.acked) {
            self.records.member.seek(&part.partition, part.acked).map_err(SourceError::plain)?;
            (part.read, part.put) = (part.acked, part.acked);
        }
        self.records.member.pause(false).map_err(SourceError::plain)
    }

    /// Rests longer each time in a row; whether a stop was asked for.
    pub(super) async fn rest(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        let rest = self.settings.backoff_increment.saturating_mul(u64::from(self.refusals));
        self.context.sleep(Duration::from_millis(rest.min(self.settings.backoff_max))).await
    }

    pub(super) async fn push(&mut self, ticket: PutTicket, tag: Tag) -> Result<(), Halt> {
        self.bytes_on_the_way += tag.bytes;
        let acked = &mut self.acked;
        let mut result = self.flight.push(ticket, tag, |tag| acked.push(tag)).await;
        self.note_acked();
        while result.is_ok() && self.bytes_on_the_way > BYTES_ON_THE_WAY && self.flight.len() > 1 {
            result = self.flight.next().await.map(|tag| self.acked.push(tag));
            self.note_acked();
        }
        result.map_err(Halt::Failed)
    }

    pub(super) fn acked_now(&mut self) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.acked_now(|tag| acked.push(tag));
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    /// Waits for all that is on its way.
    pub(super) async fn land(&mut self) -> Result<(), PutError> {
        let acked = &mut self.acked;
        let result = self.flight.drain(|tag| acked.push(tag)).await;
        self.note_acked();
        result
    }

    pub(super) fn note_acked(&mut self) {
        for Tag { places, bytes } in self.acked.drain(..) {
            self.bytes_on_the_way = self.bytes_on_the_way.saturating_sub(bytes);
            for (partition, generation, to) in places {
                if let Some(part) = part(&mut self.parts, &partition, generation) {
                    part.acked = part.acked.max(to);
                }
            }
        }
        // After one that failed none is left, and nobody said so of the others.
        if self.flight.is_empty() {
            self.bytes_on_the_way = 0;
        }
    }
}
