//! A log service for tests: Aliyun's HTTP API over what a test put into its shards. Signatures are checked, state is kept, and faults
//! happen as a test says. `tests/sls` has the official Python client talk to it, so that what is wrong here is caught.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

mod api;
mod encode;
mod groups;
mod http;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use encode::{Record, log_group};
use groups::Group;

pub const PROJECT: &str = "canary";
pub const LOGSTORE: &str = "access";
pub const KEY_ID: &str = "an-access-key-id";
pub const KEY: &str = "a-secret-key";
/// Version-4 signatures are good here.
pub const REGION: &str = "cn-x";

/// Cursors are numbers in base64, one a log group; the service's begin somewhere up there.
const FIRST_CURSOR: u64 = 1_447_099_495_776_597_233;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is refused with this status and code.
    Refused(u16, &'static str),
    /// The connection is closed, nothing is done.
    Cut,
    /// All is done, and the connection closed without an answer.
    Lost,
    /// All is done, and half of the answer comes.
    Half,
    /// A byte in the middle of the body is another one.
    Damaged,
    /// It takes this long.
    Slow(Duration),
}

/// A shard.
#[derive(Clone, Debug)]
pub struct Shard {
    pub id: u32,
    pub read_only: bool,
    /// Key hashes from here on, and up to there.
    pub keys: (u128, u128),
    pub created: i64,
    pub parents: Vec<u32>,
    /// Log groups, each with when it came (seconds since 1970).
    pub groups: Vec<(Vec<u8>, i64)>,
    /// Those before have expired.
    pub expired: usize,
}

impl Shard {
    pub fn end(&self) -> String {
        cursor(self.groups.len())
    }
}

