//! Flumen's sources: one folder each, all of one shape (`settings.rs`, the source, its tests).

pub mod avro;
mod complaints;
pub mod exec;
mod files;
pub mod kafka;
pub mod loghub;
pub mod netcat;
pub mod seq;
pub mod spooldir;
pub mod stress;
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
        kafka::spec(),
        loghub::spec(),
        netcat::spec(),
        seq::spec(),
        spooldir::spec(),
        stress::spec(),
        taildir::spec(),
        thrift::spec(),
    ]
}
