//! The log in one of its lives: on the disk's directories, with time and chance that a seed gives.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::Directory;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::storage::striped::{self, LanesError};
use flumen_wal::{Directories, Driver, Environment, Log, OpenError};

use super::pieces::{CHECKPOINT, DATA, LANES, QUARANTINE, UNIT};
use super::setting::Setting;
use crate::random::mix;
use crate::violation::{Broken, Kind};

/// Time and chance of the simulation.
#[derive(Debug, Default)]
pub struct Simulated {
    micros: AtomicU64,
    random: AtomicU64,
}

impl Simulated {
    /// Time that begins at zero, and chance of this seed.
    pub fn new(seed: u64) -> Self {
        Self { micros: AtomicU64::new(0), random: AtomicU64::new(seed) }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Environment for Simulated {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        mix(self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}

/// An open log.
pub struct Running {
    /// The log.
    pub log: Log,
    /// Its threads' work.
    pub driver: Driver,
    /// How it is set.
    pub setting: Setting,
}

impl Running {
    /// Starts the log.
    pub fn open(
        disk: &FaultyDisk,
        environment: &Arc<Simulated>,
        setting: Setting,
        decorate: Decorate,
    ) -> Result<Self, OpenError> {
        let dirs = directories(disk, environment, setting.lanes, decorate)?;
        let (log, driver) = Log::open_driven(dirs, setting.options(disk), Arc::clone(environment) as _)?;
        Ok(Self { log, driver, setting })
    }
}

/// What stands between the log and each of the disk's directories: nothing, but in tests of the oracle.
pub type Decorate = fn(Arc<dyn Directory>) -> Arc<dyn Directory>;

/// The directories of the life that runs.
pub fn directories(
    disk: &FaultyDisk,
    environment: &Simulated,
    lanes: Option<usize>,
    decorate: Decorate,
) -> Result<Directories, OpenError> {
    let checkpoint = decorate(disk.directory(CHECKPOINT));
    let Some(lanes) = lanes else {
        return Ok(Directories { data: decorate(disk.directory(DATA)), checkpoint });
    };
    let lanes: Vec<_> = LANES[..lanes].iter().map(|name| decorate(disk.directory(*name))).collect();
    let find = |path: &Path| Ok(decorate(disk.directory(path.file_name().unwrap_or(path.as_os_str()))));
    let data = striped::open(&lanes, UNIT, environment, &find).map_err(|error| match error {
        LanesError::Io { path, source } => OpenError::Io { action: "arrange", path, source },
        // A directory that a fault keeps from being read looks like one that is not mounted.
        error => OpenError::Io {
            action: "arrange",
            path: DATA.into(),
            source: io::Error::other(error.to_string()),
        },
    })?;
    Ok(Directories { data, checkpoint })
}

/// A start that should have succeeded.
pub fn refused(error: &OpenError) -> Broken {
    Broken::new(Kind::Failed, format!("a start is refused: {error}"))
}

/// Writes the disk's files, as a reader sees them, and its last operations into `directory`.
pub fn keep(disk: &FaultyDisk, directory: &Path) -> io::Result<()> {
    let steps: Vec<_> = disk.recent().iter().map(|step| format!("{step:?}\n")).collect();
    std::fs::write(directory.join("operations"), steps.concat())?;
    // The life that is over would refuse to list anything, and so would a fault that was planned for it.
    disk.kill();
    disk.clear_faults();
    for name in LANES.iter().chain([&CHECKPOINT, &QUARANTINE]) {
        let entries = disk.directory(*name).list()?;
        let target = directory.join(name);
        std::fs::create_dir_all(&target)?;
        for entry in entries {
            std::fs::write(target.join(&entry.name), disk.contents(Path::new(name).join(&entry.name))?)?;
        }
    }
    Ok(())
}
