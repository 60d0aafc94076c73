//! A connection to either kind of database, as one end of a transfer.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;

use super::marks::{Looks, Newest};
use crate::error::StoreError;
use crate::{DatabaseUrl, OpenError, foreign, postgres, sqlite};

/// A connection.
pub(crate) enum End {
    /// To a file.
    Sqlite(Box<SqliteConnection>),
    /// To a server.
    Postgres(Box<PgConnection>),
}

impl End {
    /// One that can't write.
    pub(super) fn source(url: &DatabaseUrl) -> Result<Self, OpenError> {
        Ok(match url {
            DatabaseUrl::Sqlite(path) => Self::Sqlite(Box::new(sqlite::ends::source(path)?)),
            DatabaseUrl::Postgres(url) => Self::Postgres(Box::new(postgres::ends::source(url)?)),
        })
    }

    /// One to a database that has the schema already.
    pub(super) fn target(url: &DatabaseUrl) -> Result<Self, OpenError> {
        Ok(match url {
            DatabaseUrl::Sqlite(path) => Self::Sqlite(Box::new(sqlite::ends::target(path)?)),
            DatabaseUrl::Postgres(url) => Self::Postgres(Box::new(postgres::ends::target(url)?)),
        })
    }

    /// Sees, from the first query on, one moment of the database.
    pub(super) fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        let begun = match self {
            Self::Sqlite(conn) => conn.batch_execute(sqlite::ends::SNAPSHOT),
            Self::Postgres(conn) => conn.batch_execute(postgres::ends::SNAPSHOT),
        };
        Ok(begun?)
    }

    /// Sees the present again.
    pub(super) fn end_snapshot(&mut self) -> Result<(), StoreError> {
        let end = "ROLLBACK";
        let ended = match self {
            Self::Sqlite(conn) => conn.batch_execute(end),
            Self::Postgres(conn) => conn.batch_execute(end),
        };
        Ok(ended?)
    }

    /// Whether the tables are somebody else's.
    pub(super) fn is_foreign(&mut self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(conn) => foreign::is_foreign_file(conn),
            Self::Postgres(conn) => foreign::is_foreign_on_server(conn),
        }
    }

    /// The versions of the schema that have been applied.
    pub(super) fn versions(&mut self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Sqlite(conn) => sqlite::migrations::applied(conn),
            Self::Postgres(conn) => postgres::migrations::applied(conn),
        }
    }

    /// What is newest.
    pub(super) fn newest(&mut self) -> Result<Newest, StoreError> {
        match self {
            Self::Sqlite(conn) => conn.newest(),
            Self::Postgres(conn) => conn.newest(),
        }
    }
}
