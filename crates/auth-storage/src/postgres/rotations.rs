//! Rotations in company: what waits while a statement is under way goes into the next one, all of it.
//!
//! One round trip and one flush of the log serve as many chains as have come meanwhile, so a busy server writes in
//! larger statements and not in more of them. Nothing is acknowledged before its statement, which is a transaction, is
//! durable. A chain that somebody else is changing at the moment keeps none of the others: it waits in a lane of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_domain::audit::AuditRecord;
use auth_domain::session::{Rotated, Rotation};
use tokio::sync::oneshot;

use super::links::{Link, Links};
use super::statement::{Locked, Took, Turns};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::{Crew, Lane};

/// The most rotations in one statement.
const MAX_TURNS: usize = 256;
/// While one statement waits for its commit, the next is under way.
const THREADS: u32 = 2;
/// So many chains wait for somebody's change at a time.
const WAITING_THREADS: u32 = 2;
/// How many connections that takes.
pub(super) const CONNECTIONS: u32 = THREADS + WAITING_THREADS;
/// How often a statement is tried.
const TRIES: u32 = 3;

/// A rotation, and somebody who waits for it.
pub(super) struct Turn {
    since: Instant,
    rotation: Rotation,
    audit: AuditRecord,
    reply: oneshot::Sender<Result<Rotated, StoreError>>,
}

impl Turn {
    /// The turn, and where its outcome will arrive.
    pub(super) fn new(
        rotation: Rotation,
        audit: AuditRecord,
    ) -> (Self, oneshot::Receiver<Result<Rotated, StoreError>>) {
        let (reply, outcome) = oneshot::channel();
        let turn = Self {
            since: Instant::now(),
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

/// The lanes of rotations.
pub(super) struct Rotations {
    prompt: Lane<Turn>,
    patient: Arc<Lane<Turn>>,
}

impl Rotations {
    /// Starts the lanes.
    pub(super) fn start(links: &Links, options: StoreOptions) -> Result<Self, StoreError> {
        let crew = |name, threads, batch| Crew {
            name,
            threads,
            queue: options.queue,
            batch,
        };
        let patience = options.patience;
        let own = links.clone();
        let patient = Lane::staffed(crew("store-waiting", WAITING_THREADS, 1), move |turns| {
            for turn in in_time(turns, patience) {
                wait(&own, turn, patience);
            }
        })?;
        let (own, patient) = (links.clone(), Arc::new(patient));
        let waiting = Arc::clone(&patient);
        let prompt = Lane::staffed(crew("store-rotations", THREADS, MAX_TURNS), move |turns| {
            rotate(&own, in_time(turns, patience), &waiting, patience);
        })?;
        Ok(Self { prompt, patient })
    }

    /// Queues a turn, or says at once why not.
    pub(super) fn submit(&self, turn: Turn) -> Result<(), StoreError> {
        self.prompt.submit(turn)
    }

    /// Lets nothing more in, and waits until what is in is done.
    pub(super) fn close(&self) {
        self.prompt.close();
        self.patient.close();
    }
}

/// Refuses those that have waited for too long.
fn in_time(turns: Vec<Turn>, patience: Duration) -> Vec<Turn> {
    let (late, turns): (Vec<_>, Vec<_>) = turns
        .into_iter()
        .partition(|turn| turn.since.elapsed() > patience);
    for turn in late {
        turn.answer(Err(StoreError::Late));
    }
    turns
}

/// Carries turns out together, and sends those that must wait for somebody to where waiting disturbs nobody.
fn rotate(links: &Links, turns: Vec<Turn>, patient: &Lane<Turn>, patience: Duration) {
    if turns.is_empty() {
        return;
    }
    let outcomes = match settle(links, &turns, Locked::PassedOver, patience) {
        Ok(outcomes) => outcomes,
        Err(error) => return fail(turns, &error),
    };
    for (turn, took) in turns.into_iter().zip(outcomes) {
        match took {
            Took::Place => turn.answer(Ok(Rotated::Rotated)),
            Took::Nothing => turn.answer(Ok(Rotated::Superseded)),
            // A lane that is closed or full drops the turn, and whoever waits for it hears that.
            Took::NoTurn => drop(patient.submit(turn)),
        }
    }
}

/// Carries one turn out, after whoever is changing its chain.
fn wait(links: &Links, turn: Turn, patience: Duration) {
    let turns = [turn];
    let outcome = loop {
        match settle(links, &turns, Locked::WaitedFor, patience).as_deref() {
            Ok([Took::Place]) => break Ok(Rotated::Rotated),
            // The chain was changed between the statement's beginning and its update.
            Ok([Took::NoTurn]) => {}
            Ok(_) => break Ok(Rotated::Superseded),
            Err(error) => {
                tracing::error!(%error, "a rotation that had to wait failed");
                break Err(StoreError::NotCommitted(error.to_string()));
            }
        }
    };
    let [turn] = turns;
    turn.answer(outcome);
}

fn fail(turns: Vec<Turn>, error: &StoreError) {
    tracing::error!(%error, rotations = turns.len(), "rotations failed");
    for turn in turns {
        turn.answer(Err(StoreError::NotCommitted(error.to_string())));
    }
}

/// Runs a statement until it is known what became of it: it may be run as often as need be.
fn settle(
    links: &Links,
    turns: &[Turn],
    locked: Locked,
    patience: Duration,
) -> Result<Vec<Took>, StoreError> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut link = links.take()?;
        let done = run(&mut link, turns, locked);
        let Err(error) = done else { return done };
        if error.is_of_the_connection() {
            link.discard();
        }
        if tries >= TRIES || begun.elapsed() > patience || !error.may_pass() {
            return Err(error);
        }
    }
}

fn run(link: &mut Link, turns: &[Turn], locked: Locked) -> Result<Vec<Took>, StoreError> {
    let mut statement = Turns::none(locked);
    for turn in turns {
        statement.push(&turn.rotation, &turn.audit)?;
    }
    statement.run(link.conn())
}
