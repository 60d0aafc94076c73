//! The life of keys under a clock that the test moves: published, active, retiring, removed.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use auth_domain::key::KeyState;
use auth_domain::ports::{Clock as _, Genuine, TokenSigner as _};
use auth_domain::time::{Seconds, Timestamp};
use auth_jwt::{
    DirectorySettings, ImportAs, KeyBits, KeyError, KeyFigures, KeyRing, KeySource, KeyStore, RsaKey,
};
use auth_testkit::MockClock;
use auth_testkit::clock::START;
use auth_testkit::contract::signer as contract;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::common::{CACHE, KID_OF_OLD, LEAD, directory, fixture, kid, ring, settings, store, write};

const DAY: Seconds = Seconds::new(86_400);
/// More than a tick, less than the margin.
const NOTICED_LATE: Seconds = Seconds::new(500);
const MONTH: Seconds = Seconds::new(2_592_000);

/// The `kid` values of a published key set.
fn published(ring: &KeyRing) -> Vec<String> {
    let key_set = ring.key_set().expect("a key is active");
    let document: serde_json::Value = serde_json::from_slice(&key_set.json).expect("JSON");
    let keys = document
        .get("keys")
        .and_then(|keys| keys.as_array())
        .expect("an array");
    keys.iter().map(|key| text_of(key, "kid")).collect()
}

/// The `kid` that a token's header names.
fn kid_of(token: &str) -> String {
    let header = token.split('.').next().expect("a token has parts");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    text_of(&header, "kid")
}

fn text_of(value: &serde_json::Value, member: &str) -> String {
    let text = value.get(member).and_then(|text| text.as_str());
    text.expect("a member that is text").to_owned()
}

fn states(ring: &KeyRing, clock: &MockClock) -> Vec<KeyState> {
    let store = ring.store().expect("the ring has a directory");
    let keys = store.list(clock.now()).expect("the directory is in order");
    keys.iter().map(|key| key.state).collect()
}

fn rotating_ring(path: &std::path::Path, clock: &MockClock) -> KeyRing {
    let settings = DirectorySettings {
        rotation_interval: Some(DAY),
        ..settings(path)
    };
    KeyRing::open(KeySource::Directory(settings), Arc::new(clock.clone())).expect("in order")
}

#[test]
fn the_figures_tell_states_and_when_the_active_key_began_and_ends() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = rotating_ring(own.path(), &clock);
    let first = KeyFigures {
        published: 0,
        active: 1,
        retiring: 0,
        active_since: Some(START),
        active_until: Some(START.plus(DAY)),
    };
    assert_eq!(ring.figures(), first);

    clock.advance(Seconds::new(100));
    store(own.path(), clock.now())
        .rotate(clock.now())
        .expect("a key can be made");
    ring.refresh().expect("the directory is in order");
    let handover = clock.now().plus(LEAD);
    let announced = KeyFigures {
        published: 1,
        active_until: Some(handover),
        ..first
    };
    assert_eq!(ring.figures(), announced, "by hand, and before its time");

    // The first has signed nothing, so nothing needs it any more.
    clock.advance(LEAD);
    let after = KeyFigures {
        active_since: Some(handover),
        active_until: Some(handover.plus(DAY)),
        ..first
    };
    assert_eq!(ring.figures(), after);
}

#[test]
fn without_an_interval_the_figures_know_no_end() {
    let (own, clock) = (directory(), MockClock::default());
    let figures = ring(own.path(), &clock).figures();
    assert_eq!((figures.active_since, figures.active_until), (Some(START), None));
}

