//! Gives up, while the log runs, events that cannot be read: the policy [`Quarantine`](crate::DamagePolicy::Quarantine).
//!
//! From the event on that a take stopped at, everything up to the next one that can be read is lost. The damaged places are
//! copied to the quarantine with a note each; only when the copies are durable are the events released, as if they had been
//! delivered. What the disk reports an error for is not given up here: it may come back, and a
//! [`repair`](crate::tools::repair) can be told that it does not.

use std::io;
use std::sync::Arc;

use crate::error::ReadError;
use crate::numbers::SegmentNumber;
use crate::quarantine::{Note, Quarantine};
use crate::read::disk_reader::first_event;
use crate::read::extents::{BadPlace, Bounds, extents};
use crate::segment::file::{self, Opened, path_of};
use crate::shared::Shared;

/// Who writes the notes.
const BY: &str = "log";

/// Events that were set aside.
#[derive(Debug)]
pub struct GivenUp {
    /// The event after the last one.
    pub end: u64,
    /// How many places were copied.
    pub copies: u64,
}

/// Sets aside what `event` and those behind it stood in, up to the next one that can be read. `None` if it can be read after
/// all. Blocks for as long as reading that far takes.
pub fn give_up(shared: &Shared, quarantine: &Quarantine, event: u64) -> Result<Option<GivenUp>, ReadError> {
    let failed = |number: SegmentNumber, source: io::Error| ReadError::Io {
        path: path_of(&*shared.dirs.data, &number.file_name()),
        offset: 0,
        source: Arc::new(source),
    };
    let (log_id, numbers) = {
        let inner = shared.inner.lock();
        let numbers = inner.segments.sealed.keys().copied().chain([inner.segments.active]);
        (inner.log_id, numbers.collect::<Vec<_>>())
    };
    let mut end = shared.readable_end();
    let begins_above =
        |number: &SegmentNumber| first_event(shared, *number).is_some_and(|first| first > event);
    // The last one that begins at or below the event, and those that do not say where they begin.
    let above = numbers.iter().position(begins_above).unwrap_or(numbers.len());
    let known = |number: &SegmentNumber| first_event(shared, *number).is_some();
    let from = numbers[..above].iter().rposition(known).unwrap_or(0);
    let mut places = Vec::new();
    for (i, &number) in numbers.iter().enumerate().skip(from) {
        let next = numbers[i + 1..].iter().find_map(|next| first_event(shared, *next));
        match places_of(shared, number, next.unwrap_or(end)).map_err(|error| failed(number, error))? {
            Segment::Whole(place) => places.extend(place.map(|place| (number, place))),
            Segment::Read { readable, bad } => {
                if readable.iter().any(|(first, end)| (*first..*end).contains(&event)) {
                    return Ok(None);
                }
                places.extend(bad.into_iter().map(|place| (number, place)));
                if let Some((first, _)) = readable.iter().find(|(first, _)| *first > event) {
                    end = *first;
                    break;
                }
            }
        }
    }
    places.retain(|(_, place)| place.events.is_none_or(|(first, last)| first < end && event < last));
    let folder = || shared.dirs.data.path().join(crate::quarantine::FOLDER);
    let aside = |source| ReadError::Io { path: folder(), offset: 0, source: Arc::new(source) };
    let mut open = quarantine.open().map_err(aside)?;
    let copies = places.len() as u64;
    for (number, place) in places {
        let note = Note {
            file: number.file_name(),
            offset: place.offset,
            bytes: place.end.saturating_sub(place.offset),
            what: place.what,
            frames: place.frames,
            events: place.events.or(Some((event, end))),
            log_id: Some(log_id),
            by: BY,
        };
        let file = shared.dirs.data.open(&note.file).map_err(|error| failed(number, error))?;
        open.set_aside(&*file, shared.dirs.data.alignment(), &note).map_err(aside)?;
    }
    open.sync().map_err(aside)?;
    Ok(Some(GivenUp { end, copies }))
}

enum Segment {
    /// Nothing of it can be read; it may be gone.
    Whole(Option<BadPlace>),
    Read {
        readable: Vec<(u64, u64)>,
        bad: Vec<BadPlace>,
    },
}

fn places_of(shared: &Shared, number: SegmentNumber, ceiling: u64) -> io::Result<Segment> {
    let data = &*shared.dirs.data;
    let file = match file::open(data, number) {
        Ok(Opened::Segment(file)) => file,
        Ok(Opened::Spare | Opened::Headerless | Opened::Newer(_)) => {
            let what = "segment header is damaged".to_string();
            let end = data.open(&number.file_name())?.len()?;
            return Ok(Segment::Whole(Some(BadPlace { offset: 0, end, what, frames: None, events: None })));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Segment::Whole(None)),
        Err(error) => return Err(error),
    };
    let summary = shared.inner.lock().segments.sealed.get(&number).copied().flatten();
    let found = extents(&file, Bounds { summary, begins: None, ceiling })?;
    Ok(Segment::Read { readable: found.readable, bad: found.bad })
}
