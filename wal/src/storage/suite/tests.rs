//! The suite, over every implementation and decorator.

use std::sync::Arc;

use super::{Fixture, suite};
use crate::storage::Directory;
use crate::storage::faulty::FaultyDisk;
use crate::storage::memory::MemoryDirectory;
use crate::storage::metered::Meters;
use crate::storage::recording::Recording;

fn held(directory: impl Directory + 'static) -> Option<Fixture> {
    Some(Fixture { directory: Arc::new(directory), _guard: None })
}

fn faulty(seed: u64) -> Option<Fixture> {
    let disk = FaultyDisk::new(seed);
    disk.sleep_when_idle(true);
    Some(Fixture { directory: disk.directory("/simulated"), _guard: None })
}

fn decorated(decorate: impl Fn(Arc<dyn Directory>) -> Arc<dyn Directory>) -> Option<Fixture> {
    Some(Fixture { directory: decorate(decorate(Arc::new(MemoryDirectory::new("/memory")))), _guard: None })
}

suite!(memory, held(MemoryDirectory::new("/memory")));
suite!(memory_writing_at_submit, held(MemoryDirectory::new("/memory").writing_at_submit()));
suite!(faulty_disk, faulty(1));
suite!(recorded, decorated(|directory| Recording::default().of(directory)));
suite!(metered, decorated(|directory| Arc::new(Meters::default()).of(directory)));
