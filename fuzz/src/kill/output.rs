//! What the agent has delivered: the files of `file_roll`, compared with what was written.
//!
//! Names are `<milliseconds of the agent's start>-<number>`, so their order is the order in which they were begun. Files
//! that were compared are removed one comparison later, when no restarted agent can come back to them: a long run needs
//! no more disk than a short one.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ledger::Ledger;
use super::lines::LineId;
use crate::violation::{Broken, Context, Failure, Kind};

/// The output directory, as the writer sees it too.
#[derive(Debug)]
pub struct Output {
    directory: PathBuf,
    removed_bytes: AtomicU64,
}

impl Output {
    /// The output in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, removed_bytes: AtomicU64::new(0) }
    }

    /// Bytes delivered so far, those of removed files included.
    pub fn delivered(&self) -> io::Result<u64> {
        let mut bytes = self.removed_bytes.load(Ordering::Acquire);
        for entry in fs::read_dir(&self.directory)? {
            match entry.and_then(|entry| entry.metadata()) {
                Ok(metadata) => bytes += metadata.len(),
                // Gone since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn files(&self) -> io::Result<Vec<((u64, u64), PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let order = name
                .split_once('-')
                .and_then(|(start, number)| Some((start.parse().ok()?, number.parse().ok()?)));
            let order = order.ok_or_else(|| {
                io::Error::new(ErrorKind::InvalidData, format!("{} is no output file", path.display()))
            })?;
            files.push((order, path));
        }
        files.sort();
        Ok(files)
    }
}

/// How a comparison ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is there; so many lines in all.
    Whole(u64),
    /// So many lines are missing, this one first.
    Missing(u64, LineId),
}

/// Compares the output with the input, again and again while both grow.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What had arrived when the first of the kept files began.
    base: Ledger,
    /// The newest file at the comparison before, and what had arrived when it began: files below it go next.
    settled: Option<((u64, u64), Ledger)>,
}

impl Comparison {
    /// Compares. `written` has each input file's number of lines; nothing is being written, so when all is there
    /// nothing more is to come.
    pub fn compare(&mut self, output: &Output, written: &[u64]) -> Result<Result<Verdict, Broken>, Failure> {
        let reading = || format!("read {}", output.directory.display());
        let files = output.files().context(reading)?;
        let mut ledger = self.base.clone();
        let mut newest = None;
        let (mut line, mut scratch) = (Vec::new(), Vec::new());
        for (i, (order, path)) in files.iter().enumerate() {
            newest = Some((*order, ledger.clone()));
            let file = File::open(path).context(reading)?;
            let mut reader = BufReader::with_capacity(1 << 18, file);
            let mut at = 0;
            loop {
                line.clear();
                let len = reader.read_until(b'\n', &mut line).context(reading)?;
                if len == 0 {
                    break;
                }
                if line.pop() != Some(b'\n') {
                    // The newest file may end within a line that is being written.
                    if i + 1 == files.len() {
                        break;
                    }
                    let what = format!("{} ends within a line", path.display());
                    return Ok(Err(Broken::new(Kind::Changed, what)));
                }
                if let Err(broken) = ledger.arrive(&line, written, &mut scratch) {
                    let what = format!("{} at byte {at}: {}", path.display(), broken.what);
                    return Ok(Err(Broken { what, ..broken }));
                }
                at += len as u64;
            }
        }
        if let Some((count, first)) = ledger.missing(written) {
            return Ok(Ok(Verdict::Missing(count, first)));
        }
        if let Some((order, base)) = std::mem::replace(&mut self.settled, newest) {
            for (_, path) in files.iter().take_while(|(older, _)| *older < order) {
                let bytes = fs::metadata(path).context(reading)?.len();
                fs::remove_file(path).context(|| format!("remove {}", path.display()))?;
                output.removed_bytes.fetch_add(bytes, Ordering::AcqRel);
            }
            self.base = base;
        }
        Ok(Ok(Verdict::Whole(ledger.lines())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    fn text(range: std::ops::Range<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        range.for_each(|line| lines::push(&mut out, LineId { file: 0, line }));
        out
    }

    #[test]
    fn compared_files_go_one_comparison_later_and_are_still_counted() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::new(directory.path().into());
        let mut comparison = Comparison::default();
        let mut compare = |written| comparison.compare(&output, &[written]).unwrap().unwrap();
        fs::write(directory.path().join("99-1"), text(0..3)).unwrap();
        assert_eq!(compare(3), Verdict::Whole(3));
        // Numbers, not letters: 100 comes after 99.
        fs::write(directory.path().join("100-1"), text(3..5)).unwrap();
        assert_eq!(compare(6), Verdict::Missing(1, LineId { file: 0, line: 5 }));
        fs::write(directory.path().join("100-2"), text(5..6)).unwrap();
        assert_eq!(compare(6), Verdict::Whole(6));
        assert!(directory.path().join("99-1").exists());
        assert_eq!(compare(6), Verdict::Whole(6));
        assert!(!directory.path().join("99-1").exists());
        assert_eq!(output.delivered().unwrap(), text(0..6).len() as u64);
        fs::write(directory.path().join("100-2"), [text(5..6), text(0..1)].concat()).unwrap();
        let broken = comparison.compare(&output, &[6]).unwrap().unwrap_err();
        assert_eq!(broken.kind, Kind::Repeated, "{broken}");
    }

    #[test]
    fn a_file_that_ends_within_a_line_is_found_unless_it_is_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::new(directory.path().into());
        let whole = text(0..2);
        fs::write(directory.path().join("1-1"), &whole[..whole.len() - 1]).unwrap();
        let mut comparison = Comparison::default();
        let missing = Verdict::Missing(1, LineId { file: 0, line: 1 });
        assert_eq!(comparison.compare(&output, &[2]).unwrap(), Ok(missing));
        fs::write(directory.path().join("1-2"), text(1..2)).unwrap();
        assert_eq!(comparison.compare(&output, &[2]).unwrap().unwrap_err().kind, Kind::Changed);
    }
}
