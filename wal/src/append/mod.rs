//! From a commit to a synced frame: room, staging, sealing, the two who write, and the tickets that tell.

mod complete;
pub mod gather;
pub mod lead;
pub mod reopen;
pub mod room;
mod seal;
pub mod staging;
pub mod submitter;
pub mod ticket;
pub mod unsynced;
pub mod writer;
