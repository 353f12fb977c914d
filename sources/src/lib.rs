//! Flumen's sources: one folder each, all of one shape (`settings.rs`, the source, its tests).

mod complaints;
pub mod netcat;
pub mod seq;
pub mod taildir;
#[cfg(test)]
mod testing;

use flumen_api::registry::Spec;

/// All sources of this crate, for a registry.
pub fn specs() -> Vec<Spec> {
    vec![netcat::spec(), seq::spec(), taildir::spec()]
}
