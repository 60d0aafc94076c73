//! What this instance hears of clients that others have changed, through Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auth_domain::ports::Unavailable;
use auth_redis::{Announcements, Subscription};

use super::CachedClients;
use crate::telemetry;

/// How long to wait before listening again, after the link was lost.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Hears of changes, and has the cache take notice. Its copies are the same.
///
/// While nothing can be heard the cache goes on by the lifetime of what it holds; from the moment that it can be heard
/// again nothing counts that was remembered before, since what was said meanwhile is lost.
#[derive(Clone)]
pub struct ClientNews {
    announcements: Announcements,
    cache: CachedClients,
    is_lost: Arc<AtomicBool>,
}

impl ClientNews {
    /// Prepares to hear; see [`ClientNews::follow`].
    pub fn new(announcements: Announcements, cache: CachedClients) -> Self {
        Self {
            announcements,
            cache,
            is_lost: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Listens until it is dropped or aborted, again and again where the link is lost.
    pub async fn follow(self) {
        loop {
            let outage = match self.announcements.subscribe().await {
                Ok(subscription) => self.listen(subscription).await,
                Err(outage) => outage,
            };
            self.lose(&outage);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Whether changes are heard of, as far as is known; before the first try, nothing speaks against it.
    pub fn is_heard(&self) -> bool {
        !self.is_lost.load(Ordering::Relaxed)
    }

    async fn listen(&self, subscription: Subscription) -> Unavailable {
        // Not before it is listened: a change that comes in between would never be heard of.
        self.cache.start_over();
        self.is_lost.store(false, Ordering::Relaxed);
        tracing::info!(
            event_type = "redis",
            "changes of clients are heard of through Redis"
        );
        subscription
            .hear(|announcement| self.cache.take_notice(&announcement))
            .await
    }

    /// Says so once, and not at each try.
    fn lose(&self, outage: &Unavailable) {
        if self.is_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            event_type = "redis",
            operation = outage.what,
            cause = telemetry::causes(outage),
            "changes of clients are not heard of; they are noticed within CLIENT_CACHE_LIFETIME"
        );
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::client::Client;
    use auth_domain::ports::Clients as _;
    use auth_domain::time::Seconds;
    use auth_redis::{Announcement, RedisUrl};
    use auth_testkit::MockClock;
    use auth_testkit::build::{client_id, public_client};
    use auth_testkit::fake::FakeStore;
    use auth_testkit::server::RedisServer;
    use tokio::task::JoinHandle;
    use tokio::time::{MissedTickBehavior, interval, timeout};

    use super::*;

    /// Longer than any test takes.
    const AMPLE: Duration = Duration::from_secs(20);
    const CLIENT: &str = "some-client";

    /// A Redis, and what is said there.
    fn announcements(server: &RedisServer, limit: Duration) -> Announcements {
        Announcements::new(RedisUrl::parse(&server.url()).unwrap(), limit).unwrap()
    }

    /// One of several instances over a store, whose clock stands still: nothing expires.
    struct Instance {
        cache: CachedClients,
        news: ClientNews,
        task: JoinHandle<()>,
    }

    impl Instance {
        fn start(store: &FakeStore, announcements: Announcements) -> Self {
            let (clients, clock) = (Arc::new(store.clone()), Arc::new(MockClock::default()));
            let cache = CachedClients::around(clients, clock, Seconds::new(300));
            let news = ClientNews::new(announcements, cache.clone());
            let task = tokio::spawn(news.clone().follow());
            Self { cache, news, task }
        }

        async fn name(&self) -> String {
            let found = self.cache.find(&client_id(CLIENT)).await.unwrap();
            found.unwrap().name
        }
    }

    impl Drop for Instance {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    fn put(store: &FakeStore, name: &str) {
        store.put_client(Client {
            name: name.to_owned(),
            ..public_client(CLIENT)
        });
    }

    /// Tells of the client's change, and waits until so many have been told.
    async fn announce(announcements: &Announcements, listeners: u64) {
        let told = Announcement::Client(client_id(CLIENT));
        until(async || {
            announcements
                .announce(&told)
                .await
                .is_ok_and(|heard| heard == listeners)
        })
        .await;
    }

    /// Looks again and again, as nobody tells when it has come.
    async fn until(has_come: impl AsyncFn() -> bool) {
        let mut tick = interval(Duration::from_millis(5));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let come = async {
            while !has_come().await {
                tick.tick().await;
            }
        };
        timeout(AMPLE, come).await.unwrap();
    }

    #[tokio::test]
    async fn two_instances_see_a_change_as_soon_as_it_is_told() {
        let (server, store) = (RedisServer::start(), FakeStore::default());
        let announcements = announcements(&server, AMPLE);
        let pair = [(); 2].map(|()| Instance::start(&store, announcements.clone()));
        put(&store, "old");
        announce(&announcements, 2).await;
        for round in 0..10 {
            for instance in &pair {
                instance.name().await;
            }
            let name = format!("change {round}");
            put(&store, &name);
            announce(&announcements, 2).await;
            for instance in &pair {
                until(async || instance.name().await == name).await;
                assert!(instance.news.is_heard());
            }
        }
    }

    #[tokio::test]
    async fn a_change_that_was_missed_is_seen_once_redis_is_back() {
        let (mut server, store) = (RedisServer::start(), FakeStore::default());
        let announcements = announcements(&server, AMPLE);
        let instance = Instance::start(&store, announcements.clone());
        announce(&announcements, 1).await;
        put(&store, "old");
        assert_eq!(instance.name().await, "old");
        server.kill();
        until(async || !instance.news.is_heard()).await;
        put(&store, "new");
        assert_eq!(instance.name().await, "old", "nobody could tell");
        server.start_again();
        until(async || instance.name().await == "new").await;
        assert!(instance.news.is_heard());
        put(&store, "newer");
        announce(&announcements, 1).await;
        until(async || instance.name().await == "newer").await;
    }

    #[tokio::test]
    async fn a_change_that_a_dead_link_has_swallowed_is_seen_once_the_link_lives() {
        let (server, store) = (RedisServer::start(), FakeStore::default());
        let instance = Instance::start(&store, announcements(&server, Duration::from_secs(1)));
        announce(&announcements(&server, AMPLE), 1).await;
        put(&store, "old");
        assert_eq!(instance.name().await, "old");
        server.pause();
        put(&store, "new");
        until(async || !instance.news.is_heard()).await;
        assert_eq!(instance.name().await, "old", "nobody could tell");
        server.resume();
        until(async || instance.name().await == "new").await;
    }

    #[tokio::test]
    async fn an_instance_starts_without_its_redis_and_hears_of_changes_once_it_is_there() {
        let (mut server, store) = (RedisServer::start(), FakeStore::default());
        server.kill();
        let announcements = announcements(&server, AMPLE);
        let instance = Instance::start(&store, announcements.clone());
        until(async || !instance.news.is_heard()).await;
        put(&store, "old");
        assert_eq!(instance.name().await, "old");
        server.start_again();
        announce(&announcements, 1).await;
        put(&store, "new");
        announce(&announcements, 1).await;
        until(async || instance.name().await == "new").await;
    }
}
