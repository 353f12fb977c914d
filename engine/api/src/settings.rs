//! Keys as data: one declaration yields a component's struct and its table of keys.
//!
//! ```
//! use flumen_api::settings::{settings, Unit};
//!
//! settings! {
//!     /// Keys of the example sink.
//!     pub struct ExampleSettings {
//!         /// Directory that receives the files; must exist.
//!         pub directory: String = key("sink.directory") { required: true },
//!         /// How often a new file is begun; 0 is never.
//!         pub roll_interval: u64 = key("sink.rollInterval") { default: Some("30"), unit: Unit::Seconds },
//!         /// Where to reach it, if at all.
//!         pub peer: Option<String> = key("peer") { },
//!     }
//! }
//! assert_eq!(ExampleSettings::KEYS[1].name, "sink.rollInterval");
//! ```
//!
//! The table drives parsing, `flumen check`, the nearest known name for a mistyped key, the guide, the redaction of
//! secrets in logs, and what a reload may change live.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::registry::Registry;
pub use crate::settings_macro as settings;

/// One property of the file, after substitution, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The text after substitution, trimmed.
    pub resolved: String,
    /// The text as written.
    pub raw: String,
    /// Which file.
    pub file: Arc<str>,
    /// Which line, from 1.
    pub line: u32,
}

/// What kind of component a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `<agent>.sources.<name>`.
    Source,
    /// `<agent>.channels.<name>`.
    Channel,
    /// `<agent>.sinks.<name>`.
    Sink,
    /// `<agent>.sinkgroups.<name>.processor`.
    Processor,
    /// `<agent>.sources.<name>.selector`.
    Selector,
    /// `<agent>.sources.<name>.interceptors.<name>`.
    Interceptor,
    /// `<agent>.sinkgroups.<name>.processor.selector`.
    SinkSelector,
    /// `<agent>.sources.<name>.interceptors.<name>.serializers.<name>`.
    ValueSerializer,
    /// `<agent>.sinks.<name>.serializer` or `….sink.serializer`.
    Serializer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Channel => "channel",
            Self::Sink => "sink",
            Self::Processor => "sink processor",
            Self::Selector => "channel selector",
            Self::Interceptor => "interceptor",
            Self::SinkSelector => "sink selector",
            Self::ValueSerializer => "value serializer",
            Self::Serializer => "serializer",
        })
    }
}

/// What components may see of the process that they run in: settings that stand in for absent keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// What `-Dname=value` set.
    pub system: Arc<BTreeMap<String, String>>,
    /// Environment variables.
    pub variables: Arc<BTreeMap<String, String>>,
}

/// Without the values: passwords are among them.
impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({} settings, {} variables)", self.system.len(), self.variables.len())
    }
}

/// The resolved properties of one component: its prefix (`a1.sources.r1.`) is stripped from the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentConfig {
    /// Kind of the component.
    pub kind: Kind,
    /// The agent's name.
    pub agent: Arc<str>,
    /// The component's name.
    pub name: Arc<str>,
    /// What was stripped, with its final dot: `a1.sources.r1.`.
    pub prefix: String,
    /// The properties.
    pub values: BTreeMap<String, Value>,
    /// All component types, for a component that is made of parts whose types its keys name.
    pub types: Registry,
    /// The process.
    pub process: Process,
}

impl ComponentConfig {
    /// A configuration of plain texts, for tests.
    pub fn of(kind: Kind, name: &str, pairs: &[(&str, &str)]) -> Self {
        let file: Arc<str> = "test.conf".into();
        let values = pairs.iter().zip(1..).map(|((key, text), line)| {
            let value = Value { resolved: (*text).into(), raw: (*text).into(), file: file.clone(), line };
            ((*key).to_string(), value)
        });
        Self {
            kind,
            agent: "a1".into(),
            name: name.into(),
            prefix: format!("a1.{kind}s.{name}."),
            values: values.collect(),
            types: Registry::empty(),
            process: Process::default(),
        }
    }

