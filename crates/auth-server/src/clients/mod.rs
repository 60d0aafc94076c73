//! Clients that were found are remembered for some minutes: the port `Clients` where the store is across a network.
//!
//! A cache is a second truth, so it is told of changes ([`ClientNews`]), and what that can't reach has an end by
//! itself. What a stale client can still do until then stands in ADR 0019.

mod news;
mod shelf;
mod turns;

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::client::Client;
use auth_domain::id::ClientId;
use auth_domain::ports::{Clients, Clock, Unavailable};
use auth_domain::time::Seconds;
use auth_redis::Announcement;

use crate::telemetry::{self, CacheLookup, Invalidation};

pub use news::ClientNews;
use shelf::Shelf;
use turns::Turns;

/// So many clients are remembered at most: one to two megabytes.
const CAPACITY: usize = 1_024;

/// A store's clients, remembered. Its copies are the same.
///
/// Only what was found is kept, so that identifiers made up by strangers neither take room nor push anything out, and
/// a client that is created can be used at once.
#[derive(Clone)]
pub struct CachedClients {
    inner: Arc<Inner>,
}

struct Inner {
    clients: Arc<dyn Clients>,
    clock: Arc<dyn Clock>,
    shelf: Shelf,
    turns: Turns,
}

impl CachedClients {
    /// Remembers what a store finds, for so long.
    pub fn around(clients: Arc<dyn Clients>, clock: Arc<dyn Clock>, lifetime: Seconds) -> Self {
        Self {
            inner: Arc::new(Inner {
                clients,
                clock,
                shelf: Shelf::new(lifetime, CAPACITY),
                turns: Turns::default(),
            }),
        }
    }

    /// Takes notice of a change that has been committed: the next look-up asks the store.
    pub fn take_notice(&self, of: &Announcement) {
        match of {
            Announcement::Client(client_id) => {
                self.inner.shelf.forget(client_id);
                telemetry::cache_invalidated(Invalidation::Client);
            }
            Announcement::AnyClient => {
                self.inner.shelf.forget_all();
                telemetry::cache_invalidated(Invalidation::AnyClient);
            }
        }
    }

    /// Forgets everything, since changes may have been missed.
    fn start_over(&self) {
        self.inner.shelf.forget_all();
        telemetry::cache_invalidated(Invalidation::Subscribed);
    }
}

#[async_trait]
impl Clients for CachedClients {
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        if let Some(client) = self.inner.kept(client_id) {
            return Ok(Some(client));
        }
        let _turn = self.inner.turns.take(client_id).await;
        // Somebody else may have looked it up meanwhile.
        if let Some(client) = self.inner.kept(client_id) {
            return Ok(Some(client));
        }
        self.inner.look_up(client_id).await
    }
}

impl Inner {
    fn kept(&self, client_id: &ClientId) -> Option<Client> {
        let client = self.shelf.find(client_id, self.clock.now())?;
        telemetry::cache_asked(CacheLookup::Hit);
        Some(Client::clone(&client))
    }

    async fn look_up(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        let question = self.shelf.ask(self.clock.now());
        let found = self.clients.find(client_id).await?;
        match &found {
            Some(client) => {
                self.shelf.keep(question, client.clone());
                telemetry::cache_asked(CacheLookup::Miss);
            }
            None => telemetry::cache_asked(CacheLookup::Unknown),
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use auth_testkit::build::{self, client_id, public_client};
    use auth_testkit::fake::FakeStore;
    use auth_testkit::{MockClock, TestBed};
    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    const LIFETIME: Seconds = Seconds::new(300);

    /// A cache around a store, whose calls count the look-ups.
    fn cache_around(store: &FakeStore, clock: &MockClock) -> CachedClients {
        CachedClients::around(Arc::new(store.clone()), Arc::new(clock.clone()), LIFETIME)
    }

    fn named(name: &str) -> Client {
        Client {
            name: name.to_owned(),
            ..public_client("some-client")
        }
    }

    async fn name_in(clients: &CachedClients) -> Option<String> {
        let found = clients.find(&client_id("some-client")).await.unwrap();
        found.map(|client| client.name)
    }

    #[tokio::test]
    async fn a_client_is_looked_up_once_in_its_time() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        store.put_client(named("old"));
        for _ in 0..10 {
            assert_eq!(name_in(&cache).await.as_deref(), Some("old"));
        }
        assert_eq!(store.outage.calls(), 1);
        store.put_client(named("new"));
        assert_eq!(name_in(&cache).await.as_deref(), Some("old"));
        clock.advance(LIFETIME);
        assert_eq!(name_in(&cache).await.as_deref(), Some("new"));
    }

    #[tokio::test]
    async fn a_change_that_is_told_is_seen_by_the_next_look_up() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        for told in [
            Announcement::Client(client_id("some-client")),
            Announcement::AnyClient,
        ] {
            store.put_client(named("old"));
            cache.take_notice(&Announcement::AnyClient);
            assert_eq!(name_in(&cache).await.as_deref(), Some("old"));
            store.put_client(named("new"));
            cache.take_notice(&told);
            assert_eq!(name_in(&cache).await.as_deref(), Some("new"), "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_was_not_there_is_found_as_soon_as_it_is() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        assert_eq!(name_in(&cache).await, None);
        store.put_client(named("new"));
        assert_eq!(name_in(&cache).await.as_deref(), Some("new"));
    }

    #[tokio::test]
    async fn made_up_identifiers_push_no_client_out_and_take_no_room() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        store.put_client(named("real"));
        name_in(&cache).await;
        for number in 0..2 * CAPACITY {
            let unknown = cache
                .find(&client_id(&format!("unknown-{number}")))
                .await
                .unwrap();
            assert_eq!(unknown, None);
        }
        let before = store.outage.calls();
        name_in(&cache).await;
        assert_eq!(store.outage.calls(), before, "it is still remembered");
    }

    #[tokio::test]
    async fn an_outage_is_told_and_not_remembered() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        store.put_client(named("real"));
        store.outage.fail_nth(1);
        assert!(cache.find(&client_id("some-client")).await.is_err());
        assert_eq!(name_in(&cache).await.as_deref(), Some("real"));
    }

