//! What an event is made of: one log.
//!
//! ```text
//!   body       no content: empty     one: its value     several: {"key":"value",…} in their order
//!   headers    topic, source, and each tag under its own name; what is empty or set already is left out
//!   timestamp  useRecordTime: the log's time; else, where no tag is called so, when the pull came; milliseconds
//! ```
//!
//! Logs of one group share their headers; with `useRecordTime` those of one time do.

use std::io;

use flumen_api::{Batch, Headers};
use flumen_sls::wire::{Group, Log, Malformed, Pair, Walk};

/// A batch has no more bytes, but at least one event.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Makes events of a pull's logs.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub walk: Walk<'a>,
    use_record_time: bool,
    /// When the pull came, in milliseconds since 1970.
    received: i64,
    contents: Vec<Pair<'a>>,
    json: Vec<u8>,
    /// The last log's time.
    pub last_time: u32,
}

impl<'a> Maker<'a> {
    pub fn new(data: &'a [u8], use_record_time: bool, received: i64) -> Self {
        let walk = Walk::new(data);
        Self { walk, use_record_time, received, contents: Vec::new(), json: Vec::new(), last_time: 0 }
    }

    /// Adds at most `limit` events, the first of which stands behind `position` along the key of `origin`. Returns how many.
    pub fn fill(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        origin: u32,
        position: u64,
    ) -> Result<u64, Malformed> {
        let (mut taken, mut bytes) = (0, 0);
        // Of which group and time the last header set is.
        let mut last: Option<(usize, i64, u32)> = None;
        while (taken as usize) < limit && bytes < BATCH_BYTES_MAX {
            let Some(log) = self.walk.next(&mut self.contents)? else { break };
            self.last_time = log.time;
            let time = if self.use_record_time { millis(&log) } else { self.received };
            let set = match last {
                Some((group, at, set)) if group == self.walk.number() && at == time => set,
                _ => batch.add_headers(self.headers(self.walk.group(), time)),
            };
            last = Some((self.walk.number(), time, set));
            let body = match self.contents[..] {
                [(_, value)] => value,
                _ => {
                    self.json.clear();
                    if !self.contents.is_empty() {
                        // A Vec takes all bytes, and text can always be written.
                        drop(object(&self.contents, &mut self.json));
                    }
                    &self.json
                }
            };
            batch.push_with(body, set);
            taken += 1;
            bytes += body.len();
            batch.locate_last(origin, position + taken);
        }
        Ok(taken)
    }

    fn headers(&self, group: &Group<'_>, time: i64) -> Headers {
        let mut headers = Headers::with_capacity(3 + group.tags.len(), 128);
        let set = |headers: &mut Headers, name: &[u8], value: &[u8]| {
            let name = String::from_utf8_lossy(name);
            if !name.is_empty() && !value.is_empty() && headers.get(&name).is_none() {
                headers.set(name, String::from_utf8_lossy(value));
            }
        };
        set(&mut headers, b"topic", group.topic);
        set(&mut headers, b"source", group.source);
        for (key, value) in &group.tags {
            set(&mut headers, key, value);
        }
        if self.use_record_time || headers.get("timestamp").is_none() {
            headers.set("timestamp", time.to_string());
        }
        headers
    }
}

fn millis(log: &Log) -> i64 {
    i64::from(log.time) * 1000 + i64::from(log.nanos.unwrap_or(0)) / 1_000_000
}

fn object(contents: &[Pair<'_>], out: &mut Vec<u8>) -> io::Result<()> {
    for (i, (key, value)) in contents.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        serde_json::to_writer(&mut *out, &String::from_utf8_lossy(key))?;
        out.push(b':');
        serde_json::to_writer(&mut *out, &String::from_utf8_lossy(value))?;
    }
    out.push(b'}');
    Ok(())
}
