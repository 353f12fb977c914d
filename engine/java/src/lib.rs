//! What Java's library means by a regular expression and by a character set, for Flume's users wrote for it.
//!
//! Interceptors, file patterns and deserializers share it, so that an expression or a set's name means the same in all of
//! them.

pub mod charset;
pub mod regex;

pub use charset::Charset;
pub use regex::{JavaRegex, Replacement};
