//! The pool under load: what waits, what is turned away, what is dropped, and how it ends.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth_domain::password::{HashScheme, LegacyHashes};
use auth_domain::ports::{Hashed, PasswordHasher, Random, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;
use auth_password::{HashingFigures, HashingPool, HashingSettings};
use auth_testkit::SeededRandom;
use auth_testkit::contract::hasher as contract;
use tokio::task::JoinHandle;

/// How long a job may wait on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
const QUICK: HashScheme = HashScheme::Argon2id {
    memory_kib: 64,
    iterations: 1,
    parallelism: 1,
};
const RETRY_AFTER: Seconds = Seconds::new(7);

/// A source of salts at which every hashing thread waits until the test lets it go on.
struct Gate {
    arrivals: SyncSender<()>,
    permits: Mutex<Receiver<()>>,
}

impl Random for Gate {
    fn fill(&self, buffer: &mut [u8]) {
        self.arrivals.send(()).expect("the test waits for arrivals");
        // A closed gate stays open for good: the test has ended.
        let _ = self.permits.lock().expect("no thread panics").recv();
        buffer.fill(1);
    }
}

struct Gated {
    pool: Arc<HashingPool>,
    arrivals: Receiver<()>,
    permits: SyncSender<()>,
}

/// A pool whose only thread waits in the middle of each new hash.
fn gated(queue: usize) -> Gated {
    let (arrivals, seen) = sync_channel(64);
    let (permits, taken) = sync_channel(64);
    let gate: Arc<dyn Random> = Arc::new(Gate {
        arrivals,
        permits: Mutex::new(taken),
    });
    Gated {
        pool: Arc::new(start(1, queue, &gate)),
        arrivals: seen,
        permits,
    }
}

fn start(threads: usize, queue: usize, random: &Arc<dyn Random>) -> HashingPool {
    let settings = HashingSettings {
        scheme: QUICK,
        legacy: LegacyHashes::Replaced,
        threads: NonZeroUsize::new(threads).expect("a pool has threads"),
        queue,
        deadline: PATIENCE,
        retry_after: RETRY_AFTER,
    };
    HashingPool::start(&settings, random).expect("the scheme is a good one")
}

fn open(threads: usize, queue: usize) -> Arc<HashingPool> {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::default());
    Arc::new(start(threads, queue, &random))
}