#[tokio::test]
async fn a_key_is_published_then_active_then_retiring_then_removed() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let old = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(states(&ring, &clock), [KeyState::Active]);

    store(own.path(), clock.now())
        .rotate(clock.now())
        .expect("a key can be made");
    ring.refresh().expect("the directory is in order");
    assert_eq!(states(&ring, &clock), [KeyState::Active, KeyState::Published]);
    assert_eq!(published(&ring).len(), 2);
    let before = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(kid_of(before.access.expose()), kid_of(old.access.expose()));

    clock.advance(LEAD);
    assert_eq!(states(&ring, &clock), [KeyState::Retiring, KeyState::Active]);
    let after = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_ne!(kid_of(after.access.expose()), kid_of(old.access.expose()));
    assert!(contract::accepts(&ring, old.refresh.expose()));

    clock.set(START.plus(MONTH).minus(Seconds::new(1)));
    assert!(
        contract::accepts(&ring, old.refresh.expose()),
        "it has a second to live"
    );
    clock.set(START.plus(MONTH).plus(DAY).plus(Seconds::new(1)));
    assert_eq!(states(&ring, &clock), [KeyState::Removed, KeyState::Active]);
    assert!(!contract::accepts(&ring, old.refresh.expose()));
    assert_eq!(published(&ring), [kid_of(after.access.expose())]);
}

#[tokio::test]
async fn ten_rotations_never_show_a_token_to_a_verifier_that_does_not_know_its_key() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = rotating_ring(own.path(), &clock);
    let mut kids = HashSet::new();
    let mut cached = published(&ring);
    // Half an hour a step; the verifier fetches the key set each hour and never in between.
    for step in 0..(10 * 48 + 4) {
        ring.refresh().expect("the directory is in order");
        if step % 2 == 0 {
            cached = published(&ring);
        }
        let pair = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
        let signed_by = kid_of(pair.access.expose());
        assert!(cached.contains(&signed_by), "step {step}");
        kids.insert(signed_by);
        clock.advance(Seconds::new(1_800));
    }
    assert_eq!(kids.len(), 11);
}

/// A key set as a verifier keeps it, or a token, with the moment it is of.
struct Dated<T> {
    at: Timestamp,
    what: T,
}

/// Drops what is older than an hour: so long a verifier keeps a key set, and so long an access token lives at most.
fn forget_old<T>(dated: &mut VecDeque<Dated<T>>, now: Timestamp) {
    while dated.front().is_some_and(|oldest| oldest.at.plus(CACHE) < now) {
        dated.pop_front();
    }
}

/// Every verifier there could be: one that fetches at each step, from either of two instances, and keeps what it got
/// for an hour. It is shown every token that lives, of either instance. The second instance never looks at unknown keys
/// and notices what the first has done almost ten minutes late.
#[tokio::test]
async fn no_verifier_meets_an_unknown_key_through_ten_automatic_rotations_by_two_instances() {
    const STEP: Seconds = Seconds::new(290);
    let (own, clock) = (directory(), MockClock::default());
    let interval = Seconds::new(6 * 3_600);
    let settings = DirectorySettings {
        rotation_interval: Some(interval),
        ..settings(own.path())
    };
    let first = KeyRing::open(KeySource::Directory(settings), Arc::new(clock.clone())).expect("in order");
    let second = ring(own.path(), &clock);
    let (mut fetched, mut issued, mut kids) = (VecDeque::new(), VecDeque::new(), HashSet::new());
    let mut step = 0;
    while kids.len() < 11 {
        first.refresh().expect("in order");
        if step % 2 == 1 {
            second.refresh().expect("in order");
        }
        let now = clock.now();
        for ring in [&first, &second] {
            let what = published(ring);
            fetched.push_back(Dated { at: now, what });
            let pair = contract::sign(ring, &contract::pair_claims(now)).await;
            let what = kid_of(pair.access.expose());
            kids.insert(what.clone());
            issued.push_back(Dated { at: now, what });
        }
        forget_old(&mut fetched, now);
        forget_old(&mut issued, now);
        for Dated { at, what: set } in &fetched {
            let unknown = issued.iter().find(|token| !set.contains(&token.what));
            let unknown = unknown.map(|token| (token.at, *at));
            assert_eq!(unknown, None, "step {step}: (issued, fetched)");
        }
        clock.advance(STEP);
        step += 1;
    }
}

