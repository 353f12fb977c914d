//! The channel's tables in SQLite, and every statement.
//!
//! ```text
//!   puts      first INTEGER PRIMARY KEY, events, chunk BLOB       a put's events, numbered densely: first .. first + events
//!   released  first INTEGER PRIMARY KEY, end                      delivered, above the lowest that is not
//!   progress  space, owner, key, generation, began, position, rest
//!   owners    space, owner                                        sources that the channel knows
//!   state     version, next, low                                  one row: the next event's number, the lowest not delivered
//! ```
//!
//! One transaction has what came together; it is synced when it is committed (`synchronous = FULL` with a write-ahead log). The
//! database is locked for this process: a second agent finds it busy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_wal::{ProgressOp, ProgressUpdate, ProgressValue, Space};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// Version of the tables.
const VERSION: i64 = 1;
/// How long a start waits for another agent to let go.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Space and name of a source or sink.
pub(super) type OwnerKey = (Space, Arc<str>);
/// Progress by owner and key.
pub(super) type Owners = BTreeMap<OwnerKey, BTreeMap<String, ProgressValue>>;

/// A put as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub first: u64,
    pub events: u64,
    pub chunk: Bytes,
}

/// What is delivered: all below `low`, and ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub low: u64,
    pub above: BTreeMap<u64, u64>,
}

impl Delivered {
    /// Adds a range.
    pub fn add(&mut self, mut first: u64, mut end: u64) {
        let before = self.above.range(..=first).next_back().map(|(first, end)| (*first, *end));
        if let Some((earlier, until)) = before.filter(|(_, until)| *until >= first) {
            (first, end) = (earlier, end.max(until));
        }
        while let Some((next, until)) = self.above.range(first..).next().map(|(first, end)| (*first, *end))
            && next <= end
        {
            end = end.max(until);
            self.above.remove(&next);
        }
        self.above.insert(first, end);
        while let Some((first, end)) = self.above.first_key_value().map(|(first, end)| (*first, *end))
            && first <= self.low
        {
            self.low = self.low.max(end);
            self.above.remove(&first);
        }
    }

    /// How many are delivered above the lowest that is not.
    pub fn count_above(&self) -> u64 {
        self.above.iter().map(|(first, end)| end - first).sum()
    }
}

/// What one transaction does.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub rows: Vec<Row>,
    pub updates: Vec<ProgressUpdate>,
    /// What is delivered from now on, if that changed.
    pub delivered: Option<Delivered>,
    /// The next event's number.
    pub next: u64,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub next: u64,
    pub delivered: Delivered,
    pub owners: Owners,
}

/// Why a database cannot be opened.
#[derive(Debug)]
pub(super) enum OpenFailed {
    /// Another process has it.
    Busy,
    /// It is not this channel's, or of a newer version.
    Foreign(String),
    /// Anything else.
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for OpenFailed {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Foreign(error.to_string())
            }
            _ => Self::Other(error),
        }
    }
}

pub(super) struct Database(Connection);

