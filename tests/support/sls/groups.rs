//! Consumer groups: who has which shard.
//!
//! Each member is to have its even share. What it has too much of is left out of the answer, and is another's once the member no longer
//! says that it holds it. A member that is silent for the group's timeout has nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Shard;

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    pub seen: Instant,
    /// What it says that it holds.
    pub held: Vec<u32>,
}

/// A position.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub cursor: String,
    /// Microseconds since 1970.
    pub updated: i64,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    pub timeout: u64,
    pub order: bool,
    pub members: BTreeMap<String, Member>,
    pub owners: BTreeMap<u32, String>,
    leaving: BTreeSet<u32>,
    pub checkpoints: BTreeMap<u32, Known>,
    /// Who had each shard last, and how often that was another one than before.
    pub moves: BTreeMap<u32, (String, usize)>,
}

impl Group {
    pub fn new(timeout: u64, order: bool) -> Self {
        let (members, owners, leaving, checkpoints, moves) = Default::default();
        Self { timeout, order, members, owners, leaving, checkpoints, moves }
    }

    /// Forgets those who were silent for too long.
    pub fn expire(&mut self, is_patient: bool) {
        let timeout = Duration::from_secs(self.timeout);
        self.members.retain(|_, member| is_patient || member.seen.elapsed() < timeout);
        let members = &self.members;
        self.owners.retain(|_, owner| members.contains_key(owner));
        let owners = &self.owners;
        self.leaving.retain(|shard| owners.contains_key(shard));
    }

    /// What `consumer` shall hold. Who is silent was expired before.
    pub fn heartbeat(&mut self, consumer: &str, held: Vec<u32>, shards: &[Shard], orders: bool) -> Vec<u32> {
        let given_up: Vec<u32> = self.leaving.iter().filter(|shard| !held.contains(shard)).copied().collect();
        for shard in given_up {
            if self.owners.get(&shard).is_some_and(|owner| owner == consumer) {
                self.owners.remove(&shard);
                self.leaving.remove(&shard);
            }
        }
        self.members.insert(consumer.into(), Member { seen: Instant::now(), held });
        let there: Vec<u32> =
            shards.iter().filter(|shard| self.is_free(shard, shards, orders)).map(|shard| shard.id).collect();
        let share = there.len().div_ceil(self.members.len());
        let mut own: Vec<u32> =
            self.owners.iter().filter(|(_, owner)| *owner == consumer).map(|(shard, _)| *shard).collect();
        own.retain(|shard| !self.leaving.contains(shard));
        while own.len() > share {
            self.leaving.extend(own.pop());
        }
        for shard in there {
            let held_by_another =
                self.members.iter().any(|(name, member)| name != consumer && member.held.contains(&shard));
            if own.len() < share && !self.owners.contains_key(&shard) && !held_by_another {
                self.owners.insert(shard, consumer.into());
                let (last, moves) = self.moves.entry(shard).or_insert_with(|| (consumer.into(), 0));
                if last != consumer {
                    (*last, *moves) = (consumer.into(), *moves + 1);
                }
                own.push(shard);
            }
        }
        own.sort_unstable();
        own
    }

    /// Whether a shard may be handed out: in an ordered group after its parents.
    fn is_free(&self, shard: &Shard, shards: &[Shard], orders: bool) -> bool {
        let is_read = |parent: &u32| {
            let parent = &shards[*parent as usize];
            self.checkpoints.get(&parent.id).is_some_and(|known| known.cursor == parent.end())
        };
        !(self.order && orders) || shard.parents.iter().all(is_read)
    }

    /// The code with which a checkpoint of `consumer` is refused, if it is.
    pub fn refusal(&self, consumer: &str, shard: u32) -> Option<&'static str> {
        match self.owners.get(&shard) {
            _ if !self.members.contains_key(consumer) => Some("ConsumerNotExsit"),
            Some(owner) if owner == consumer => None,
            _ => Some("ConsumerNotMatch"),
        }
    }
}
