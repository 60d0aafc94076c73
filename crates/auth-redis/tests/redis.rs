//! The scripts on a real Redis: against the contract, against the domain's own rules, and in time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it must be"
)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use auth_domain::ports::{Throttle, Unavailable};
use auth_domain::throttle::{
    AccountKey, Count, Counter, CounterKey, CounterKind, Judgement, NetworkKey, Pardon, Room, Verdict, judge,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::Login;
use auth_redis::{
    Correction, Hit, Instance, Judged, MOST_COUNTERS, Meeting, Pardoned, RedisThrottle, RedisUrl,
};
use auth_testkit::SeededRandom;
use auth_testkit::clock::START;
use auth_testkit::server::RedisServer;
use proptest::prelude::*;

/// Longer than any test takes.
const AMPLE: Duration = Duration::from_secs(20);

/// Counters in one meeting with a Redis.
struct Met {
    throttle: RedisThrottle,
    meeting: Meeting,
}

impl Met {
    async fn hit(&self, hits: &[Hit], now: Timestamp) -> Result<Judged, Unavailable> {
        Ok(self.throttle.hit(self.meeting, hits, now).await?)
    }

    async fn pardon(&self, corrections: &[Correction], now: Timestamp) -> Result<Pardoned, Unavailable> {
        Ok(self.throttle.pardon(self.meeting, corrections, now).await?)
    }

    async fn register(&self, instance: &Instance) -> Result<u32, Unavailable> {
        self.throttle.register(self.meeting, instance).await
    }
}

fn throttle_on(server: &RedisServer, limit: Duration) -> Met {
    let throttle = RedisThrottle::new(RedisUrl::parse(&server.url()).unwrap(), limit).unwrap();
    let meeting = throttle.meet();
    Met { throttle, meeting }
}

/// The port, over a Redis that is there.
struct OverRedis {
    throttle: Met,
    _server: RedisServer,
}

impl OverRedis {
    fn start() -> Arc<dyn Throttle> {
        let server = RedisServer::start();
        Arc::new(Self {
            throttle: throttle_on(&server, AMPLE),
            _server: server,
        })
    }
}

#[async_trait]
impl Throttle for OverRedis {
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
        let hits: Vec<_> = counters.iter().copied().map(plain).collect();
        self.throttle.hit(&hits, now).await.unwrap().verdict
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        let corrections: Vec<_> = pardons.iter().copied().map(correction).collect();
        self.throttle.pardon(&corrections, START).await.unwrap();
    }
}

mod contract {
    use super::OverRedis;

    auth_testkit::throttle_contract!(OverRedis::start());
}

const fn plain(counter: Counter) -> Hit {
    Hit { counter, floor: None }
}

const fn correction(pardon: Pardon) -> Correction {
    Correction { pardon, floor: None }
}

fn key(number: u8) -> CounterKey {
    match number {
        0 => CounterKey::LoginsFrom(NetworkKey::of("192.0.2.1".parse().unwrap())),
        1 => CounterKey::FailuresFrom(NetworkKey::of("192.0.2.1".parse().unwrap())),
        _ => CounterKey::FailuresFor(AccountKey::of_unknown(&Login::parse("bob"))),
    }
}

fn counter(number: u8) -> Counter {
    Counter {
        key: key(number),
        limit: 3,
        window: Seconds::new(60),
        kind: CounterKind::Lockout,
    }
}

/// What the script must come to: the domain's rules over a map.
#[derive(Default)]
struct Model(HashMap<CounterKey, Count>);

impl Model {
    fn hit(&mut self, hits: &[Hit], now: Timestamp) -> (Verdict, Vec<Count>) {
        for hit in hits {
            self.hold_at_least(
                hit.counter.key,
                hit.floor.filter(|floor| now < floor.ends_at),
                Some(now),
            );
            if self.is_full(&hit.counter, now) {
                break;
            }
        }
        let mut counts = Vec::new();
        for Hit { counter, .. } in hits {
            match judge(counter, self.0.get(&counter.key).copied(), now) {
                Judgement::Room(count) => counts.push(count),
                Judgement::Full { count, is_first } => {
                    self.0.insert(counter.key, count);
                    let mut standing: Vec<_> = hits
                        .iter()
                        .map(|hit| &hit.counter)
                        .take(counts.len())
                        .map(|passed| self.standing(passed, now))
                        .collect();
                    standing.push(count);
                    let verdict = Verdict::Full {
                        key: counter.key,
                        kind: counter.kind,
                        retry_after: now.seconds_until(count.ends_at),
                        is_first,
                    };
                    return (verdict, standing);
                }
            }
        }
        for (hit, count) in hits.iter().zip(&counts) {
            self.0.insert(hit.counter.key, *count);
        }
        (
            Verdict::Allowed(Room::of(&hits[0].counter, counts[0], now)),
            counts,
        )
    }

