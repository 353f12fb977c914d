//! Measures Flumen, and what it is compared with, in one run on one machine.
//!
//! ```text
//!   append    a durable log under T threads, each committing R records and waiting until they are durable
//!   latency   how long a commit of one event takes, idle and at half load
//!   channel   put and take at once: our channels beside Flume's
//!   growth    throughput and memory as events, headers, backlog, channels or sinks grow
//!   agent     the whole agent: access-log lines -> taildir -> file channel -> file_roll
//!   drain     a cold backlog, beside the device's own reads
//!   restart   SIGKILL with a backlog, start again, time to the first event delivered
//!   wire      Avro RPC: our client and Flume's Java client against Flumen and Flume, and agent to agent
//!   kafka     access-log lines into a topic and out of one, beside Flume and librdkafka alone
//!   object-store  the same into an object store (the tests' emulator), beside the client alone
//!   loghub    LogHub, by its emulator -> file channel
//!   hdfs      access-log lines -> taildir -> file channel -> HDFS, beside Flume and a client of HDFS alone
//! ```
//!
//! A rival implements [`contender::Contender`]. Those that need crates of their own live in `rivals/`, a package outside
//! this workspace, so that measuring ourselves never builds them. Every figure is the median of several rounds in which
//! the contenders take turns; all rounds are stored beside the medians, with the machine they ran on.

pub mod agent;
pub mod append;
pub mod ceiling;
pub mod channel;
pub mod contender;
pub mod drain;
pub mod failure;
pub mod growth;
#[cfg(feature = "hdfs")]
pub mod hdfs;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod latency;
pub mod loghub;
#[cfg(feature = "object-store")]
pub mod object_store;
pub mod options;
pub mod ours;
pub mod place;
#[cfg(feature = "plots")]
pub mod plots;
pub mod raw;
pub mod report;
pub mod restart;
pub mod table;
pub mod wire;

mod flume;
#[cfg(feature = "hdfs")]
mod hadoop;
mod lines;
mod process;
mod programs;
pub mod pump;
