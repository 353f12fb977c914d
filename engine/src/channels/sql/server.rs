//! The channel's tables in a server, and every statement: those of SQLite, in the words that MySQL and PostgreSQL share.
//!
//! ```text
//!   flumen_<channel>_puts      first, events, bytes, chunk     numbered densely: first .. first + events
//!   flumen_<channel>_released  first, past                     delivered, above the lowest that is not
//!   flumen_<channel>_progress  slot, space, owner, name, generation, began, position, rest
//!   flumen_<channel>_owners    slot, space, owner              sources and sinks that the channel knows
//!   flumen_<channel>_state     version, epoch, next_event, low_event    one row
//! ```
//!
//! `slot` is a hash of what follows it: names are longer than the servers' keys may be, so that it is indexed and they are compared.
//!
//! A session holds a lock of the server's, by the channel's name, for as long as it lives: a second agent finds the channel busy.
//! Whatever fails throws the session away. The next one gets the lock when the server has ended the last, so that what that one's
//! COMMIT did is settled by then. `epoch` counts starts: one that has changed meanwhile means that another agent had the channel in
//! between, and what is in memory here is out of date.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_wal::{ProgressOp, ProgressUpdate, ProgressValue, Space};

use super::database::{Change, Content, Database, LOCK_WAIT, OpenFailed, Row, VERSION, number_of, owner_of};

/// Pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long a connection may take to come about.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a statement may take before the session is given up.
pub(super) const STATEMENT_WAIT: Duration = Duration::from_secs(30);

/// What statements take and give. All numbers are BIGINT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Bytes(Bytes),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number as i64)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// What definitions of tables have for words.
pub(super) struct Words {
    /// The type of bytes.
    pub blob: &'static str,
    /// What follows the columns.
    pub tail: &'static str,
    /// Whether an index is defined with its table, or by a statement of its own.
    pub index_inside: bool,
}

/// A connection, and what differs between the servers. Statements have `?` for their values.
pub(super) trait Session: Send {
    /// How it has tables defined.
    fn words(&self) -> Words;
    /// Takes the lock, if nobody has it; the server frees it when the session ends.
    fn try_lock(&mut self, name: &str) -> Result<bool, String>;
    /// Whether there is such a table.
    fn has_table(&mut self, name: &str) -> Result<bool, String>;
    /// A statement without rows.
    fn execute(&mut self, statement: &str, values: Vec<Value>) -> Result<(), String>;
    /// A statement with rows.
    fn query(&mut self, statement: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>, String>;
}

/// Makes a session.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn Session>, String> + Send>;

pub(super) struct Server {
    connect: Connect,
    /// What the tables' names begin with.
    prefix: String,
    epoch: i64,
    session: Option<Box<dyn Session>>,
    /// After an attempt that failed: not again before, the pause, and why.
    failed: Option<(Instant, Duration, String)>,
    /// The ranges in the table `released`, as of the last commit or look.
    released: BTreeMap<u64, u64>,
}

impl Server {
    /// Connects and takes the lock; makes the tables where that is allowed and they are missing.
    pub fn open(connect: Connect, prefix: String, create: bool) -> Result<Self, OpenFailed> {
        let mut session = connect().map_err(OpenFailed::Other)?;
        if !lock(&mut *session, &prefix).map_err(OpenFailed::Other)? {
            return Err(OpenFailed::Busy);
        }
        let epoch = prepare(&mut *session, &prefix, create)?;
        let released = BTreeMap::new();
        let mut server = Self { connect, prefix, epoch, session: Some(session), failed: None, released };
        server.content().map_err(OpenFailed::Other)?;
        Ok(server)
    }

    fn connected(&mut self) -> Result<Box<dyn Session>, String> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        if let Some((not_before, _, why)) = &self.failed
            && Instant::now() < *not_before
        {
            return Err(why.clone());
        }
        let connected = self.connect_again();
        match &connected {
            Ok(_) => self.failed = None,
            Err(why) => {
                let pause =
                    self.failed.as_ref().map_or(PAUSE_MIN, |(_, pause, _)| (*pause * 2).min(PAUSE_MAX));
                self.failed = Some((Instant::now() + pause, pause, why.clone()));
            }
        }
        connected
    }

