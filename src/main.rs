//! The `flumen` binary: the library's command line over the component types that are built in.

use std::process::ExitCode;

fn main() -> ExitCode {
    flumen::main(flumen::standard_registry())
}
