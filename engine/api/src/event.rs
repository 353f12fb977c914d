//! One event as components see it: headers and a body of any bytes.

use std::collections::HashMap;
use std::fmt;

/// From this many headers on a set has an index: a list is quicker below, and beyond, a peer that sends thousands would
/// make every one cost a walk over all.
const LIST_MAX: usize = 32;

/// An event's headers: distinct text keys in the order in which they were set.
///
/// Header sets are shared: a tailed file's thousand lines hold one. A set is small, so a list beats a hash map.
#[derive(Clone, Default)]
pub struct Headers {
    pairs: Vec<(String, String)>,
    /// Where each key stands in `pairs`; there are more than [`LIST_MAX`] of them.
    index: Option<HashMap<String, usize>>,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { pairs: Vec::new(), index: None }
    }

    /// The value of `key`, if it is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.position(key).map(|at| self.pairs[at].1.as_str())
    }

    /// Sets `key`, in its old place if it was set before.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Some(at) => self.pairs[at].1 = value,
            None => {
                if let Some(index) = &mut self.index {
                    index.insert(key.clone(), self.pairs.len());
                }
                self.pairs.push((key, value));
                if self.index.is_none() {
                    self.build_index();
                }
            }
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.position(key)?;
        let (_, value) = self.pairs.remove(at);
        self.build_index();
        Some(value)
    }

    /// Keeps the headers for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.pairs.retain(|(key, value)| keep(key, value));
        self.build_index();
    }

    /// Keys and values in the order in which they were set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// How many headers are set.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no header is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.pairs.iter().position(|(k, _)| k == key),
        }
    }

    fn build_index(&mut self) {
        self.index = (self.pairs.len() > LIST_MAX).then(|| {
            let keys = self.pairs.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
            keys.collect()
        });
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs
    }
}

impl Eq for Headers {}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut headers = Self::new();
        for (key, value) in pairs {
            headers.set(key, value);
        }
        headers
    }
}

/// Java's map text, as Flume prints headers: `{k=v, k2=v2}`.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One event, borrowed from the batch or chunk that holds it.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// The headers, shared by all events of the same set.
    pub headers: &'a Headers,
    /// The body, unchanged since the source read it or an interceptor replaced it.
    pub body: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_set_answers_as_a_small_one_does() {
        for count in [LIST_MAX - 1, LIST_MAX, LIST_MAX + 1, 1000] {
            let mut headers = Headers::from_iter((0..count).map(|i| (format!("k{i}"), i.to_string())));
            headers.set("k3", "again");
            assert_eq!(headers.len(), count);
            assert_eq!((headers.get("k3"), headers.get("k4")), (Some("again"), Some("4")));
            assert_eq!(headers.remove("k3").as_deref(), Some("again"));
            assert_eq!((headers.get("k3"), headers.get("k4")), (None, Some("4")), "places moved up");
            headers.retain(|key, _| key != "k4");
            assert_eq!((headers.get("k4"), headers.get("k5")), (None, Some("5")));
            headers.set("k3", "new");
            assert_eq!(headers.iter().last(), Some(("k3", "new")));
            assert_eq!(headers.len(), count - 1);
            assert_eq!(headers, headers.iter().collect());
        }
    }

    #[test]
    fn a_set_of_a_hundred_thousand_headers_is_built_in_no_time() {
        let started = std::time::Instant::now();
        let headers = Headers::from_iter((0..100_000).map(|i| (i.to_string(), "")));
        assert_eq!(headers.len(), 100_000);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
