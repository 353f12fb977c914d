//! Where to begin: the channel's progress, the position file, or neither.
//!
//! ```text
//!   channel      record in it    position file            who decides
//!   knows us not, or no record   readable                 the file (Flume's, or a memory channel's)
//!   knows us not, or no record   missing or broken        nobody: files are new
//!   knows us not, or no record   an error on reading it   nothing begins until it can be read
//!   record                       one of our last two      the channel
//!   record                       readable, other bytes    the file: a person wrote it
//!   record                       broken, or an error      the channel, with a warning
//!   record, not clean            missing                  the channel: it never came to be written
//!   record, clean stop           missing                  nobody: a person took it away to begin anew
//! ```
//!
//! The channel's positions go by device and inode, whatever the file is called now, if birth time and first bytes agree.
//! The position file's go by inode **and** path, as in Flume, if the file is not younger than the position file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use flumen_api::Position;
use flumen_api::progress::Positions;

use super::position_file::{Entry, Found, Record};
use super::tail::Memo;
use crate::files::{FileId, Status, status_at};

/// Who decides where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The progress that the channel keeps.
    Channel,
    /// The position file.
    File {
        /// Its entries.
        entries: Vec<Entry>,
        /// When it was written.
        modified_ns: u64,
    },
    /// No one: all files are new.
    Nobody,
}

/// Decides by the table above; the text is worth a log line if there is one.
pub fn authority(record: Option<Record>, found: Found) -> (Authority, Option<String>) {
    match (record, found) {
        (Some(record), Found::Entries { hash, .. }) if record.knows(hash) => (Authority::Channel, None),
        (record, Found::Entries { entries, modified_ns, .. }) => (
            Authority::File { entries, modified_ns },
            record.map(|_| "it is not as it was last written: its positions win over the channel's".into()),
        ),
        (Some(_), Found::Unreadable(why)) => (
            Authority::Channel,
            Some(format!(
                "it cannot be used ({why}); the positions in the channel are used. To begin anew, stop and remove it"
            )),
        ),
        (Some(record), Found::Missing) if record.clean => {
            (Authority::Nobody, Some("it was removed after a clean stop: all files are read anew".into()))
        }
        (Some(_), Found::Missing) => (Authority::Channel, None),
        (None, Found::Unreadable(why)) => {
            (Authority::Nobody, Some(format!("it cannot be used ({why}): all files are read as new")))
        }
        (None, Found::Missing) => (Authority::Nobody, None),
    }
}

/// Where one file begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Generation and offset, `None` for a file of which nothing is known.
    pub at: Option<(u64, u64)>,
    /// The channel has to be told before anything else is put: the position is not the channel's own.
    pub announce: bool,
    /// A key of the same file under an earlier device number, to be retired.
    pub replaces: Option<String>,
}

/// The positions at the start of a source.
#[derive(Clone, Debug)]
pub struct Resume {
    authority: Authority,
    /// What the channel holds, less what was asked for.
    channel: BTreeMap<FileId, Position>,
}

impl Resume {
    /// From the authority and all that the channel holds.
    pub fn new(authority: Authority, positions: Positions) -> Self {
        let channel = positions
            .into_iter()
            .filter_map(|(key, position)| Some((FileId::parse(&key)?, position)))
            .collect();
        Self { authority, channel }
    }

