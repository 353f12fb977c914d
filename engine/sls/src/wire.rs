//! What a pull brings: log groups in protobuf, read where they lie.
//!
//! ```text
//!   list   1 group*
//!   group  1 log*   2 category   3 topic   4 source   5 machine   6 tag*
//!   log    1 time (s since 1970)   2 content*   4 nanoseconds (fixed32)
//!   tag, content   1 key   2 value
//!   a field is varint(number << 3 | kind), then kind 0: varint, 1: 8 bytes, 2: varint length and bytes, 5: 4 bytes
//! ```
//!
//! Unknown fields are passed over. Texts are bytes: what wrote them did not always mean UTF-8. Nothing is copied, and nothing is
//! allocated by a length that the data names.

/// Data that are no log groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the data.
    pub at: usize,
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8], usize),
}

/// The fields of one message.
#[derive(Clone, Copy, Debug)]
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message begins in the data.
    base: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.base + self.at }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.wrong("a number that is cut"))?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(self.wrong("a number of more than 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.wrong("a number of more than 64 bits"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong("a field that reaches beyond its message"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Number(0)
            }
            2 => {
                let length = self.varint()?;
                let at = self.base + self.at;
                Value::Bytes(self.take(length)?, at)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Number(bytes.try_into().map_or(0, u32::from_le_bytes).into())
            }
            _ => return Err(self.wrong("a field of a kind that is not known")),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// A key and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

fn pair(bytes: &[u8], base: usize) -> Result<Pair<'_>, Malformed> {
    let mut fields = Fields::new(bytes, base);
    let (mut key, mut value): Pair<'_> = (&[], &[]);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes, _)) => key = bytes,
            (2, Value::Bytes(bytes, _)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

/// What the logs of a group have in common.
#[derive(Clone, Debug, Default)]
pub struct Group<'a> {
    /// The topic; empty if there is none.
    pub topic: &'a [u8],
    /// Where the logs come from, mostly an address.
    pub source: &'a [u8],
    /// Tags, such as `__hostname__` and `__path__`.
    pub tags: Vec<Pair<'a>>,
}

/// One log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Seconds since 1970.
    pub time: u32,
    /// Nanoseconds beside them, if whoever wrote it gave any.
    pub nanos: Option<u32>,
}

/// Walks over the logs of all groups, in order.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    list: Fields<'a>,
    logs: Fields<'a>,
    group: Group<'a>,
    /// Counts the groups.
    number: usize,
}

impl<'a> Walk<'a> {
    /// From the beginning of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { list: Fields::new(data, 0), logs: Fields::new(&[], 0), group: Group::default(), number: 0 }
    }

    /// The group of the last log.
    pub fn group(&self) -> &Group<'a> {
        &self.group
    }

    /// Which group that is, counted from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next log, whose contents take the place of what is in `contents`.
    pub fn next(&mut self, contents: &mut Vec<Pair<'a>>) -> Result<Option<Log>, Malformed> {
        let Some((bytes, base)) = self.next_bytes()? else { return Ok(None) };
        contents.clear();
        let mut fields = Fields::new(bytes, base);
        let mut log = Log { time: 0, nanos: None };
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Number(time)) => log.time = time as u32,
                (2, Value::Bytes(bytes, at)) => contents.push(pair(bytes, at)?),
                (4, Value::Number(nanos)) => {
                    log.nanos = Some(nanos as u32).filter(|nanos| *nanos < 1_000_000_000)
                }
                _ => {}
            }
        }
        Ok(Some(log))
    }

    /// Passes over so many logs, as far as there are; returns over how many.
    pub fn skip(&mut self, logs: u64) -> Result<u64, Malformed> {
        let mut passed = 0;
        while passed < logs && self.next_bytes()?.is_some() {
            passed += 1;
        }
        Ok(passed)
    }

    fn next_bytes(&mut self) -> Result<Option<(&'a [u8], usize)>, Malformed> {
        loop {
            while let Some(field) = self.logs.next()? {
                if let (1, Value::Bytes(bytes, at)) = field {
                    return Ok(Some((bytes, at)));
                }
            }
            match self.list.next()? {
                None => return Ok(None),
                Some((1, Value::Bytes(bytes, at))) => {
                    self.group = group(bytes, at)?;
                    self.number += 1;
                    self.logs = Fields::new(bytes, at);
                }
                Some(_) => {}
            }
        }
    }
}