impl Gated {
    fn hash(&self) -> JoinHandle<Result<Hashed, Unavailable>> {
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move { pool.hash(&Password::new("Correct-Horse-1".to_owned())).await })
    }

    /// Fills the thread and the queue behind it.
    async fn fill(&self, queue: usize) -> Vec<JoinHandle<Result<Hashed, Unavailable>>> {
        let mut asked = vec![self.hash()];
        // The first job must have left the queue before that can be filled exactly.
        self.until_pending(1).await;
        self.arrivals.recv().expect("the pool lives");
        for waiting in 1..=queue {
            asked.push(self.hash());
            self.until_pending(1 + waiting).await;
        }
        asked
    }

    async fn until_pending(&self, jobs: usize) {
        while self.pool.figures().pending < u64::try_from(jobs).expect("few") {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_full_pool_answers_at_once_and_computes_nothing() {
    let gated = gated(2);
    let asked = gated.fill(2).await;
    contract::a_saturated_hasher_says_when_to_try_again(&*gated.pool, RETRY_AFTER).await;
    assert_eq!(
        gated.pool.figures(),
        HashingFigures {
            pending: 3,
            pending_max: 3,
            refused: 3,
            ..HashingFigures::default()
        }
    );
    for _ in 0..3 {
        gated.permits.send(()).expect("the pool lives");
    }
    for answer in asked {
        let answer = answer.await.expect("no task panics").expect("the pool lives");
        assert!(matches!(answer, Hashed::Done(_)));
    }
    assert_eq!(gated.pool.figures().pending, 0);
}

#[tokio::test]
async fn there_is_room_again_when_the_work_is_done() {
    let gated = gated(1);
    let asked = gated.fill(1).await;
    let refused = gated
        .hash()
        .await
        .expect("no task panics")
        .expect("the pool lives");
    assert!(matches!(refused, Hashed::Saturated { .. }));
    for _ in 0..3 {
        gated.permits.send(()).expect("the pool lives");
    }
    for answer in asked {
        answer.await.expect("no task panics").expect("the pool lives");
    }
    let accepted = gated
        .hash()
        .await
        .expect("no task panics")
        .expect("the pool lives");
    assert!(matches!(accepted, Hashed::Done(_)));
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_not_computed() {
    let gated = gated(3);
    let mut asked = gated.fill(3).await;
    for abandoned in asked.drain(1..) {
        abandoned.abort();
        assert!(abandoned.await.is_err_and(|end| end.is_cancelled()));
    }
    gated.permits.send(()).expect("the pool lives");
    let answer = asked.remove(0).await.expect("no task panics");
    assert!(matches!(answer, Ok(Hashed::Done(_))));
    while gated.pool.figures().pending > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        gated.pool.figures(),
        HashingFigures {
            pending_max: 4,
            computed: 1,
            dropped: 3,
            ..HashingFigures::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_too_long_is_turned_away_and_nothing_is_computed_for_them() {
    let gated = gated(4);
    let asked = gated.fill(3).await;
    // Nothing can go on but the clock: it goes to the deadline of those who wait.
    let mut asked = asked.into_iter();
    let computing = asked.next().expect("it was asked first");
    for waiting in asked {
        let answer = waiting.await.expect("no task panics").expect("the pool lives");
        assert!(
            matches!(answer, Hashed::Saturated { retry_after } if retry_after == RETRY_AFTER),
            "{answer:?}"
        );
    }
    assert_eq!(
        gated.pool.figures(),
        HashingFigures {
            pending: 1,
            pending_max: 5,
            late: 3,
            ..HashingFigures::default()
        }
    );
    tokio::time::resume();
    for _ in 0..2 {
        gated.permits.send(()).expect("the pool lives");
    }
    // What was begun before its deadline is carried to its end after it.
    let answer = computing.await.expect("no task panics").expect("the pool lives");
    assert!(matches!(answer, Hashed::Done(_)));
    let answer = gated
        .hash()
        .await
        .expect("no task panics")
        .expect("the pool lives");
    assert!(matches!(answer, Hashed::Done(_)), "{answer:?}");
    let figures = gated.pool.figures();
    assert_eq!((figures.computed, figures.late, figures.pending), (2, 3, 0));
}

#[tokio::test]
async fn every_verification_computes_one_hash_whatever_is_stored() {
    let pool = open(1, 4);
    let stored = contract::hash(&*pool, "Correct-Horse-1").await;
    let malformed = PasswordHash::new("no hash".to_owned());
    for (done, stored) in [Some(&stored), Some(&malformed), None].into_iter().enumerate() {
        contract::verify(&*pool, "Correct-Horse-1", stored).await;
        let expected = 2 + u64::try_from(done).expect("few");
        assert_eq!(pool.figures().computed, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_reach_those_who_asked_when_many_ask_at_once() {
    let pool = open(3, 64);
    let asked: Vec<_> = (0..32)
        .map(|number| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let password = format!("Password-{number}");
                let stored = contract::hash(&*pool, &password).await;
                let own = contract::verify(&*pool, &password, Some(&stored)).await;
                let other = contract::verify(&*pool, "Password-x", Some(&stored)).await;
                (own, other)
            })
        })
        .collect();
    for answer in asked {
        let answer = answer.await.expect("no task panics");
        assert_eq!(answer, (Verified::Yes { is_outdated: false }, Verified::No));
    }
}

#[tokio::test]
async fn a_dropped_pool_has_ended_its_threads() {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::default());
    let pool = start(3, 4, &random);
    contract::hash(&pool, "Correct-Horse-1").await;
    drop(pool);
    // Each thread held the source of salts.
    assert_eq!(Arc::strong_count(&random), 1);
}

/// A source of salts that panics when it is asked first.
struct Faulty(std::sync::Once);

impl Random for Faulty {
    fn fill(&self, buffer: &mut [u8]) {
        let mut is_first = false;
        self.0.call_once(|| is_first = true);
        assert!(!is_first, "as the test asks");
        buffer.fill(1);
    }
}

#[tokio::test]
async fn a_panic_fails_its_job_and_the_thread_takes_the_next() {
    let random: Arc<dyn Random> = Arc::new(Faulty(std::sync::Once::new()));
    let pool = start(1, 4, &random);
    let failed = pool.hash(&Password::new("Correct-Horse-1".to_owned())).await;
    let failed = failed.expect_err("it panicked");
    assert!(failed.source.to_string().contains("panicked"));
    let stored = contract::hash(&pool, "Correct-Horse-1").await;
    let verified = contract::verify(&pool, "Correct-Horse-1", Some(&stored)).await;
    assert_eq!(verified, Verified::Yes { is_outdated: false });
    assert_eq!(pool.figures().pending, 0);
}

/// A source of salts that notes on which thread, and at which niceness, it is asked.
#[cfg(target_os = "linux")]
#[derive(Default)]
struct Witness(Mutex<Vec<(Option<String>, i32)>>);

#[cfg(target_os = "linux")]
impl Random for Witness {
    fn fill(&self, buffer: &mut [u8]) {
        let name = std::thread::current().name().map(str::to_owned);
        self.0
            .lock()
            .expect("no thread panics")
            .push((name, own_niceness()));
        buffer.fill(1);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_threads_stand_back_behind_the_rest() {
    let before = own_niceness();
    let witness = Arc::new(Witness::default());
    let random: Arc<dyn Random> = witness.clone();
    let pool = start(1, 1, &random);
    contract::hash(&pool, "Correct-Horse-1").await;
    let seen = witness.0.lock().expect("no thread panics").clone();
    let [(name, niceness)] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(name.as_deref(), Some("hashing-1"));
    assert!(*niceness >= 19, "{niceness}");
    assert_eq!(own_niceness(), before, "only the hashing threads stand back");
}

#[cfg(target_os = "linux")]
fn own_niceness() -> i32 {
    rustix::process::getpriority_process(None).expect("Linux knows it")
}
