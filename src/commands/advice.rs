//! Flume's commands that are not here, and what to do instead.

use crate::exit::Exit;

/// `tool`
pub fn tool() -> Exit {
    eprintln!(
        "Flume's fcintegritytool repairs Flume's file channels. Channels of this program check every read against its \
         checksum and set damaged events aside by themselves."
    );
    Exit::Usage
}