    fn pardon(&mut self, correction: &Correction) -> Option<Count> {
        let key = correction.pardon.key();
        self.hold_at_least(key, correction.floor, None);
        let left = self
            .0
            .remove(&key)
            .and_then(|count| correction.pardon.apply(count));
        left.inspect(|count| {
            self.0.insert(key, *count);
        })
    }

    /// A floor is held whatever the verdict. `now` forgets what has ended first.
    fn hold_at_least(&mut self, key: CounterKey, floor: Option<Count>, now: Option<Timestamp>) {
        let Some(floor) = floor else { return };
        let standing = self
            .0
            .get(&key)
            .copied()
            .filter(|count| now.is_none_or(|now| now < count.ends_at));
        let count = standing.map_or(floor, |count| Count {
            hits: count.hits.max(floor.hits),
            refusal_is_told: count.refusal_is_told || floor.refusal_is_told,
            ends_at: count.ends_at.max(floor.ends_at),
        });
        self.0.insert(key, count);
    }

    fn is_full(&self, counter: &Counter, now: Timestamp) -> bool {
        matches!(
            judge(counter, self.0.get(&counter.key).copied(), now),
            Judgement::Full { .. }
        )
    }

    /// A counter that had room, and was not raised.
    fn standing(&self, counter: &Counter, now: Timestamp) -> Count {
        let live = self
            .0
            .get(&counter.key)
            .copied()
            .filter(|count| now < count.ends_at);
        live.unwrap_or(Count {
            hits: 0,
            refusal_is_told: false,
            ends_at: now.plus(counter.window),
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// So many microseconds pass, perhaps fewer than none; then a request by these counters.
    Hit(i64, Vec<Hit>),
    Pardon(Correction),
}

/// A floor that ends so many microseconds after the start.
fn floor() -> impl Strategy<Value = Option<Count>> {
    let count =
        (1_u32..5, any::<bool>(), 1_i64..2_000_000_000).prop_map(|(hits, refusal_is_told, micros)| Count {
            hits,
            refusal_is_told,
            ends_at: Timestamp::from_micros(START.as_micros() + micros),
        });
    prop::option::weighted(0.2, count)
}

fn hit() -> impl Strategy<Value = Hit> {
    let kind = prop_oneof![Just(CounterKind::Rate), Just(CounterKind::Lockout)];
    (0_u8..3, 0_u32..5, 100_u32..400, kind, floor()).prop_map(|(number, limit, window, kind, floor)| Hit {
        counter: Counter {
            key: key(number),
            limit,
            window: Seconds::new(window),
            kind,
        },
        floor,
    })
}

fn hits() -> impl Strategy<Value = Vec<Hit>> {
    prop::collection::vec(hit(), 1..4).prop_map(|mut hits| {
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert(hit.counter.key));
        hits
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pardon = (0_u8..3, any::<bool>(), floor()).prop_map(|(number, is_all, floor)| Correction {
        pardon: if is_all {
            Pardon::All(key(number))
        } else {
            Pardon::One(key(number))
        },
        floor,
    });
    prop_oneof![
        4 => (-20_000_000_i64..120_000_000, hits()).prop_map(|(micros, hits)| Step::Hit(micros, hits)),
        1 => pardon.prop_map(Step::Pardon),
    ]
}

#[test]
fn the_scripts_decide_as_the_domains_rules_do() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    proptest!(|(steps in prop::collection::vec(step(), 1..40))| {
        server.tell("FLUSHALL").unwrap();
        let mut model = Model::default();
        let mut now = START;
        for step in steps {
            match step {
                Step::Hit(micros, hits) => {
                    now = Timestamp::from_micros(now.as_micros() + micros);
                    let judged = runtime.block_on(throttle.hit(&hits, now)).unwrap();
                    prop_assert_eq!((judged.verdict, judged.counts), model.hit(&hits, now));
                }
                Step::Pardon(correction) => {
                    let floor = correction.floor.filter(|floor| now < floor.ends_at);
                    let correction = Correction { floor, ..correction };
                    let pardoned = runtime.block_on(throttle.pardon(&[correction], now)).unwrap();
                    prop_assert_eq!(pardoned.counts, vec![model.pardon(&correction)]);
                }
            }
        }
    });
}

#[tokio::test]
async fn nothing_stays_and_nothing_names_anybody() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    throttle
        .hit(&[plain(counter(0)), plain(counter(2))], START)
        .await
        .unwrap();
    throttle
        .register(&Instance::generate(&SeededRandom::default()))
        .await
        .unwrap();
    let printed = server.tell("KEYS *").unwrap();
    let names: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("codelab-auth:"))
        .collect();
    assert_eq!(names.len(), 4, "{printed}");
    assert!(!printed.contains("192") && !printed.contains("bob"), "{printed}");
    for name in names {
        let left = server.tell(&format!("PTTL {name}")).unwrap();
        let left: i64 = left
            .lines()
            .next()
            .unwrap()
            .trim_start_matches(':')
            .parse()
            .unwrap();
        assert!(0 < left && left <= 172_800_000, "{name} has {left} ms left");
    }
    for counter in [counter(0), counter(2)] {
        let pardoned = throttle
            .pardon(&[correction(Pardon::One(counter.key))], START)
            .await
            .unwrap();
        assert_eq!(pardoned.counts, [None]);
    }
    assert_eq!(server.tell("DBSIZE").unwrap().lines().next(), Some(":2"));
}

#[tokio::test]
async fn a_clock_that_is_set_back_leaves_no_lock_that_outlives_its_window() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    throttle
        .hit(&[plain(counter(0))], START.plus(Seconds::new(86_400)))
        .await
        .unwrap();
    throttle
        .hit(
            &[plain(Counter {
                kind: CounterKind::Rate,
                ..counter(0)
            })],
            START,
        )
        .await
        .unwrap();
    let name = server.tell("KEYS codelab-auth:throttle:*").unwrap();
    let name = name
        .lines()
        .find(|line| line.starts_with("codelab-auth:"))
        .unwrap();
    let left = server.tell(&format!("PTTL {name}")).unwrap();
    let left: i64 = left
        .lines()
        .next()
        .unwrap()
        .trim_start_matches(':')
        .parse()
        .unwrap();
    assert!(left <= 61_000, "{left} ms");
}

