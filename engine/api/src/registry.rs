//! Which component types there are. Registration is an explicit call for each crate; there is no link-time magic.
//!
//! A user builds his own sink in with `flumen::main(Registry::standard().with(my_sink::spec()))`.

use std::sync::Arc;

use crate::channel::{Channel, OpenError};
use crate::interceptor::{Interceptor, ValueSerializer};
use crate::processor::{Processor, SinkSelector};
use crate::selector::Selector;
use crate::serializer::EventSerializer;
use crate::settings::{ComponentConfig, Key, Kind, Problems};
use crate::sink::Sink;
use crate::source::{Runs, Source};

/// A component built from its keys, with what the engine must know of it.
pub struct Built<T: ?Sized> {
    /// The component; nothing outside was touched to build it.
    pub component: Box<T>,
    /// Its batch size, checked against the channel's `transactionCapacity`; `None` is not checked.
    pub batch_size: Option<(&'static str, usize)>,
}

/// How channels on disk write (`-Dflumen.storage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Storage {
    /// Through io_uring where it works, else with threads.
    #[default]
    Auto,
    /// Through io_uring; where it does not work, a channel on disk does not open and says why.
    Uring,
    /// With threads.
    Std,
}

impl std::str::FromStr for Storage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "std" => Ok(Self::Std),
            _ => Err(format!("`{text}` is none of auto, uring, std")),
        }
    }
}

/// What a channel's builder needs beside the keys.
#[derive(Clone, Debug)]
pub struct ChannelContext {
    /// The agent's name.
    pub agent: Arc<str>,
    /// Memory that this process may use, in bytes (the cgroup's limit, else the machine's).
    pub memory_limit: u64,
    /// `--ignore-flume-data`: start beside Flume's own files in a channel directory.
    pub ignore_flume_data: bool,
    /// How channels on disk write.
    pub storage: Storage,
    /// Flume's counters.
    pub metrics: crate::metrics::ChannelMetrics,
}

/// Builds a source from its keys.
pub type BuildSource = fn(&ComponentConfig, &mut Problems) -> Option<Built<dyn Source>>;
/// Builds a sink from its keys.
pub type BuildSink = fn(&ComponentConfig, &mut Problems) -> Option<Built<dyn Sink>>;
/// Builds an interceptor from its keys.
pub type BuildInterceptor = fn(&ComponentConfig, &mut Problems) -> Option<Box<dyn Interceptor>>;
/// Builds a selector from its keys; the list names the source's channels.
pub type BuildSelector = fn(&ComponentConfig, &[String], &mut Problems) -> Option<Box<dyn Selector>>;
/// Builds a sink processor from its keys; the list names the group's sinks.
pub type BuildProcessor = fn(&ComponentConfig, &[String], &mut Problems) -> Option<Box<dyn Processor>>;
/// Builds what chooses among the sinks of a `load_balance` group from the keys below `processor.selector.`; the list names
/// the sinks.
pub type BuildSinkSelector = fn(&ComponentConfig, &[String], &mut Problems) -> Option<Box<dyn SinkSelector>>;
/// Builds a serializer of `regex_extractor` from the keys below `serializers.<name>.`.
pub type BuildValueSerializer = fn(&ComponentConfig, &mut Problems) -> Option<Box<dyn ValueSerializer>>;
/// Builds an event serializer from the keys below the sink's key that names it (`sink.serializer.`, `serializer.`).
pub type BuildSerializer = fn(&ComponentConfig, &mut Problems) -> Option<Box<dyn EventSerializer>>;
/// Checks a channel's keys without opening it; returns its `transactionCapacity`.
pub type CheckChannel = fn(&ComponentConfig, &mut Problems) -> Option<usize>;
/// Reads all keys of a component that is not built yet and reports their problems; `None` if one is an error.
pub type CheckKeys = fn(&ComponentConfig, &mut Problems) -> Option<Announced>;
/// Opens a channel: locks directories, recovers. May block for as long as recovery takes.
pub type OpenChannel = fn(&ComponentConfig, ChannelContext) -> Result<Arc<dyn Channel>, OpenError>;