/// The verifier fetches the key set at the worst moment, when another process has rotated and this ring has not
/// noticed, and keeps it for as long as it may.
#[tokio::test]
async fn ten_rotations_by_another_process_are_known_to_a_verifier_that_fetched_just_before_they_were_noticed()
{
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let another = store(own.path(), clock.now());
    for rotation in 0..10 {
        let next = another.rotate(clock.now()).expect("a key can be made");
        clock.advance(NOTICED_LATE);
        let cached = published(&ring);
        assert!(!cached.contains(&next.kid.to_string()), "rotation {rotation}");
        ring.refresh().expect("the directory is in order");

        clock.advance(CACHE);
        let pair = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
        assert!(
            cached.contains(&kid_of(pair.access.expose())),
            "rotation {rotation}"
        );

        clock.set(next.times.activates_at);
        let pair = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
        assert_eq!(kid_of(pair.access.expose()), next.kid.to_string());
    }
}

#[test]
fn an_interval_publishes_the_next_key_in_time_and_only_once() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = rotating_ring(own.path(), &clock);
    clock.set(START.plus(DAY).minus(LEAD).minus(Seconds::new(1)));
    assert_eq!(ring.refresh().expect("in order"), None);
    clock.advance(Seconds::new(1));
    let next = ring.refresh().expect("in order").expect("it is due");
    assert_eq!(next.state, KeyState::Published);
    assert_eq!(next.times.activates_at, START.plus(DAY));
    assert_eq!(ring.refresh().expect("in order"), None);
}

#[tokio::test]
async fn the_key_set_is_made_once_per_change() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let first = ring.key_set().expect("a key is active");
    contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    for _ in 0..100 {
        clock.advance(Seconds::new(60));
        ring.refresh().expect("in order");
        assert!(Arc::ptr_eq(&first, &ring.key_set().expect("a key is active")));
    }
    ring.store()
        .expect("a directory")
        .rotate(clock.now())
        .expect("a key can be made");
    ring.refresh().expect("in order");
    let second = ring.key_set().expect("a key is active");
    assert_ne!(first.etag, second.etag);
    assert!(Arc::ptr_eq(&second, &ring.key_set().expect("a key is active")));
}

#[tokio::test]
async fn how_long_a_keys_tokens_live_is_written_once_a_day_and_before_they_are_given_out() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let manifest = || std::fs::read(own.path().join("keyring.json")).expect("it is there");
    let mut written = HashSet::from([manifest()]);
    for hour in 0..48 {
        let claims = contract::pair_claims(clock.now());
        contract::sign(&ring, &claims).await;
        let described = ring
            .store()
            .expect("a directory")
            .list(clock.now())
            .expect("in order");
        let last_expiry = claims.refresh.exp.into();
        assert!(
            described.iter().all(|key| key.times.signed_until >= last_expiry),
            "hour {hour}"
        );
        written.insert(manifest());
        clock.advance(Seconds::new(3_600));
    }
    assert_eq!(written.len(), 3);
}

#[tokio::test]
async fn a_key_that_signs_at_once_overtakes_the_active_one() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let old = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    clock.advance(Seconds::new(1));
    let store = ring.store().expect("a directory");
    let new = store.rotate_at_once(clock.now()).expect("a key can be made");
    assert_eq!(new.state, KeyState::Active);
    ring.refresh().expect("in order");
    let pair = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(kid_of(pair.access.expose()), new.kid.to_string());
    assert!(contract::accepts(&ring, old.refresh.expose()));
}

#[tokio::test]
async fn a_refresh_token_is_the_same_when_the_next_key_activates_before_it_is_given_again() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    let next = store(own.path(), clock.now())
        .rotate(clock.now())
        .expect("a key can be made");
    ring.refresh().expect("the directory is in order");
    clock.set(next.times.activates_at.minus(Seconds::new(1)));
    let issued = contract::pair_claims(clock.now());
    contract::a_change_of_keys_gives_the_same_refresh_token_again(&ring, &issued, || {
        clock.set(next.times.activates_at);
    })
    .await;
    let again = contract::sign(&ring, &issued).await;
    assert_ne!(kid_of(again.refresh.expose()), next.kid.to_string());
    assert_eq!(kid_of(again.access.expose()), next.kid.to_string());
    // By the next second: `iat` has no fractions.
    clock.advance(Seconds::new(1));
    let later = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(kid_of(later.refresh.expose()), next.kid.to_string());
}