#[tokio::test]
async fn a_request_is_one_script_however_many_counters_it_has() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let hits = [plain(counter(0)), plain(counter(1)), plain(counter(2))];
    // The first call teaches Redis the script.
    throttle.hit(&hits, START).await.unwrap();
    server.tell("CONFIG RESETSTAT").unwrap();
    throttle.hit(&hits, START).await.unwrap();
    let statistics = server.tell("INFO commandstats").unwrap();
    assert!(statistics.contains("cmdstat_evalsha:calls=1,"), "{statistics}");
}

#[tokio::test]
async fn later_answers_have_higher_numbers() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let first = throttle.hit(&[plain(counter(0))], START).await.unwrap().number;
    let second = throttle
        .pardon(&[correction(Pardon::All(key(0)))], START)
        .await
        .unwrap()
        .number;
    let third = throttle.hit(&[plain(counter(0))], START).await.unwrap().number;
    assert!(first < second && second < third, "{first} {second} {third}");
}

#[tokio::test]
async fn instances_are_counted_once_each() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let random = SeededRandom::default();
    let (one, other) = (Instance::generate(&random), Instance::generate(&random));
    assert_eq!(throttle.register(&one).await.unwrap(), 1);
    assert_eq!(throttle.register(&other).await.unwrap(), 2);
    assert_eq!(throttle.register(&one).await.unwrap(), 2);
}

