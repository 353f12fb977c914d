//! Keeps a source's later puts out after an earlier one was lost.
//!
//! ```text
//!   put A  [0, 100)    appended; the log fails, reopens within milliseconds, and A is not in it
//!   put B  [100, 200)  built before its source heard of A's failure; the reopened log would take it
//!   put A  [0, 100)    again: the channel stands at 200 and drops A as known - acked, and lost
//! ```
//!
//! So the puts on their way are remembered by source. When one failed, a put that begins beyond it is refused as failed,
//! until one does not: the source has gone back. A put that begins where the channel stands leaves no gap either: the
//! failed one was in the log after all. What its source does not repeat is not remembered: nobody would go back for it, and all
//! that comes behind would be refused for good.

use std::collections::{HashMap, VecDeque};

use flumen_api::progress::Progress;
use flumen_wal::Ticket;

use super::super::progress::Known;

/// One source's puts, as far as they can still fail.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    on_their_way: VecDeque<(Ticket, Vec<Start>)>,
    /// Generation and position where the earliest lost put of a key begins.
    lost: HashMap<String, (u64, u64)>,
}

#[derive(Debug)]
struct Start {
    key: String,
    generation: u64,
    from: u64,
}

impl Lineage {
    /// The first key along which a put with this progress would leave a gap, given where the channel stands.
    pub fn gap<'a>(&mut self, made: &'a [Progress], known: &[Option<Known>]) -> Option<&'a str> {
        self.settle();
        if self.lost.is_empty() {
            return None;
        }
        let leaves = |(made, known): &(&Progress, &Option<Known>)| {
            let Some(&(generation, from)) = self.lost.get(&made.key) else { return false };
            let stands =
                known.is_some_and(|known| known.generation == made.generation && known.to >= made.from);
            generation == made.generation && made.from > from && !stands
        };
        made.iter().zip(known).find(leaves).map(|(made, _)| made.key.as_str())
    }

    /// A put with this progress, which leaves no gap, was appended. `repeats`: its source comes again with it if it is lost.
    pub fn appended(&mut self, ticket: Ticket, made: &[Progress], repeats: bool) {
        let start = |made: &Progress| {
            if !self.lost.is_empty() {
                self.lost.remove(&made.key);
            }
            Start { key: made.key.clone(), generation: made.generation, from: made.from }
        };
        let starts = if repeats { made.iter().map(start).collect() } else { Vec::new() };
        self.on_their_way.push_back((ticket, starts));
    }

    /// The latest put that may still fail: when its ticket resolves well, so have all before it.
    pub fn last(&mut self) -> Option<Ticket> {
        self.settle();
        self.on_their_way.back().map(|(ticket, _)| ticket.clone())
    }

    /// The source begins anew, from where the channel stands: what was lost is sent again.
    pub fn begin(&mut self) {
        self.settle();
        self.lost.clear();
    }

    fn settle(&mut self) {
        while let Some((ticket, _)) = self.on_their_way.front() {
            let Some(result) = ticket.try_wait() else { break };
            let starts = self.on_their_way.pop_front().map(|(_, starts)| starts).unwrap_or_default();
            if result.is_ok() {
                continue;
            }
            for Start { key, generation, from } in starts {
                let lost = self.lost.entry(key).or_insert((generation, from));
                if lost.0 != generation || from < lost.1 {
                    *lost = (generation, from);
                }
            }
        }
    }
}
