//! A directory with the keys to what is encrypted in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Directory, Entry, File, Lock, WriteQueue};
use crate::format::keys::Keys;

/// The directory beneath, with keys. What reads or writes a log's bytes asks its directory for them.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub beneath: Arc<dyn Directory>,
    pub keys: Keys,
}

impl Directory for Keyed {
    fn path(&self) -> &Path {
        self.beneath.path()
    }

    fn describe(&self) -> String {
        self.beneath.describe()
    }

    fn alignment(&self) -> usize {
        self.beneath.alignment()
    }

    fn keys(&self) -> Keys {
        self.keys.clone()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.beneath.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.beneath.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.beneath.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.beneath.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.beneath.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.beneath.write_queue(lock, depth)
    }
}
