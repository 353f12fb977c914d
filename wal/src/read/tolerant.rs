//! Reading around what a disk cannot read: the rest of a buffer is worth having.

use std::io;

use crate::segment::window::read_full;
use crate::storage::File;

/// How often a block is read before it counts as unreadable: what is given up on its account is given up for good.
const ATTEMPTS: usize = 3;

/// Fills `buffer` from `offset` on, as far as the file reaches, with zeroes for blocks of `block` bytes that the medium does
/// not give; returns how many bytes there are, and the offsets of those blocks. Other errors than the medium's end it.
pub fn read_around(
    file: &dyn File,
    buffer: &mut [u8],
    offset: u64,
    block: usize,
) -> io::Result<(usize, Vec<u64>)> {
    match read_full(file, buffer, offset) {
        Ok(read) => return Ok((read, Vec::new())),
        Err(error) if is_of_medium(&error) => {}
        Err(error) => return Err(error),
    }
    let stands = file.len()?.saturating_sub(offset).min(buffer.len() as u64) as usize;
    let mut unreadable = Vec::new();
    for (at, block) in (offset..).step_by(block).zip(buffer.chunks_mut(block)) {
        if at >= offset + stands as u64 {
            break;
        }
        let mut attempts = (0..ATTEMPTS).map(|_| read_full(file, block, at));
        match attempts.find(|attempt| !attempt.as_ref().is_err_and(is_of_medium)) {
            Some(read) => drop(read?),
            None => {
                block.fill(0);
                unreadable.push(at);
            }
        }
    }
    Ok((stands, unreadable))
}

/// Whether an error says that the medium does not give these bytes.
pub fn is_of_medium(error: &io::Error) -> bool {
    const OF_MEDIUM: &[i32] = &[libc::EIO, libc::ENODATA, libc::EBADMSG, libc::EILSEQ, libc::EUCLEAN];
    error.kind() == io::ErrorKind::UnexpectedEof
        || error.raw_os_error().is_some_and(|code| OF_MEDIUM.contains(&code))
}
