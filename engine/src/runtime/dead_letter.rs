//! Where events go that a destination refuses for good.
//!
//! ```text
//!   deliver ──refused: 3, 7──> events 3 and 7, with the reason in their headers
//!                                 │ channel: put, and the ticket awaited      file: a line of JSON each, synced
//!                                 v
//!                              the delivery counts as one without an error
//! ```
//!
//! They are durable there before the take is released, so a kill in between makes them come twice, and never lose. When
//! the dead letter itself cannot take them, the sink waits and tries again until it can, or until it is stopped: to give
//! the take back instead would deliver its other events again with each try. An event that its channel can never take, for
//! it is larger than the channel's largest (with the three headers, perhaps), goes to a file.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError};
use flumen_api::chunk::Events;
use flumen_api::event::Headers;

use super::put::space;

/// Headers that a refused event gets: why, by which sink, when (milliseconds since 1970).
const REASON: &str = "deadLetter.reason";
const SINK: &str = "deadLetter.sink";
const TIME: &str = "deadLetter.time";

/// A reason is somebody else's text: no longer than this many bytes of it are kept.
const REASON_MAX: usize = 1024;

/// One sink's dead letter.
pub(super) enum DeadLetter {
    Channel {
        channel: Arc<dyn Channel>,
        /// The file for what the channel can never take.
        beyond: Option<PathBuf>,
    },
    File(PathBuf),
}

