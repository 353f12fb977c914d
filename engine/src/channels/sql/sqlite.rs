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

use std::path::Path;

use flumen_wal::{ProgressOp, ProgressUpdate, ProgressValue};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::database::{Change, Content, Database, LOCK_WAIT, OpenFailed, Row, VERSION, number_of, owner_of};

impl From<rusqlite::Error> for OpenFailed {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Foreign(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

pub(super) struct Sqlite(Connection);

impl Sqlite {
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

    fn carry_out(&mut self, change: &Change) -> rusqlite::Result<()> {
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

    fn find(&self, first: u64, end: u64, bytes: usize) -> rusqlite::Result<Vec<Row>> {
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

    fn all(&self) -> rusqlite::Result<Content> {
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

impl Database for Sqlite {
    fn commit(&mut self, change: &Change) -> Result<(), String> {
        self.carry_out(change).map_err(|error| error.to_string())
    }

    fn read(&mut self, first: u64, end: u64, bytes: usize) -> Result<Vec<Row>, String> {
        self.find(first, end, bytes).map_err(|error| error.to_string())
    }

    fn content(&mut self) -> Result<Content, String> {
        self.all().map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_somebody_elses_is_refused() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("theirs.sqlite");
        Connection::open(&path).expect("opened").execute_batch("CREATE TABLE t (x)").expect("made");
        assert!(
            matches!(Sqlite::open(&path, true), Err(OpenFailed::Foreign(why)) if why.contains("somebody else"))
        );
        let path = folder.path().join("text");
        std::fs::write(&path, "no database, but long enough to look at: ".repeat(30)).expect("written");
        assert!(matches!(Sqlite::open(&path, true), Err(OpenFailed::Foreign(_))));
        let path = folder.path().join("empty.sqlite");
        assert!(
            matches!(Sqlite::open(&path, false), Err(OpenFailed::Foreign(why)) if why.contains("create.schema"))
        );
        assert!(Sqlite::open(&path, true).is_ok());
        Connection::open(&path)
            .expect("opened")
            .execute("UPDATE flumen_state SET version = 2", [])
            .expect("set");
        assert!(
            matches!(Sqlite::open(&path, true), Err(OpenFailed::Foreign(why)) if why.contains("version 2"))
        );
    }
}
