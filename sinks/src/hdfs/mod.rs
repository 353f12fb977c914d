//! `hdfs`: writes events to files of HDFS, named by time and headers.
//!
//! Names, rolling and file types are Flume's. What Flume does not promise: an event is released when it is on the
//! DataNodes' disks, no file is left with its name of while it was written, and over a durable channel each event is in the
//! finished files once, through kills and failures.
//!
//! ```text
//!   begin a file     journal: { names, released 0 } durable  -> create, never over an existing one       `sink`
//!   deliver          bytes to the bucket's buffer, from there to the file's hand                         `buckets`, `hand`
//!   flush            every file that was written to is synced; then: released { file, length } with the takes   `ledger`
//!   roll             the hand closes the file; once all of it is released it is renamed                  `finish`
//!   failure          files with something that is not released are left; the next call begins over
//!   kill             the same, from what the journal holds                                               `journal`
//! ```
//!
//! A file that is left is finished in the background: the lease is recovered, what follows its released length is cut off
//! (it comes again, to another file), and it gets its last name.
//!
//! `client` is the only room that calls a file system, and puts a limit on each call; [`mod@format`] turns events into bytes;
//! `conf` and `location` say which file system it is; `store` how an object store is one.

#[cfg(feature = "hdfs")]
mod buckets;
mod check;
#[cfg(feature = "hdfs")]
mod client;
#[cfg(feature = "hdfs")]
pub(crate) mod conf;
#[cfg(feature = "hdfs")]
mod counter;
#[cfg(feature = "hdfs")]
mod finish;
#[cfg(all(test, feature = "hdfs"))]
mod finish_tests;
pub mod format;
#[cfg(feature = "hdfs")]
mod hand;
#[cfg(feature = "hdfs")]
mod journal;
#[cfg(feature = "hdfs")]
mod keys;
#[cfg(feature = "hdfs")]
mod ledger;
#[cfg(feature = "hdfs")]
mod location;
#[cfg(all(test, feature = "object-store"))]
mod object_tests;
#[cfg(feature = "hdfs")]
mod record;
mod settings;
#[cfg(feature = "hdfs")]
mod sink;
#[cfg(feature = "hdfs")]
mod small;
#[cfg(feature = "hdfs")]
mod store;
#[cfg(all(test, feature = "hdfs"))]
mod tests;

use flumen_api::registry::{Factory, Spec};

pub use settings::HdfsSettings;
#[cfg(feature = "object-store")]
pub(crate) use store::staging_path;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "hdfs",
        class_names: &["org.apache.flume.sink.hdfs.HDFSEventSink"],
        keys: HdfsSettings::KEYS,
        doc: "Writes events to files of a Hadoop file system, named by time and headers.",
        #[cfg(feature = "hdfs")]
        factory: Factory::Sink(check::build),
        #[cfg(not(feature = "hdfs"))]
        factory: Factory::Announced(flumen_api::settings::Kind::Sink, check::announced),
    }
}