    #[tokio::test]
    async fn what_is_remembered_is_found_while_the_store_is_away() {
        let (store, clock) = (FakeStore::default(), MockClock::default());
        let cache = cache_around(&store, &clock);
        store.put_client(named("real"));
        name_in(&cache).await;
        store.outage.begin();
        assert_eq!(name_in(&cache).await.as_deref(), Some("real"));
    }

    /// A store that reads at once, and answers when it is let.
    struct Held {
        store: FakeStore,
        may_answer: Semaphore,
        /// How many look-ups are not held.
        free: AtomicU32,
    }

    impl Held {
        fn around(store: &FakeStore) -> Arc<Self> {
            Arc::new(Self {
                store: store.clone(),
                may_answer: Semaphore::new(0),
                free: AtomicU32::new(0),
            })
        }

        fn cache(self: &Arc<Self>) -> CachedClients {
            let clients: Arc<dyn Clients> = Arc::<Self>::clone(self);
            CachedClients::around(clients, Arc::new(MockClock::default()), LIFETIME)
        }

        fn is_free(&self) -> bool {
            let take_one = |left: u32| left.checked_sub(1);
            self.free
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one)
                .is_ok()
        }
    }

    #[async_trait]
    impl Clients for Held {
        async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
            let found = self.store.find(client_id).await;
            if !self.is_free() {
                self.may_answer.acquire().await.unwrap().forget();
            }
            found
        }
    }

    #[tokio::test]
    async fn many_who_want_one_client_at_once_cost_one_look_up() {
        let store = FakeStore::default();
        store.put_client(named("real"));
        let held = Held::around(&store);
        let cache = held.cache();
        let (names, ()) = tokio::join!(join_all((0..500).map(|_| name_in(&cache))), async {
            held.may_answer.add_permits(1);
        });
        assert!(names.iter().all(|name| name.as_deref() == Some("real")));
        assert_eq!(store.outage.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_holds_up_nobody_else() {
        let store = FakeStore::default();
        store.put_client(named("real"));
        let held = Held::around(&store);
        let cache = held.cache();
        let hanging = tokio::spawn({
            let cache = cache.clone();
            async move { name_in(&cache).await }
        });
        tokio::task::yield_now().await;
        held.free.store(1, Ordering::SeqCst);
        let answered = tokio::time::timeout(Duration::from_secs(1), name_in(&cache)).await;
        assert_eq!(answered.unwrap().as_deref(), Some("real"));
        assert!(!hanging.is_finished());
    }

    #[tokio::test]
    async fn a_value_read_before_a_change_was_told_is_not_remembered_after_it() {
        let store = FakeStore::default();
        store.put_client(named("old"));
        let held = Held::around(&store);
        let cache = held.cache();
        let (read, ()) = tokio::join!(name_in(&cache), async {
            store.put_client(named("new"));
            cache.take_notice(&Announcement::Client(client_id("some-client")));
            held.may_answer.add_permits(2);
        });
        assert_eq!(read.as_deref(), Some("old"));
        assert_eq!(name_in(&cache).await.as_deref(), Some("new"));
    }

    /// What a client can do on an instance that has not heard of its change (ADR 0019).
    mod stale {
        use auth_domain::audit::AuditEvent;
        use auth_domain::ports::admin::{Changed, ClientChange, ClientDirectory as _};
        use auth_domain::refusal::Refusal;
        use auth_domain::request::TokenRequest;
        use auth_domain::secret::{ClientSecret, ClientSecretHash};
        use auth_domain::token_service::{Answer, Outcome, Ports, TokenService, TokenSet};
        use auth_testkit::clock::START;

        use super::*;

        /// An instance with a cache that knows the confidential client, which has a session there.
        struct Instance {
            bed: TestBed,
            cache: CachedClients,
            session: TokenSet,
        }

        impl Instance {
            async fn with_session() -> Self {
                let bed = TestBed::without_limits();
                let cache = cache_around(&bed.store, &bed.clock);
                let answer = sign_in(&bed, &cache, build::BACKEND_SECRET).await;
                let session = granted(answer);
                Self { bed, cache, session }
            }

            async fn change(&self, change: ClientChange) {
                let audit = build::audit("change", AuditEvent::ClientUpdated {});
                let id = client_id(build::BACKEND);
                let changed = self.bed.store.change(&id, change, START, audit).await;
                assert_eq!(changed.unwrap(), Changed::Changed);
            }

            async fn sign_in(&self, secret: &str) -> Answer {
                sign_in(&self.bed, &self.cache, secret).await
            }

            async fn refresh(&self, secret: &str) -> Answer {
                let refresh_token = self.session.tokens.refresh.expose();
                let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
                ask(&self.bed, &self.cache, secret, &form).await
            }

            fn hear(&self) {
                self.cache
                    .take_notice(&Announcement::Client(client_id(build::BACKEND)));
            }
        }

        async fn sign_in(bed: &TestBed, cache: &CachedClients, secret: &str) -> Answer {
            let form = [
                ("grant_type", "password"),
                ("username", build::ALICE),
                ("password", build::ALICE_PASSWORD),
            ];
            ask(bed, cache, secret, &form).await
        }

        async fn ask(bed: &TestBed, cache: &CachedClients, secret: &str, form: &[(&str, &str)]) -> Answer {
            let ports = Ports {
                clients: Arc::new(cache.clone()),
                ..bed.ports()
            };
            let credentials = [("client_id", build::BACKEND), ("client_secret", secret)];
            let pairs = form.iter().chain(&credentials);
            let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let request = TokenRequest::parse(pairs, None).unwrap();
            let service = TokenService::new(ports, bed.policy.clone());
            service.issue(request, &bed.context).await
        }

        fn granted(answer: Answer) -> TokenSet {
            match answer.outcome {
                Outcome::Granted(tokens) => tokens,
                other => panic!("no tokens: {other:?}"),
            }
        }

        fn is_invalid_grant(answer: &Answer) -> bool {
            matches!(answer.outcome, Outcome::Refused(Refusal::InvalidGrant(_)))
        }

        fn is_invalid_client(answer: &Answer) -> bool {
            matches!(answer.outcome, Outcome::Refused(Refusal::InvalidClient(_)))
        }

        #[tokio::test]
        async fn a_client_that_was_switched_off_opens_no_session_and_refreshes_none() {
            for change in [ClientChange::Disable, ClientChange::Delete] {
                let instance = Instance::with_session().await;
                instance.change(change).await;
                let secret = build::BACKEND_SECRET;
                assert!(is_invalid_grant(&instance.sign_in(secret).await));
                assert!(is_invalid_grant(&instance.refresh(secret).await));
                instance.hear();
                assert!(is_invalid_client(&instance.sign_in(secret).await));
            }
        }

        #[tokio::test]
        async fn an_old_secret_works_and_a_new_one_does_not_until_the_change_is_noticed() {
            let instance = Instance::with_session().await;
            let new = ClientSecretHash::of(&ClientSecret::new("new-secret".to_owned()));
            instance.change(ClientChange::RotateSecret(new)).await;
            granted(instance.sign_in(build::BACKEND_SECRET).await);
            assert!(is_invalid_client(&instance.sign_in("new-secret").await));
            instance.bed.clock.advance(LIFETIME);
            granted(instance.sign_in("new-secret").await);
            assert!(is_invalid_client(&instance.refresh(build::BACKEND_SECRET).await));
        }

        #[tokio::test]
        async fn a_scope_that_was_taken_away_is_given_until_the_change_is_noticed_and_not_refreshed_after() {
            let mut instance = Instance::with_session().await;
            let client = instance
                .cache
                .find(&client_id(build::BACKEND))
                .await
                .unwrap()
                .unwrap();
            let narrowed = Client {
                allowed_scopes: build::scope("api:read"),
                ..client
            };
            instance.change(ClientChange::Update(Box::new(narrowed))).await;
            instance.session = granted(instance.sign_in(build::BACKEND_SECRET).await);
            assert_eq!(instance.session.scope, build::scope("api:read api:write"));
            instance.hear();
            let refreshed = granted(instance.refresh(build::BACKEND_SECRET).await);
            assert_eq!(refreshed.scope, build::scope("api:read"));
        }
    }
}
