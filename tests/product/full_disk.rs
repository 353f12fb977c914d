//! A disk that is full: puts wait, everything else goes on. Needs the right to mount; says so and passes where it is not
//! given.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::agent::Agent;
use crate::lines::{LINE, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, get, output};

const LINES: u64 = 400_000;

/// A small file system; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts `what` at `small` below the test's directory.
    fn mount(world: &World, what: &[&str]) -> Option<Self> {
        let path = world.path("small");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(what).arg(&path).stderr(Stdio::null()).status();
        match mounted.is_ok_and(|status| status.success()) {
            true => Some(Self(path)),
            false => {
                println!("skipped: mount {what:?} is not permitted here");
                None
            }
        }
    }

    /// In memory.
    fn tmpfs(world: &World) -> Option<Self> {
        Self::mount(world, &["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
    }

    /// In a file, with a file system that takes direct I/O.
    fn ext4(world: &World) -> Option<Self> {
        let image = world.path("image");
        fs::File::create(&image).unwrap().set_len(56 << 20).unwrap();
        let image = image.to_str().unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", image]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: mkfs.ext4 does not run here");
            return None;
        }
        Self::mount(world, &["-o", "loop", image])
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: an agent that a failed test left behind still has files open.
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

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
    let Some(_small) = Small::tmpfs(&world) else { return };
    full_and_restarted(&world, |_, _| {});
}

#[test]
fn a_full_disk_is_drained_and_then_filled_again_on_ext4() {
    let world = World::new(&config());
    let Some(_small) = Small::ext4(&world) else { return };
    full_and_restarted(&world, |_, _| {});
}

#[test]
fn puts_go_on_once_there_is_space_again() {
    let world = World::new(&config());
    let Some(small) = Small::tmpfs(&world) else { return };
    full_and_restarted(&world, |_, port| {
        let remounted =
            Command::new("mount").args(["-o", "remount,size=256m"]).arg(&small.0).status().unwrap();
        assert!(remounted.success());
        wait_full(port, 0.0);
        let size = || figure(port, "flumen_channel_events");
        eventually(
            || size() == Some(LINES as f64),
            || format!("{:?} of {LINES} lines are in the channel", size()),
        );
    });
}