#[tokio::test]
async fn more_counters_than_a_request_has_are_not_sent() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let refused = throttle.hit(&[plain(counter(0)); MOST_COUNTERS + 1], START).await;
    assert!(refused.is_err());
    assert_eq!(server.tell("DBSIZE").unwrap().lines().next(), Some(":0"));
    let nothing = throttle.hit(&[], START).await.unwrap();
    assert_eq!(nothing.verdict, Verdict::Allowed(Room::default()));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_costs_the_time_limit_and_no_more() {
    const LIMIT: Duration = Duration::from_secs(1);
    let server = RedisServer::start();
    let throttle = throttle_on(&server, LIMIT);
    throttle.hit(&[plain(counter(0))], START).await.unwrap();
    server.pause();
    for _ in 0..2 {
        let start = Instant::now();
        assert!(throttle.hit(&[plain(counter(0))], START).await.is_err());
        assert!(
            // For a machine that is busy with other tests.
            start.elapsed() < 3 * LIMIT,
            "{:?}",
            start.elapsed()
        );
    }
    server.resume();
    let again = throttle_on(&server, AMPLE).hit(&[plain(counter(0))], START).await;
    assert!(again.is_ok());
}

#[tokio::test]
async fn a_redis_that_was_started_anew_is_asked_only_once_that_is_known() {
    let mut server = RedisServer::start();
    let mut throttle = throttle_on(&server, AMPLE);
    throttle.hit(&[plain(counter(0))], START).await.unwrap();
    server.start_again();
    for _ in 0..3 {
        assert!(throttle.hit(&[plain(counter(0))], START).await.is_err());
    }
    let before = throttle.meeting;
    throttle.meeting = throttle.throttle.meet();
    assert!(
        throttle
            .throttle
            .hit(before, &[plain(counter(0))], START)
            .await
            .is_err()
    );
    let judged = throttle.hit(&[plain(counter(0))], START).await.unwrap();
    assert_eq!(judged.counts[0].hits, 1, "it knows of none of those before");
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_told_what_a_counter_stands_at() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let floor = Count {
        hits: 2,
        refusal_is_told: false,
        ends_at: START.plus(Seconds::new(60)),
    };
    let held = Hit {
        counter: counter(0),
        floor: Some(floor),
    };
    // However many say so at once, and however often.
    let mut allowed = 0;
    for _ in 0..3 {
        allowed += u32::from(throttle.hit(&[held], START).await.unwrap().verdict.is_allowed());
    }
    assert_eq!(allowed, 1);
}

#[tokio::test]
async fn what_is_told_raises_counters_and_lowers_none() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    let standing = |hits, window| Count {
        hits,
        refusal_is_told: false,
        ends_at: START.plus(Seconds::new(window)),
    };
    throttle.hit(&[plain(counter(1))], START).await.unwrap();
    throttle.hit(&[plain(counter(1))], START).await.unwrap();
    let told = [
        (key(0), standing(2, 60)),
        (key(1), standing(1, 90)),
        (key(2), standing(9, 0)),
    ];
    // More than one step, and the same once more.
    let told = told.repeat(100);
    throttle
        .throttle
        .tell(throttle.meeting, &told, START)
        .await
        .unwrap();
    let hits = [plain(counter(0)), plain(counter(1)), plain(counter(2))];
    let judged = throttle.hit(&hits, START).await.unwrap();
    let hits: Vec<_> = judged.counts.iter().map(|count| count.hits).collect();
    assert_eq!(hits, [3, 3, 1], "what had ended was not told");
}

#[tokio::test]
async fn a_password_is_sent_to_redis_and_told_to_nobody_else() {
    let server = RedisServer::start();
    server.tell("CONFIG SET requirepass pencil").unwrap();
    for (password, is_right) in [("", false), (":crayon@", false), (":pencil@", true)] {
        let url = server.url().replace("redis://", &format!("redis://{password}"));
        let throttle = RedisThrottle::new(RedisUrl::parse(&url).unwrap(), AMPLE).unwrap();
        let registered = throttle
            .register(throttle.meet(), &Instance::generate(&SeededRandom::default()))
            .await;
        assert_eq!(registered.is_ok(), is_right, "{password}");
        if let Err(outage) = registered {
            let told = format!("{outage:?} {outage} {}", outage.source);
            assert!(!told.contains("pencil") && !told.contains("crayon"), "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_of_ours_is_an_outage() {
    let server = RedisServer::start();
    let throttle = throttle_on(&server, AMPLE);
    server.tell("LPUSH codelab-auth:throttle-answers x").unwrap();
    assert!(throttle.hit(&[plain(counter(0))], START).await.is_err());
}
