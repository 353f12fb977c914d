//! A `flumen` with parts of one's own: a sink, a serializer for the sinks that write files, and an interceptor.
//!
//! ```text
//!   cargo build -p own-sink
//!   target/debug/own-sink agent -n a1 -f examples/own-sink/own.conf
//!   target/debug/own-sink check -f examples/own-sink/own.conf
//! ```
//!
//! Everything that the standard program has is in it, too: the command line, the built-in types, `check`, which knows the
//! keys of one's own types like any other's. A type is found by its class name; the ones here keep the names that they had
//! in Java, so that the configuration file needs no edit.

mod count;
mod mask;
mod upper;

use std::process::ExitCode;

fn main() -> ExitCode {
    let registry = flumen::standard_registry().with(count::spec()).with(upper::SPEC).with(mask::SPEC);
    flumen::main(registry)
}