    /// Where to begin with the open file that has `path` now. `generation` makes a new generation above a given one.
    pub fn start(
        &mut self,
        path: &Path,
        file: &File,
        status: &Status,
        mut generation: impl FnMut(u64) -> u64,
    ) -> io::Result<Start> {
        let known = self.channel.remove(&status.id);
        let new = Start { at: None, announce: false, replaces: None };
        match (&self.authority, known) {
            (Authority::Channel, Some(position)) => {
                let fits = match Memo::decode(&position.rest) {
                    Some(memo) => memo.fits(file, status, position.to)?,
                    None => status.len >= position.to,
                };
                if fits {
                    return Ok(Start { at: Some((position.generation, position.to)), ..new });
                }
                tracing::info!(file = %path.display(), position = position.to, length = status.len,
                    "not the file that was read before the stop: read from its beginning");
                Ok(Start { at: Some((generation(position.generation), 0)), announce: true, ..new })
            }
            (Authority::Channel, None) => self.under_another_device(file, status, new, generation),
            (Authority::Nobody, known) => Ok(match known {
                None => new,
                // New to us, and still the channel must not take it for what it knows.
                Some(position) => {
                    Start { at: Some((generation(position.generation), 0)), announce: true, ..new }
                }
            }),
            (Authority::File { entries, modified_ns }, known) => {
                let entry = entries.iter().find(|one| {
                    one.inode == status.id.inode
                        && Path::new(&one.file) == path
                        && status.born_ns <= *modified_ns
                });
                let position = match entry {
                    Some(entry) if entry.pos <= status.len => entry.pos,
                    Some(entry) => {
                        tracing::info!(file = %path.display(), position = entry.pos, length = status.len,
                            "shorter than its position: read from its beginning");
                        0
                    }
                    None if known.is_none() => return Ok(new),
                    None => 0,
                };
                if let Some(known) = known.as_ref().filter(|known| {
                    known.to == position
                        && Memo::decode(&known.rest)
                            .is_some_and(|memo| memo.fits(file, status, position).unwrap_or(false))
                }) {
                    return Ok(Start { at: Some((known.generation, position)), ..new });
                }
                let before = known.map_or(0, |known| known.generation);
                Ok(Start { at: Some((generation(before), position)), announce: true, ..new })
            }
        }
    }

    /// Ends the start: what the channel holds of files that are not there any more, to be retired. From now on the
    /// position file has no say, for a file that appears later is not the one that it means.
    pub fn take_lost(&mut self) -> BTreeMap<FileId, Position> {
        self.authority = Authority::Channel;
        let (there, lost) = std::mem::take(&mut self.channel).into_iter().partition(|(id, position)| {
            // It may be unreadable just now.
            Memo::decode(&position.rest)
                .and_then(|memo| status_at(&memo.path).ok())
                .is_some_and(|status| status.id == *id)
        });
        self.channel = there;
        lost
    }

    /// Positions of the channel that no file has asked for yet.
    pub fn unclaimed(&self) -> Vec<(FileId, Option<Memo>, u64)> {
        self.channel.iter().map(|(id, one)| (*id, Memo::decode(&one.rest), one.to)).collect()
    }

    /// Device numbers are handed out at mount: after a reboot the same file system may have another one. The same inode
    /// number with the same birth time and the same first bytes is the same file.
    fn under_another_device(
        &mut self,
        file: &File,
        status: &Status,
        new: Start,
        mut generation: impl FnMut(u64) -> u64,
    ) -> io::Result<Start> {
        let same_inode: Vec<FileId> =
            self.channel.keys().filter(|id| id.inode == status.id.inode).copied().collect();
        for id in same_inode {
            let position = &self.channel[&id];
            let Some(memo) = Memo::decode(&position.rest) else { continue };
            let told_apart = memo.head_len > 0 && memo.born_ns != 0 && memo.born_ns == status.born_ns;
            if told_apart && memo.fits(file, status, position.to)? {
                let start = Start {
                    at: Some((generation(position.generation), position.to)),
                    announce: true,
                    replaces: Some(id.key()),
                };
                self.channel.remove(&id);
                return Ok(start);
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(hash: u64) -> Found {
        Found::Entries { entries: Vec::new(), hash, modified_ns: 5 }
    }

    #[test]
    fn the_table_of_authority_holds() {
        let file = Authority::File { entries: Vec::new(), modified_ns: 5 };
        let record = |clean| Some(Record { clean, newest: 1, before: 2 });
        let decide = |record, found| authority(record, found).0;
        let broken = || Found::Unreadable("x".into());
        assert_eq!(decide(None, entries(1)), file);
        assert_eq!(decide(None, Found::Missing), Authority::Nobody);
        assert_eq!(decide(None, broken()), Authority::Nobody);
        for clean in [false, true] {
            assert_eq!(decide(record(clean), entries(1)), Authority::Channel);
            assert_eq!(decide(record(clean), entries(2)), Authority::Channel);
            assert_eq!(decide(record(clean), entries(3)), file);
            assert_eq!(decide(record(clean), broken()), Authority::Channel);
        }
        assert_eq!(decide(record(false), Found::Missing), Authority::Channel);
        assert_eq!(decide(record(true), Found::Missing), Authority::Nobody);
    }
}
