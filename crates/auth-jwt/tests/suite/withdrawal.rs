//! Keys that are taken out of the set before their time: one that has leaked, or that nobody wanted.

use auth_domain::key::KeyState;
use auth_domain::ports::{Clock as _, TokenSigner as _};
use auth_domain::time::Seconds;
use auth_jwt::{KeyRing, Kid, Withdrawn};
use auth_testkit::MockClock;
use auth_testkit::contract::signer as contract;

use crate::common::{directory, kid, ring, store};

fn active(ring: &KeyRing) -> Kid {
    kid(&ring.key_set().expect("a key is active").active_kid)
}

fn is_published(ring: &KeyRing, kid: &Kid) -> bool {
    let set = ring.key_set().expect("a key is active").json.clone();
    String::from_utf8_lossy(&set).contains(kid.as_str())
}

#[tokio::test]
async fn the_tokens_of_a_withdrawn_key_die_and_those_of_the_next_live_on() {
    let (own, clock) = (directory(), MockClock::default());
    let (here, elsewhere) = (ring(own.path(), &clock), ring(own.path(), &clock));
    let leaked = active(&here);
    let old = contract::sign(&here, &contract::pair_claims(clock.now())).await;
    clock.advance(Seconds::new(1));
    let keys = store(own.path(), clock.now());
    keys.rotate_at_once(clock.now()).expect("a key can be made");
    assert_eq!(
        keys.withdraw(&leaked, clock.now()).expect("in order"),
        Withdrawn::Done(KeyState::Retiring)
    );
    for ring in [&here, &elsewhere] {
        ring.refresh().expect("in order");
        assert!(!contract::accepts(ring, old.access.expose()));
        assert!(!contract::accepts(ring, old.refresh.expose()));
        assert!(!is_published(ring, &leaked));
    }
    let new = contract::sign(&here, &contract::pair_claims(clock.now())).await;
    assert!(contract::accepts(&elsewhere, new.refresh.expose()));
    assert!(!own.path().join(format!("{leaked}.pem")).exists());
    assert_eq!(keys.strays().expect("in order").len(), 0);
}

#[test]
fn the_key_that_signs_is_not_withdrawn() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let active = active(&ring);
    let keys = store(own.path(), clock.now());
    let outcome = keys.withdraw(&active, clock.now()).expect("in order");
    assert_eq!(outcome, Withdrawn::Signs);
    assert!(own.path().join(format!("{active}.pem")).exists());
    ring.refresh().expect("in order");
    assert!(is_published(&ring, &active));
}

#[test]
fn a_key_that_waits_for_its_time_is_withdrawn_and_never_signs() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let first = active(&ring);
    let keys = store(own.path(), clock.now());
    let next = keys.rotate(clock.now()).expect("a key can be made");
    assert_eq!(
        keys.state(&next.kid, clock.now()).expect("in order"),
        Some(KeyState::Published)
    );
    assert_eq!(
        keys.withdraw(&next.kid, clock.now()).expect("in order"),
        Withdrawn::Done(KeyState::Published)
    );
    clock.set(next.times.activates_at);
    ring.refresh().expect("in order");
    assert_eq!(active(&ring), first);
}

#[test]
fn a_key_is_withdrawn_once_and_whether_or_not_its_file_can_be_read() {
    let (own, clock) = (directory(), MockClock::default());
    let keys = store(own.path(), clock.now());
    let next = keys.rotate(clock.now()).expect("a key can be made");
    std::fs::remove_file(own.path().join(format!("{}.pem", next.kid))).expect("it is there");
    let withdraw = |kid: &Kid| keys.withdraw(kid, clock.now()).expect("in order");
    assert_eq!(withdraw(&next.kid), Withdrawn::Done(KeyState::Published));
    assert_eq!(withdraw(&next.kid), Withdrawn::Unknown);
    assert_eq!(keys.state(&next.kid, clock.now()).expect("in order"), None);
}
