//! Where the log's hand-synchronized parts get locks, atomics, threads and the clock that ends a timed wait.
//!
//! | built | from |
//! | --- | --- |
//! | for use, and for all other tests | `parking_lot` and `std`, by name: nothing is wrapped |
//! | with the feature `shuttle`, for the tests in `interleavings` | `model`: their scheduler decides who runs at each step |
//!
//! `Arc` is the same in both: the model's scheduler is sequentially consistent, and has nothing to say about it. What holds
//! its locks only across steps that wait for nobody (the simulated and in-memory storages) takes them from `parking_lot`.

#[cfg(all(test, feature = "shuttle"))]
pub mod model;

#[cfg(not(all(test, feature = "shuttle")))]
pub use self::system::*;

#[cfg(all(test, feature = "shuttle"))]
pub use self::model::{Condvar, Instant, Mutex, atomic, thread};

#[cfg(not(all(test, feature = "shuttle")))]
mod system {
    pub use std::sync::atomic;
    pub use std::thread;
    pub use std::time::Instant;

    pub use parking_lot::{Condvar, Mutex};
}
