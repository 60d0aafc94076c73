//! The engine: lanes of threads with connections, so that who has to wait for somebody keeps nobody else.
//!
//! Queries wait for no row. A transaction is first tried where little patience is had with locks; one that meets one goes
//! to the patient lane, and so does a rotation whose chain somebody else is changing. However many wait there, the others
//! go on.

use std::sync::Arc;
use std::time::Duration;

use auth_domain::audit::AuditRecord;
use auth_domain::ports::Unavailable;
use auth_domain::session::{Rotated, Rotation, SessionKey, SessionView};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::links::{Links, Locks, Plans, Server};
use super::lookups::{self, LookUp, LookUps};
use super::rotations::{self, Rotations, Turn};
use super::work::{Attempt, Deadline, Job, Prompt, again, ask, promptly, transaction};
use super::{Conn, database_error, find_session};
use crate::error::StoreError;
use crate::lane::{Crew, Lane, settle};
use crate::tally::{Pool, PoolFigures, Tally};
use crate::{OpenError, PostgresUrl, StoreOptions};

/// So many threads wait for what somebody else holds.
const PATIENT: u32 = 2;
/// Takes the time limits off, until the transaction ends.
const UNHURRIED: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                         SET LOCAL lock_timeout = '30s'";

/// An open database.
pub(crate) struct Engine {
    look_ups: LookUps,
    reads: Lane<Job>,
    writes: Lane<Job>,
    patient: Arc<Lane<Job>>,
    rotations: Rotations,
    /// Where queries go that may lag behind.
    replica: Option<Lane<Job>>,
    patience: Duration,
    connections: Connections,
}

/// How many connections each lane has at a time.
#[derive(Debug, Clone, Copy)]
struct Connections {
    reading: u32,
    writing: u32,
    browsing: u32,
}

impl Connections {
    /// Half of them read, and of these some look sessions up.
    fn of(options: StoreOptions) -> Self {
        let half = options.connections.div_ceil(2);
        Self {
            reading: half.saturating_sub(lookups::THREADS).max(1),
            writing: options.connections.saturating_sub(half).max(1),
            browsing: half,
        }
    }
}

/// Opens a database; finds out whether it can be reached.
pub(crate) fn open(
    url: &PostgresUrl,
    replica: Option<&PostgresUrl>,
    options: StoreOptions,
) -> Result<Engine, OpenError> {
    let reading = Connections::of(options).reading;
    let server = Server::new(url, options);
    let plain = queries(&server, reading + PATIENT);
    let mut link = plain.take().map_err(|error| database_error(url, error))?;
    check_encoding(link.conn()).map_err(|error| database_error(url, error))?;
    drop(link);
    start(&server, plain, replica, options).map_err(|error| database_error(url, error))
}

/// Refuses a database that can't keep every text: a stranger's user name would look like an outage.
fn check_encoding(conn: &mut Conn) -> Result<(), StoreError> {
    let encoding: Encoding = diesel::sql_query("SHOW server_encoding").get_result(conn)?;
    if encoding.server_encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::NoConnection(format!(
        "the database is encoded in {}; make one by CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        encoding.server_encoding
    )))
}

#[derive(QueryableByName)]
struct Encoding {
    #[diesel(sql_type = Text)]
    server_encoding: String,
}

/// Connections for queries of any kind.
fn queries(server: &Server, connections: u32) -> Links {
    Links::new(server, connections, Locks::WaitedFor, Plans::AsItSeesFit)
}

