//! The directory: names over all lanes, and what happens at the first change.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::descriptor::{Descriptor, Found, kept};
use super::file::StripedFile;
use super::geometry::Geometry;
use super::names::{is_descriptor, is_spare, is_whole, parse, piece_name};
use super::queue::{PARTS_IN_FLIGHT, StripedQueue};
use super::tidy;
use crate::storage::{Directory, Entry, File, Lock, WriteQueue};

#[derive(Debug)]
pub(super) struct StripedDirectory {
    /// In their order; those behind `width` are not used for new files any more.
    lanes: Vec<Arc<dyn Directory>>,
    width: usize,
    unit: u64,
    alignment: usize,
    set: u128,
    /// Held for each change of names, and shared by what must not see one half done.
    names: RwLock<Names>,
}

#[derive(Debug)]
struct Names {
    /// Something was changed by this process: whatever could refuse a start has not.
    began: bool,
    /// A change that a crash cut short, or that failed, may have left names in disorder.
    untidy: bool,
    /// What each lane says of itself.
    described: Vec<Option<Descriptor>>,
}

impl StripedDirectory {
    pub(super) fn new(
        lanes: Vec<Arc<dyn Directory>>,
        width: usize,
        unit: u64,
        set: u128,
        described: Vec<Option<Descriptor>>,
    ) -> Self {
        let alignment = lanes.iter().map(|lane| lane.alignment()).max().unwrap_or(1);
        let names = RwLock::new(Names { began: false, untidy: true, described });
        Self { lanes, width, unit, alignment, set, names }
    }

    fn zero(&self) -> &dyn Directory {
        &*self.lanes[0]
    }