    fn connect_again(&self) -> Result<Box<dyn Session>, String> {
        let mut session = (self.connect)()?;
        if !lock(&mut *session, &self.prefix)? {
            return Err("its lock is held: by the session that was lost, or by another agent".into());
        }
        let state = session.query(&format!("SELECT epoch FROM {}state", self.prefix), Vec::new())?;
        match number(&state, 0, 0)? == self.epoch {
            true => Ok(session),
            false => Err("another agent had the channel meanwhile: this one must be started again".into()),
        }
    }

    /// Runs statements in the session. One that fails is its last.
    fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Self, &mut dyn Session) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut session = self.connected()?;
        let outcome = run(self, &mut *session);
        if outcome.is_ok() {
            self.session = Some(session);
        }
        outcome
    }

    fn carry_out(&mut self, session: &mut dyn Session, change: &Change) -> Result<(), String> {
        let prefix = &self.prefix;
        session.execute("START TRANSACTION", Vec::new())?;
        let insert = format!("INSERT INTO {prefix}puts (first, events, bytes, chunk) VALUES (?, ?, ?, ?)");
        for row in &change.rows {
            let bytes = row.chunk.len() as u64;
            let values =
                vec![row.first.into(), row.events.into(), bytes.into(), Value::Bytes(row.chunk.clone())];
            session.execute(&insert, values)?;
        }
        apply(session, prefix, &change.updates)?;
        if let Some(delivered) = &change.delivered {
            let low = delivered.low;
            session
                .execute(&format!("DELETE FROM {prefix}puts WHERE first + events <= ?"), vec![low.into()])?;
            let (old, new) = (&self.released, &delivered.above);
            for (first, _) in old.iter().filter(|(first, past)| new.get(first) != Some(past)) {
                session.execute(
                    &format!("DELETE FROM {prefix}released WHERE first = ?"),
                    vec![(*first).into()],
                )?;
            }
            for (first, past) in new.iter().filter(|(first, past)| old.get(first) != Some(past)) {
                let values = vec![(*first).into(), (*past).into()];
                session
                    .execute(&format!("INSERT INTO {prefix}released (first, past) VALUES (?, ?)"), values)?;
            }
            session.execute(&format!("UPDATE {prefix}state SET low_event = ?"), vec![low.into()])?;
        }
        if !change.rows.is_empty() {
            session.execute(&format!("UPDATE {prefix}state SET next_event = ?"), vec![change.next.into()])?;
        }
        session.execute("COMMIT", Vec::new())?;
        if let Some(delivered) = &change.delivered {
            self.released = delivered.above.clone();
        }
        Ok(())
    }

    fn find(&self, session: &mut dyn Session, first: u64, end: u64, most: usize) -> Result<Vec<Row>, String> {
        let prefix = &self.prefix;
        // Their sizes first: the chunks of all that is asked for may be more than there is memory.
        let sizes = format!(
            "SELECT first, bytes FROM {prefix}puts \
             WHERE first >= (SELECT max(first) FROM {prefix}puts WHERE first <= ?) AND first < ? ORDER BY first"
        );
        let sizes = session.query(&sizes, vec![first.into(), end.into()])?;
        let mut read: usize = 0;
        let mut last = None;
        for row in 0..sizes.len() {
            last = Some(number(&sizes, row, 0)?);
            read = read.saturating_add(number(&sizes, row, 1)?.max(0) as usize);
            if read >= most {
                break;
            }
        }
        let Some(last) = last else { return Ok(Vec::new()) };
        let find = format!(
            "SELECT first, events, chunk FROM {prefix}puts WHERE first >= ? AND first <= ? ORDER BY first"
        );
        let rows = session.query(&find, vec![number(&sizes, 0, 0)?.into(), last.into()])?;
        let of = |row| {
            let (first, events) = (number(&rows, row, 0)? as u64, number(&rows, row, 1)? as u64);
            Ok(Row { first, events, chunk: bytes(&rows, row, 2)? })
        };
        (0..rows.len()).map(of).collect()
    }

    fn all(&mut self, session: &mut dyn Session) -> Result<Content, String> {
        let prefix = &self.prefix;
        let state = session.query(&format!("SELECT next_event, low_event FROM {prefix}state"), Vec::new())?;
        let mut content = Content { next: number(&state, 0, 0)? as u64, ..Content::default() };
        content.delivered.low = number(&state, 0, 1)? as u64;
        let rows = session.query(&format!("SELECT first, past FROM {prefix}released"), Vec::new())?;
        self.released.clear();
        for row in 0..rows.len() {
            let (first, past) = (number(&rows, row, 0)? as u64, number(&rows, row, 1)? as u64);
            self.released.insert(first, past);
            content.delivered.add(first, past);
        }
        let rows = session.query(&format!("SELECT space, owner FROM {prefix}owners"), Vec::new())?;
        for row in 0..rows.len() {
            let owner = owner_of(number(&rows, row, 0)?, text(&rows, row, 1)?);
            content.owners.entry(owner).or_default();
        }
        let progress =
            format!("SELECT space, owner, name, generation, began, position, rest FROM {prefix}progress");
        let rows = session.query(&progress, Vec::new())?;
        for row in 0..rows.len() {
            let value = ProgressValue {
                generation: number(&rows, row, 3)? as u64,
                from: number(&rows, row, 4)? as u64,
                to: number(&rows, row, 5)? as u64,
                rest: bytes(&rows, row, 6)?.to_vec().into(),
            };
            let owner = owner_of(number(&rows, row, 0)?, text(&rows, row, 1)?);
            content.owners.entry(owner).or_default().insert(text(&rows, row, 2)?, value);
        }
        Ok(content)
    }
}

