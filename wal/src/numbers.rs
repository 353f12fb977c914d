//! Numbers that must not be confused.

use std::fmt;

/// No frame, event or segment has a higher number and no file a larger offset: what claims one is refused where it is
/// read, so that sums of such numbers never overflow. At a billion events a second they last for 146 years.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Numbers of segments are below this one.
const SEGMENTS_MAX: u64 = 10_u64.pow(15);

/// Counts frames, dense within a life of the log; a new life starts above every number ever seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNumber(pub u64);

impl FrameNumber {
    /// The frame after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.0)
    }
}

/// Counts segments; part of the file's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The segment after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// `segment-0000000000000007.log`.
    pub fn file_name(self) -> String {
        format!("segment-{:016}.log", self.0)
    }

    /// `spare-0000000000000007.log`: a file that holds nothing, kept for its blocks.
    pub fn spare_name(self) -> String {
        format!("spare-{:016}.log", self.0)
    }

    /// The number in a segment's file name.
    pub fn parse(name: &str) -> Option<Self> {
        parse_numbered(name, "segment-")
    }

    /// The number in a spare's file name.
    pub fn parse_spare(name: &str) -> Option<Self> {
        parse_numbered(name, "spare-")
    }
}

fn parse_numbered(name: &str, prefix: &str) -> Option<SegmentNumber> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".log")?;
    if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // No log of ours comes so far, and behind the last number of 16 digits there would be no name for the next segment.
    digits.parse().ok().filter(|number| *number < SEGMENTS_MAX).map(SegmentNumber)
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.0)
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which segment.
    pub segment: SegmentNumber,
    /// Offset in its file.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment.file_name(), self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_each_others_inverse() {
        for n in [0, 7, SEGMENTS_MAX - 1] {
            let segment = SegmentNumber(n);
            assert_eq!(SegmentNumber::parse(&segment.file_name()), Some(segment));
            assert_eq!(SegmentNumber::parse_spare(&segment.spare_name()), Some(segment));
        }
        for foreign in [
            "segment-7.log",
            "segment-00000000000000x7.log",
            "log-1",
            "segment-0000000000000007.log.bak",
            "segment-9999999999999999.log",
        ] {
            assert_eq!(SegmentNumber::parse(foreign), None, "{foreign}");
        }
    }
}
