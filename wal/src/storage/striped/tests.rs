//! The suite over lanes of every kind, and what only lanes have: names in several directories, and who belongs to whom.

mod belonging;
mod crashes;
mod widths;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{LanesError, open};
use crate::environment::System;
use crate::numbers::SegmentNumber;
use crate::storage::faulty::FaultyDisk;
use crate::storage::memory::MemoryDirectory;
use crate::storage::suite::{Fixture, skipped, suite};
use crate::storage::{self, AlignedBuf, Backend, Directory, File};

/// The least there is, so that a few blocks are in all lanes.
const UNIT: u64 = 4096;

fn nowhere(_: &Path) -> io::Result<Arc<dyn Directory>> {
    Err(io::ErrorKind::NotFound.into())
}

fn over(lanes: &[Arc<dyn Directory>]) -> Result<Arc<dyn Directory>, LanesError> {
    open(lanes, UNIT, &System::default(), &nowhere)
}

fn memory(lanes: usize, unit: u64) -> Option<Fixture> {
    let lanes: Vec<Arc<dyn Directory>> = (0..lanes)
        .map(|lane| Arc::new(MemoryDirectory::new(format!("/{lane}"))) as Arc<dyn Directory>)
        .collect();
    let directory = open(&lanes, unit, &System::default(), &nowhere).unwrap();
    Some(Fixture { directory, _guard: None })
}

fn faulty(lanes: usize) -> Option<Fixture> {
    let disk = FaultyDisk::new(1);
    disk.sleep_when_idle(true);
    Some(Fixture { directory: over(&on(&disk, lanes)).unwrap(), _guard: None })
}

fn real(lanes: usize, backend: Backend) -> Option<Fixture> {
    let temp = tempfile::tempdir().unwrap();
    let mut opened = Vec::new();
    for lane in 0..lanes {
        let path = temp.path().join(lane.to_string());
        std::fs::create_dir(&path).unwrap();
        match storage::open(path, backend) {
            Ok((lane, _)) => opened.push(lane),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                skipped(&error);
                return None;
            }
            Err(error) => panic!("{error}"),
        }
    }
    Some(Fixture { directory: over(&opened).unwrap(), _guard: Some(temp) })
}

suite!(two_in_memory, memory(2, UNIT));
suite!(three_in_memory, memory(3, 2 * UNIT));
suite!(two_of_ordinary_units, memory(2, super::UNIT));
suite!(two_on_the_faulty_disk, faulty(2));
suite!(three_with_threads, real(3, Backend::Std));
suite!(two_with_rings, real(2, Backend::Uring));

/// Directories `0`, `1`, .. of a disk.
fn on(disk: &FaultyDisk, lanes: usize) -> Vec<Arc<dyn Directory>> {
    (0..lanes).map(|lane| disk.directory(lane.to_string())).collect()
}

fn filled(blocks: usize, byte: u8) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(blocks * 4096);
    buffer.fill(byte);
    buffer
}

/// Makes a segment of so many blocks as the log does.
fn make_segment(directory: &dyn Directory, number: u64, blocks: usize) -> io::Result<Arc<dyn File>> {
    let number = SegmentNumber(number);
    let file = directory.create(&number.spare_name())?;
    file.allocate(blocks as u64 * 4096)?;
    file.write_at(&filled(blocks, number.0 as u8), 0)?;
    file.sync()?;
    directory.rename(&number.spare_name(), &number.file_name())?;
    directory.sync()?;
    Ok(file)
}

fn names(directory: &dyn Directory) -> Vec<String> {
    let mut names: Vec<_> = directory.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names.retain(|name| name != "lock");
    names
}

/// All of a file, which is `blocks` blocks of `byte`.
#[track_caller]
fn assert_holds(directory: &dyn Directory, name: &str, blocks: usize, byte: u8) {
    let file = directory.open(name).unwrap();
    assert_eq!(file.len().unwrap(), blocks as u64 * 4096);
    let mut buffer = AlignedBuf::zeroed((blocks + 1) * 4096);
    let read = file.read_at(&mut buffer, 0).unwrap();
    assert!(buffer[..read] == filled(blocks, byte)[..], "{name}");
}
