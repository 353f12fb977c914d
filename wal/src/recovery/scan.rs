//! Finds the frames of a segment, one after another and beyond damage.

use std::io;

use super::table::Found;
use crate::format::FormatError;
use crate::format::codec::{self, Unread};
use crate::format::frame::{FrameHeader, Seed};
use crate::format::record::{Record, Records, Snapshot};
use crate::numbers::FrameNumber;
use crate::segment::file::SegmentFile;
use crate::segment::window::Window;

/// A frame that was found, without its events.
#[derive(Debug)]
pub struct ScannedFrame {
    /// Offset in the segment's file.
    pub offset: u64,
    /// Its header.
    pub header: FrameHeader,
    /// What is wrong with its body, if anything.
    pub wrong: Option<&'static str>,
    /// The records that are not events, of an intact frame that is not part of a span.
    pub controls: Vec<Record<'static>>,
}

impl ScannedFrame {
    /// [`Found::Intact`] or [`Found::BodyBad`].
    pub fn found(&self) -> Found {
        if self.wrong.is_none() { Found::Intact } else { Found::BodyBad }
    }
}

/// What a segment holds from some offset on.
#[derive(Debug, Default)]
pub struct Scan {
    /// Frames whose headers verify, in file order.
    pub frames: Vec<ScannedFrame>,
    /// The highest frame number that any of them says was synced.
    pub highest_claim: FrameNumber,
}

/// Why a scan ended early.
#[derive(Debug)]
pub enum ScanError {
    /// The disk reports an error, or a frame is encrypted by a key that is not given.
    Io(io::Error),
    /// A frame verifies and says something impossible.
    Format(u64, FormatError),
}

/// Reads `segment` from `offset` to its end, stepping over whatever does not verify, block by block.
pub fn scan(segment: &SegmentFile, mut offset: u64) -> Result<Scan, ScanError> {
    let alignment = u64::from(segment.header.alignment);
    let mut window = Window::new(alignment as usize);
    let mut scan = Scan::default();
    while offset + alignment <= segment.len {
        let seed = Seed::new(segment.header.salt, segment.number(), offset);
        let (buffer, range) =
            window.get(&*segment.file, offset, alignment as usize).map_err(ScanError::Io)?;
        let Ok((header, _)) = FrameHeader::decode(&buffer[range], seed) else {
            offset += alignment;
            continue;
        };
        scan.highest_claim = scan.highest_claim.max(header.synced_frame);
        let padded = header.padded_len(alignment as u32);
        let (buffer, range) = window.get(&*segment.file, offset, padded as usize).map_err(ScanError::Io)?;
        let mut controls = Vec::new();
        let wrong = match codec::read(&header, seed, &buffer[range], &segment.keys) {
            Ok(_) if header.is_span() => None,
            Ok(body) => {
                controls = read_controls(&body).map_err(|error| ScanError::Format(offset, error))?;
                None
            }
            Err(Unread::Bad(error)) => Some(error.what),
            Err(Unread::Locked(missing)) => return Err(ScanError::Io(missing.into())),
        };
        for control in &controls {
            if let Record::Close(last) = control {
                scan.highest_claim = scan.highest_claim.max(*last);
            }
        }
        scan.frames.push(ScannedFrame { offset, header, wrong, controls });
        // A header's own checksum vouches for the length, whatever became of the body.
        offset += padded;
    }
    Ok(scan)
}

/// The records of a body that are not events.
pub fn read_controls(body: &[u8]) -> Result<Vec<Record<'static>>, FormatError> {
    let mut controls = Vec::new();
    for record in Records::new(body) {
        controls.push(match record? {
            Record::Commit { .. } => continue,
            Record::Release(ranges) => Record::Release(ranges),
            Record::Progress(update) => Record::Progress(update),
            Record::Snapshot(snapshot) => Record::Snapshot(snapshot),
            Record::Life(life) => Record::Life(life),
            Record::Close(last) => Record::Close(last),
        });
    }
    Ok(controls)
}

/// A segment's first frame.
#[derive(Debug)]
pub struct FirstFrame {
    /// Its header.
    pub header: FrameHeader,
    /// The state at the segment's start.
    pub snapshot: Snapshot,
    /// All frames up to this one were synced when it was written: a life's first frame goes last, when the frames that
    /// were rewritten behind it are synced.
    pub vouches_for: FrameNumber,
}

/// The first frame of a segment if it is intact and holds a snapshot.
pub fn read_snapshot_frame(segment: &SegmentFile) -> Result<Option<FirstFrame>, ScanError> {
    let offset = segment.header.data_offset();
    let alignment = segment.header.alignment;
    if offset + u64::from(alignment) > segment.len {
        return Ok(None);
    }
    let seed = Seed::new(segment.header.salt, segment.number(), offset);
    let mut window = Window::narrow(alignment as usize);
    let io = ScanError::Io;
    let (buffer, range) = window.get(&*segment.file, offset, alignment as usize).map_err(io)?;
    let Ok((header, _)) = FrameHeader::decode(&buffer[range], seed) else { return Ok(None) };
    let padded = header.padded_len(alignment);
    let (buffer, range) = window.get(&*segment.file, offset, padded as usize).map_err(io)?;
    let body = match codec::read(&header, seed, &buffer[range], &segment.keys) {
        Ok(body) => body,
        Err(Unread::Bad(_)) => return Ok(None),
        Err(Unread::Locked(missing)) => return Err(ScanError::Io(missing.into())),
    };
    let mut vouches_for = header.frame;
    for control in read_controls(&body).map_err(|error| ScanError::Format(offset, error))? {
        match control {
            Record::Life(life) => vouches_for = FrameNumber(header.frame.0.saturating_add(life.rewritten)),
            Record::Snapshot(snapshot) => {
                if snapshot.segments.last().is_some_and(|last| last.segment >= segment.number()) {
                    let what = "segment table names a segment that is not below its own";
                    return Err(ScanError::Format(offset, FormatError { what, at: 0 }));
                }
                return Ok(Some(FirstFrame { header, snapshot, vouches_for }));
            }
            _ => break,
        }
    }
    Ok(None)
}
