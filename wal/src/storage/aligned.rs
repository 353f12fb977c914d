//! The check that every implementation makes first, so that a caller that forgets alignment fails in its first test and
//! not on the first device with larger blocks.

use std::io;

/// Checks the address and length of a buffer and the offset it goes to.
pub(super) fn check(alignment: usize, bytes: &[u8], offset: u64) -> io::Result<()> {
    let address = bytes.as_ptr() as usize;
    if address.is_multiple_of(alignment.min(super::buffer::ADDRESS_ALIGNMENT))
        && bytes.len().is_multiple_of(alignment)
        && offset.is_multiple_of(alignment as u64)
    {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "unaligned I/O: {} bytes from address {address:#x} at offset {offset}; all must be multiples of {alignment}",
            bytes.len()
        ),
    ))
}

/// The bytes that a queued write covers, checked like those of any other.
pub(super) fn bytes_of(alignment: usize, write: &super::Write) -> io::Result<&[u8]> {
    let range = write.from..write.from.saturating_add(write.len);
    let bytes = write.buffer.get(range).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("write of {} bytes from {} of a buffer of {}", write.len, write.from, write.buffer.len()),
        )
    })?;
    check(alignment, bytes, write.offset)?;
    Ok(bytes)
}

/// How far a write of `len` bytes got that wrote `written`, when it goes on at an aligned place: the block in which a short
/// write ended is written again.
pub(super) fn resume(alignment: usize, written: usize, len: usize) -> io::Result<usize> {
    if written >= len {
        return Ok(len);
    }
    match written - written % alignment {
        0 => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("the device took {written} of {len} bytes, less than a block"),
        )),
        blocks => Ok(blocks),
    }
}
