//! Aliyun's Log Service (SLS, formerly LogHub), as a member of a consumer group needs it.
//!
//! ```text
//!   client      one function a call: group, heartbeat, checkpoint, shards, cursor, pull
//!     sign      Authorization, version 1 (HMAC-SHA1) or 4 (HMAC-SHA256 bound to a region)
//!     transport HTTP/1.1 over kept connections, with limits on time and size
//!   wire        what a pull brings: log groups in protobuf, read where they lie
//! ```
//!
//! The official crate is not used: it signs version 1 only, knows no zstd, and brings OpenSSL.

pub mod client;
mod endpoint;
mod error;
pub mod sign;
mod transport;
pub mod wire;

pub use client::{Checkpoint, Client, Compression, Options, Pulled, Shard, Start};
pub use endpoint::Endpoint;
pub use error::Error;
pub use sign::{Credentials, Signature};
