//! Rotations in company: what waits while a statement is under way goes into the next one, all of it.
//!
//! One round trip and one flush of the log serve as many chains as have come meanwhile, so a busy server writes in
//! larger statements and not in more of them. Nothing is acknowledged before its statement, which is a transaction, is
//! durable.

use std::time::{Duration, Instant};

use auth_domain::audit::AuditRecord;
use auth_domain::session::{Rotated, Rotation};
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::links::Links;
use super::statement::Turns;
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::{Crew, Lane};

/// The most rotations in one statement.
const MAX_TURNS: usize = 256;
/// While one statement waits for somebody's lock, the other goes on.
pub(super) const THREADS: u32 = 2;
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

/// Starts the lane.
pub(super) fn start(links: Links, options: StoreOptions) -> Result<Lane<Turn>, StoreError> {
    let crew = Crew {
        name: "store-rotations",
        threads: THREADS,
        queue: options.queue,
        batch: MAX_TURNS,
    };
    Lane::staffed(crew, move |turns| run(&links, turns, options.patience))
}

fn run(links: &Links, turns: Vec<Turn>, patience: Duration) {
    let (late, turns): (Vec<_>, Vec<_>) = turns
        .into_iter()
        .partition(|turn| turn.since.elapsed() > patience);
    for turn in late {
        turn.answer(Err(StoreError::Late));
    }
    if turns.is_empty() {
        return;
    }
    match rotate(links, &turns, patience) {
        Ok(outcomes) => {
            for (turn, outcome) in turns.into_iter().zip(outcomes) {
                turn.answer(Ok(outcome));
            }
        }
        // One of them may be what the others fail for: a row that is locked, say.
        Err(error) if turns.len() > 1 && !error.is_of_the_connection() => {
            for turn in turns {
                run(links, vec![turn], patience);
            }
        }
        Err(error) => fail(turns, &error),
    }
}

fn fail(turns: Vec<Turn>, error: &StoreError) {
    tracing::error!(%error, rotations = turns.len(), "rotations failed");
    for turn in turns {
        turn.answer(Err(StoreError::NotCommitted(error.to_string())));
    }
}

/// Runs a statement until it is known what became of it: it may be run as often as need be.
fn rotate(links: &Links, turns: &[Turn], patience: Duration) -> Result<Vec<Rotated>, StoreError> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut link = links.take()?;
        let done = once(&mut link, turns);
        let Err(error) = done else { return done };
        if error.is_of_the_connection() {
            link.discard();
        }
        if tries >= TRIES || begun.elapsed() > patience || !error.may_pass() {
            return Err(error);
        }
    }
}

fn once(link: &mut super::links::Link, turns: &[Turn]) -> Result<Vec<Rotated>, StoreError> {
    let mut statement = Turns::default();
    for turn in turns {
        statement.push(&turn.rotation, &turn.audit)?;
    }
    let places: Vec<i64> = statement.load(link.conn())?;
    let mut outcomes = vec![Rotated::Superseded; turns.len()];
    for place in places {
        let index = usize::try_from(place - 1).ok();
        if let Some(outcome) = index.and_then(|index| outcomes.get_mut(index)) {
            *outcome = Rotated::Rotated;
        }
    }
    Ok(outcomes)
}
