//! `flumen-crash`: ends Flumen at random moments, starts it again, and compares what arrives with what was sent.
//!
//! | mode | what runs | how it ends | what is compared |
//! | --- | --- | --- | --- |
//! | [`kill`] | the real agent in a child process, taildir → file channel → file_roll | SIGKILL | the output files with the input files, line by line |
//! | [`power`, `eio`, `enospc`, `corrupt`](simulation) | the log in this process, over the simulated disk | power cuts and kills between any two disk operations; operations that fail, a disk that fills, bytes that change | the log with a list of what was appended, acked and released |
//!
//! No mode believes what the code under test says about itself: an event counts as there when its bytes are read back
//! and are the bytes that were written.
//!
//! ```text
//!   command line -> kill::run  | simulation::run -> report::Report
//!                       |            |
//!                  kill::ledger  simulation::book      the oracles: plain data, fed by hand in their tests
//!                       \            /
//!                     violation::Violation
//! ```

pub mod interrupt;
pub mod kill;
mod random;
pub mod report;
pub mod simulation;
pub mod violation;
