//! The commands of the command line, one file each.

pub mod advice;
pub mod agent;
pub mod check;
pub mod version;
pub mod wal;
