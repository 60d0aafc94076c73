//! Counters that slow guessing down.

use std::net::IpAddr;

use auth_domain::id::UserId;
use auth_domain::throttle::{
    AccountKey, Count, Counter, CounterKey, CounterKind, Judgement, Limits, NetworkKey, Pardon, judge,
};
use auth_domain::time::{Seconds, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn network(text: &str) -> NetworkKey {
    NetworkKey::of(text.parse().unwrap())
}

fn counter(kind: CounterKind) -> Counter {
    Counter {
        key: CounterKey::LoginsFrom(network("10.0.0.1")),
        limit: 2,
        window: Seconds::new(60),
        kind,
    }
}

fn count(hits: u32, ends_at: i64) -> Count {
    Count {
        hits,
        ends_at: at(ends_at),
    }
}

#[test]
fn the_first_hit_opens_a_window() {
    for kind in [CounterKind::Rate, CounterKind::Lockout] {
        assert_eq!(judge(&counter(kind), None, at(5)), Judgement::Room(count(1, 65)));
    }
}

#[test]
fn the_window_of_a_rate_stands_and_that_of_a_lock_starts_anew() {
    let standing = Some(count(1, 65));
    assert_eq!(
        judge(&counter(CounterKind::Rate), standing, at(10)),
        Judgement::Room(count(2, 65))
    );
    assert_eq!(
        judge(&counter(CounterKind::Lockout), standing, at(10)),
        Judgement::Room(count(2, 70))
    );
}

#[test]
fn a_full_counter_refuses_tells_so_once_and_ends_by_itself() {
    for kind in [CounterKind::Rate, CounterKind::Lockout] {
        let full = judge(&counter(kind), Some(count(2, 65)), at(10));
        assert_eq!(
            full,
            Judgement::Full {
                count: count(3, 65),
                is_first: true
            }
        );
        let again = judge(&counter(kind), Some(count(3, 65)), at(64));
        assert_eq!(
            again,
            Judgement::Full {
                count: count(3, 65),
                is_first: false
            }
        );
        assert_eq!(
            judge(&counter(kind), Some(count(3, 65)), at(65)),
            Judgement::Room(count(1, 125))
        );
    }
}

#[test]
fn a_pardon_takes_one_or_all() {
    let key = CounterKey::LoginsFrom(network("10.0.0.1"));
    assert_eq!(Pardon::One(key).apply(count(3, 65)), Some(count(2, 65)));
    assert_eq!(Pardon::One(key).apply(count(2, 65)), Some(count(1, 65)));
    assert_eq!(Pardon::One(key).apply(count(1, 65)), None);
    assert_eq!(Pardon::All(key).apply(count(3, 65)), None);
    assert_eq!((Pardon::One(key).key(), Pardon::All(key).key()), (key, key));
}

#[rstest]
#[case("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true)]
#[case("2001:db8:1:2::1", "2001:db8:1:3::1", false)]
#[case("::ffff:192.0.2.1", "192.0.2.1", true)]
#[case("192.0.2.1", "192.0.2.2", false)]
fn an_ipv6_network_is_its_first_64_bits(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
    assert_eq!(network(one) == network(other), same);
}

#[test]
fn a_network_is_written_by_its_first_address() {
    assert_eq!(
        network("2001:db8:1:2:3::1").address(),
        "2001:db8:1:2::".parse::<IpAddr>().unwrap()
    );
    assert_eq!(
        network("192.0.2.7").address(),
        "192.0.2.7".parse::<IpAddr>().unwrap()
    );
}

#[test]
fn accounts_are_told_apart_and_unknown_logins_are_folded() {
    let user = AccountKey::of_user(UserId::from_uuid(Uuid::from_u128(1)));
    assert_ne!(user, AccountKey::of_user(UserId::from_uuid(Uuid::from_u128(2))));
    assert_eq!(AccountKey::of_unknown("Bob"), AccountKey::of_unknown("bOB"));
    assert_ne!(AccountKey::of_unknown("bob"), AccountKey::of_unknown("bobby"));
    assert_ne!(user.as_bytes(), AccountKey::of_unknown("bob").as_bytes());
}

#[test]
fn the_limits_are_those_of_the_specification() {
    let limits = Limits::default();
    let from = network("10.0.0.1");
    let account = AccountKey::of_unknown("bob");
    let rate = |key, limit, window| Counter {
        key,
        limit,
        window: Seconds::new(window),
        kind: CounterKind::Rate,
    };
    let lock = |key, limit| Counter {
        key,
        limit,
        window: Seconds::new(900),
        kind: CounterKind::Lockout,
    };
    assert_eq!(
        limits.login_from(from),
        [rate(CounterKey::LoginsFrom(from), 5, 60)]
    );
    assert_eq!(
        limits.guess(account, Some(from)),
        [
            rate(CounterKey::LoginsFor(account), 10, 3_600),
            lock(CounterKey::FailuresFor(account), 5),
            lock(CounterKey::FailuresFrom(from), 10),
        ]
    );
    assert_eq!(limits.guess(account, None).len(), 2);
    assert_eq!(
        limits.refresh_from(from),
        [rate(CounterKey::RefreshesFrom(from), 6_000, 60)]
    );
}

proptest! {
    #[test]
    fn no_window_ever_lets_more_than_the_limit_through(
        limit in 0_u32..8, window in 1_u32..50, steps in prop::collection::vec(0_i64..20, 1..200),
    ) {
        let counter = Counter { limit, window: Seconds::new(window), ..counter(CounterKind::Rate) };
        let mut standing = None;
        let mut now = 0;
        let mut opened_at = i64::MIN / 2;
        let mut let_through = 0_u32;
        for step in steps {
            now += step;
            if now - opened_at >= i64::from(window) {
                let_through = 0;
            }
            match judge(&counter, standing, at(now)) {
                Judgement::Room(count) => {
                    if let_through == 0 { opened_at = now; }
                    let_through += 1;
                    standing = Some(count);
                }
                Judgement::Full { count, .. } => standing = Some(count),
            }
            prop_assert!(let_through <= limit);
        }
    }
}
