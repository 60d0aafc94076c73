//! A connection that can be asked for an answer and for a commit over and over, for whoever times both.
//!
//! It touches no table, so it needs none, and leaves nothing behind.

use auth_domain::ports::Unavailable;
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;

use super::links::establish;
use super::{ANSWER_LIMIT, Conn, asked, database_error};
use crate::error::StoreError;
use crate::{OpenError, PostgresUrl};

/// As little is waited for, and commits are as durable, as of those who serve, however the server is configured.
const GREETING: &str = "SET statement_timeout = '5s'; SELECT set_config('synchronous_commit', 'on', FALSE) \
                        WHERE current_setting('synchronous_commit') = 'off';";

/// An open connection to a PostgreSQL server.
pub struct Line(Conn);

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// Where the server can't be reached, or lets nobody in.
    pub fn open(url: &PostgresUrl) -> Result<Self, OpenError> {
        asked(url, ANSWER_LIMIT, |url| {
            connect(url).map(Self).map_err(|error| database_error(url, error))
        })
    }

    /// Asks for a sign of life, and waits for it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn ask(&mut self) -> Result<(), Unavailable> {
        self.tell("SELECT 1", "ask PostgreSQL for a sign of life")
    }

    /// Commits a transaction that has written nothing but an empty message into the server's log: the commit waits for disk
    /// and standbys as that of a refresh does. A transaction that wrote nothing would not wait, and a message of none
    /// would reach decoders of the log at once; this one reaches those alone that ask for messages.
    ///
    /// # Errors
    /// Where the server does not commit; a standby never does.
    pub fn commit(&mut self) -> Result<(), Unavailable> {
        self.tell(
            "SELECT pg_logical_emit_message(TRUE, 'codelab-auth', '')",
            "commit nothing on PostgreSQL",
        )
    }

    fn tell(&mut self, statement: &str, what: &'static str) -> Result<(), Unavailable> {
        diesel::sql_query(statement)
            .execute(&mut self.0)
            .map(drop)
            .map_err(|error| StoreError::from(error).in_operation(what))
    }
}

fn connect(url: &PostgresUrl) -> Result<Conn, StoreError> {
    let mut conn = establish(url)?;
    conn.batch_execute(GREETING)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use auth_testkit::server::Database;

    use super::*;
    use crate::DatabaseUrl;

    fn line(url: &str) -> Result<Line, OpenError> {
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(url) else {
            panic!("a PostgreSQL URL");
        };
        Line::open(&url)
    }

    /// How far the server's log was when it was last made sure to be on the disk.
    fn synced(database: &Database) -> u64 {
        let bytes = database.tell("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8");
        bytes.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_commit_waits_for_the_log_and_leaves_a_database_without_tables_as_it_was() {
        let database = Database::new();
        let mut line = line(&database.url()).unwrap();
        line.ask().unwrap();
        let mut before = synced(&database);
        for _ in 0..3 {
            line.commit().unwrap();
            let after = synced(&database);
            assert!(after > before, "{before} {after}");
            before = after;
        }
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(database.tell(tables).unwrap().trim(), "0");
    }

    #[test]
    fn where_nobody_listens_there_is_no_line() {
        assert!(line("postgresql://u@127.0.0.1:1/d?connect_timeout=1").is_err());
    }
}