/// How a type is made.
#[derive(Clone, Copy)]
pub enum Factory {
    /// A source, and whether it runs on a thread of its own.
    Source(Runs, BuildSource),
    /// A sink.
    Sink(BuildSink),
    /// A channel.
    Channel {
        /// Checks the keys.
        check: CheckChannel,
        /// Opens it.
        open: OpenChannel,
        /// Resolved directories that the channel owns, so that two channels on one directory are found by `check`.
        directories: fn(&ComponentConfig) -> Vec<std::path::PathBuf>,
    },
    /// An interceptor.
    Interceptor(BuildInterceptor),
    /// A channel selector.
    Selector(BuildSelector),
    /// A sink processor.
    Processor(BuildProcessor),
    /// What chooses among the sinks of a `load_balance` group (`processor.selector`).
    SinkSelector(BuildSinkSelector),
    /// A serializer of `regex_extractor` (`serializers.<name>.type`).
    ValueSerializer(BuildValueSerializer),
    /// An event serializer of a sink that writes files (`sink.serializer`, `serializer`).
    Serializer(BuildSerializer),
    /// A type whose keys are known and whose component is not built yet: `check` reads its keys as if it were, a run
    /// leaves it out with an error.
    Announced(Kind, CheckKeys),
    /// A type that is known and not built in: the text says what to do instead.
    Unavailable(Kind, &'static str),
}

/// What the keys of an announced component say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// As in [`Built`].
    pub batch_size: Option<(&'static str, usize)>,
}

/// One component type.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Flume's short name; matched without case. Empty if there is none.
    pub alias: &'static str,
    /// Flume's class names; matched exactly.
    pub class_names: &'static [&'static str],
    /// The keys that it reads, beside those that all of its kind have.
    pub keys: &'static [Key],
    /// One sentence for the guide.
    pub doc: &'static str,
    /// How it is made.
    pub factory: Factory,
}

impl Spec {
    /// The kind of component.
    pub fn kind(&self) -> Kind {
        match self.factory {
            Factory::Source(..) => Kind::Source,
            Factory::Sink(_) => Kind::Sink,
            Factory::Channel { .. } => Kind::Channel,
            Factory::Interceptor(_) => Kind::Interceptor,
            Factory::Selector(_) => Kind::Selector,
            Factory::Processor(_) => Kind::Processor,
            Factory::SinkSelector(_) => Kind::SinkSelector,
            Factory::ValueSerializer(_) => Kind::ValueSerializer,
            Factory::Serializer(_) => Kind::Serializer,
            Factory::Announced(kind, _) | Factory::Unavailable(kind, _) => kind,
        }
    }

    /// Whether a component of this type can run.
    pub fn is_built(&self) -> bool {
        !matches!(self.factory, Factory::Announced(..) | Factory::Unavailable(..))
    }
}

/// All component types of a build. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Vec<Spec>>);

/// The same list, not an equal one: functions cannot be compared.
impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.is_empty() && other.0.is_empty())
    }
}

impl Eq for Registry {}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry of {} types", self.0.len())
    }
}

impl Registry {
    /// No types at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a type. A later type of the same kind and name wins over an earlier one, so a user can replace ours.
    #[must_use]
    pub fn with(mut self, spec: Spec) -> Self {
        Arc::make_mut(&mut self.0).push(spec);
        self
    }

    /// Adds all types of a crate.
    #[must_use]
    pub fn with_all(mut self, specs: impl IntoIterator<Item = Spec>) -> Self {
        Arc::make_mut(&mut self.0).extend(specs);
        self
    }

    /// The type that `type_name` names: an alias in any case, or a class name exactly.
    pub fn find(&self, kind: Kind, type_name: &str) -> Option<&Spec> {
        self.0.iter().rev().find(|spec| {
            spec.kind() == kind
                && ((!spec.alias.is_empty() && spec.alias.eq_ignore_ascii_case(type_name))
                    || spec.class_names.contains(&type_name))
        })
    }

    /// All types of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Spec> {
        self.0.iter().filter(move |spec| spec.kind() == kind)
    }
}
