//! Flumen's sources: one folder each, all of one shape (`settings.rs`, the source, its tests).

pub mod avro;
mod complaints;
mod files;
pub mod kafka;
pub mod loghub;
pub mod netcat;
pub mod seq;
pub mod spooldir;
pub mod taildir;
#[cfg(test)]
mod testing;
pub mod thrift;

use flumen_api::registry::Spec;

/// All sources of this crate, for a registry.
pub fn specs() -> Vec<Spec> {
    vec![
        avro::spec(),
        kafka::spec(),
        loghub::spec(),
        netcat::spec(),
        seq::spec(),
        spooldir::spec(),
        taildir::spec(),
        thrift::spec(),
    ]
}
