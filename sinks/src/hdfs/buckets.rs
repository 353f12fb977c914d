//! Which events go to which file: a bucket for each resolved path and prefix, in it the open file.
//!
//! ```text
//!   in use   <path>/<inUsePrefix><prefix>.<counter><suffix><inUseSuffix>
//!   final    <path>/<prefix>.<counter><suffix>
//! ```
//!
//! In an object store the first is where the file is staged, `<staging>/<path>/<prefix>.<counter><suffix>`.
//!
//! The counter is the time in milliseconds when the bucket was made, plus one for each name it gave. Rolling by count and
//! by size keeps the bucket; time, idleness and too many open files end it, and the next event makes a new one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use flumen_api::event::EventRef;
use flumen_api::serializer::AppendError;

use super::client::Fault;
use super::counter::Counter;
use super::format::Format;
use super::hand::Hand;
use super::location::tidy;
use super::record::Names;

/// Bytes are handed over in pieces of about this size.
const BUFFER_BYTES: usize = 256 << 10;
/// How long a bucket without a file keeps its counter, and a refused path is not tried again.
const FORGET_AFTER: Duration = Duration::from_secs(60);
const DENIED_FOR: Duration = Duration::from_secs(10);
/// Paths come from headers, so there is no end to buckets: without a file they go at this many.
const BUCKETS_MAX: usize = 20_000;

/// What surrounds each file's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Affixes {
    pub in_use_prefix: String,
    pub in_use_suffix: String,
    pub suffix: String,
}

/// When a file ends. 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rolls {
    pub count: u64,
    pub bytes: u64,
    pub age: Option<Duration>,
    pub idle: Option<Duration>,
    /// Before it would have more than a block.
    pub at_block: bool,
}

/// A file that is being written.
pub(super) struct Open {
    pub number: u64,
    pub hand: Hand,
    format: Box<dyn Format>,
    buffer: Vec<u8>,
    /// Bytes given to the hand.
    handed: u64,
    events: u64,
    body_bytes: u64,
    opened: Instant,
    /// How many events it had when it was last looked at, and when that number was new.
    seen: (u64, Instant),
    /// Something was appended since the last flush.
    pub pending: bool,
}

impl Open {
    pub fn new(number: u64, hand: Hand, mut format: Box<dyn Format>) -> Self {
        let now = Instant::now();
        let mut buffer = Vec::new();
        format.begin(&mut buffer);
        Self {
            number,
            hand,
            format,
            buffer,
            handed: 0,
            events: 0,
            body_bytes: 0,
            opened: now,
            seen: (0, now),
            pending: false,
        }
    }

    /// Bytes of the file so far.
    pub fn length(&self) -> u64 {
        self.handed + self.buffer.len() as u64
    }

    /// Bytes that its hand has.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// Appends an event.
    pub fn append(&mut self, event: EventRef<'_>) -> Result<(), AppendError> {
        self.format.append(event, &mut self.buffer)?;
        self.appended(1, event.body.len());
        Ok(())
    }

    /// Appends events whose bytes these lines are.
    pub fn append_lines(&mut self, lines: &[u8], events: usize, body_bytes: usize) {
        self.buffer.extend_from_slice(lines);
        self.appended(events, body_bytes);
    }

    fn appended(&mut self, events: usize, body_bytes: usize) {
        self.events += events as u64;
        self.body_bytes += body_bytes as u64;
        self.pending = true;
        if self.buffer.len() >= BUFFER_BYTES {
            self.hand_over();
        }
    }

    /// Since when nothing was appended, to about the time between two looks.
    fn idle_since(&mut self, now: Instant) -> Instant {
        if self.seen.0 != self.events {
            self.seen = (self.events, now);
        }
        self.seen.1
    }

    /// Has had all that it may have.
    fn is_full(&self, rolls: Rolls) -> bool {
        (rolls.count > 0 && self.events >= rolls.count) || (rolls.bytes > 0 && self.body_bytes >= rolls.bytes)
    }

