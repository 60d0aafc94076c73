//! The older service's database on PostgreSQL.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;

use crate::PostgresUrl;
use crate::legacy::Fault;
use crate::postgres::links::establish;

#[path = "body.rs"]
mod body;

/// A connection.
type Conn = PgConnection;

const TABLES: &str = include_str!("postgres.sql");
/// All columns of the tables that a query without a schema's name finds.
const COLUMNS: &str = "\
    SELECT class.relname::text AS table_name, attribute.attname::text AS column_name \
    FROM pg_attribute AS attribute JOIN pg_class AS class ON class.oid = attribute.attrelid \
    WHERE pg_table_is_visible(class.oid) AND attribute.attnum > 0 AND NOT attribute.attisdropped \
    AND class.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// Opens it for reading: the server itself refuses every write, and all queries see one moment.
pub(super) fn open_source(url: &PostgresUrl) -> Result<body::Source, Fault> {
    let mut conn = establish(url)?;
    conn.batch_execute(
        "SET default_transaction_read_only = on; BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;",
    )?;
    body::Source::over(conn, COLUMNS)
}

/// Opens it for writing, in one transaction.
pub(super) fn open_sink(url: &PostgresUrl) -> Result<body::Sink, Fault> {
    let mut conn = establish(url)?;
    conn.batch_execute("SET lock_timeout = '10s'; BEGIN;")?;
    body::Sink::over(conn, COLUMNS, TABLES)
}
