//! Counters that instances share through Redis, and what becomes of them while it is away (ADR 0010).
//!
//! While Redis answers, its verdict is the truth, and what it tells is remembered here. From the moment a call fails
//! nobody waits for it again: requests are judged by what is remembered, until a probe beside them finds it back.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use auth_domain::ports::{Clock, Random, Throttle, Unavailable};
use auth_domain::throttle::{Counter, Pardon, Verdict};
use auth_domain::time::Timestamp;
use auth_redis::{Correction, Hit, Instance, Meeting, Reach, RedisThrottle, TOLD_AT_ONCE, Unanswered};
use tokio::runtime::Handle;

use super::in_process::{Company, Heard, InProcessThrottle, News};
use crate::telemetry;

/// How often Redis is looked for.
const PROBE: Duration = Duration::from_secs(1);
/// After so many probes that found Redis, an instance that has not told it anything is taken for gone: as many seconds
/// as Redis itself remembers one for.
const PROBES_OF_PATIENCE: u32 = 10;

/// Counters in Redis, mirrored in the process. Its copies are the same.
#[derive(Clone)]
pub struct SharedThrottle {
    inner: Arc<Inner>,
    /// Where calls are made: connections live as long as the runtime that opened them, and workers come and go.
    runtime: Handle,
}

struct Inner {
    redis: RedisThrottle,
    mirror: InProcessThrottle,
    link: Link,
    /// When it was lost, in microseconds.
    lost_at: AtomicI64,
    /// How many probes have found it since then.
    found: AtomicU32,
    /// How many instances there were when Redis last said.
    instances: AtomicU32,
    instance: Instance,
    clock: Arc<dyn Clock>,
}

impl SharedThrottle {
    /// Looks for Redis once, and starts without it where it is away. To be called on the runtime that is to carry the
    /// connections.
    pub async fn start(
        redis: RedisThrottle,
        mirror: InProcessThrottle,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Self {
        let inner = Inner {
            redis,
            mirror,
            link: Link::default(),
            lost_at: AtomicI64::new(clock.now().as_micros()),
            found: AtomicU32::new(0),
            instances: AtomicU32::new(1),
            instance: Instance::generate(random),
            clock,
        };
        if let Err(outage) = Box::pin(inner.look()).await {
            warn(
                &outage,
                "Redis is away; counters are kept in the process until it is there",
            );
        }
        Self {
            inner: Arc::new(inner),
            runtime: Handle::current(),
        }
    }

    /// Looks for Redis again and again, until it is dropped or aborted: so that its loss is noticed while nobody asks
    /// for anything, and its return without anybody's waiting for it.
    pub async fn follow(self) {
        let mut tick = tokio::time::interval(PROBE);
        loop {
            tick.tick().await;
            // That it is still away has been said when it was lost.
            let _ = self.inner.look().await;
            self.inner.measure();
        }
    }

    /// Whether Redis is there, as far as is known; asks nobody.
    pub fn is_connected(&self) -> bool {
        self.inner.link.meeting().is_some()
    }

    /// Asks Redis in a task of its own: what has been sent is carried to its end, whoever hangs up meanwhile.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Unanswered>> + Send + 'static,
        meeting: Meeting,
    ) -> Result<T, Reach> {
        match self.runtime.spawn(call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(unanswered)) => {
                self.inner.lose(meeting, &unanswered.outage);
                Err(unanswered.reach)
            }
            // The runtime is going down, and the server with it.
            Err(_) => Err(Reach::Sent),
        }
    }
}

