//! Where damaged bytes go before anything is done about them: a folder beside the segments, never read by a log.
//!
//! ```text
//!   segment-0000000000000007.log.12288         the bytes, padded with zeroes to whole blocks
//!   segment-0000000000000007.log.12288.json    what they are; written when the bytes are durable
//! ```
//!
//! A name that is taken gets a number behind it. Bytes without a note are of a run that did not end.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::read::tolerant::read_around;
use crate::segment::window::WINDOW_BYTES;
use crate::storage::{self, AlignedBuf, Backend, Directory, File};

/// Name of the folder in the directory of the segments.
pub const FOLDER: &str = "quarantine";

/// Opens the folder; makes it if it is not there.
type Opener = dyn Fn() -> io::Result<Arc<dyn Directory>> + Send + Sync;

/// The folder for damaged bytes, made when it is first needed.
#[derive(Clone)]
pub struct Quarantine(Arc<Opener>);

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quarantine")
    }
}

impl Quarantine {
    /// The folder that `open` gives, which it makes, durably, if it is not there.
    pub fn new(open: impl Fn() -> io::Result<Arc<dyn Directory>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// The subfolder [`quarantine`](FOLDER) of a directory of a real disk, for its owner only.
    pub fn within(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self::new(move || Ok(storage::open(made_within(&directory)?, Backend::Std)?.0))
    }

    /// The folder with what it holds.
    pub(crate) fn open(&self) -> io::Result<OpenQuarantine> {
        let directory = (self.0)()?;
        let names = directory.list()?.into_iter().map(|entry| entry.name).collect();
        Ok(OpenQuarantine { directory, names })
    }
}

fn made_within(directory: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = directory.join(FOLDER);
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created?,
    }
    std::fs::File::open(directory)?.sync_all()?;
    Ok(folder)
}

/// What is known of bytes that are set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The file that they stand in.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many; the file may end before.
    pub bytes: u64,
    /// What is wrong with them.
    pub what: String,
    /// First and last frame number, if known.
    pub frames: Option<(u64, u64)>,
    /// First event that is given up, and the event after the last one, if any are and they are known.
    pub events: Option<(u64, u64)>,
    /// The log that they belong to.
    pub log_id: Option<u128>,
    /// Who set them aside.
    pub by: &'static str,
}

/// The folder, open.
#[derive(Debug)]
pub struct OpenQuarantine {
    directory: Arc<dyn Directory>,
    names: BTreeSet<String>,
}

impl OpenQuarantine {
    /// Copies the bytes of `file` that the note speaks of, durably once [`sync`](Self::sync) has returned; gives the copy's
    /// name. `block` is the length of what is zeroed where the disk cannot read it.
    pub fn set_aside(&mut self, file: &dyn File, block: usize, note: &Note) -> io::Result<String> {
        let name = self.free_name(&format!("{}.{}", note.file, note.offset));
        let copy = self.directory.create(&name)?;
        let end = note.offset.saturating_add(note.bytes).min(file.len()?);
        let window = WINDOW_BYTES.next_multiple_of(block).next_multiple_of(self.directory.alignment());
        let mut buffer = AlignedBuf::zeroed(window);
        let mut unreadable = Vec::new();
        let mut at = note.offset;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(window).min(window).next_multiple_of(block);
            let (read, bad) = read_around(file, &mut buffer[..want], at, block)?;
            unreadable.extend(bad);
            let padded = read.next_multiple_of(self.directory.alignment());
            buffer[read..padded].fill(0);
            copy.write_at(&buffer[..padded], at - note.offset)?;
            at += want as u64;
        }
        copy.sync()?;
        let text = text(note, end.saturating_sub(note.offset), &unreadable);
        let described = self.directory.create(&format!("{name}.json"))?;
        let mut bytes = text.into_bytes();
        // Blanks are JSON's own padding.
        bytes.resize(bytes.len().next_multiple_of(self.directory.alignment()), b' ');
        described.write_at(&AlignedBuf::padded(&bytes, self.directory.alignment()), 0)?;
        described.sync()?;
        Ok(name)
    }

    /// Makes the names of what was set aside durable.
    pub fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn free_name(&mut self, wanted: &str) -> String {
        let taken = |name: &String| self.names.contains(name) || self.names.contains(&format!("{name}.json"));
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let name = std::iter::once(wanted.to_string()).chain(numbered).find(|name| !taken(name));
        let name = name.expect("one of all numbers is free");
        self.names.insert(name.clone());
        name
    }
}

fn text(note: &Note, bytes: u64, unreadable: &[u64]) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "null".to_string(), |number| number.to_string());
    let fields = [
        ("file", quoted(&note.file)),
        ("offset", note.offset.to_string()),
        ("bytes", bytes.to_string()),
        ("what", quoted(&note.what)),
        ("firstFrame", number(note.frames.map(|frames| frames.0))),
        ("lastFrame", number(note.frames.map(|frames| frames.1))),
        ("firstEvent", number(note.events.map(|events| events.0))),
        ("endEvent", number(note.events.map(|events| events.1))),
        ("unreadableBlocks", format!("{unreadable:?}")),
        ("logId", note.log_id.map_or_else(|| "null".to_string(), |id| format!("\"{id:032x}\""))),
        ("by", quoted(note.by)),
    ];
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("  \"{key}\": {value}")).collect();
    format!("{{\n{}\n}}\n", fields.join(",\n"))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => write!(quoted, "\\u{:04x}", u32::from(c)).expect("writing into memory"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
