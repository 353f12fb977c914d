//! Numbers that must not be confused.

use std::fmt;

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
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(SegmentNumber))?
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
        for n in [0, 7, 9_999_999_999_999_999] {
            let segment = SegmentNumber(n);
            assert_eq!(SegmentNumber::parse(&segment.file_name()), Some(segment));
            assert_eq!(SegmentNumber::parse_spare(&segment.spare_name()), Some(segment));
        }
        for foreign in
            ["segment-7.log", "segment-00000000000000x7.log", "log-1", "segment-0000000000000007.log.bak"]
        {
            assert_eq!(SegmentNumber::parse(foreign), None, "{foreign}");
        }
    }
}
