//! An agent of Flume's in the place of one of ours.

use std::net::TcpStream;

use crate::agent::Agent;
use crate::flume::Flume;
use crate::world::{World, eventually};

/// A running agent of Flume's, killed when dropped.
pub struct Side(Agent);

impl Side {
    /// Starts the agent `name` of the world's configuration; `run` makes its log's name.
    pub fn flume(flume: &Flume, world: &World, name: &str, run: &str) -> Self {
        let mut command = flume.java();
        command.current_dir(world.root());
        let words = ["org.apache.flume.node.Application", "-n", name, "--no-reload-conf", "-f", "flume.conf"];
        Self(Agent::spawn(command.args(words), world.path(&format!("logs/flume-{run}"))))
    }

    /// Waits until it listens.
    #[track_caller]
    pub fn wait_for_port(&self, port: u16) {
        eventually(
            || TcpStream::connect(("127.0.0.1", port)).is_ok(),
            || format!("nobody listens on {port}: {}", self.0.said()),
        );
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) {
        self.0.signal("TERM");
        let _its_own = self.0.end();
    }

    pub fn kill(self) {
        self.0.kill();
    }
}