    /// Nothing was appended to it yet.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Makes what was appended readable, and hands it over.
    pub fn flush(&mut self) {
        self.format.flush_point(&mut self.buffer);
        self.hand_over();
        self.pending = false;
    }

    /// Appends what a file ends with, and hands it over.
    pub fn end(&mut self) {
        self.format.end(&mut self.buffer);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if !self.buffer.is_empty() {
            // With room for what comes when it is nearly full: a run of lines is some 100 KiB.
            let next = if self.buffer.len() >= BUFFER_BYTES { 2 * BUFFER_BYTES } else { 0 };
            let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(next));
            self.handed += bytes.len() as u64;
            self.hand.write(bytes);
        }
    }
}

struct Bucket {
    name: String,
    directory: String,
    prefix: String,
    counter: Counter,
    open: Option<Open>,
    /// The clock's reading when it was last looked for.
    used: u64,
    used_at: Instant,
    denied: Option<(Instant, String)>,
}

/// The last bucket that was looked for: mostly the next one as well.
struct Current {
    path: String,
    prefix: String,
    at: usize,
}

/// All buckets.
pub(super) struct Buckets {
    affixes: Affixes,
    rolls: Rolls,
    /// Where files are while they are written, if not in their directory.
    staging: Option<String>,
    /// Bytes of a block, where files end with it.
    block: Option<u64>,
    by_name: HashMap<String, usize>,
    slots: Vec<Option<Bucket>>,
    free: Vec<usize>,
    open: usize,
    clock: u64,
    current: Option<Current>,
    scratch: String,
}

impl Buckets {
    pub fn new(affixes: Affixes, rolls: Rolls) -> Self {
        Self {
            affixes,
            rolls,
            staging: None,
            block: None,
            by_name: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            clock: 0,
            current: None,
            scratch: String::new(),
        }
    }

    /// Forgets everything; open files are dropped as they are.
    pub fn clear(&mut self) {
        let (affixes, rolls) = (std::mem::take(&mut self.affixes), self.rolls);
        *self = Self { staging: self.staging.take(), ..Self::new(affixes, rolls) };
    }

    /// Files are below this path while they are written.
    pub fn stage_below(&mut self, staging: Option<String>) {
        self.staging = staging;
    }

    /// The bucket of this resolved path and prefix.
    pub fn place(&mut self, path: &str, prefix: &str) -> usize {
        if let Some(current) = &self.current
            && current.path == path
            && current.prefix == prefix
        {
            return current.at;
        }
        tidy(path, &mut self.scratch);
        let name = joined(&self.scratch, prefix);
        let at = match self.by_name.get(&name) {
            Some(at) => *at,
            None => self.add(name, prefix),
        };
        // The one before was used until now.
        for at in self.current.iter().map(|current| current.at).chain([at]) {
            self.clock += 1;
            if let Some(bucket) = self.slots.get_mut(at).and_then(Option::as_mut) {
                bucket.used = self.clock;
                bucket.used_at = Instant::now();
            }
        }
        self.current = Some(Current { path: path.to_string(), prefix: prefix.to_string(), at });
        at
    }

    fn add(&mut self, name: String, prefix: &str) -> usize {
        if self.by_name.len() >= BUCKETS_MAX {
            self.drop_empty(Duration::ZERO);
        }
        let bucket = Bucket {
            counter: Counter::new(&name),
            name: name.clone(),
            directory: self.scratch.clone(),
            prefix: prefix.to_string(),
            open: None,
            used: 0,
            used_at: Instant::now(),
            denied: None,
        };
        let at = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(at) {
            Some(slot) => *slot = Some(bucket),
            None => self.slots.push(Some(bucket)),
        }
        self.by_name.insert(name, at);
        at
    }

    fn bucket(&mut self, at: usize) -> Option<&mut Bucket> {
        self.slots.get_mut(at)?.as_mut()
    }

