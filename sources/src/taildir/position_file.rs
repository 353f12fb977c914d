//! The position file, as Flume writes and reads it: one line of JSON without a line end.
//!
//! ```text
//! [{"inode":10125717,"pos":6,"file":"/path/app.log"},{"inode":10125718,"pos":0,"file":"/path/b.log"}]
//!   inode  without the device                pos  offset after the last line that is acked
//!   file   absolute path                     Flume's parser refuses any other key
//! ```
//!
//! Flume writes it in place, so a full disk or a crash leaves it empty. Here a new file is written beside it, synced,
//! renamed over it, and the directory is synced: there is always a whole one. The reader takes unknown keys and white
//! space, refuses everything else that is not such a list, and says where.
//!
//! A durable channel keeps the positions too, and is never older than this file. So that a person can still change,
//! bring or remove it, the channel also keeps a [`Record`] of what we wrote.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// More is no position file: an entry has some hundred bytes, and a source follows some thousand files.
const BYTES_MAX: u64 = 64 << 20;

/// One file's line in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Inode number.
    pub inode: u64,
    /// Everything before this offset is acked.
    pub pos: u64,
    /// Absolute path.
    pub file: String,
}

/// What was found at the position file's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No file.
    Missing,
    /// A file that is no list of positions: why.
    Unreadable(String),
    /// The entries.
    Entries {
        /// Positions, in the file's order.
        entries: Vec<Entry>,
        /// [`hash`] of the file's bytes.
        hash: u64,
        /// When it was last written, in nanoseconds since 1970.
        modified_ns: u64,
    },
}

/// Reads the file at `path`. An error says nothing about what is in it: another attempt may succeed.
pub fn load(path: &Path) -> io::Result<Found> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        let message = format!("it has more than {BYTES_MAX} bytes, which no position file has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Found::Unreadable("the file is empty".into()));
    }
    let modified_ns = crate::files::status_at(path).map_or(0, |status| status.modified_ns);
    Ok(match decode(&bytes) {
        Ok(entries) => Found::Entries { entries, hash: hash(&bytes), modified_ns },
        Err(why) => Found::Unreadable(why),
    })
}

/// The entries that a file's bytes hold, or why they are no list of positions.
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let lines: Vec<Line> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(lines.into_iter().map(|Line(entry)| entry).collect())
}

/// An entry that is written as an object: by itself serde takes a list of its values as well.
struct Line(Entry);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with inode, pos and file")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Line, A::Error> {
        Entry::deserialize(MapAccessDeserializer::new(map)).map(Line)
    }
}

/// The file's bytes.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    serde_json::to_vec(entries).expect("integers and texts are always JSON")
}

/// Replaces the file at `path` with `bytes`; parent directories are made. When it returns, the new file is durable.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = directory.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // Without this a power cut could bring an older file back, which would look like one that a person put there.
    File::open(directory)?.sync_all()
}

/// 64-bit FNV-1a: tells our own file from one that a person touched. Not for secrets.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the channel keeps about the position file, as the rest of the progress key [`Record::KEY`].
///
/// ```text
/// v1 <clean: 0 or 1> <hash about to be written, 16 hex digits> <hash on disk before that, 16 hex digits>
/// ```
///
/// It is durable *before* the file is replaced, so the file on disk always has one of the two hashes unless a person
/// touched it. `clean` is set by a clean stop, after the file is in its place: only then does a missing file mean that
/// somebody took it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The source stopped cleanly with its file in place.
    pub clean: bool,
    /// The hash of the newest file.
    pub newest: u64,
    /// The hash of the one before.
    pub before: u64,
}

impl Record {
    /// The progress key: not the shape of a file's `dev:inode`.
    pub const KEY: &'static str = "position-file";

    /// As text.
    pub fn encode(&self) -> String {
        format!("v1 {} {:016x} {:016x}", u8::from(self.clean), self.newest, self.before)
    }

    /// From text; `None` if it is none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        let mut next = || words.next();
        (next()? == "v1").then_some(())?;
        let clean = match next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let newest = u64::from_str_radix(next()?, 16).ok()?;
        let before = u64::from_str_radix(next()?, 16).ok()?;
        next().is_none().then_some(Self { clean, newest, before })
    }

    /// Whether a file with this hash is one of the last two that we wrote.
    pub fn knows(&self, hash: u64) -> bool {
        hash == self.newest || hash == self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u64, pos: u64, file: &str) -> Entry {
        Entry { inode, pos, file: file.into() }
    }

    #[test]
    fn the_bytes_are_flumes() {
        let bytes = encode(&[entry(10125717, 6, "/path/app.log"), entry(2, 0, "/b \"q\"")]);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"[{"inode":10125717,"pos":6,"file":"/path/app.log"},{"inode":2,"pos":0,"file":"/b \"q\""}]"#
        );
        assert_eq!(encode(&[]), b"[]");
    }

    #[test]
    fn what_was_replaced_is_read_back() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("new/directory/positions.json");
        assert_eq!(load(&path).unwrap(), Found::Missing);
        for pos in [1, 22, 3] {
            let entries = vec![entry(7, pos, "/x")];
            replace(&path, &encode(&entries)).unwrap();
            let Found::Entries { entries: read, hash: found, modified_ns } = load(&path).unwrap() else {
                panic!()
            };
            assert_eq!((read, found), (entries.clone(), hash(&encode(&entries))));
            assert!(modified_ns > 0);
        }
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["positions.json"]);
    }

    #[test]
    fn an_empty_or_broken_file_is_unreadable_and_says_where() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("p");
        fs::write(&path, " \n").unwrap();
        assert_eq!(load(&path).unwrap(), Found::Unreadable("the file is empty".into()));
        fs::write(&path, r#"[{"inode":1,"pos":-4,"file":"/x"}]"#).unwrap();
        let Found::Unreadable(why) = load(&path).unwrap() else { panic!() };
        assert!(why.contains("column 20"), "{why}");
        assert!(decode(br#"[[1,4,"/x"]]"#).unwrap_err().contains("expected an object"));
    }

    #[test]
    fn what_cannot_be_read_or_is_far_too_large_is_an_error_and_not_an_empty_list() {
        let room = tempfile::tempdir().unwrap();
        assert!(load(room.path()).is_err());
        let path = room.path().join("p");
        File::create(&path).unwrap().set_len(BYTES_MAX + 1).unwrap();
        assert_eq!(load(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_record_survives_its_text() {
        let record = Record { clean: true, newest: u64::MAX, before: 3 };
        assert_eq!(Record::decode(record.encode().as_bytes()), Some(record));
        for bad in ["", "v1", "v2 1 0 0", "v1 2 0 0", "v1 1 0 0 0", "v1 1 g 0"] {
            assert_eq!(Record::decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
