//! What says that directories belong together: a file `lanes` in each of them.
//!
//! ```text
//! flumen lanes 1
//! set 6b1f0c5e9a7d4e02b3d8f1a2c4e6079b
//! lane 1
//! count 2
//! unit 262144
//! path /disk1/channel/flumen
//! path /disk2/channel/flumen
//! crc 5d41402a
//! ```
//!
//! A line each; `crc` is that of all bytes before its line. `lane` counts from 0. The paths, in the order of the lanes, are
//! where the directories were when this was written, absolute, with `%` and control characters as `%` and two hex digits:
//! for messages, for tools, and for a directory that is no longer named. The text stands in the file twice, each time padded
//! with line ends to whole blocks, for one bad sector must not cost the log. A number other than 1 in the first line is a
//! newer version's: refused, and nothing is changed.
//!
//! The file is never changed in place: a new one is written beside it, synced, and renamed over it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::names::LANES_MAX;
use crate::format::segment::ALIGNMENT_MIN;
use crate::storage::{AlignedBuf, Directory};

/// Name of the file in each directory.
pub(super) const FILE_NAME: &str = "lanes";
/// The next one, until it is whole.
pub(super) const NEW_FILE_NAME: &str = "lanes.new";

const FIRST_LINE: &str = "flumen lanes 1";
/// What each version's first line begins with.
const ANY_FIRST_LINE: &str = "flumen lanes ";
/// Longer files are not ours.
const BYTES_MAX: u64 = 1 << 20;

/// What a directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Random: the same in all directories that belong together.
    pub set: u128,
    /// Which of them this is, from 0.
    pub lane: usize,
    /// How many there are.
    pub count: usize,
    /// Bytes of a unit, see [`super`].
    pub unit: u64,
    /// Where they all are.
    pub paths: Vec<PathBuf>,
}

/// What stands in a directory.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Sound(Descriptor),
    /// Neither copy verifies.
    Damaged,
    Newer(String),
}

impl Descriptor {
    fn encode(&self) -> String {
        let Self { set, lane, count, unit, .. } = self;
        let mut text = format!("{FIRST_LINE}\nset {set:032x}\nlane {lane}\ncount {count}\nunit {unit}\n");
        for path in &self.paths {
            text += "path ";
            for &byte in path.as_os_str().as_bytes() {
                match byte {
                    b'%' | 0..=0x1f | 0x7f.. => {
                        write!(text, "%{byte:02x}").expect("writing into memory");
                    }
                    _ => text.push(char::from(byte)),
                }
            }
            text.push('\n');
        }
        let crc = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc {crc:08x}").expect("writing into memory");
        text
    }

    fn decode(bytes: &[u8]) -> Found {
        match Self::try_decode(bytes) {
            Some(Ok(descriptor)) => Found::Sound(descriptor),
            Some(Err(newer)) => Found::Newer(newer),
            None => Found::Damaged,
        }
    }

