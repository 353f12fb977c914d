//! Where the sink keeps which files it has begun: so that a next life finishes them, and touches no others.
//!
//! A durable channel keeps it beside the events ([`SinkContext::record`]), with how much of each file is released. Over
//! another channel it is a file of the sink's own ([`file`]), which knows the names alone: the events that were in the
//! channel are gone with the process, so all that a file has counts.

mod file;

use std::path::Path;
use std::sync::Arc;

use flumen_api::Position;
use flumen_api::channel::{PutError, SinkProgress, Ticket};
use flumen_api::progress::Positions;
use flumen_api::sink::SinkContext;

use super::record;
use file::JournalFile;

/// The released length of a file all of which counts.
pub(super) const ALL: u64 = u64::MAX;

/// The journal of one sink.
#[derive(Clone)]
pub(super) enum Journal {
    /// The sink's channel.
    Channel(SinkContext),
    /// The sink's own file.
    File(Arc<JournalFile>),
    /// Nowhere.
    Nowhere,
}

impl Journal {
    /// Of the sink with this context; in the file at `path` if the channel does not keep it.
    pub fn open(context: &SinkContext, path: Option<&Path>) -> Self {
        if context.is_durable() {
            return Self::Channel(context.clone());
        }
        let Some(path) = path else {
            tracing::warn!(
                sink = %context.name,
                "there is neither `hdfs.journal` nor a HOME to keep one in: files that are open when the agent is killed keep their names"
            );
            return Self::Nowhere;
        };
        match JournalFile::open(path) {
            Ok(journal) => Self::File(Arc::new(journal)),
            Err(error) => {
                tracing::warn!(
                    sink = %context.name,
                    "hdfs.journal {}: {error}: files that are open when the agent is killed keep their names",
                    path.display()
                );
                Self::Nowhere
            }
        }
    }

    /// What an earlier life left.
    pub fn positions(&self) -> Positions {
        let journal = match self {
            Self::Channel(context) => return context.positions(),
            Self::Nowhere => return Positions::new(),
            Self::File(journal) => journal,
        };
        let position =
            |names: record::Names| Position { generation: 0, began: 0, to: ALL, rest: names.encode() };
        journal.names().into_iter().map(|(number, names)| (record::key(number), position(names))).collect()
    }

    /// Makes this durable. All that was recorded or released before is durable as well when the ticket resolves.
    pub fn record(&self, progress: Vec<SinkProgress>) -> Ticket {
        let journal = match self {
            Self::Channel(context) => return context.record(progress),
            Self::Nowhere => return Ticket::done(),
            Self::File(journal) => journal,
        };
        match journal.record(&progress) {
            Ok(()) => Ticket::done(),
            Err(error) => {
                let failed = PutError::Failed { channel: "hdfs.journal".into(), reason: error.to_string() };
                Ticket::pending(std::future::ready(Err(failed)))
            }
        }
    }
}