#[async_trait]
impl Throttle for SharedThrottle {
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
        if let Some(meeting) = self.inner.link.meeting() {
            let (inner, asked) = (Arc::clone(&self.inner), counters.to_vec());
            let call = async move { inner.hit(&asked, meeting, now).await };
            if let Ok(verdict) = self.ask(call, meeting).await {
                return verdict;
            }
        }
        telemetry::judged_without_redis();
        self.inner
            .mirror
            .judge_as_one_of(self.inner.company(), counters, now)
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        let mut heard_by_redis = Reach::Nowhere;
        if let Some(meeting) = self.inner.link.meeting() {
            let (inner, asked) = (Arc::clone(&self.inner), pardons.to_vec());
            let call = async move { inner.pardon(&asked, meeting).await };
            match self.ask(call, meeting).await {
                Ok(()) => return,
                Err(reach) => heard_by_redis = reach,
            }
        }
        self.inner.mirror.pardon_here(pardons, heard_by_redis);
    }
}

impl Inner {
    async fn hit(
        &self,
        counters: &[Counter],
        meeting: Meeting,
        now: Timestamp,
    ) -> Result<Verdict, Unanswered> {
        let instances = self.instances.load(Ordering::Relaxed);
        let keys = counters.iter().map(|counter| counter.key);
        let known = self.mirror.knowledge(keys, meeting.number(), instances, now);
        let hits: Vec<_> = counters
            .iter()
            .zip(&known)
            .map(|(counter, known)| Hit {
                counter: *counter,
                floor: known.floor,
            })
            .collect();
        let judged = self.redis.hit(meeting, &hits, now).await?;
        let heard = Heard {
            meeting: meeting.number(),
            number: judged.number,
        };
        for ((counter, known), count) in counters.iter().zip(known).zip(judged.counts) {
            let news = News {
                key: counter.key,
                count: Some(count),
                limit: Some(counter.limit),
                heard,
                known,
            };
            self.mirror.take_over(&news, now);
        }
        Ok(judged.verdict)
    }

    async fn pardon(&self, pardons: &[Pardon], meeting: Meeting) -> Result<(), Unanswered> {
        let now = self.clock.now();
        let instances = self.instances.load(Ordering::Relaxed);
        let keys = pardons.iter().map(|pardon| pardon.key());
        let known = self.mirror.knowledge(keys, meeting.number(), instances, now);
        let corrections: Vec<_> = pardons
            .iter()
            .zip(&known)
            .map(|(pardon, known)| Correction {
                pardon: *pardon,
                floor: known.floor,
            })
            .collect();
        let pardoned = self.redis.pardon(meeting, &corrections, now).await?;
        let heard = Heard {
            meeting: meeting.number(),
            number: pardoned.number,
        };
        for ((pardon, known), count) in pardons.iter().zip(known).zip(pardoned.counts) {
            let news = News {
                key: pardon.key(),
                count,
                limit: None,
                heard,
                known,
            };
            self.mirror.take_over(&news, now);
        }
        Ok(())
    }

    /// Looks for Redis, tells it that this instance is there, and takes it up again where it was lost. An error is
    /// that it is still away; a loss is said by itself.
    async fn look(&self) -> Result<(), Unavailable> {
        if let Some(meeting) = self.link.meeting() {
            if let Err(outage) = self.keep_up(meeting).await {
                self.lose(meeting, &outage);
            }
            return Ok(());
        }
        self.take_up().await
    }