    fn try_decode(bytes: &[u8]) -> Option<Result<Self, String>> {
        let mark = bytes.windows(5).position(|window| window == b"\ncrc ")? + 1;
        let text = std::str::from_utf8(bytes.get(..mark)?).ok()?;
        let crc = std::str::from_utf8(bytes.get(mark + 4..mark + 12)?).ok()?;
        if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let mut lines = text.lines();
        let first = lines.next()?;
        if first != FIRST_LINE {
            return first.starts_with(ANY_FIRST_LINE).then(|| Err(format!("`{first}`")));
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let set = u128::from_str_radix(value("set")?, 16).ok()?;
        let lane: usize = value("lane")?.parse().ok()?;
        let count: usize = value("count")?.parse().ok()?;
        let unit: u64 = value("unit")?.parse().ok()?;
        let paths: Vec<_> = lines.map(|line| unescape(line.strip_prefix("path ")?)).collect::<Option<_>>()?;
        let sound = (1..=LANES_MAX).contains(&count)
            && lane < count
            && paths.len() == count
            && unit.is_power_of_two()
            && (ALIGNMENT_MIN as u64..=1 << 30).contains(&unit);
        sound.then_some(Ok(Self { set, lane, count, unit, paths }))
    }

    /// Reads the descriptor of `directory`.
    pub(super) fn read(directory: &dyn Directory) -> io::Result<Found> {
        let file = match directory.open(FILE_NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            file => file?,
        };
        let len = file.len()?.min(BYTES_MAX) as usize;
        let alignment = directory.alignment();
        // The second copy begins in the middle; at the alignment of whatever wrote it.
        let mut found = Found::Damaged;
        let mut unreadable = None;
        for start in [0, len / 2] {
            if start % alignment != 0 || !matches!(found, Found::Damaged) {
                continue;
            }
            let mut buffer = AlignedBuf::zeroed((len - start).max(1).next_multiple_of(alignment));
            match file.read_at(&mut buffer, start as u64) {
                Ok(read) => found = Self::decode(&buffer[..read]),
                Err(error) => unreadable = Some(error),
            }
        }
        match (found, unreadable) {
            (Found::Damaged, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Writes it, durably, in the place of an earlier one.
    pub(super) fn write(&self, directory: &dyn Directory) -> io::Result<()> {
        match directory.remove(NEW_FILE_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = directory.create(NEW_FILE_NAME)?;
        let mut bytes = self.encode().into_bytes();
        bytes.resize(bytes.len().next_multiple_of(directory.alignment()), b'\n');
        bytes.extend_from_within(..);
        file.write_at(&AlignedBuf::padded(&bytes, directory.alignment()), 0)?;
        file.sync()?;
        directory.rename(NEW_FILE_NAME, FILE_NAME)?;
        directory.sync()
    }
}

fn unescape(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// As it is kept: absolute and without links as far as it exists, so that it means the same to every process.
pub(super) fn kept(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if let Ok(real) = absolute.canonicalize() {
        return real;
    }
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => kept(parent).join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::faulty::FaultyDisk;

    fn descriptor() -> Descriptor {
        let strange = OsString::from_vec(b"/d\n\xff%2".to_vec());
        Descriptor {
            set: 7 << 100,
            lane: 1,
            count: 2,
            unit: 1 << 18,
            paths: vec!["/disk 1/flumen".into(), strange.into()],
        }
    }

    fn disk() -> (FaultyDisk, Arc<dyn Directory>) {
        let disk = FaultyDisk::new(1);
        let directory = disk.directory("d");
        (disk, directory)
    }

    #[test]
    fn what_is_written_is_read_and_replaces_what_was_there() {
        let (disk, directory) = disk();
        assert!(matches!(Descriptor::read(&*directory).unwrap(), Found::Nothing));
        let mut written = descriptor();
        for _ in 0..2 {
            written.write(&*directory).unwrap();
            written.paths[0] = "/".into();
        }
        written.write(&*directory).unwrap();
        disk.power_cut_losing_all();
        let Found::Sound(read) = Descriptor::read(&*disk.directory("d")).unwrap() else { panic!() };
        assert_eq!(read, written);
    }

    #[test]
    fn either_copy_is_enough_and_every_flipped_bit_is_noticed() {
        let (disk, directory) = disk();
        descriptor().write(&*directory).unwrap();
        let len = descriptor().encode().len() as u64;
        for byte in (0..len).step_by(7) {
            let read = || Descriptor::read(&*directory).unwrap();
            disk.flip_bit("d/lanes", byte, (byte % 8) as u8).unwrap();
            assert!(matches!(read(), Found::Sound(read) if read == descriptor()), "byte {byte}");
            disk.flip_bit("d/lanes", byte + 4096, 1).unwrap();
            assert!(matches!(read(), Found::Damaged), "byte {byte} of both");
            disk.flip_bit("d/lanes", byte, (byte % 8) as u8).unwrap();
            assert!(
                matches!(read(), Found::Sound(read) if read == descriptor()),
                "byte {byte} of the second"
            );
            disk.flip_bit("d/lanes", byte + 4096, 1).unwrap();
        }
        disk.fail_reads("d/lanes", 0, 1).unwrap();
        assert!(matches!(Descriptor::read(&*directory).unwrap(), Found::Sound(_)));
        disk.fail_reads("d/lanes", 0, 8192).unwrap();
        Descriptor::read(&*directory).unwrap_err();
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let text = "flumen lanes 2\nwhatever\n";
        let bytes = format!("{text}crc {:08x}\n", crc32fast::hash(text.as_bytes()));
        assert!(matches!(Descriptor::decode(bytes.as_bytes()), Found::Newer(_)));
        assert!(matches!(Descriptor::decode(b""), Found::Damaged));
    }

    #[test]
    fn fields_that_cannot_be_are_damage() {
        let sound = descriptor();
        for wrong in [
            Descriptor { lane: 2, ..sound.clone() },
            Descriptor { count: 0, ..sound.clone() },
            Descriptor { count: 3, ..sound.clone() },
            Descriptor { unit: 5000, ..sound.clone() },
            Descriptor { unit: 512, ..sound },
        ] {
            assert!(matches!(Descriptor::decode(wrong.encode().as_bytes()), Found::Damaged), "{wrong:?}");
        }
    }
}