fn start(
    server: &Server,
    plain: Links,
    replica: Option<&PostgresUrl>,
    options: StoreOptions,
) -> Result<Engine, StoreError> {
    let connections = Connections::of(options);
    let Connections {
        reading,
        writing,
        browsing,
    } = connections;
    let writers = Links::new(server, writing, Locks::Shunned, Plans::AsItSeesFit);
    let patient = Arc::new(lane("store-patient", plain.shared(), PATIENT, options)?);
    let replica = replica
        .map(|url| {
            let links = queries(&Server::new(url, options), browsing);
            lane("store-replica", links, browsing, options)
        })
        .transpose()?;
    Ok(Engine {
        look_ups: LookUps::start(server, plain.clone(), options)?,
        reads: lane("store-reader", plain, reading, options)?,
        rotations: Rotations::start(server, Arc::clone(&patient), options)?,
        writes: lane("store-writer", writers, writing, options)?,
        patient,
        replica,
        patience: options.patience,
        connections,
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
    let tally = Arc::clone(links.tally());
    Lane::staffed(crew, tally, move |jobs: Vec<Job>| {
        for job in jobs {
            job(&links);
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
        self.query(&self.reads, what, query).await
    }

    /// Looks up what a few keys find: across a network a query like any other.
    pub(crate) async fn look_up<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(what, query).await
    }

    /// Looks a session up, together with whichever others are to be looked up at the moment. Never on a replica: a token
    /// that was rotated a moment ago would be taken for a copy.
    pub(crate) async fn find_session(
        &self,
        what: &'static str,
        key: SessionKey,
    ) -> Result<Option<SessionView>, Unavailable> {
        let SessionKey::Id(id) = key else {
            return self.read(what, move |conn| find_session(conn, &key)).await;
        };
        let (look_up, outcome) = LookUp::new(self.deadline(), id);
        self.in_time(what, settle(what, self.look_ups.submit(look_up), outcome))
            .await
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
        match self.query(replica, what, query.clone()).await {
            Ok(answer) => Ok(answer),
            Err(outage) => {
                tracing::warn!(event_type = "database", operation = what, cause = %outage.source, "the replica does not answer; asking the primary");
                self.read(what, query).await
            }
        }
    }

    async fn query<T, Q>(&self, lane: &Lane<Job>, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let deadline = self.deadline();
        let answer = ask(lane, what, deadline, move |links| {
            again(links, deadline, |link| Attempt::of(query(link.conn())))
        });
        self.in_time(what, answer).await
    }

    /// Runs a transaction: all of it or nothing, and durable when this returns.
    pub(crate) async fn write<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let deadline = self.deadline();
        let done = async {
            let first = ask(&self.writes, what, deadline, move |links| {
                promptly(links, deadline, work)
            });
            match first.await? {
                Prompt::Done(done) => Ok(done),
                Prompt::Held(work) => self.wait(what, deadline, work).await,
            }
        };
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
        self.wait(what, self.deadline(), unhurried).await
    }

    /// Runs a transaction where it may wait for others.
    async fn wait<T, W>(&self, what: &'static str, deadline: Deadline, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        ask(&self.patient, what, deadline, move |links| {
            again(links, deadline, |link| transaction(link.conn(), &work))
        })
        .await
    }

    /// Rotates a chain, together with whatever else is to be rotated at the moment.
    pub(crate) async fn rotate(
        &self,
        what: &'static str,
        rotation: Rotation,
        audit: AuditRecord,
    ) -> Result<Rotated, Unavailable> {
        let (turn, outcome) = Turn::new(self.deadline(), rotation, audit);
        self.in_time(what, settle(what, self.rotations.submit(turn), outcome))
            .await
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.patience)
    }

    /// Gives a server up that has gone silent without its host: the driver would wait for it for ever. Its own time
    /// limits have passed by then, so what comes later is late for everybody.
    async fn in_time<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        tokio::time::timeout(self.patience * 2, answer)
            .await
            .unwrap_or_else(|_| Err(StoreError::Silent.in_operation(what)))
    }

    /// Whether the replica gives a sign of life; `None` where there is none.
    pub(crate) async fn is_replica_up(&self) -> Option<bool> {
        let replica = self.replica.as_ref()?;
        let asked = self.query(replica, "probe the replica", |conn| {
            Ok(conn.batch_execute("SELECT 1")?)
        });
        Some(asked.await.is_ok())
    }

    /// What the connections are doing. Queries and what waits for locks share theirs.
    pub(crate) fn figures(&self) -> Vec<PoolFigures> {
        let Connections {
            reading,
            writing,
            browsing,
        } = self.connections;
        let (reads, patient) = (self.reads.tally(), self.patient.tally());
        let (writes, rotations) = (self.writes.tally(), self.rotations.tally());
        let look_ups = self.look_ups.tally();
        let owner = |tally: &Tally, other, pool, max: u32| PoolFigures {
            idle: Some(tally.idle(other)),
            ..tally.figures(pool, max.into())
        };
        let mut figures = vec![
            owner(look_ups, None, Pool::LookUps, lookups::THREADS),
            owner(reads, Some(patient), Pool::Reads, reading),
            owner(writes, None, Pool::Writes, writing),
            PoolFigures {
                groups: Some(rotations.groups()),
                ..owner(rotations, None, Pool::Rotations, rotations::THREADS)
            },
            patient.figures(Pool::Patient, PATIENT.into()),
        ];
        let replica = self.replica.as_ref();
        figures.extend(replica.map(|replica| owner(replica.tally(), None, Pool::Replica, browsing)));
        figures
    }

    /// Finishes what is queued, and closes every connection.
    pub(crate) fn shutdown(&self) {
        self.rotations.close();
        self.writes.close();
        self.look_ups.close();
        self.reads.close();
        self.patient.close();
        if let Some(replica) = &self.replica {
            replica.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use auth_testkit::server::Database;

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
    async fn the_figures_tell_what_the_connections_of_each_lane_do() {
        let database = Database::new();
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&database.url()) else {
            panic!("a PostgreSQL URL");
        };
        let engine = Arc::new(open(&url, Some(&url), StoreOptions::default()).unwrap());
        assert_eq!(engine.is_replica_up().await, Some(true));
        let (begun, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let asked = {
            let (engine, begun, go) = (Arc::clone(&engine), Arc::clone(&begun), Arc::clone(&go));
            let meet = move |_: &mut Conn| {
                begun.wait();
                go.wait();
                Ok(())
            };
            tokio::spawn(async move { engine.administer("wait", meet).await })
        };
        begun.wait();
        let seen = |engine: &Engine| -> Vec<_> {
            let figures = engine.figures().into_iter();
            figures
                .map(|figures| (figures.pool, figures.max, figures.busy, figures.idle.is_some()))
                .collect()
        };
        let pools = |patient| {
            [
                (Pool::LookUps, 1, 0, true),
                (Pool::Reads, 3, 0, true),
                (Pool::Writes, 4, 0, true),
                (Pool::Rotations, 2, 0, true),
                (Pool::Patient, 2, patient, false),
                (Pool::Replica, 4, 0, true),
            ]
        };
        assert_eq!(seen(&engine), pools(1));
        go.wait();
        asked.await.unwrap().unwrap();
        while seen(&engine) != pools(0) {
            tokio::task::yield_now().await;
        }
        let open: u64 = engine.figures().iter().filter_map(|figures| figures.idle).sum();
        let listed = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{}'",
            crate::postgres::links::APPLICATION
        );
        assert_eq!(database.tell(&listed).unwrap().trim(), open.to_string());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replica_that_is_gone_is_not_up() {
        let database = Database::new();
        let urls = [
            database.url(),
            "postgresql://u@127.0.0.1:1/db?connect_timeout=1".to_owned(),
        ];
        let [primary, replica] = urls.map(|url| match DatabaseUrl::parse(&url) {
            Ok(DatabaseUrl::Postgres(url)) => url,
            _ => panic!("a PostgreSQL URL"),
        });
        let engine = open(&primary, Some(&replica), StoreOptions::default()).unwrap();
        assert_eq!(engine.is_replica_up().await, Some(false));
        let figures = engine.figures();
        let replica = figures.last().map(|figures| (figures.pool, figures.timeouts));
        assert_eq!(replica, Some((Pool::Replica, 1)));
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
