//! What PostgreSQL has done so far, as it and Linux count it.

use std::io;
use std::time::Duration;

use auth_testkit::server::PostgresServer;

use super::process::family_cpu;

/// What PostgreSQL has done since it was started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// How often it has had that log synced.
    pub wal_syncs: u64,
    /// Transactions committed.
    pub commits: u64,
}

impl Work {
    /// What a server has done so far.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn of(server: &PostgresServer) -> io::Result<Self> {
        let answer = server.tell(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, \
             (SELECT wal_sync FROM pg_stat_wal), (SELECT sum(xact_commit)::bigint FROM pg_stat_database)",
        )?;
        let mut figures = answer.split('|').map(str::parse::<u64>);
        let mut next = || figures.next().and_then(Result::ok);
        let (Some(wal_bytes), Some(wal_syncs), Some(commits)) = (next(), next(), next()) else {
            return Err(io::Error::other(format!(
                "an answer of an unknown form: {answer}"
            )));
        };
        Ok(Self {
            cpu: family_cpu(&server.pids())?,
            wal_bytes,
            wal_syncs,
            commits,
        })
    }

    /// What has been done since an earlier look.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wal_bytes: self.wal_bytes.saturating_sub(earlier.wal_bytes),
            wal_syncs: self.wal_syncs.saturating_sub(earlier.wal_syncs),
            commits: self.commits.saturating_sub(earlier.commits),
        }
    }
}

/// Its version, by its own words.
///
/// # Errors
/// Where it does not answer.
pub fn version(server: &PostgresServer) -> io::Result<String> {
    server
        .tell("SHOW server_version")
        .map(|version| version.trim().to_owned())
}

/// What counts statements.
pub(super) const COUNTING: (&str, &str) = ("shared_preload_libraries", "pg_stat_statements");

/// Begins to count statements, on a server that was started with [`COUNTING`].
pub(super) fn count_statements(server: &PostgresServer) -> io::Result<()> {
    server.tell("CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()")?;
    Ok(())
}

/// How many statements services have sent since, those that begin and end transactions among them. Each is a round trip.
pub(super) fn statements(server: &PostgresServer) -> io::Result<u64> {
    let answer = server.tell(
        "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid \
         WHERE r.rolname = 'auth_service'",
    )?;
    answer.parse().map_err(io::Error::other)
}
