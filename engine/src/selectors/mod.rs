//! Selectors: which of its source's channels a batch goes to.
//!
//! Each file here is one type; [`specs`] is what the registry gets.

pub mod load_balancing;
pub mod multiplexing;
mod named;
pub mod replicating;

use flumen_api::registry::Spec;

/// The selector types of this crate.
pub fn specs() -> Vec<Spec> {
    vec![replicating::SPEC, multiplexing::SPEC, load_balancing::SPEC]
}
