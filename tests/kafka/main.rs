//! Kafka's source and sink as a user runs them, with a real broker: its own client here says what is in a topic.
//!
//! One broker serves all tests of a run, each with topics of its own; those that kill a broker have theirs.

#[path = "../product/agent.rs"]
#[allow(dead_code, reason = "shared with the other tests of the product")]
mod agent;
mod brokers;
mod channel;
mod client;
mod exact;
mod flume;
#[path = "../support/hadoop.rs"]
mod hadoop;
#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/kerberos.rs"]
mod kerberos;
mod login;
#[path = "../support/maven.rs"]
mod maven;
mod pipelines;
#[path = "../support/ports.rs"]
mod ports;
mod sink;
mod source;
#[path = "../product/world.rs"]
#[allow(dead_code, reason = "shared with the other tests of the product")]
mod world;
