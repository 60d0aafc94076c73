//! Connections, each of which is known to lead to the same Redis process as all others.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, cmd};
use deadpool_redis::{Hook, HookError, Manager, Pool, Runtime};

use crate::url::RedisUrl;

/// So many are open at most; calls beyond that wait, within their time limit.
const CONNECTIONS: usize = 16;

/// Which process the connections lead to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Incarnation(Arc<Mutex<Met>>);

#[derive(Debug, Default)]
struct Met {
    meeting: Meeting,
    /// The name that Redis gives itself at each start; `None` until a connection has been made.
    run_id: Option<String>,
}

/// A stretch of time in which all calls go to one Redis process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meeting(u64);

impl Meeting {
    /// Its number: later ones have higher ones, and none has 0.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The meeting of that number.
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

impl Incarnation {
    /// The meeting that goes on.
    pub(crate) fn meeting(&self) -> Meeting {
        self.with(|met| met.meeting)
    }

    /// Begins another, with whatever process comes next.
    pub(crate) fn meet(&self) -> Meeting {
        self.with(|met| {
            met.meeting = Meeting(met.meeting.0 + 1);
            met.run_id = None;
            met.meeting
        })
    }

    /// Whether a process is the one that is known; the first is.
    fn admits(&self, run_id: &str) -> bool {
        self.with(|met| met.run_id.get_or_insert_with(|| run_id.to_owned()) == run_id)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Met) -> T) -> T {
        // Nothing in here panics half way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Connections to a Redis; opens none yet.
pub(crate) fn pool(
    url: RedisUrl,
    limit: Duration,
    incarnation: &Incarnation,
) -> Result<Pool, Box<dyn Error + Send + Sync>> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    let manager = Manager::new_with_config(url.into_info(), config)?;
    let incarnation = incarnation.clone();
    let check = Hook::async_fn(move |connection, _| {
        let incarnation = incarnation.clone();
        Box::pin(async move { check(connection, &incarnation).await })
    });
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS)
        .wait_timeout(Some(limit))
        .create_timeout(Some(limit))
        .recycle_timeout(Some(limit))
        .runtime(Runtime::Tokio1)
        .post_create(check)
        .build()?;
    Ok(pool)
}

async fn check(connection: &mut MultiplexedConnection, incarnation: &Incarnation) -> Result<(), HookError> {
    let told: String = cmd("INFO")
        .arg("server")
        .query_async(connection)
        .await
        .map_err(HookError::Backend)?;
    let run_id = told.lines().find_map(|line| line.strip_prefix("run_id:"));
    let run_id = run_id.ok_or_else(|| HookError::message("INFO names no run_id"))?;
    if incarnation.admits(run_id) {
        Ok(())
    } else {
        Err(HookError::message(
            "this is not the Redis process that counted so far",
        ))
    }
}
