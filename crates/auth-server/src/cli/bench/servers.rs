//! How far away the servers are that this one asks: PostgreSQL and Redis. Nothing is stored on either.

use std::time::Duration;

use auth_domain::ports::Unavailable;
use auth_redis::Line as RedisLine;
use auth_storage::{Line as PostgresLine, PostgresUrl};
use serde_json::{Value, json};

use super::estimate::Commits;
use super::stopwatch::{Limit, Spread, each};
use crate::cli::failure::Failure;
use crate::compose::StartError;
use crate::settings::Redis;

/// Longer than requests wait for Redis: how far away it is is asked here.
const PATIENCE: Duration = Duration::from_secs(3);

/// Each commit leaves some hundred bytes in the log, which archives and standbys keep too.
const COMMITS: usize = 2_000;

/// How far away a PostgreSQL server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Postgres {
    /// Until it answers.
    pub(super) answer: Spread,
    /// Until it has committed.
    pub(super) commit: Spread,
}

impl Postgres {
    /// The same for programs.
    pub(super) fn view(&self) -> Value {
        json!({ "kind": "postgresql", "answer": self.answer.view(), "commit": self.commit.view() })
    }

    /// The same for estimates: a refresh reads its session, then commits. What that costs the server is not known here.
    pub(super) const fn commits(&self) -> Commits {
        Commits {
            storing: None,
            wait: self.answer.p50.saturating_add(self.commit.p50),
        }
    }
}

/// Asks a PostgreSQL server for so long, and has it commit nothing for as long.
///
/// # Errors
/// Where it can't be reached, or does not commit.
pub(super) async fn measure_postgres(url: &PostgresUrl, long: Duration) -> Result<Postgres, Failure> {
    let mut line = PostgresLine::open(url).map_err(StartError::Store)?;
    let answers = each(Limit::of(long), async || line.ask()).await?;
    let commits = each(Limit::of(long).at_most(COMMITS), async || line.commit()).await?;
    Ok(Postgres {
        answer: Spread::of(answers).ok_or_else(nothing)?,
        commit: Spread::of(commits).ok_or_else(nothing)?,
    })
}

/// Asks Redis for so long.
///
/// # Errors
/// Where it does not answer.
pub(super) async fn measure_redis(redis: &Redis, long: Duration) -> Result<Spread, Failure> {
    let away = |outage: Unavailable| {
        Failure::from(outage).advise(
            "Start it, or correct AUTH_SERVICE__REDIS_URL. Until then each instance counts for itself, and limits hold for \
             each.",
        )
    };
    let mut line = RedisLine::open(&redis.url, PATIENCE).await.map_err(away)?;
    let answers = each(Limit::of(long), async || line.ping().await)
        .await
        .map_err(away)?;
    Spread::of(answers).ok_or_else(nothing)
}

/// Something is always timed.
pub(super) fn nothing() -> Failure {
    Failure::refused("nothing was timed")
}
