//! From properties files to a [`Plan`](crate::plan::Plan).
//!
//! ```text
//! -f FILE …  ->  files: bytes  ->  properties: keys, values, lines  ->  merged: later files win, ${…} resolved
//!            ->  build: agents, components, types, keys  ->  Plan + Problems
//! ```
//!
//! Every value keeps its file and line, so that every problem names them. Nothing here opens a port, a channel or a
//! destination; the one thing that is run is the command of an `external` config filter.

mod advice;
mod backup;
mod build;
mod describe;
mod files;
mod filters;
mod keys;
mod merged;
pub mod properties;
pub mod substitution;

pub use backup::{read_backup, write_backup};
pub use build::dead_letter::DeadLetterSettings;
pub use build::{check, plan};
pub use describe::describe;
pub use files::{Change, ConfigFile, FileContent, ReadError, Watch};
pub use merged::Properties;
pub use substitution::Environment;
