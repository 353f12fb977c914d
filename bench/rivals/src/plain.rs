//! What a careful reader would write on an afternoon: one file, one buffer behind a mutex, `write` and `fdatasync`.
//!
//! ```text
//!   append:  lock, copy the records behind the buffer's end
//!            nobody writes?  take the buffer, unlock, pwrite, fdatasync, lock, say how far it is durable, wake the others
//!            somebody does?  wait: the next one who writes takes these records along
//! ```
//!
//! Group commit comes from that: whoever finds the device busy rides in the next write. No checksums, no second file. From
//! the consumer's arrival on it writes round in its first 64 MiB, over blocks that were written before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex};

use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};

/// Where it turns round in its recycled life.
const ROUND_BYTES: u64 = 64 << 20;

/// `write` and `fdatasync`.
pub struct Plain;

impl Contender for Plain {
    fn name(&self) -> &str {
        "write + fdatasync"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let path = directory.join("log");
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .context(|| format!("create {}", path.display()))?;
        Ok(Box::new(Open { file, state: Mutex::default(), written: Condvar::new() }))
    }
}

struct Open {
    file: File,
    state: Mutex<State>,
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// An emptied buffer, to take turns with `waiting`.
    spare: Vec<u8>,
    /// Bytes ever taken in, and how many of them are durable.
    appended: u64,
    durable: u64,
    /// Where the next write goes.
    offset: u64,
    writing: bool,
    goes_round: bool,
    failed: Option<String>,
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.waiting.extend_from_slice(records.as_flattened());
        state.appended += records.as_flattened().len() as u64;
        let mine = state.appended;
        loop {
            if let Some(why) = &state.failed {
                return Err(Failure(why.clone()));
            }
            if state.durable >= mine {
                return Ok(());
            }
            if state.writing {
                state = self.written.wait(state).expect("nobody panics with it");
                continue;
            }
            let empty = std::mem::take(&mut state.spare);
            let mut bytes = std::mem::replace(&mut state.waiting, empty);
            if state.goes_round && state.offset + bytes.len() as u64 > ROUND_BYTES {
                state.offset = 0;
            }
            let offset = state.offset;
            state.offset += bytes.len() as u64;
            state.writing = true;
            drop(state);
            let done = self.file.write_all_at(&bytes, offset).and_then(|()| self.file.sync_data());
            state = self.state.lock().expect("nobody panics with it");
            state.writing = false;
            match done {
                Ok(()) => state.durable += bytes.len() as u64,
                Err(error) => state.failed = Some(format!("write or fdatasync: {error}")),
            }
            bytes.clear();
            state.spare = bytes;
            self.written.notify_all();
        }
    }

    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        self.state.lock().expect("nobody panics with it").goes_round = true;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
