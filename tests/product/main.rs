//! The whole product: the built binary as a child process, with real files, sockets, signals and kills.
//!
//! What is delivered is compared byte for byte with what was written, so a test fails for one line lost, repeated, out of
//! order or damaged. `FLUMEN_CHURN_SECONDS=60` lets the rotation tests run for as long (default 3), and
//! `FLUMEN_SEED=<number>` replays the random moments of a run, whose seed is printed when it fails. Tests that mount a file
//! system need to be root.

mod agent;
mod avro;
mod avro_client;
mod bad_input;
mod blocks;
mod churn;
mod clock;
mod exec;
mod full_disk;
mod groups;
#[path = "../support/hadoop.rs"]
mod hadoop;
mod hdfs;
mod hdfs_outages;
mod hdfs_sites;
mod hdfs_tiers;
mod hostile;
mod http;
mod http_sink;
mod interceptors;
mod irc;
#[path = "../support/kerberos.rs"]
mod kerberos;
mod kills;
mod lanes;
mod launcher;
mod limits;
mod lines;
mod loghub;
#[path = "../support/maven.rs"]
mod maven;
mod monitoring;
mod mounts;
mod netcat;
#[path = "../support/ngircd.rs"]
mod ngircd;
mod oss;
#[path = "../support/oss/mod.rs"]
mod oss_store;
#[path = "../support/ports.rs"]
mod ports;
mod private;
#[path = "../support/python.rs"]
mod python;
mod reload;
mod s3;
#[path = "../support/s3proxy.rs"]
mod s3proxy;
mod scenarios;
mod selectors;
mod signals;
#[path = "../support/sls/mod.rs"]
mod sls;
mod spooldir;
mod syslog;
mod tiers;
mod tls;
#[path = "../support/web.rs"]
mod web;
mod world;