    /// Takes Redis up again: tells it all that is known here, and works with it as soon as all others have told theirs,
    /// so that a Redis that has forgotten lets nobody through whom another instance would have refused.
    async fn take_up(&self) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let known = self.company().instances;
        let meeting = self.redis.meet();
        self.redis.reach().await?;
        // Before the counters are told, from which they are taken off already.
        self.deliver_pardons(meeting, now).await?;
        self.redis
            .tell(meeting, &self.mirror.everything(known, now), now)
            .await?;
        let have_told = self.redis.register(meeting, &self.instance).await?;
        let found = self.found.fetch_add(1, Ordering::Relaxed);
        if have_told >= known || found >= PROBES_OF_PATIENCE {
            self.instances.store(have_told, Ordering::Relaxed);
            self.link.begin(meeting);
            tracing::info!(
                event_type = "redis",
                "Redis is there; counters are shared through it"
            );
        }
        Ok(())
    }

    /// Delivers the pardons that were given while Redis was away. One that may have arrived is not sent again: it
    /// must not take back more than was pardoned.
    async fn deliver_pardons(&self, meeting: Meeting, now: Timestamp) -> Result<(), Unavailable> {
        loop {
            let owed = self.mirror.take_owed(TOLD_AT_ONCE, now);
            if owed.is_empty() {
                return Ok(());
            }
            let hits: Vec<_> = owed.iter().map(|one| (one.key, one.hits)).collect();
            if let Err(unanswered) = self.redis.forgive(meeting, &hits, now).await {
                if unanswered.reach == Reach::Nowhere {
                    self.mirror.owe(&owed);
                }
                return Err(unanswered.outage);
            }
        }
    }

    /// Says that this instance is there, and what it could not say when a meeting began.
    async fn keep_up(&self, meeting: Meeting) -> Result<(), Unavailable> {
        let instances = self.redis.register(meeting, &self.instance).await?;
        self.instances.store(instances, Ordering::Relaxed);
        self.deliver_pardons(meeting, self.clock.now()).await
    }

    fn company(&self) -> Company {
        Company {
            instances: self.instances.load(Ordering::Relaxed),
            since: Timestamp::from_micros(self.lost_at.load(Ordering::Relaxed)),
        }
    }

    fn measure(&self) {
        telemetry::redis(self.link.meeting().is_some(), self.company().instances);
    }

    /// Notes that Redis was lost in a meeting; says so where nobody has yet.
    fn lose(&self, meeting: Meeting, outage: &Unavailable) {
        // Before it is known to be lost, so that nobody judges by the loss before.
        let now = self.clock.now().as_micros();
        self.lost_at.store(now, Ordering::Relaxed);
        self.found.store(0, Ordering::Relaxed);
        if self.link.end(meeting) {
            self.measure();
            warn(outage, "Redis is lost; counters go on in the process");
        }
    }
}

fn warn(outage: &Unavailable, message: &'static str) {
    let cause = telemetry::causes(outage);
    tracing::warn!(event_type = "redis", operation = outage.what, cause, "{message}");
}

/// Whether Redis is there: the number of the meeting that goes on, or 0. One task begins meetings; whoever finds one
/// broken ends it.
#[derive(Debug, Default)]
struct Link(AtomicU64);

impl Link {
    /// The meeting that goes on; `None` while Redis is away.
    fn meeting(&self) -> Option<Meeting> {
        let number = self.0.load(Ordering::SeqCst);
        (number != 0).then_some(Meeting::of_number(number))
    }

    fn begin(&self, meeting: Meeting) {
        self.0.store(meeting.number(), Ordering::SeqCst);
    }

