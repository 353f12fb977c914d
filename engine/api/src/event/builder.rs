//! Headers out of pairs that somebody else has sent: linear in their bytes, whatever they are.

use std::collections::HashMap;

use super::Headers;

/// Gathers pairs; of several with the same key the last value stays, in the first one's place, as if each was
/// [`set`](Headers::set).
///
/// `set` puts a value in the place of the old one and so moves all that lies behind it, which costs nothing in a small set. A
/// peer that sends a hundred thousand keys and then the first of them a hundred thousand times would keep a thread busy for
/// minutes.
#[derive(Debug, Default)]
pub struct HeadersBuilder {
    /// The first pair of each key.
    first: Headers,
    /// By place, the last value of a key that came again.
    last: HashMap<usize, String>,
}

impl HeadersBuilder {
    /// No pairs yet, with room for `count` whose keys and values take `bytes` together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { first: Headers::with_capacity(count, bytes), last: HashMap::new() }
    }

    /// The next pair.
    #[inline]
    pub fn push(&mut self, key: impl AsRef<str>, value: impl AsRef<str>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        match self.first.position(key) {
            None => self.first.append(key, value),
            Some(at) => {
                self.last.insert(at, value.to_string());
            }
        }
    }

    /// The headers.
    pub fn build(self) -> Headers {
        if self.last.is_empty() {
            return self.first;
        }
        let mut headers = Headers::with_capacity(self.first.len(), self.first.text.len());
        for (at, (key, value)) in self.first.iter().enumerate() {
            headers.append(key, self.last.get(&at).map_or(value, String::as_str));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_stays_in_the_first_ones_place() {
        for count in [3, 100] {
            let mut builder = HeadersBuilder::default();
            (0..count).for_each(|i| builder.push(format!("k{i}"), "first"));
            builder.push("k1", "second");
            builder.push("new", "");
            builder.push("k1", "third");
            let mut expected = Headers::from_iter((0..count).map(|i| (format!("k{i}"), "first")));
            expected.set("k1", "third");
            expected.set("new", "");
            let built = builder.build();
            assert_eq!(built, expected);
            assert_eq!((built.get("k1"), built.get("k2")), (Some("third"), Some("first")));
        }
    }

    #[test]
    fn a_key_that_comes_again_and_again_costs_no_more_than_others() {
        let started = std::time::Instant::now();
        let mut builder = HeadersBuilder::default();
        (0..200_000).for_each(|i| builder.push(i.to_string(), ""));
        (0..200_000).for_each(|i| builder.push("0", &"x"[..i % 2]));
        assert_eq!(builder.build().len(), 200_000);
        // Moving what lies behind takes minutes.
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
    }
}
