//! What the threads of a store and their connections are doing, for whoever watches. Counting costs a request a few
//! additions and no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use r2d2::HandleEvent;
use r2d2::event::{AcquireEvent, ReleaseEvent};

/// A queue with the threads and connections behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// Look-ups of sessions; on SQLite by any key, which never wait.
    LookUps,
    /// Queries.
    Reads,
    /// Transactions; on SQLite the one writer.
    Writes,
    /// Rotations of refresh tokens, on PostgreSQL.
    Rotations,
    /// What has to wait for somebody else's lock, on PostgreSQL.
    Patient,
    /// Queries whose answer may be a little old, where there is a replica.
    Replica,
}

impl Pool {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LookUps => "lookups",
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Rotations => "rotations",
            Self::Patient => "patient",
            Self::Replica => "replica",
        }
    }
}

/// What a pool has done since the store was opened, and what it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    /// Which.
    pub pool: Pool,
    /// How many connections can be busy at a time.
    pub max: u64,
    /// How many are.
    pub busy: u64,
    /// How many are open and not busy; `None` where they belong to another pool, which counts them.
    pub idle: Option<u64>,
    /// How many jobs wait for their turn.
    pub waiting: u64,
    /// How many were given up, because they had waited for too long for their turn or for a connection.
    pub timeouts: u64,
    /// How many were refused at once, because too many were waiting.
    pub refused: u64,
    /// The groups it works in; `None` where it does one job at a time.
    pub groups: Option<Groups>,
}

/// Writes that were committed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many commits there were.
    pub commits: u64,
    /// How many writes were in them.
    pub writes: u64,
}

/// What is counted of a pool.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: AtomicU64,
    busy: AtomicU64,
    waiting: AtomicU64,
    timeouts: AtomicU64,
    refused: AtomicU64,
    commits: AtomicU64,
    writes: AtomicU64,
}

impl Tally {
    /// A job has come to wait. To be told before it can be taken, so that there are never less than none.
    pub(crate) fn comes(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// So many jobs wait no more.
    pub(crate) fn go(&self, jobs: usize) {
        self.waiting.fetch_sub(number(jobs), Ordering::Relaxed);
    }

    /// A job was refused.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// So many jobs have waited for too long.
    pub(crate) fn time_out(&self, jobs: usize) {
        self.timeouts.fetch_add(number(jobs), Ordering::Relaxed);
    }

    /// So many writes have been committed, together.
    pub(crate) fn commit(&self, writes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(number(writes), Ordering::Relaxed);
    }

    /// A connection is busy until what this gives is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// A connection is open until what this gives is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Whether the one connection of a pool that has no more is open.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.open.store(u64::from(is_open), Ordering::Relaxed);
    }

    /// The figures of a pool that has so many connections.
    pub(crate) fn figures(&self, pool: Pool, max: u64) -> PoolFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PoolFigures {
            pool,
            max,
            busy: read(&self.busy),
            idle: None,
            waiting: read(&self.waiting),
            timeouts: read(&self.timeouts),
            refused: read(&self.refused),
            groups: None,
        }
    }

    /// How many connections are open, and not busy for this pool or for another that shares them.
    pub(crate) fn idle(&self, other: Option<&Self>) -> u64 {
        let busy = |tally: &Self| tally.busy.load(Ordering::Relaxed);
        let in_use = busy(self) + other.map_or(0, busy);
        self.open.load(Ordering::Relaxed).saturating_sub(in_use)
    }

    /// What was committed.
    pub(crate) fn groups(&self) -> Groups {
        Groups {
            commits: self.commits.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}

/// A connection that is busy.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Tally>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Self(tally) = self;
        tally.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Open(Arc<Tally>);

impl Drop for Open {
    fn drop(&mut self) {
        let Self(tally) = self;
        tally.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hears of each connection that a pool opens and closes.
#[derive(Debug)]
pub(crate) struct Doorkeeper(pub(crate) Arc<Tally>);

impl HandleEvent for Doorkeeper {
    fn handle_acquire(&self, _: AcquireEvent) {
        let Self(tally) = self;
        tally.open.fetch_add(1, Ordering::Relaxed);
    }

    fn handle_release(&self, _: ReleaseEvent) {
        let Self(tally) = self;
        tally.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(jobs: usize) -> u64 {
    u64::try_from(jobs).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_busy_until_it_is_let_go_and_idle_afterwards() {
        let (one, other) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
        one.set_open(true);
        assert_eq!(one.idle(None), 1);
        let busy = other.busy();
        assert_eq!((one.idle(None), one.idle(Some(&other))), (1, 0));
        drop(busy);
        assert_eq!(one.idle(Some(&other)), 1);
    }

    #[test]
    fn groups_count_their_writes() {
        let tally = Tally::default();
        tally.commit(3);
        tally.commit(1);
        assert_eq!(
            tally.groups(),
            Groups {
                commits: 2,
                writes: 4
            }
        );
    }
}
