//! Reads the two checkpoint files, of which the newer one that verifies counts.

use std::io;
use std::sync::Arc;

use super::{Recovered, io_error};
use crate::error::OpenError;
use crate::format::checkpoint::{self, Checkpoint, CheckpointError};
use crate::format::keys::MissingKey;
use crate::segment::file::path_of;
use crate::segment::window::read_full;
use crate::storage::{AlignedBuf, Directory};

/// The newest checkpoint that verifies.
pub(super) fn read_checkpoints(
    dir: &dyn Directory,
    recovered: &mut Recovered,
) -> Result<Option<Checkpoint>, OpenError> {
    let listed = dir.list().map_err(|source| io_error("list", dir, "", source))?;
    let keys = dir.keys();
    let mut newest: Option<(Checkpoint, u64, usize)> = None;
    let mut locked: Option<(u64, MissingKey, &str)> = None;
    for (slot, name) in checkpoint::FILE_NAMES.iter().enumerate() {
        let Some(entry) = listed.iter().find(|entry| entry.name == *name) else { continue };
        if entry.len == 0 {
            continue;
        }
        let read = |len| read_start(dir, name, len).map_err(|source| io_error("read", dir, name, source));
        let mut decoded = Checkpoint::decode(&read(entry.len.min(CHECKPOINT_BYTES_USUAL))?, &keys);
        if matches!(decoded, Err(CheckpointError::Bad(_))) && entry.len > CHECKPOINT_BYTES_USUAL {
            decoded = Checkpoint::decode(&read(entry.len)?, &keys);
        }
        match decoded {
            Ok((checkpoint, sequence)) if newest.as_ref().is_none_or(|(_, newer, _)| sequence > *newer) => {
                newest = Some((checkpoint, sequence, slot));
            }
            Ok(_) | Err(CheckpointError::Bad(_)) => {}
            Err(CheckpointError::Locked { sequence, missing }) => {
                if locked.as_ref().is_none_or(|(newer, ..)| sequence > *newer) {
                    locked = Some((sequence, missing, name));
                }
            }
            Err(error @ CheckpointError::Newer { .. }) => {
                return Err(OpenError::Newer { path: path_of(dir, name), reason: error.to_string() });
            }
        }
    }
    // The older one may be from before a key was changed. The newer one may vouch for what nothing else does.
    let newest_sequence = newest.as_ref().map_or(0, |(_, sequence, _)| *sequence);
    if let Some((_, missing, name)) = locked.filter(|(sequence, ..)| *sequence > newest_sequence) {
        return Err(io_error("read", dir, name, missing.into()));
    }
    Ok(newest.map(|(checkpoint, sequence, slot)| {
        recovered.checkpoint = Some((sequence, slot));
        checkpoint
    }))
}

/// Most checkpoints are no longer; their files are, so that a full disk does not stop them.
const CHECKPOINT_BYTES_USUAL: u64 = 16 << 10;

/// The first `len` bytes of a file that has them.
fn read_start(dir: &dyn Directory, name: &str, len: u64) -> io::Result<Arc<[u8]>> {
    let file = dir.open(name)?;
    let mut buffer = AlignedBuf::zeroed((len as usize).max(1).next_multiple_of(dir.alignment()));
    // Read in part it would count as damaged, and what it vouches for as torn.
    let read = read_full(&*file, &mut buffer, 0)?;
    Ok(buffer[..read].into())
}
