//! The source at work: records into batches, batches into channels, offsets to the group.
//!
//! ```text
//!   offset   acked ............ put ............... read
//!            | in the channels | on the way         | in the batch that is being made
//! ```
//!
//! After a put that failed everything goes back to `acked`. When the group takes partitions away, what is on its way lands first
//! and is committed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::channel::PutError;
use flumen_api::progress::{Position, Positions, Progress};
use flumen_api::source::{InFlight, PutTicket, TICKETS_DEFAULT};
use flumen_api::{SourceContext, SourceError};
use flumen_kafka::Properties;
use flumen_kafka::member::{Change, Member, Partition};
use flumen_kafka::rdkafka::Message;
use flumen_kafka::rdkafka::error::KafkaError;
use flumen_kafka::rdkafka::message::BorrowedMessage;
use flumen_kafka::zookeeper::OldOffsets;

use super::place::{self, Committed, Place};
use super::record::Shape;
use super::settings::KafkaSourceSettings;
use super::topics::Topics;

/// How long one poll waits for a record: a stop is noticed after that.
const POLL: Duration = Duration::from_millis(100);
/// How often offsets are committed at most.
const COMMIT_EVERY: Duration = Duration::from_millis(300);
/// How often a source that waits for room polls to stay in its group.
const STAY: Duration = Duration::from_secs(1);
/// A batch has no more bytes, but at least one event.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often topics are looked for where the configuration does not say, and while there are none.
const LOOK_EVERY: Duration = Duration::from_secs(300);
const LOOK_FIRST: Duration = Duration::from_secs(5);

/// Where a group without offsets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    Earliest,
    Latest,
    Nowhere,
}

impl Reset {
    pub fn of(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "earliest" | "smallest" => Self::Earliest,
            "none" => Self::Nowhere,
            _ => Self::Latest,
        }
    }

    /// librdkafka's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
            Self::Nowhere => "error",
        }
    }
}

/// A partition that is read.
struct Part {
    partition: Partition,
    /// Its progress key.
    key: String,
    generation: u64,
    /// The lineage, as the progress's rest.
    lineage: Bytes,
    /// The group does not know the lineage yet.
    is_news: bool,
    began: u64,
    read: u64,
    put: u64,
    acked: u64,
    committed: u64,
}

impl Part {
    fn new(partition: Partition, place: Place) -> Self {
        let Place { offset, generation, lineage, is_news } = place;
        Self {
            key: format!("{}:{}", partition.0, partition.1),
            partition,
            generation,
            lineage: lineage.into_bytes().into(),
            is_news,
            began: offset,
            read: offset,
            put: offset,
            acked: offset,
            committed: offset,
        }
    }

    fn position(&self) -> Position {
        Position {
            generation: self.generation,
            began: self.began,
            to: self.acked,
            rest: self.lineage.clone(),
        }
    }

    /// Of what comes behind `put`.
    fn progress(&self, to: u64) -> Progress {
        let (key, rest) = (self.key.clone(), self.lineage.clone());
        Progress { key, generation: self.generation, from: self.put, to, rest, retire: false }
    }

    fn metadata(&self) -> String {
        place::metadata(&String::from_utf8_lossy(&self.lineage))
    }
}

/// What a put's ticket acks: partitions with generation and position.
type Tag = Vec<(Partition, u64, u64)>;

/// Why reading went no further.
enum Halt {
    /// A stop was asked for.
    Stopped,
    /// The group wants something while a put waits for room: the put is given up.
    Change,
    /// A put failed: back to what is acked.
    Failed(PutError),
    /// A put of so many events, up to there, is too large for some channel.
    TooLarge(usize, Tag, PutError),
    /// Nothing can go on.
    Fatal(SourceError),
}

/// The batch that is being made.
struct Open {
    batch: Batch,
    /// Index of a part, by origin.
    parts: Vec<usize>,
    bytes: usize,
    since: Instant,
    /// The part of the last record: records of one come in a row.
    last: usize,
    unreadable: u64,
}

impl Open {
    fn new() -> Self {
        Self {
            batch: Batch::new(),
            parts: Vec::new(),
            bytes: 0,
            since: Instant::now(),
            last: 0,
            unreadable: 0,
        }
    }

