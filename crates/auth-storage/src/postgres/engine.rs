//! The engine: runs queries and transactions on connections of the pool, each as often as an outage or a deadlock asks.

use std::thread;
use std::time::{Duration, Instant};

use auth_domain::audit::AuditRecord;
use auth_domain::ports::Unavailable;
use auth_domain::session::{Rotated, Rotation};
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use tokio::sync::oneshot;

use super::links::{Link, Links};
use super::rotations::{CONNECTIONS, Rotations, Turn};
use super::{Conn, database_error};
use crate::error::StoreError;
use crate::lane::{Crew, Lane, settle};
use crate::{OpenError, PostgresUrl, StoreOptions};

/// How often a query or a transaction is tried.
const TRIES: u32 = 3;
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
        ask(&self.work, what, move |links, patience| {
            again(links, patience, |link| Attempt::of(query(link.conn())))
        })
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
        let own = query.clone();
        let answered = ask(replica, what, move |links, patience| {
            again(links, patience, |link| Attempt::of(own(link.conn())))
        });
        match answered.await {
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
        ask(&self.work, what, move |links, patience| {
            again(links, patience, |link| transaction(link.conn(), &work))
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
        let (turn, outcome) = Turn::new(rotation, audit);
        settle(what, self.rotations.submit(turn), outcome).await
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
