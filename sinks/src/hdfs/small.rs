//! Notices that files come out small, which a NameNode pays for: each file is an entry in its memory, and each is a task for
//! whoever reads them.

use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
/// Fewer files in an hour hurt nobody, however small they are.
const FILES_MIN: u64 = 12;

/// The files of the last hour.
pub(super) struct SmallFiles {
    since: Instant,
    files: u64,
    bytes: u64,
}

impl SmallFiles {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { since: now, files: 0, bytes: 0 }
    }

    /// A file of so many bytes has ended.
    pub fn ended(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    /// Once an hour: what to say of it, if the files were small.
    pub fn advice(&mut self, now: Instant, block: Option<u64>) -> Option<String> {
        if now.duration_since(self.since) < HOUR {
            return None;
        }
        let Self { files, bytes, .. } = std::mem::replace(self, Self::new(now));
        let block = block?;
        let mean = bytes.checked_div(files)?;
        (files >= FILES_MIN && mean < block / 10).then(|| {
            format!(
                "{files} files in the last hour have {mean} bytes each, and a block has {block}: raise hdfs.rollInterval, \
                 hdfs.rollSize and hdfs.rollCount (0 is off), or name fewer paths"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_noticed_once_an_hour_and_large_or_few_ones_never() {
        let start = Instant::now();
        let mut small = SmallFiles::new(start);
        (0..20).for_each(|_| small.ended(100));
        assert_eq!(small.advice(start + HOUR / 2, Some(1 << 27)), None);
        let said = small.advice(start + HOUR, Some(1 << 27)).expect("small");
        assert!(said.contains("20 files") && said.contains("100 bytes"), "{said}");
        assert_eq!(small.advice(start + HOUR * 2, Some(1 << 27)), None, "none ended since");
        (0..20).for_each(|_| small.ended(1 << 24));
        assert_eq!(small.advice(start + HOUR * 3, Some(1 << 27)), None, "an eighth of a block");
        small.ended(1);
        assert_eq!(small.advice(start + HOUR * 4, Some(1 << 27)), None, "one");
    }
}
