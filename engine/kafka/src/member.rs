//! A member of a consumer group: records, and what the group wants of it.
//!
//! The client says in the middle of a poll that partitions come or go. It is only noted there: partitions are given up once the
//! events of theirs which are on their way are in the channels, and that takes its time. The group waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::Properties;
use crate::context::{Report, explain};

/// Longest call to the brokers.
const CALL: Duration = Duration::from_secs(10);

/// A topic's partition.
pub type Partition = (String, i32);

/// What the group wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are this member's from now on.
    Gained(Vec<Partition>),
    /// These are not any more.
    Lost(Vec<Partition>),
}

/// What the client tells us.
pub(crate) struct Events {
    report: Arc<Report>,
    changes: Mutex<VecDeque<Change>>,
    /// Nobody looks at changes any more.
    closing: AtomicBool,
    /// A commit has failed.
    uncommitted: AtomicBool,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.report.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report.note(&error, reason);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let gained = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = give_up(consumer, list) {
                tracing::debug!(%error, "while a member of a group left it");
            }
            return;
        }
        let partitions =
            list.elements().iter().map(|one| (one.topic().to_string(), one.partition())).collect();
        self.changes.lock().push_back(match gained {
            true => Change::Gained(partitions),
            false => Change::Lost(partitions),
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // Nothing to commit is no trouble.
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            // The next commit says the same and more; the channels know it anyway.
            Err(error) => {
                tracing::warn!("offsets were not committed: {error}");
                self.uncommitted.store(true, Ordering::Release);
            }
        }
    }
}

fn give_up(consumer: &BaseConsumer<Events>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

/// See the [module](self).
pub struct Member {
    consumer: BaseConsumer<Events>,
    report: Arc<Report>,
}

impl Member {
    /// Joins by itself once it has subscribed.
    pub fn new(properties: &Properties) -> Result<Self, String> {
        let report = Arc::new(Report::default());
        let events = Events {
            report: report.clone(),
            changes: Mutex::default(),
            closing: AtomicBool::new(false),
            uncommitted: AtomicBool::new(false),
        };
        let consumer = properties.config()?.create_with_context(events);
        Ok(Self { consumer: consumer.map_err(|error: KafkaError| error.to_string())?, report })
    }

    pub(crate) fn consumer(&self) -> &impl Consumer<Events> {
        &self.consumer
    }

    /// What is wrong with the connection, as far as the client said.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Calls `wake` whenever there is something to poll for after there was nothing.
    pub fn on_arrival(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        self.consumer.set_nonempty_callback(wake);
    }

    /// Joins the group for these topics.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), String> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(|error| error.to_string())
    }

    /// All topics there are.
    pub fn topics(&self) -> Result<Vec<String>, String> {
        let metadata = self.consumer.fetch_metadata(None, CALL).map_err(|error| self.words(&error))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_string()).collect())
    }

    /// The next record; an error is the client's trouble, and no end.
    pub fn poll(&self, time: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(time)
    }

    /// What the group wants first; it wants so until it is [answered](Self::answered).
    pub fn first_change(&self) -> Option<Change> {
        self.consumer.context().changes.lock().front().cloned()
    }

    /// The first change is made.
    pub fn answered(&self) {
        self.consumer.context().changes.lock().pop_front();
    }

    /// Whether a commit that nobody waited for has failed since this was asked last.
    pub fn has_failed_to_commit(&self) -> bool {
        self.consumer.context().uncommitted.swap(false, Ordering::AcqRel)
    }

    /// Whether it wants anything.
    pub fn has_change(&self) -> bool {
        !self.consumer.context().changes.lock().is_empty()
    }

    /// The group's offsets with their metadata.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<(u64, String)>>, String> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let list = self.consumer.committed_offsets(list, CALL).map_err(|error| self.words(&error))?;
        let one = |(topic, partition): &Partition| -> Result<Option<(u64, String)>, String> {
            let Some(found) = list.find_partition(topic, *partition) else { return Ok(None) };
            found.error().map_err(|error| self.words(&error))?;
            Ok(match found.offset() {
                Offset::Offset(offset) => Some((offset as u64, found.metadata().to_string())),
                _ => None,
            })
        };
        partitions.iter().map(one).collect()
    }

    /// The first offset that there is, and the next that will be.
    pub fn bounds(&self, (topic, partition): &Partition) -> Result<(u64, u64), String> {
        let (low, high) =
            self.consumer.fetch_watermarks(topic, *partition, CALL).map_err(|error| self.words(&error))?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// Reads these from there on, beside what it reads.
    pub fn take(&self, places: &[(Partition, u64)]) -> Result<(), String> {
        let list = offsets(places.iter().map(|(partition, offset)| (partition, *offset, None)))?;
        let taken = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => self.consumer.assign(&list),
        };
        taken.map_err(|error| self.words(&error))
    }

    /// Reads these no more.
    pub fn give_up(&self, partitions: &[Partition]) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        give_up(&self.consumer, &list).map_err(|error| self.words(&error))
    }

    /// Goes back.
    pub fn seek(&self, (topic, partition): &Partition, offset: u64) -> Result<(), String> {
        let sought = self.consumer.seek(topic, *partition, Offset::Offset(offset as i64), CALL);
        sought.map_err(|error| {
            format!("{topic}:{partition}: cannot go back to {offset}: {}", self.words(&error))
        })
    }

    /// Whether records come; what is on its way to this member is let go of and fetched again later.
    pub fn pause(&self, on: bool) -> Result<(), String> {
        let all = self.consumer.assignment().map_err(|error| self.words(&error))?;
        let done = if on { self.consumer.pause(&all) } else { self.consumer.resume(&all) };
        done.map_err(|error| self.words(&error))
    }

    /// Tells the group; with `wait`, until it has heard it.
    pub fn commit<'a>(
        &self,
        places: impl Iterator<Item = (&'a Partition, u64, String)>,
        wait: bool,
    ) -> Result<(), String> {
        let list = offsets(places.map(|(partition, offset, metadata)| (partition, offset, Some(metadata))))?;
        if list.count() == 0 {
            return Ok(());
        }
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        self.consumer.commit(&list, mode).map_err(|error| self.words(&error))
    }

    fn words(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(code) => explain(code, &self.report),
            None => error.to_string(),
        }
    }
}

fn offsets<'a>(
    places: impl Iterator<Item = (&'a Partition, u64, Option<String>)>,
) -> Result<TopicPartitionList, String> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset, metadata) in places {
        let mut one = list.add_partition(topic, *partition);
        one.set_offset(Offset::Offset(offset as i64)).map_err(|error| error.to_string())?;
        if let Some(metadata) = metadata {
            one.set_metadata(metadata);
        }
    }
    Ok(list)
}

impl Drop for Member {
    /// Leaves the group, which would wait for an answer to its last change else.
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Release);
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "while a member of a group left it");
        }
    }
}
