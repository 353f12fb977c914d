//! When the position file is written, and what the channel is told of it before.
//!
//! The channel hears first (see [`Record`]); when that is durable, the file is replaced. So whatever is on disk after a
//! crash is known to the channel, unless a person put it there.

use super::*;

/// What we know of the position file.
#[derive(Debug, Default)]
pub(super) struct RecordState {
    /// The hash of what is on disk, 0 for nothing.
    pub on_disk: u64,
    /// Progress counts the records.
    pub number: u64,
    pub on_its_way: bool,
    pub due: Option<Instant>,
    /// The first record was made: only then does the channel know what the file should hold.
    pub begun: bool,
}

impl Tailer<'_> {
    pub(super) async fn write_positions(&mut self, now: Instant) -> Result<(), Halt> {
        if self.record.on_its_way || self.record.due.is_some_and(|due| now < due) {
            return Ok(());
        }
        self.record.due = Some(now + self.write_interval());
        let bytes = self.positions();
        if position_file::hash(&bytes) == self.record.on_disk {
            return Ok(());
        }
        let progress = self.record_progress(&bytes, false);
        self.record.on_its_way = true;
        self.put_progress(vec![progress], Tag::Record(bytes)).await
    }

    /// Puts a record at the stop, once, and waits for it.
    pub(super) async fn keep_record(&mut self, bytes: &[u8], clean: bool) -> bool {
        let progress = self.record_progress(bytes, clean);
        match self.context.put(only(vec![progress])).await {
            Ok(ticket) => ticket.await.is_ok(),
            Err(refused) => {
                tracing::info!(source = %self.context.name, error = %refused.error, "no record of the position file");
                false
            }
        }
    }

    pub(super) fn record_progress(&mut self, bytes: &[u8], clean: bool) -> Progress {
        self.record.number += 1;
        let record = Record { clean, newest: position_file::hash(bytes), before: self.record.on_disk };
        Progress {
            key: Record::KEY.into(),
            generation: 1,
            // Records do not build on each other, so none leaves a gap.
            from: 0,
            to: self.record.number,
            rest: record.encode().into(),
            retire: false,
        }
    }

    pub(super) fn replace_position_file(&mut self, bytes: &[u8]) {
        let path = &self.settings.position_file;
        match position_file::replace(path, bytes) {
            Ok(()) => self.record.on_disk = position_file::hash(bytes),
            Err(error) => self.complaints.warn(path, "position file cannot be written", &error),
        }
    }

    /// The position file's bytes now.
    pub(super) fn positions(&self) -> Vec<u8> {
        let now = Instant::now();
        let tails = self.order.iter().filter_map(|id| self.files.get(id));
        let entries: Vec<Entry> = tails
            .filter(|tail| !tail.is_lost(now) && !tail.is_deleted())
            .map(|tail| Entry {
                inode: tail.id.inode,
                pos: tail.acked,
                file: tail.path.to_string_lossy().into_owned(),
            })
            .collect();
        position_file::encode(&entries)
    }

    pub(super) fn write_interval(&self) -> Duration {
        Duration::from_millis(self.settings.write_pos_interval_ms)
    }
}
