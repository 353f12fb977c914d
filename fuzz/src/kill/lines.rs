//! Numbered lines with a checksum.
//!
//! ```text
//! 00000017 0000004711 8d3f02aa <text of 0 to 400 bytes>\n
//! file     line       crc32
//! ```
//!
//! File and line count from 0; the line's number counts within its file. The checksum covers file, line and text. The
//! text follows from the two numbers, so a line is intact when it is the line that its numbers make, and a checksum that
//! fits tells a line that was made up elsewhere from one that was damaged on its way.

use std::sync::LazyLock;

use crate::random::mix;

/// Bytes in front of the text.
const PREFIX: usize = 8 + 1 + 10 + 1 + 8 + 1;
const TEXT_MAX: u64 = 400;
const TEXT: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
/// The text over and over, as long as the longest line that begins at its last byte: what makes the load must be faster
/// than what bears it.
static REPEATED: LazyLock<Vec<u8>> =
    LazyLock::new(|| TEXT.repeat(1 + (TEXT_MAX as usize).div_ceil(TEXT.len())));

/// Which line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId {
    /// The file, in the order in which files were begun.
    pub file: usize,
    /// The line in the file.
    pub line: u64,
}

/// Why bytes are not a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotALine {
    /// Its form or its checksum is wrong.
    Damaged,
    /// It has the form and a fitting checksum, but another text than its numbers make.
    Foreign,
}

/// Appends a line with its end.
pub fn push(out: &mut Vec<u8>, id: LineId) {
    let begin = out.len();
    out.extend_from_slice(format!("{:08} {:010} ........ ", id.file, id.line).as_bytes());
    let random = mix((id.file as u64) << 40 ^ id.line);
    let text_len = (random % (TEXT_MAX + 1)) as usize;
    // Each line begins at another place of the text, so that one line's end is no other line's end.
    let at = (random >> 32) as usize % TEXT.len();
    out.extend_from_slice(&REPEATED[at..at + text_len]);
    let crc = checksum(&out[begin..]);
    out[begin + PREFIX - 9..begin + PREFIX - 1].copy_from_slice(format!("{crc:08x}").as_bytes());
    out.push(b'\n');
}

fn checksum(line: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&line[..PREFIX - 9]);
    hasher.update(&line[PREFIX - 1..]);
    hasher.finalize()
}

/// Reads a line without its end. `scratch` is overwritten.
pub fn read(line: &[u8], scratch: &mut Vec<u8>) -> Result<LineId, NotALine> {
    let id = numbers(line).ok_or(NotALine::Damaged)?;
    scratch.clear();
    push(scratch, id);
    if scratch.strip_suffix(b"\n") == Some(line) {
        return Ok(id);
    }
    let stored = std::str::from_utf8(&line[PREFIX - 9..PREFIX - 1]).ok();
    let fits = stored.and_then(|text| u32::from_str_radix(text, 16).ok()) == Some(checksum(line));
    Err(if fits { NotALine::Foreign } else { NotALine::Damaged })
}

fn numbers(line: &[u8]) -> Option<LineId> {
    let text = std::str::from_utf8(line.get(..PREFIX)?).ok()?;
    let mut words = text.split(' ');
    Some(LineId { file: words.next()?.parse().ok()?, line: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LineId = LineId { file: 3, line: 70_000 };

    fn line() -> Vec<u8> {
        let mut line = Vec::new();
        push(&mut line, ID);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn a_line_reads_back() {
        assert_eq!(read(&line(), &mut vec![]), Ok(ID));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let line = line();
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped, &mut vec![]).is_err(), "bit {bit}");
        }
        for len in 0..line.len() {
            assert!(read(&line[..len], &mut vec![]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_line_made_elsewhere_is_told_from_a_damaged_one() {
        let mut made = line();
        made.extend_from_slice(b" and more");
        let crc = format!("{:08x}", checksum(&made));
        made[PREFIX - 9..PREFIX - 1].copy_from_slice(crc.as_bytes());
        assert_eq!(read(&made, &mut vec![]), Err(NotALine::Foreign));
    }
}
