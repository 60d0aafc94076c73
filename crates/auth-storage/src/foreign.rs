//! Databases of somebody else: of the older service above all, whose tables bear the names of ours.
//!
//! Looked for before anything is done to a database, so that a wrong URL leaves no trace where it leads to.

use std::path::Path;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel::sqlite::SqliteConnection;

use crate::error::StoreError;
use crate::{OpenError, PostgresUrl};

/// Tables of ours are there, and nothing says that we have made them.
const IN_FILE: &str = "\
    SELECT count(*) > 0 AS is_foreign FROM sqlite_schema \
    WHERE type = 'table' AND name IN ('users', 'oauth_clients', 'refresh_tokens', 'audit_logs') \
    AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '__diesel_schema_migrations')";
const ON_SERVER: &str = "\
    SELECT to_regclass('__diesel_schema_migrations') IS NULL AND count(to_regclass(name)) > 0 AS is_foreign \
    FROM unnest(ARRAY['users', 'oauth_clients', 'refresh_tokens', 'audit_logs']) AS name";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    is_foreign: bool,
}

/// Refuses somebody else's file. One that is not there yet, or can't be read, is for whoever opens it to judge.
pub(crate) fn check_file(path: &Path, name: &str) -> Result<(), OpenError> {
    // A connection would make the file.
    if !path.exists() {
        return Ok(());
    }
    let looked = SqliteConnection::establish(name).map(|mut conn| is_foreign_file(&mut conn));
    match looked {
        Ok(Ok(true)) => Err(OpenError::Foreign {
            database: path.display().to_string(),
        }),
        _ => Ok(()),
    }
}

/// Refuses somebody else's database on a server.
pub(crate) fn check_server(url: &PostgresUrl, conn: &mut PgConnection) -> Result<(), OpenError> {
    match is_foreign_on_server(conn) {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Foreign {
            database: url.to_string(),
        }),
        Err(error) => Err(OpenError::Database {
            database: url.to_string(),
            source: error.into(),
        }),
    }
}

/// Whether the tables in a file are somebody else's.
pub(crate) fn is_foreign_file(conn: &mut SqliteConnection) -> Result<bool, StoreError> {
    let answer: Answer = diesel::sql_query(IN_FILE).get_result(conn)?;
    Ok(answer.is_foreign)
}

/// Whether the tables of a database on a server are somebody else's.
pub(crate) fn is_foreign_on_server(conn: &mut PgConnection) -> Result<bool, StoreError> {
    let answer: Answer = diesel::sql_query(ON_SERVER).get_result(conn)?;
    Ok(answer.is_foreign)
}