    /// The keys below `prefix` (with its final dot), as the configuration of a part called `name`.
    pub fn below(&self, kind: Kind, prefix: &str, name: &str) -> Self {
        Self {
            kind,
            agent: self.agent.clone(),
            name: name.into(),
            prefix: format!("{}{prefix}", self.prefix),
            values: self.family(prefix).map(|(key, value)| (key.to_string(), value.clone())).collect(),
            types: self.types.clone(),
            process: self.process.clone(),
        }
    }

    /// The text of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.resolved.as_str())
    }

    /// Keys that start with `prefix`, without it, with their values.
    pub fn family<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.values.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The component runs, but probably not as meant.
    Warning,
    /// The component is left out.
    Error,
}

/// Something wrong or doubtful in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The full key, or what the problem is about.
    pub key: String,
    /// File and line, where there is a line.
    pub place: Option<(Arc<str>, u32)>,
    /// What is wrong, and what to write instead where we know.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}: {}", self.key, self.message)
    }
}

/// Problems found so far.
#[derive(Clone, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem with `key` of `config`; the place is the key's line, if it has one.
    pub fn add(
        &mut self,
        severity: Severity,
        config: &ComponentConfig,
        key: &str,
        message: impl Into<String>,
    ) {
        let place = config.values.get(key).map(|value| (value.file.clone(), value.line));
        self.0.push(Problem {
            severity,
            key: format!("{}{key}", config.prefix),
            place,
            message: message.into(),
        });
    }

    /// Adds an error: the component is left out.
    pub fn error(&mut self, config: &ComponentConfig, key: &str, message: impl Into<String>) {
        self.add(Severity::Error, config, key, message);
    }

    /// Adds a warning.
    pub fn warn(&mut self, config: &ComponentConfig, key: &str, message: impl Into<String>) {
        self.add(Severity::Warning, config, key, message);
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Error).count()
    }
}

/// What a value's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// No unit, or not a number.
    None,
    /// Events.
    Events,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Per cent.
    Percent,
}

/// What a bad number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// The component is left out, as Flume does where its parse throws.
    Refuse,
    /// The default is used with a warning, as Flume does for some keys.
    UseDefault,
}

/// One key of a component.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name after the component's prefix. A name that ends in `.` is a family: all keys that start so.
    pub name: &'static str,
    /// Other names that mean the same, without a word.
    pub aliases: &'static [&'static str],
    /// Old names: they work, with a warning.
    pub deprecated: &'static [&'static str],
    /// What values look like, for people: `integer`, `true or false`, `text`.
    pub shape: &'static str,
    /// What a number counts.
    pub unit: Unit,
    /// The text that is parsed when the key is absent.
    pub default: Option<&'static str>,
    /// Absent is an error.
    pub required: bool,
    /// Smallest number allowed.
    pub min: Option<i64>,
    /// Largest number allowed.
    pub max: Option<i64>,
    /// The only texts allowed, compared without case.
    pub one_of: &'static [&'static str],
    /// What a bad value does.
    pub on_bad: OnBad,
    /// Never shown in logs or by `check`.
    pub secret: bool,
    /// A reload changes it in place, which channels alone can; else the component restarts.
    pub live: bool,
    /// Version of Flume or Flumen that has it first, where it matters.
    pub since: &'static str,
    /// For keys that are accepted and change nothing: why. The key's use is answered with this text as a warning.
    pub inert: Option<&'static str>,
    /// For keys that are refused: what to do instead. The key's use is an error.
    pub refused: Option<&'static str>,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
}

impl Key {
    /// A key with nothing special.
    pub const fn new(name: &'static str, shape: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            deprecated: &[],
            shape,
            unit: Unit::None,
            default: None,
            required: false,
            min: None,
            max: None,
            one_of: &[],
            on_bad: OnBad::Refuse,
            secret: false,
            live: false,
            since: "",
            inert: None,
            refused: None,
            doc,
        }
    }

    /// Whether `key` is this key by any of its names, or one of its family.
    pub fn matches(&self, key: &str) -> bool {
        let is = |name: &str| if name.ends_with('.') { key.starts_with(name) } else { key == name };
        is(self.name) || self.aliases.iter().any(|n| is(n)) || self.deprecated.iter().any(|n| is(n))
    }

    /// The key's value in `config` under any of its names, with the name used.
    pub fn find<'a>(&self, config: &'a ComponentConfig) -> Option<(&'static str, &'a Value)> {
        std::iter::once(&self.name)
            .chain(self.aliases)
            .chain(self.deprecated)
            .find_map(|name| Some((*name, config.values.get(*name)?)))
    }
}