    /// The next file's names.
    pub fn next_names(&mut self, at: usize) -> Option<Names> {
        let affixes = self.affixes.clone();
        let staging = self.staging.clone();
        let bucket = self.bucket(at)?;
        let last = format!("{}.{}{}", bucket.prefix, bucket.counter.next(), affixes.suffix);
        let in_use = format!("{}{last}{}", affixes.in_use_prefix, affixes.in_use_suffix);
        if let Some(staging) = staging {
            let last = joined(&bucket.directory, &last);
            let in_use = format!("{staging}/{}", last.trim_start_matches('/'));
            return Some(Names::new(in_use, last));
        }
        Some(Names::new(joined(&bucket.directory, &in_use), joined(&bucket.directory, &last)))
    }

    /// Why the bucket's path was refused a moment ago.
    pub fn denied(&mut self, at: usize) -> Option<String> {
        let bucket = self.bucket(at)?;
        bucket.denied.as_ref().filter(|(since, _)| since.elapsed() < DENIED_FOR).map(|(_, why)| why.clone())
    }

    /// Notes that the bucket's path is refused.
    pub fn deny(&mut self, at: usize, why: String) {
        if let Some(bucket) = self.bucket(at) {
            bucket.denied = Some((Instant::now(), why));
        }
    }

    /// The bucket's open file.
    pub fn open(&mut self, at: usize) -> Option<&mut Open> {
        self.bucket(at)?.open.as_mut()
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.open
    }

    /// Gives the bucket a file.
    pub fn put(&mut self, at: usize, open: Open) {
        if let Some(bucket) = self.bucket(at) {
            bucket.denied = None;
            bucket.open = Some(open);
            self.open += 1;
        }
    }

    /// Takes the bucket's file away.
    pub fn take(&mut self, at: usize) -> Option<Open> {
        let open = self.bucket(at)?.open.take()?;
        self.open -= 1;
        Some(open)
    }

    /// Ends the bucket; its file was taken away.
    pub fn remove(&mut self, at: usize) {
        if let Some(bucket) = self.slots.get_mut(at).and_then(Option::take) {
            self.open -= usize::from(bucket.open.is_some());
            self.by_name.remove(&bucket.name);
            self.free.push(at);
            self.current = None;
        }
    }

    /// Says how large the file system's blocks are.
    pub fn blocks_have(&mut self, bytes: Option<u64>) {
        self.block = bytes.filter(|_| self.rolls.at_block);
    }

    /// Whether the bucket's file has had all that it may have, before a body of so many bytes.
    pub fn is_full(&mut self, at: usize, body_bytes: usize) -> bool {
        let (rolls, block) = (self.rolls, self.block);
        self.open(at).is_some_and(|open| {
            open.is_full(rolls)
                || (!open.is_empty() && block.is_some_and(|block| open.length() + body_bytes as u64 > block))
        })
    }

    /// Whether a file has had all that it may have.
    pub fn has_full(&self) -> bool {
        self.files().any(|open| open.is_full(self.rolls))
    }

    /// What a file's writer has failed with.
    pub fn fault(&self) -> Option<&Fault> {
        self.files().find_map(|open| open.hand.fault())
    }

    fn files(&self) -> impl Iterator<Item = &Open> {
        self.slots.iter().flatten().filter_map(|bucket| bucket.open.as_ref())
    }

    /// Whether so many events, of so many bytes together, go to the bucket's file before it is full.
    pub fn has_room(&mut self, at: usize, events: usize, body_bytes: usize) -> bool {
        let Rolls { count, bytes, .. } = self.rolls;
        let block = self.block;
        let newlines = events as u64;
        self.open(at).is_some_and(|open| {
            (count == 0 || open.events + events as u64 <= count)
                && (bytes == 0 || open.body_bytes + (body_bytes as u64) < bytes)
                && block.is_none_or(|block| open.length() + body_bytes as u64 + newlines <= block)
        })
    }

