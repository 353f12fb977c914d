//! A shell that outlives the test's process for a moment: when that ends, however it does, the shell kills the servers that it was
//! told of and removes their folder.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads process ids until its input ends. A number may be another's by then, whose command line does not name the folder.
const WATCH: &str = "trap '' INT TERM HUP; pids=; while read -r pid; do pids=\"$pids $pid\"; done; \
                     for pid in $pids; do grep -qsF -- \"$0\" /proc/$pid/cmdline && kill -9 $pid; done; \
                     rm -rf \"$0\" || { sleep 1; rm -rf \"$0\"; }";

/// Watches over the servers of one folder.
pub struct Guard(Child);

impl Guard {
    /// Whose servers name `folder` in their command lines.
    pub fn of(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", WATCH]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Has this server end with the process.
    pub fn watch(&mut self, server: &Child) {
        writeln!(self.0.stdin.as_ref().unwrap(), "{}", server.id()).unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _reaped = self.0.wait();
    }
}
