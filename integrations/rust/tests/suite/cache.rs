//! The key set is asked for rarely, once at a time, and kept while nobody answers.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use codelab_auth_resource::{
    FetchError, FetchKeySet, KeySetCache, KeySetLimits, KeysUnavailable, Policy, Refusal, TokenVerifier,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::vectors::{document, token};

/// A server that answers as told, and the time, in milliseconds.
#[derive(Clone, Default)]
struct World {
    answer: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
    now: Arc<AtomicU64>,
    gate: Arc<(Mutex<bool>, Condvar)>,
    is_broken: Arc<AtomicBool>,
}

impl FetchKeySet for World {
    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (is_closed, opened) = &*self.gate;
        drop(
            opened
                .wait_while(is_closed.lock().unwrap(), |is_closed| *is_closed)
                .unwrap(),
        );
        assert!(
            !self.is_broken.swap(false, Ordering::SeqCst),
            "the source panics once"
        );
        let answer = self.answer.lock().unwrap().clone();
        answer
            .map(|answer| answer.to_string().into_bytes())
            .ok_or(FetchError::Content("away"))
    }
}

impl World {
    fn with(keys: &[&str]) -> (Self, TokenVerifier) {
        let world = Self::default();
        world.publish(keys);
        let now = Arc::clone(&world.now);
        let clock = Arc::new(move || Duration::from_millis(now.load(Ordering::SeqCst)));
        let cache = KeySetCache::of(world.clone(), KeySetLimits::default(), clock);
        let at = document()["now"].as_f64().unwrap();
        let policy = Policy::of("https://auth.example.org");
        (
            world,
            TokenVerifier::by_clock(cache, policy, Arc::new(move || at)),
        )
    }

