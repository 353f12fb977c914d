//! A segmented, checksummed write-ahead log with aligned durable writes. Bytes in, bytes out.

#![allow(missing_docs)]
mod log;
pub mod storage;
pub use log::*;
