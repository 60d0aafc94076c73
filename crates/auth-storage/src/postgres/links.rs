//! Connections to the server: made, kept in a pool, and thrown away once one of them turns out to be dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use r2d2::{HandleError, ManageConnection, Pool, PooledConnection};

use super::Conn;
use crate::error::StoreError;
use crate::tally::{Busy, Doorkeeper, Tally};
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

/// What is done where somebody else holds what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locks {
    /// It is waited for.
    WaitedFor,
    /// Only what is let go at once is waited for: others need the connection.
    Shunned,
}

/// How the server plans what is prepared on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plans {
    /// As it sees fit, which may be anew for each use.
    AsItSeesFit,
    /// Once for all uses, by keys alone. For few statements whose plan depends on no value: the server would plan them
    /// anew for each use, since it takes a plan for one row to be cheaper than one for ten, and that costs several times
    /// what carrying them out does. Nor may it choose to read whole tables because they were small when it planned.
    Once,
}

/// How long it is waited where locks are shunned.
const MOMENT: Duration = Duration::from_millis(50);

/// A server, and what all who connect to it find out about it.
pub(super) struct Server {
    url: PostgresUrl,
    options: StoreOptions,
    /// How many connections have been made, by all pools together. Only that tells that the server is there: one that
    /// lies idle in a pool may be dead.
    made: Arc<AtomicU64>,
    trouble: Arc<Trouble>,
}

impl Server {
    /// Of which nothing is known yet.
    pub(super) fn new(url: &PostgresUrl, options: StoreOptions) -> Self {
        let trouble = Trouble {
            server: url.to_string(),
            cause: Mutex::default(),
        };
        Self {
            url: url.clone(),
            options,
            made: Arc::default(),
            trouble: Arc::new(trouble),
        }
    }
}

/// A pool.
#[derive(Clone)]
pub(super) struct Links {
    pool: Pool<Maker>,
    made: Arc<AtomicU64>,
    /// How many had been made when this pool was last waited for in vain: until there is another, nobody need wait to
    /// hear the same. Each pool has its own, for one may do well with what it has while the server takes no more.
    in_vain: Arc<AtomicU64>,
    trouble: Arc<Trouble>,
    /// Of whoever takes them.
    tally: Arc<Tally>,
}

/// Never: so many connections are not made.
const NEVER: u64 = u64::MAX;

/// Why there are no connections, for whoever asks and, once each, for the log.
#[derive(Debug)]
struct Trouble {
    /// The server's URL without its password.
    server: String,
    cause: Mutex<Option<String>>,
}

impl Trouble {
    fn begins(&self, cause: &str) {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != Some(cause) {
            tracing::warn!(
                event_type = "database_lost",
                server = self.server,
                cause,
                "no connection to PostgreSQL"
            );
            *known = Some(cause.to_owned());
        }
    }

    fn ends(&self) {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if known.take().is_some() {
            tracing::info!(
                event_type = "database_found",
                server = self.server,
                "PostgreSQL is there again"
            );
        }
    }

    fn cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hears of each attempt to connect that failed.
#[derive(Debug)]
struct Listener(Arc<Trouble>);

impl HandleError<NoLink> for Listener {
    fn handle_error(&self, error: NoLink) {
        match error {
            NoLink::NotMade(StoreError::NoConnection(cause)) => self.0.begins(&cause),
            NoLink::NotMade(other) => self.0.begins(&other.to_string()),
            NoLink::OfBefore => {}
        }
    }
}

/// Why there is no connection to be had of the pool.
#[derive(Debug, thiserror::Error)]
enum NoLink {
    /// The server, or the way to it.
    #[error(transparent)]
    NotMade(#[from] StoreError),
    /// It was made before others were found dead.
    #[error("it is of before an outage")]
    OfBefore,
}

/// A connection out of the pool, which goes back to it.
pub(super) struct Link {
    pooled: PooledConnection<Maker>,
    _busy: Busy,
}

impl Links {
    /// A pool that makes its connections as they are wanted; none is made here.
    pub(super) fn new(server: &Server, connections: u32, locks: Locks, plans: Plans) -> Self {
        let maker = Maker {
            url: server.url.clone(),
            greeting: greeting(locks, server.options) + planning(plans),
            era: AtomicU64::new(0),
            made: Arc::clone(&server.made),
            trouble: Arc::clone(&server.trouble),
        };
        let trouble = Arc::clone(&server.trouble);
        let tally = Arc::<Tally>::default();
        let pool = Pool::builder()
            .max_size(connections.max(1))
            .min_idle(Some(0))
            .idle_timeout(None)
            // Where a lane has one connection, all who wait in it would wait for the next.
            .max_lifetime(None)
            .test_on_check_out(true)
            .connection_timeout(PATIENCE)
            .error_handler(Box::new(Listener(Arc::clone(&trouble))))
            .event_handler(Box::new(Doorkeeper(Arc::clone(&tally))))
            .build_unchecked(maker);
        Self {
            pool,
            made: Arc::clone(&server.made),
            in_vain: Arc::new(AtomicU64::new(NEVER)),
            trouble,
            tally,
        }
    }