    /// The bucket whose file was looked for the longest ago.
    pub fn eldest(&self) -> Option<usize> {
        let slots = self.slots.iter().enumerate();
        let open = slots.filter_map(|(at, slot)| {
            slot.as_ref().filter(|bucket| bucket.open.is_some()).map(|bucket| (bucket.used, at))
        });
        open.min().map(|(_, at)| at)
    }

    /// Buckets that have an open file.
    pub fn all_open(&self) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.as_ref().is_some_and(|bucket| bucket.open.is_some()))
            .map(|(at, _)| at)
            .collect()
    }

    /// Buckets whose file's time is over; buckets that have had none for a while are forgotten.
    pub fn due(&mut self) -> Vec<usize> {
        self.drop_empty(FORGET_AFTER);
        let Rolls { age, idle, .. } = self.rolls;
        if age.is_none() && idle.is_none() {
            return Vec::new();
        }
        let now = Instant::now();
        let is_due = |open: &mut Open| {
            let idle_since = open.idle_since(now);
            age.is_some_and(|age| now - open.opened >= age)
                || idle.is_some_and(|idle| now - idle_since >= idle)
        };
        let slots = self.slots.iter_mut().enumerate();
        slots
            .filter_map(|(at, slot)| Some((at, slot.as_mut()?.open.as_mut()?)))
            .filter_map(|(at, open)| is_due(open).then_some(at))
            .collect()
    }

    fn drop_empty(&mut self, after: Duration) {
        let empty: Vec<usize> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| {
                slot.as_ref().is_some_and(|bucket| bucket.open.is_none() && bucket.used_at.elapsed() >= after)
            })
            .map(|(at, _)| at)
            .collect();
        empty.into_iter().for_each(|at| self.remove(at));
    }
}

fn joined(directory: &str, name: &str) -> String {
    if directory.ends_with('/') { format!("{directory}{name}") } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn buckets(affixes: Affixes) -> Buckets {
        Buckets::new(affixes, Rolls::default())
    }

    #[test]
    fn names_are_flumes() {
        let mut buckets = buckets(Affixes {
            in_use_prefix: "_".into(),
            in_use_suffix: ".writing".into(),
            suffix: ".log.gz".into(),
        });
        let at = buckets.place("/logs//h1/", "app");
        buckets.bucket(at).expect("a bucket").counter.last().store(1_795_238_037_699, Ordering::Relaxed);
        let names = buckets.next_names(at).expect("names");
        assert_eq!(names.in_use, "/logs/h1/_app.1795238037700.log.gz.writing");
        assert_eq!(names.last, "/logs/h1/app.1795238037700.log.gz");
        assert_eq!(buckets.next_names(at).expect("names").last, "/logs/h1/app.1795238037701.log.gz");
    }

    #[test]
    fn a_path_and_prefix_has_one_bucket_until_it_ends() {
        let mut buckets = buckets(Affixes::default());
        let (one, two) = (buckets.place("/a", "x"), buckets.place("/a", "y"));
        assert_ne!(one, two);
        assert_eq!(buckets.place("/a/", "x"), one, "the same path");
        assert_eq!(buckets.place("/", "x"), 2);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let counter = buckets.bucket(one).expect("a bucket").counter.last().load(Ordering::Relaxed);
        assert!(counter <= now && counter + 60_000 > now, "{counter} {now}");
        buckets.deny(one, "why".into());
        assert_eq!(buckets.denied(one), Some("why".into()));
        buckets.remove(one);
        assert_eq!(buckets.denied(one), None);
        assert_eq!(buckets.place("/a", "z"), one, "the place is used again");
        assert_eq!(buckets.by_name.len(), 3);
    }

    #[test]
    fn buckets_without_a_file_are_bounded() {
        let mut buckets = buckets(Affixes::default());
        for n in 0..=BUCKETS_MAX {
            buckets.place("/a", &n.to_string());
        }
        assert_eq!(buckets.by_name.len(), 1);
    }
}
