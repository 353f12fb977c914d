//! `flumen version`: five lines in the shape of Flume's, for scripts that read those.

use crate::exit::Exit;

/// What the build told, or `unknown` for a build by hand.
const fn or_unknown(told: Option<&'static str>) -> &'static str {
    match told {
        Some(text) => text,
        None => "unknown",
    }
}

/// Prints the version.
pub fn run() -> Exit {
    println!("Flumen {}", env!("CARGO_PKG_VERSION"));
    println!("Source code repository: {}", env!("CARGO_PKG_REPOSITORY"));
    println!("Revision: {}", or_unknown(option_env!("FLUMEN_REVISION")));
    println!(
        "Compiled by {} on {}",
        or_unknown(option_env!("FLUMEN_BUILT_BY")),
        or_unknown(option_env!("FLUMEN_BUILT_ON"))
    );
    println!("From source with checksum {}", or_unknown(option_env!("FLUMEN_SOURCE_CHECKSUM")));
    Exit::Clean
}
