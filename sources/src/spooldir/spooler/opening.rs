//! Which file is next, and where in it to begin.
//!
//! ```text
//!   the channel has the file, unchanged       at the channel's position; at the tracker file's, should that be further
//!   the channel has the file, and it changed  not at all: it is set aside
//!   the channel has it not, or another file   at the tracker file's position if it is about this path, else at 0
//!     with its inode number
//! ```
//!
//! The tracker file is further only if Flume went on in between.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

/// A listing may use this fraction of the time at most (one part in so many).
const LISTING_SHARE: u32 = 10;

/// Where to begin.
enum Start {
    /// Generation, position, and whether the channel knows of it.
    At(u64, u64, bool),
    /// It changed while nobody looked.
    Changed(u64, u64, Memo, String),
}

impl Spooler<'_> {
    /// Looks through the directory.
    pub(super) fn list(&mut self) {
        let begun = Instant::now();
        let listing = self.setup.rules.list();
        for (path, error) in &listing.failures {
            self.complaints.warn(path, "cannot be listed", error);
        }
        self.unlisted = listing.failures.first().map(|(path, error)| format!("{}: {error}", path.display()));
        if !self.missed && listing.failures.is_empty() {
            self.missed = true;
            self.retire_missing(&listing.candidates);
        }
        self.aside = listing.aside;
        self.reasons.retain(|sign, _| self.aside.contains(sign));
        let there: Vec<FileId> = listing.candidates.iter().map(|one| one.status.id).collect();
        self.resting.retain(|one| one.reading.is_some() || there.contains(&one.id));
        self.queue = listing.candidates.into();
        self.settled.clear();
        self.report();
        // A directory with very many files is not to be all that is looked at.
        self.list_at = Instant::now() + self.setup.poll_delay.max(begun.elapsed() * LISTING_SHARE);
    }

    /// Retires what the channel holds of files that are not there any more.
    fn retire_missing(&mut self, candidates: &[Candidate]) {
        let is_there = |id: &FileId| {
            candidates.iter().any(|one| one.status.id == *id || one.status.id.inode == id.inode)
        };
        let missing: Vec<FileId> = self.known.keys().filter(|id| !is_there(id)).copied().collect();
        for id in missing {
            let Some(position) = self.known.remove(&id) else { continue };
            if let Some(memo) = Memo::decode(&position.rest) {
                let rules = &self.setup.rules;
                let is_at = |path: &Path| status_at(path).is_ok_and(|status| status.id == id);
                let marked = |marks: &PathBuf| {
                    let mark = marks.join(memo.path.strip_prefix(&rules.directory).unwrap_or(&memo.path));
                    [&rules.done_suffix, &rules.error_suffix]
                        .iter()
                        .any(|end| with_suffix(&mark, end).exists())
                };
                let is_marked = rules.marks.as_ref().is_some_and(marked);
                if is_at(&memo.path) && !is_marked {
                    // A pattern leaves it out now, and may not for ever.
                    self.known.insert(id, position);
                    continue;
                }
                if !is_marked && !is_at(&with_suffix(&memo.path, &rules.done_suffix)) {
                    tracing::info!(file = %memo.path.display(), position = position.to,
                        "gone since the last stop: what is behind this position, if anything, was not read");
                }
            }
            self.tell.push(standing(id, position, true));
        }
    }

    /// Opens the next file that waits; whether there was one.
    pub(super) fn open_next(&mut self, now: Instant) -> bool {
        while let Some(candidate) = self.queue.pop_front() {
            let id = candidate.status.id;
            if self.settled.contains(&id) || self.open.iter().any(|one| one.id == id) {
                continue;
            }
            match self.resting.iter().position(|one| one.id == id) {
                Some(i) if self.resting[i].reading.is_some() || self.resting[i].until > now => continue,
                Some(i) => drop(self.resting.swap_remove(i)),
                None => {}
            }
            match self.open(&candidate) {
                Ok(Some(reading)) => {
                    tracing::info!(file = %reading.path.display(), position = reading.put, "reading");
                    self.open.push_back(reading);
                    return true;
                }
                Ok(None) => {}
                // Taken away, or renamed, since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.context.metrics.event_read_fail.inc();
                    self.complaints.warn(&candidate.path, "cannot be opened, tried again", &error);
                    let why = format!("cannot be opened: {error}");
                    let until = Instant::now() + AGAIN;
                    self.resting.push(Resting { id, path: candidate.path, why, until, reading: None });
                    self.report();
                }
            }
        }
        false
    }

    /// Lets a file rest that could not be read, to be opened again from where it is acked.
    pub(super) fn rest_unread(&mut self, reading: Reading, why: String) {
        self.remember(&reading);
        let until = Instant::now() + AGAIN;
        self.resting.push(Resting { id: reading.id, path: reading.path, why, until, reading: None });
        self.report();
    }

    /// Keeps in mind how far a file is acked that is not open any more.
    fn remember(&mut self, reading: &Reading) {
        if reading.told || reading.acked > 0 {
            let position = Position {
                generation: reading.generation,
                began: reading.acked,
                to: reading.acked,
                rest: reading.rest.clone(),
            };
            self.known.insert(reading.id, position);
        }
    }

    fn open(&mut self, candidate: &Candidate) -> io::Result<Option<Reading>> {
        let path = absolute(&std::env::current_dir()?, &candidate.path);
        let (file, status) = files::open(&candidate.path)?;
        if status.id != candidate.status.id || !status.regular {
            return Ok(None);
        }
        let now = Memo::of(&candidate.path, &file, &status)?;
        let start = self.start_of(&candidate.path, &file, &status)?;
        let mut headers = Headers::new();
        if let Some(key) = &self.setup.path_header {
            headers.set(key, path.to_string_lossy());
        }
        if let (Some(key), Some(name)) = (&self.setup.name_header, path.file_name()) {
            headers.set(key, name.to_string_lossy());
        }
        let (generation, position, told, memo, change) = match start {
            Start::At(generation, position, told) => (generation, position, told, now, None),
            Start::Changed(generation, position, memo, why) => (generation, position, true, memo, Some(why)),
        };
        let mut reading = Reading {
            id: status.id,
            key: status.id.key(),
            relative: candidate.relative.clone(),
            path: candidate.path.clone(),
            rest: memo.encode(),
            generation,
            put: position,
            acked: position,
            told,
            events: 0,
            verdict: None,
            smaller_puts: None,
            headers: Arc::new(headers),
            deserializer: None,
            memo,
        };
        if let Some(why) = change {
            reading.verdict = Some(Verdict::Aside(format!("{why}; read up to position {position}")));
            return Ok(Some(reading));
        }
        match self.setup.format.open(Input::new(candidate.path.clone(), file, status.len)) {
            Ok(deserializer) => {
                reading.deserializer = Some(deserializer);
                self.apply_tracker(&mut reading);
                reading.seek();
            }
            Err(Trouble::Io(error)) => {
                self.remember(&reading);
                return Err(error);
            }
            Err(trouble) => {
                self.context.metrics.event_read_fail.inc();
                reading.stop_for(trouble);
            }
        }
        Ok(Some(reading))
    }

    fn start_of(&mut self, path: &Path, file: &File, status: &files::Status) -> io::Result<Start> {
        let last = &mut self.generation;
        let Some(position) = self.known.remove(&status.id) else {
            return Self::elsewhere(&mut self.known, &mut self.tell, last, file, status);
        };
        let memo = Memo::decode(&position.rest);
        let same = match &memo {
            Some(memo) => memo.is_of(file, status).inspect_err(|_| {
                self.known.insert(status.id, position.clone());
            })?,
            None => false,
        };
        let Some(memo) = memo.filter(|_| same) else {
            tracing::info!(file = %path.display(), "another file had its inode number: read from its beginning");
            return Ok(Start::At(next_generation(last, position.generation), 0, true));
        };
        Ok(match memo.change(status) {
            None => Start::At(position.generation, position.to, true),
            Some(why) => Start::Changed(position.generation, position.to, memo, why),
        })
    }

    /// Device numbers are handed out at mount: after a reboot the same file system may have another one.
    fn elsewhere(
        known: &mut HashMap<FileId, Position>,
        tell: &mut Vec<Progress>,
        last: &mut u64,
        file: &File,
        status: &files::Status,
    ) -> io::Result<Start> {
        let same_inode: Vec<FileId> =
            known.keys().filter(|id| id.inode == status.id.inode).copied().collect();
        for id in same_inode {
            let Some(memo) = Memo::decode(&known[&id].rest) else { continue };
            if !memo.is_of_elsewhere(file, status)? {
                continue;
            }
            let Some(position) = known.remove(&id) else { continue };
            let generation = next_generation(last, position.generation);
            let start = match memo.change(status) {
                None => Start::At(generation, position.to, true),
                Some(why) => Start::Changed(generation, position.to, memo, why),
            };
            // In one put, so that no crash leaves the channel with neither.
            tell.push(standing(status.id, Position { generation, ..position.clone() }, false));
            tell.push(standing(id, position, true));
            return Ok(start);
        }
        Ok(Start::At(next_generation(last, 0), 0, false))
    }

    /// Goes on where Flume's tracker file says, if that is further.
    fn apply_tracker(&mut self, reading: &mut Reading) {
        let Some(offset) = self.tracker.offset_for(&reading.path, reading.memo.born_ns) else { return };
        let Some(deserializer) = &mut reading.deserializer else { return };
        match deserializer.of_tracker(offset) {
            Ok(position) if position > reading.put => {
                tracing::info!(file = %reading.path.display(), offset, position, "going on where Flume's tracker file says");
                reading.generation = next_generation(&mut self.generation, reading.generation);
                (reading.put, reading.acked) = (position, position);
            }
            Ok(_) => {}
            Err(trouble) => reading.stop_for(trouble),
        }
    }
}

/// Progress of a file that stands at `position`.
fn standing(id: FileId, position: Position, retire: bool) -> Progress {
    Progress {
        key: id.key(),
        generation: position.generation,
        from: position.to,
        to: position.to,
        rest: position.rest,
        retire,
    }
}

/// The path, seen from `directory`, as Java's `getAbsolutePath` has it: `.` and `..` stay, slashes that repeat are one.
fn absolute(directory: &Path, path: &Path) -> PathBuf {
    let mut bytes = directory.join(path).into_os_string().into_vec();
    bytes.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_is_made_absolute_as_java_does_it() {
        for (path, expected) in [
            ("in/a", "/home/in/a"),
            ("./in/a", "/home/./in/a"),
            ("../in//a", "/home/../in/a"),
            ("/srv//in/./a", "/srv/in/./a"),
        ] {
            assert_eq!(absolute(Path::new("/home"), Path::new(path)), Path::new(expected), "{path}");
            assert_eq!(
                absolute(Path::new("/home"), Path::new(path)).as_os_str().as_bytes(),
                expected.as_bytes()
            );
        }
    }
}