    /// What is counted of whoever takes connections by this, and of those that are open.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The same pool for somebody who is counted apart.
    pub(super) fn shared(&self) -> Self {
        Self {
            tally: Arc::default(),
            ..self.clone()
        }
    }

    /// A connection, or why there is none.
    pub(super) fn take(&self) -> Result<Link, StoreError> {
        let made = self.made.load(Ordering::Relaxed);
        match self.pool.get_timeout(self.patience()) {
            Ok(link) => {
                self.in_vain.store(NEVER, Ordering::Relaxed);
                Ok(Link {
                    pooled: link,
                    _busy: self.tally.busy(),
                })
            }
            Err(error) => {
                self.in_vain.store(made, Ordering::Relaxed);
                self.tally.time_out(1);
                let cause = self.trouble.cause().unwrap_or_else(|| error.to_string());
                Err(StoreError::NoConnection(cause))
            }
        }
    }

    /// How long is waited for a connection now. Where nobody waits, an attempt to connect is begun all the same, unless
    /// enough are under way.
    fn patience(&self) -> Duration {
        if self.in_vain.load(Ordering::Relaxed) == self.made.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            PATIENCE
        }
    }
}

impl Link {
    /// The connection.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.pooled.conn
    }

    /// Throws this connection away, and with it all that were made before: what ended this one, a restart say, has
    /// ended them as well, and they would be handed out one by one.
    pub(super) fn discard(mut self) {
        self.pooled.is_broken = true;
    }
}

/// Makes connections.
struct Maker {
    url: PostgresUrl,
    /// What the server is told first.
    greeting: String,
    /// Counts the times that a connection has been found dead.
    era: AtomicU64,
    made: Arc<AtomicU64>,
    trouble: Arc<Trouble>,
}

/// A connection as the pool keeps it.
struct Kept {
    conn: Conn,
    era: u64,
    is_broken: bool,
}

impl ManageConnection for Maker {
    type Connection = Kept;
    type Error = NoLink;

    fn connect(&self) -> Result<Kept, NoLink> {
        let era = self.era.load(Ordering::Relaxed);
        let mut conn = establish(&self.url)?;
        conn.batch_execute(&self.greeting).map_err(StoreError::from)?;
        self.made.fetch_add(1, Ordering::Relaxed);
        self.trouble.ends();
        Ok(Kept {
            conn,
            era,
            is_broken: false,
        })
    }

