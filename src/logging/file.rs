//! The log file: appended to, moved away when it is large, opened anew when asked.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// Flume's size at which the file is moved away.
const BYTES_MAX: u64 = 100 << 20;
/// Flume's number of files that are kept beside the present one.
const KEPT: u32 = 10;

/// A log file that rolls.
#[derive(Debug)]
pub struct RollingFile {
    path: PathBuf,
    file: File,
    length: u64,
    bytes_max: u64,
}

impl RollingFile {
    /// Opens `path` for appending, with its directory.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let (file, length) = append_to(&path)?;
        Ok(Self { path, file, length, bytes_max: BYTES_MAX })
    }

    /// Opens the file anew under its name.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.length) = append_to(&self.path)?;
        Ok(())
    }

    /// Appends whole lines.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let added = lines.len() as u64;
        if self.length > 0 && self.length + added > self.bytes_max {
            self.roll()?;
        }
        self.file.write_all(lines)?;
        self.length += added;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            // A gap in the row is no error: nothing is there to move.
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append_to(path: &PathBuf) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_moves_aside_and_at_most_ten_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/flume.log");
        let mut log = RollingFile::open(path.clone()).unwrap();
        log.bytes_max = 10;
        for number in 0..15 {
            log.write(format!("line {number:02}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 14\n");
        assert_eq!(std::fs::read_to_string(log.numbered(1)).unwrap(), "line 13\n");
        assert_eq!(std::fs::read_to_string(log.numbered(10)).unwrap(), "line 04\n");
        assert!(!log.numbered(11).exists());
    }

    #[test]
    fn a_reopened_file_is_a_new_one_if_the_old_was_moved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flume.log");
        let mut log = RollingFile::open(path.clone()).unwrap();
        log.write(b"one\n").unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        log.write(b"two\n").unwrap();
        log.reopen().unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("moved")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}
