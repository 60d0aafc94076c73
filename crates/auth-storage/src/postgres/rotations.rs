//! Rotations in company: what waits while a statement is under way goes into the next one, all of it.
//!
//! One round trip and one flush of the log serve as many chains as have come meanwhile, so a busy server writes in
//! larger statements and not in more of them. Nothing is acknowledged before its statement, which is a transaction, is
//! durable. A chain that somebody else is changing at the moment keeps none of the others: it waits in a lane of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use auth_domain::audit::AuditRecord;
use auth_domain::session::{Rotated, Rotation};
use tokio::sync::oneshot;

use super::links::{Links, Locks, Plans, Server};
use super::statement::{Locked, Took, Turns};
use super::work::{Attempt, Deadline, Job, again};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::{Crew, Lane};
use crate::tally::Tally;

/// The most rotations in one statement.
const MAX_TURNS: usize = 256;
/// The least time from one statement to the next, once several rotations go into one: else they would go one by one on
/// a fast disk, each with the price of a statement and of a sync.
const PACE: Duration = Duration::from_millis(4);
/// While one statement waits for its commit, the next is under way.
pub(super) const THREADS: u32 = 2;

/// A rotation, and somebody who waits for it.
pub(super) struct Turn {
    deadline: Deadline,
    rotation: Rotation,
    audit: AuditRecord,
    reply: oneshot::Sender<Result<Rotated, StoreError>>,
}

impl Turn {
    /// The turn, and where its outcome will arrive.
    pub(super) fn new(
        deadline: Deadline,
        rotation: Rotation,
        audit: AuditRecord,
    ) -> (Self, oneshot::Receiver<Result<Rotated, StoreError>>) {
        let (reply, outcome) = oneshot::channel();
        let turn = Self {
            deadline,
            rotation,
            audit,
            reply,
        };
        (turn, outcome)
    }

    fn answer(self, outcome: Result<Rotated, StoreError>) {
        // Whoever asked may have gone; what is committed stays so.
        drop(self.reply.send(outcome));
    }
}

/// The lane of rotations.
pub(super) struct Rotations(Lane<Turn>);

impl Rotations {
    /// Starts the lane; who has to wait goes to the patient one.
    pub(super) fn start(
        server: &Server,
        patient: Arc<Lane<Job>>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let links = Links::new(server, THREADS, Locks::Shunned, Plans::Once);
        let crew = Crew {
            name: "store-rotations",
            threads: THREADS,
            queue: options.queue,
            batch: MAX_TURNS,
        };
        let tally = Arc::clone(links.tally());
        Lane::paced(crew, PACE, tally, move |turns| rotate(&links, turns, &patient)).map(Self)
    }

    /// Queues a turn, or says at once why not.
    pub(super) fn submit(&self, turn: Turn) -> Result<(), StoreError> {
        self.0.submit(turn)
    }

    /// What is counted of them.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        self.0.tally()
    }

    /// Lets nothing more in, and waits until what is in is done.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

/// Carries turns out together, and sends those that must wait for somebody to where waiting disturbs nobody.
fn rotate(links: &Links, turns: Vec<Turn>, patient: &Lane<Job>) {
    // Nothing has begun: whoever has gone finds the token as it was.
    let turns = turns.into_iter().filter(|turn| !turn.reply.is_closed());
    let (late, turns): (Vec<_>, Vec<_>) = turns.partition(|turn| turn.deadline.has_come());
    links.tally().time_out(late.len());
    for turn in late {
        turn.answer(Err(StoreError::Late));
    }
    let Some(first) = turns.first() else { return };
    let outcomes = match settle(links, &turns, Locked::PassedOver, first.deadline) {
        Ok(outcomes) => outcomes,
        Err(error) => return fail(turns, &error),
    };
    let placed = outcomes.iter().filter(|took| matches!(took, Took::Place));
    links.tally().commit(placed.count());
    for (turn, took) in turns.into_iter().zip(outcomes) {
        match took {
            Took::Place => turn.answer(Ok(Rotated::Rotated)),
            Took::Nothing => turn.answer(Ok(Rotated::Superseded)),
            Took::NoTurn => hand_over(turn, patient),
        }
    }
}

