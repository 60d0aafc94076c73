//! Counters that slow guessing down.

use std::net::IpAddr;

use auth_domain::device::DeviceId;
use auth_domain::id::UserId;
use auth_domain::session::SessionKey;
use auth_domain::throttle::{
    AccountKey, Budget, Count, Counter, CounterKey, CounterKind, Judgement, Limits, NetworkKey, Pardon, judge,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::Login;
use auth_testkit::build;
use auth_testkit::random::SeededRandom;
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
        refusal_is_told: false,
        ends_at: at(ends_at),
    }
}

fn told(count: Count) -> Count {
    Count {
        refusal_is_told: true,
        ..count
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
        let count_then = told(count(2, 65));
        assert_eq!(
            full,
            Judgement::Full {
                count: count_then,
                is_first: true
            }
        );
        let again = judge(&counter(kind), Some(count_then), at(64));
        assert_eq!(
            again,
            Judgement::Full {
                count: count_then,
                is_first: false
            }
        );
        assert_eq!(
            judge(&counter(kind), Some(count_then), at(65)),
            Judgement::Room(count(1, 125))
        );
    }
}

#[test]
fn a_refusal_counts_for_nothing_so_that_pardons_leave_nothing_behind() {
    let key = CounterKey::LoginsFrom(network("10.0.0.1"));
    let Judgement::Full { count: refused, .. } =
        judge(&counter(CounterKind::Rate), Some(count(2, 65)), at(10))
    else {
        panic!("full");
    };
    let one_left = Pardon::One(key).apply(refused).unwrap();
    assert_eq!(one_left, told(count(1, 65)));
    assert_eq!(Pardon::One(key).apply(one_left), None);
    let room = judge(&counter(CounterKind::Rate), Some(one_left), at(20));
    assert_eq!(room, Judgement::Room(told(count(2, 65))));
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
fn accounts_are_told_apart_as_the_look_up_tells_them() {
    let user = AccountKey::of_user(UserId::from_uuid(Uuid::from_u128(1)));
    assert_ne!(user, AccountKey::of_user(UserId::from_uuid(Uuid::from_u128(2))));
    let unknown = |text| AccountKey::of_unknown(&Login::parse(text));
    assert_eq!(unknown("bob"), unknown("bob"));
    assert_ne!(unknown("bob"), unknown("Bob"));
    assert_ne!(unknown("bob"), unknown("bobby"));
    assert_eq!(unknown("Bob@Example.org"), unknown("bob@example.ORG"));
    assert_ne!(unknown("bob@example.org"), unknown("bob@example.com"));
    assert_ne!(user.as_bytes(), unknown("bob").as_bytes());
}

#[test]
fn the_limits_are_those_of_the_specification() {
    let limits = Limits::default();
    let from = network("10.0.0.1");
    let account = AccountKey::of_unknown(&Login::parse("bob"));
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
        limits.guess(Budget::Account(account), Some(from)),
        [
            rate(CounterKey::LoginsFor(account), 10, 3_600),
            lock(CounterKey::FailuresFor(account), 5),
            lock(CounterKey::FailuresFrom(from), 10),
        ]
    );
    assert_eq!(limits.guess(Budget::Account(account), None).len(), 2);
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

#[test]
fn each_counter_has_the_name_of_its_limit() {
    let from = network("192.0.2.1");
    let account = AccountKey::of_user(build::user_id("alice"));
    let device = DeviceId::generate(&SeededRandom::default());
    for (key, name) in [
        (CounterKey::LoginsFrom(from), "logins_by_address"),
        (CounterKey::LoginsFor(account), "logins_by_account"),
        (CounterKey::FailuresFrom(from), "failures_by_address"),
        (CounterKey::FailuresFor(account), "failures_by_account"),
        (CounterKey::LoginsBy(device), "logins_by_device"),
        (CounterKey::FailuresBy(device), "failures_by_device"),
        (CounterKey::RefreshesFrom(from), "refreshes_by_address"),
        (
            CounterKey::RefusalsOf(SessionKey::Id(build::session_id("session"))),
            "refusals_by_session",
        ),
    ] {
        assert_eq!(key.limit().as_str(), name);
    }
}
