//! A session with a PostgreSQL server, and a lock by `pg_try_advisory_lock`, which ends with its session.
//!
//! The client runs on a thread of its own: it waits without end for a server that stands still, and may not be called where
//! asynchronous code runs. Who has waited too long leaves the thread to itself; it ends when the server answers or goes away.

use std::collections::HashMap;
use std::error::Error;
use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};

use super::place::Place;
use super::server::{CONNECT_WAIT, Connect, STATEMENT_WAIT, Session, Value, Words, slot};

type Rows = Vec<Vec<Value>>;

/// A statement, its values, and where its rows go.
struct Asked {
    statement: String,
    values: Vec<Value>,
    answer: mpsc::SyncSender<Result<Rows, String>>,
}

struct Postgres(mpsc::Sender<Asked>);

/// Sessions with the server at `place`.
pub(super) fn connect(place: Place) -> Connect {
    Box::new(move || {
        let mut config = Config::new();
        config
            .host(&place.host)
            .port(place.port)
            .dbname(&place.database)
            .user(&place.user)
            .password(&place.password)
            .application_name("flumen")
            .connect_timeout(CONNECT_WAIT)
            .tcp_user_timeout(STATEMENT_WAIT)
            .keepalives_idle(STATEMENT_WAIT);
        let begin = [
            // An answer that comes before the disk has it would not be one.
            "SET synchronous_commit = on".to_string(),
            format!("SET statement_timeout = {}", STATEMENT_WAIT.as_millis()),
            format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}", place.isolation),
        ];
        let (ask, asked) = mpsc::channel();
        let (connected, outcome) = mpsc::sync_channel(1);
        let run = move || match config.connect(NoTls) {
            Ok(client) => {
                // Who asked may have given up; then nobody asks anything.
                let _told = connected.send(Ok(()));
                answer_all(client, &asked);
            }
            Err(error) => {
                let _told = connected.send(Err(why(&error)));
            }
        };
        let spawned = std::thread::Builder::new().name("sql-postgres".into()).spawn(run);
        spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
        outcome
            .recv_timeout(CONNECT_WAIT * 2)
            .map_err(|_late| "the server does not answer".to_string())??;
        let mut session = Postgres(ask);
        begin.iter().try_for_each(|statement| session.execute(statement, Vec::new()))?;
        Ok(Box::new(session) as Box<dyn Session>)
    })
}

impl Session for Postgres {
    fn words(&self) -> Words {
        Words { blob: "BYTEA", tail: "", index_inside: false }
    }

    fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        let take = "SELECT CAST(CAST(pg_try_advisory_lock(?) AS INTEGER) AS BIGINT)";
        Ok(self.query(take, vec![slot(&["flumen", name]).into()])? == [[Value::Number(1)]])
    }

    fn has_table(&mut self, name: &str) -> Result<bool, String> {
        let find = "SELECT count(*) FROM information_schema.tables \
                    WHERE table_schema = current_schema() AND table_name = convert_from(?, 'UTF8')";
        Ok(self.query(find, vec![name.into()])? == [[Value::Number(1)]])
    }

    fn execute(&mut self, statement: &str, values: Vec<Value>) -> Result<(), String> {
        self.query(statement, values).map(drop)
    }

    fn query(&mut self, statement: &str, values: Vec<Value>) -> Result<Rows, String> {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = Asked { statement: statement.to_string(), values, answer };
        self.0.send(asked).map_err(|_ended| "the session has ended".to_string())?;
        // The server ends a statement a little earlier, if it runs at all.
        let answered = answered.recv_timeout(STATEMENT_WAIT + CONNECT_WAIT);
        answered.map_err(|_late| "the server does not answer".to_string())?
    }
}

/// Answers until nobody asks any more.
fn answer_all(mut client: Client, asked: &mpsc::Receiver<Asked>) {
    let mut prepared = HashMap::new();
    while let Ok(Asked { statement, values, answer }) = asked.recv() {
        let rows = run(&mut client, &mut prepared, statement, &values);
        // Who asked may have given up waiting.
        let _told = answer.send(rows);
    }
}

fn run(
    client: &mut Client,
    prepared: &mut HashMap<String, Statement>,
    statement: String,
    values: &[Value],
) -> Result<Rows, String> {
    // What has no values makes tables or begins and ends transactions, or is a look at all there is.
    let statement = match prepared.get(&statement) {
        Some(known) => known.clone(),
        None => {
            let made = client.prepare(&numbered(&statement)).map_err(|error| why(&error))?;
            prepared.insert(statement, made.clone());
            made
        }
    };
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let rows = client.query(&statement, &values).map_err(|error| why(&error))?;
    rows.iter().map(received).collect()
}

fn received(row: &postgres::Row) -> Result<Vec<Value>, String> {
    let value = |(column, of): (usize, &postgres::Column)| match *of.type_() {
        Type::INT8 => row.try_get(column).map(Value::Number).map_err(|error| why(&error)),
        Type::BYTEA => {
            let bytes: Result<&[u8], _> = row.try_get(column);
            bytes.map(|bytes| Value::Bytes(Bytes::copy_from_slice(bytes))).map_err(|error| why(&error))
        }
        _ => Err(format!("{} is of another type than its table was made with", of.name())),
    };
    row.columns().iter().enumerate().map(value).collect()
}

/// `$1`, `$2` and so on for `?`.
fn numbered(statement: &str) -> String {
    let mut parts = statement.split('?');
    let mut text = parts.next().unwrap_or_default().to_string();
    for (number, part) in (1..).zip(parts) {
        text.push_str(&format!("${number}{part}"));
    }
    text
}

/// What the server says, or what lies below the client's own words.
fn why(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.to_string(),
        (None, Some(below)) => format!("{error}: {below}"),
        (None, None) => error.to_string(),
    }
}

impl ToSql for Value {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Number(number) => number.to_sql(of, out),
            Self::Bytes(bytes) => (&bytes[..]).to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::BYTEA)
    }

    to_sql_checked!();
}
