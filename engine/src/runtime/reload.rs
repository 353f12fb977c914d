//! What a start or a reload did, component by component, for one log line.

use std::fmt;
use std::sync::Arc;

use flumen_api::settings::Kind;

/// What happened to one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing: the very same object goes on.
    Kept,
    /// Took over new values of keys that may change live.
    ChangedLive,
    /// Stopped and started again, for this reason.
    Restarted(String),
    /// Started for the first time.
    Added,
    /// Stopped for good.
    Removed,
    /// Its new configuration cannot be built, so the old one goes on.
    KeptBroken(String),
    /// It cannot be built, and there is no old one.
    Broken(String),
    /// Gone from the configuration, but so many of its events are not: it stays open, for somebody to put it back.
    KeptBacklog(u64),
}

/// One component and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Source, channel or sink.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// What happened.
    pub what: What,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, what } = self;
        match what {
            What::Kept => write!(f, "kept {kind} {name}"),
            What::ChangedLive => write!(f, "changed {kind} {name} live"),
            What::Restarted(why) => write!(f, "restarted {kind} {name} ({why})"),
            What::Added => write!(f, "added {kind} {name}"),
            What::Removed => write!(f, "removed {kind} {name}"),
            What::KeptBroken(why) => write!(f, "kept the old {kind} {name} ({why})"),
            What::Broken(why) => write!(f, "left out {kind} {name} ({why})"),
            What::KeptBacklog(events) => write!(
                f,
                "kept {kind} {name} open ({events} events in it that no sink takes: to deliver them put it back with a \
                 sink, and take it out when it is empty)"
            ),
        }
    }
}

/// What a start or a reload did.
#[derive(Clone, Debug, Default)]
pub struct ReloadReport {
    /// One entry for each component.
    pub changes: Vec<Change>,
}

impl ReloadReport {
    pub(super) fn add(&mut self, kind: Kind, name: &Arc<str>, what: What) {
        self.changes.push(Change { kind, name: name.clone(), what });
    }

    /// What happened to a component, if it was there.
    pub fn of(&self, kind: Kind, name: &str) -> Option<&What> {
        let change = self.changes.iter().find(|change| change.kind == kind && *change.name == *name);
        change.map(|change| &change.what)
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kept = 0;
        let mut first = true;
        for change in &self.changes {
            if change.what == What::Kept {
                kept += 1;
                continue;
            }
            let separator = if first { "" } else { "; " };
            write!(f, "{separator}{change}")?;
            first = false;
        }
        let separator = if first { "" } else { "; " };
        match kept {
            0 if first => f.write_str("nothing to run"),
            0 => Ok(()),
            n => write!(f, "{separator}{n} unchanged"),
        }
    }
}
