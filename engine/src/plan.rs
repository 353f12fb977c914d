//! What an agent shall run: the configuration, read, resolved, validated, and stripped of everything that is broken.
//!
//! `config` makes a plan from files; `runtime` runs one and, at a reload, compares it with the next.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Kind, Problems};

/// One agent's components, all of which can be built.
#[derive(Clone, Default)]
pub struct Plan {
    /// The agent's name.
    pub agent: Arc<str>,
    /// Channels, by name.
    pub channels: Vec<ChannelPlan>,
    /// Sources, by name.
    pub sources: Vec<SourcePlan>,
    /// Sinks, by name.
    pub sinks: Vec<SinkPlan>,
    /// Groups of sinks; every sink is in at most one, and a sink in none is its own.
    pub groups: Vec<GroupPlan>,
    /// What was wrong; components with errors are not in the plan.
    pub problems: Problems,
    /// Sources, channels and sinks that the files ask for and that are not in the plan for an error: what a reload
    /// keeps running as it was, whereas it stops what the files no longer ask for.
    pub left_out: BTreeSet<(Kind, Arc<str>)>,
}

/// A channel to open.
#[derive(Clone)]
pub struct ChannelPlan {
    /// Its keys.
    pub config: ComponentConfig,
    /// Its type.
    pub spec: Spec,
}

/// A source to run.
#[derive(Clone)]
pub struct SourcePlan {
    /// Its keys, those of selector and interceptors included.
    pub config: ComponentConfig,
    /// Its type.
    pub spec: Spec,
    /// Names of its channels, all of them in the plan, in the order in which the file lists them.
    pub channels: Vec<Arc<str>>,
    /// The selector's type and keys (prefix `selector.` stripped).
    pub selector: (Spec, ComponentConfig),
    /// The interceptors' types and keys, in chain order.
    pub interceptors: Vec<(Spec, ComponentConfig)>,
}

/// A sink to run.
#[derive(Clone)]
pub struct SinkPlan {
    /// Its keys.
    pub config: ComponentConfig,
    /// Its type.
    pub spec: Spec,
    /// Name of its channel, in the plan.
    pub channel: Arc<str>,
    /// Where events go that its destination refuses; `None`: nowhere, they are tried again.
    pub dead_letter: Option<DeadLetterPlan>,
}

/// Where refused events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterPlan {
    /// To a channel, in the plan, that is not the sink's.
    Channel {
        /// Its name.
        name: Arc<str>,
        /// The file for what that channel can never take; without one the sink waits.
        beyond: Option<PathBuf>,
    },
    /// To the end of a file.
    File(PathBuf),
}

impl SinkPlan {
    /// Names of the channels on which the sink hangs: its own, and that of its dead letter.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        let dead_letter = match &self.dead_letter {
            Some(DeadLetterPlan::Channel { name, .. }) => Some(name),
            _ => None,
        };
        std::iter::once(&self.channel).chain(dead_letter)
    }
}

/// A group of sinks behind a processor.
#[derive(Clone)]
pub struct GroupPlan {
    /// The group's name.
    pub name: Arc<str>,
    /// Its sinks, all in the plan, in the order in which the file lists them.
    pub sinks: Vec<Arc<str>>,
    /// The processor's type and keys (prefix `processor.` stripped).
    pub processor: (Spec, ComponentConfig),
}