impl DeadLetter {
    /// Takes in the events whose indexes are `left`, which become fewer as events are durable; none is left when it returns.
    pub async fn take_in(
        &self,
        events: &Events,
        left: &mut &[u32],
        reason: &str,
        sink: &str,
    ) -> Result<(), String> {
        let mut batches = VecDeque::from(marked(events, left, reason, sink, self.events_at_once()));
        while let Some(batch) = batches.pop_front() {
            match self {
                Self::File(path) => append(path, &batch).map_err(|error| cannot(path, &error))?,
                Self::Channel { channel, beyond } => match put(channel.as_ref(), &batch, sink).await {
                    Ok(()) => {}
                    Err(PutError::TooLarge { .. }) if batch.len() > 1 => {
                        (0..batch.len()).rev().for_each(|i| batches.push_front(alone(&batch, i)));
                        continue;
                    }
                    Err(error @ PutError::TooLarge { .. }) => {
                        let Some(path) = beyond else {
                            return Err(format!(
                                "the dead letter can never take one of them, and `deadLetter.file` is not set: {error}"
                            ));
                        };
                        append_beyond(path, &batch).map_err(|error| cannot(path, &error))?;
                        tracing::error!(
                            sink,
                            %error,
                            "an event was refused and can never go to the dead letter's channel: it is in {}",
                            path.display()
                        );
                    }
                    Err(error) => return Err(format!("the dead letter cannot take them: {error}")),
                },
            }
            *left = left.get(batch.len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn events_at_once(&self) -> usize {
        match self {
            Self::Channel { channel, .. } => channel.limits().transaction_capacity.max(1),
            Self::File(_) => usize::MAX,
        }
    }
}

/// The refused events with their headers, at most `at_once` to a batch.
fn marked(events: &Events, refused: &[u32], reason: &str, sink: &str, at_once: usize) -> Vec<Batch> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let mut wanted = refused.iter().copied().peekable();
    let mut batches: Vec<Batch> = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if wanted.next_if_eq(&(i as u32)).is_none() {
            continue;
        }
        let mut headers = Headers::clone(event.headers);
        headers.set(REASON, shortened(reason));
        headers.set(SINK, sink);
        headers.set(TIME, now.as_str());
        // A batch counts its bytes in 32 bits: an event that does not fit begins the next.
        let fits = |batch: &&mut Batch| batch.len() < at_once && batch.room() >= event.body.len();
        match batches.last_mut().filter(fits) {
            Some(batch) => {
                let set = batch.add_headers(headers);
                batch.push_with(event.body, set);
            }
            None => {
                let mut batch = Batch::new();
                let set = batch.add_headers(headers);
                batch.push_with(event.body, set);
                batches.push(batch);
            }
        }
    }
    batches
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// One event of a batch.
fn alone(batch: &Batch, i: usize) -> Batch {
    let event = batch.event(i);
    let mut alone = Batch::new();
    let set = alone.add_headers(Headers::clone(event.headers));
    alone.push_with(event.body, set);
    alone
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("the dead letter {} cannot take them: {error}", path.display())
}

async fn put(channel: &dyn Channel, batch: &Batch, sink: &str) -> Result<(), PutError> {
    let room = channel.reserve(space(batch, None)).await?;
    channel.append(room, Put { source: sink, batch, selection: None })?.await
}

/// The same as [`append`], in a directory that is made when it is needed for the first time.
fn append_beyond(path: &Path, batch: &Batch) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    append(path, batch)
}

/// Appends a line of JSON for each event, and syncs.
fn append(path: &Path, batch: &Batch) -> io::Result<()> {
    let created = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut lines = Vec::new();
    if !ends_in_newline(&mut file)? {
        // Half a line of an agent that was killed.
        lines.push(b'\n');
    }
    for event in batch.iter() {
        let headers: serde_json::Map<_, _> =
            event.headers.iter().map(|(key, value)| (key.to_string(), value.into())).collect();
        let (key, body) = match std::str::from_utf8(event.body) {
            Ok(text) => ("body", Cow::Borrowed(text)),
            Err(_) => ("bodyBase64", base64::engine::general_purpose::STANDARD.encode(event.body).into()),
        };
        let line = serde_json::json!({ "headers": headers, key: body });
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    file.write_all(&lines)?;
    file.sync_data()?;
    if created {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bodies: &[&[u8]]) -> Events {
        let mut batch = Batch::new();
        let set = batch.add_headers(Headers::from_iter([("k", "v")]));
        for body in bodies {
            batch.push_with(body, set);
        }
        Events::from_batch(&batch)
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn a_file_gets_a_line_for_each_refused_event_with_the_reason() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dead.json");
        let letter = DeadLetter::File(path.clone());
        let events = events(&[b"one", b"two \"\n", b"three", b"\xff\x00"]);
        letter.take_in(&events, &mut &[1, 3][..], "no such topic", "k1").await.expect("taken in");
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["body"], "two \"\n");
        assert_eq!(lines[1]["bodyBase64"], "/wA=");
        let headers = &lines[0]["headers"];
        assert_eq!(
            (&headers["k"], &headers[REASON], &headers[SINK]),
            (&"v".into(), &"no such topic".into(), &"k1".into())
        );
        assert!(headers[TIME].as_str().expect("text").parse::<u64>().expect("a number") > 1_600_000_000_000);
    }

    #[tokio::test]
    async fn half_a_line_of_a_killed_agent_spoils_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dead.json");
        let letter = DeadLetter::File(path.clone());
        letter.take_in(&events(&[b"one"]), &mut &[0][..], "why", "k1").await.expect("taken in");
        let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
        file.write_all(b"{\"headers\":{\"k").expect("written");
        letter.take_in(&events(&[b"two"]), &mut &[0][..], "why", "k1").await.expect("taken in");
        let text = std::fs::read_to_string(&path).expect("a file");
        let whole: Vec<_> =
            text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).collect();
        assert_eq!(whole.iter().map(|line| line["body"].clone()).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_letter() {
        let long = "é".repeat(REASON_MAX);
        assert_eq!(shortened(&format!("x{long}")).len(), REASON_MAX - 1);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn no_batch_is_larger_than_the_channel_takes() {
        let events = events(&[b"1", b"2", b"3", b"4", b"5"]);
        let batches = marked(&events, &[0, 1, 2, 4], "why", "k1", 3);
        let bodies: Vec<Vec<&[u8]>> =
            batches.iter().map(|batch| batch.iter().map(|event| event.body).collect()).collect();
        assert_eq!(bodies, [vec![b"1".as_slice(), b"2", b"3"], vec![b"5"]]);
    }
}
