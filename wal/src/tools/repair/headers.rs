//! Tells a segment's header again when neither of its copies can be read.
//!
//! What makes frames verify is the salt. It stands in both copies, which may be damaged elsewhere, and in the table of every
//! later snapshot and checkpoint. A salt is believed when a frame verifies by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::segment::{ALIGNMENT_MAX, ALIGNMENT_MIN, HEADER_LEN, KeyTable, SegmentHeader};
use crate::numbers::SegmentNumber;
use crate::recovery::{ScanError, scan};
use crate::segment::file::SegmentFile;
use crate::storage::{AlignedBuf, Directory, File};

/// Where the fields stand in a copy: see the format.
const ALIGNMENT_AT: usize = 20;
const LOG_ID_AT: usize = 24;
const SALT_AT: usize = 48;

/// What others say of a segment.
#[derive(Debug, Default)]
pub struct Told {
    /// The log's id.
    pub log_id: Option<u128>,
    /// Alignments that other segments have.
    pub alignments: Vec<u32>,
    /// Salts that tables name.
    pub salts: BTreeMap<SegmentNumber, Vec<u64>>,
}

/// The header of segment `number`, if a frame proves it. `own` is whether the file's own bytes are asked, too.
pub fn retell(
    dir: &dyn Directory,
    file: &Arc<dyn File>,
    number: SegmentNumber,
    told: &Told,
    own: bool,
) -> std::io::Result<Option<SegmentHeader>> {
    let len = file.len()?;
    let mut blocks = AlignedBuf::zeroed((2 * ALIGNMENT_MAX).next_multiple_of(dir.alignment()));
    let read = file.read_at(&mut blocks, 0)?;
    let copies: Vec<&[u8]> = std::iter::once(0)
        .chain(
            std::iter::successors(Some(ALIGNMENT_MIN), |at| Some(at * 2))
                .take_while(|at| *at <= ALIGNMENT_MAX),
        )
        .filter(|at| own && at + HEADER_LEN <= read)
        .map(|at| &blocks[at..at + HEADER_LEN])
        .collect();
    let mut salts = told.salts.get(&number).cloned().unwrap_or_default();
    salts.extend(copies.iter().map(|copy| u64_at(copy, SALT_AT)));
    let mut alignments = told.alignments.clone();
    alignments.extend(copies.iter().map(|copy| u64_at(copy, ALIGNMENT_AT) as u32));
    alignments.push(dir.alignment() as u32);
    alignments.retain(|alignment| {
        let sound = alignment.is_power_of_two()
            && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&(*alignment as usize))
            // Both copies are written, and nothing but them.
            && (2 * *alignment as usize).is_multiple_of(dir.alignment());
        sound && u64::from(*alignment) * 2 <= len
    });
    dedup(&mut alignments);
    dedup(&mut salts);
    // Which keys it named the newer segments' headers know, which are asked.
    let keys = KeyTable::default();
    for &salt in &salts {
        for &alignment in &alignments {
            let ids = told.log_id.into_iter().chain(copies.iter().map(|copy| {
                u128::from(u64_at(copy, LOG_ID_AT)) | u128::from(u64_at(copy, LOG_ID_AT + 8)) << 64
            }));
            let Some(log_id) = ids.into_iter().next() else { return Ok(None) };
            let mut header =
                SegmentHeader { features: 0, alignment, log_id, segment: number, salt, size: len, keys };
            let segment = SegmentFile { header, file: Arc::clone(file), len, keys: dir.keys() };
            match scan(&segment, header.data_offset()) {
                Ok(scan) if !scan.frames.is_empty() => {
                    let needs = scan.frames.iter().map(|frame| frame.header.features());
                    header.features = needs.fold(0, |all, one| all | one);
                    return Ok(Some(header));
                }
                Err(ScanError::Io(error)) => return Err(error),
                // A frame that says something impossible proves nothing.
                Ok(_) | Err(ScanError::Format(..)) => {}
            }
        }
    }
    Ok(None)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn dedup<T: PartialEq + Copy>(values: &mut Vec<T>) {
    let mut seen: Vec<T> = Vec::new();
    values.retain(|value| {
        let new = !seen.contains(value);
        if new {
            seen.push(*value);
        }
        new
    });
}
