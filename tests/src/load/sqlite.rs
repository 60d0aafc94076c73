//! The database file of a server that is down, or a look into that of one that runs.

use std::io;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};

/// A connection of the benchmark's own.
pub(super) struct File(SqliteConnection);

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Words {
    #[diesel(sql_type = Text)]
    value: String,
}

impl File {
    /// Opens a file.
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        let name = file
            .to_str()
            .ok_or_else(|| io::Error::other("a path that is no text"))?;
        SqliteConnection::establish(name)
            .map(Self)
            .map_err(io::Error::other)
    }

    /// Carries statements out.
    pub(super) fn tell(&mut self, statements: &str) -> io::Result<()> {
        self.0.batch_execute(statements).map_err(io::Error::other)
    }

    /// A number, from a query that calls it `value`.
    pub(super) fn number(&mut self, query: &str) -> io::Result<i64> {
        let row: Number = sql_query(query)
            .get_result(&mut self.0)
            .map_err(io::Error::other)?;
        Ok(row.value)
    }

    /// Texts, from a query that calls them `value`.
    pub(super) fn texts(&mut self, query: &str) -> io::Result<Vec<String>> {
        let rows: Vec<Words> = sql_query(query).load(&mut self.0).map_err(io::Error::other)?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }
}
