//! The life of signing keys.

use auth_domain::key::{KeyState, KeyTimes, activation_of_new_key, active_index, rotation_is_due, states};
use auth_domain::time::{Seconds, Timestamp};
use proptest::prelude::*;

const CACHE: Seconds = Seconds::new(3_600);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn key(published: i64, activates: i64, signed_until: i64) -> KeyTimes {
    KeyTimes {
        published_at: at(published),
        activates_at: at(activates),
        signed_until: at(signed_until),
    }
}

#[test]
fn a_key_is_published_then_active_then_retiring_then_removed() {
    let keys = [key(0, 0, 500), key(100, 200, 900)];
    assert_eq!(states(&keys, at(199)), [KeyState::Active, KeyState::Published]);
    assert_eq!(states(&keys, at(200)), [KeyState::Retiring, KeyState::Active]);
    assert_eq!(states(&keys, at(499)), [KeyState::Retiring, KeyState::Active]);
    assert_eq!(states(&keys, at(500)), [KeyState::Removed, KeyState::Active]);
    assert_eq!(
        states(&keys, at(5_000)),
        [KeyState::Removed, KeyState::Active],
        "the active key never runs out"
    );
}

#[test]
fn before_the_first_activation_nothing_signs() {
    assert_eq!(states(&[key(0, 10, 10)], at(9)), [KeyState::Published]);
    assert_eq!(active_index(&[key(0, 10, 10)], at(9)), None);
    assert_eq!(active_index(&[], at(9)), None);
}

#[test]
fn a_key_overtaken_before_it_signed_is_removed() {
    let keys = [key(0, 50, 0), key(0, 60, 0)];
    assert_eq!(states(&keys, at(60)), [KeyState::Removed, KeyState::Active]);
}

#[test]
fn of_two_keys_that_activate_at_once_the_later_in_the_list_signs() {
    let keys = [key(0, 10, 100), key(0, 10, 100), key(0, 5, 100)];
    assert_eq!(active_index(&keys, at(10)), Some(1));
    assert_eq!(
        states(&keys, at(10)),
        [KeyState::Retiring, KeyState::Active, KeyState::Retiring]
    );
}

#[test]
fn all_but_removed_keys_are_published() {
    assert!(KeyState::Published.is_published());
    assert!(KeyState::Active.is_published());
    assert!(KeyState::Retiring.is_published());
    assert!(!KeyState::Removed.is_published());
}

#[test]
fn the_first_key_signs_at_once_and_a_later_one_when_every_cache_has_turned_over() {
    assert_eq!(activation_of_new_key(&[], CACHE, at(7)), at(7));
    assert_eq!(activation_of_new_key(&[key(0, 0, 0)], CACHE, at(7)), at(3_607));
    assert_eq!(
        activation_of_new_key(&[key(0, 50, 0)], CACHE, at(7)),
        at(7),
        "none signs yet"
    );
}

#[test]
fn the_next_key_is_published_a_cache_lifetime_before_the_interval_is_over() {
    let interval = Seconds::new(10_000);
    let keys = [key(0, 1_000, 0), key(0, 500, 0)];
    assert!(!rotation_is_due(&keys, interval, CACHE, at(7_399)));
    assert!(rotation_is_due(&keys, interval, CACHE, at(7_400)));
    assert!(rotation_is_due(&[], interval, CACHE, at(0)));
}

/// How long a new key is published before it signs: the cache's lifetime, and what an instance may be late by.
const LEAD: Seconds = Seconds::new(4_200);
/// The longest that an access token lives.
const LIFETIME: Seconds = Seconds::new(3_600);

/// The keys of ten automatic rotations, looked for once every `tick` seconds.
fn ten_rotations(interval: Seconds, tick: i64) -> Vec<KeyTimes> {
    let mut keys: Vec<KeyTimes> = vec![key(0, 0, 0)];
    for overtaken in 0..10 {
        let due = keys[overtaken].activates_at.plus(interval).minus(LEAD);
        let now = at((due.unix_seconds() + tick - 1).div_euclid(tick) * tick);
        assert!(rotation_is_due(&keys, interval, LEAD, now));
        let activates_at = activation_of_new_key(&keys, LEAD, now);
        keys[overtaken].signed_until = activates_at.plus(LIFETIME);
        keys.push(KeyTimes {
            published_at: now,
            activates_at,
            signed_until: now,
        });
    }
    keys
}

/// What an instance knows that notices everything so many seconds late.
fn noticed(keys: &[KeyTimes], now: i64, late: i64) -> Vec<KeyTimes> {
    let known = keys.iter().filter(|key| key.published_at <= at(now - late));
    // The first is there before there is an instance.
    let count = known.count().max(1);
    keys[..count].to_vec()
}

proptest! {
    /// In the field: a verifier fetches the key set at any moment, from an instance that is late; keeps it for up to an
    /// hour and never asks again; and is shown a token of any age, signed by an instance that is late by something else.
    #[test]
    fn no_verifier_meets_an_unknown_key_through_ten_rotations(
        interval in 7_200_u32..1_000_000,
        tick in 1_i64..600,
        fetched in 0.0_f64..1.0,
        (kept, age) in (0_i64..=3_600, 0_i64..=3_600),
        (late_here, late_there) in (0_i64..=600, 0_i64..=600),
    ) {
        let keys = ten_rotations(Seconds::new(interval), tick);
        let end = keys[10].activates_at.plus(Seconds::new(7_200)).unix_seconds();
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any moment will do")]
        let fetched_at = (end as f64 * fetched) as i64;
        let known = noticed(&keys, fetched_at, late_here);
        let cached = states(&known, at(fetched_at));
        let signed_at = (fetched_at + kept - age).max(0);
        let signer = active_index(&noticed(&keys, signed_at, late_there), at(signed_at)).unwrap();
        prop_assert!(
            cached.get(signer).is_some_and(|state| state.is_published()),
            "key {signer} of {known:?} at {fetched_at}"
        );
    }

    /// A verifier that has just cached the set, and asks again only after the cache's lifetime, knows every key.
    #[test]
    fn a_verifier_with_a_full_cache_lifetime_never_meets_an_unknown_key(
        interval in 7_200_u32..100_000, offset in 0_i64..3_600, rounds in 1_usize..11,
    ) {
        let mut keys: Vec<KeyTimes> = Vec::new();
        let mut cached: Vec<usize> = Vec::new();
        let mut fetched_at = i64::MIN / 2;
        let end = i64::from(interval) * i64::try_from(rounds).unwrap();
        let mut now = 0;
        while now < end {
            if rotation_is_due(&keys, Seconds::new(interval), CACHE, at(now)) {
                let activates_at = activation_of_new_key(&keys, CACHE, at(now));
                keys.push(KeyTimes { published_at: at(now), activates_at, signed_until: at(now) });
            }
            let now_states = states(&keys, at(now));
            if now - fetched_at >= 3_600 {
                cached = (0..keys.len()).filter(|index| now_states[*index].is_published()).collect();
                fetched_at = now;
            }
            let active = active_index(&keys, at(now)).unwrap();
            prop_assert!(cached.contains(&active));
            prop_assert_eq!(now_states.iter().filter(|state| **state == KeyState::Active).count(), 1);
            keys[active].signed_until = at(now + 500_000);
            now += 600 + offset / 6;
        }
    }
}
