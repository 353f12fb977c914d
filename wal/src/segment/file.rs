//! A segment's file: opening it, and preparing one for its next use.
//!
//! Preparing, and the crash that each step is for: a spare's name first, so that the file is no data while it changes; the
//! blocks; both header copies with a fresh salt; sync; the segment's name; sync of the directory. Only then may a frame be
//! written, so that a write into it needs no metadata to be found again. A file whose name and header disagree is a spare.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::broken;
use crate::format::keys::Keys;
use crate::format::segment::{
    ALIGNMENT_MAX, ALIGNMENT_MIN, HEADER_LEN, HeaderError, KeyTable, SegmentHeader,
};
use crate::numbers::SegmentNumber;
use crate::segment::window::read_full;
use crate::storage::{AlignedBuf, Directory, File};

/// An open segment with a sound header.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Its header.
    pub header: SegmentHeader,
    /// The file.
    pub file: Arc<dyn File>,
    /// The file's length when it was opened.
    pub len: u64,
    /// What opens its frames.
    pub keys: Keys,
}

impl SegmentFile {
    /// Its number.
    pub fn number(&self) -> SegmentNumber {
        self.header.segment
    }

    /// Whether a frame may begin, or the last one end, at `offset`.
    pub fn has_place(&self, offset: u64) -> bool {
        (self.header.data_offset()..=self.len).contains(&offset)
            && offset.is_multiple_of(u64::from(self.header.alignment))
    }
}

/// What a file with a segment's name turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// A segment.
    Segment(SegmentFile),
    /// It was being prepared when the process ended, or names another segment: it holds nothing.
    Spare,
    /// Neither copy of the header verifies.
    Headerless,
    /// Written by a newer version.
    Newer(String),
}

/// Opens `number` and reads both copies of its header.
pub fn open(dir: &dyn Directory, number: SegmentNumber) -> io::Result<Opened> {
    let file = dir.open(&number.file_name())?;
    let len = file.len()?;
    let align = dir.alignment();
    let mut block = AlignedBuf::zeroed(2 * align);
    let read = read_full(&*file, &mut block, 0)?;
    let first = SegmentHeader::decode(&block[..read]);
    // The second copy stands at the *header's* alignment, which may differ from this directory's: without the first one,
    // it is looked for wherever it may be.
    let second = match &first {
        Err(HeaderError::Newer { .. }) => return Ok(Opened::Newer(newer(&first))),
        Ok(header) if header.alignment as usize == align => {
            SegmentHeader::decode(block.get(align..read).unwrap_or(&[]))
        }
        Ok(header) => read_copy(dir, &*file, header.alignment as usize)?,
        Err(HeaderError::Bad(_)) => {
            let mut found = SegmentHeader::decode(&[]);
            let mut at = ALIGNMENT_MIN;
            while at <= ALIGNMENT_MAX && matches!(found, Err(HeaderError::Bad(_))) {
                found = read_copy(dir, &*file, at)?;
                at *= 2;
            }
            found
        }
    };
    let header = match (first, second) {
        (_, second @ Err(HeaderError::Newer { .. })) => return Ok(Opened::Newer(newer(&second))),
        // Of two that differ one was written astray, or a use that followed this one never came to its end.
        (Ok(first), Ok(second)) if first != second => {
            match [first, second].into_iter().filter(|copy| copy.segment == number).collect::<Vec<_>>()[..] {
                [own] => own,
                _ => return Ok(Opened::Spare),
            }
        }
        (Ok(header), _) | (Err(_), Ok(header)) => header,
        (Err(_), Err(_)) => return Ok(Opened::Headerless),
    };
    if header.segment != number {
        return Ok(Opened::Spare);
    }
    Ok(Opened::Segment(SegmentFile { header, file, len, keys: dir.keys() }))
}

fn newer(decoded: &Result<SegmentHeader, HeaderError>) -> String {
    decoded.as_ref().err().map(HeaderError::to_string).unwrap_or_default()
}

/// The header copy at `offset`, a multiple of the smallest alignment.
fn read_copy(
    dir: &dyn Directory,
    file: &dyn File,
    offset: usize,
) -> io::Result<Result<SegmentHeader, HeaderError>> {
    // Direct reads begin at this directory's alignment, which may be the larger one.
    let start = offset / dir.alignment() * dir.alignment();
    let mut block = AlignedBuf::zeroed((offset - start + HEADER_LEN).next_multiple_of(dir.alignment()));
    let read = read_full(file, &mut block, start as u64)?;
    Ok(SegmentHeader::decode(block.get(offset - start..read).unwrap_or(&[])))
}

/// What a segment is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewSegment {
    pub number: SegmentNumber,
    /// The least length of the file.
    pub size: u64,
    pub log_id: u128,
    pub salt: u64,
    pub features: u32,
    pub keys: KeyTable,
}

/// Prepares a segment from the file `from`, or from a new one.
pub fn prepare(dir: &dyn Directory, from: Option<&str>, new: &NewSegment) -> io::Result<SegmentFile> {
    let spare = new.number.spare_name();
    let file = match from {
        Some(name) => {
            if name != spare {
                dir.rename(name, &spare)?;
            }
            dir.open(&spare)?
        }
        None => match dir.create(&spare) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => dir.open(&spare)?,
            created => created?,
        },
    };
    let sealed = fill(dir, &file, &spare, new);
    if sealed.is_err() && from.is_none() {
        // Half a segment would be in the way of the next attempt, and on a full disk of everybody else; what was never synced
        // may be gone after a power cut, so that it is no reserve either. The first error is the one that counts.
        drop(dir.remove(&spare));
    }
    let header = sealed?;
    Ok(SegmentFile { len: header.size, header, file, keys: dir.keys() })
}

/// Gives a spare its blocks, its header and its name, each durable before the next.
fn fill(
    dir: &dyn Directory,
    file: &Arc<dyn File>,
    spare: &str,
    new: &NewSegment,
) -> io::Result<SegmentHeader> {
    if file.len()? < new.size {
        let allocated = file.allocate(new.size);
        if !broken::ignores_no_space() {
            allocated?;
        }
    }
    let header = SegmentHeader {
        features: new.features,
        alignment: dir.alignment() as u32,
        log_id: new.log_id,
        segment: new.number,
        salt: new.salt,
        size: if broken::ignores_no_space() { new.size } else { file.len()? },
        keys: new.keys,
    };
    file.write_at(&AlignedBuf::padded(&header.encode(), dir.alignment()), 0)?;
    if !broken::skips_the_sync() {
        file.sync()?;
    }
    dir.rename(spare, &new.number.file_name())?;
    dir.sync()?;
    Ok(header)
}

/// The path of a file of `dir`, for messages.
pub fn path_of(dir: &dyn Directory, name: &str) -> PathBuf {
    dir.path().join(name)
}
