//! Flumen's sources: one folder each, all of one shape (`settings.rs`, the source, its tests).

pub mod avro;
mod complaints;
pub mod exec;
mod files;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod loghub;
pub mod multiport_syslogtcp;
mod net;
pub mod netcat;
pub mod netcatudp;
pub mod seq;
pub mod spooldir;
pub mod stress;
mod syslog;
pub mod syslogtcp;
pub mod syslogudp;
pub mod taildir;
#[cfg(test)]
mod testing;
pub mod thrift;

use flumen_api::registry::Spec;

/// All sources of this crate, for a registry.
pub fn specs() -> Vec<Spec> {
    vec![
        avro::spec(),
        exec::spec(),
        http::spec(),
        #[cfg(feature = "kafka")]
        kafka::spec(),
        loghub::spec(),
        multiport_syslogtcp::spec(),
        netcat::spec(),
        netcatudp::spec(),
        seq::spec(),
        spooldir::spec(),
        stress::spec(),
        syslogtcp::spec(),
        syslogudp::spec(),
        taildir::spec(),
        thrift::spec(),
    ]
}
