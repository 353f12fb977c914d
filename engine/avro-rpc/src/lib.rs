//! Flume's wire: Avro RPC over a connection, as the avro source, the avro sink and `avro-client` speak it.
//!
//! ```text
//! message      serial i32, count i32, then count times { length i32, bytes }     big-endian; the bytes joined are the payload
//!
//! request      [handshake request]   until one was answered with BOTH or CLIENT
//!              meta map<bytes>       normally empty: 00
//!              name string           append, appendBatch; empty: nothing but the handshake is wanted
//!              parameter             AvroFlumeEvent { headers map<string>, body bytes }, or an array of them
//!
//! reply        serial of the request
//!              [handshake response]  only to a request that had one; NONE: nothing follows
//!              meta map<bytes>
//!              error boolean         00: status enum OK, FAILED, UNKNOWN;  01: union index 00 and a string
//! ```
//!
//! Numbers inside the payload are Avro's: zigzag, seven bits a byte. Requests may be pipelined; replies name their request.
//!
//! | in | |
//! | --- | --- |
//! | [`frame`] | messages out of and into bytes, without trust in any length |
//! | [`session`] | the answering end: handshake, requests, replies |
//! | [`call`] | the asking end, without a connection: handshake, requests, replies |
//! | [`caller`] | the asking end over a connection, several calls on their way |
//! | [`connect`] | TCP, TLS and deflate in the order that the peer nests them |
//! | [`deflate`] | one zlib stream each way |
//!
//! What comes from outside is read with bounds everywhere: a wrong byte is a [`Malformed`] that says where, never a panic,
//! and nothing is allocated for a length before its bytes are there.

pub mod call;
pub mod caller;
pub mod connect;
pub mod deflate;
pub mod events;
pub mod frame;
mod input;
mod output;
pub mod protocol;
pub mod session;

pub use input::Malformed;

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All events of the call were taken in.
    Ok,
    /// None was: the channel is full, or something failed.
    Failed,
    /// Flume never sends it.
    Unknown,
}

impl Status {
    /// Its place in the enumeration.
    fn index(self) -> i64 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Unknown => 2,
        }
    }
}