    /// Says whether it was still going on.
    fn end(&self, meeting: Meeting) -> bool {
        self.0
            .compare_exchange(meeting.number(), 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;
    use std::time::Instant;

    use auth_domain::throttle::{AccountKey, CounterKey, CounterKind, NetworkKey};
    use auth_domain::time::Seconds;
    use auth_domain::user::Login;
    use auth_redis::RedisUrl;
    use auth_testkit::clock::START;
    use auth_testkit::server::RedisServer;
    use auth_testkit::{MockClock, SeededRandom};

    use super::*;

    /// Longer than any test takes.
    const AMPLE: Duration = Duration::from_secs(20);

    /// One of several instances on a Redis.
    async fn instance(server: &RedisServer, number: u64, limit: Duration) -> SharedThrottle {
        let redis = RedisThrottle::new(RedisUrl::parse(&server.url()).unwrap(), limit).unwrap();
        let random = SeededRandom::new(number);
        SharedThrottle::start(
            redis,
            InProcessThrottle::default(),
            Arc::new(MockClock::default()),
            &random,
        )
        .await
    }

    /// Two instances that know of each other.
    async fn two_instances(server: &RedisServer) -> [SharedThrottle; 2] {
        let pair = [instance(server, 1, AMPLE).await, instance(server, 2, AMPLE).await];
        look(&pair).await;
        pair
    }

    async fn look(instances: &[SharedThrottle]) {
        // Twice: each waits until the others have told what they know.
        for instance in instances.iter().chain(instances) {
            let _ = instance.inner.look().await;
        }
    }

    fn failures(limit: u32) -> Counter {
        Counter {
            key: CounterKey::FailuresFor(AccountKey::of_unknown(&Login::parse("bob"))),
            limit,
            window: Seconds::new(900),
            kind: CounterKind::Lockout,
        }
    }

    fn rate(limit: u32) -> Counter {
        Counter {
            key: CounterKey::LoginsFrom(NetworkKey::of("192.0.2.1".parse().unwrap())),
            limit,
            window: Seconds::new(60),
            kind: CounterKind::Rate,
        }
    }

    async fn is_allowed(throttle: &SharedThrottle, counter: Counter) -> bool {
        throttle.hit(&[counter], START).await.is_allowed()
    }

    /// How many of so many guesses are let through, sent to the instances in turn.
    async fn guesses(instances: &[SharedThrottle], counter: Counter, guesses: usize) -> u32 {
        let mut allowed = 0;
        for instance in instances.iter().cycle().take(guesses) {
            allowed += u32::from(is_allowed(instance, counter).await);
        }
        allowed
    }

    mod contract {
        use super::*;

        /// Keeps the server for as long as the counters.
        struct WithServer {
            throttle: SharedThrottle,
            _server: Option<RedisServer>,
        }

        #[async_trait]
        impl Throttle for WithServer {
            async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
                self.throttle.hit(counters, now).await
            }

            async fn pardon(&self, pardons: &[Pardon]) {
                self.throttle.pardon(pardons).await;
            }
        }

        async fn on_redis() -> Arc<dyn Throttle> {
            let server = RedisServer::start();
            Arc::new(WithServer {
                throttle: instance(&server, 1, AMPLE).await,
                _server: Some(server),
            })
        }

        async fn without_redis() -> Arc<dyn Throttle> {
            let mut server = RedisServer::start();
            server.kill();
            Arc::new(WithServer {
                throttle: instance(&server, 1, AMPLE).await,
                _server: None,
            })
        }

        mod while_redis_is_there {
            auth_testkit::throttle_contract!(super::on_redis().await);
        }

        mod while_redis_is_away {
            auth_testkit::throttle_contract!(super::without_redis().await);
        }
    }

    #[tokio::test]
    async fn instances_share_a_limit() {
        let server = RedisServer::start();
        let instances = two_instances(&server).await;
        assert_eq!(guesses(&instances, failures(5), 20).await, 5);
    }

    #[tokio::test]
    async fn what_had_been_counted_is_not_forgotten_with_redis() {
        let mut server = RedisServer::start();
        let instances = two_instances(&server).await;
        assert_eq!(guesses(&instances, failures(5), 6).await, 5);
        server.kill();
        assert_eq!(guesses(&instances, failures(5), 20).await, 0);
        assert!(instances.iter().all(|instance| !instance.is_connected()));
    }

    #[tokio::test]
    async fn whenever_redis_dies_no_more_than_the_limit_and_one_for_each_instance_pass() {
        for before in 0..=6 {
            let mut server = RedisServer::start();
            let instances = two_instances(&server).await;
            let mut passed = guesses(&instances, failures(5), before).await;
            server.kill();
            passed += guesses(&instances, failures(5), 40).await;
            assert!(
                (4..=7).contains(&passed),
                "{passed} passed, {before} of them before"
            );
            server.start_again();
            look(&instances).await;
            passed += guesses(&instances, failures(5), 40).await;
            assert!(
                (5..=7).contains(&passed),
                "{passed} passed, {before} of them before"
            );
        }
    }

    #[tokio::test]
    async fn what_one_instance_has_heard_binds_the_others_as_well_once_redis_is_back() {
        for (by_one, by_other) in [(5, 0), (4, 0), (4, 1), (3, 2), (2, 0), (0, 5)] {
            let mut server = RedisServer::start();
            let [one, other] = two_instances(&server).await;
            let mut passed = guesses(from_ref(&one), failures(5), by_one).await;
            passed += guesses(from_ref(&other), failures(5), by_other).await;
            server.kill();
            passed += guesses(from_ref(&other), failures(5), 20).await;
            server.start_again();
            let pair = [one, other];
            look(&pair).await;
            assert!(pair.iter().all(SharedThrottle::is_connected));
            // The one that has heard less comes first.
            for instance in pair.iter().rev() {
                passed += guesses(from_ref(instance), failures(5), 20).await;
            }
            assert!(
                (5..=7).contains(&passed),
                "{passed} passed; {by_one} and {by_other} before"
            );
        }
    }

    #[tokio::test]
    async fn an_instance_that_never_comes_back_is_waited_for_in_vain_only_so_long() {
        let mut server = RedisServer::start();
        let [one, _gone] = two_instances(&server).await;
        server.start_again();
        is_allowed(&one, failures(5)).await;
        for _ in 0..PROBES_OF_PATIENCE {
            let _ = one.inner.look().await;
            assert!(!one.is_connected());
        }
        let _ = one.inner.look().await;
        assert!(one.is_connected());
    }

    #[tokio::test]
    async fn a_redis_that_comes_back_empty_gives_nobody_a_fresh_budget() {
        let mut server = RedisServer::start();
        let throttle = instance(&server, 1, AMPLE).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 3).await, 3);
        server.start_again();
        // Nobody has noticed yet.
        assert_eq!(guesses(from_ref(&throttle), failures(5), 1).await, 1);
        assert!(!throttle.is_connected());
        look(from_ref(&throttle)).await;
        assert!(throttle.is_connected());
        let other = instance(&server, 2, AMPLE).await;
        assert_eq!(guesses(&[throttle, other.clone()], failures(5), 20).await, 1);
        assert_eq!(guesses(&[other], failures(5), 1).await, 0, "Redis knows it too");
    }

    #[tokio::test]
    async fn many_guesses_at_the_moment_of_return_get_no_fresh_budget() {
        let mut server = RedisServer::start();
        let throttle = instance(&server, 1, AMPLE).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 5).await, 5);
        server.start_again();
        assert!(!is_allowed(&throttle, failures(5)).await);
        look(from_ref(&throttle)).await;
        let contenders: Vec<_> = (0..64)
            .map(|_| {
                let throttle = throttle.clone();
                tokio::spawn(async move { is_allowed(&throttle, failures(5)).await })
            })
            .collect();
        for contender in contenders {
            assert!(!contender.await.unwrap());
        }
    }

    #[tokio::test]
    async fn pardons_hold_while_redis_is_away_and_after() {
        let mut server = RedisServer::start();
        let throttle = instance(&server, 1, AMPLE).await;
        let key = failures(5).key;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 4).await, 4);
        server.kill();
        throttle.pardon(&[Pardon::One(key)]).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 9).await, 2);
        server.start_again();
        look(from_ref(&throttle)).await;
        // The first word about this counter to a Redis that knows nothing is a pardon: it knows all the others then.
        throttle.pardon(&[Pardon::One(key)]).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 9).await, 1);
        throttle.pardon(&[Pardon::All(key)]).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 9).await, 5);
    }

    /// A sign-in that was judged by Redis, and turned out right while it did not answer.
    #[tokio::test]
    async fn a_pardon_that_redis_has_missed_is_delivered_at_its_return_and_once() {
        const LIMIT: Duration = Duration::from_secs(2);
        let server = RedisServer::start();
        let pair = [
            instance(&server, 1, LIMIT).await,
            instance(&server, 2, LIMIT).await,
        ];
        look(&pair).await;
        let key = failures(5).key;
        assert_eq!(guesses(from_ref(&pair[0]), failures(5), 4).await, 4);
        server.pause();
        // The first notices that Redis is late, the second knows it.
        pair[0].pardon(&[Pardon::One(key)]).await;
        pair[0].pardon(&[Pardon::One(key)]).await;
        look(&pair).await;
        server.resume();
        look(&pair).await;
        look(&pair).await;
        assert!(pair.iter().all(SharedThrottle::is_connected));
        assert_eq!(
            guesses(&pair[1..], failures(5), 9).await,
            3,
            "two of four are left"
        );
    }

    #[tokio::test]
    async fn a_right_password_forgives_no_more_at_the_return_than_it_knew_of() {
        let mut server = RedisServer::start();
        let pair = two_instances(&server).await;
        let key = failures(5).key;
        assert_eq!(guesses(&pair, failures(5), 2).await, 2);
        assert_eq!(guesses(&pair[1..], failures(5), 1).await, 1);
        // Redis stands at three, of which the first has heard of one.
        pair[0]
            .inner
            .lose(pair[0].inner.link.meeting().unwrap(), &outage());
        pair[0].pardon(&[Pardon::All(key)]).await;
        look(&pair[..1]).await;
        assert!(pair[0].is_connected());
        assert_eq!(guesses(&pair, failures(5), 9).await, 3);
        server.kill();
    }

    fn outage() -> Unavailable {
        Unavailable::new("reach Redis", std::io::Error::other("away"))
    }

    #[tokio::test]
    async fn what_was_pardoned_through_redis_is_not_remembered_here() {
        let mut server = RedisServer::start();
        let throttle = instance(&server, 1, AMPLE).await;
        assert_eq!(guesses(from_ref(&throttle), failures(5), 9).await, 5);
        throttle.pardon(&[Pardon::All(failures(5).key)]).await;
        server.kill();
        assert_eq!(guesses(&[throttle], failures(5), 9).await, 5);
    }

    #[tokio::test]
    async fn a_silent_redis_costs_one_time_limit_and_then_nothing() {
        const LIMIT: Duration = Duration::from_secs(2);
        let server = RedisServer::start();
        let throttle = instance(&server, 1, LIMIT).await;
        assert!(is_allowed(&throttle, rate(100)).await);
        server.pause();
        let start = Instant::now();
        assert_eq!(guesses(from_ref(&throttle), rate(100), 50).await, 50);
        assert!(start.elapsed() < 2 * LIMIT, "{:?}", start.elapsed());
        assert!(!throttle.is_connected());
        server.resume();
        look(from_ref(&throttle)).await;
        assert!(throttle.is_connected());
        assert_eq!(guesses(&[throttle], rate(100), 100).await, 49);
    }

    #[tokio::test]
    async fn a_server_starts_without_its_redis_and_takes_it_up_by_itself() {
        let mut server = RedisServer::start();
        server.kill();
        let throttle = instance(&server, 1, AMPLE).await;
        assert!(!throttle.is_connected());
        assert_eq!(guesses(from_ref(&throttle), failures(5), 3).await, 3);
        server.start_again();
        look(from_ref(&throttle)).await;
        let other = instance(&server, 2, AMPLE).await;
        // What was counted without Redis is told to it as well.
        assert_eq!(guesses(&[throttle, other], failures(5), 20).await, 2);
    }

    #[tokio::test]
    async fn a_loss_is_noticed_while_nobody_asks_for_anything() {
        let mut server = RedisServer::start();
        let throttle = instance(&server, 1, AMPLE).await;
        server.kill();
        look(from_ref(&throttle)).await;
        assert!(!throttle.is_connected());
    }
}