#[tokio::test]
async fn a_retired_key_that_signs_again_stays_until_that_token_has_expired() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    // `iat` has no fractions: in its first second the key would not have been there yet.
    clock.advance(Seconds::new(1));
    let issued = contract::pair_claims(clock.now());
    let first = contract::sign(&ring, &issued).await;
    let store = ring.store().expect("a directory");
    clock.advance(Seconds::new(1));
    store.rotate_at_once(clock.now()).expect("a key can be made");
    ring.refresh().expect("in order");
    let mut longer = issued;
    longer.refresh.exp = START.plus(Seconds::new(MONTH.get() * 2)).into();
    let again = contract::sign(&ring, &longer).await;
    assert_eq!(kid_of(again.refresh.expose()), kid_of(first.refresh.expose()));
    let keys = store.list(clock.now()).expect("in order");
    assert!(keys[0].times.signed_until >= longer.refresh.exp.into());
    assert!(keys[1].times.signed_until >= longer.access.exp.into());
}

#[tokio::test]
async fn a_key_that_is_gone_or_only_verifies_signs_no_refresh_token_of_its_time() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let store = ring.store().expect("a directory");
    let until = START.plus(MONTH);
    store
        .import(
            &fixture("private_key.pem"),
            Some(kid(KID_OF_OLD)),
            ImportAs::Verifier { until },
            clock.now(),
        )
        .expect("the fixture is a key");
    store.rotate(clock.now()).expect("a key can be made");
    ring.refresh().expect("in order");
    clock.advance(LEAD);
    let active = ring.key_set().expect("a key is active").active_kid.clone();
    // The first key never signed anything, so it is removed; before it there was only the imported one.
    for issued_at in [START, START.minus(Seconds::new(1))] {
        let pair = contract::sign(&ring, &contract::pair_claims(issued_at)).await;
        assert_eq!(kid_of(pair.refresh.expose()), active);
    }
}

#[tokio::test]
async fn a_clock_set_back_brings_back_the_key_of_that_time() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let old = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    ring.store()
        .expect("a directory")
        .rotate(clock.now())
        .expect("a key can be made");
    ring.refresh().expect("in order");
    clock.advance(LEAD);
    contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    clock.set(START);
    let again = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(again.access.expose(), old.access.expose());
}

#[tokio::test]
async fn two_rings_over_one_directory_follow_each_other() {
    let (own, clock) = (directory(), MockClock::default());
    let (one, two) = (ring(own.path(), &clock), ring(own.path(), &clock));
    assert_eq!(published(&one), published(&two));
    one.store()
        .expect("a directory")
        .rotate_at_once(clock.now())
        .expect("a key can be made");
    one.refresh().expect("in order");
    let pair = contract::sign(&one, &contract::pair_claims(clock.now())).await;
    // Nobody has told the other ring: the unknown key makes it look.
    assert!(contract::accepts(&two, pair.refresh.expose()));
    assert_eq!(published(&one), published(&two));
}

#[tokio::test]
async fn unknown_keys_make_the_ring_look_at_its_directory_only_once_in_a_while() {
    let (own, clock) = (directory(), MockClock::default());
    let (one, two) = (ring(own.path(), &clock), ring(own.path(), &clock));
    let stranger = directory();
    let forged = contract::sign(&ring(stranger.path(), &clock), &contract::pair_claims(START)).await;
    assert!(!contract::accepts(&two, forged.refresh.expose()));
    one.store()
        .expect("a directory")
        .rotate_at_once(clock.now())
        .expect("a key can be made");
    one.refresh().expect("in order");
    let pair = contract::sign(&one, &contract::pair_claims(clock.now())).await;
    assert!(
        !contract::accepts(&two, pair.refresh.expose()),
        "it has just looked"
    );
    clock.advance(Seconds::new(5));
    assert!(contract::accepts(&two, pair.refresh.expose()));
}

