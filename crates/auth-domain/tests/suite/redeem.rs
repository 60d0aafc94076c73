//! The rule of redemption at its boundaries, case by case.

use auth_domain::client::{ClientPolicy, RotationPolicy};
use auth_domain::id::{ClientId, Jti, SessionId, UserId};
use auth_domain::refusal::GrantFault;
use auth_domain::rotation::{Presented, Redemption, Refused, chain_end, redeem};
use auth_domain::scope::Scope;
use auth_domain::session::{RevocationReason, SessionState, SessionView, Successor};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::UserStatus;
use rstest::rstest;
use uuid::Uuid;

const ISSUED: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(ISSUED + seconds)
}

fn just_before(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() - 1)
}

fn client() -> ClientId {
    ClientId::parse("codelab-flutter-app").unwrap()
}

fn jti(number: u128) -> Jti {
    Jti::from_uuid(Uuid::from_u128(number))
}

const PARENT: &str = "the parent token";

/// A session whose head is the successor of [`PARENT`], issued at second 0 and good for 100 seconds.
fn session() -> SessionView {
    SessionView {
        id: SessionId::from_uuid(Uuid::from_u128(10)),
        user_id: UserId::from_uuid(Uuid::from_u128(11)),
        user_status: UserStatus::Active,
        client_id: client(),
        scope: Scope::parse("api:read").unwrap(),
        head: Jti::successor_of(PARENT).hash(),
        previous: Some(jti(1).hash()),
        head_issued_at: at(0),
        expires_at: at(100),
        state: SessionState::Live,
        created_at: at(-50),
    }
}

fn head() -> Presented {
    Presented {
        jti_hash: Jti::successor_of(PARENT).hash(),
        successor: jti(99),
        expires_at: at(100),
        client_id: client(),
    }
}

fn parent() -> Presented {
    Presented {
        jti_hash: jti(1).hash(),
        successor: Jti::successor_of(PARENT),
        expires_at: at(60),
        client_id: client(),
    }
}

fn policy(window: u32) -> ClientPolicy {
    ClientPolicy {
        rotation: RotationPolicy::from_window(Seconds::new(window)),
        refresh_token_lifetime: Seconds::new(1_000),
        ..ClientPolicy::default()
    }
}

#[test]
fn the_head_rotates_into_its_derived_successor_with_a_lifetime_from_the_whole_second() {
    let now = Timestamp::from_micros(at(7).as_micros() + 999_999);
    let expected = Successor {
        jti: jti(99),
        issued_at: now,
        expires_at: at(1_007),
    };
    assert_eq!(
        redeem(&head(), &session(), &policy(0), now),
        Redemption::Rotate(expected)
    );
}

#[test]
fn the_head_is_good_until_the_very_second_of_its_expiry() {
    assert!(matches!(
        redeem(&head(), &session(), &policy(0), just_before(at(100))),
        Redemption::Rotate(_)
    ));
    assert_eq!(
        redeem(&head(), &session(), &policy(0), at(100)),
        Redemption::Refused(Refused::Expired)
    );
}

#[rstest]
#[case::by_the_claim(at(50), at(100))]
#[case::by_the_store(at(100), at(50))]
fn the_earlier_of_two_expiries_counts(#[case] claimed: Timestamp, #[case] stored: Timestamp) {
    let presented = Presented {
        expires_at: claimed,
        ..head()
    };
    let session = SessionView {
        expires_at: stored,
        ..session()
    };
    assert!(matches!(
        redeem(&presented, &session, &policy(0), just_before(at(50))),
        Redemption::Rotate(_)
    ));
    assert_eq!(
        redeem(&presented, &session, &policy(0), at(50)),
        Redemption::Refused(Refused::Expired)
    );
}

#[test]
fn another_client_changes_nothing_even_with_a_consumed_token() {
    let foreign = ClientId::parse("somebody-else").unwrap();
    for presented in [head(), parent()] {
        let presented = Presented {
            client_id: foreign.clone(),
            ..presented
        };
        assert_eq!(
            redeem(&presented, &session(), &policy(30), at(1)),
            Redemption::Refused(Refused::ForeignClient)
        );
    }
}

#[test]
fn a_revoked_chain_refuses_every_token_without_further_consequence() {
    let state = SessionState::Revoked {
        at: at(0),
        reason: RevocationReason::Requested,
    };
    let session = SessionView { state, ..session() };
    for presented in [head(), parent()] {
        assert_eq!(
            redeem(&presented, &session, &policy(30), at(1)),
            Redemption::Refused(Refused::Revoked)
        );
    }
}

#[test]
fn an_inactive_user_refreshes_nothing() {
    let session = SessionView {
        user_status: UserStatus::Inactive,
        ..session()
    };
    for presented in [head(), parent()] {
        assert_eq!(
            redeem(&presented, &session, &policy(30), at(1)),
            Redemption::Refused(Refused::UserInactive)
        );
    }
}

