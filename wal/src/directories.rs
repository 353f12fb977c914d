//! Where a log lives, and how a process gets it for itself.

use std::sync::Arc;
use std::time::Duration;

use crate::environment::Environment;
use crate::error::OpenError;
use crate::format::keys::Keys;
use crate::options::Options;
use crate::storage::{Directory, Keyed, Lock};
use crate::sync::thread;

/// Where a log lives. Both directories exist; they may be the same.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Segments.
    pub data: Arc<dyn Directory>,
    /// Checkpoints.
    pub checkpoint: Arc<dyn Directory>,
}

/// The lock of the segments, and that of the checkpoints where they have a directory of their own.
pub(crate) type Locks = (Box<dyn Lock>, Option<Box<dyn Lock>>);

impl Directories {
    /// The same, with the keys to what is encrypted there.
    #[must_use]
    pub fn with_keys(self, keys: &Keys) -> Self {
        let keyed = |beneath| Arc::new(Keyed { beneath, keys: keys.clone() });
        Self { data: keyed(self.data), checkpoint: keyed(self.checkpoint) }
    }

    /// Takes the locks of both. A killed process holds them until its last writes have ended: each is waited for as long as
    /// the options say.
    pub(crate) fn lock(&self, options: &Options, environment: &dyn Environment) -> Result<Locks, OpenError> {
        let data = lock(&*self.data, options, environment)?;
        let own = self.checkpoint.path() != self.data.path();
        let checkpoint = own.then(|| lock(&*self.checkpoint, options, environment)).transpose()?;
        Ok((data, checkpoint))
    }
}

fn lock(
    dir: &dyn Directory,
    options: &Options,
    environment: &dyn Environment,
) -> Result<Box<dyn Lock>, OpenError> {
    let start = environment.now();
    loop {
        match dir.lock() {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if environment.now() - start >= options.lock_wait {
                    return Err(OpenError::Locked { path: dir.path().to_path_buf() });
                }
                thread::sleep(LOCK_RETRY);
            }
            Err(source) => {
                return Err(OpenError::Io { action: "lock", path: dir.path().to_path_buf(), source });
            }
        }
    }
}

/// A killed process's last writes hold its lock for some 100 ms: a start shall not wait much longer than they do.
const LOCK_RETRY: Duration = Duration::from_millis(5);
