//! What the parts of the server know of themselves, published when somebody asks.

use auth_domain::time::Timestamp;
use auth_jwt::KeyFigures;
use auth_storage::PoolFigures;

use super::meters;

/// Publishes how many connections are open on the main listener.
pub fn connections(open: usize) {
    metrics::gauge!(meters::CONNECTIONS).set(number(open));
}

/// Publishes how many it lets in.
pub fn connections_max(most: usize) {
    metrics::gauge!(meters::CONNECTIONS_MAX).set(number(most));
}

/// Publishes how many requests about tokens are being worked on.
pub fn in_hand(requests: usize) {
    metrics::gauge!(meters::IN_HAND).set(number(requests));
}

/// Publishes how many all workers take.
pub fn in_hand_max(most: usize) {
    metrics::gauge!(meters::IN_HAND_MAX).set(number(most));
}

/// Publishes that the process is about to stop.
pub fn stopping() {
    metrics::gauge!(meters::STOPPING).set(1.0);
}

/// Publishes whether the database answers.
pub fn database_up(is_up: bool) {
    metrics::gauge!(meters::DATABASE_UP).set(truth(is_up));
}

/// Publishes whether its replica answers.
pub fn replica_up(is_up: bool) {
    metrics::gauge!(meters::REPLICA_UP).set(truth(is_up));
}

/// Publishes what the connections to the database are doing.
pub fn database(pools: &[PoolFigures]) {
    for figures in pools {
        let pool = figures.pool.as_str();
        let connections = |state| metrics::gauge!(meters::POOL_CONNECTIONS, "pool" => pool, "state" => state);
        connections("busy").set(count(figures.busy));
        if let Some(idle) = figures.idle {
            connections("idle").set(count(idle));
        }
        metrics::gauge!(meters::POOL_MAX, "pool" => pool).set(count(figures.max));
        metrics::gauge!(meters::POOL_WAITING, "pool" => pool).set(count(figures.waiting));
        metrics::counter!(meters::POOL_TIMEOUTS, "pool" => pool).absolute(figures.timeouts);
        metrics::counter!(meters::POOL_REFUSED, "pool" => pool).absolute(figures.refused);
        if let Some(groups) = figures.groups {
            metrics::counter!(meters::COMMITS, "pool" => pool).absolute(groups.commits);
            metrics::counter!(meters::COMMITTED_WRITES, "pool" => pool).absolute(groups.writes);
        }
    }
}

/// Publishes what the signing keys are doing.
pub fn keys(figures: KeyFigures, now: Timestamp) {
    for (state, keys) in [
        ("published", figures.published),
        ("active", figures.active),
        ("retiring", figures.retiring),
    ] {
        metrics::gauge!(meters::KEYS, "state" => state).set(number(keys));
    }
    if let Some(since) = figures.active_since {
        let age = now.unix_seconds().saturating_sub(since.unix_seconds());
        metrics::gauge!(meters::KEY_AGE).set(seconds(age));
    }
    if let Some(until) = figures.active_until {
        metrics::gauge!(meters::KEY_END).set(seconds(until.unix_seconds()));
    }
}

/// Publishes whether the folder of keys can be followed.
pub fn key_directory(is_up: bool) {
    metrics::gauge!(meters::KEY_DIRECTORY_UP).set(truth(is_up));
}

fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn number(few: usize) -> f64 {
    f64::from(u32::try_from(few).unwrap_or(u32::MAX))
}

fn count(few: u64) -> f64 {
    f64::from(u32::try_from(few).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for the next hundred million years"
)]
const fn seconds(seconds: i64) -> f64 {
    seconds as f64
}
