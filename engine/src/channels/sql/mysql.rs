//! A session with a MySQL or MariaDB server: InnoDB's tables, prepared statements, and a lock by `GET_LOCK`, which ends with its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Params, Value as Sent};

use super::place::Place;
use super::server::{CONNECT_WAIT, Connect, STATEMENT_WAIT, Session, Value, Words};

/// Statements that the server keeps prepared.
const STATEMENTS: usize = 32;
/// What a statement that inserts a chunk takes beside it, and more.
const AROUND_CHUNK: u64 = 256;

struct Mysql(Conn);

/// Sessions with the server at `place`. Each tells in `chunk_max` how long a chunk the server takes: one that is longer fails the
/// transaction, and all that wait with it, however often it is tried.
pub(super) fn connect(place: Place, chunk_max: Arc<AtomicU64>) -> Connect {
    Box::new(move || {
        let options = OptsBuilder::new()
            .ip_or_hostname(Some(place.host.as_str()))
            .tcp_port(place.port)
            .prefer_socket(false)
            .db_name(Some(place.database.as_str()))
            .user(Some(place.user.as_str()))
            .pass(Some(place.password.as_str()))
            .tcp_connect_timeout(Some(CONNECT_WAIT))
            .read_timeout(Some(STATEMENT_WAIT))
            .write_timeout(Some(STATEMENT_WAIT))
            .stmt_cache_size(STATEMENTS)
            .init(vec![
                // Without it a chunk that is too long would be cut, with a warning.
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES'".to_string(),
                format!("SET SESSION TRANSACTION ISOLATION LEVEL {}", place.isolation),
            ]);
        let mut session = Mysql(Conn::new(options).map_err(|error| error.to_string())?);
        let flush = session.query("SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)", Vec::new())?;
        if flush != [[Value::Number(1)]] {
            tracing::warn!(
                "{}: innodb_flush_log_at_trx_commit is not 1: what it commits may be lost when its machine ends",
                place.name()
            );
        }
        let packet = session.query("SELECT CAST(@@max_allowed_packet AS SIGNED)", Vec::new())?;
        let packet = match packet.first().and_then(|row| row.first()) {
            Some(Value::Number(bytes)) => bytes.unsigned_abs(),
            _ => return Err("the server does not say its max_allowed_packet".into()),
        };
        chunk_max.store(packet.saturating_sub(AROUND_CHUNK), Ordering::Relaxed);
        Ok(Box::new(session) as Box<dyn Session>)
    })
}

impl Session for Mysql {
    fn words(&self) -> Words {
        Words { blob: "LONGBLOB", tail: " ENGINE=InnoDB", index_inside: true }
    }

    fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        // Its names are the whole server's, and short.
        let take = "SELECT CAST(COALESCE(GET_LOCK(CONCAT('flumen-', SHA1(CONCAT(DATABASE(), '/', ?))), 0), 0) AS SIGNED)";
        Ok(self.query(take, vec![name.into()])? == [[Value::Number(1)]])
    }

    fn has_table(&mut self, name: &str) -> Result<bool, String> {
        let find = "SELECT CAST(count(*) AS SIGNED) FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND table_name = ?";
        Ok(self.query(find, vec![name.into()])? == [[Value::Number(1)]])
    }

    fn execute(&mut self, statement: &str, values: Vec<Value>) -> Result<(), String> {
        let done = match values.is_empty() {
            true => self.0.query_drop(statement),
            false => self.0.exec_drop(statement, sent(values)),
        };
        done.map_err(|error| error.to_string())
    }

    fn query(&mut self, statement: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>, String> {
        let params = if values.is_empty() { Params::Empty } else { sent(values) };
        let rows: Vec<mysql::Row> = self.0.exec(statement, params).map_err(|error| error.to_string())?;
        rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(received).collect()).collect()
    }
}

fn sent(values: Vec<Value>) -> Params {
    let value = |value| match value {
        Value::Number(number) => Sent::Int(number),
        Value::Bytes(bytes) => Sent::Bytes(bytes.to_vec()),
    };
    Params::Positional(values.into_iter().map(value).collect())
}

fn received(value: Option<Sent>) -> Result<Value, String> {
    match value {
        Some(Sent::Int(number)) => Ok(Value::Number(number)),
        Some(Sent::UInt(number)) => Ok(Value::Number(number as i64)),
        Some(Sent::Bytes(bytes)) => Ok(Value::Bytes(Bytes::from(bytes))),
        _ => Err("a column is of another type than its table was made with".into()),
    }
}
