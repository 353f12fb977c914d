//! Goes through the frames behind the start's place in the order of their numbers, decides each by the [table](super::table),
//! and applies what is kept.

use std::collections::BTreeMap;

use super::lost::{self, Lost, hold_lost, hold_segment};
use super::scan::scan;
use super::span;
use super::table::{Action, Found, decide};
use super::{Known, Recovered, Start, Unvouched, scan_error};
use crate::error::{Damage, OpenError};
use crate::format::record::{Record, SegmentSummary};
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::segment::file::SegmentFile;
use crate::state::State;
use crate::storage::Directory;

/// Scans from `start` on, decides every frame number, and applies what is kept.
pub(super) fn walk(
    data: &dyn Directory,
    recovered: &mut Recovered,
    start: Start,
    files: Vec<SegmentFile>,
    known: Known,
) -> Result<(), OpenError> {
    let mut found = Vec::new();
    let mut evidence = start.evidence.max(known.synced_frame);
    let nowhere = start.place == Place::default();
    for file in files.iter().filter(|file| !nowhere && file.number() >= start.place.segment) {
        let own = file.number() == start.place.segment;
        let offset = if own { start.place.offset } else { file.header.data_offset() };
        let name = file.number().file_name();
        let scan = scan(file, offset).map_err(|error| scan_error(data, &name, error))?;
        evidence = evidence.max(scan.highest_claim);
        found.extend(scan.frames.into_iter().map(|frame| (file.clone(), frame)));
    }
    found.retain(|(_, frame)| frame.header.frame > start.frame);
    found.sort_by_key(|(_, frame)| frame.header.frame);
    let evidence = span::settle(&found, evidence);
    let whole = span::find_whole(&found, evidence);

    let start_segment = start.place.segment;
    recovered.state = start.state;
    recovered.next_event = start.next_event;
    recovered.last_kept = start.frame;
    recovered.last_seen = recovered.last_seen.max(start.frame);
    let mut summaries: BTreeMap<SegmentNumber, SegmentSummary> =
        start.segments.into_iter().map(|summary| (summary.segment, summary)).collect();
    let own = files.iter().find(|file| file.number() == start.place.segment);
    if let Some(own) = own {
        let summary = SegmentSummary {
            segment: start.place.segment,
            salt: own.header.salt,
            first_frame: start.first_frame,
            last_frame: start.frame,
            first_event: start.first_event,
            end_event: start.next_event,
            end_offset: start.place.offset,
        };
        summaries.insert(start.place.segment, summary);
    }
    let mut expected = start.frame.next();
    let mut end = start.place;
    if let (None, false, Some((file, frame))) = (own, nowhere, found.first()) {
        // The segments between an old checkpoint and what is left were used again, as far as anybody knows.
        let lost = u64::from(lost::begins_lost(file, frame));
        expected = FrameNumber(frame.header.frame.0.saturating_sub(lost));
        end = Place { segment: file.number(), offset: file.header.data_offset() };
    }
    let mut hole = false;
    let mut spans = span::Passed::behind(start.frame);
    let mut kept_files: Vec<SegmentFile> = own.cloned().into_iter().collect();
    let mut cut_at = None;
    for (i, (file, frame)) in found.into_iter().enumerate() {
        let header = frame.header;
        recovered.last_seen = recovered.last_seen.max(header.frame);
        // What no frame before this one holds was given to frames from here on.
        let lost = Lost { first_frame: expected, first_event: recovered.next_event };
        if expected < header.frame {
            missing(recovered, end, expected, FrameNumber(header.frame.0 - 1), evidence, &mut hole);
        }
        // Whether frames that are missing before this one were synced. Behind them others may be missing that were not: their
        // events' numbers are held as well, for nobody can say where the synced ones ended.
        let lost_synced = expected < header.frame && expected <= evidence;
        expected = header.frame.next();
        let place = Place { segment: file.number(), offset: frame.offset };
        let behind = frame.offset + header.padded_len(file.header.alignment);
        end = Place { offset: behind, ..place };
        spans.pass(&frame);
        match decide(frame.found(), header.frame <= evidence, hole, whole[i] || !header.is_span()) {
            action @ (Action::Keep | Action::Damage) => {
                hold_lost(recovered, &mut summaries, &files, (&file, &frame), lost);
                let begins = Lost { first_frame: header.frame, first_event: header.first_event };
                let begins = if lost::begins_lost(&file, &frame) { lost } else { begins };
                if action == Action::Damage {
                    recovered.damage.push(Damage {
                        place,
                        first_frame: header.frame.0,
                        last_frame: header.frame.0,
                        what: frame.wrong.unwrap_or("no frame where one was synced"),
                    });
                } else {
                    let controls = spans.controls(data, &file, frame)?;
                    apply(&mut recovered.state, &controls);
                }
                recovered.next_event = recovered.next_event.max(header.end_event());
                recovered.last_kept = header.frame;
                let summary = summaries.entry(file.number()).or_insert_with(|| begins.summary(&file));
                summary.last_frame = header.frame;
                summary.end_event = recovered.next_event;
                summary.end_offset = behind;
                if kept_files.last().is_none_or(|last| last.number() != file.number()) {
                    kept_files.push(file);
                }
            }
            Action::Rewrite => {
                if recovered.unvouched.is_empty() {
                    hold_lost(recovered, &mut summaries, &files, (&file, &frame), lost);
                    if lost_synced {
                        hold_segment(&mut summaries, &mut kept_files, (&file, &frame), lost);
                    }
                }
                let offset = frame.offset;
                let controls = spans.controls(data, &file, frame)?;
                recovered.unvouched.push(Unvouched { file, offset, header, controls });
            }
            Action::Cut => {
                // What is left of a commit that was acked and is damaged says nothing of the frames behind it.
                hole |= header.frame > evidence;
                recovered.cut += 1;
                // Where the frames before it were synced and are lost, its header tells which events they had.
                if lost_synced {
                    hold_lost(recovered, &mut summaries, &files, (&file, &frame), lost);
                    hold_segment(&mut summaries, &mut kept_files, (&file, &frame), lost);
                }
                cut_at.get_or_insert(place);
            }
            Action::Refuse => unreachable!("a read error ended the scan"),
        }
    }
    if expected <= evidence {
        missing(recovered, end, expected, evidence, evidence, &mut hole);
    }
    recovered.last_seen = recovered.last_seen.max(evidence);
    if let Some(last) = kept_files.last() {
        let rest = Place { segment: last.number(), offset: last.len };
        let until = cut_at.filter(|at: &Place| at.segment == rest.segment).unwrap_or(rest);
        let synced = (evidence, known.synced_event);
        lost::hold_known(recovered, &mut summaries, synced, until);
    }
    recovered.next_event = recovered.next_event.max(known.synced_event);
    // A segment has its blocks before it has its name, and only a later life cuts its rest off: what is shorter now, and has no
    // frames above it, was cut by somebody else, perhaps with frames that nothing is left to speak of.
    let newest = kept_files.last().map_or(start_segment, SegmentFile::number);
    for file in files.iter().filter(|file| file.number() >= newest && file.len < file.header.size) {
        recovered.damage.push(Damage {
            place: Place { segment: file.number(), offset: file.len },
            first_frame: recovered.last_seen.next().0,
            last_frame: recovered.last_seen.next().0,
            what: "the file is shorter than it was made",
        });
    }
    for number in files.iter().map(SegmentFile::number).filter(|number| !summaries.contains_key(number)) {
        match recovered.unvouched.iter().any(|unvouched| unvouched.file.number() == number) {
            true => recovered.emptied.push(number),
            false => recovered.empty.push(number),
        }
    }
    // Behind a damaged first frame the first one that is left may be one that is written again, or cut: a table that names it
    // and not the last kept one before it is refused by the next start.
    let ends_behind_its_begin = |summary: SegmentSummary| SegmentSummary {
        first_frame: summary.first_frame.min(summary.last_frame),
        ..summary
    };
    recovered.segments = summaries.into_values().map(ends_behind_its_begin).collect();
    recovered.last_segment = kept_files.pop();
    Ok(())
}

/// Frame numbers `first..=last` stand nowhere: damage as far as evidence reaches, a hole beyond it.
fn missing(
    recovered: &mut Recovered,
    place: Place,
    first: FrameNumber,
    last: FrameNumber,
    evidence: FrameNumber,
    hole: &mut bool,
) {
    if decide(Found::Nothing, first <= evidence, *hole, false) == Action::Damage {
        recovered.damage.push(Damage {
            place,
            first_frame: first.0,
            last_frame: last.min(evidence).0,
            what: "no frame where one was synced",
        });
    }
    if decide(Found::Nothing, last <= evidence, *hole, false) == Action::Cut {
        *hole = true;
    }
}

/// Applies records that are not events.
pub fn apply(state: &mut State, controls: &[Record<'static>]) {
    for control in controls {
        match control {
            Record::Release(ranges) => {
                ranges.iter().for_each(|&(first, end)| state.apply_release(first, end))
            }
            Record::Progress(update) => state.apply_progress(update),
            // A snapshot repeats the state that the frames before it built; behind damage it knows more.
            Record::Snapshot(snapshot) => *state = snapshot.state.clone(),
            Record::Commit { .. } | Record::Life(_) | Record::Close(_) => {}
        }
    }
}
