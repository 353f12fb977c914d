//! The `TAILDIR` source: follows growing files and puts their lines, each once.
//!
//! ```text
//!   directories ──► which files there are      tail ──► the next whole lines of one file
//!        │                                       │
//!        └────────────► tailer: rounds over all files, batches, tickets ──► channels (events + progress)
//!                          │                                                   │
//!                          └──► position file (Flume's format) ◄── acked ──────┘
//! ```
//!
//! Lines end at `\n`; one `\r` before it is removed; all other bytes pass unchanged. A last line without end is held
//! back for `idleTimeout` and then sent as it is; what is appended later becomes an event of its own.
//!
//! Files are told apart by device, inode, birth and first bytes (`tail.rs`), never by name, so a rename repeats nothing.
//! A durable channel keeps the positions together with the events (`resume.rs`); the position file is for people, for
//! Flume, and for channels in memory.

mod directories;
mod group;
pub mod position_file;
mod resume;
mod settings;
mod tail;
mod tailer;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};

pub use crate::files::FileId;
use group::Group;
pub use settings::TaildirSettings;
pub use tail::Memo;
use tailer::Tailer;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "taildir",
        class_names: &["org.apache.flume.source.taildir.TaildirSource"],
        keys: TaildirSettings::KEYS,
        doc: "Follows growing files, each line an event, across renames, truncation and restarts.",
        factory: Factory::Source(Runs::Thread, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = TaildirSettings::load(config, problems)?;
    let groups = Group::all(&settings, config, problems)?;
    let batch_size = Some(("batchSize", settings.batch_size));
    Some(Built { component: Box::new(TaildirSource { settings, groups, started: false }), batch_size })
}

/// Follows the files of its groups.
#[derive(Debug)]
pub struct TaildirSource {
    settings: TaildirSettings,
    groups: Vec<Group>,
    /// `skipToEnd` is for what was there when the agent started, not when the source was started again.
    started: bool,
}

#[async_trait]
impl Source for TaildirSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let skip_to_end = self.settings.skip_to_end && !self.started;
        let mut tailer = Tailer::new(context, &self.settings, &self.groups);
        let result = tailer.run(skip_to_end, &mut self.started).await;
        tailer.finish().await;
        result
    }
}
