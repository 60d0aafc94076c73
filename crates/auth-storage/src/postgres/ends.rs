//! Both ends of a transfer, where they are databases of a server.

use diesel::connection::SimpleConnection;

use super::links::establish;
use super::{Conn, database_error};
use crate::error::StoreError;
use crate::{OpenError, PostgresUrl};

/// Begins to see one moment of the database, from the first query on.
pub(crate) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A transfer takes as long as it takes, and one end waits while the other works.
const GREETING: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                        SET lock_timeout = '30s';";

/// A connection that can't write.
pub(crate) fn source(url: &PostgresUrl) -> Result<Conn, OpenError> {
    let read_only = "SET default_transaction_read_only = on;";
    connect(url, &[GREETING, read_only]).map_err(|error| database_error(url, error))
}

/// A connection to a database that has the schema already.
pub(crate) fn target(url: &PostgresUrl) -> Result<Conn, OpenError> {
    connect(url, &[GREETING]).map_err(|error| database_error(url, error))
}

fn connect(url: &PostgresUrl, greetings: &[&str]) -> Result<Conn, StoreError> {
    let mut conn = establish(url)?;
    for greeting in greetings {
        conn.batch_execute(greeting)?;
    }
    Ok(conn)
}