/// Topic, source and tags stand behind the logs, mostly.
fn group(bytes: &[u8], base: usize) -> Result<Group<'_>, Malformed> {
    let mut fields = Fields::new(bytes, base);
    let mut group = Group::default();
    while let Some(field) = fields.next()? {
        match field {
            (3, Value::Bytes(topic, _)) => group.topic = topic,
            (4, Value::Bytes(source, _)) => group.source = source,
            (6, Value::Bytes(bytes, at)) => group.tags.push(pair(bytes, at)?),
            _ => {}
        }
    }
    Ok(group)
}

/// How many logs there are; an error if any byte of them could not be understood.
pub fn count(data: &[u8]) -> Result<u64, Malformed> {
    let (mut walk, mut contents, mut logs) = (Walk::new(data), Vec::new(), 0);
    while walk.next(&mut contents)?.is_some() {
        logs += 1;
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    fn pair_of(key: &str, value: &[u8]) -> Vec<u8> {
        [field(1, key.as_bytes()), field(2, value)].concat()
    }

    fn log(time: u8, contents: &[(&str, &[u8])]) -> Vec<u8> {
        let contents = contents.iter().map(|(key, value)| field(2, &pair_of(key, value)));
        [vec![1 << 3, time], contents.collect::<Vec<_>>().concat()].concat()
    }

    /// Two groups; the first has a topic, a tag and fields that nobody knows.
    fn sample() -> Vec<u8> {
        let long = vec![b'x'; 300];
        let first = [
            field(1, &log(7, &[("content", b"one")])),
            vec![9 << 3, 0x96, 0x01],
            field(1, &[log(8, &[("a", &long), ("b", b"\xff")]), vec![4 << 3 | 5, 1, 2, 0, 0]].concat()),
            field(3, b"topic"),
            field(4, b"10.0.0.1"),
            field(6, &pair_of("__path__", b"/var/log")),
            vec![10 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        let second = field(1, &log(9, &[]));
        [field(1, &first.concat()), field(7, b"?"), field(1, &second)].concat()
    }

    #[test]
    fn logs_come_in_order_with_what_their_group_says() {
        let data = sample();
        let (mut walk, mut contents) = (Walk::new(&data), Vec::new());
        assert_eq!(walk.next(&mut contents), Ok(Some(Log { time: 7, nanos: None })));
        assert_eq!(contents, [(&b"content"[..], &b"one"[..])]);
        assert_eq!((walk.group().topic, walk.group().source), (&b"topic"[..], &b"10.0.0.1"[..]));
        assert_eq!(walk.group().tags, [(&b"__path__"[..], &b"/var/log"[..])]);
        assert_eq!(walk.next(&mut contents), Ok(Some(Log { time: 8, nanos: Some(513) })));
        assert_eq!((contents.len(), contents[0].1.len(), contents[1]), (2, 300, (&b"b"[..], &b"\xff"[..])));
        assert_eq!(walk.next(&mut contents), Ok(Some(Log { time: 9, nanos: None })));
        assert_eq!((walk.number(), walk.group().topic, contents.len()), (2, &b""[..], 0));
        assert_eq!(walk.next(&mut contents), Ok(None));
        assert_eq!(count(&data), Ok(3));
    }

    #[test]
    fn passing_over_logs_ends_with_them() {
        let data = sample();
        let mut walk = Walk::new(&data);
        assert_eq!((walk.skip(2), walk.skip(5)), (Ok(2), Ok(1)));
    }

    #[test]
    fn data_that_are_cut_are_told_with_their_place() {
        let data = sample();
        let whole: Vec<usize> = [0, sample().len() - 4].into();
        for length in 0..data.len() {
            // A cut between two groups leaves fewer groups.
            let cut = count(&data[..length]);
            assert!(cut.is_err() || whole.contains(&length) || cut == Ok(2), "{length}: {cut:?}");
        }
        let beyond = count(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]).unwrap_err();
        assert_eq!((beyond.what, beyond.at), ("a field that reaches beyond its message", 6));
        assert!(count(&[0x0b]).is_err() && count(&[0xff; 11]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _any = count(&data);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0..sample().len(), byte: u8) {
            let mut data = sample();
            data[at] = byte;
            let _any = count(&data);
        }
    }
}
