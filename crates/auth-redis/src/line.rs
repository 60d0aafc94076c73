//! A connection to Redis that can be asked for a sign of life over and over, for whoever times the way there.

use std::time::Duration;

use auth_domain::ports::Unavailable;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisError, cmd};

use crate::url::RedisUrl;

/// An open connection. Nothing is read or written over it.
pub struct Line(MultiplexedConnection);

impl Line {
    /// Connects. Neither this nor a later answer is waited for beyond the limit.
    ///
    /// # Errors
    /// Where Redis can't be reached in time, or lets nobody in.
    pub async fn open(url: &RedisUrl, limit: Duration) -> Result<Self, Unavailable> {
        connect(url, limit)
            .await
            .map(Self)
            .map_err(|error| Unavailable::new("connect to Redis", error))
    }

    /// Asks for a sign of life, and waits for it.
    ///
    /// # Errors
    /// Where there is none in time.
    pub async fn ping(&mut self) -> Result<(), Unavailable> {
        cmd("PING")
            .query_async(&mut self.0)
            .await
            .map_err(|error| Unavailable::new("ask Redis for a sign of life", error))
    }
}

/// Opens a connection, none of whose answers is waited for beyond the limit.
pub(crate) async fn connect(url: &RedisUrl, limit: Duration) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    Client::open(url.clone().into_info())?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

#[cfg(test)]
mod tests {
    use auth_testkit::server::RedisServer;

    use super::*;

    #[tokio::test]
    async fn a_redis_gives_signs_of_life_until_it_is_gone_and_holds_nothing_then() {
        let mut redis = RedisServer::start();
        let url = RedisUrl::parse(&redis.url()).unwrap();
        let limit = Duration::from_secs(5);
        let mut line = Line::open(&url, limit).await.unwrap();
        for _ in 0..3 {
            line.ping().await.unwrap();
        }
        assert!(redis.tell("DBSIZE").unwrap().starts_with(":0\r\n"));
        redis.kill();
        line.ping().await.unwrap_err();
        assert!(Line::open(&url, limit).await.is_err());
    }
}
