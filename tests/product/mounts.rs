//! File systems of our own. Where mounting is not permitted a test says `skipped: <why>` and passes; with
//! `FLUMEN_REQUIRE_PEERS=1` it fails.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::world::{World, eventually};

/// What a test says that cannot run here.
pub fn skipped(why: &str) {
    let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
    println!("skipped: {why}");
}

/// A file system at `small` below the test's directory; unmounted when dropped.
pub struct Mounted {
    path: PathBuf,
    what: Vec<String>,
}

impl Mounted {
    /// Mounts `what`.
    pub fn new(world: &World, what: &[&str]) -> Option<Self> {
        let path = world.path("small");
        fs::create_dir(&path).unwrap();
        let mounted = Self { path, what: what.iter().map(ToString::to_string).collect() };
        match mounted.mount() {
            true => Some(mounted),
            false => {
                skipped(&format!("mount {what:?} is not permitted here"));
                None
            }
        }
    }

    /// In memory.
    pub fn tmpfs(world: &World) -> Option<Self> {
        Self::new(world, &["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
    }

    /// In a file, with a file system that takes direct I/O.
    pub fn ext4(world: &World) -> Option<Self> {
        let image = world.path("image");
        fs::File::create(&image).unwrap().set_len(56 << 20).unwrap();
        let image = image.to_str().unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", image]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            skipped("mkfs.ext4 does not run here");
            return None;
        }
        Self::new(world, &["-o", "loop", image])
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.path).status().unwrap().success());
    }

    /// Takes it away and mounts it anew, as a repair does.
    pub fn again(&self) {
        // A killed process's last writes may still be on their way.
        eventually(|| self.unmount(&[]), || format!("something still uses {}", self.path.display()));
        assert!(self.mount(), "{:?} cannot be mounted again", self.what);
    }

    fn mount(&self) -> bool {
        let mounted = Command::new("mount").args(&self.what).arg(&self.path).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success())
    }

    fn unmount(&self, how: &[&str]) -> bool {
        Command::new("umount")
            .args(how)
            .arg(&self.path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: an agent that a failed test left behind still has files open.
        self.unmount(&["-l"]);
    }
}
