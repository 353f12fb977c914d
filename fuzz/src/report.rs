//! What a run did, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::violation::Violation;

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// `kill`, `power`, `eio`, `enospc` or `corrupt`.
    pub mode: &'static str,
    /// The seed.
    pub seed: u64,
    /// Ends and restarts.
    pub cycles: u64,
    /// Of them, ends within the start that followed another end.
    pub during_start: u64,
    /// Whether it was told to end before all cycles were done.
    pub interrupted: bool,
    /// Eio: operations that failed. Enospc: how often the disk became full. Corrupt: frames that were damaged.
    pub faults: u64,
    /// Eio: how often the log was opened again without its process having ended.
    pub reopens: u64,
    /// Corrupt: events in damaged frames, reported and not delivered. They are not among the lost.
    pub unreadable: u64,
    /// Events that must arrive. Kill: lines written to the files that the agent follows. Else: events of acked commits.
    pub acked: u64,
    /// Events found intact. Kill: lines in the output. Else: events in the log that were acked before, in
    /// each cycle anew.
    pub recovered: u64,
    /// Events that came again. Kill: lines in the output for a second time, a violation. Else: events released in the
    /// moments before the end of a process, whose release was not durable yet; and those of commits that were not confirmed
    /// and are there, which come twice if their source sends them again.
    pub repeated: u64,
    /// Events that were acked before their sync, by a log that is set so, and that a power cut took. They are not among the
    /// lost.
    pub unsynced: u64,
    /// Events that were acked and did not arrive. Always a violation.
    pub lost: u64,
    /// From a restart to the first event (kill), or for which the log was being opened (the others: time of the
    /// processor, not of a disk).
    pub recovery: Percentiles,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// What went wrong, if something did.
    pub violation: Option<Violation>,
}

impl Report {
    /// Adds another run's counts. Percentiles are not added: set them from all samples at the end.
    pub fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.during_start += other.during_start;
        self.faults += other.faults;
        self.reopens += other.reopens;
        self.unreadable += other.unreadable;
        self.acked += other.acked;
        self.recovered += other.recovered;
        self.repeated += other.repeated;
        self.unsynced += other.unsynced;
        self.lost += other.lost;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.cycles as f64 / self.seconds.max(1e-9);
        writeln!(out, "mode       {}", self.mode)?;
        writeln!(out, "seed       {}", self.seed)?;
        writeln!(
            out,
            "cycles     {} in {:.1} s ({rate:.1}/s), {} during a start",
            self.cycles, self.seconds, self.during_start
        )?;
        if self.faults > 0 {
            writeln!(out, "faults     {}", self.faults)?;
        }
        if self.reopens > 0 {
            writeln!(out, "reopens    {}", self.reopens)?;
        }
        if self.unreadable > 0 {
            writeln!(out, "unreadable {} in damaged frames", self.unreadable)?;
        }
        writeln!(out, "acked      {}", self.acked)?;
        writeln!(out, "recovered  {}", self.recovered)?;
        writeln!(out, "repeated   {}", self.repeated)?;
        if self.unsynced > 0 {
            writeln!(out, "unsynced   {} taken by a power cut", self.unsynced)?;
        }
        writeln!(out, "lost       {}", self.lost)?;
        writeln!(out, "recovery   {}", self.recovery)?;
        match &self.violation {
            None if self.interrupted => {
                write!(out, "result     interrupted; nothing lost up to there")
            }
            None => write!(out, "result     nothing lost"),
            Some(violation) => {
                writeln!(out, "result     VIOLATION: {violation}")?;
                writeln!(out, "kept       {}", violation.directory.display())?;
                write!(out, "again      {}", violation.replay)
            }
        }
    }
}

/// Durations at which so many of a hundred were over, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many durations there were.
    pub samples: u64,
    /// Half of them.
    pub p50_us: u64,
    /// 90 of a hundred.
    pub p90_us: u64,
    /// 99 of a hundred.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Percentiles {
    /// Of these durations, in any order.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| {
            let index = (durations.len() * percent).div_ceil(100).saturating_sub(1);
            durations.get(index).map_or(0, |duration| duration.as_micros() as u64)
        };
        let samples = durations.len() as u64;
        Self { samples, p50_us: at(50), p90_us: at(90), p99_us: at(99), max_us: at(100) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |micros| format!("{:?}", Duration::from_micros(micros));
        let Self { samples, p50_us, p90_us, p99_us, max_us } = *self;
        let [p50, p90, p99, max] = [p50_us, p90_us, p99_us, max_us].map(shown);
        write!(out, "p50 {p50}, p90 {p90}, p99 {p99}, max {max} ({samples} restarts)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        let durations = (1..=200).rev().map(Duration::from_micros).collect();
        let found = Percentiles::of(durations);
        assert_eq!(found, Percentiles { samples: 200, p50_us: 100, p90_us: 180, p99_us: 198, max_us: 200 });
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
    }
}
