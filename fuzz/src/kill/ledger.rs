//! The oracle: which lines have arrived, file by file.

use std::ops::Range;

use super::lines::{self, LineId, NotALine};
use crate::violation::{Broken, Kind};

/// How much of a bad line a message shows.
const SHOWN_BYTES: usize = 120;

/// Lines that have arrived. Fed with the output in its order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    files: Vec<Arrived>,
    lines: u64,
}

#[derive(Clone, Debug, Default)]
struct Arrived {
    /// The line after the last that arrived.
    next: u64,
    /// Below `next`, and not there: lost, or out of order if they still come.
    skipped: Vec<Range<u64>>,
}

impl Ledger {
    /// Lines that arrived.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes in the next line of the output, without its end; `written` has each input file's number of lines.
    pub fn arrive(&mut self, line: &[u8], written: &[u64], scratch: &mut Vec<u8>) -> Result<(), Broken> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).into_owned();
        let id = lines::read(line, scratch).map_err(|not| match not {
            NotALine::Damaged => Broken::new(Kind::Changed, format!("a line is damaged: {}", shown())),
            NotALine::Foreign => {
                Broken::new(Kind::NeverWritten, format!("a line was never written: {}", shown()))
            }
        })?;
        if written.get(id.file).is_none_or(|count| id.line >= *count) {
            return Err(Broken::new(Kind::NeverWritten, format!("a line was never written: {}", shown())));
        }
        if self.files.len() <= id.file {
            self.files.resize_with(id.file + 1, Arrived::default);
        }
        self.files[id.file].arrive(id)?;
        self.lines += 1;
        Ok(())
    }

    /// How many of the written lines are missing, and the first of them.
    pub fn missing(&self, written: &[u64]) -> Option<(u64, LineId)> {
        let nothing = Arrived::default();
        let mut count = 0;
        let mut first = None;
        for (file, &end) in written.iter().enumerate() {
            let arrived = self.files.get(file).unwrap_or(&nothing);
            for range in arrived.skipped.iter().cloned().chain(std::iter::once(arrived.next..end)) {
                count += range.end.saturating_sub(range.start);
                first = first.or((!range.is_empty()).then_some(LineId { file, line: range.start }));
            }
        }
        first.map(|first| (count, first))
    }
}

impl Arrived {
    fn arrive(&mut self, LineId { file, line }: LineId) -> Result<(), Broken> {
        if line > self.next {
            self.skipped.push(self.next..line);
        }
        if line >= self.next {
            self.next = line + 1;
            return Ok(());
        }
        let next = self.next;
        let (kind, how) = match self.skipped.iter().any(|range| range.contains(&line)) {
            true => (Kind::Order, "after"),
            false => (Kind::Repeated, "for a second time after"),
        };
        Err(Broken::new(kind, format!("file {file}: line {line} arrives {how} line {}", next - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(file: usize, line: u64) -> Vec<u8> {
        let mut out = Vec::new();
        lines::push(&mut out, LineId { file, line });
        out.pop();
        out
    }

    /// Lines 0 to 4 of file 0 and 0 to 2 of file 1, with what `change` makes of them.
    fn verdict(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<Option<(u64, LineId)>, Kind> {
        let mut output: Vec<_> = (0..5).map(|i| line(0, i)).chain((0..3).map(|i| line(1, i))).collect();
        change(&mut output);
        let (mut ledger, written) = (Ledger::default(), [5, 3]);
        for line in &output {
            ledger.arrive(line, &written, &mut vec![]).map_err(|broken| broken.kind)?;
        }
        Ok(ledger.missing(&written))
    }

    #[test]
    fn what_was_written_is_accepted_and_files_may_mix() {
        assert_eq!(verdict(|_| ()), Ok(None));
        assert_eq!(verdict(|output| output.swap(4, 5)), Ok(None));
    }

    #[test]
    fn a_lost_line_is_found_wherever_it_was() {
        for lost in 0..8 {
            let id = if lost < 5 { (0, lost) } else { (1, lost - 5) };
            let id = LineId { file: id.0, line: id.1 as u64 };
            assert_eq!(verdict(|output| drop(output.remove(lost))), Ok(Some((1, id))), "{lost}");
        }
        assert_eq!(verdict(|output| output.truncate(5)), Ok(Some((3, LineId { file: 1, line: 0 }))));
    }

    #[test]
    fn a_repeated_line_is_found() {
        for (from, to) in [(0, 1), (0, 5), (4, 8), (7, 8)] {
            let repeat = |output: &mut Vec<Vec<u8>>| output.insert(to, output[from].clone());
            assert_eq!(verdict(repeat), Err(Kind::Repeated), "line {from} at {to}");
        }
    }

    #[test]
    fn swapped_lines_are_found() {
        assert_eq!(verdict(|output| output.swap(1, 2)), Err(Kind::Order));
        assert_eq!(verdict(|output| output.swap(0, 4)), Err(Kind::Order));
    }

    #[test]
    fn a_changed_byte_is_found_and_so_is_a_torn_line() {
        assert_eq!(verdict(|output| output[3][40] ^= 1), Err(Kind::Changed));
        let half = |output: &mut Vec<Vec<u8>>| {
            let len = output[2].len();
            output[2].truncate(len / 2);
        };
        assert_eq!(verdict(half), Err(Kind::Changed));
        assert_eq!(verdict(|output| output.insert(2, vec![])), Err(Kind::Changed));
    }

    #[test]
    fn lines_that_were_never_written_are_found() {
        assert_eq!(verdict(|output| output.push(line(1, 3))), Err(Kind::NeverWritten));
        assert_eq!(verdict(|output| output.push(line(2, 0))), Err(Kind::NeverWritten));
    }
}
