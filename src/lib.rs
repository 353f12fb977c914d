//! The flumen agent as a library, for those who build components of their own in:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn run_with(my_sink: flumen_api::registry::Spec) -> ExitCode {
//!     flumen::main(flumen::standard_registry().with(my_sink))
//! }
//! ```
//!
//! Here are the command line, the process's life (signals, exit codes, its own log) and the list of component types;
//! what an agent does is in `flumen-engine`.

mod cli;
mod commands;
mod descriptors;
mod exit;
mod logging;
mod medium;
mod memory;
mod registry;

pub use registry::standard_registry;

use std::process::ExitCode;

use flumen_api::registry::Registry;

/// Runs the command line over the component types of `registry`.
pub fn main(registry: Registry) -> ExitCode {
    if flumen_sources::exec::guard::is_asked_for() {
        return flumen_sources::exec::guard::run();
    }
    cli::main(registry).into()
}
