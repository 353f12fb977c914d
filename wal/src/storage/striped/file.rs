//! A file in pieces.

use std::io;
use std::sync::Arc;

use super::geometry::Geometry;
use crate::broken;
use crate::storage::{File, Part, aligned};

/// One piece in each of the first directories.
#[derive(Debug)]
pub(super) struct StripedFile {
    pieces: Vec<Arc<dyn File>>,
    geometry: Geometry,
    alignment: usize,
}

impl StripedFile {
    pub(super) fn new(pieces: Vec<Arc<dyn File>>, unit: u64, alignment: usize) -> Self {
        let geometry = Geometry { unit, width: pieces.len() };
        Self { pieces, geometry, alignment }
    }

    fn write(
        &self,
        bytes: &[u8],
        offset: u64,
        write: impl Fn(&dyn File, &[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        aligned::check(self.alignment, bytes, offset)?;
        for stretch in self.geometry.stretches(offset, bytes.len()) {
            write(&*self.pieces[stretch.piece], &bytes[stretch.range], stretch.offset)?;
        }
        Ok(())
    }

    /// Each piece with its share of `len` bytes.
    fn shares(&self, len: u64) -> impl Iterator<Item = (&Arc<dyn File>, u64)> {
        let share = move |piece| self.geometry.share(len, piece);
        self.pieces.iter().enumerate().map(move |(piece, file)| (file, share(piece)))
    }
}

impl File for StripedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        aligned::check(self.alignment, buffer, offset)?;
        let mut done = 0;
        for stretch in self.geometry.stretches(offset, buffer.len()) {
            let wanted = stretch.range.len();
            let read = self.pieces[stretch.piece].read_at(&mut buffer[stretch.range], stretch.offset)?;
            done += read;
            if read < wanted {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, |piece, bytes, offset| piece.write_at(bytes, offset))
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, |piece, bytes, offset| piece.write_durable_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        let synced = if broken::syncs_one_lane() { 1 } else { self.pieces.len() };
        self.pieces.iter().take(synced).try_for_each(|piece| piece.sync())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let before: Vec<_> = self.pieces.iter().map(|piece| piece.len()).collect::<io::Result<_>>()?;
        for (done, (piece, share)) in self.shares(len).enumerate() {
            if let Err(error) = piece.allocate(share) {
                // A disk that is full here must not stay full for others elsewhere. The first error is the one that counts.
                for (piece, before) in self.pieces.iter().zip(&before).take(done) {
                    piece.truncate(*before).ok();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.shares(len).try_for_each(|(piece, share)| piece.truncate(share))
    }

    fn len(&self) -> io::Result<u64> {
        let lens: Vec<_> = self.pieces.iter().map(|piece| piece.len()).collect::<io::Result<_>>()?;
        Ok(self.geometry.len(lens))
    }

    fn parts(&self, offset: u64, len: usize) -> Option<Vec<Part>> {
        let stretches = self.geometry.stretches(offset, len);
        let part = |stretch: super::geometry::Stretch| Part {
            file: Arc::clone(&self.pieces[stretch.piece]),
            offset: stretch.offset,
            len: stretch.range.len(),
        };
        Some(stretches.map(part).collect())
    }
}
