//! A template cut into parts, as Flume's regular expression finds them:
//! `%(\w|%)|%\{([\w\.-]+)\}|%\[(\w+)\]`, letters and digits being those of ASCII.

use super::HostNames;

/// Which of this host's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostName {
    Local,
    Address,
    Canonical,
}

/// What a `%x` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// `%t`.
    Millis,
    /// Any other letter that stands for a part of the time.
    Field(char),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Header(String),
    Host(HostName),
    Time(Escape),
}

impl Part {
    /// The same, with the host's names filled in.
    pub fn with_hosts(&self, hosts: &HostNames) -> Self {
        match self {
            Self::Host(HostName::Local) => Self::Text(hosts.local.clone()),
            Self::Host(HostName::Address) => Self::Text(hosts.address.clone()),
            Self::Host(HostName::Canonical) => Self::Text(hosts.canonical.clone()),
            other => other.clone(),
        }
    }
}

/// Letters that stand for a part of the time.
const FIELDS: &str = "aAbBcdeDHIjklmMnpsSyYz";

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("%[{0}] is none of %[localhost], %[IP], %[FQDN]")]
pub struct TemplateError(String);

/// A text with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    unknown: Vec<char>,
}

impl Template {
    /// Cuts `text` into parts.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut unknown = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            let (part, length) = match one(&rest[at + 1..]) {
                Some(Found::Percent) => {
                    literal.push('%');
                    (None, 1)
                }
                Some(Found::Letter('t')) => (Some(Part::Time(Escape::Millis)), 1),
                Some(Found::Letter(letter)) if FIELDS.contains(letter) => {
                    (Some(Part::Time(Escape::Field(letter))), 1)
                }
                Some(Found::Letter(letter)) => {
                    unknown.push(letter);
                    (None, 1)
                }
                Some(Found::Header(name)) => (Some(Part::Header(name.to_string())), name.len() + 2),
                Some(Found::Host(name)) => (Some(Part::Host(host(name)?)), name.len() + 2),
                None => {
                    literal.push('%');
                    (None, 0)
                }
            };
            if let Some(part) = part {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(part);
            }
            rest = &rest[at + 1 + length..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { text: text.to_string(), parts, unknown })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has a part that changes with the event or the time.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_) | Part::Host(_)))
    }

    /// Whether it needs an event's time. `%%` does not, though in Flume it does.
    pub fn needs_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Time(_)))
    }

    /// Whether it needs this host's names.
    pub fn needs_hosts(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Host(_)))
    }

    /// Letters that stand for nothing: probably not what was meant.
    pub fn unknown(&self) -> &[char] {
        &self.unknown
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

enum Found<'a> {
    Percent,
    Letter(char),
    Header(&'a str),
    Host(&'a str),
}

/// The escape at the start of `text`, which follows a `%`.
fn one(text: &str) -> Option<Found<'_>> {
    let first = text.chars().next()?;
    let between = |close: char, allowed: fn(char) -> bool| {
        let inside = &text[1..];
        let name = &inside[..inside.find(|c| !allowed(c))?];
        (!name.is_empty() && inside[name.len()..].starts_with(close)).then_some(name)
    };
    match first {
        '%' => Some(Found::Percent),
        '{' => between('}', |c| is_word(c) || c == '.' || c == '-').map(Found::Header),
        '[' => between(']', is_word).map(Found::Host),
        letter if is_word(letter) => Some(Found::Letter(letter)),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn host(name: &str) -> Result<HostName, TemplateError> {
    match name.to_ascii_lowercase().as_str() {
        "localhost" => Ok(HostName::Local),
        "ip" => Ok(HostName::Address),
        "fqdn" => Ok(HostName::Canonical),
        _ => Err(TemplateError(name.to_string())),
    }
}