    /// Whether nothing is in it, not even progress.
    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes a record in.
    fn take(&mut self, message: &BorrowedMessage<'_>, parts: &mut [Part], shape: &Shape) {
        let is = |part: &Part| part.partition.1 == message.partition() && part.partition.0 == message.topic();
        if !parts.get(self.last).is_some_and(is) {
            match parts.iter().position(is) {
                Some(at) => self.last = at,
                // Of a partition that was given up meanwhile.
                None => return,
            }
        }
        if self.is_empty() {
            self.since = Instant::now();
        }
        let part = &mut parts[self.last];
        let offset = message.offset().max(0) as u64;
        if offset < part.read {
            if self.parts.contains(&self.last) || part.put != part.acked {
                // What is on its way has to land first; it is read again then.
                tracing::warn!("{}: offsets went back from {} to {offset}", part.key, part.read);
            }
            let anew = place::anew(Some(&part.position()), offset);
            *part = Part::new(part.partition.clone(), anew);
        }
        let origin = match self.parts.iter().position(|at| *at == self.last) {
            Some(origin) if self.batch.progress()[origin].generation == part.generation => origin as u32,
            _ => {
                self.parts.push(self.last);
                self.batch.add_progress(part.progress(part.put))
            }
        };
        part.read = offset + 1;
        self.batch.progress_mut()[origin as usize].to = part.read;
        match shape.event(message) {
            Ok((headers, body)) => {
                let set = self.batch.add_headers(headers);
                self.batch.push_with(body, set);
                self.batch.locate_last(origin, part.read);
                self.bytes += body.len();
            }
            Err(error) => {
                self.unreadable += 1;
                tracing::error!("{} offset {offset}: record left out: {error}", part.key);
            }
        }
    }
}

/// See the [module](self).
pub(super) struct Reader<'a> {
    context: SourceContext,
    settings: &'a KafkaSourceSettings,
    topics: &'a Topics,
    shape: &'a Shape,
    member: Member,
    look_every: Duration,
    look_at: Instant,
    subscribed: Vec<String>,
    /// Where the channels stand along partitions that are not this member's.
    held: Positions,
    parts: Vec<Part>,
    open: Open,
    flight: InFlight<Tag>,
    acked: Vec<Tag>,
    commit_at: Instant,
    /// At most so many events go into a put, for so many events.
    smaller: Option<(usize, usize)>,
    /// Refusals in a row.
    refusals: u32,
    troubled: bool,
}

impl<'a> Reader<'a> {
    pub fn new(
        context: SourceContext,
        settings: &'a KafkaSourceSettings,
        properties: &Properties,
        topics: &'a Topics,
        shape: &'a Shape,
    ) -> Result<Self, SourceError> {
        let member = Member::new(properties).map_err(SourceError::plain)?;
        let refresh = properties.get("topic.metadata.refresh.interval.ms").and_then(|text| text.parse().ok());
        Ok(Self {
            held: context.positions().unwrap_or_default(),
            context,
            settings,
            topics,
            shape,
            member,
            look_every: refresh.filter(|millis| *millis > 0).map_or(LOOK_EVERY, Duration::from_millis),
            look_at: Instant::now(),
            subscribed: Vec::new(),
            parts: Vec::new(),
            open: Open::new(),
            flight: InFlight::new(TICKETS_DEFAULT),
            acked: Vec::new(),
            commit_at: Instant::now(),
            smaller: None,
            refusals: 0,
            troubled: false,
        })
    }