    /// Makes a change of names, after those before it were put in order. One that fails may leave others behind it to do so.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut names = self.ready()?;
        names.untidy = true;
        let done = change()?;
        names.untidy = false;
        Ok(done)
    }

    fn ready(&self) -> io::Result<RwLockWriteGuard<'_, Names>> {
        let mut names = self.names.write();
        if names.untidy {
            tidy::decide(&self.lists()?, self.width).carry_out(&self.lanes)?;
            names.untidy = false;
        }
        if !names.began {
            self.describe_lanes(&mut names)?;
            names.began = true;
        }
        Ok(names)
    }

    /// Says in each lane which one it is, if that is not what stands there.
    fn describe_lanes(&self, names: &mut Names) -> io::Result<()> {
        let needed = tidy::widest(&self.zero().list()?);
        let count = self.width.max(needed).min(self.lanes.len());
        let paths = |count| self.lanes.iter().take(count).map(|lane| kept(lane.path())).collect();
        let descriptor =
            |lane, count| Descriptor { set: self.set, lane, count, unit: self.unit, paths: paths(count) };
        let known = names.described[0].as_ref().map_or(1, |zero| zero.count);
        if names.described[0].is_none() {
            // It was alone until now. What names this set from now on has somebody to belong to, wherever this ends.
            self.say(names, descriptor(0, 1))?;
        }
        let said = (1..count).chain([0]).try_for_each(|lane| self.say(names, descriptor(lane, count)));
        if count > known {
            return said;
        }
        // Otherwise what was said before is true still: a full disk must not keep a log from starting.
        if said.is_ok() {
            for lane in count..self.lanes.len() {
                // Nothing of the log is there any more, and the directory is free for other uses: once no power cut can bring
                // a piece back, which without a descriptor would look like another log's.
                if self.lanes[lane].sync().is_ok() {
                    self.lanes[lane].remove(super::descriptor::FILE_NAME).ok();
                }
                names.described[lane] = None;
            }
        }
        Ok(())
    }

    fn say(&self, names: &mut Names, descriptor: Descriptor) -> io::Result<()> {
        let lane = descriptor.lane;
        if names.described[lane].as_ref() != Some(&descriptor) {
            descriptor.write(&*self.lanes[lane])?;
            names.described[lane] = Some(descriptor);
        }
        Ok(())
    }

    fn lists(&self) -> io::Result<Vec<Vec<Entry>>> {
        self.lanes.iter().map(|lane| lane.list()).collect()
    }

    /// How many pieces a file has, and its first one.
    fn find(&self, name: &str) -> io::Result<(usize, Arc<dyn File>)> {
        let others = (1..=self.lanes.len()).rev().filter(|width| *width != self.width);
        let widths: Vec<_> =
            if is_whole(name) { vec![1] } else { [self.width].into_iter().chain(others).collect() };
        for width in widths {
            match self.zero().open(&piece_name(name, width)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return Ok((width, opened?)),
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no file {name}")))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        match self.find(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn file(&self, pieces: Vec<Arc<dyn File>>) -> Arc<dyn File> {
        match &pieces[..] {
            [alone] => alone.clone(),
            _ => Arc::new(StripedFile::new(pieces, self.unit, self.alignment)),
        }
    }

    fn open_pieces(&self, name: &str) -> io::Result<(usize, Arc<dyn File>)> {
        let (width, first) = self.find(name)?;
        let piece = piece_name(name, width);
        let mut pieces = vec![first];
        for lane in &self.lanes[1..width] {
            match lane.open(&piece) {
                // Recycled under a reader's eyes, if it is gone in lane 0 too.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_spare(name) => {
                    self.zero().open(&piece)?;
                    let why = format!("its piece {} is missing", lane.path().join(&piece).display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                opened => pieces.push(opened?),
            }
        }
        Ok((width, self.file(pieces)))
    }

    fn create_pieces(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if self.exists(name)? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("file {name} exists")));
        }
        let width = if is_whole(name) { 1 } else { self.width };
        let piece = piece_name(name, width);
        let mut pieces =
            self.lanes[1..width].iter().map(|lane| lane.create(&piece)).collect::<io::Result<Vec<_>>>()?;
        pieces.insert(0, self.zero().create(&piece)?);
        Ok(self.file(pieces))
    }

    fn remove_pieces(&self, name: &str) -> io::Result<()> {
        let (width, _) = self.find(name)?;
        let piece = piece_name(name, width);
        self.zero().remove(&piece)?;
        if width > 1 {
            self.zero().sync()?;
        }
        self.lanes[1..width].iter().try_for_each(|lane| lane.remove(&piece))
    }

    fn rename_pieces(&self, from: &str, to: &str) -> io::Result<()> {
        let (width, _) = self.find(from)?;
        if from == to {
            return Ok(());
        }
        if is_whole(from) || is_whole(to) {
            return self.zero().rename(from, to);
        }
        if self.exists(to)? {
            self.remove_pieces(to)?;
        }
        if is_spare(to) {
            return self.make_spare(from, width, to);
        }
        let (old, new) = (piece_name(from, width), piece_name(to, width));
        for lane in &self.lanes[1..width] {
            lane.rename(&old, &new)?;
            lane.sync()?;
        }
        self.zero().rename(&old, &new)
    }

    fn make_spare(&self, from: &str, old_width: usize, to: &str) -> io::Result<()> {
        let made_over = old_width != self.width && self.make_room(from, old_width, to);
        let width = if made_over { self.width } else { old_width };
        let (old, new) = (piece_name(from, old_width), piece_name(to, width));
        let len = if made_over { self.open_pieces(from)?.1.len()? } else { 0 };
        self.zero().rename(&old, &new)?;
        // Pieces that change or go before the old name has gone for good would leave a segment without its end, or its pieces.
        if made_over || old_width > 1 && !is_spare(from) {
            self.zero().sync()?;
        }
        self.lanes[1..old_width.max(1)]
            .iter()
            .take(width - 1)
            .try_for_each(|lane| lane.rename(&old, &new))?;
        self.lanes[..old_width].iter().skip(width).try_for_each(|lane| lane.remove(&old))?;
        if made_over {
            let geometry = Geometry { unit: self.unit, width };
            for (piece, lane) in self.lanes[..width.min(old_width)].iter().enumerate() {
                let (file, share) = (lane.open(&new)?, geometry.share(len, piece));
                if file.len()? > share {
                    file.truncate(share)?;
                }
            }
        }
        Ok(())
    }

    /// Gives a file that is about to be a spare the blocks for as many pieces as new files have. False if there is no room:
    /// then it stays as it is, for a spare's blocks are a reserve and must not be given up for others.
    fn make_room(&self, from: &str, old_width: usize, to: &str) -> bool {
        let (old, new) = (piece_name(from, old_width), piece_name(to, self.width));
        let geometry = Geometry { unit: self.unit, width: self.width };
        let made = self.open_pieces(from).and_then(|(_, file)| file.len()).and_then(|len| {
            self.lanes[..self.width].iter().enumerate().try_for_each(|(lane, directory)| {
                let file = if lane < old_width { directory.open(&old)? } else { directory.create(&new)? };
                file.allocate(geometry.share(len, lane))
            })
        });
        if made.is_err() {
            self.lanes[..self.width].iter().skip(old_width).for_each(|lane| drop(lane.remove(&new)));
        }
        made.is_ok()
    }
}

