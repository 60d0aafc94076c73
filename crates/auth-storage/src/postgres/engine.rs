//! The engine: runs queries and transactions on connections of the pool, each as often as an outage or a deadlock asks.

use std::thread;
use std::time::{Duration, Instant};

use auth_domain::audit::AuditRecord;
use auth_domain::ports::Unavailable;
use auth_domain::session::{Rotated, Rotation};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use tokio::sync::oneshot;

use super::links::{Link, Links};
use super::rotations::{CONNECTIONS, Rotations, Turn};
use super::{Conn, database_error};
use crate::error::StoreError;
use crate::lane::{Crew, Lane, settle};
use crate::{OpenError, PostgresUrl, StoreOptions};

/// How often a query or a transaction is tried.
const TRIES: u32 = 3;
/// Takes the time limits off, until the transaction ends.
const UNHURRIED: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                         SET LOCAL lock_timeout = '30s'";
/// How long a thread waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be done on a connection, by a thread of the engine.
type Job = Box<dyn FnOnce(&Links, Duration) + Send>;

/// An open database.
pub(crate) struct Engine {
    work: Lane<Job>,
    rotations: Rotations,
    /// Where queries go that may lag behind.
    replica: Option<Lane<Job>>,
    /// When whoever asks is told that there is no answer, though there may be one yet.
    limit: Duration,
}

/// Opens a database; finds out whether it can be reached.
pub(crate) fn open(
    url: &PostgresUrl,
    replica: Option<&PostgresUrl>,
    options: StoreOptions,
) -> Result<Engine, OpenError> {
    let links = Links::new(url, options.connections + CONNECTIONS, options);
    links.take().map_err(|error| database_error(url, error))?;
    start(&links, replica, options).map_err(|error| database_error(url, error))
}

fn start(links: &Links, replica: Option<&PostgresUrl>, options: StoreOptions) -> Result<Engine, StoreError> {
    let work = lane("store-worker", links.clone(), options.connections, options)?;
    let replica = replica
        .map(|url| {
            let connections = options.connections.div_ceil(2);
            lane(
                "store-replica",
                Links::new(url, connections, options),
                connections,
                options,
            )
        })
        .transpose()?;
    Ok(Engine {
        work,
        rotations: Rotations::start(links, options)?,
        replica,
        limit: options.patience * 2,
    })
}

fn lane(
    name: &'static str,
    links: Links,
    threads: u32,
    options: StoreOptions,
) -> Result<Lane<Job>, StoreError> {
    let crew = Crew {
        name,
        threads,
        queue: options.queue,
        batch: 1,
    };
    Lane::staffed(crew, move |jobs: Vec<Job>| {
        for job in jobs {
            job(&links, options.patience);
        }
    })
}

impl Engine {
    /// Runs a query.
    pub(crate) async fn read<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = ask(&self.work, what, move |links, patience| {
            again(links, patience, |link| Attempt::of(query(link.conn())))
        });
        self.in_time(what, answer).await
    }

    /// Runs a query whose answer may be a little old: on the replica where there is one and it answers.
    pub(crate) async fn browse<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Clone + Send + 'static,
    {
        let Some(replica) = &self.replica else {
            return self.read(what, query).await;
        };
        let own = query.clone();
        let answered = ask(replica, what, move |links, patience| {
            again(links, patience, |link| Attempt::of(own(link.conn())))
        });
        match self.in_time(what, answered).await {
            Ok(answer) => Ok(answer),
            Err(outage) => {
                tracing::warn!(operation = what, cause = %outage.source, "the replica does not answer; asking the primary");
                self.read(what, query).await
            }
        }
    }

    /// Runs a transaction: all of it or nothing, and durable when this returns.
    pub(crate) async fn write<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let done = ask(&self.work, what, move |links, patience| {
            again(links, patience, |link| transaction(link.conn(), &work))
        });
        self.in_time(what, done).await
    }

    /// Runs a transaction that may have to change very many rows, and is given the time it needs: an operator waits for
    /// it, and of those who refresh only they whose chains it ends.
    pub(crate) async fn administer<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let unhurried = move |conn: &mut Conn| {
            conn.batch_execute(UNHURRIED)?;
            work(conn)
        };
        let done = ask(&self.work, what, move |links, patience| {
            again(links, patience, |link| transaction(link.conn(), &unhurried))
        });
        done.await
    }

    /// Rotates a chain, together with whatever else is to be rotated at the moment.
    pub(crate) async fn rotate(
        &self,
        what: &'static str,
        rotation: Rotation,
        audit: AuditRecord,
    ) -> Result<Rotated, Unavailable> {
        let (turn, outcome) = Turn::new(rotation, audit);
        self.in_time(what, settle(what, self.rotations.submit(turn), outcome))
            .await
    }

    /// Gives a server up that has gone silent without its host: the driver would wait for it for ever. Its own time
    /// limits have passed by then, so what comes later is late for everybody.
    async fn in_time<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        tokio::time::timeout(self.limit, answer)
            .await
            .unwrap_or_else(|_| Err(StoreError::Silent.in_operation(what)))
    }

    /// Finishes what is queued, and closes every connection.
    pub(crate) fn shutdown(&self) {
        self.rotations.close();
        self.work.close();
        if let Some(replica) = &self.replica {
            replica.close();
        }
    }
}