    /// Asks nobody: a question to the server would be a round trip for each request. A connection that has died
    /// unnoticed is found out by its first use, which is repeated on another.
    fn is_valid(&self, kept: &mut Kept) -> Result<(), NoLink> {
        if kept.era == self.era.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(NoLink::OfBefore)
        }
    }

    fn has_broken(&self, kept: &mut Kept) -> bool {
        // Work that has panicked may have left a transaction open, in which whatever comes next would be lost.
        if AnsiTransactionManager::is_broken_transaction_manager(&mut kept.conn) {
            return true;
        }
        if kept.is_broken {
            // Only the first of an era ends it: others may be on connections that are new already.
            let _ = self
                .era
                .compare_exchange(kept.era, kept.era + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        kept.is_broken || kept.era != self.era.load(Ordering::Relaxed)
    }
}

/// What connections are called where the server lists them, unless the URL has another name for them.
pub(crate) const APPLICATION: &str = "codelab-auth";

/// A connection. What the library says where there is none is told without the password, which it quotes at times.
pub(crate) fn establish(url: &PostgresUrl) -> Result<Conn, StoreError> {
    Conn::establish(&conninfo(url)).map_err(|error| StoreError::NoConnection(url.hide(&error.to_string())))
}

/// The URL with what the operator has left to us.
fn conninfo(url: &PostgresUrl) -> String {
    let mut text = url.expose().to_owned();
    let mut add = |name: &str, value: &str| {
        if !url.has(name) {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
    };
    add("application_name", APPLICATION);
    add("connect_timeout", &CONNECT_SECONDS.to_string());
    for (name, value) in NETWORK {
        add(name, value);
    }
    text
}

/// What must not depend on how the server is configured: time limits, so that nobody waits for ever for somebody else's
/// lock; the isolation that the rules are made for, under which who had to wait sees what was done meanwhile; and
/// commits that are durable.
fn greeting(locks: Locks, options: StoreOptions) -> String {
    let statement = options.patience.as_millis();
    let lock = match locks {
        Locks::WaitedFor => options.busy_timeout.min(options.patience / 2),
        Locks::Shunned => MOMENT,
    };
    let lock = lock.as_millis().max(1);
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {statement}; \
         SET default_transaction_isolation = 'read committed'; \
         SELECT set_config('synchronous_commit', 'on', FALSE) \
         WHERE current_setting('synchronous_commit') = 'off';"
    )
}

/// What makes the server plan as it is wanted. Where it compiles what seems dear, a plan that it was told to avoid seems so.
const fn planning(plans: Plans) -> &'static str {
    match plans {
        Plans::AsItSeesFit => "",
        Plans::Once => {
            " SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; \
             SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use auth_testkit::server::{Database, Durability, PostgresServer};

    use super::*;
    use crate::DatabaseUrl;

    fn server(database: &Database) -> Server {
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&database.url()) else {
            panic!("a PostgreSQL URL");
        };
        Server::new(&url, StoreOptions::default())
    }

    fn pool(server: &Server) -> Links {
        Links::new(server, 4, Locks::WaitedFor, Plans::AsItSeesFit)
    }

    fn links(database: &Database) -> Links {
        pool(&server(database))
    }

    /// Whether it is so before long.
    fn comes(is_so: impl Fn() -> bool) -> bool {
        let since = Instant::now();
        while since.elapsed() < Duration::from_mins(1) {
            if is_so() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Asks until there is a connection, as requests do.
    fn comes_back(links: &Links) -> bool {
        comes(|| links.take().is_ok())
    }

    #[test]
    fn the_server_is_found_again_when_every_connection_has_been_thrown_away() {
        let database = Database::new();
        let links = links(&database);
        let (old, new) = (links.take().unwrap(), links.take().unwrap());
        drop(new);
        links
            .in_vain
            .store(links.made.load(Ordering::Relaxed), Ordering::Relaxed);
        old.discard();
        assert_eq!(
            links.pool.state().connections,
            1,
            "the idle one is found out when it is taken"
        );
        assert!(comes_back(&links));
        assert!(links.take().is_ok());
    }

    #[test]
    fn nobody_waits_for_a_server_that_is_known_to_be_away() {
        let gone = DatabaseUrl::parse("postgresql://u@127.0.0.1:1/db?connect_timeout=1");
        let Ok(DatabaseUrl::Postgres(url)) = gone else {
            panic!("a PostgreSQL URL");
        };
        let server = Server::new(&url, StoreOptions::default());
        let links = Links::new(&server, 4, Locks::WaitedFor, Plans::AsItSeesFit);
        let Err(first) = links.take() else {
            panic!("nobody listens on port 1");
        };
        assert!(first.to_string().contains("refused"), "{first}");
        let since = Instant::now();
        for _ in 0..100 {
            assert!(links.take().is_err());
        }
        assert!(
            since.elapsed() < 50 * PATIENCE,
            "a hundred would have waited a hundred times as long"
        );
    }

    #[test]
    fn only_a_connection_that_is_made_tells_other_pools_that_the_server_is_there() {
        let mut postgres = PostgresServer::start(Durability::Fast);
        let database = postgres.database();
        let server = server(&database);
        let (one, other) = (pool(&server), pool(&server));
        drop(one.take().unwrap());
        postgres.kill();
        assert!(other.take().is_err());
        assert!(comes(|| server.trouble.cause().is_some()));
        drop(one.take().unwrap());
        assert!(server.trouble.cause().is_some(), "what lies idle may be dead");
        assert_eq!(other.patience(), Duration::ZERO);
        assert_eq!(one.patience(), PATIENCE, "it has not waited in vain");
        one.take().unwrap().discard();
        postgres.start_again();
        assert!(comes_back(&one));
        assert_eq!(
            other.patience(),
            PATIENCE,
            "nobody refuses by what was known before"
        );
    }

    #[test]
    fn a_connection_is_not_closed_for_its_age() {
        let links = links(&Database::new());
        assert_eq!(
            (links.pool.max_lifetime(), links.pool.idle_timeout()),
            (None, None)
        );
    }

    #[test]
    fn a_connection_with_an_open_transaction_is_not_given_to_anybody_else() {
        let database = Database::new();
        let links = links(&database);
        let mut link = links.take().unwrap();
        AnsiTransactionManager::begin_transaction(link.conn()).unwrap();
        drop(link);
        assert_eq!(links.pool.state().connections, 0);
    }

    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }

    #[test]
    fn isolation_and_durability_do_not_depend_on_how_the_server_is_configured() {
        let database = Database::new();
        let name = database.tell("SELECT current_database()").unwrap();
        for setting in [
            "default_transaction_isolation = 'serializable'",
            "synchronous_commit = 'off'",
            "statement_timeout = 0",
        ] {
            database
                .tell(&format!("ALTER DATABASE {} SET {setting}", name.trim()))
                .unwrap();
        }
        let mut link = links(&database).take().unwrap();
        let mut value = |name: &str| {
            let query = diesel::sql_query(format!("SELECT current_setting('{name}') AS value"));
            query.get_result::<Setting>(link.conn()).unwrap().value
        };
        assert_eq!(value("transaction_isolation"), "read committed");
        assert_eq!(value("synchronous_commit"), "on");
        assert_eq!(value("statement_timeout"), "5s");
    }
}
