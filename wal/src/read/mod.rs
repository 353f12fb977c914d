//! From synced frames to a consumer: memory while it keeps up, the disk when it lags.

pub mod ahead;
pub mod cache;
pub mod cursor;
pub mod disk_reader;
pub mod extents;
pub mod give_up;
pub mod tolerant;
