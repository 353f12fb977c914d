//! Flume's commands that are not here, and what to do instead.

use crate::exit::Exit;

/// `avro-client`
pub fn avro_client() -> Exit {
    eprintln!(
        "flumen avro-client is not built into this version. Flume's own `flume-ng avro-client` works against an avro source, \
         or send the file through an agent of its own: a spooldir or taildir source and an avro sink."
    );
    Exit::Usage
}

/// `tool`
pub fn tool() -> Exit {
    eprintln!(
        "Flume's fcintegritytool repairs Flume's file channels. Channels of this program check every read against its \
         checksum and set damaged events aside by themselves."
    );
    Exit::Usage
}
