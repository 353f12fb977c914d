//! Where the log's hand-synchronized parts get locks, atomics, threads and the clock that ends a timed wait.
//!
//! | feature `shuttle` | from |
//! | --- | --- |
//! | off, as in everything that is shipped | `parking_lot` and `std`, by name: nothing is wrapped |
//! | on, for the tests in `interleavings` | [`model`]: the scheduler of those tests decides who runs at each step |
//!
//! `Arc` is the same in both: the model's scheduler is sequentially consistent, and has nothing to say about it. What holds
//! its locks only across steps that wait for nobody (the simulated and in-memory storages) takes them from `parking_lot`.

#[cfg(feature = "shuttle")]
pub mod model;

#[cfg(not(feature = "shuttle"))]
pub use self::system::*;

#[cfg(feature = "shuttle")]
pub use self::model::{Condvar, Instant, Mutex, atomic, thread};

#[cfg(not(feature = "shuttle"))]
mod system {
    pub use std::sync::atomic;
    pub use std::thread;
    pub use std::time::Instant;

    pub use parking_lot::{Condvar, Mutex};
}