impl Database for Server {
    fn commit(&mut self, change: &Change) -> Result<(), String> {
        self.with(|server, session| server.carry_out(session, change))
    }

    fn read(&mut self, first: u64, end: u64, bytes: usize) -> Result<Vec<Row>, String> {
        self.with(|server, session| server.find(session, first, end, bytes))
    }

    fn content(&mut self) -> Result<Content, String> {
        self.with(Self::all)
    }
}

fn lock(session: &mut dyn Session, prefix: &str) -> Result<bool, String> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match session.try_lock(prefix)? {
            true => return Ok(true),
            false if Instant::now() >= until => return Ok(false),
            false => std::thread::sleep(LOCK_POLL),
        }
    }
}

/// Sees to the tables; the new epoch.
fn prepare(session: &mut dyn Session, prefix: &str, create: bool) -> Result<i64, OpenFailed> {
    let state = format!("{prefix}state");
    if !session.has_table(&state).map_err(OpenFailed::Other)? && !create {
        return Err(OpenFailed::Foreign(format!("it has no table {state}, and create.schema is false")));
    }
    let run = |session: &mut dyn Session| -> Result<(i64, i64), String> {
        if create {
            let Words { blob, tail, index_inside } = session.words();
            for (table, columns, by_slot) in TABLES {
                let columns = columns.replace("BLOB", blob);
                let index = if by_slot && index_inside { ", INDEX (slot)" } else { "" };
                let make = format!("CREATE TABLE IF NOT EXISTS {prefix}{table} ({columns}{index}){tail}");
                session.execute(&make, Vec::new())?;
                if by_slot && !index_inside {
                    let index =
                        format!("CREATE INDEX IF NOT EXISTS {prefix}{table}_slot ON {prefix}{table} (slot)");
                    session.execute(&index, Vec::new())?;
                }
            }
        }
        // Nobody else makes the row, as the lock is held here; without it nothing was ever put.
        if session.query(&format!("SELECT version FROM {state}"), Vec::new())?.is_empty() {
            let first =
                format!("INSERT INTO {state} (version, epoch, next_event, low_event) VALUES (?, 0, 0, 0)");
            session.execute(&first, vec![VERSION.into()])?;
        }
        let rows = session.query(&format!("SELECT version, epoch FROM {state}"), Vec::new())?;
        Ok((number(&rows, 0, 0)?, number(&rows, 0, 1)?))
    };
    let (version, epoch) = run(session).map_err(OpenFailed::Other)?;
    if version != VERSION {
        let known = format!("{state} has version {version}; this program knows version {VERSION}");
        return Err(OpenFailed::Foreign(known));
    }
    let epoch = epoch.wrapping_add(1);
    let set = format!("UPDATE {state} SET epoch = ?");
    session.execute(&set, vec![epoch.into()]).map_err(OpenFailed::Other)?;
    Ok(epoch)
}

