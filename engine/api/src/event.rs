//! One event as components see it: headers and a body of any bytes.

mod builder;
mod order;

use std::collections::HashMap;
use std::fmt;

pub use builder::HeadersBuilder;
pub use order::AsJava;

/// From this many headers on a set has an index: a list is quicker below, and beyond, a peer that sends thousands would
/// make every one cost a walk over all.
const LIST_MAX: usize = 32;

/// An event's headers: distinct text keys in the order in which they were set.
///
/// ```text
///   text  key value key value …      ends  (end of the key, end of the value) for each
/// ```
///
/// One piece of text, because an event with headers of its own has a set of its own: two allocations for each header would
/// cost more than everything else that is done with the event. Sets are shared where they can be: a tailed file's thousand
/// lines hold one. A set is small, so a list beats a hash map.
#[derive(Clone, Default)]
pub struct Headers {
    text: String,
    ends: Vec<(usize, usize)>,
    /// Where each key stands in `ends`; there are more than [`LIST_MAX`] of them.
    index: Option<HashMap<String, usize>>,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { text: String::new(), ends: Vec::new(), index: None }
    }

    /// No headers yet, with room for `count` whose keys and values take `bytes` together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(count), index: None }
    }

    /// The value of `key`, if it is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.position(key).map(|at| self.pair(at).1)
    }

    /// Sets `key`, in its old place if it was set before.
    pub fn set(&mut self, key: impl AsRef<str>, value: impl AsRef<str>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        match self.position(key) {
            Some(at) => self.replace_value(at, value),
            None => self.append(key, value),
        }
    }

    /// Adds a header whose key is not set, as the caller knows: quicker than [`set`](Self::set), which looks for it.
    pub fn append(&mut self, key: &str, value: &str) {
        debug_assert!(self.position(key).is_none(), "{key} is set");
        if let Some(index) = &mut self.index {
            index.insert(key.to_string(), self.ends.len());
        }
        self.text.push_str(key);
        let key_end = self.text.len();
        self.text.push_str(value);
        self.ends.push((key_end, self.text.len()));
        if self.index.is_none() {
            self.build_index();
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.position(key)?;
        let value = self.pair(at).1.to_string();
        self.retain(|kept, _| kept != key);
        Some(value)
    }

    /// Keeps the headers for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let mut kept = Self::with_capacity(self.ends.len(), self.text.len());
        for (key, value) in self.iter().filter(|(key, value)| keep(key, value)) {
            kept.text.push_str(key);
            let key_end = kept.text.len();
            kept.text.push_str(value);
            kept.ends.push((key_end, kept.text.len()));
        }
        kept.build_index();
        *self = kept;
    }

    /// Keys and values in the order in which they were set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        (0..self.ends.len()).map(|at| self.pair(at))
    }

    /// To be printed in the order in which Java's map has them, which is Flume's.
    pub fn as_java(&self) -> AsJava<'_> {
        AsJava(self)
    }

    /// How many headers are set.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys and values.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Bytes that the set takes in memory, about.
    pub fn memory(&self) -> usize {
        // An index has the keys again, and some words for each.
        let index = self.index.as_ref().map_or(0, |index| self.text.len() + 64 * index.len());
        size_of::<Self>() + self.text.capacity() + self.ends.capacity() * size_of::<(usize, usize)>() + index
    }

    /// Whether no header is set.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn pair(&self, at: usize) -> (&str, &str) {
        let start = if at == 0 { 0 } else { self.ends[at - 1].1 };
        let (key_end, end) = self.ends[at];
        (&self.text[start..key_end], &self.text[key_end..end])
    }

    fn replace_value(&mut self, at: usize, value: &str) {
        let (key_end, end) = self.ends[at];
        self.text.replace_range(key_end..end, value);
        // What lies behind it moved by the difference.
        let moved = |place: &mut usize| *place = *place - end + key_end + value.len();
        moved(&mut self.ends[at].1);
        for (key_end, end) in &mut self.ends[at + 1..] {
            moved(key_end);
            moved(end);
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => {
                let (text, mut start) = (self.text.as_bytes(), 0);
                self.ends.iter().position(|&(key_end, end)| {
                    let known = &text[start..key_end];
                    start = end;
                    known == key.as_bytes()
                })
            }
        }
    }

    fn build_index(&mut self) {
        self.index = (self.ends.len() > LIST_MAX).then(|| {
            let keys = self.iter().enumerate().map(|(at, (key, _))| (key.to_string(), at));
            keys.collect()
        });
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends
    }
}

impl Eq for Headers {}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut builder = HeadersBuilder::default();
        for (key, value) in pairs {
            builder.push(key, value);
        }
        builder.build()
    }
}

/// Java's map text, in the order in which the headers were set: `{k=v, k2=v2}`.
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
    fn a_value_that_grows_or_shrinks_leaves_the_others_as_they_are() {
        let mut headers = Headers::from_iter([("a", "1"), ("ä", "zwei"), ("c", "")]);
        headers.set("ä", "");
        headers.set("a", "eins und mehr");
        headers.set("c", "3");
        headers.set("ä", "2");
        assert_eq!(headers.to_string(), "{a=eins und mehr, ä=2, c=3}");
        assert_eq!(headers, Headers::from_iter([("a", "eins und mehr"), ("ä", "2"), ("c", "3")]));
        assert_ne!(Headers::from_iter([("ab", "c")]), Headers::from_iter([("a", "bc")]));
    }

    #[test]
    fn a_set_of_a_hundred_thousand_headers_is_built_in_no_time() {
        let started = std::time::Instant::now();
        let headers = Headers::from_iter((0..100_000).map(|i| (i.to_string(), "")));
        assert_eq!(headers.len(), 100_000);
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
    }
}
