//! A writer at full speed whose file is rotated every 50 ms in every way there is.
//!
//! A long run is made of rounds: after each, what arrived is compared and removed with the files that were rotated away, so
//! that hours fit on a small disk and every inode is used again and again.
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

/// A round's output is compared in memory.
const ROUND: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// How often the agent was killed.
    killed: u64,
    written: u64,
    /// Lines of the rounds before, whose output is gone.
    compared: u64,
    rotations: Vec<Rotation>,
    inodes: HashSet<u64>,
    /// Files on an inode that an earlier one had.
    reused: u64,
}

impl Churn {
    /// Kills the agent now and then, and starts another.
    fn maybe_kill(&mut self, one_in: u64) {
        if self.kills && self.random.below(one_in) == 0 {
            self.agent.take().unwrap().kill();
            self.agent = Some(self.world.start());
            self.killed += 1;
        }
    }

    fn delivered(&self) -> u64 {
        self.compared + self.world.delivered() / LINE as u64
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
    fn turn(&mut self) {
        let path = self.world.path("in/a.log");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        self.reused += u64::from(!self.inodes.insert(file.metadata().unwrap().ino()));
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
    }

    /// Turns for `time`; then everything has to be there, each line once.
    fn round(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.turn();
        }
        self.wait_for(self.written);
        self.agent.take().unwrap().stop();
        assert_each_once(&self.world.output(), self.compared..self.written);
        self.compared = self.written;
        for folder in ["in", "out"] {
            for entry in fs::read_dir(self.world.path(folder)).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }

    fn report(&self) -> String {
        let each = ROTATIONS.map(|one| {
            let count = self.rotations.iter().filter(|rotation| **rotation == one).count();
            format!("{one:?} {count}")
        });
        format!(
            "{} lines, {} rotations ({}), {} on an inode seen before, {} kills, nothing lost or repeated",
            self.written,
            self.rotations.len(),
            each.join(", "),
            self.reused,
            self.killed
        )
    }
}

fn churn(kills: bool) {
    let seconds = std::env::var("FLUMEN_CHURN_SECONDS").map_or(3, |text| text.parse().unwrap());
    let mut churn = Churn {
        world: World::new(DURABLE_TAIL),
        agent: None,
        random: Random::new(),
        kills,
        killed: 0,
        written: 0,
        compared: 0,
        rotations: Vec::new(),
        inodes: HashSet::new(),
        reused: 0,
    };
    let (begun, time) = (Instant::now(), Duration::from_secs(seconds));
    while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        churn.agent = Some(churn.world.start().started());
        churn.round(left.min(ROUND));
    }
    eprintln!("{seconds} s: {}", churn.report());
}

#[test]
fn rotation_every_50_ms_at_full_speed_loses_and_repeats_nothing() {
    churn(false);
}

#[test]
fn rotation_every_50_ms_with_kills_loses_and_repeats_nothing() {
    churn(true);
}