/// Names, columns, and whether they are looked up by `slot`.
const TABLES: [(&str, &str, bool); 5] = [
    (
        "puts",
        "first BIGINT PRIMARY KEY, events BIGINT NOT NULL, bytes BIGINT NOT NULL, chunk BLOB NOT NULL",
        false,
    ),
    ("released", "first BIGINT PRIMARY KEY, past BIGINT NOT NULL", false),
    (
        "progress",
        "slot BIGINT NOT NULL, space BIGINT NOT NULL, owner BLOB NOT NULL, name BLOB NOT NULL, generation BIGINT NOT NULL, \
         began BIGINT NOT NULL, position BIGINT NOT NULL, rest BLOB NOT NULL",
        true,
    ),
    ("owners", "slot BIGINT NOT NULL, space BIGINT NOT NULL, owner BLOB NOT NULL", true),
    (
        "state",
        "version BIGINT NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, next_event BIGINT NOT NULL, low_event BIGINT NOT NULL",
        false,
    ),
];

/// FNV-1a over the parts, each with its end.
pub(super) fn slot(parts: &[&str]) -> i64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        as i64
}

/// Of several updates of a key the last one counts.
fn apply(session: &mut dyn Session, prefix: &str, updates: &[ProgressUpdate]) -> Result<(), String> {
    let owners: BTreeSet<(Space, &str)> =
        updates.iter().map(|update| (update.space, &*update.owner)).collect();
    for (space, owner) in owners {
        let values: Vec<Value> = vec![slot(&[owner]).into(), number_of(space).into(), owner.into()];
        let known = format!("SELECT space FROM {prefix}owners WHERE slot = ? AND space = ? AND owner = ?");
        if session.query(&known, values.clone())?.is_empty() {
            session.execute(
                &format!("INSERT INTO {prefix}owners (slot, space, owner) VALUES (?, ?, ?)"),
                values,
            )?;
        }
    }
    let mut last = BTreeMap::new();
    for update in updates.iter().filter(|update| !matches!(update.op, ProgressOp::Mark)) {
        last.insert((update.space, &*update.owner, &*update.key), &update.op);
    }
    for ((space, owner, name), op) in last {
        let mut values: Vec<Value> =
            vec![slot(&[owner, name]).into(), number_of(space).into(), owner.into(), name.into()];
        let delete =
            format!("DELETE FROM {prefix}progress WHERE slot = ? AND space = ? AND owner = ? AND name = ?");
        session.execute(&delete, values.clone())?;
        if let ProgressOp::Set { generation, from, to, rest } = op {
            values.extend([(*generation).into(), (*from).into(), (*to).into()]);
            values.push(Value::Bytes(Bytes::copy_from_slice(&rest[..])));
            let insert = format!(
                "INSERT INTO {prefix}progress (slot, space, owner, name, generation, began, position, rest) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            );
            session.execute(&insert, values)?;
        }
    }
    Ok(())
}

fn number(rows: &[Vec<Value>], row: usize, column: usize) -> Result<i64, String> {
    match rows.get(row).and_then(|row| row.get(column)) {
        Some(Value::Number(number)) => Ok(*number),
        other => Err(format!("a number was expected in row {row}, column {column}, not {}", kind(other))),
    }
}

fn bytes(rows: &[Vec<Value>], row: usize, column: usize) -> Result<Bytes, String> {
    match rows.get(row).and_then(|row| row.get(column)) {
        Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
        other => Err(format!("bytes were expected in row {row}, column {column}, not {}", kind(other))),
    }
}

fn text(rows: &[Vec<Value>], row: usize, column: usize) -> Result<String, String> {
    let bytes = bytes(rows, row, column)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| format!("row {row}, column {column}: {error}"))?;
    Ok(text.to_string())
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        Some(Value::Number(_)) => "a number",
        Some(Value::Bytes(_)) => "bytes",
        None => "nothing",
    }
}
