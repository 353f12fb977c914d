//! Which byte of a file lies where: units of equal length are dealt to the pieces in turn.
//!
//! ```text
//!   file      | unit 0 | unit 1 | unit 2 | unit 3 | unit 4 | ..
//!   piece 0   | unit 0 | unit 2 | unit 4 | ..
//!   piece 1   | unit 1 | unit 3 | ..
//! ```

use std::ops::Range;

/// How a file is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a unit.
    pub(super) unit: u64,
    /// How many pieces.
    pub(super) width: usize,
}

/// A range of a file within one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Which piece it lies in.
    pub(super) piece: usize,
    /// Where in that piece.
    pub(super) offset: u64,
    /// Which bytes of the whole range these are.
    pub(super) range: Range<usize>,
}

impl Geometry {
    /// The parts of `len` bytes at `offset`, in order.
    pub(super) fn stretches(self, offset: u64, len: usize) -> impl Iterator<Item = Stretch> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + done as u64;
            let within = at % self.unit;
            let take = usize::try_from(self.unit - within).unwrap_or(usize::MAX).min(len - done);
            let range = done..done + take;
            done += take;
            Some(Stretch { piece: self.piece_of(at), offset: self.round_of(at) * self.unit + within, range })
        })
    }

    /// How long piece `piece` of a file of `len` bytes is.
    pub(super) fn share(self, len: u64, piece: usize) -> u64 {
        let round = self.unit * self.width as u64;
        let rest = (len % round).saturating_sub(self.unit * piece as u64).min(self.unit);
        len / round * self.unit + rest
    }

    /// The length of a file with pieces of these lengths: up to the first byte that a piece lacks.
    pub(super) fn len(self, pieces: impl IntoIterator<Item = u64>) -> u64 {
        let ends = pieces.into_iter().enumerate().map(|(piece, len)| {
            let unit = (len / self.unit).saturating_mul(self.width as u64).saturating_add(piece as u64);
            unit.saturating_mul(self.unit).saturating_add(len % self.unit)
        });
        ends.min().unwrap_or(0)
    }

    fn piece_of(self, offset: u64) -> usize {
        // Less than the width.
        (offset / self.unit % self.width as u64) as usize
    }

    fn round_of(self, offset: u64) -> u64 {
        offset / self.unit / self.width as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_place_and_the_places_are_dense() {
        for width in 1..5 {
            let geometry = Geometry { unit: 4, width };
            let mut ends = vec![0; width];
            for offset in 0..60 {
                let [stretch] = &geometry.stretches(offset, 1).collect::<Vec<_>>()[..] else { panic!() };
                assert_eq!(stretch.offset, ends[stretch.piece], "offset {offset} of {width}");
                ends[stretch.piece] += 1;
                for (piece, end) in ends.iter().enumerate() {
                    assert_eq!(geometry.share(offset + 1, piece), *end);
                }
                assert_eq!(geometry.len(ends.iter().copied()), offset + 1);
            }
        }
    }

    #[test]
    fn stretches_cover_a_range_once_and_in_order() {
        let geometry = Geometry { unit: 4, width: 3 };
        let stretches: Vec<_> = geometry.stretches(6, 13).collect();
        let told: Vec<_> = stretches.iter().map(|s| (s.piece, s.offset, s.range.clone())).collect();
        assert_eq!(told, [(1, 2, 0..2), (2, 0, 2..6), (0, 4, 6..10), (1, 4, 10..13)]);
        assert_eq!(geometry.stretches(6, 0).count(), 0);
    }

    #[test]
    fn a_short_piece_ends_the_file() {
        let geometry = Geometry { unit: 4, width: 2 };
        assert_eq!(geometry.len([8, 4]), 12);
        assert_eq!(geometry.len([8, 3]), 7);
        assert_eq!(geometry.len([0, 8]), 0);
        assert_eq!(geometry.len([8, 0]), 4);
    }
}
