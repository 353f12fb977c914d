//! Channels: in memory, and on the log.
