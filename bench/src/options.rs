//! `--name value` pairs of the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;

/// The options of one command.
#[derive(Debug)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads `--name value` pairs; `known` are the names that the command has.
    pub fn parse(mut words: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, Failure> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name)).ok_or_else(|| {
                let known: Vec<_> = known.iter().map(|name| format!("--{name}")).collect();
                Failure(format!("unknown option {word}; this command has {}", known.join(", ")))
            })?;
            let value = words.next().ok_or_else(|| Failure(format!("--{name} needs a value")))?;
            pairs.insert(name.to_string(), value);
        }
        Ok(Self(pairs))
    }

    /// The option's value, or `default`.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_not| Failure(format!("--{name} {text}: not a value for this option")))
            }
        }
    }

    /// A list of values separated by commas, or `default`.
    pub fn list<T: FromStr + Clone>(&self, name: &str, default: &[T]) -> Result<Vec<T>, Failure> {
        let Some(text) = self.0.get(name) else { return Ok(default.to_vec()) };
        let read = |word: &str| {
            word.parse().map_err(|_not| Failure(format!("--{name}: `{word}` is not a value for it")))
        };
        text.split(',').map(read).collect()
    }

    /// Where data is written (`--dir`): the file system under measurement.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        self.get("dir", PathBuf::from("target/bench"))
    }

    /// Where results go (`--results`).
    pub fn results(&self) -> Result<PathBuf, Failure> {
        self.get("results", PathBuf::from("bench/results"))
    }
}
