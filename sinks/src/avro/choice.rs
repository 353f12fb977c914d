//! Which of several hosts gets a call, as Flume's clients choose.
//!
//! ```text
//!   DEFAULT_FAILOVER      the one that is in use; when it fails the next one of the list, and so around
//!   DEFAULT_LOADBALANCE   the next one with each call, or one that is thrown; who failed may rest
//! ```
//!
//! One host alone is a list of one to fail over.

use std::time::Instant;

use flumen_api::processor::SinkSelector;

/// A way to choose, and where it stands.
pub(super) enum Choice {
    Failover(Failover),
    Balance(Box<dyn SinkSelector>),
}

/// The host in use, and those behind it.
pub(super) struct Failover {
    hosts: usize,
    /// Most calls for the same events before they go back to the channel.
    calls: usize,
    first: usize,
}

impl Failover {
    pub fn new(hosts: usize, calls: usize) -> Self {
        Self { hosts, calls, first: 0 }
    }
}

impl Choice {
    /// The hosts to try for a call, the first one first.
    pub fn order(&mut self, now: Instant) -> Vec<usize> {
        match self {
            Self::Failover(Failover { hosts, calls, first }) => {
                (0..*hosts * *calls).map(|step| (*first + step) % *hosts).collect()
            }
            Self::Balance(order) => order.order(now),
        }
    }

    /// How many calls one delivery may make.
    pub fn calls(&self) -> usize {
        match self {
            Self::Failover(failover) => failover.calls,
            // Its order has each host once.
            Self::Balance(_) => usize::MAX,
        }
    }

    /// A host could not be reached, or did not take a call in.
    pub fn failed(&mut self, host: usize, now: Instant) {
        match self {
            Self::Failover(failover) if failover.first == host => {
                failover.first = (host + 1) % failover.hosts;
            }
            // Another one has taken its place.
            Self::Failover(_) => {}
            Self::Balance(order) => order.failed(host, now),
        }
    }

    /// The connection to a host was lost while nothing was asked of it.
    pub fn lost(&mut self, host: usize, now: Instant) {
        if let Self::Failover(_) = self {
            self.failed(host, now);
        }
    }

    /// All is to begin anew, as with a new client.
    pub fn restart(&mut self) {
        if let Self::Failover(failover) = self {
            failover.first = 0;
        }
    }
}