    fn publish(&self, names: &[&str]) {
        let keys = document()["key_set"]["keys"].as_array().unwrap();
        let keys: Vec<&Value> = keys
            .iter()
            .filter(|key| names.contains(&key["kid"].as_str().unwrap()))
            .collect();
        *self.answer.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn go_away(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn pass(&self, milliseconds: u64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn close(&self, is_closed: bool) {
        *self.gate.0.lock().unwrap() = is_closed;
        self.gate.1.notify_all();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until somebody has asked so often.
    async fn until_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }
}

const FIRST: &str = "an access token is accepted";
const SECOND: &str = "a token of the next key is accepted";
const UNKNOWN: &str = "an unknown kid";
const HOUR: u64 = 3_600_000;

async fn accepts(verifier: &TokenVerifier, name: &str) -> bool {
    match verifier.verify(token(name)).await.unwrap() {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal, Refusal::UnknownKey);
            false
        }
    }
}

#[tokio::test]
async fn for_an_hour_one_request_is_enough() {
    let (world, verifier) = World::with(&["first"]);
    for _ in 0..3 {
        assert!(accepts(&verifier, FIRST).await);
        world.pass(1_199_000);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn after_an_hour_the_old_keys_serve_while_new_ones_are_fetched() {
    let (world, verifier) = World::with(&["first"]);
    assert!(accepts(&verifier, FIRST).await);
    world.pass(HOUR);
    world.close(true);
    assert!(accepts(&verifier, FIRST).await);
    world.until_asked(2).await;
    world.publish(&["second"]);
    world.close(false);
    assert!(accepts(&verifier, SECOND).await);
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_in_thirty_seconds() {
    let (world, verifier) = World::with(&["first"]);
    assert!(accepts(&verifier, FIRST).await);
    for _ in 0..100 {
        assert!(!accepts(&verifier, UNKNOWN).await);
    }
    assert_eq!(world.asked(), 2);
    world.publish(&["first", "second"]);
    world.pass(29_900);
    assert!(!accepts(&verifier, SECOND).await);
    world.pass(100);
    assert!(accepts(&verifier, SECOND).await);
    assert_eq!(world.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_who_wait_one_asks_though_the_first_hangs_up() {
    let (world, verifier) = World::with(&["first"]);
    world.close(true);
    let ask = || {
        let verifier = verifier.clone();
        tokio::spawn(async move { accepts(&verifier, FIRST).await })
    };
    let first = ask();
    world.until_asked(1).await;
    let others: Vec<_> = (0..50).map(|_| ask()).collect();
    first.abort();
    world.close(false);
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn known_keys_serve_on_while_no_key_set_can_be_had() {
    let (world, verifier) = World::with(&["first"]);
    assert!(accepts(&verifier, FIRST).await);
    let no_key_sets = [
        None,
        Some(json!([])),
        Some(json!({ "keys": [] })),
        Some(json!({ "keys": [{ "kty": "oct", "kid": "first", "k": "c2VjcmV0" }] })),
    ];
    for (turn, answer) in no_key_sets.into_iter().enumerate() {
        *world.answer.lock().unwrap() = answer;
        world.pass(HOUR);
        assert!(accepts(&verifier, FIRST).await);
        world.until_asked(turn + 2).await;
        assert!(!accepts(&verifier, SECOND).await);
    }
}

#[tokio::test]
async fn keys_that_are_a_day_old_serve_no_longer() {
    let (world, verifier) = World::with(&["first"]);
    assert!(accepts(&verifier, FIRST).await);
    world.go_away();
    world.pass(24 * HOUR);
    assert_eq!(verifier.verify(token(FIRST)).await.unwrap_err(), KeysUnavailable);
    world.publish(&["first"]);
    world.pass(1_000);
    assert!(accepts(&verifier, FIRST).await);
}

#[tokio::test]
async fn without_any_key_a_second_passes_between_two_requests() {
    let (world, verifier) = World::with(&["first"]);
    world.go_away();
    for _ in 0..10 {
        assert!(verifier.verify(token(FIRST)).await.is_err());
    }
    assert_eq!(world.asked(), 1);
    world.publish(&["first"]);
    world.pass(1_000);
    assert!(accepts(&verifier, FIRST).await);
}

#[tokio::test]
async fn a_source_that_panics_is_asked_again() {
    let (world, verifier) = World::with(&["first"]);
    world.is_broken.store(true, Ordering::SeqCst);
    assert_eq!(verifier.verify(token(FIRST)).await.unwrap_err(), KeysUnavailable);
    world.pass(1_000);
    assert!(accepts(&verifier, FIRST).await);
    world.is_broken.store(true, Ordering::SeqCst);
    assert!(!accepts(&verifier, SECOND).await);
    world.publish(&["second"]);
    world.pass(30_000);
    assert!(accepts(&verifier, SECOND).await);
    assert_eq!(world.asked(), 4);
}

#[test]
fn a_request_that_ends_with_its_runtime_is_waited_for_by_nobody() {
    let (world, verifier) = World::with(&["first"]);
    let (open, gate) = mpsc::channel::<()>();
    let first = runtime();
    first.block_on(async {
        // The only thread for what blocks: the request has to wait for it.
        tokio::task::spawn_blocking(move || gate.recv());
        let mut judging = pin!(verifier.verify(token(FIRST)));
        poll_fn(|context| Poll::Ready(judging.as_mut().poll(context).is_pending())).await
    });
    first.shutdown_background();
    drop(open);
    let second = runtime();
    while second.block_on(verifier.verify(token(FIRST))).is_err() {
        world.pass(1_000);
    }
    assert_eq!(world.asked(), 1);
}

#[test]
fn a_request_that_no_runtime_can_make_is_waited_for_by_nobody() {
    let (world, verifier) = World::with(&["first"]);
    let outside = catch_unwind(AssertUnwindSafe(|| {
        let mut judging = pin!(verifier.verify(token(FIRST)));
        judging
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }));
    assert!(outside.is_err());
    world.pass(1_000);
    assert!(runtime().block_on(accepts(&verifier, FIRST)));
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(1).build().unwrap()
}

#[tokio::test]
async fn nobody_asks_where_no_server_is() {
    let cache = KeySetCache::new("http://127.0.0.1:1/.well-known/jwks.json");
    let verifier = TokenVerifier::new(cache, Policy::of("https://auth.example.org"));
    assert!(verifier.verify(token(FIRST)).await.is_err());
}
