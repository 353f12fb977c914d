//! The order in which Java's `HashMap` has its keys: Flume prints headers in it.
//!
//! ```text
//!   hash     h = 31 h + unit, over the units of UTF-16; its upper half is mixed into the lower
//!   table    16 places, doubled as long as keys are more than three quarters of them
//!   order    by place, which is the hash modulo the table's size; keys of one place as they were put
//! ```
//!
//! Flume's file and JDBC channels build the map of an event anew in just this way, and most of its sources do. (One that
//! copies a map of up to five headers gives the copy a smaller table, and behind a memory channel that is the order. Keys so
//! many of which share a place that Java would make a tree of it, nine and more, are in no order of Java's here.)

use super::Headers;

/// Headers that are printed in the order that they have in Java: `{k=v, k2=v2}`.
#[derive(Clone, Copy, Debug)]
pub struct AsJava<'a>(pub(super) &'a Headers);

/// Up to here no memory is asked for.
const FEW: usize = 32;

impl std::fmt::Display for AsJava<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        let (mut few, mut many) = ([(0, 0); FEW], Vec::new());
        let places = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, (0, 0));
                &mut many[..]
            }
        };
        let mut size = 16_u64;
        while count as u64 * 4 > size * 3 {
            size *= 2;
        }
        for (at, ((key, _), place)) in self.0.iter().zip(places.iter_mut()).enumerate() {
            *place = (u64::from(hash(key)) & (size - 1), at);
        }
        places.sort_unstable();
        f.write_str("{")?;
        for (i, (_, at)) in places.iter().enumerate() {
            let (key, value) = self.0.pair(*at);
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        f.write_str("}")
    }
}

fn hash(key: &str) -> u32 {
    let add = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    let hash = match key.is_ascii() {
        true => key.bytes().fold(0, |hash, byte| add(hash, byte.into())),
        false => key.encode_utf16().fold(0, add),
    };
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java 17 answered: keys in the order in which they were put, a tab, keys in the map's order.
    const KNOWN: &str = include_str!("order.tsv");

    #[test]
    fn headers_are_printed_in_the_order_that_javas_map_has_them_in() {
        let keys = |text: &str| -> Vec<String> { text.split_terminator('|').map(str::to_string).collect() };
        let mut sizes = std::collections::BTreeSet::new();
        for line in KNOWN.lines() {
            let (put, expected) = line.split_once('\t').expect("two columns");
            let headers = Headers::from_iter(keys(put).iter().map(|key| (key, "v")));
            let expected: Vec<String> = keys(expected).iter().map(|key| format!("{key}=v")).collect();
            assert_eq!(headers.as_java().to_string(), format!("{{{}}}", expected.join(", ")), "put: {put}");
            sizes.insert(headers.len());
        }
        assert!(sizes.iter().copied().eq(0..=30), "{sizes:?}");
    }

    #[test]
    fn hashes_are_those_of_javas_strings() {
        for (text, expected) in [("", 0), ("Aa", 2112), ("BB", 2112), ("\u{1f600}", 1_772_899)] {
            let spread: u32 = expected;
            assert_eq!(hash(text), spread ^ (spread >> 16), "{text}");
        }
    }

    #[test]
    fn more_headers_than_have_room_on_the_stack_are_printed_too() {
        let headers = Headers::from_iter((0..200).map(|i| (format!("k{i}"), "")));
        assert_eq!(headers.as_java().to_string().split(", ").count(), 200);
    }
}