#[tokio::test]
async fn no_token_is_called_forged_while_the_directory_that_may_hold_its_key_can_not_be_read() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let own_pair = contract::sign(&ring, &contract::pair_claims(START)).await;
    let stranger = directory();
    let unknown = contract::sign(
        &self::ring(stranger.path(), &clock),
        &contract::pair_claims(START),
    )
    .await;
    let manifest = own.path().join("keyring.json");
    let whole = std::fs::read(&manifest).expect("the manifest is there");
    write(&manifest, b"damaged", 0o600);
    // The second time nobody looks, since somebody just has.
    for _ in 0..2 {
        assert!(ring.verify_refresh(&unknown.refresh).is_err());
        assert!(ring.verify_access(&unknown.access).is_err());
        assert!(contract::accepts(&ring, own_pair.refresh.expose()));
    }
    write(&manifest, &whole, 0o600);
    clock.advance(Seconds::new(5));
    assert!(!contract::accepts(&ring, unknown.refresh.expose()));
}

#[test]
fn an_imported_key_verifies_what_it_signed_elsewhere_and_never_signs() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let until = START.plus(MONTH);
    let purpose = ImportAs::Verifier { until };
    let store = ring.store().expect("a directory");
    let imported = store
        .import(
            &fixture("private_key.pem"),
            Some(kid(KID_OF_OLD)),
            purpose,
            clock.now(),
        )
        .expect("the fixture is a key");
    assert_eq!(imported.state, KeyState::Retiring);
    ring.refresh().expect("in order");
    assert_ne!(ring.key_set().expect("a key is active").active_kid, KID_OF_OLD);
    let text = String::from_utf8(fixture("access_token.txt")).expect("a token is text");
    let token = auth_domain::secret::Token::new(text);
    assert!(matches!(ring.verify_access(&token), Ok(Genuine::Yes(_))));
    clock.set(until);
    assert!(matches!(ring.verify_access(&token), Ok(Genuine::No(_))));
}

#[test]
fn a_verifier_taken_in_again_verifies_for_longer_and_never_for_less() {
    let (own, clock) = (directory(), MockClock::default());
    let store = store(own.path(), clock.now());
    let import = |months: u32| {
        let until = START.plus(Seconds::new(MONTH.get() * months));
        let (pem, purpose) = (fixture("private_key.pem"), ImportAs::Verifier { until });
        let imported = store.import(&pem, Some(kid(KID_OF_OLD)), purpose, clock.now());
        imported.expect("the fixture is a key").times.signed_until
    };
    assert_eq!(import(2), START.plus(Seconds::new(MONTH.get() * 2)));
    assert_eq!(import(3), START.plus(Seconds::new(MONTH.get() * 3)));
    assert_eq!(import(1), START.plus(Seconds::new(MONTH.get() * 3)));
    assert_eq!(store.list(clock.now()).expect("in order").len(), 2);
}

#[test]
fn another_key_does_not_take_the_name_of_one_that_is_there() {
    let (own, clock) = (directory(), MockClock::default());
    let store = store(own.path(), clock.now());
    let pem = fixture("private_key.pem");
    let verifier = ImportAs::Verifier {
        until: START.plus(MONTH),
    };
    let name = || Some(kid(KID_OF_OLD));
    store.import(&pem, name(), verifier, clock.now()).expect("a key");
    let (_, other) = RsaKey::generate(KeyBits::Rsa2048).expect("a key can be made");
    for (pem, purpose) in [(&other[..], verifier), (&pem[..], ImportAs::Signer)] {
        let taken = store.import(pem, name(), purpose, clock.now());
        assert!(matches!(taken, Err(KeyError::KidTaken(_))), "{taken:?}");
    }
}

