//! The file that is being written, and what an earlier life left in it.
//!
//! ```text
//!   file      released            left behind: written, never released
//!   |---------------------------|------------------------------------|
//!                               ^ end moves over it as its events come again
//! ```
//!
//! Bytes behind the released ones belong to events that come again, first. Each is compared with what is there. Where it
//! is the same, the same bytes are written once more (a sync that failed may have lost them while reads still show
//! them); where it differs, or the rest is half an event, the file is cut at the first different byte and goes on from
//! there. Who follows the file sees nothing in the first case, and in the second no byte twice.
//!
//! What is left behind may go on in files that had been begun before the crash: when the first is used up at the end of
//! an event, the next takes its place. When anything differs, those later files are emptied and the first goes on.
//!
//! Stream positions are those of the [ledger](super::ledger).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::syncer::Target;

/// Small writes are gathered up to this size: a system call for each take of a hundred lines costs more than the copy.
const BUFFER_BYTES: usize = 512 << 10;
/// A run of at least this size is written from where it lies: the call costs less than the copy.
const DIRECT_BYTES: usize = 128 << 10;
/// How much of what was left behind is read at a time.
const COMPARE_BYTES: usize = 64 << 10;

const _: () = assert!(DIRECT_BYTES <= BUFFER_BYTES);

/// An I/O error with its place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {error}", path.display())]
pub(super) struct OutputError {
    pub what: &'static str,
    pub path: PathBuf,
    #[source]
    pub error: io::Error,
}

/// A file with where it lies in the stream.
#[derive(Debug)]
pub(super) struct Piece {
    pub file: Arc<File>,
    pub path: Arc<Path>,
    /// Stream position of the first byte.
    pub start: u64,
    /// Length when it was opened.
    pub length: u64,
}

impl Piece {
    fn error(&self, what: &'static str) -> impl FnOnce(io::Error) -> OutputError + use<> {
        let path = self.path.to_path_buf();
        move |error| OutputError { what, path, error }
    }

    pub fn target(&self) -> Target {
        Target { file: self.file.clone(), path: self.path.clone(), directory: false }
    }

    /// Cuts the file.
    pub fn cut(&self, length: u64) -> Result<(), OutputError> {
        self.file.set_len(length).map_err(self.error("cut"))
    }
}

/// The first bytes of a file, for reading once more.
pub(super) struct Head<'a> {
    pub piece: &'a Piece,
    pub at: u64,
}

impl io::Read for Head<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.piece.length - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let got = self.piece.file.read_at(&mut buffer[..want], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Bytes behind the released ones.
struct LeftBehind {
    /// Files begun after the current one.
    later: VecDeque<Piece>,
    /// Part of the current file, read for comparing.
    window: Vec<u8>,
    /// The window's offset in the file.
    window_at: u64,
}

/// What appending to files left behind led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing that the ledger must know of.
    None,
    /// What was left behind differed: files after the current one hold nothing now.
    Cut,
}

/// The file that is being written.
pub(super) struct Output {
    piece: Piece,
    /// Stream position behind the last byte written.
    written: u64,
    /// What follows, not written yet.
    buffer: Vec<u8>,
    left: Option<LeftBehind>,
    /// Written or cut since the last sync was asked for; without the current file.
    dirty: Vec<Target>,
    /// The current file has changed since then.
    changed: bool,
}

impl Output {
    /// Goes on at stream position `at` in the first of `pieces`; what is behind it was left by an earlier life.
    pub fn over(mut pieces: VecDeque<Piece>, at: u64) -> Option<Self> {
        let piece = pieces.pop_front()?;
        let anything = piece.start + piece.length > at || !pieces.is_empty();
        let left = anything.then(|| LeftBehind { later: pieces, window: Vec::new(), window_at: 0 });
        Some(Self { piece, written: at, buffer: Vec::new(), left, dirty: Vec::new(), changed: false })
    }

    pub fn path(&self) -> &Path {
        &self.piece.path
    }

    /// Stream position behind the last byte taken over.
    pub fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether something is left behind: then events come in one by one, through [`append_again`](Self::append_again).
    pub fn is_left_behind(&self) -> bool {
        self.left.is_some()
    }

    /// Appends whole events.
    pub fn append(&mut self, run: &[u8]) -> Result<(), OutputError> {
        debug_assert!(self.left.is_none(), "left-behind bytes are compared event by event");
        if run.len() >= DIRECT_BYTES {
            self.write_out()?;
            self.piece
                .file
                .write_all_at(run, self.written - self.piece.start)
                .map_err(self.piece.error("write"))?;
            self.written += run.len() as u64;
            self.changed = true;
            return Ok(());
        }
        self.buffer.extend_from_slice(run);
        self.write_out_full()
    }

