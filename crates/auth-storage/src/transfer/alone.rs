//! Whether a transfer has its databases to itself: that they are two, which no URL can tell; that no other transfer works
//! with either; and that nobody is at work with the target.

use std::fs::File;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::end::End;
use super::{Cause, Side, TransferError};
use crate::DatabaseUrl;
use crate::error::StoreError;
use crate::postgres::links::APPLICATION;

/// A lock that stands for the tables themselves, under whichever name their server was reached. It goes with its
/// connection.
const CLAIM: &str = "SELECT pg_try_advisory_lock( \
    hashtext('codelab-auth-service')::bigint << 32 | 'users'::regclass::oid::bigint) AS holds";
const RELEASE: &str = "SELECT pg_advisory_unlock_all()";
/// Only transfers hold a lock by one number.
const SERVED: &str = "SELECT count(*) > 0 AS holds FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name IN ($1, current_setting('application_name')) \
    AND NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_stat_activity.pid)";
/// Who has just gone is still there for a moment.
const PAUSE: &str = "SELECT pg_sleep(0.1)";
const ATTEMPTS: u32 = 20;

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    holds: bool,
}

/// The right of one transfer to work with its databases.
pub(super) struct Claim {
    /// The target, where it is a file. To be closed after the target's connection: with any descriptor of a file a
    /// process gives up all locks that it has on it (POSIX, `fcntl`).
    file: Option<File>,
}

impl Claim {
    /// Takes both for itself. Files are claimed by nobody: of two names for one the system knows better.
    pub(super) fn on(source: &mut End, target: &mut End, to: &DatabaseUrl) -> Result<Self, TransferError> {
        let of = |side| move |error| TransferError::failed(side, None, error);
        if !claim(target, ATTEMPTS).map_err(of(Side::Target))? {
            return Err(TransferError::Contended { side: Side::Target });
        }
        if !claim(source, ATTEMPTS).map_err(of(Side::Source))? {
            // Either somebody else has it, or it is the one that has just been claimed.
            release(target).map_err(of(Side::Target))?;
            let is_one = claim(source, 1).map_err(of(Side::Source))?;
            return Err(if is_one {
                TransferError::OneDatabase
            } else {
                TransferError::Contended { side: Side::Source }
            });
        }
        let file = to.path().map(File::open).transpose().map_err(of_file)?;
        Ok(Self { file })
    }

    /// Refuses to write where somebody works with the target: what they do would be mixed with what is written.
    pub(super) fn check_alone(&self, target: &mut End) -> Result<(), TransferError> {
        let is_alone = match (target, &self.file) {
            (End::Postgres(conn), _) => patiently(conn, ATTEMPTS, is_left_alone)
                .map_err(|error| TransferError::failed(Side::Target, None, error)),
            (End::Sqlite(_), Some(file)) => is_open_to_nobody_else(file).map_err(of_file),
            (End::Sqlite(_), None) => Ok(true),
        };
        if is_alone? {
            Ok(())
        } else {
            Err(TransferError::Served)
        }
    }
}

/// Whether two paths lead to one file.
pub(super) fn is_one_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => one == other,
    }
}

fn claim(end: &mut End, attempts: u32) -> Result<bool, StoreError> {
    match end {
        End::Sqlite(_) => Ok(true),
        End::Postgres(conn) => patiently(conn, attempts, |conn| {
            let answer: Answer = diesel::sql_query(CLAIM).get_result(conn)?;
            Ok(answer.holds)
        }),
    }
}

fn release(end: &mut End) -> Result<(), StoreError> {
    match end {
        End::Sqlite(_) => Ok(()),
        End::Postgres(conn) => Ok(conn.batch_execute(RELEASE)?),
    }
}

fn is_left_alone(conn: &mut PgConnection) -> Result<bool, StoreError> {
    let answer: Answer = diesel::sql_query(SERVED)
        .bind::<Text, _>(APPLICATION)
        .get_result(conn)?;
    Ok(!answer.holds)
}

/// SQLite has a lock on a file with a write-ahead log for as long as it has it open; those of this process don't count.
fn is_open_to_nobody_else(file: &File) -> std::io::Result<bool> {
    Ok(fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?.is_none())
}

/// Asks until the answer is yes, or it was no often enough.
fn patiently(
    conn: &mut PgConnection,
    attempts: u32,
    ask: impl Fn(&mut PgConnection) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    for _ in 1..attempts {
        if ask(conn)? {
            return Ok(true);
        }
        conn.batch_execute(PAUSE)?;
    }
    ask(conn)
}

fn of_file(error: std::io::Error) -> TransferError {
    TransferError::Failed {
        side: Side::Target,
        table: None,
        cause: Cause::Other,
        source: error.into(),
    }
}
