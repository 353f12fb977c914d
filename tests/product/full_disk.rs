//! A disk that is full: puts wait, everything else goes on.

use std::fs;

use crate::agent::Agent;
use crate::lines::{LINE, assert_exact, lines};
use crate::mounts::Mounted;
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, get, output};

const LINES: u64 = 400_000;

/// Scenario 14 with its channel on the small disk and a sink whose directory is not there yet.
fn config() -> String {
    let config = DURABLE_TAIL.replace("@DIR@/checkpoint", "@DIR@/small/checkpoint");
    let config = config.replace("@DIR@/data", "@DIR@/small/data").replace("@DIR@/out", "@DIR@/later");
    format!(
        "{config}a1.channels.c1.minimumRequiredSpace = 1048576\na1.channels.c1.maxFileSize = 4194304\na1.channels.c1.keep-alive = 1\n"
    )
}

fn start(world: &World) -> (Agent, u16) {
    let port = free_port();
    let agent =
        world.start_with(&["-Dflume.monitoring.type=http", &format!("-Dflume.monitoring.port={port}")]);
    (agent, port)
}

/// A figure of the channel.
fn figure(port: u16, name: &str) -> Option<f64> {
    let (_, text) = get(port, "/metrics/prometheus")?;
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[track_caller]
fn wait_full(port: u16, full: f64) {
    let now = || figure(port, "flumen_channel_disk_full");
    eventually(|| now() == Some(full), || format!("disk_full is {:?} and not {full}", now()));
}

/// Fills the disk, kills the agent, starts it on the full disk, and lets `relieve` happen.
fn full_and_restarted(world: &World, relieve: impl FnOnce(&Agent, u16)) {
    world.append("in/a.log", lines(0, LINES));
    let (agent, port) = start(world);
    wait_full(port, 1.0);
    agent.kill();
    let (agent, port) = start(world);
    agent.wait_for(&["events to deliver"]);
    wait_full(port, 1.0);
    relieve(&agent, port);
    fs::create_dir(world.path("later")).unwrap();
    let later = world.path("later");
    eventually(|| delivered(&later) >= LINES * LINE as u64, || format!("{} delivered", delivered(&later)));
    wait_full(port, 0.0);
    agent.stop();
    assert_exact(&output(&later), LINES);
}

#[test]
fn a_full_disk_is_drained_and_then_filled_again_on_tmpfs() {
    let world = World::new(&config());
    let Some(_small) = Mounted::tmpfs(&world) else { return };
    full_and_restarted(&world, |_, _| {});
}

#[test]
fn a_full_disk_is_drained_and_then_filled_again_on_ext4() {
    let world = World::new(&config());
    let Some(_small) = Mounted::ext4(&world) else { return };
    full_and_restarted(&world, |agent, _| {
        agent.wait_for(&["storage of", "small/data", "O_DIRECT"]);
    });
}

#[test]
fn puts_go_on_once_there_is_space_again() {
    let world = World::new(&config());
    let Some(small) = Mounted::tmpfs(&world) else { return };
    full_and_restarted(&world, |_, port| {
        small.remount("size=256m");
        wait_full(port, 0.0);
        let size = || figure(port, "flumen_channel_events");
        eventually(
            || size() == Some(LINES as f64),
            || format!("{:?} of {LINES} lines are in the channel", size()),
        );
    });
}