impl Database {
    /// Opens the file and locks it; makes the tables where that is allowed and they are missing.
    pub fn open(path: &Path, create: bool) -> Result<Self, OpenFailed> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(LOCK_WAIT)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let count = |kind: &str| -> rusqlite::Result<i64> {
            transaction
                .query_row(&format!("SELECT count(*) FROM sqlite_master WHERE {kind}"), [], |row| row.get(0))
        };
        if count("name = 'flumen_state'")? == 0 {
            if count("type = 'table'")? > 0 {
                return Err(OpenFailed::Foreign("it has tables of somebody else's".into()));
            }
            if !create {
                return Err(OpenFailed::Foreign("it has no tables, and create.schema is false".into()));
            }
            transaction.execute_batch(SCHEMA)?;
            transaction.execute("INSERT INTO flumen_state VALUES (?1, 0, 0)", [VERSION])?;
        }
        let version: i64 = transaction.query_row("SELECT version FROM flumen_state", [], |row| row.get(0))?;
        if version != VERSION {
            let known = format!("its tables have version {version}; this program knows version {VERSION}");
            return Err(OpenFailed::Foreign(known));
        }
        // A write, so that the lock is taken now.
        transaction.execute("UPDATE flumen_state SET version = version", [])?;
        transaction.commit()?;
        Ok(Self(connection))
    }

    /// Carries a change out, durably, or not at all.
    pub fn commit(&mut self, change: &Change) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO flumen_puts VALUES (?1, ?2, ?3)")?;
            for row in &change.rows {
                insert.execute(params![row.first as i64, row.events as i64, &row.chunk[..]])?;
            }
        }
        change.updates.iter().try_for_each(|update| apply(&transaction, update))?;
        if let Some(delivered) = &change.delivered {
            let low = delivered.low as i64;
            transaction.execute("DELETE FROM flumen_puts WHERE first + events <= ?1", [low])?;
            transaction.execute("DELETE FROM flumen_released", [])?;
            let mut insert = transaction.prepare_cached("INSERT INTO flumen_released VALUES (?1, ?2)")?;
            for (first, end) in &delivered.above {
                insert.execute(params![*first as i64, *end as i64])?;
            }
            transaction.execute("UPDATE flumen_state SET low = ?1", [low])?;
        }
        transaction.execute("UPDATE flumen_state SET next = max(next, ?1)", [change.next as i64])?;
        transaction.commit()
    }

    /// Puts that hold any of the events `first..end`, in order, until their chunks have `bytes`.
    pub fn read(&self, first: u64, end: u64, bytes: usize) -> rusqlite::Result<Vec<Row>> {
        const FIND: &str = "SELECT first, events, chunk FROM flumen_puts \
             WHERE first >= (SELECT max(first) FROM flumen_puts WHERE first <= ?1) AND first < ?2 ORDER BY first";
        let mut find = self.0.prepare_cached(FIND)?;
        let mut rows = find.query(params![first as i64, end as i64])?;
        let mut found = Vec::new();
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let (first, events): (i64, i64) = (row.get(0)?, row.get(1)?);
            let chunk: Vec<u8> = row.get(2)?;
            read += chunk.len();
            found.push(Row { first: first as u64, events: events as u64, chunk: chunk.into() });
            if read >= bytes {
                break;
            }
        }
        Ok(found)
    }

    /// All but the events.
    pub fn content(&self) -> rusqlite::Result<Content> {
        let (next, low): (i64, i64) = self
            .0
            .query_row("SELECT next, low FROM flumen_state", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut content = Content { next: next as u64, ..Content::default() };
        content.delivered.low = low as u64;
        let mut released = self.0.prepare("SELECT first, end FROM flumen_released")?;
        let mut rows = released.query([])?;
        while let Some(row) = rows.next()? {
            let (first, end): (i64, i64) = (row.get(0)?, row.get(1)?);
            content.delivered.add(first as u64, end as u64);
        }
        let mut owners = self.0.prepare("SELECT space, owner FROM flumen_owners")?;
        let mut rows = owners.query([])?;
        while let Some(row) = rows.next()? {
            content.owners.entry(owner_of(row.get(0)?, row.get(1)?)).or_default();
        }
        let mut progress = self
            .0
            .prepare("SELECT space, owner, key, generation, began, position, rest FROM flumen_progress")?;
        let mut rows = progress.query([])?;
        while let Some(row) = rows.next()? {
            let rest: Vec<u8> = row.get(6)?;
            let value = ProgressValue {
                generation: row.get::<_, i64>(3)? as u64,
                from: row.get::<_, i64>(4)? as u64,
                to: row.get::<_, i64>(5)? as u64,
                rest: rest.into(),
            };
            content.owners.entry(owner_of(row.get(0)?, row.get(1)?)).or_default().insert(row.get(2)?, value);
        }
        Ok(content)
    }
}