/// All that the service knows.
pub struct State {
    pub shards: Vec<Shard>,
    pub consumer_groups: BTreeMap<String, Group>,
    /// The next calls of a name: what happens to them.
    pub faults: Vec<(&'static str, Fault, usize)>,
    /// Calls by name, also those that failed.
    pub calls: BTreeMap<&'static str, usize>,
    /// Temporary credentials have this token.
    pub token: Option<String>,
    /// The service's clock less the host's, in seconds.
    pub ahead: i64,
    /// Members are given up by [`Sls::give_up`] alone, however long they are silent: a busy machine keeps them waiting, too.
    pub is_patient: bool,
    /// Most log groups of a pull.
    pub pull_max: usize,
    /// An ordered group's shards are handed out after their parents.
    pub orders: bool,
    /// Answers to pulls by what was asked: a bench must not measure the packing.
    pub packed: Option<BTreeMap<(u32, usize, usize, String), api::Packed>>,
}

impl State {
    pub fn now(&self) -> i64 {
        now() + self.ahead
    }
}

/// A running service.
pub struct Sls {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Sls {
    /// With so many shards, all empty.
    pub fn start(shards: u32) -> Self {
        let width = u128::MAX / u128::from(shards.max(1));
        let shard = |id: u32| Shard {
            id,
            read_only: false,
            keys: (width * u128::from(id), width * u128::from(id + 1)),
            created: now() - 1000,
            parents: Vec::new(),
            groups: Vec::new(),
            expired: 0,
        };
        let state = State {
            shards: (0..shards).map(shard).collect(),
            consumer_groups: BTreeMap::new(),
            faults: Vec::new(),
            calls: BTreeMap::new(),
            token: None,
            ahead: 0,
            is_patient: false,
            pull_max: 1000,
            orders: true,
            packed: None,
        };
        let state = Arc::new(Mutex::new(state));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let its = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = its.clone();
                std::thread::spawn(move || {
                    // A client that goes away is not this server's trouble.
                    let _ended = http::serve(stream?, &state);
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { port, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `times` calls of this name meet this.
    pub fn fault(&self, call: &'static str, fault: Fault, times: usize) {
        self.state().faults.push((call, fault, times));
    }

    /// How often a call was made.
    pub fn calls(&self, call: &'static str) -> usize {
        self.state().calls.get(call).copied().unwrap_or(0)
    }

    /// Adds a log group to a shard.
    pub fn append_group(&self, shard: u32, group: Vec<u8>) {
        let mut state = self.state();
        let now = state.now();
        state.shards[shard as usize].groups.push((group, now));
    }

    /// Adds logs of one content each, in log groups of ten.
    pub fn append(&self, shard: u32, bodies: &[String]) {
        let time = u32::try_from(now()).unwrap();
        for bodies in bodies.chunks(10) {
            let logs: Vec<Record> = bodies.iter().map(|body| Record::of(time, body)).collect();
            self.append_group(shard, log_group("", "10.0.0.1", &[("__hostname__", "h")], &logs));
        }
    }

    /// Splits a shard in the middle; returns its children.
    pub fn split(&self, shard: u32) -> [u32; 2] {
        let mut state = self.state();
        let (from, to) = state.shards[shard as usize].keys;
        let (created, next) = (state.now(), state.shards.len() as u32);
        state.shards[shard as usize].read_only = true;
        let middle = from + (to - from) / 2;
        for (i, keys) in [(from, middle), (middle, to)].into_iter().enumerate() {
            let (parents, groups) = (vec![shard], Vec::new());
            let id = next + i as u32;
            state.shards.push(Shard { id, read_only: false, keys, created, parents, groups, expired: 0 });
        }
        [next, next + 1]
    }

    /// Packs what a reader of everything will pull, so that answering costs no more than sending.
    pub fn pack(&self, kind: &str) {
        self.state().packed = Some(BTreeMap::new());
        let shards = self.state().shards.len() as u32;
        for shard in 0..shards {
            let mut at = 0;
            while let Some(groups) = api::pack_at(&mut self.state(), shard, at, kind) {
                at += groups;
            }
        }
    }

    /// The checkpoint of a group in a shard; empty if there is none.
    pub fn checkpoint(&self, group: &str, shard: u32) -> String {
        let state = self.state();
        let group = state.consumer_groups.get(group);
        group
            .and_then(|group| group.checkpoints.get(&shard))
            .map(|known| known.cursor.clone())
            .unwrap_or_default()
    }

    /// The cursor behind a shard's last log group.
    pub fn end(&self, shard: u32) -> String {
        self.state().shards[shard as usize].end()
    }

    /// Whether a group has read everything.
    pub fn is_read(&self, group: &str) -> bool {
        let ends: Vec<(u32, String)> =
            self.state().shards.iter().map(|shard| (shard.id, shard.end())).collect();
        ends.into_iter().all(|(shard, end)| self.checkpoint(group, shard) == end)
    }

    /// A member is gone.
    pub fn give_up(&self, group: &str, consumer: &str) {
        if let Some(group) = self.state().consumer_groups.get_mut(group) {
            group.members.remove(consumer);
        }
    }

    /// How often a shard has become another member's.
    pub fn moves(&self, group: &str, shard: u32) -> usize {
        let state = self.state();
        state
            .consumer_groups
            .get(group)
            .and_then(|group| group.moves.get(&shard))
            .map_or(0, |(_, moves)| *moves)
    }

    /// Whose each shard is, by the members' own words.
    pub fn held(&self, group: &str) -> BTreeMap<String, Vec<u32>> {
        let state = self.state();
        let members = state.consumer_groups.get(group).map(|group| &group.members);
        members
            .map(|members| members.iter().map(|(name, member)| (name.clone(), member.held.clone())).collect())
            .unwrap_or_default()
    }
}

/// The cursor of a log group.
pub fn cursor(index: usize) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode((FIRST_CURSOR + index as u64).to_string())
}

/// The log group of a cursor.
pub fn index(cursor: &str) -> Option<usize> {
    use base64::Engine as _;
    let number = base64::engine::general_purpose::STANDARD.decode(cursor).ok()?;
    let number: u64 = std::str::from_utf8(&number).ok()?.parse().ok()?;
    usize::try_from(number.checked_sub(FIRST_CURSOR)?).ok()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs() as i64)
}