    /// Reads until the stop.
    pub async fn run(&mut self) -> Result<(), SourceError> {
        while !self.context.shutdown.is_cancelled() {
            match self.round().await {
                Ok(()) => {}
                Err(Halt::Stopped) => break,
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Change) => self.rewind().await?,
                Err(Halt::Failed(error)) => {
                    tracing::warn!(source = %self.context.name, %error, "a put failed, going back to what is acked");
                    self.rewind().await?;
                    self.rest().await;
                }
                Err(Halt::TooLarge(events, tag, error)) => match self.put_less(events, tag, &error).await {
                    Ok(()) | Err(Halt::Stopped) => {}
                    Err(Halt::Fatal(error)) => return Err(error),
                    Err(_again) => self.rewind().await?,
                },
            }
        }
        Ok(())
    }

    /// Waits for what is on its way and tells the group.
    pub async fn finish(&mut self) {
        if let Err(error) = self.land().await {
            tracing::warn!(source = %self.context.name, %error, "a put failed at the stop; its events are read again");
        }
        if let Err(why) = self.commit(|_| true, true) {
            tracing::warn!(source = %self.context.name, "offsets were not committed at the stop: {why}");
        }
    }

    async fn round(&mut self) -> Result<(), Halt> {
        self.acked_now()?;
        self.look_for_topics();
        if self.member.has_failed_to_commit() {
            self.parts.iter_mut().for_each(|part| part.committed = 0);
        }
        let now = Instant::now();
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_EVERY;
            if let Err(why) = self.commit(|_| true, false) {
                tracing::warn!(source = %self.context.name, "offsets were not committed: {why}");
            }
        }
        if self.member.has_change() {
            self.put_open().await?;
            return self.change().await;
        }
        let limit =
            self.smaller.map_or(self.settings.batch_size, |(fewer, _)| fewer.min(self.settings.batch_size));
        let due = self.open.since + Duration::from_millis(u64::from(self.settings.batch_duration));
        let mut wait = match self.open.is_empty() {
            true => POLL,
            false => POLL.min(due.saturating_duration_since(now)),
        };
        while self.open.batch.len() < limit && self.open.bytes < BATCH_BYTES_MAX {
            let Self { member, parts, open, shape, .. } = self;
            let error = match member.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    open.take(&message, parts, shape);
                    None
                }
                Some(Err(error)) => Some(error),
            };
            if let Some(error) = error {
                self.trouble(&error)?;
                break;
            }
            wait = Duration::ZERO;
        }
        if !self.open.is_empty() && self.troubled {
            self.troubled = false;
            self.member.report().clear();
            self.context.report(None);
        }
        let full = self.open.batch.len() >= limit || self.open.bytes >= BATCH_BYTES_MAX;
        if full || (!self.open.is_empty() && Instant::now() >= due.max(self.open.since)) {
            self.put_open().await?;
        }
        Ok(())
    }

    /// Subscribes to the topics that are there.
    fn look_for_topics(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        let there = match self.topics {
            Topics::Named(_) if !self.subscribed.is_empty() => return,
            Topics::Named(_) => Ok(Vec::new()),
            Topics::Matching(_) => self.member.topics(),
        };
        let subscribed = there.and_then(|there| {
            let meant = self.topics.among(there);
            if meant != self.subscribed && !meant.is_empty() {
                self.member.subscribe(&meant)?;
                tracing::info!(source = %self.context.name, topics = %meant.join(", "), "reads these topics");
                self.subscribed = meant;
            }
            Ok(())
        });
        if let Err(why) = subscribed {
            tracing::warn!(source = %self.context.name, "cannot look for topics: {why}");
            self.troubled = true;
            self.context.report(Some(format!("cannot look for topics: {why}")));
        }
        self.look_at = Instant::now() + if self.subscribed.is_empty() { LOOK_FIRST } else { self.look_every };
    }

    /// What a poll said instead of a record. The client goes on by itself, but for an error that is its last.
    fn trouble(&mut self, error: &KafkaError) -> Result<(), Halt> {
        let words = match self.member.report().trouble() {
            Some(trouble) => format!("{error}: {trouble}"),
            None => error.to_string(),
        };
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(Halt::Fatal(SourceError::plain(format!("the Kafka client has failed: {words}"))));
        }
        tracing::warn!(source = %self.context.name, "{words}");
        self.troubled = true;
        self.context.report(Some(words));
        Ok(())
    }

    /// Does what the group wants first. Nothing is in the open batch.
    async fn change(&mut self) -> Result<(), Halt> {
        let Some(change) = self.member.first_change() else { return Ok(()) };
        match &change {
            Change::Lost(lost) => {
                let landed = self.land().await;
                if let Err(why) = self.commit(|part| lost.contains(&part.partition), true) {
                    tracing::warn!(source = %self.context.name, "offsets of lost partitions were not committed: {why}");
                }
                for part in self.parts.extract_if(.., |part| lost.contains(&part.partition)) {
                    tracing::info!(source = %self.context.name, partition = %part.key, offset = part.acked, "given up");
                    self.held.insert(part.key.clone(), part.position());
                }
                self.open = Open::new();
                self.member.give_up(lost).map_err(fatal("cannot give partitions up"))?;
                self.member.answered();
                landed.map_err(Halt::Failed)
            }
            Change::Gained(gained) => {
                let gained = self.begin(gained).map_err(fatal("cannot begin with new partitions"))?;
                let mut places: Vec<(Partition, u64)> =
                    gained.iter().map(|part| (part.partition.clone(), part.put)).collect();
                places.sort_unstable();
                self.member.take(&places).map_err(fatal("cannot take new partitions"))?;
                self.member.answered();
                for part in &gained {
                    tracing::info!(source = %self.context.name, partition = %part.key, offset = part.put, "reads on");
                }
                self.parts.extend(gained);
                Ok(())
            }
        }
    }

    /// Where new partitions are read from.
    fn begin(&self, gained: &[Partition]) -> Result<Vec<Part>, String> {
        let committed = self.member.committed(gained)?;
        let KafkaSourceSettings { zookeeper_connect, migrate_zookeeper_offsets, group_id, .. } =
            self.settings;
        let mut old =
            OldOffsets::new(zookeeper_connect.as_deref().filter(|_| *migrate_zookeeper_offsets), group_id);
        let mut parts = Vec::with_capacity(gained.len());
        for (partition, committed) in gained.iter().zip(committed) {
            let held = self.held.get(&format!("{}:{}", partition.0, partition.1));
            let committed = match committed {
                Some((offset, metadata)) => Some(Committed { offset, metadata }),
                None => old.of(partition)?.map(|offset| Committed { offset, metadata: String::new() }),
            };
            let place = match place::begin(held, committed.as_ref()) {
                Some(place) => place,
                None => {
                    let (first, next) = self.member.bounds(partition)?;
                    match Reset::of(&self.settings.auto_offset_reset) {
                        Reset::Earliest => place::anew(held, first),
                        Reset::Latest => place::anew(held, next),
                        Reset::Nowhere => {
                            return Err(format!(
                                "group {} has no offset of {}:{}, and kafka.consumer.auto.offset.reset is none",
                                self.settings.group_id, partition.0, partition.1
                            ));
                        }
                    }
                }
            };
            let mut part = Part::new(partition.clone(), place);
            // Where the channels are ahead, the group hears of it with the next commit and not only with the next record.
            part.committed = committed.map_or(0, |committed| committed.offset).min(part.committed);
            parts.push(part);
        }
        self.tell_news(&mut parts)?;
        Ok(parts)
    }

    /// The group knows each lineage before the channels do: else a crash would leave offsets that are not ours.
    fn tell_news(&self, parts: &mut [Part]) -> Result<(), String> {
        let news = parts.iter().filter(|part| part.is_news);
        self.member.commit(news.map(|part| (&part.partition, part.put, part.metadata())), true)?;
        parts.iter_mut().for_each(|part| part.is_news = false);
        Ok(())
    }

    async fn put_open(&mut self) -> Result<(), Halt> {
        if self.open.is_empty() {
            return Ok(());
        }
        let Open { batch, unreadable, .. } = std::mem::replace(&mut self.open, Open::new());
        self.context.metrics.event_read_fail.add(unreadable);
        if self.parts.iter().any(|part| part.is_news) {
            let mut parts = std::mem::take(&mut self.parts);
            let told = self.tell_news(&mut parts);
            self.parts = parts;
            told.map_err(fatal("the group does not take an offset"))?;
        }
        let events = batch.len();
        let mut tag = Tag::new();
        for made in batch.progress() {
            let part =
                self.parts.iter().find(|part| part.key == made.key && part.generation == made.generation);
            tag.extend(part.map(|part| (part.partition.clone(), made.generation, made.to)));
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
    async fn put(&mut self, mut batch: Batch, events: usize, tag: &Tag) -> Result<PutTicket, Halt> {
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
            self.member.pause(false).map_err(fatal("cannot go on after a pause"))?;
        }
        result
    }

    async fn try_put(
        &mut self,
        batch: Batch,
        paused: &mut bool,
    ) -> Result<Result<PutTicket, flumen_api::source::PutRefused>, Halt> {
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
    fn stay(&mut self, paused: &mut bool) -> Result<(), Halt> {
        if !*paused {
            self.member.pause(true).map_err(fatal("cannot pause"))?;
            *paused = true;
        }
        while let Some(polled) = self.member.poll(Duration::ZERO) {
            if let Ok(message) = polled {
                // It was under way when the pause began, and nobody has taken it in.
                let partition = (message.topic().to_string(), message.partition());
                let offset = message.offset().max(0) as u64;
                drop(message);
                self.member.seek(&partition, offset).map_err(fatal("cannot go back"))?;
            }
        }
        match self.member.has_change() {
            true => Err(Halt::Change),
            false => Ok(()),
        }
    }

    /// A batch was too large for a channel: smaller ones; an event that is too large by itself is left out, and stays in Kafka.
    async fn put_less(&mut self, events: usize, tag: Tag, error: &PutError) -> Result<(), Halt> {
        self.rewind().await.map_err(Halt::Fatal)?;
        if events > 1 {
            tracing::debug!(%error, events, "put in halves");
            self.smaller = Some((events / 2, events * 2));
            return Ok(());
        }
        self.context.metrics.event_read_fail.inc();
        let mut batch = Batch::new();
        for (partition, generation, to) in &tag {
            let Some(part) = part(&mut self.parts, partition, *generation) else { continue };
            tracing::error!(source = %self.context.name, "{} up to offset {to}: an event is left out, and stays in Kafka: {error}", part.key);
            batch.add_progress(part.progress(*to));
            self.member.seek(partition, *to).map_err(fatal("cannot go on behind an event"))?;
            part.read = *to;
        }
        let ticket = self.put(batch, 0, &tag).await?;
        self.is_put(&tag);
        self.push(ticket, tag).await
    }

    /// Up to there all is on its way.
    fn is_put(&mut self, tag: &Tag) {
        for (partition, generation, to) in tag {
            if let Some(part) = part(&mut self.parts, partition, *generation) {
                part.put = *to;
            }
        }
    }

    /// Everything that is not in the channels is read again.
    async fn rewind(&mut self) -> Result<(), SourceError> {
        if let Err(error) = self.land().await {
            tracing::debug!(source = %self.context.name, %error, "and another put failed");
        }
        self.open = Open::new();
        if self.member.has_change() && self.parts.is_empty() {
            return Ok(());
        }
        for part in self.parts.iter_mut().filter(|part| part.read != part.acked) {
            self.member.seek(&part.partition, part.acked).map_err(SourceError::plain)?;
            (part.read, part.put) = (part.acked, part.acked);
        }
        self.member.pause(false).map_err(SourceError::plain)
    }

    /// Rests longer each time in a row; whether a stop was asked for.
    async fn rest(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        let rest = self.settings.backoff_increment.saturating_mul(u64::from(self.refusals));
        self.context.sleep(Duration::from_millis(rest.min(self.settings.backoff_max))).await
    }

    async fn push(&mut self, ticket: PutTicket, tag: Tag) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.push(ticket, tag, |tag| acked.push(tag)).await;
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    fn acked_now(&mut self) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.acked_now(|tag| acked.push(tag));
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    /// Waits for all that is on its way.
    async fn land(&mut self) -> Result<(), PutError> {
        let acked = &mut self.acked;
        let result = self.flight.drain(|tag| acked.push(tag)).await;
        self.note_acked();
        result
    }

    fn note_acked(&mut self) {
        for (partition, generation, to) in self.acked.drain(..).flatten() {
            if let Some(part) = part(&mut self.parts, &partition, generation) {
                part.acked = part.acked.max(to);
            }
        }
    }

    /// Tells the group of what is acked and it does not know.
    fn commit(&mut self, which: impl Fn(&Part) -> bool, wait: bool) -> Result<(), String> {
        let news = |part: &&Part| which(part) && part.acked > part.committed;
        let places = self.parts.iter().filter(news);
        self.member.commit(places.map(|part| (&part.partition, part.acked, part.metadata())), wait)?;
        for part in self.parts.iter_mut().filter(|part| which(part)) {
            part.committed = part.acked;
        }
        Ok(())
    }
}

fn part<'p>(parts: &'p mut [Part], partition: &Partition, generation: u64) -> Option<&'p mut Part> {
    parts.iter_mut().find(|part| part.partition == *partition && part.generation == generation)
}

fn fatal(what: &'static str) -> impl Fn(String) -> Halt {
    move |why| Halt::Fatal(SourceError::plain(format!("{what}: {why}")))
}
