//! Who has which cluster. A start takes many seconds of a small machine, so a cluster goes from test to test: each has it alone, and
//! finds it empty and with all its servers. One whose test fails is ended, and so is one with settings of its own.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Cluster;

/// How many are in use at once: each is up to four Java machines.
const AT_ONCE: usize = 2;

/// Clusters that wait for the next test. The guards end them with the process.
static IDLE: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());
static IN_USE: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// A cluster for one test.
pub struct Loan {
    cluster: Option<Cluster>,
    /// Another test may have it.
    is_shared: bool,
    // After the cluster, which has ended by then.
    _place: Place,
}

impl Loan {
    /// A cluster with so many DataNodes.
    pub(super) fn shared(datanodes: usize) -> Option<Self> {
        let place = Place::wait();
        let idle = {
            let mut idle = lock(&IDLE);
            let found = idle.iter().position(|cluster| cluster.datanodes.len() == datanodes);
            found.map(|at| idle.swap_remove(at))
        };
        let cluster = match idle {
            Some(cluster) => {
                cluster.wait_ready();
                cluster.clear();
                cluster
            }
            None => Cluster::plain(datanodes)?,
        };
        Some(Self { cluster: Some(cluster), is_shared: true, _place: place })
    }

    /// A cluster that nobody else will have.
    pub(super) fn own(start: impl FnOnce() -> Option<Cluster>) -> Option<Self> {
        let place = Place::wait();
        Some(Self { cluster: Some(start()?), is_shared: false, _place: place })
    }
}

impl Deref for Loan {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(mut cluster) = self.cluster.take()
            && self.is_shared
            && !std::thread::panicking()
        {
            // The next test waits for them.
            cluster.revive();
            lock(&IDLE).push(cluster);
        }
    }
}

/// One of [`AT_ONCE`].
struct Place;

impl Place {
    fn wait() -> Self {
        let is_full = |used: &mut usize| *used >= AT_ONCE;
        let mut used = GIVEN_BACK.wait_while(lock(&IN_USE), is_full).unwrap_or_else(PoisonError::into_inner);
        *used += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&IN_USE) -= 1;
        GIVEN_BACK.notify_one();
    }
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
