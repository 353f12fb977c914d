//! Goes through all frames of a log in order and judges each by what others say of it.
//!
//! A frame must be there and intact if its number is not above the claim. Where a segment's valid part ends, and which
//! frame is its last, is said by the table in a later segment's snapshot; bytes behind that are another life's and mean
//! nothing. Frame numbers are dense within a segment, and so are event numbers over all segments that are left.

use std::path::PathBuf;

use super::survey::{Seen, Survey, Surveyed};
use crate::directories::Directories;
use crate::format::codec::{self, Unread};
use crate::format::frame::{FrameHeader, Seed};
use crate::format::record::{Record, Records};
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::read::extents::Blocks;
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::storage::Directory;

/// Something that is wrong, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// First and last frame number that is concerned, if known.
    pub frames: Option<(u64, u64)>,
    /// First event that cannot be read, and the event after the last one if that is known.
    pub events: Option<(u64, Option<u64>)>,
}

/// How a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Synced.
    Synced,
    /// Above the highest claim: it may be on its way, and a start would write it again.
    Unvouched,
    /// Its body fails its checksum, does not decompress, or its key is not given.
    BodyBad,
}

/// What is met on the way.
pub enum Item<'a> {
    /// A segment begins.
    Segment(&'a SegmentFile),
    /// A frame whose header verifies; the body, decompressed, is empty if it is bad.
    Frame { place: Place, header: FrameHeader, standing: Standing, body: &'a [u8] },
    /// Behind the last frame of a span whose frames are all intact: their joined bodies.
    Span { header: FrameHeader, body: &'a [u8] },
    /// Something is wrong.
    Damage(Finding),
}

/// The frame before.
#[derive(Clone, Copy)]
struct Previous {
    frame: FrameNumber,
    /// `None` where it was not read.
    crc: Option<u32>,
    end_event: u64,
    /// Where it ends.
    place: Place,
}

struct Walk<'a> {
    data: &'a dyn Directory,
    survey: &'a Survey,
    previous: Option<Previous>,
    /// Event number at which the last segment that was read ended; `None` if that is not known.
    end_event: Option<u64>,
    span: Option<Span>,
    /// By the table, the segment that was read last and the next one may both have held some events.
    overlaps: bool,
    /// Findings of the segment that is read: they count only if it is the same segment afterwards.
    findings: Vec<Finding>,
}

struct Span {
    first_event: u64,
    body: Vec<u8>,
    bad: Option<Finding>,
}

/// Visits everything, oldest first.
pub fn walk(dirs: &Directories, survey: &Survey, visit: &mut dyn FnMut(Item<'_>)) {
    let mut walk = Walk {
        data: &*dirs.data,
        survey,
        previous: None,
        end_event: None,
        span: None,
        overlaps: false,
        findings: Vec::new(),
    };
    walk.low_end();
    walk.report(None, visit);
    for segment in &survey.segments {
        walk.surveyed(segment, visit);
    }
    walk.tail_end();
    walk.report(None, visit);
}

impl Walk<'_> {
    fn path(&self, number: SegmentNumber) -> PathBuf {
        path_of(self.data, &number.file_name())
    }

    /// Hands over what was found, unless the segment was used anew while it was read.
    fn report(&mut self, read: Option<&SegmentFile>, visit: &mut dyn FnMut(Item<'_>)) {
        if let Some(read) = read.filter(|_| !self.findings.is_empty()) {
            let same = matches!(file::open(self.data, read.number()), Ok(Opened::Segment(now)) if now.header == read.header);
            if !same {
                self.findings.clear();
                self.previous = None;
                self.end_event = None;
            }
        }
        self.findings.drain(..).for_each(|finding| visit(Item::Damage(finding)));
    }

    /// Segments that are gone although their events were not released.
    fn low_end(&mut self) {
        let Ok(recovered) = &self.survey.recovered else { return };
        let mut state = recovered.state.clone();
        for unvouched in &recovered.unvouched {
            crate::recovery::apply(&mut state, &unvouched.controls);
        }
        if let Some(end) = recovered.missing_below.filter(|end| state.cursor.low <= *end) {
            self.findings.push(Finding {
                path: self.data.path().to_path_buf(),
                offset: 0,
                what: format!(
                    "the oldest segments are missing; the events below {end} were not all released"
                ),
                frames: None,
                events: None,
            });
        }
    }

    fn surveyed(&mut self, segment: &Surveyed, visit: &mut dyn FnMut(Item<'_>)) {
        let tail = Some(segment.number) >= self.survey.top;
        let file = match &segment.seen {
            Seen::Segment(file) => file,
            Seen::Mismatch | Seen::Newer(_) => return,
            Seen::Headerless | Seen::Unreadable(_) => {
                // Above the newest snapshot it was being prepared.
                if !tail || self.survey.top.is_none() {
                    let what = match &segment.seen {
                        Seen::Unreadable(error) => format!("the segment cannot be read: {error}"),
                        _ => "neither copy of the segment's header verifies".to_string(),
                    };
                    let summary = self.survey.summaries.get(&segment.number);
                    self.findings.push(Finding {
                        path: self.path(segment.number),
                        offset: 0,
                        what,
                        frames: summary.map(|s| (s.first_frame.0, s.last_frame.0)),
                        events: summary.map(|s| (s.first_event, Some(s.end_event))),
                    });
                    self.previous = None;
                    self.end_event = summary.map(|summary| summary.end_event);
                }
                self.report(None, visit);
                return;
            }
        };
        self.segment(segment, file, tail, visit);
        self.report(Some(file), visit);
    }

    fn segment(
        &mut self,
        surveyed: &Surveyed,
        file: &SegmentFile,
        tail: bool,
        visit: &mut dyn FnMut(Item<'_>),
    ) {
        let summary = self.survey.summary(file).copied();
        let beginning = Place { segment: file.number(), offset: file.header.data_offset() };
        // What the first frame must be.
        let begins = summary.map(|s| (s.first_frame, s.first_event)).or(surveyed.first);
        if begins.is_none() && self.end_event.is_none() {
            // Only a checkpoint speaks of it, and the frames before the checkpoint's place may be gone.
            self.end_event = self.told_by_start(file.number());
        }
        if let Some((frame, event)) = begins {
            let follows = self.previous.is_some_and(|previous| previous.frame.next() == frame);
            if let Some(end) = self.end_event.filter(|end| *end < event) {
                self.findings.push(Finding {
                    path: self.path(file.number()),
                    offset: 0,
                    what: "no segment holds the events before this one's".to_string(),
                    frames: None,
                    events: Some((end, Some(event))),
                });
            }
            let known = self.previous.filter(|_| follows);
            let begins = Previous {
                frame: FrameNumber(frame.0.saturating_sub(1)),
                crc: known.and_then(|previous| previous.crc),
                end_event: event,
                place: beginning,
            };
            // Of events that were lost around the segment's begin some may have been put right in the one below.
            let further = self.previous.filter(|previous| self.overlaps && begins.frame < previous.frame);
            self.previous = further.or(Some(begins));
        }
        let mut announced = false;
        let alignment = u64::from(file.header.alignment);
        // A table's end counts for sealed segments; the newest one goes on.
        let sealed = summary.filter(|_| !tail);
        let end = sealed.map_or(file.len, |summary| summary.end_offset.min(file.len));
        let last = sealed.map_or(FrameNumber(u64::MAX), |summary| summary.last_frame);
        let mut blocks = Blocks::new(file);
        let mut offset = beginning.offset;
        let mut gap: Option<(u64, String)> = None;
        while offset + alignment <= end {
            let place = Place { segment: file.number(), offset };
            let seed = Seed::new(file.header.salt, file.number(), offset);
            let decoded = match blocks.get(offset, alignment as usize) {
                Ok(block) => FrameHeader::decode(block, seed).map_err(|error| error.what.to_string()),
                Err(error) => Err(format!("cannot be read: {error}")),
            };
            let (header, crc) = match decoded {
                Ok(decoded) => decoded,
                Err(what) => {
                    gap.get_or_insert((offset, what));
                    offset += alignment;
                    continue;
                }
            };
            if header.frame > last {
                break;
            }
            if !announced {
                announced = true;
                visit(Item::Segment(file));
            }
            let vouched = header.frame <= self.survey.claim;
            // What is left of a span behind a gap may look like a list of records.
            let room = gap.as_ref().map_or(0, |(gap, _)| offset - gap);
            let begins = header.begins_span(room, file.header.alignment);
            if vouched {
                self.follow(place, &header, gap.take());
            }
            let padded = header.padded_len(file.header.alignment);
            let body = match blocks.get(offset, padded as usize) {
                Ok(bytes) => codec::read(&header, seed, bytes, &file.keys).map_err(|error| match error {
                    Unread::Bad(error) => error.what.to_string(),
                    locked @ Unread::Locked(_) => locked.to_string(),
                }),
                Err(error) => Err(format!("frame body cannot be read: {error}")),
            };
            let standing = match (vouched, &body) {
                (true, Ok(_)) => Standing::Synced,
                (_, Err(_)) => Standing::BodyBad,
                (false, Ok(_)) => Standing::Unvouched,
            };
            visit(Item::Frame { place, header, standing, body: body.as_deref().unwrap_or_default() });
            if vouched {
                let damage = match &body {
                    Ok(body) => wrong_records(&header, body),
                    Err(what) => Some(what.clone()),
                };
                self.judge(place, (&header, begins), body.as_deref().ok(), damage, visit);
                self.previous = Some(Previous {
                    frame: header.frame,
                    crc: Some(crc),
                    end_event: header.end_event(),
                    place: Place { offset: offset + padded, ..place },
                });
                self.end_event = Some(header.end_event());
            }
            offset += padded;
        }
        self.overlaps = sealed.is_some_and(|summary| self.survey.overlaps_the_next(&summary));
        if self.overlaps {
            // Which of the two segments held what is lost nobody knows: it is told once, in the next one.
            self.end_event = self.previous.map(|previous| previous.end_event);
        } else if let Some(summary) = sealed {
            // What a running log sealed since is not judged.
            let last = summary.last_frame.min(self.survey.claim);
            if let Some(previous) = self.previous.filter(|previous| previous.frame < last) {
                let what = gap.map_or_else(|| "the file ends too early".to_string(), |(_, what)| what);
                self.missing(previous, summary.last_frame, Some(summary.end_event), what);
                self.previous = None;
            }
            self.end_event = Some(summary.end_event);
        }
    }

    /// The first event of a segment of which no table and no first frame is left, as a start tells it.
    fn told_by_start(&self, segment: SegmentNumber) -> Option<u64> {
        let recovered = self.survey.recovered.as_ref().ok()?;
        let summary = recovered.segments.iter().find(|summary| summary.segment == segment)?;
        Some(summary.first_event)
    }

    /// Whether a frame continues what was before it.
    fn follow(&mut self, place: Place, header: &FrameHeader, gap: Option<(u64, String)>) {
        let (offset, what) = gap.unwrap_or_else(|| (place.offset, "frames are missing".to_string()));
        let Some(previous) = self.previous else {
            // Which frames are missing nobody knows; events are dense over all segments.
            if let Some(end) = self.end_event.filter(|end| *end < header.first_event) {
                self.findings.push(Finding {
                    path: self.path(place.segment),
                    offset,
                    what,
                    frames: None,
                    events: Some((end, Some(header.first_event))),
                });
                self.span = None;
            }
            return;
        };
        if header.frame > previous.frame.next() {
            // A life begins above every number that was seen before it.
            if header.previous_crc != 0 || header.first_event != previous.end_event {
                let previous = Previous { place: Place { offset, ..place }, ..previous };
                self.missing(previous, FrameNumber(header.frame.0 - 1), Some(header.first_event), what);
                self.span = None;
            }
            return;
        }
        if header.first_event > previous.end_event {
            let events = Some((previous.end_event, Some(header.first_event)));
            let path = self.path(place.segment);
            self.findings.push(Finding { path, offset, what, frames: None, events });
            self.span = None;
            return;
        }
        let what = if header.frame < previous.frame.next() {
            "the frame's number is not above that of the frame before it"
        } else if previous.crc.is_some_and(|crc| crc != header.previous_crc) && header.previous_crc != 0 {
            "the frame names another checksum than that of the frame before it"
        } else if header.first_event != previous.end_event {
            "the frame's first event does not follow the frame before it"
        } else {
            return;
        };
        self.findings.push(Finding {
            path: self.path(place.segment),
            offset: place.offset,
            what: what.to_string(),
            frames: Some((header.frame.0, header.frame.0)),
            events: None,
        });
    }

    fn missing(&mut self, previous: Previous, last: FrameNumber, end_event: Option<u64>, what: String) {
        let lost = end_event.is_none_or(|end| end > previous.end_event);
        self.findings.push(Finding {
            path: self.path(previous.place.segment),
            offset: previous.place.offset,
            what,
            frames: Some((previous.frame.0 + 1, last.0)),
            events: lost.then_some((previous.end_event, end_event)),
        });
    }

    /// Takes damage of a frame down; that of a span when its last frame tells which events are lost.
    fn judge(
        &mut self,
        place: Place,
        (header, begins): (&FrameHeader, bool),
        body: Option<&[u8]>,
        damage: Option<String>,
        visit: &mut dyn FnMut(Item<'_>),
    ) {
        let finding = damage.map(|what| Finding {
            path: self.path(place.segment),
            offset: place.offset,
            what,
            frames: Some((header.frame.0, header.frame.0)),
            events: (header.event_count > 0).then_some((header.first_event, Some(header.end_event()))),
        });
        if !header.is_span() {
            self.span = None;
            self.findings.extend(finding);
            return;
        }
        let continues = self.span.as_ref().is_some_and(|span| span.first_event == header.first_event);
        if !continues {
            let bad = (!begins).then(|| Finding {
                path: self.path(place.segment),
                offset: place.offset,
                what: "a commit over several frames lacks its beginning".to_string(),
                frames: Some((header.frame.0, header.frame.0)),
                events: None,
            });
            self.span = Some(Span { first_event: header.first_event, body: Vec::new(), bad });
        }
        let span = self.span.as_mut().expect("made above");
        span.body.extend_from_slice(body.unwrap_or_default());
        span.bad = span.bad.take().or(finding);
        if header.has_more() {
            return;
        }
        let Some(Span { body, bad, .. }) = self.span.take() else { return };
        match bad {
            Some(bad) => {
                let events = Some((header.first_event, Some(header.end_event())));
                self.findings.push(Finding { events, ..bad });
            }
            None => {
                if let Some(what) = wrong_list(header.event_count, &body) {
                    self.findings.push(Finding {
                        path: self.path(place.segment),
                        offset: place.offset,
                        what,
                        frames: Some((header.frame.0, header.frame.0)),
                        events: Some((header.first_event, Some(header.end_event()))),
                    });
                }
                visit(Item::Span { header: *header, body: &body });
            }
        }
    }

    /// Frames up to the claim that stand nowhere.
    fn tail_end(&mut self) {
        let Some(previous) = self.previous.filter(|previous| previous.frame < self.survey.claim) else {
            return;
        };
        let what = "no frame where one was synced".to_string();
        self.missing(previous, self.survey.claim, None, what);
    }
}

/// What is wrong with a verified frame's records.
fn wrong_records(header: &FrameHeader, body: &[u8]) -> Option<String> {
    if header.is_span() { None } else { wrong_list(header.event_count, body) }
}

fn wrong_list(event_count: u32, body: &[u8]) -> Option<String> {
    let mut events = 0u64;
    for record in Records::new(body) {
        match record {
            Ok(Record::Commit { events: more, .. }) => events += u64::from(more),
            Ok(_) => {}
            Err(error) => return Some(format!("record list: {error}")),
        }
    }
    (events != u64::from(event_count))
        .then(|| format!("the frame's commits hold {events} events, its header says {event_count}"))
}