/// The tables one after the other, for a component whose keys are declared in several: `N` is the sum of their lengths.
///
/// ```
/// use flumen_api::settings::{Key, join};
///
/// const OWN: &[Key] = &[Key::new("port", "integer", "Where to listen.")];
/// const SHARED: &[Key] = &[Key::new("ssl", "true or false", "Speaks TLS.")];
/// const KEYS: &[Key] = &join::<{ OWN.len() + SHARED.len() }>(&[OWN, SHARED]);
/// assert_eq!(KEYS[1].name, "ssl");
/// ```
pub const fn join<const N: usize>(tables: &[&[Key]]) -> [Key; N] {
    let mut joined = [Key::new("", "", ""); N];
    let (mut table, mut at) = (0, 0);
    while table < tables.len() {
        let mut i = 0;
        while i < tables[table].len() {
            joined[at] = tables[table][i];
            (i, at) = (i + 1, at + 1);
        }
        table += 1;
    }
    assert!(at == N, "the sum of the tables' lengths");
    joined
}

/// A type that a key's value can have.
pub trait Setting: Sized {
    /// For [`Key::shape`].
    const SHAPE: &'static str;

    /// Reads the value; `text` is `None` when the key is absent and has no default. The error says what is wrong with
    /// the text, without repeating key or place.
    fn read(key: &Key, text: Option<&str>) -> Result<Self, String>;

    /// Reads the key from a component's configuration; families override this.
    fn load(key: &Key, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let found = key.find(config);
        if let Some((name, _)) = found {
            if let Some(why) = key.refused {
                problems.error(config, name, why);
                return None;
            }
            if let Some(why) = key.inert {
                problems.warn(config, name, why);
            }
            if key.deprecated.contains(&name) {
                problems.warn(config, name, format!("old name; write {}", key.name));
            }
        }
        let name = found.map_or(key.name, |(name, _)| name);
        let text = found.map(|(_, value)| value.resolved.as_str()).or(key.default);
        if text.is_none() && key.required {
            problems.error(config, name, format!("required key is missing: {}", key.doc));
            return None;
        }
        let why = match Self::read(key, text) {
            Ok(value) => return Some(value),
            Err(why) => why,
        };
        match (key.on_bad, key.default) {
            (OnBad::UseDefault, Some(default)) if found.is_some() => {
                problems.warn(config, name, format!("{why}; the default {default} is used"));
                Self::read(key, Some(default)).ok()
            }
            _ => {
                problems.error(config, name, why);
                None
            }
        }
    }
}

macro_rules! integer_setting {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const SHAPE: &'static str = "integer";

            fn read(key: &Key, text: Option<&str>) -> Result<Self, String> {
                let text = text.ok_or("no value")?;
                let number: i64 = text.parse().map_err(|_not| format!("`{text}` is not a whole number"))?;
                if let Some(min) = key.min.filter(|min| number < *min) {
                    return Err(format!("{number} is below the smallest allowed, {min}"));
                }
                if let Some(max) = key.max.filter(|max| number > *max) {
                    return Err(format!("{number} is above the largest allowed, {max}"));
                }
                <$type>::try_from(number).map_err(|_range| format!("{number} is out of range"))
            }
        }
    )+};
}
integer_setting!(u16, u32, u64, i64, usize);

impl Setting for bool {
    const SHAPE: &'static str = "true or false";

