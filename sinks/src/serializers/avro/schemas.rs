//! Schemas by where they come from: an event's header, a file.
//!
//! A header is written by whoever sends events. So what it names is read as a schema and as nothing else, from regular
//! files, up to a limit; and only so many schemas are remembered.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use flumen_avro::Schema;

/// Longest schema.
const SCHEMA_BYTES_MAX: u64 = 4 << 20;
/// How many are remembered; with more, all are forgotten and read anew.
const REMEMBERED_MAX: usize = 256;

/// Where a schema comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Url(String),
    Literal(String),
}

/// A schema.
#[derive(Debug)]
pub(super) struct Found {
    pub schema: Schema,
    /// As it was written.
    pub text: String,
    /// What two schemas that mean the same have in common.
    pub canonical: String,
}

/// The schemas seen so far; a text that is none is remembered as well, with the reason.
#[derive(Default)]
pub(super) struct Schemas(HashMap<Origin, Result<Arc<Found>, String>>);

impl Schemas {
    /// The schema that `origin` names, or why it names none.
    pub fn get(&mut self, origin: &Origin) -> Result<Arc<Found>, String> {
        if let Some(known) = self.0.get(origin) {
            return known.clone();
        }
        let found = match origin {
            Origin::Literal(text) => parse(text.clone()),
            Origin::Url(url) => match load(url) {
                Ok(text) => parse(text).map_err(|why| format!("{url}: {why}")),
                // The file may come: not remembered.
                Err(why) => return Err(format!("cannot read the schema {url}: {why}")),
            },
        };
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(origin.clone(), found.clone());
        found
    }
}

pub(super) fn parse(text: String) -> Result<Arc<Found>, String> {
    // The library knows what no reader would take: names that are none, branches of a union that are the same.
    let judged =
        apache_avro::Schema::parse_str(&text).map_err(|error| format!("not an Avro schema: {error}"))?;
    let schema = Schema::parse(&text).map_err(|why| format!("not an Avro schema: {why}"))?;
    let canonical = judged.canonical_form();
    Ok(Arc::new(Found { schema, text, canonical }))
}

fn load(url: &str) -> Result<String, String> {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.starts_with("file:").then(|| &url["file:".len()..]) else {
        return Err("only file: URLs are read; put a copy of the schema on this machine".into());
    };
    let path = match rest.strip_prefix("//") {
        // A host may stand there, if it is this one.
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err("not an absolute path".into());
    }
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > SCHEMA_BYTES_MAX {
        return Err(format!("longer than {SCHEMA_BYTES_MAX} bytes"));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(SCHEMA_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}
