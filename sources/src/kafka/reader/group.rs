//! What the reader has to do with its group: topics, partitions that come and go, where each begins, and commits.

use std::time::Instant;

use flumen_kafka::member::{Change, Partition};
use flumen_kafka::zookeeper::OldOffsets;

use super::open::Open;
use super::part::Part;
use super::{Halt, LOOK_FIRST, Reader, Reset, fatal};
use crate::kafka::place::{self, Committed};
use crate::kafka::settings::KafkaSourceSettings;
use crate::kafka::topics::Topics;

impl Reader<'_> {
    /// Subscribes to the topics that are there.
    pub(super) fn look_for_topics(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        let there = match self.topics {
            Topics::Named(_) if !self.subscribed.is_empty() => return,
            Topics::Named(_) => Ok(Vec::new()),
            Topics::Matching(_) => self.records.member.topics(),
        };
        let subscribed = there.and_then(|there| {
            let meant = self.topics.among(there);
            if meant != self.subscribed && !meant.is_empty() {
                self.records.member.subscribe(&meant)?;
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

    /// Does what the group wants first. Nothing is in the open batch.
    pub(super) async fn change(&mut self) -> Result<(), Halt> {
        let Some(change) = self.records.member.first_change() else { return Ok(()) };
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
                self.records.member.give_up(lost).map_err(fatal("cannot give partitions up"))?;
                self.records.member.answered();
                landed.map_err(Halt::Failed)
            }
            Change::Gained(gained) => {
                let gained = self.begin(gained).map_err(fatal("cannot begin with new partitions"))?;
                let mut places: Vec<(Partition, u64)> =
                    gained.iter().map(|part| (part.partition.clone(), part.put)).collect();
                places.sort_unstable();
                self.records.member.take(&places).map_err(fatal("cannot take new partitions"))?;
                self.records.member.answered();
                for part in &gained {
                    tracing::info!(source = %self.context.name, partition = %part.key, offset = part.put, "reads on");
                }
                self.parts.extend(gained);
                Ok(())
            }
        }
    }

    /// Where new partitions are read from.
    pub(super) fn begin(&self, gained: &[Partition]) -> Result<Vec<Part>, String> {
        let committed = self.records.member.committed(gained)?;
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
                    let (first, next) = self.records.member.bounds(partition)?;
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
    pub(super) fn tell_news(&self, parts: &mut [Part]) -> Result<(), String> {
        let news = parts.iter().filter(|part| part.is_news);
        self.records.member.commit(news.map(|part| (&part.partition, part.put, part.metadata())), true)?;
        parts.iter_mut().for_each(|part| part.is_news = false);
        Ok(())
    }

    /// Tells the group of what is acked and it does not know.
    pub(super) fn commit(&mut self, which: impl Fn(&Part) -> bool, wait: bool) -> Result<(), String> {
        let news = |part: &&Part| which(part) && part.acked > part.committed;
        let places = self.parts.iter().filter(news);
        self.records
            .member
            .commit(places.map(|part| (&part.partition, part.acked, part.metadata())), wait)?;
        for part in self.parts.iter_mut().filter(|part| which(part)) {
            part.committed = part.acked;
        }
        Ok(())
    }
}