fn fail(turns: Vec<Turn>, error: &StoreError) {
    tracing::error!(event_type = "database", cause = %error, rotations = turns.len(), "rotations failed");
    for turn in turns {
        turn.answer(Err(StoreError::NotCommitted(error.to_string())));
    }
}

/// Has one turn wait, or tells whoever waits for it why it can't.
fn hand_over(turn: Turn, patient: &Lane<Job>) {
    // The lane gives nothing back that it does not take.
    let turn = Arc::new(Mutex::new(Some(turn)));
    let waiting = Arc::clone(&turn);
    let submitted = patient.submit(Box::new(move |links| {
        if let Some(turn) = take(&waiting) {
            wait(links, turn);
        }
    }));
    if let Err(refused) = submitted
        && let Some(turn) = take(&turn)
    {
        turn.answer(Err(refused));
    }
}

fn take(turn: &Mutex<Option<Turn>>) -> Option<Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Carries one turn out, after whoever is changing its chain.
fn wait(links: &Links, turn: Turn) {
    let turns = [turn];
    let [Turn { deadline, reply, .. }] = &turns;
    let deadline = *deadline;
    let outcome = loop {
        // Whoever has gone finds the token as it is: as it was, unless a try has done it whose answer was lost.
        if reply.is_closed() || deadline.has_come() {
            break Err(StoreError::Late);
        }
        match settle(links, &turns, Locked::WaitedFor, deadline).as_deref() {
            Ok([Took::Place]) => break Ok(Rotated::Rotated),
            // The chain was changed between the statement's beginning and its update.
            Ok([Took::NoTurn]) => {}
            Ok(_) => break Ok(Rotated::Superseded),
            Err(error) => {
                tracing::error!(event_type = "database", cause = %error, "a rotation that had to wait failed");
                break Err(StoreError::NotCommitted(error.to_string()));
            }
        }
    };
    let [turn] = turns;
    turn.answer(outcome);
}

/// Runs a statement until it is known what became of it: it may be run as often as need be.
fn settle(
    links: &Links,
    turns: &[Turn],
    locked: Locked,
    deadline: Deadline,
) -> Result<Vec<Took>, StoreError> {
    again(links, deadline, |link| {
        let mut statement = Turns::none(locked);
        for turn in turns {
            if let Err(fault) = statement.push(&turn.rotation, &turn.audit) {
                return Attempt::Settled(Err(fault));
            }
        }
        Attempt::of(statement.run(link.conn()))
    })
}

#[cfg(test)]
mod tests {
    use auth_domain::audit::AuditEvent;
    use auth_testkit::build;
    use auth_testkit::clock::START;
    use auth_testkit::server::Database;

    use super::*;
    use crate::DatabaseUrl;

    fn turn() -> (Turn, oneshot::Receiver<Result<Rotated, StoreError>>) {
        let rotation = Rotation {
            session_id: build::session_id("s"),
            from: build::jti_hash("s/0"),
            to: build::token_row("s/1", START),
        };
        let audit = build::audit("gone", AuditEvent::PasswordChange {});
        Turn::new(Deadline::after(Duration::from_mins(1)), rotation, audit)
    }

    #[test]
    fn nothing_is_rotated_for_whoever_has_gone_before_it_was_begun() {
        let database = Database::new();
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&database.url()) else {
            panic!("a PostgreSQL URL");
        };
        let server = Server::new(&url, StoreOptions::default());
        let links = Links::new(&server, THREADS, Locks::Shunned, Plans::Once);
        let crew = Crew {
            name: "patient",
            threads: 1,
            queue: 1,
            batch: 1,
        };
        let patient = Lane::staffed(crew, Arc::default(), |_: Vec<Job>| {}).unwrap();
        let ((one, _), (another, _)) = (turn(), turn());
        rotate(&links, vec![one], &patient);
        wait(&links, another);
        assert_eq!(links.tally().idle(None), 0, "no connection was made for it");
    }
}
