//! Flume's Thrift wire, as the thrift source and the thrift sink speak it.
//!
//! ```text
//! frame      length i32, big-endian | message
//! message    kind (call 1, reply 2, exception 3, one-way 4), name, serial i32 | struct
//!
//! call       append       { 1: event }            event   { 1: headers map<string, string>, 2: body binary }
//!            appendBatch  { 1: list of events }
//! reply      { 0: status i32 }                    OK 0, FAILED 1, ERROR 2, UNKNOWN 3
//! exception  { 1: text, 2: kind i32 }             1: there is no such method; 7: the call is no call
//! ```
//!
//! Inside a frame all is in one of two protocols:
//!
//! ```text
//!            compact                                          binary
//! message    82 | kind << 5 + 1 | serial varint | name        80 01 00 kind | name | serial       or name | kind | serial
//! field      step << 4 + type, or type and id zigzag; 0 ends  type, id i16; 0 ends
//! i32        zigzag varint                                    big-endian
//! binary     length varint | bytes                            length i32 | bytes
//! list       length << 4 + type, or f0 + type, length varint  type, length i32
//! map        length varint | key << 4 + value, if not empty   key type, value type, length i32
//! ```
//!
//! | in | |
//! | --- | --- |
//! | [`frame`] | the length in front of a message, without trust in it |
//! | [`call`] | calls and replies, both ends |
//! | [`events`] | what bounds and measures events |
//!
//! What comes from outside is read with bounds everywhere: a wrong byte is a [`Malformed`] that says where, never a panic,
//! and nothing is allocated for a length before its bytes are there. Fields and types that are not known are passed over,
//! as Thrift wants it.

pub mod call;
pub mod events;
pub mod frame;
mod input;
mod output;

use std::borrow::Cow;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `TCompactProtocol`.
    Compact,
    /// `TBinaryProtocol`.
    Binary,
}

impl Protocol {
    /// What the key `protocol` means, and what to say of it: Flume takes any case and knows but one.
    pub fn of_key(text: &str) -> (Self, Option<&'static str>) {
        match text {
            "binary" => (Self::Binary, None),
            _ if text.eq_ignore_ascii_case("binary") => {
                let doubt = "only `binary` in small letters is that in Flume: the compact protocol is spoken, here as there";
                (Self::Compact, Some(doubt))
            }
            _ => (Self::Compact, None),
        }
    }
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All events of the call were taken in.
    Ok,
    /// None was: the channel is full, or something failed.
    Failed,
    /// Flume never sends it.
    Error,
    /// Flume never sends it.
    Unknown,
}

impl Status {
    fn number(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Error => 2,
            Self::Unknown => 3,
        }
    }

    fn of(number: i32) -> Option<Self> {
        [Self::Ok, Self::Failed, Self::Error, Self::Unknown]
            .into_iter()
            .find(|status| status.number() == number)
    }
}

/// Why bytes are not what Flume's wire has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub what: Cow<'static, str>,
    /// Where in the frame.
    pub at: usize,
}
