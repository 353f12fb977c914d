//! Names of pieces: `segment-0000000000000007.log.of-2` is a piece of a file that has two. A file of one piece has its
//! plain name, so that a directory which was alone before is one whose files have one piece each.

use super::descriptor;
use crate::format::checkpoint;
use crate::numbers::SegmentNumber;
use crate::storage::LOCK_FILE;

/// No more directories than these.
pub const LANES_MAX: usize = 64;

const MARK: &str = ".of-";

/// The name of each piece of the file `name` of `width` pieces.
pub(super) fn piece_name(name: &str, width: usize) -> String {
    if width == 1 { name.to_owned() } else { format!("{name}{MARK}{width}") }
}

/// The file's name, and how many pieces it has, from a piece's name.
pub(super) fn parse(piece: &str) -> (&str, usize) {
    let marked = piece.rsplit_once(MARK).and_then(|(name, digits)| {
        let width: usize = digits.parse().ok()?;
        ((2..=LANES_MAX).contains(&width) && digits == width.to_string()).then_some((name, width))
    });
    marked.unwrap_or((piece, 1))
}

/// Whether a file of this name lies in the first directory alone.
pub(super) fn is_whole(name: &str) -> bool {
    name == LOCK_FILE || is_descriptor(name) || checkpoint::FILE_NAMES.contains(&name)
}

/// Whether it is not the caller's.
pub(super) fn is_descriptor(name: &str) -> bool {
    name == descriptor::FILE_NAME || name == descriptor::NEW_FILE_NAME
}

/// A file of this name holds nothing.
pub(super) fn is_spare(name: &str) -> bool {
    SegmentNumber::parse_spare(name).is_some()
}

/// Whether a file or a piece of this name is of a log.
pub(super) fn is_of_log(piece: &str) -> bool {
    let (name, _) = parse(piece);
    is_spare(name) || SegmentNumber::parse(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_names_its_file_and_how_many_there_are() {
        let name = SegmentNumber(7).file_name();
        for width in [1, 2, 10, LANES_MAX] {
            assert_eq!(parse(&piece_name(&name, width)), (&*name, width));
        }
        for plain in ["lock", "a.of-", "a.of-1", "a.of-02", "a.of-65", "a.of-x"] {
            assert_eq!(parse(plain), (plain, 1));
        }
        assert!(is_of_log("segment-0000000000000007.log.of-2") && is_of_log("spare-0000000000000007.log"));
        assert!(!is_of_log("segment-0000000000000007.log.12288") && !is_of_log("lock"));
    }
}
