//! From a commit to a synced frame: room, staging, the one thread that writes, and the tickets that tell.

mod complete;
mod reopen;
pub mod room;
mod seal;
pub mod staging;
pub mod submitter;
pub mod ticket;
