//! The `flumen` binary.

fn main() {}
