//! Interceptors: what looks at a source's batch, and changes it, before channels are selected.
//!
//! ```text
//! a1.sources.r1.interceptors = i1 i2          run in this order, on the source's own task
//! a1.sources.r1.interceptors.i1.type = timestamp
//! ```
//!
//! Events share header sets, so what is the same for all events costs a header set, not an event: [`shared::Memo`] even
//! spares that while a source hands out the same set. Each file here is one type; [`specs`] is what the registry gets.

pub mod host;
mod shared;
pub mod timestamp;

use flumen_api::registry::Spec;

/// The interceptor types of this crate.
pub fn specs() -> Vec<Spec> {
    vec![timestamp::SPEC, host::SPEC]
}
