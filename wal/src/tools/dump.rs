//! Every frame and record, one after another.

use super::ToolError;
use super::survey::Survey;
use super::verify::refuse_unreadable;
use super::walk::{Finding, Item, Standing, walk};
use crate::directories::Directories;
use crate::format::frame::FrameHeader;
use crate::format::record::{Record, Records};
use crate::format::segment::SegmentHeader;
use crate::numbers::Place;

/// One thing that a dump shows.
#[derive(Debug)]
pub enum Line<'a> {
    /// A segment begins.
    Segment {
        /// Its header.
        header: &'a SegmentHeader,
        /// The file's length.
        len: u64,
    },
    /// A frame.
    Frame {
        /// Where it stands.
        place: Place,
        /// Its header.
        header: &'a FrameHeader,
        /// Its body verifies.
        intact: bool,
        /// Something proves that it was synced.
        vouched: bool,
    },
    /// A record of the frame before, or of the span that ends with it.
    Record {
        /// Its content.
        record: &'a DumpedRecord<'a>,
        /// Number of the first event of a commit.
        first_event: u64,
    },
    /// Something is wrong.
    Damage(&'a Finding),
}

/// A record, or why it is none.
pub type DumpedRecord<'a> = Result<Record<'a>, crate::format::FormatError>;

/// Hands every frame and record to `visit`, oldest first.
pub fn dump(dirs: &Directories, visit: &mut dyn FnMut(Line<'_>)) -> Result<(), ToolError> {
    let survey = Survey::of(dirs)?;
    refuse_unreadable(&survey)?;
    walk(dirs, &survey, &mut |item| match item {
        Item::Segment(file) => visit(Line::Segment { header: &file.header, len: file.len }),
        Item::Frame { place, header, standing, body } => {
            let (intact, vouched) = (standing != Standing::BodyBad, header.frame <= survey.claim);
            visit(Line::Frame { place, header: &header, intact, vouched });
            if intact && !header.is_span() {
                records(&header, body, visit);
            }
        }
        Item::Span { header, body } => records(&header, body, visit),
        Item::Damage(finding) => visit(Line::Damage(&finding)),
    });
    Ok(())
}

fn records(header: &FrameHeader, body: &[u8], visit: &mut dyn FnMut(Line<'_>)) {
    let mut first_event = header.first_event;
    for record in Records::new(body) {
        visit(Line::Record { record: &record, first_event });
        if let Ok(Record::Commit { events, .. }) = record {
            first_event += u64::from(events);
        }
    }
}
