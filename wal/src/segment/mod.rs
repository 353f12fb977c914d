//! The log's files: opening and preparing one, reading through it, the set of them, and the thread that keeps it.

pub mod file;
pub mod keeper;
pub mod set;
pub mod window;
