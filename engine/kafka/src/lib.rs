//! What Flumen's Kafka source, sink and channel share: the client library's set-up and the records' format.
//!
//! ```text
//!   kafka.producer.*  ──┐
//!   kafka.consumer.*  ──┴─ properties: Java's names and values ──> librdkafka's ──> a client (rdkafka, built from its own source)
//!   datum      an event as the value of a record, as Flume writes it
//!   producer   sends, and says of each group of records when Kafka has all of them
//!   member     reads as one of a consumer group
//!   records    what it reads, many at a time
//!   zookeeper  brokers and offsets, as Flume 1.6 left them there
//! ```
//!
//! librdkafka brings OpenSSL with it, built from source as itself is: for TLS, whose keys Java's stores hold (`tls`), and for SASL's
//! SCRAM. What it lacks is refused by name when a configuration is checked.

mod context;
pub mod datum;
mod jaas;
pub mod member;
mod names;
pub mod producer;
mod properties;
pub mod records;
mod tls;
pub mod zookeeper;

pub use context::{Report, explain};
pub use properties::{Properties, REFRESH, Role};
pub use rdkafka;