#[test]
fn a_retry_within_the_window_gives_the_same_successor_with_its_own_times() {
    let expected = Successor {
        jti: Jti::successor_of(PARENT),
        issued_at: at(0),
        expires_at: at(100),
    };
    assert_eq!(
        redeem(&parent(), &session(), &policy(30), just_before(at(30))),
        Redemption::Repeat(expected)
    );
}

#[test]
fn a_retry_at_the_end_of_the_window_is_reuse() {
    assert_eq!(
        redeem(&parent(), &session(), &policy(30), at(30)),
        Redemption::Reuse
    );
}

#[test]
fn a_retry_without_a_window_is_reuse_even_at_the_same_instant() {
    assert_eq!(
        redeem(&parent(), &session(), &policy(0), at(0)),
        Redemption::Reuse
    );
}

#[test]
fn a_retry_is_served_though_the_parent_itself_has_expired_in_between() {
    assert!(matches!(
        redeem(&parent(), &session(), &policy(90), at(61)),
        Redemption::Repeat(_)
    ));
}

#[test]
fn a_retry_for_a_successor_that_has_expired_is_refused() {
    let policy = policy(200);
    assert!(matches!(
        redeem(&parent(), &session(), &policy, just_before(at(100))),
        Redemption::Repeat(_)
    ));
    assert_eq!(
        redeem(&parent(), &session(), &policy, at(100)),
        Redemption::Refused(Refused::Expired)
    );
}

#[test]
fn a_retry_by_a_predecessor_whose_successor_is_not_the_head_is_reuse() {
    let presented = Presented {
        successor: jti(77),
        ..parent()
    };
    assert_eq!(
        redeem(&presented, &session(), &policy(30), at(1)),
        Redemption::Reuse
    );
}

#[test]
fn a_token_from_before_the_predecessor_is_reuse_within_the_window_too() {
    let ancestor = Presented {
        jti_hash: jti(5).hash(),
        ..parent()
    };
    assert_eq!(
        redeem(&ancestor, &session(), &policy(30), at(1)),
        Redemption::Reuse
    );
}

#[test]
fn a_consumed_token_is_told_as_reuse_even_after_its_expiry() {
    assert_eq!(
        redeem(&parent(), &session(), &policy(0), at(5_000)),
        Redemption::Reuse
    );
}

#[test]
fn a_clock_set_back_does_not_turn_a_retry_into_reuse() {
    assert!(matches!(
        redeem(&parent(), &session(), &policy(30), at(-20)),
        Redemption::Repeat(_)
    ));
}

#[test]
fn a_chain_ends_at_its_absolute_lifetime_to_the_microsecond() {
    let limited = ClientPolicy {
        chain_lifetime: Some(Seconds::new(60)),
        ..policy(30)
    };
    assert_eq!(chain_end(&session(), &limited), Some(at(10)));
    assert_eq!(chain_end(&session(), &policy(30)), None);
    for (presented, is_head) in [(head(), true), (parent(), false)] {
        let before = redeem(&presented, &session(), &limited, just_before(at(10)));
        assert_eq!(matches!(before, Redemption::Rotate(_)), is_head);
        assert_eq!(matches!(before, Redemption::Repeat(_)), !is_head);
        let after = redeem(&presented, &session(), &limited, at(10));
        assert_eq!(after, Redemption::Refused(Refused::ChainExpired));
    }
}

#[test]
fn no_successor_outlives_its_chain() {
    let limited = ClientPolicy {
        chain_lifetime: Some(Seconds::new(60)),
        ..policy(0)
    };
    let Redemption::Rotate(successor) = redeem(&head(), &session(), &limited, at(1)) else {
        panic!("rotates")
    };
    assert_eq!(successor.expires_at, at(10));
    let created_at = Timestamp::from_micros(at(-50).as_micros() + 500_000);
    let session = SessionView {
        created_at,
        ..session()
    };
    let Redemption::Rotate(successor) = redeem(&head(), &session, &limited, at(1)) else {
        panic!("rotates")
    };
    assert_eq!(successor.expires_at, at(10), "an expiry is a whole second");
}

#[rstest]
#[case(Refused::ForeignClient, GrantFault::ForeignClient)]
#[case(Refused::Revoked, GrantFault::Revoked)]
#[case(Refused::UserInactive, GrantFault::UserInactive)]
#[case(Refused::Expired, GrantFault::Expired)]
#[case(Refused::ChainExpired, GrantFault::ChainExpired)]
fn each_refusal_of_the_rule_has_its_name_in_the_log(#[case] refused: Refused, #[case] fault: GrantFault) {
    assert_eq!(GrantFault::from(refused), fault);
}

#[test]
fn a_rotation_policy_and_its_window_are_two_forms_of_one_value() {
    assert_eq!(RotationPolicy::from_window(Seconds::ZERO), RotationPolicy::Strict);
    assert_eq!(RotationPolicy::Strict.window(), Seconds::ZERO);
    let window = Seconds::new(30);
    assert_eq!(
        RotationPolicy::from_window(window),
        RotationPolicy::RetryWindow(window)
    );
    assert_eq!(RotationPolicy::RetryWindow(window).window(), window);
}
