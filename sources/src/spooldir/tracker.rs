//! Flume's tracker file: how far the file that is being read was read.
//!
//! ```text
//!   <trackerDir>/.flumespool-main.meta    an Avro container file
//!     metadata  file = path of the file, as `spoolDir` spells it
//!     data      {long offset}, one for each batch that Flume committed; the last one counts
//! ```
//!
//! A durable channel keeps positions together with the events and is never behind this file, so what is here decides only
//! where the channel knows less: at the first start after Flume, and for channels in memory. It is written for these, once
//! a second at most, and for Flume, should it take over again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use flumen_avro::long;

use super::deserializer::{Container, Input, Trouble, encode_container, encode_long};
use crate::files;

const NAME: &str = ".flumespool-main.meta";
const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The file that was being read.
    pub target: PathBuf,
    /// How far, as the deserializer counts for Flume.
    pub offset: u64,
    /// When this was written.
    pub modified_ns: u64,
}

/// The tracker file.
#[derive(Debug)]
pub struct Tracker {
    path: PathBuf,
    /// What was there at the start.
    pub found: Option<Mark>,
    written: Option<(PathBuf, u64)>,
    due: Instant,
}

impl Tracker {
    /// Reads the tracker file in `directory`. One of no bytes is removed, as by Flume; one that is broken is left alone
    /// until it is written anew.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let mut tracker = Self { path, found: None, written: None, due: Instant::now() + WRITE_EVERY };
        let (file, status) = match files::open(&tracker.path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(tracker),
            Err(error) => return Err(error),
        };
        if status.len == 0 {
            fs::remove_file(&tracker.path)?;
            return Ok(tracker);
        }
        match read(&Input::new(tracker.path.clone(), file, status.len)) {
            Ok((target, offset)) => {
                tracker.found =
                    Some(Mark { target: plain(&target), offset, modified_ns: status.modified_ns });
            }
            Err(Trouble::Io(error)) => return Err(error),
            Err(Trouble::Bad(why)) => {
                tracing::warn!(file = %tracker.path.display(), "tracker file cannot be used: {why}");
            }
        }
        Ok(tracker)
    }

    /// The offset for the file at `path`, born at `born_ns`, if the tracker file was left for it.
    pub fn offset_for(&self, path: &Path, born_ns: u64) -> Option<u64> {
        let mark = self.found.as_ref()?;
        (mark.target == plain(path) && born_ns <= mark.modified_ns).then_some(mark.offset)
    }

    /// Whether it is time to write again.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Writes how far the file at `path` was read, unless that is what was written last.
    pub fn write(&mut self, path: &Path, offset: u64) -> io::Result<()> {
        self.due = Instant::now() + WRITE_EVERY;
        if self.written.as_ref().is_some_and(|(last, at)| last == path && *at == offset) {
            return Ok(());
        }
        let target = path.to_string_lossy();
        let meta = [("file", target.as_bytes()), ("avro.schema", SCHEMA.as_bytes())];
        let offset_bytes = encode_long(i64::try_from(offset).unwrap_or(i64::MAX));
        let bytes = encode_container(&meta, sync_marker(path, offset), &[(1, offset_bytes)]);
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, &self.path)?;
        self.written = Some((path.to_path_buf(), offset));
        Ok(())
    }

    /// The file at `path` is done with: removes the tracker file if it is about that.
    pub fn forget(&mut self, path: &Path) -> io::Result<()> {
        let was_found = self.found.take_if(|mark| mark.target == plain(path)).is_some();
        let was_written = self.written.take_if(|(last, _)| last == path).is_some();
        // What was found is gone once something else was written over it.
        let is_there = was_written || was_found && self.written.is_none();
        match if is_there { fs::remove_file(&self.path) } else { Ok(()) } {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Target and offset.
fn read(input: &Input) -> Result<(PathBuf, u64), Trouble> {
    let container = Container::open(input)?;
    let target =
        container.meta("file").ok_or_else(|| Trouble::Bad("it does not say of which file it is".into()))?;
    let target = PathBuf::from(String::from_utf8_lossy(target).into_owned());
    let (mut at, mut offset) = (container.first_block, 0);
    // A crash may have cut the last record off.
    while let Ok(Some(block)) = container.block(input, at) {
        let data = container.data(input, &block)?;
        let mut rest = &data[..];
        while let Some((number, length)) = long(rest) {
            offset = number;
            rest = &rest[length..];
        }
        at = block.next;
    }
    let offset =
        u64::try_from(offset).map_err(|_negative| Trouble::Bad(format!("its offset is {offset}")))?;
    Ok((target, offset))
}

/// Sixteen bytes that are not in the file's other bytes.
fn sync_marker(path: &Path, offset: u64) -> [u8; 16] {
    let crc = crc32fast::hash(path.as_os_str().as_encoded_bytes());
    let mut marker = *b"flumen sync mark";
    marker[8..12].copy_from_slice(&crc.to_le_bytes());
    marker[12..].copy_from_slice(&crc32fast::hash(&offset.to_le_bytes()).to_le_bytes());
    marker
}

/// Without doubled slashes and such, which Java's paths do not keep either.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_for_that_file_alone() {
        let room = tempfile::tempdir().unwrap();
        let mut tracker = Tracker::open(room.path()).unwrap();
        assert_eq!(tracker.found, None);
        for offset in [17, 300_000_000_000] {
            tracker.write(Path::new("/spool/a"), offset).unwrap();
        }
        let found = Tracker::open(room.path()).unwrap();
        assert_eq!(found.offset_for(Path::new("/spool//./a"), 0), Some(300_000_000_000));
        assert_eq!(found.offset_for(Path::new("/spool/b"), 0), None);
        assert_eq!(found.offset_for(Path::new("/spool/a"), u64::MAX), None, "a file that is younger");
        let names: Vec<_> =
            fs::read_dir(room.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
        tracker.forget(Path::new("/spool/b")).unwrap();
        assert!(room.path().join(NAME).exists());
        tracker.forget(Path::new("/spool/a")).unwrap();
        assert!(!room.path().join(NAME).exists());
    }

    /// What Flume 1.11 left when it was killed after two batches of a hundred numbers, one a line.
    const FLUMES: &[u8] = b"Obj\x01\x04\x16avro.schema\x90\x02\
        {\"type\":\"record\",\"name\":\"TransferStateFileMeta\",\"namespace\":\"org.apache.flume.serialization\",\"fields\":[{\"name\":\"offset\",\"type\":\"long\"}]}\
        \x08file\x16spool/a.log\x00\x96\xd5\xf6\\\xceb\xdc\x15\xbaU]\xf5lk\x88\xa0\x02\x04\xc8\x04\x96\xd5\xf6\\\xceb\xdc\x15\xbaU]\xf5lk\x88\xa0\x02\x04\xe8\x0a\x96\xd5\xf6\\\xceb\xdc\x15\xbaU]\xf5lk\x88\xa0";

    #[test]
    fn what_the_real_flume_wrote_is_read() {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join(NAME), FLUMES).unwrap();
        let tracker = Tracker::open(room.path()).unwrap();
        assert_eq!(tracker.offset_for(Path::new("spool/a.log"), 0), Some(9 * 2 + 90 * 3 + 101 * 4));
    }

    /// One record a batch, several in a block, and the last one cut off: as a killed Flume leaves it.
    #[test]
    fn flumes_own_file_is_read_to_its_last_whole_record() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join(NAME);
        let meta = [("avro.schema", SCHEMA.as_bytes()), ("file", b"upload/log 1")];
        let two = [encode_long(9), encode_long(120)].concat();
        let bytes = encode_container(&meta, [7; 16], &[(1, encode_long(5)), (2, two), (1, encode_long(130))]);
        for (end, offset) in [(bytes.len(), 130), (bytes.len() - 3, 120)] {
            fs::write(&path, &bytes[..end]).unwrap();
            assert_eq!(
                Tracker::open(room.path()).unwrap().offset_for(Path::new("upload/log 1"), 0),
                Some(offset)
            );
        }
    }

    #[test]
    fn an_empty_file_is_removed_and_a_broken_one_ignored() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join(NAME);
        fs::write(&path, "").unwrap();
        assert_eq!(Tracker::open(room.path()).unwrap().found, None);
        assert!(!path.exists());
        fs::write(&path, "not Avro").unwrap();
        let mut tracker = Tracker::open(room.path()).unwrap();
        assert_eq!(tracker.found, None);
        tracker.write(Path::new("/a"), 1).unwrap();
        assert_eq!(Tracker::open(room.path()).unwrap().offset_for(Path::new("/a"), 0), Some(1));
    }
}
