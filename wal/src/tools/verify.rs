//! Reads every frame and says what is wrong.

use super::ToolError;
use super::survey::{Seen, SlotContent, Survey};
use super::walk::{Finding, Item, Standing, walk};
use crate::directories::Directories;
use crate::error::OpenError;
use crate::format::checkpoint::FILE_NAMES;
use crate::format::codec::Encoding;
use crate::format::keys::MissingKey;
use crate::segment::file::path_of;

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verification {
    /// The log's id.
    pub log_id: Option<u128>,
    /// Segments with frames.
    pub segments: u64,
    /// Intact synced frames.
    pub frames: u64,
    /// Bytes of them, padding included.
    pub bytes: u64,
    /// How many of them are compressed.
    pub compressed: u64,
    /// How many of them are encrypted.
    pub encrypted: u64,
    /// Bytes of their bodies, as they stand in the files.
    pub stored_bytes: u64,
    /// Bytes of their bodies, decompressed.
    pub raw_bytes: u64,
    /// First event of the oldest intact frame, and the event after the last one's.
    pub events: Option<(u64, u64)>,
    /// Frames above the highest claim: on their way, or a tail that a start writes again or cuts.
    pub unvouched: u64,
    /// All frames up to this number were synced.
    pub claim: u64,
    /// What is damaged. Empty is a clean log.
    pub damage: Vec<Finding>,
    /// What is not as it was written and costs nothing.
    pub notes: Vec<Finding>,
}

/// Verifies a log without opening it. A commit that spans several frames is joined in memory.
pub fn verify(dirs: &Directories) -> Result<Verification, ToolError> {
    let survey = Survey::of(dirs)?;
    refuse_unreadable(&survey)?;
    let mut report =
        Verification { log_id: survey.log_id(), claim: survey.claim.0, ..Verification::default() };
    if let Err(error) = &survey.recovered {
        report.damage.push(Finding {
            path: dirs.data.path().to_path_buf(),
            offset: 0,
            what: format!("a start would be refused: {error}"),
            frames: None,
            events: None,
        });
    }
    let note = |report: &mut Verification, dir: &dyn crate::storage::Directory, name: &str, what: String| {
        let path = path_of(dir, name);
        report.notes.push(Finding { path, offset: 0, what, frames: None, events: None });
    };
    for segment in survey.segments.iter().filter(|segment| segment.copies == 1) {
        if matches!(segment.seen, Seen::Segment(_)) {
            let what = "one of the header's two copies does not verify; the other is enough".to_string();
            note(&mut report, &*dirs.data, &segment.number.file_name(), what);
        }
    }
    for (slot, name) in survey.slots.iter().zip(FILE_NAMES) {
        let what = match slot {
            SlotContent::Bad(error) => error.to_string(),
            SlotContent::Unreadable(error) => error.to_string(),
            SlotContent::Sound(..) | SlotContent::Missing | SlotContent::Empty => continue,
        };
        note(&mut report, &*dirs.checkpoint, name, format!("{what}; the log does not need it"));
    }
    let mut alignment = 0;
    walk(dirs, &survey, &mut |item| match item {
        Item::Segment(file) => {
            report.segments += 1;
            alignment = file.header.alignment;
        }
        Item::Frame { place: _, header, standing: Standing::Synced, body: _ } => {
            report.frames += 1;
            report.bytes += header.padded_len(alignment);
            report.compressed += u64::from(header.encoding != Encoding::Plain);
            report.encrypted += u64::from(header.encrypted);
            report.stored_bytes += u64::from(header.stored_len);
            report.raw_bytes += u64::from(header.raw_len);
            let (first, _) = *report.events.get_or_insert((header.first_event, 0));
            report.events = Some((first, header.end_event()));
        }
        Item::Frame { standing: Standing::Unvouched, .. } => report.unvouched += 1,
        Item::Frame { standing: Standing::BodyBad, .. } | Item::Span { .. } => {}
        Item::Damage(finding) if costs_nothing(&survey, &finding) => {
            let what = format!("{}; its events are delivered or given up", finding.what);
            report.notes.push(Finding { what, ..finding });
        }
        Item::Damage(finding) => report.damage.push(finding),
    });
    Ok(report)
}

/// Whether all that a place held is released, or was taken over by a later life: what a repair leaves behind.
fn costs_nothing(survey: &Survey, finding: &Finding) -> bool {
    let Ok(recovered) = &survey.recovered else { return false };
    match (finding.events, finding.frames) {
        (Some((first, Some(end))), _) => recovered.state.cursor.unreleased_from(first).0 >= end,
        (None, Some((_, last))) => last < survey.life.0,
        (Some((_, None)) | None, _) => false,
    }
}

/// Bytes of a newer version mean something that this one does not know, and so do those whose key is not given.
pub(super) fn refuse_unreadable(survey: &Survey) -> Result<(), ToolError> {
    match &survey.recovered {
        Err(OpenError::Io { path, source, .. }) => match MissingKey::of(source) {
            Some(missing) => Err(ToolError::Locked { path: path.clone(), missing: missing.clone() }),
            None => Ok(()),
        },
        Err(OpenError::Newer { path, reason }) => {
            Err(ToolError::Newer { path: path.clone(), reason: reason.clone() })
        }
        _ => Ok(()),
    }
}
