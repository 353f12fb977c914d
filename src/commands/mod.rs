//! The commands of the command line, one file each.

pub mod advice;
pub mod agent;
pub mod avro_client;
pub mod check;
pub mod loghub;
#[cfg(feature = "object-store")]
pub mod oss;
mod progress;
pub mod version;
pub mod wal;
