//! Which files are followed: what listings show, what was renamed, what is gone.

use super::*;

/// How often a start looks at directories that go on changing, for how long at most, and how long it rests in between.
const LOOKS_MAX: usize = 50;
const LOOKS_TIME: Duration = Duration::from_secs(5);
const LOOK_PAUSE: Duration = Duration::from_millis(2);

impl Tailer<'_> {
    /// Takes up files that the channel knows and that have no matching name any more.
    pub(super) fn follow_renamed(&mut self) {
        for (id, memo, to) in self.resume.unclaimed() {
            let Some(memo) = memo else { continue };
            let path = match self.directories.other_name(id) {
                Some(path) => path.to_path_buf(),
                None => memo.path,
            };
            match files::status_at(&path) {
                Ok(status) if status.id == id => self.follow(&path, None, false),
                _ => tracing::info!(file = %path.display(), position = to,
                    "gone since the last stop: lines after this position, if any, were not read"),
            }
        }
    }

    /// Looks again where something was renamed during the first listings: such a file may be in none of them, or not be there
    /// any more when it is opened. A position whose file is not found at the start is forgotten, and the file would be read anew.
    pub(super) fn settle(&mut self) {
        let begun = Instant::now();
        for _ in 0..LOOKS_MAX {
            let files = &self.files;
            let is_tracked = |path: &Path| files.values().any(|tail| tail.path == path);
            if self.directories.are_current(self.groups, is_tracked) || begun.elapsed() > LOOKS_TIME {
                return;
            }
            std::thread::sleep(LOOK_PAUSE);
            self.directories.hurry();
            self.watch_directories(Instant::now());
        }
    }

    /// Lists directories that changed and takes up what is new there.
    pub(super) fn watch_directories(&mut self, now: Instant) {
        let files = &self.files;
        let is_tracked = |path: &Path| files.values().any(|tail| tail.path == path);
        let listed = self.directories.refresh(self.groups, now, is_tracked);
        let adopted = self.directories.take_adopted();
        if listed {
            self.reconcile();
        }
        for path in adopted {
            let status = match files::status_at(&path) {
                Ok(status) => status,
                // Renamed again since the event was read: the event of that names it by this path.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.directories.keep_adopted(path);
                    continue;
                }
                Err(_) => continue,
            };
            if status.regular && !self.files.contains_key(&status.id) {
                tracing::info!(file = %path.display(), "renamed before it was seen, followed all the same");
                self.follow(&path, None, false);
            }
        }
    }

    /// Compares the files that are followed with those that the listings show.
    pub(super) fn reconcile(&mut self) {
        self.complain_of_directories();
        let mut seen = HashSet::new();
        let mut new = Vec::new();
        for found in self.directories.found() {
            seen.insert(found.status.id);
            match self.files.get_mut(&found.status.id) {
                None => new.push((found.path.clone(), found.group)),
                Some(tail) => {
                    tail.gone_since = None;
                    // A file with two names keeps the one by which it is known.
                    if tail.path != found.path && !is_at(tail.id, &tail.path) {
                        tracing::info!(from = %tail.path.display(), to = %found.path.display(), "file renamed");
                        tail.moved_to(&found.path);
                    }
                }
            }
        }
        let complete = self.directories.complete();
        let now = Instant::now();
        for tail in self.files.values_mut().filter(|tail| !seen.contains(&tail.id)) {
            match self.directories.other_name(tail.id) {
                Some(path) => {
                    tail.gone_since = None;
                    if tail.path != path {
                        tracing::info!(from = %tail.path.display(), to = %path.display(), "file renamed");
                        tail.moved_to(path);
                    }
                }
                None if complete => tail.gone_since = tail.gone_since.or(Some(now)),
                None => tail.gone_since = None,
            }
        }
        for (path, group) in new {
            self.follow(&path, Some(group), false);
        }
    }

    /// Opens `path` and follows it. A file without a group has lost its name; the group is that of its directory.
    pub(super) fn follow(&mut self, path: &Path, group: Option<usize>, skip_to_end: bool) {
        let opened = match files::open(path) {
            Ok(opened) => opened,
            // Renamed or removed between the listing and now: the next listing or event tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.context.metrics.event_read_fail.inc();
                self.complaints.warn(path, "cannot be opened", &error);
                return;
            }
        };
        if !opened.1.regular || self.files.contains_key(&opened.1.id) {
            return;
        }
        match self.tail(path, group, opened, skip_to_end) {
            Ok(tail) => {
                tracing::info!(file = %path.display(), position = tail.put, "following");
                self.order.push(tail.id);
                self.files.insert(tail.id, tail);
            }
            Err(error) => self.complaints.warn(path, "cannot be read", &error),
        }
    }

    pub(super) fn tail(
        &mut self,
        path: &Path,
        group: Option<usize>,
        (file, status): (std::fs::File, files::Status),
        skip_to_end: bool,
    ) -> io::Result<Tail> {
        let last = &mut self.generation;
        let start = self.resume.start(path, &file, &status, |above| next_generation(last, above))?;
        let at =
            start.at.unwrap_or_else(|| (next_generation(last, 0), if skip_to_end { status.len } else { 0 }));
        let group = group.map_or_else(|| self.group_of_lost(path), Some);
        let key = self.settings.file_header.then_some(self.settings.file_header_key.as_str());
        let headers = group.map(|i| self.groups[i].headers_of(path, key)).unwrap_or_default();
        let tail = Tail::new(path.to_path_buf(), Arc::new(headers), (file, status), at)?;
        if start.announce || (start.at.is_none() && at.1 > 0) {
            self.announcements.push(progress_of(&tail));
        }
        if let Some(key) = start.replaces {
            self.announcements.push(Progress { key, retire: true, ..progress_of(&tail) });
        }
        Ok(tail)
    }

    pub(super) fn group_of_lost(&self, path: &Path) -> Option<usize> {
        let directory = path.parent()?;
        self.groups.iter().position(|group| group.directory == directory)
    }

    pub(super) fn complain_of_directories(&mut self) {
        for (path, why) in self.directories.failures() {
            self.complaints.warn(path, "directory cannot be listed", why);
        }
    }
}

fn is_at(id: FileId, path: &Path) -> bool {
    files::status_at(path).is_ok_and(|status| status.id == id)
}
