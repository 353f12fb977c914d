//! What a start checks when every frame is decided: that what it found can be one log's state.

use super::{Recovered, Unvouched};
use crate::error::OpenError;
use crate::format::record::Record;
use crate::segment::file::{self, Opened, path_of};
use crate::state::Cursor;
use crate::storage::Directory;

use super::scan::{ScanError, read_snapshot_frame};

/// What is to be written again goes on where the kept frames end: event numbers never fall.
pub(super) fn check_order(data: &dyn Directory, recovered: &Recovered) -> Result<(), OpenError> {
    let mut next_event = recovered.next_event;
    for Unvouched { file, header, .. } in &recovered.unvouched {
        if header.first_event < next_event {
            let (frame, first) = (header.frame, header.first_event);
            let reason =
                format!("{frame} begins with event {first}, and those before it end with {next_event}");
            let path = path_of(data, &file.number().file_name());
            return Err(OpenError::Foreign { path, reason, repairable: false });
        }
        next_event = header.end_event();
    }
    Ok(())
}

/// The cursor as it is when what is unvouched is written again.
fn cursor_with_unvouched(recovered: &Recovered) -> Cursor {
    let mut cursor = recovered.state.cursor.clone();
    for control in recovered.unvouched.iter().flat_map(|unvouched| &unvouched.controls) {
        match control {
            Record::Release(ranges) => ranges.iter().for_each(|&(first, end)| cursor.release(first, end)),
            Record::Snapshot(snapshot) => cursor = snapshot.state.cursor.clone(),
            _ => {}
        }
    }
    cursor
}

/// No event is released that the log never held: a sound checksum over nonsense.
pub(super) fn check_released(data: &dyn Directory, recovered: &Recovered) -> Result<(), OpenError> {
    let cursor = cursor_with_unvouched(recovered);
    let released = cursor.above().last().map_or(cursor.low, |(_, end)| end);
    let unvouched = recovered.unvouched.iter().map(|unvouched| unvouched.header.end_event());
    let end = unvouched.chain([recovered.next_event]).max().unwrap_or(recovered.next_event);
    if released > end {
        let reason =
            format!("it says that events up to {released} are delivered, and holds none from {end} on");
        return Err(OpenError::Foreign { path: data.path().to_path_buf(), reason, repairable: false });
    }
    Ok(())
}

/// Segments missing at the low end only: the cursor moves up to what is there.
pub(super) fn check_low_end(data: &dyn Directory, recovered: &mut Recovered) {
    // A segment may be gone on the strength of a release that was synced and that nothing vouches for yet.
    let low = cursor_with_unvouched(recovered).low;
    let Some(&lowest) = recovered.live.first() else { return };
    let first_event = match recovered.segments.iter().find(|summary| summary.segment == lowest) {
        Some(summary) => summary.first_event,
        None => {
            // Nothing else is decided by these bytes: if they cannot be read, their reader will say so.
            let Ok(Opened::Segment(file)) = file::open(data, lowest) else { return };
            match read_snapshot_frame(&file) {
                Ok(Some(first)) => first.snapshot.next_event,
                Ok(None) | Err(ScanError::Io(..) | ScanError::Format(..)) => return,
            }
        }
    };
    if low < first_event {
        recovered.missing_below = Some(first_event);
        recovered.missing_from = low;
        recovered.state.cursor.raise(first_event);
    }
}
