//! The older service's database on PostgreSQL.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;

use crate::PostgresUrl;
use crate::error::StoreError;
use crate::postgres::links::establish;

#[path = "body.rs"]
mod body;

/// A connection.
type Conn = PgConnection;

const TABLES: &str = include_str!("postgres.sql");

/// Opens it for reading: the server itself refuses every write, and all queries see one moment.
pub(super) fn open_source(url: &PostgresUrl) -> Result<body::Source, StoreError> {
    let mut conn = establish(url)?;
    conn.batch_execute(
        "SET default_transaction_read_only = on; BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;",
    )?;
    body::Source::over(conn)
}

/// Opens it for writing, in one transaction.
pub(super) fn open_sink(url: &PostgresUrl) -> Result<body::Sink, StoreError> {
    let mut conn = establish(url)?;
    conn.batch_execute("SET lock_timeout = '10s'; BEGIN;")?;
    body::Sink::over(conn, TABLES)
}
