//! The log as it would be if what cannot be used were not there: what a repair plans by.
//!
//! Over the real directory lie: zeroes for what the medium does not give, headers that could be told again, and files that
//! are passed over. Recovery runs on this view as it runs on a disk, so that a plan and the start after it agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::keys::Keys;
use crate::read::tolerant::read_around;
use crate::storage::{Directory, Entry, File, Lock, WriteQueue};

/// A directory with changes that nobody has made yet.
#[derive(Clone, Debug)]
pub struct View {
    inner: Arc<dyn Directory>,
    over: Arc<Mutex<Over>>,
}

#[derive(Debug, Default)]
struct Over {
    headers: BTreeMap<String, Arc<[u8]>>,
    hidden: BTreeSet<String>,
    unreadable: BTreeMap<String, BTreeSet<u64>>,
}

impl View {
    pub fn new(inner: Arc<dyn Directory>) -> Self {
        Self { inner, over: Arc::default() }
    }

    /// Shows `bytes` at the beginning of the file.
    pub fn show_header(&self, name: &str, bytes: Vec<u8>) {
        self.over.lock().headers.insert(name.to_string(), bytes.into());
    }

    /// Shows no such file.
    pub fn hide(&self, name: &str) {
        self.over.lock().hidden.insert(name.to_string());
    }

    /// A file as it is, hidden or not, but for what cannot be read.
    pub fn open_as_it_is(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(name)?;
        Ok(Arc::new(ViewedFile { inner, header: None, name: name.to_string(), view: self.clone() }))
    }

    /// Offsets of the blocks of a file that were read and could not be.
    pub fn unreadable(&self, name: &str) -> BTreeSet<u64> {
        self.over.lock().unreadable.get(name).cloned().unwrap_or_default()
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a plan changes nothing"))
}

impl Directory for View {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn keys(&self) -> Keys {
        self.inner.keys()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if self.over.lock().hidden.contains(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let header = self.over.lock().headers.get(name).cloned();
        let inner = self.inner.open(name)?;
        Ok(Arc::new(ViewedFile { inner, header, name: name.to_string(), view: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.inner.list()?;
        let over = self.over.lock();
        entries.retain(|entry| !over.hidden.contains(&entry.name));
        Ok(entries)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        refused()
    }

    fn write_queue(&self, _lock: Box<dyn Lock>, _depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        refused()
    }
}

#[derive(Debug)]
struct ViewedFile {
    inner: Arc<dyn File>,
    header: Option<Arc<[u8]>>,
    name: String,
    view: View,
}

impl File for ViewedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (read, unreadable) = read_around(&*self.inner, buffer, offset, self.view.alignment())?;
        if !unreadable.is_empty() {
            self.view.over.lock().unreadable.entry(self.name.clone()).or_default().extend(unreadable);
        }
        if let Some(header) = self.header.as_deref().filter(|header| offset < header.len() as u64) {
            let from = &header[offset as usize..];
            let len = from.len().min(read);
            buffer[..len].copy_from_slice(&from[..len]);
        }
        Ok(read)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn write_durable_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
