//! The files of a configuration: what the command line may name, reading them, and seeing that they changed.

use std::fs::{File, FileType, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Far above any configuration: a log or a device named by mistake is refused instead of read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One file of a configuration. Of several, a later one overrides an earlier one key by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// As the command line names it; problems are reported under this name.
    pub name: Arc<str>,
    /// Where it is.
    pub path: PathBuf,
}

/// What a file held.
#[derive(Clone, Debug)]
pub struct FileContent {
    /// The file's name, as in [`ConfigFile::name`].
    pub name: Arc<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A configuration file cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration file {path}: {cause}")]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: io::Error,
}

impl ConfigFile {
    /// What `-f FILE` or `-u URI` names; the error says what to write instead.
    pub fn from_argument(argument: &str) -> Result<Self, String> {
        let path = match argument.split_once(':') {
            Some(("file", rest)) => percent_decoded(strip_authority(rest, argument)?)?,
            Some(("http" | "https", _)) => {
                return Err(format!(
                    "{argument}: configurations are not fetched over HTTP; fetch it to a file (with curl, from a timer) \
                     and name that with -f: the running agent sees when the file changes"
                ));
            }
            Some(("classpath", _)) => {
                return Err(format!("{argument}: there is no class path; name the file with -f"));
            }
            _ => argument.to_string(),
        };
        let extension =
            Path::new(&path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["json", "yaml", "yml", "xml"].iter().any(|other| extension.eq_ignore_ascii_case(other)) {
            return Err(format!(
                "{argument}: only Java properties are read, and Flume skips .json, .yaml and .xml as well"
            ));
        }
        Ok(Self { name: argument.into(), path: path.into() })
    }

    /// Reads the file, which is a regular one or a pipe of at most 64 MiB.
    pub fn read(&self) -> Result<FileContent, ReadError> {
        self.read_with_kind().map(|(content, _)| content)
    }

    fn read_with_kind(&self) -> Result<(FileContent, FileType), ReadError> {
        let (bytes, kind) =
            read_bounded(&self.path).map_err(|cause| ReadError { path: self.path.clone(), cause })?;
        Ok((FileContent { name: self.name.clone(), bytes }, kind))
    }
}

fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, FileType)> {
    // To open a device may do something already, and to open a socket fails without a reason.
    refuse_special(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    refuse_special(&metadata)?;
    refuse_length(metadata.len())?;
    // A pipe has no length, and a file may grow.
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    refuse_length(bytes.len() as u64)?;
    Ok((bytes, metadata.file_type()))
}

/// A device may have no end. A pipe is what a shell makes of `-f <(command)`.
fn refuse_special(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_fifo() {
        return Ok(());
    }
    let what = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let message = format!("it is {what}; a configuration is a file or a pipe");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn refuse_length(length: u64) -> io::Result<()> {
    if length <= FILE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("more than {FILE_BYTES_MAX} bytes is no configuration");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// `///path`, `//localhost/path` and `/path` name a path of this machine.
fn strip_authority<'a>(rest: &'a str, argument: &str) -> Result<&'a str, String> {
    let Some(after) = rest.strip_prefix("//") else { return Ok(rest) };
    match after.find('/') {
        Some(0) => Ok(after),
        Some(at) if &after[..at] == "localhost" => Ok(&after[at..]),
        _ => Err(format!("{argument}: a file URI names a path of this machine: file:///path")),
    }
}

fn percent_decoded(path: &str) -> Result<String, String> {
    let malformed = || format!("file:{path}: two hexadecimal digits must follow %");
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits =
            after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(malformed)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_not_hex| malformed())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_not_utf8| format!("file:{path}: not UTF-8"))
}

/// What a file looked like when it was last read: any difference is a change.
///
/// Flume looks at the modification time alone and takes only a later one; a file that was put back with its old time, or
/// changed twice within the clock's grain, goes unseen there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    device: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Watches the files of a configuration by asking for their stamps, and by their content when one differs. A pipe is read
/// once and keeps what came out of it.
#[derive(Debug)]
pub struct Watch {
    files: Vec<ConfigFile>,
    stamps: Vec<Option<Stamp>>,
    /// What came out of pipes: it comes once, and an empty pipe is no empty configuration.
    piped: Vec<Option<FileContent>>,
    content: Option<u64>,
}

/// What [`Watch::poll`] found.
#[derive(Debug)]
pub enum Change {
    /// The files hold what they held.
    None,
    /// The files hold something else: here it is, all of them, in order.
    Changed(Vec<FileContent>),
}

impl Watch {
    /// Watches `files`; the first poll finds a change.
    pub fn new(files: Vec<ConfigFile>) -> Self {
        let (stamps, piped) = (vec![None; files.len()], vec![None; files.len()]);
        Self { files, stamps, piped, content: None }
    }

    /// The files.
    pub fn files(&self) -> &[ConfigFile] {
        &self.files
    }

    /// Reads the files if one looks different, and returns them if they hold something else.
    ///
    /// A file that cannot be read is an error at each poll until it can be read again.
    pub fn poll(&mut self) -> Result<Change, ReadError> {
        let stamps = self.look();
        if self.content.is_some() && stamps == self.stamps && stamps.iter().all(Option::is_some) {
            return Ok(Change::None);
        }
        let contents = self.read_all()?;
        // A file that changes while it is read is read again at the next poll: its stamp of before the read is kept.
        self.stamps = stamps;
        let hash = content_hash(&contents);
        if self.content == Some(hash) {
            return Ok(Change::None);
        }
        self.content = Some(hash);
        Ok(Change::Changed(contents))
    }

    /// Reads the files whether or not they look different.
    pub fn reread(&mut self) -> Result<Vec<FileContent>, ReadError> {
        let stamps = self.look();
        let contents = self.read_all()?;
        self.stamps = stamps;
        self.content = Some(content_hash(&contents));
        Ok(contents)
    }

    fn look(&self) -> Vec<Option<Stamp>> {
        self.files.iter().map(|file| Stamp::of(&file.path).ok()).collect()
    }

    fn read_all(&mut self) -> Result<Vec<FileContent>, ReadError> {
        let read = |(file, piped): (&ConfigFile, &mut Option<FileContent>)| {
            if let Some(content) = piped {
                return Ok(content.clone());
            }
            let (content, kind) = file.read_with_kind()?;
            if kind.is_fifo() {
                *piped = Some(content.clone());
            }
            Ok(content)
        };
        self.files.iter().zip(&mut self.piped).map(read).collect()
    }
}

fn content_hash(contents: &[FileContent]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for content in contents {
        content.bytes.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
