//! What was measured and what it lets expect, for programs; [`people`] has the same for people.

use serde_json::{Value, json};

use super::commits::Sqlite;
use super::estimate::{Commits, Machine, refresh_alone, refreshes_of_all, refreshes_of_one_core, sign_ins};
use super::hashing::Hashing;
use super::people;
use super::servers::Postgres;
use super::signing::Signing;
use super::stopwatch::{Spread, millis};
use crate::cli::failure::Failure;
use crate::cli::output::{Ending, Report};

/// What a part is called, in the table and in JSON.
pub(super) const SIGNING: &str = "signing";
pub(super) const PASSWORDS: &str = "passwords";
pub(super) const DATABASE: &str = "database";
pub(super) const REDIS: &str = "redis";

/// What was measured; of each part that could not be, why.
pub(super) struct Measured {
    /// For how long each.
    pub(super) seconds: f64,
    /// On what.
    pub(super) machine: Machine,
    /// Signatures.
    pub(super) signing: Result<Signing, Failure>,
    /// Passwords.
    pub(super) hashing: Result<Hashing, Failure>,
    /// The database, or what can be had in its place.
    pub(super) database: Result<Database, Failure>,
    /// Redis; `None` where none is set.
    pub(super) redis: Option<Result<Spread, Failure>>,
}

/// What a database came to.
pub(super) enum Database {
    /// A file on this machine.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

impl Database {
    fn view(&self) -> Value {
        match self {
            Self::Sqlite(sqlite) => sqlite.view(),
            Self::Postgres(postgres) => postgres.view(),
        }
    }

    fn commits(&self) -> Commits {
        match self {
            Self::Sqlite(sqlite) => sqlite.commits(),
            Self::Postgres(postgres) => postgres.commits(),
        }
    }
}

impl Measured {
    /// The answer of the command; the exit code says whether all could be measured.
    pub(super) fn report(&self) -> Report {
        let ending = if self.failures().next().is_none() {
            Ending::Good
        } else {
            Ending::Bad
        };
        Report {
            ending,
            marks: people::MARKS,
            ..Report::new(people::text(self), self.view())
        }
    }

    /// The parts that could not be measured, and why.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, &Failure)> {
        let failures = [
            (SIGNING, self.signing.as_ref().err()),
            (PASSWORDS, self.hashing.as_ref().err()),
            (DATABASE, self.database.as_ref().err()),
            (REDIS, self.redis.as_ref().and_then(|redis| redis.as_ref().err())),
        ];
        failures
            .into_iter()
            .filter_map(|(part, failure)| Some((part, failure?)))
    }

    /// What the database makes of a refresh, where it could be measured.
    pub(super) fn commits(&self) -> Option<Commits> {
        self.database.as_ref().ok().map(Database::commits)
    }

    fn view(&self) -> Value {
        let redis = self.redis.as_ref().and_then(|redis| redis.as_ref().ok());
        let failures = self.failures().map(|(part, failure)| {
            let (error, advice) = failure.clone().into_parts();
            json!({ "part": part, "error": error, "advice": advice })
        });
        json!({
            "seconds": self.seconds,
            "machine": {
                "cores": self.machine.cores,
                "workers": self.machine.workers,
                "is_optimised": !cfg!(debug_assertions),
            },
            SIGNING: self.signing.as_ref().ok().map(Signing::view),
            PASSWORDS: self.hashing.as_ref().ok().map(Hashing::view),
            DATABASE: self.database.as_ref().ok().map(Database::view),
            REDIS: redis.map(|answer| json!({ "answer": answer.view() })),
            "estimate": self.estimate(),
            "failures": failures.collect::<Vec<_>>(),
        })
    }

    fn estimate(&self) -> Value {
        let (signing, hashing) = (self.signing.as_ref().ok(), self.hashing.as_ref().ok());
        let commits = self.commits();
        let alone = |(signing, commits)| millis(refresh_alone(signing, commits));
        json!({
            "refreshes_per_second_of_one_core": signing.map(|signing| refreshes_of_one_core(signing, commits)),
            "refreshes_per_second": signing.map(|signing| refreshes_of_all(signing, commits, self.machine)),
            "refresh_alone_ms": signing.zip(commits).map(alone),
            "sign_ins_per_second": hashing.map(|hashing| sign_ins(hashing, self.machine)),
        })
    }
}