/// Has a thread do something, unless nobody may be waiting for it any more by then.
async fn ask<T, W>(lane: &Lane<Job>, what: &'static str, work: W) -> Result<T, Unavailable>
where
    T: Send + 'static,
    W: FnOnce(&Links, Duration) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, outcome) = oneshot::channel();
    let since = Instant::now();
    let job: Job = Box::new(move |links, patience| {
        let done = if since.elapsed() > patience {
            Err(StoreError::Late)
        } else {
            work(links, patience)
        };
        // Whoever asked may have gone.
        drop(reply.send(done));
    });
    settle(what, lane.submit(job), outcome).await
}

/// What came of one attempt.
enum Attempt<T> {
    /// This; for good.
    Settled(Result<T, StoreError>),
    /// Nothing was changed, and the cause may be gone by now.
    Undone(StoreError),
}

impl<T> Attempt<T> {
    /// Of what changes nothing where it fails.
    fn of(outcome: Result<T, StoreError>) -> Self {
        match outcome {
            Err(error) if error.may_pass() => Self::Undone(error),
            settled => Self::Settled(settled),
        }
    }
}

/// Tries, on a new connection where one has died, until something is settled.
fn again<T>(
    links: &Links,
    patience: Duration,
    attempt: impl Fn(&mut Link) -> Attempt<T>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut link = links.take()?;
        let (settled, is_final) = match attempt(&mut link) {
            Attempt::Settled(settled) => (settled, true),
            Attempt::Undone(error) => (Err(error), false),
        };
        let Err(error) = settled else { return settled };
        if error.is_of_the_connection() {
            link.discard();
        } else {
            drop(link);
        }
        if is_final || tries >= TRIES || begun.elapsed() > patience {
            return Err(error);
        }
        make_way();
    }
}

/// Lets whoever won a deadlock go on first: who comes back at once may only meet the same rival again.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no event to wait for: the point is to let others pass"
)]
fn make_way() {
    thread::sleep(PAUSE);
}

/// One attempt at a transaction. Until COMMIT is sent nothing has happened; what a lost answer to it means nobody
/// knows, and it is never tried again.
fn transaction<T>(conn: &mut Conn, work: &impl Fn(&mut Conn) -> Result<T, StoreError>) -> Attempt<T> {
    type Manager = AnsiTransactionManager;
    if let Err(error) = Manager::begin_transaction(conn) {
        return Attempt::Undone(error.into());
    }
    match work(conn) {
        Ok(done) => match Manager::commit_transaction(conn) {
            Ok(()) => Attempt::Settled(Ok(done)),
            Err(error) => Attempt::Settled(Err(StoreError::Unsettled(error.to_string()))),
        },
        Err(error) => match Manager::rollback_transaction(conn) {
            Ok(()) => Attempt::of(Err(error)),
            // What keeps it from rolling back keeps it from everything else.
            Err(_) => Attempt::Undone(StoreError::NoConnection(error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use auth_testkit::server::Database;
    use diesel::prelude::*;

    use super::*;
    use crate::DatabaseUrl;

    fn engine(database: &Database, options: StoreOptions) -> Engine {
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&database.url()) else {
            panic!("a PostgreSQL URL");
        };
        open(&url, None, options).unwrap()
    }

    fn run(conn: &mut Conn, sql: &'static str) -> Result<usize, StoreError> {
        Ok(diesel::sql_query(sql).execute(conn)?)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_fails_the_work_alone_and_nothing_is_written_into_what_it_left_open() {
        let database = Database::new();
        // One thread and one connection, so that whoever comes next would get the one that was left.
        let options = StoreOptions {
            connections: 1,
            ..StoreOptions::default()
        };
        let engine = engine(&database, options);
        let table = |conn: &mut Conn| run(conn, "CREATE TABLE numbers (n INTEGER)");
        engine.write("make a table", table).await.unwrap();
        for _ in 0..2 {
            let panicking = |_: &mut Conn| -> Result<(), StoreError> { panic!("as the test asks") };
            let read = engine.read("read", panicking).await.unwrap_err();
            assert!(read.source.to_string().contains("panicked"), "{}", read.source);
            let half_done = |conn: &mut Conn| -> Result<(), StoreError> {
                run(conn, "INSERT INTO numbers VALUES (1)")?;
                panic!("as the test asks")
            };
            let written = engine.write("write", half_done).await.unwrap_err();
            assert!(
                written.source.to_string().contains("panicked"),
                "{}",
                written.source
            );
            let insert = |conn: &mut Conn| run(conn, "INSERT INTO numbers VALUES (2)");
            assert_eq!(engine.write("write", insert).await.unwrap(), 1);
        }
        let seen = database.tell("SELECT string_agg(n::text, ' ') FROM numbers");
        assert_eq!(seen.unwrap().trim(), "2 2");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_says_nothing_is_given_up() {
        let database = Database::new();
        let options = StoreOptions {
            patience: Duration::from_millis(100),
            ..StoreOptions::default()
        };
        let engine = engine(&database, options);
        // As long as the server's own limit is off, nothing else ends this.
        let silent =
            |conn: &mut Conn| Ok(conn.batch_execute("SET statement_timeout = 0; SELECT pg_sleep(2)")?);
        let given_up = engine.read("wait", silent).await.unwrap_err();
        assert!(
            given_up.source.to_string().contains("silent"),
            "{}",
            given_up.source
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn administration_has_the_time_it_needs() {
        let database = Database::new();
        let options = StoreOptions {
            patience: Duration::from_millis(200),
            ..StoreOptions::default()
        };
        let engine = engine(&database, options);
        let slow = |conn: &mut Conn| run(conn, "SELECT pg_sleep(0.6)");
        engine.write("write", slow).await.expect_err("the server ends it");
        assert_eq!(engine.administer("administer", slow).await.unwrap(), 1);
        engine
            .write("write", slow)
            .await
            .expect_err("only then and there");
    }
}
