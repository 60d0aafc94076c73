//! Work on the engine's threads: queries and transactions, each as often as an outage or a deadlock asks.

use std::thread;
use std::time::{Duration, Instant};

use auth_domain::ports::Unavailable;
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use tokio::sync::oneshot;

use super::Conn;
use super::links::{Link, Links};
use crate::error::StoreError;
use crate::lane::{Lane, settle};

/// How often something is tried.
const TRIES: u32 = 3;
/// How long a thread waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be done with connections, by a thread of the engine.
pub(super) type Job = Box<dyn FnOnce(&Links) + Send>;

/// Until when anybody may be waiting for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub(super) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Whether it has come.
    pub(super) fn has_come(self) -> bool {
        Instant::now() >= self.0
    }
}

/// Has a thread do something, unless the deadline has come when its turn does.
pub(super) async fn ask<T, W>(
    lane: &Lane<Job>,
    what: &'static str,
    deadline: Deadline,
    work: W,
) -> Result<T, Unavailable>
where
    T: Send + 'static,
    W: FnOnce(&Links) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, outcome) = oneshot::channel();
    let job: Job = Box::new(move |links| {
        let done = if deadline.has_come() {
            links.tally().time_out(1);
            Err(StoreError::Late)
        } else {
            work(links)
        };
        // Whoever asked may have gone.
        drop(reply.send(done));
    });
    settle(what, lane.submit(job), outcome).await
}

/// What came of one attempt.
pub(super) enum Attempt<T> {
    /// This; for good.
    Settled(Result<T, StoreError>),
    /// Nothing was changed, and the cause may be gone by now.
    Undone(StoreError),
}

impl<T> Attempt<T> {
    /// Of what changes nothing where it fails.
    pub(super) fn of(outcome: Result<T, StoreError>) -> Self {
        match outcome {
            Err(error) if error.may_pass() => Self::Undone(error),
            settled => Self::Settled(settled),
        }
    }
}

/// Tries until something is settled: on a new connection where one has died, and after a pause where somebody else was
/// in the way.
pub(super) fn again<T>(
    links: &Links,
    deadline: Deadline,
    attempt: impl Fn(&mut Link) -> Attempt<T>,
) -> Result<T, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match once(links, &attempt)? {
            Attempt::Settled(settled) => return settled,
            Attempt::Undone(error) => error,
        };
        if tries >= TRIES || deadline.has_come() {
            return Err(error);
        }
        make_way();
    }
}

/// What came of a transaction that waits for nobody.
pub(super) enum Prompt<T, W> {
    /// This.
    Done(T),
    /// Nothing: somebody else was in the way. It is to be done by who has the time to wait.
    Held(W),
}

/// Carries a transaction out, unless somebody is in its way; on a new connection where one has died.
pub(super) fn promptly<T, W>(links: &Links, deadline: Deadline, work: W) -> Result<Prompt<T, W>, StoreError>
where
    W: Fn(&mut Conn) -> Result<T, StoreError>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match once(links, &|link: &mut Link| transaction(link.conn(), &work))? {
            Attempt::Settled(settled) => return settled.map(Prompt::Done),
            Attempt::Undone(error) => error,
        };
        if !error.is_of_the_connection() {
            return Ok(Prompt::Held(work));
        }
        if tries >= TRIES || deadline.has_come() {
            return Err(error);
        }
    }
}

/// One attempt on a connection, which is thrown away if it turns out to be dead.
fn once<T>(links: &Links, attempt: &impl Fn(&mut Link) -> Attempt<T>) -> Result<Attempt<T>, StoreError> {
    let mut link = links.take()?;
    let attempted = attempt(&mut link);
    if let Attempt::Settled(Err(error)) | Attempt::Undone(error) = &attempted
        && error.is_of_the_connection()
    {
        link.discard();
    }
    Ok(attempted)
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
pub(super) fn transaction<T>(
    conn: &mut Conn,
    work: &impl Fn(&mut Conn) -> Result<T, StoreError>,
) -> Attempt<T> {
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