impl Directory for StripedDirectory {
    fn path(&self) -> &Path {
        self.zero().path()
    }

    fn describe(&self) -> String {
        format!("{}, over {} directories", self.zero().describe(), self.lanes.len())
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.change(|| self.create_pieces(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let names = self.names.read();
        if names.began && names.untidy {
            drop(names);
            let _names = self.ready()?;
            return Ok(self.open_pieces(name)?.1);
        }
        Ok(self.open_pieces(name)?.1)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let _names = self.names.read();
        let lists = self.lists()?;
        let tidying = tidy::decide(&lists, self.width);
        let shown = lists[0]
            .iter()
            .filter(|entry| !is_descriptor(&entry.name) && !tidying.dropped.contains(&entry.name));
        let entry = |first: &Entry| {
            let (name, width) = parse(&first.name);
            let piece =
                |lane: &Vec<Entry>| lane.iter().find(|entry| entry.name == first.name).map_or(0, |e| e.len);
            let len = match width {
                1 => first.len,
                _ => Geometry { unit: self.unit, width }.len(lists.iter().take(width).map(piece)),
            };
            Entry { name: name.to_owned(), len }
        };
        Ok(shown.map(entry).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|| self.rename_pieces(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|| self.remove_pieces(name))
    }

    fn sync(&self) -> io::Result<()> {
        // A name in lane 0 speaks of pieces in the others.
        self.lanes.iter().rev().try_for_each(|lane| lane.sync())
    }

    /// Of the lane that has the least: what is reserved must be there in each.
    fn free_bytes(&self) -> io::Result<u64> {
        let lanes = self.lanes[..self.width].iter();
        lanes.map(|lane| lane.free_bytes()).try_fold(u64::MAX, |least, free| Ok(least.min(free?)))
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        let locks: Vec<_> = self.lanes.iter().map(|lane| lane.lock()).collect::<io::Result<_>>()?;
        for (lane, known) in self.lanes.iter().zip(&self.names.read().described) {
            let stands = match Descriptor::read(&**lane)? {
                Found::Sound(descriptor) => Some(descriptor),
                _ => None,
            };
            if stands != *known {
                let why = "another process added or removed a directory meanwhile; start again";
                return Err(io::Error::other(format!("{}: {why}", lane.path().display())));
            }
        }
        Ok(Box::new(StripedLock(locks)))
    }

    /// Any lane's queue writes to the files of all; the one with the largest blocks goes on in the right place after a short
    /// write.
    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let lane = self.lanes.iter().max_by_key(|lane| lane.alignment()).unwrap_or(&self.lanes[0]);
        let inner = lane.write_queue(lock, depth * PARTS_IN_FLIGHT)?;
        Ok(Box::new(StripedQueue::new(inner, depth, self.alignment)))
    }
}

#[derive(Debug)]
struct StripedLock(Vec<Box<dyn Lock>>);

impl Lock for StripedLock {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().flat_map(|lock| lock.descriptors()).collect()
    }

    fn keys(&self) -> Vec<u64> {
        self.0.iter().flat_map(|lock| lock.keys()).collect()
    }
}
