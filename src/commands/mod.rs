//! The commands of the command line, one file each.

pub mod advice;
pub mod agent;
pub mod avro_client;
pub mod check;
pub mod loghub;
mod progress;
pub mod version;
pub mod wal;
