//! What Flumen's Kafka source, sink and channel share: the client library's set-up and the records' format.
//!
//! ```text
//!   kafka.producer.*  ──┐
//!   kafka.consumer.*  ──┴─ properties: Java's names and values ──> librdkafka's ──> a client (rdkafka, built from its own source)
//!   datum      an event as the value of a record, as Flume writes it
//!   producer   sends, and says of each group of records when Kafka has all of them
//!   member     reads as one of a consumer group
//! ```
//!
//! librdkafka is built without OpenSSL, so there is no TLS and of SASL only PLAIN; what would need more is refused by name when a
//! configuration is checked.

mod context;
pub mod datum;
mod jaas;
pub mod member;
mod names;
pub mod producer;
mod properties;

pub use context::{Report, explain};
pub use properties::{Properties, Role};
pub use rdkafka;