    /// Appends what `put` appends to the buffer, which is whole events; returns what it returns.
    pub fn append_with<R>(&mut self, put: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R, OutputError> {
        debug_assert!(self.left.is_none(), "left-behind bytes are compared event by event");
        let result = put(&mut self.buffer);
        self.write_out_full()?;
        Ok(result)
    }

    /// Appends one event, comparing it with what was left behind.
    pub fn append_again(&mut self, event: &[u8]) -> Result<Turn, OutputError> {
        loop {
            let offset = self.end() - self.piece.start;
            let Some(left) = &mut self.left else {
                self.append(event)?;
                return Ok(Turn::None);
            };
            let there = self.piece.length.saturating_sub(offset);
            if there == 0 {
                match left.later.pop_front() {
                    Some(next) => self.change_to(next)?,
                    None => self.left = None,
                }
                continue;
            }
            let compared = there.min(event.len() as u64) as usize;
            let same = left.same_bytes(&self.piece, offset, &event[..compared])?;
            let mut turn = Turn::None;
            if same < compared {
                self.cut_at(offset + same as u64)?;
                turn = Turn::Cut;
            } else if compared < event.len() {
                // Half an event at the end: its rest is appended. Later files cannot be right behind it.
                self.cut_at(offset + compared as u64)?;
                turn = Turn::Cut;
            }
            self.buffer.extend_from_slice(event);
            self.write_out_full()?;
            return Ok(turn);
        }
    }

    /// Cuts off what is left behind: it does not come again to this file.
    pub fn cut_left_behind(&mut self) -> Result<Turn, OutputError> {
        if self.left.is_none() {
            return Ok(Turn::None);
        }
        self.cut_at(self.end() - self.piece.start)?;
        Ok(Turn::Cut)
    }

    /// Hands the buffer to the kernel.
    pub fn write_out(&mut self) -> Result<(), OutputError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let offset = self.written - self.piece.start;
        self.piece.file.write_all_at(&self.buffer, offset).map_err(self.piece.error("write"))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.changed = true;
        Ok(())
    }

    /// What must be synced for all that was written to be durable; asked for, it is taken as synced.
    pub fn take_dirty(&mut self) -> Vec<Target> {
        let mut dirty = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.changed) {
            dirty.push(self.piece.target());
        }
        dirty
    }

    /// The current file was cut: a sync is to make that durable, too.
    pub fn was_cut(&mut self) {
        self.changed = true;
    }

    /// A further thing to sync: the directory of a new file.
    pub fn also_dirty(&mut self, target: Target) {
        self.dirty.push(target);
    }

    fn write_out_full(&mut self) -> Result<(), OutputError> {
        if self.buffer.len() >= BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn change_to(&mut self, next: Piece) -> Result<(), OutputError> {
        self.write_out()?;
        if std::mem::take(&mut self.changed) {
            self.dirty.push(self.piece.target());
        }
        if let Some(left) = &mut self.left {
            left.window.clear();
        }
        self.piece = next;
        Ok(())
    }

    /// Cuts the current file and empties the later ones.
    fn cut_at(&mut self, length: u64) -> Result<(), OutputError> {
        if length < self.piece.length {
            tracing::info!(
                "{}: cut from {} to {length} bytes: what follows was never released and does not come again as it is",
                self.piece.path.display(),
                self.piece.length
            );
            self.piece.cut(length)?;
            self.changed = true;
        }
        for later in self.left.take().map(|left| left.later).unwrap_or_default() {
            later.cut(0)?;
            self.dirty.push(later.target());
        }
        Ok(())
    }
}

impl LeftBehind {
    /// How many of the first bytes of `event` are at `offset` of the file, which is known to be that long.
    fn same_bytes(&mut self, piece: &Piece, offset: u64, event: &[u8]) -> Result<usize, OutputError> {
        let mut same = 0;
        while same < event.len() {
            let at = offset + same as u64;
            let inside = at.checked_sub(self.window_at).filter(|skip| *skip < self.window.len() as u64);
            let Some(skip) = inside else {
                let want = (piece.length - at).min(COMPARE_BYTES as u64) as usize;
                self.window.resize(want, 0);
                self.window_at = at;
                piece.file.read_exact_at(&mut self.window, at).map_err(piece.error("read back"))?;
                continue;
            };
            let there = &self.window[skip as usize..];
            let wanted = &event[same..event.len().min(same + there.len())];
            match wanted.iter().zip(there).position(|(a, b)| a != b) {
                Some(different) => return Ok(same + different),
                None => same += wanted.len(),
            }
        }
        Ok(same)
    }
}
