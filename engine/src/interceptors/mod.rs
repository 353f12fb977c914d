//! Interceptors: what looks at a source's batch, and changes it, before channels are selected.
//!
//! ```text
//! a1.sources.r1.interceptors = i1 i2          run in this order, on the source's own task
//! a1.sources.r1.interceptors.i1.type = timestamp
//! ```
//!
//! Events share header sets, so what is the same for all events costs a header set, not an event: `shared::Memo` even
//! spares that while a source hands out the same set. Each file here is one type; [`specs`] is what the registry gets.

pub mod host;
pub mod regex_extractor;
pub mod regex_filter;
pub mod remove_header;
pub mod search_replace;
mod shared;
pub mod static_header;
#[cfg(test)]
mod testing;
pub mod timestamp;
pub mod uuid;

use flumen_api::registry::Spec;

/// The interceptor types of this crate, and the serializers of `regex_extractor`.
pub fn specs() -> Vec<Spec> {
    let mut specs = vec![
        timestamp::SPEC,
        host::SPEC,
        static_header::SPEC,
        remove_header::SPEC,
        search_replace::SPEC,
        regex_filter::SPEC,
        regex_extractor::SPEC,
        uuid::SPEC,
    ];
    specs.extend(regex_extractor::serializers());
    specs
}
