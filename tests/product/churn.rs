//! A writer at full speed whose file is rotated every 50 ms in every way there is.
//!
//! What a writer must wait for is what no reader can make good: lines that are cut off or deleted before anybody had them,
//! and, where the agent is killed meanwhile, a file that never had a matching name while an agent looked.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::lines::{LINE, Random, assert_each_once, lines};
use crate::world::{DURABLE_TAIL, World, eventually};

const EVERY: Duration = Duration::from_millis(50);

/// How far the writer may be ahead of what is delivered.
const AHEAD_LINES: u64 = 100_000;

#[derive(Clone, Copy, Debug)]
enum Rotation {
    /// To a name that matches.
    RenameMatching,
    /// To a name that does not match.
    RenameAway,
    /// Copied and cut, once it is read.
    CopyTruncate,
    /// Deleted once it is read, and made again at once: the inode may be the same.
    Recreate,
    /// Deleted while the agent still reads it.
    DeleteOpen,
}

const ROTATIONS: [Rotation; 5] = [
    Rotation::RenameMatching,
    Rotation::RenameAway,
    Rotation::CopyTruncate,
    Rotation::Recreate,
    Rotation::DeleteOpen,
];

struct Churn {
    world: World,
    agent: Option<Agent>,
    random: Random,
    kills: bool,
    written: u64,
    rotations: Vec<Rotation>,
}

impl Churn {
    /// Kills the agent now and then, and starts another.
    fn maybe_kill(&mut self, one_in: u64) {
        if self.kills && self.random.below(one_in) == 0 {
            self.agent.take().unwrap().kill();
            self.agent = Some(self.world.start());
        }
    }

    fn delivered(&self) -> u64 {
        self.world.delivered() / LINE as u64
    }

    fn wait_for(&self, count: u64) {
        eventually(
            || self.delivered() >= count,
            || {
                let last = &self.rotations[self.rotations.len().saturating_sub(8)..];
                format!("{} lines of {count} are delivered; last rotations: {last:?}", self.delivered())
            },
        );
    }

    fn has_open(&self, file: &File) -> bool {
        let inode = file.metadata().unwrap().ino();
        let agent = self.agent.as_ref().unwrap();
        agent.open_files(&self.world.path("in")).iter().any(|(_, _, open)| *open == inode)
    }

    /// One life of `a.log`, and its end.
    fn turn(&mut self, inodes: &mut HashSet<u64>) -> bool {
        let path = self.world.path("in/a.log");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        let seen_before = !inodes.insert(file.metadata().unwrap().ino());
        let first = self.written;
        let begun = Instant::now();
        while begun.elapsed() < EVERY {
            if self.written > self.delivered() + AHEAD_LINES {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let bytes = lines(self.written, self.written + 200);
            let (head, tail) = bytes.split_at(bytes.len() / 2 + 7);
            file.write_all(head).unwrap();
            self.maybe_kill(200);
            file.write_all(tail).unwrap();
            self.written += 200;
        }
        let number = self.rotations.len();
        let rotation = ROTATIONS[self.random.below(ROTATIONS.len() as u64) as usize];
        self.rotations.push(rotation);
        match rotation {
            Rotation::RenameMatching => {
                fs::rename(&path, self.world.path(&format!("in/old-{number}.log"))).unwrap();
            }
            Rotation::RenameAway => {
                if self.kills {
                    self.wait_for(first + 1);
                }
                fs::rename(&path, self.world.path(&format!("in/a.log.{number}"))).unwrap();
            }
            Rotation::CopyTruncate => {
                self.wait_for(self.written);
                fs::copy(&path, self.world.path(&format!("in/a.log.{number}"))).unwrap();
                file.set_len(0).unwrap();
            }
            Rotation::Recreate => {
                self.wait_for(self.written);
                fs::remove_file(&path).unwrap();
            }
            Rotation::DeleteOpen if self.kills => {
                self.wait_for(self.written);
                fs::remove_file(&path).unwrap();
            }
            Rotation::DeleteOpen => {
                eventually(|| self.has_open(&file), || "the agent has not opened the file".into());
                fs::remove_file(&path).unwrap();
            }
        }
        self.maybe_kill(8);
        seen_before
    }
}

fn churn(kills: bool) {
    let seconds = std::env::var("FLUMEN_CHURN_SECONDS").map_or(3, |text| text.parse().unwrap());
    let world = World::new(DURABLE_TAIL);
    let agent = world.start().started();
    let mut churn =
        Churn { world, agent: Some(agent), random: Random::new(), kills, written: 0, rotations: Vec::new() };
    let (mut inodes, mut reused) = (HashSet::new(), 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        reused += u64::from(churn.turn(&mut inodes));
    }
    churn.wait_for(churn.written);
    churn.agent.take().unwrap().stop();
    assert_each_once(&churn.world.output(), churn.written);
    eprintln!(
        "{} lines, {} rotations, {reused} on an inode seen before",
        churn.written,
        churn.rotations.len()
    );
}

#[test]
fn rotation_every_50_ms_at_full_speed_loses_and_repeats_nothing() {
    churn(false);
}

#[test]
fn rotation_every_50_ms_with_kills_loses_and_repeats_nothing() {
    churn(true);
}
