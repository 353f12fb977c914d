//! The table of cases.

mod channels;
mod configuration;
mod exec;
mod interceptors;
mod network;
mod outgoing;
mod rules;
mod selectors;
mod serializers;
mod sinks;
mod sources;
mod spooldir;
mod syslog;
mod syslog_shapes;

use crate::case::Case;

/// All cases.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(sources::cases());
    all.extend(spooldir::cases());
    all.extend(exec::cases());
    all.extend(syslog::cases());
    all.extend(syslog_shapes::cases());
    all.extend(network::cases());
    all.extend(outgoing::cases());
    all.extend(interceptors::cases());
    all.extend(channels::cases());
    all.extend(selectors::cases());
    all.extend(sinks::cases());
    all.extend(serializers::cases());
    all.extend(configuration::cases());
    all.extend(rules::cases());
    all
}