const SCHEMA: &str = "
    CREATE TABLE flumen_puts (first INTEGER PRIMARY KEY, events INTEGER NOT NULL, chunk BLOB NOT NULL);
    CREATE TABLE flumen_released (first INTEGER PRIMARY KEY, end INTEGER NOT NULL);
    CREATE TABLE flumen_progress (
        space INTEGER NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL,
        generation INTEGER NOT NULL, began INTEGER NOT NULL, position INTEGER NOT NULL, rest BLOB NOT NULL,
        PRIMARY KEY (space, owner, key)
    ) WITHOUT ROWID;
    CREATE TABLE flumen_owners (space INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (space, owner)) WITHOUT ROWID;
    CREATE TABLE flumen_state (version INTEGER NOT NULL, next INTEGER NOT NULL, low INTEGER NOT NULL);
";

fn number_of(space: Space) -> i64 {
    match space {
        Space::Source => 1,
        Space::Sink => 2,
    }
}

fn owner_of(space: i64, owner: String) -> OwnerKey {
    (if space == 1 { Space::Source } else { Space::Sink }, owner.into())
}

fn apply(transaction: &Transaction<'_>, update: &ProgressUpdate) -> rusqlite::Result<()> {
    let (space, owner) = (number_of(update.space), &*update.owner);
    let known: Option<i64> = transaction
        .prepare_cached("SELECT 1 FROM flumen_owners WHERE space = ?1 AND owner = ?2")?
        .query_row(params![space, owner], |row| row.get(0))
        .optional()?;
    if known.is_none() {
        transaction.execute("INSERT INTO flumen_owners VALUES (?1, ?2)", params![space, owner])?;
    }
    match &update.op {
        ProgressOp::Set { generation, from, to, rest } => {
            let mut set = transaction.prepare_cached(
                "INSERT OR REPLACE INTO flumen_progress VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let (generation, from, to) = (*generation as i64, *from as i64, *to as i64);
            set.execute(params![space, owner, update.key, generation, from, to, &rest[..]])?;
        }
        ProgressOp::Retire => {
            transaction.execute(
                "DELETE FROM flumen_progress WHERE space = ?1 AND owner = ?2 AND key = ?3",
                params![space, owner, update.key],
            )?;
        }
        ProgressOp::Mark => {}
    }
    Ok(())
}

/// The same in memory.
pub(super) fn apply_in_memory(owners: &mut Owners, update: &ProgressUpdate) {
    let keys = owners.entry((update.space, update.owner.clone())).or_default();
    match &update.op {
        ProgressOp::Set { generation, from, to, rest } => {
            let value = ProgressValue { generation: *generation, from: *from, to: *to, rest: rest.clone() };
            keys.insert(update.key.clone(), value);
        }
        ProgressOp::Retire => drop(keys.remove(&update.key)),
        ProgressOp::Mark => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_the_low_mark_rises() {
        let mut delivered = Delivered::default();
        delivered.add(5, 7);
        delivered.add(9, 12);
        assert_eq!((delivered.low, delivered.count_above()), (0, 5));
        delivered.add(7, 9);
        assert_eq!(delivered.above, [(5, 12)].into());
        delivered.add(0, 3);
        assert_eq!(delivered.low, 3);
        delivered.add(3, 5);
        assert_eq!((delivered.low, delivered.above.len()), (12, 0));
        delivered.add(2, 11);
        assert_eq!((delivered.low, delivered.count_above()), (12, 0));
    }

    #[test]
    fn what_is_somebody_elses_is_refused() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("theirs.sqlite");
        Connection::open(&path).expect("opened").execute_batch("CREATE TABLE t (x)").expect("made");
        assert!(
            matches!(Database::open(&path, true), Err(OpenFailed::Foreign(why)) if why.contains("somebody else"))
        );
        let path = folder.path().join("text");
        std::fs::write(&path, "no database, but long enough to look at: ".repeat(30)).expect("written");
        assert!(matches!(Database::open(&path, true), Err(OpenFailed::Foreign(_))));
        let path = folder.path().join("empty.sqlite");
        assert!(
            matches!(Database::open(&path, false), Err(OpenFailed::Foreign(why)) if why.contains("create.schema"))
        );
        assert!(Database::open(&path, true).is_ok());
        Connection::open(&path)
            .expect("opened")
            .execute("UPDATE flumen_state SET version = 2", [])
            .expect("set");
        assert!(
            matches!(Database::open(&path, true), Err(OpenFailed::Foreign(why)) if why.contains("version 2"))
        );
    }
}
