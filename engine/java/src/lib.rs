//! What Java's library means by a regular expression, a character set and a host's name, for Flume's users wrote for it.
//!
//! Interceptors, file patterns and deserializers share it, so that an expression or a set's name means the same in all of
//! them.

pub mod charset;
pub mod host;
pub mod regex;

pub use charset::Charset;
pub use host::HostNames;
pub use regex::{JavaRegex, Replacement};