    /// As Flume reads it: only the text `true`, in any case, is true.
    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        Ok(text.is_some_and(|text| text.eq_ignore_ascii_case("true")))
    }

    fn load(key: &Key, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let found = key.find(config);
        let text = found.map(|(_, value)| value.resolved.as_str()).or(key.default);
        if let Some((name, value)) = found {
            if let Some(why) = key.refused {
                problems.error(config, name, why);
                return None;
            }
            if let Some(why) = key.inert {
                problems.warn(config, name, why);
            }
            if key.deprecated.contains(&name) {
                problems.warn(config, name, format!("old name; write {}", key.name));
            }
            if !["true", "false"].iter().any(|word| value.resolved.eq_ignore_ascii_case(word)) {
                problems.warn(
                    config,
                    name,
                    format!("`{}` is read as false, as Flume reads it", value.resolved),
                );
            }
        }
        Self::read(key, text).ok()
    }
}

impl Setting for String {
    const SHAPE: &'static str = "text";

    fn read(key: &Key, text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or("no value")?;
        if !key.one_of.is_empty() && !key.one_of.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(format!("`{text}` is not one of: {}", key.one_of.join(", ")));
        }
        Ok(text.to_string())
    }
}

impl Setting for PathBuf {
    const SHAPE: &'static str = "path";

    /// A leading `~` is the user's home, as in Flume's defaults.
    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or("no value")?;
        match text.strip_prefix("~/") {
            None => Ok(text.into()),
            Some(rest) => match std::env::var_os("HOME") {
                Some(home) => Ok(PathBuf::from(home).join(rest)),
                None => Err(format!("`{text}`: HOME is not set")),
            },
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const SHAPE: &'static str = T::SHAPE;

    fn read(key: &Key, text: Option<&str>) -> Result<Self, String> {
        text.map(|text| T::read(key, Some(text))).transpose()
    }
}

/// Words separated by white space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Setting for Words {
    const SHAPE: &'static str = "words separated by blanks";

    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        Ok(Self(text.unwrap_or_default().split_whitespace().map(str::to_string).collect()))
    }
}

/// Entries separated by commas, trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commas(pub Vec<String>);

impl Setting for Commas {
    const SHAPE: &'static str = "list separated by commas";

    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        let entries = text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self(entries.map(str::to_string).collect()))
    }
}

/// All keys that start with the key's name: what follows the name, and the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family(pub BTreeMap<String, Value>);

impl Setting for Family {
    const SHAPE: &'static str = "keys with this prefix";

    fn read(_: &Key, _: Option<&str>) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn load(key: &Key, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let found: BTreeMap<_, _> =
            config.family(key.name).map(|(rest, value)| (rest.to_string(), value.clone())).collect();
        if let (Some(why), Some(rest)) = (key.refused, found.keys().next()) {
            problems.error(config, &format!("{}{rest}", key.name), why);
            return None;
        }
        if let (Some(why), Some(rest)) = (key.inert, found.keys().next()) {
            problems.warn(config, &format!("{}{rest}", key.name), why);
        }
        Some(Self(found))
    }
}

/// Declares a struct and its table of keys. See the [module](self).
///
/// Yields `KEYS` and `load(&ComponentConfig, &mut Problems) -> Option<Self>`, which reports all problems and returns
/// `None` if one is an error.
#[macro_export]
macro_rules! settings_macro {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])+ $fvis:vis $field:ident: $type:ty = key($key:expr) { $($attribute:ident: $value:expr),* $(,)? }),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[doc = $doc])+ $fvis $field: $type),* }

        impl $name {
            /// The keys, in the order of the fields.
            $vis const KEYS: &'static [$crate::settings::Key] = &[$($crate::settings::Key {
                $($attribute: $value,)*
                ..$crate::settings::Key::new(
                    $key,
                    <$type as $crate::settings::Setting>::SHAPE,
                    concat!($($doc),+).trim_ascii(),
                )
            }),*];

            /// Reads all keys, reports all problems, and returns `None` if one is an error.
            $vis fn load(
                config: &$crate::settings::ComponentConfig,
                problems: &mut $crate::settings::Problems,
            ) -> Option<Self> {
                let mut keys = Self::KEYS.iter();
                $(let $field = <$type as $crate::settings::Setting>::load(
                    keys.next().expect("one key for each field"), config, problems);)*
                Some(Self { $($field: $field?),* })
            }
        }
    };
}