/// The longest of the older service's refresh tokens lives for ten years.
#[test]
fn a_key_stays_published_for_as_long_as_the_tokens_that_it_signed_elsewhere_live() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let store = ring.store().expect("a directory");
    let pem = fixture("private_key.pem");
    let until = START.plus(MONTH);
    store
        .import(
            &pem,
            Some(kid(KID_OF_OLD)),
            ImportAs::Verifier { until },
            clock.now(),
        )
        .expect("the fixture is a key");
    let ten_years = START.plus(Seconds::new(315_360_000));
    store
        .raise_signed_until(&kid(KID_OF_OLD), ten_years)
        .expect("it is there");
    store
        .raise_signed_until(&kid(KID_OF_OLD), until)
        .expect("it is there");
    ring.refresh().expect("in order");
    clock.set(ten_years.minus(Seconds::new(1)));
    assert!(published(&ring).contains(&KID_OF_OLD.to_owned()));
    assert_eq!(store.sweep(clock.now()).expect("in order"), []);
    clock.set(ten_years);
    assert!(!published(&ring).contains(&KID_OF_OLD.to_owned()));
    let unknown = store.raise_signed_until(&kid("unknown"), ten_years);
    assert!(matches!(unknown, Err(KeyError::Gone(_))), "{unknown:?}");
}

/// Verifiers in the field know that key from the older service's key set, and no other for up to an hour.
#[tokio::test]
async fn a_key_taken_into_a_new_directory_is_the_first_and_signs_at_once() {
    let (own, clock) = (directory(), MockClock::default());
    let path = own.path().join("keys");
    let take_in = || {
        let store = KeyStore::open_for_import(settings(&path), ImportAs::Signer, clock.now());
        store.expect("in order").import(
            &fixture("private_key.pem"),
            Some(kid(KID_OF_OLD)),
            ImportAs::Signer,
            clock.now(),
        )
    };
    assert_eq!(take_in().expect("a key").state, KeyState::Active);
    assert!(matches!(take_in(), Err(KeyError::KidTaken(_))));
    let ring = ring(&path, &clock);
    assert_eq!(published(&ring), [KID_OF_OLD]);
    let pair = contract::sign(&ring, &contract::pair_claims(clock.now())).await;
    assert_eq!(kid_of(pair.refresh.expose()), KID_OF_OLD);
}

#[test]
fn a_verifier_taken_into_a_new_directory_has_a_signer_beside_it() {
    let (own, clock) = (directory(), MockClock::default());
    let until = START.plus(MONTH);
    let purpose = ImportAs::Verifier { until };
    let store = KeyStore::open_for_import(settings(own.path()), purpose, clock.now()).expect("in order");
    let pem = fixture("private_key.pem");
    let imported = store.import(&pem, None, purpose, clock.now()).expect("a key");
    assert_eq!(imported.state, KeyState::Retiring);
    assert_eq!(
        states(&ring(own.path(), &clock), &clock),
        [KeyState::Active, KeyState::Retiring]
    );
}

#[test]
fn an_imported_signer_waits_for_the_caches_of_verifiers() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let store = ring.store().expect("a directory");
    let pem = fixture("private_key.pem");
    let imported = store
        .import(&pem, None, ImportAs::Signer, clock.now())
        .expect("a key");
    assert_eq!(imported.state, KeyState::Published);
    ring.refresh().expect("in order");
    clock.advance(LEAD);
    let active = &ring.key_set().expect("a key is active").active_kid;
    assert_eq!(*active, imported.kid.to_string());
}

#[test]
fn sweeping_deletes_what_is_good_for_nothing_any_more_and_nothing_else() {
    let (own, clock) = (directory(), MockClock::default());
    let ring = ring(own.path(), &clock);
    let store = ring.store().expect("a directory");
    let old = kid(&ring.key_set().expect("a key is active").active_kid);
    store.rotate(clock.now()).expect("a key can be made");
    assert_eq!(store.sweep(clock.now()).expect("in order"), []);
    clock.advance(LEAD);
    // It was overtaken before it signed anything.
    assert_eq!(
        store.sweep(clock.now()).expect("in order"),
        std::slice::from_ref(&old)
    );
    assert!(!own.path().join(format!("{old}.pem")).exists());
    assert_eq!(states(&ring, &clock), [KeyState::Active]);
    ring.refresh().expect("in order");
    assert_eq!(published(&ring).len(), 1);
}
