//! The source at work: records into batches, batches into channels, offsets to the group.
//!
//! ```text
//!   offset   acked ............ put ............... read
//!            | in the channels | on the way         | in the batch that is being made
//! ```
//!
//! After a put that failed everything goes back to `acked`. When the group takes partitions away, what is on its way lands first
//! and is committed.

mod group;
mod open;
mod part;
mod put;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use flumen_api::channel::PutError;
use flumen_api::progress::Positions;
use flumen_api::source::{InFlight, TICKETS_DEFAULT};
use flumen_api::{SourceContext, SourceError};
use flumen_kafka::member::{Member, Partition};
use flumen_kafka::rdkafka::error::KafkaError;
use flumen_kafka::records::Records;
use flumen_kafka::{Properties, REFRESH};

use super::record::Shape;
use super::settings::KafkaSourceSettings;
use super::topics::Topics;

use open::Open;
use part::Part;

/// How long one poll waits for a record: a stop is noticed after that.
const POLL: Duration = Duration::from_millis(100);
/// How often offsets are committed at most.
const COMMIT_EVERY: Duration = Duration::from_millis(300);
/// How often a source that waits for room polls to stay in its group.
const STAY: Duration = Duration::from_secs(1);
/// Records that are asked for at a time.
const RECORDS: usize = 64;
/// A batch that has so many bytes gets no more of them.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// So many events or bytes are on their way to the channels, about: enough that a slow sync is shared by many.
const EVENTS_ON_THE_WAY: usize = 32 << 10;
const BYTES_ON_THE_WAY: usize = 32 << 20;
/// Most puts on their way, however small.
const PUTS_MAX: usize = 512;
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

/// What a put's ticket acks.
#[derive(Clone, Debug, Default)]
struct Tag {
    /// Partitions with generation and position.
    places: Vec<(Partition, u64, u64)>,
    bytes: usize,
}

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

/// See the [module](self).
pub(super) struct Reader<'a> {
    context: SourceContext,
    settings: &'a KafkaSourceSettings,
    topics: &'a Topics,
    shape: &'a Shape,
    records: Records,
    look_every: Duration,
    look_at: Instant,
    subscribed: Vec<String>,
    /// Where the channels stand along partitions that are not this member's.
    held: Positions,
    parts: Vec<Part>,
    open: Open,
    flight: InFlight<Tag>,
    /// Of all puts that are.
    bytes_on_the_way: usize,
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
        let records = Member::new(properties).and_then(Records::new).map_err(SourceError::plain)?;
        // Without the key seldom: here it is all topics that are asked for.
        let named = properties.get(REFRESH).filter(|_| properties.is_named(REFRESH));
        let refresh = named.and_then(|text| text.parse().ok());
        Ok(Self {
            held: context.positions().unwrap_or_default(),
            context,
            settings,
            topics,
            shape,
            records,
            look_every: refresh.filter(|millis| *millis > 0).map_or(LOOK_EVERY, Duration::from_millis),
            look_at: Instant::now(),
            subscribed: Vec::new(),
            parts: Vec::new(),
            open: Open::new(),
            flight: InFlight::new((EVENTS_ON_THE_WAY / settings.batch_size).clamp(TICKETS_DEFAULT, PUTS_MAX)),
            bytes_on_the_way: 0,
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
        if self.records.member.has_failed_to_commit() {
            self.parts.iter_mut().for_each(|part| part.committed = 0);
        }
        let now = Instant::now();
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_EVERY;
            if let Err(why) = self.commit(|_| true, false) {
                tracing::warn!(source = %self.context.name, "offsets were not committed: {why}");
            }
        }
        if self.records.member.has_change() {
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
            let Self { records, parts, open, shape, .. } = self;
            let most = RECORDS.min(limit - open.batch.len());
            let mut seen = 0;
            let result = records.poll(wait, most, |record| {
                open.take(record, parts, shape);
                seen += 1;
            });
            if let Err(error) = result {
                self.trouble(&error)?;
                break;
            }
            if seen == 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        if !self.open.is_empty() && self.troubled {
            self.troubled = false;
            self.records.member.report().clear();
            self.context.report(None);
        }
        let full = self.open.batch.len() >= limit || self.open.bytes >= BATCH_BYTES_MAX;
        if full || (!self.open.is_empty() && Instant::now() >= due.max(self.open.since)) {
            self.put_open().await?;
        }
        Ok(())
    }

    /// What a poll said instead of a record. The client goes on by itself, but for an error that is its last.
    fn trouble(&mut self, error: &KafkaError) -> Result<(), Halt> {
        let words = match self.records.member.report().trouble() {
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
}

fn fatal(what: &'static str) -> impl Fn(String) -> Halt {
    move |why| Halt::Fatal(SourceError::plain(format!("{what}: {why}")))
}
