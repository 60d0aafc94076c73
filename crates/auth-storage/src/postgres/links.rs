//! Connections to the server: made, kept in a pool, and thrown away once one of them turns out to be dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};

use super::Conn;
use crate::error::StoreError;
use crate::{PostgresUrl, StoreOptions};

/// How long a request waits for a connection. While the server is away attempts go on beside the requests, at most
/// half as far apart: so the first request after an outage does not wait for long either.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an attempt to connect may take, in seconds: the least that libpq takes.
const CONNECT_SECONDS: u32 = 2;
/// How long the network may leave data unacknowledged before a connection counts as dead, in milliseconds; and when it
/// is asked for a sign of life: the server's host can go without a word.
const NETWORK: [(&str, &str); 4] = [
    ("tcp_user_timeout", "8000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "3"),
];

/// The pool.
#[derive(Clone)]
pub(super) struct Links {
    pool: Pool<Maker>,
    /// The server could not be reached when it was last tried: nobody else need wait to hear the same.
    is_away: Arc<AtomicBool>,
}

/// A connection out of the pool, which goes back to it.
pub(super) struct Link(PooledConnection<Maker>);

impl Links {
    /// A pool that makes its connections as they are wanted; none is made here.
    pub(super) fn new(url: &PostgresUrl, connections: u32, options: StoreOptions) -> Self {
        let maker = Maker {
            url: conninfo(url),
            greeting: greeting(options),
            era: AtomicU64::new(0),
        };
        let pool = Pool::builder()
            .max_size(connections.max(1))
            .min_idle(Some(0))
            .test_on_check_out(true)
            .connection_timeout(PATIENCE)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(maker);
        Self {
            pool,
            is_away: Arc::default(),
        }
    }

    /// A connection, or why there is none.
    pub(super) fn take(&self) -> Result<Link, StoreError> {
        let taken = if self.is_away.load(Ordering::Relaxed) {
            self.pool.try_get().ok_or_else(|| "the server is away".to_owned())
        } else {
            self.pool.get().map_err(|error| error.to_string())
        };
        self.is_away.store(taken.is_err(), Ordering::Relaxed);
        taken.map(Link).map_err(StoreError::NoConnection)
    }
}

impl Link {
    /// The connection.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.0.conn
    }

    /// Throws this connection away, and with it all that were made before: what ended this one, a restart say, has
    /// ended them as well, and they would be handed out one by one.
    pub(super) fn discard(mut self) {
        self.0.is_broken = true;
    }
}

/// Makes connections.
struct Maker {
    url: String,
    /// What the server is told first.
    greeting: String,
    /// Counts the times that a connection has been found dead.
    era: AtomicU64,
}

/// A connection as the pool keeps it.
struct Kept {
    conn: Conn,
    era: u64,
    is_broken: bool,
}

impl ManageConnection for Maker {
    type Connection = Kept;
    type Error = StoreError;

    fn connect(&self) -> Result<Kept, StoreError> {
        let era = self.era.load(Ordering::Relaxed);
        let mut conn =
            Conn::establish(&self.url).map_err(|error| StoreError::NoConnection(error.to_string()))?;
        conn.batch_execute(&self.greeting)?;
        Ok(Kept {
            conn,
            era,
            is_broken: false,
        })
    }

    /// Asks nobody: a question to the server would be a round trip for each request. A connection that has died
    /// unnoticed is found out by its first use, which is repeated on another.
    fn is_valid(&self, kept: &mut Kept) -> Result<(), StoreError> {
        if kept.era == self.era.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(StoreError::NoConnection("it is of before an outage".to_owned()))
        }
    }

    fn has_broken(&self, kept: &mut Kept) -> bool {
        if kept.is_broken {
            // Only the first of an era ends it: others may be on connections that are new already.
            let _ = self
                .era
                .compare_exchange(kept.era, kept.era + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        kept.is_broken || kept.era != self.era.load(Ordering::Relaxed)
    }
}

/// The URL with what the operator has left to us.
pub(super) fn conninfo(url: &PostgresUrl) -> String {
    let mut text = url.expose().to_owned();
    let mut add = |name: &str, value: &str| {
        if !url.has(name) {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
    };
    add("application_name", "codelab-auth");
    add("connect_timeout", &CONNECT_SECONDS.to_string());
    for (name, value) in NETWORK {
        add(name, value);
    }
    text
}

/// Time limits, so that nobody waits for ever for somebody else's lock; and commits are durable, whatever the server's
/// configuration says about them.
fn greeting(options: StoreOptions) -> String {
    let (statement, lock) = (
        options.patience.as_millis(),
        options.busy_timeout.min(options.patience / 2).as_millis(),
    );
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {statement}; \
         SELECT set_config('synchronous_commit', 'on', FALSE) \
         WHERE current_setting('synchronous_commit') = 'off';"
    )
}
