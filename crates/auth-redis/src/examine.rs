//! Looks at a Redis from outside: which version it is, what time it has, and whether it keeps what it is told.

use std::time::Duration;

use auth_domain::ports::Unavailable;
use auth_domain::time::Timestamp;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisError, cmd};

use crate::line::connect;
use crate::url::RedisUrl;

/// What a Redis says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// Its time of day.
    pub clock: Timestamp,
    /// How many bytes it may take at most; 0 is as many as there are.
    pub most_memory: u64,
    /// What it does where it would take more, such as `noeviction`.
    pub eviction: String,
    /// Whether it follows another, and so takes no writes.
    pub is_replica: bool,
}

/// Asks a Redis about itself, and writes nothing. Takes no longer than the limit for each answer.
///
/// # Errors
/// Where it does not answer in time, or refuses to.
pub async fn examine(url: &RedisUrl, limit: Duration) -> Result<Examination, Unavailable> {
    ask(url, limit)
        .await
        .map_err(|error| Unavailable::new("ask Redis about itself", error))
}

async fn ask(url: &RedisUrl, limit: Duration) -> Result<Examination, RedisError> {
    let mut connection = connect(url, limit).await?;
    let server = info(&mut connection, "server").await?;
    let memory = info(&mut connection, "memory").await?;
    let replication = info(&mut connection, "replication").await?;
    let (seconds, micros): (i64, i64) = cmd("TIME").query_async(&mut connection).await?;
    let line = |text: &str, name: &str| member(text, name).unwrap_or_default().to_owned();
    Ok(Examination {
        version: line(&server, "redis_version"),
        clock: Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)),
        most_memory: line(&memory, "maxmemory").parse().unwrap_or_default(),
        eviction: line(&memory, "maxmemory_policy"),
        is_replica: member(&replication, "role") == Some("slave"),
    })
}

async fn info(connection: &mut MultiplexedConnection, section: &str) -> Result<String, RedisError> {
    cmd("INFO").arg(section).query_async(connection).await
}

/// What stands behind a name in an answer to INFO.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| (found == name).then(|| value.trim_end()))
}

#[cfg(test)]
mod tests {
    use auth_testkit::server::RedisServer;

    use super::*;

    #[tokio::test]
    async fn a_redis_tells_what_it_is_and_what_it_would_forget() {
        let redis = RedisServer::start();
        let url = RedisUrl::parse(&redis.url()).unwrap();
        let limit = Duration::from_secs(5);
        let found = examine(&url, limit).await.unwrap();
        assert!(found.version.starts_with(|first: char| first.is_ascii_digit()));
        assert_eq!((found.most_memory, found.is_replica), (0, false));
        redis.tell("CONFIG SET maxmemory 100mb").unwrap();
        redis.tell("CONFIG SET maxmemory-policy allkeys-lru").unwrap();
        let found = examine(&url, limit).await.unwrap();
        assert_eq!(found.most_memory, 100 << 20);
        assert_eq!(found.eviction, "allkeys-lru");
    }

    #[test]
    fn a_member_is_found_by_its_whole_name() {
        let text = "# Memory\r\nmaxmemory_human:0B\r\nmaxmemory:7\r\n";
        assert_eq!(member(text, "maxmemory"), Some("7"));
        assert_eq!(member(text, "memory"), None);
    }
}
