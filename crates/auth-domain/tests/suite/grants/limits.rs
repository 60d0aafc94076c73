//! What limits tell: the trail which of them was reached, the client what its network has left, and nobody more.

use std::net::IpAddr;

use auth_domain::audit::AuditEvent;
use auth_domain::client::GrantType;
use auth_domain::context::RequestContext;
use auth_domain::refusal::Refusal;
use auth_domain::request::TokenRequest;
use auth_domain::throttle::{AccountKey, CounterKey, Limit, NetworkKey, Room};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Quota};
use auth_testkit::bed::granted;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use super::{last_row, password_form, refused};

fn from(number: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, number])
}

fn quota(grant_type: GrantType, limit: u32, remaining: u32, resets_in: u32) -> Quota {
    Quota {
        grant_type,
        limit,
        window: Seconds::new(60),
        room: Room {
            remaining,
            resets_in: Seconds::new(resets_in),
        },
    }
}

fn login_quota(remaining: u32, resets_in: u32) -> Quota {
    quota(GrantType::Password, 5, remaining, resets_in)
}

/// The good form of alice, from an address that the limits by address do not hold for.
async fn ask_exempt(bed: &TestBed, username: &str, password: &str) -> Answer {
    let form = password_form(username, password).into_iter();
    let pairs = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let context = RequestContext {
        is_exempt: true,
        ..build::context()
    };
    let request = TokenRequest::parse(pairs, None).unwrap();
    bed.service().issue(request, &context).await
}

#[tokio::test]
async fn an_answer_says_what_its_network_has_left() {
    let bed = TestBed::default();
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    assert_eq!(bed.ask(&form).await.facts.quota, Some(login_quota(4, 60)));
    bed.clock.advance(Seconds::new(23));
    assert_eq!(bed.ask(&form).await.facts.quota, Some(login_quota(3, 37)));
    for _ in 0..3 {
        bed.ask(&password_form(build::ALICE, "wrong")).await;
    }
    let answer = bed.ask(&form).await;
    assert_eq!(answer.facts.quota, Some(login_quota(0, 37)));
    assert!(matches!(refused(answer), Refusal::RateLimited { .. }));
}

#[tokio::test]
async fn a_refresh_says_what_refreshing_has_left() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    let answer = bed.refresh(token.expose()).await;
    let expected = quota(GrantType::RefreshToken, 6_000, 5_999, 60);
    assert_eq!(answer.facts.quota, Some(expected));
}

#[tokio::test]
async fn a_locked_account_is_told_the_room_of_the_network_and_not_its_own() {
    let bed = TestBed::default();
    for number in 0..5 {
        bed.ask_from(from(number), &password_form(build::ALICE, "wrong"))
            .await;
    }
    let answer = bed
        .ask_from(from(9), &password_form(build::ALICE, build::ALICE_PASSWORD))
        .await;
    assert_eq!(answer.facts.quota, Some(login_quota(4, 60)));
    assert!(matches!(refused(answer), Refusal::Locked { .. }));
}

#[tokio::test]
async fn nothing_is_told_where_no_limit_holds() {
    let mut bed = TestBed::without_limits();
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    assert_eq!(bed.ask(&form).await.facts.quota, None);
    bed.policy = build::policy();
    let exempt = ask_exempt(&bed, build::ALICE, build::ALICE_PASSWORD).await;
    assert_eq!(exempt.facts.quota, None);
    bed.context.ip = None;
    assert_eq!(bed.ask(&form).await.facts.quota, None);
}

#[tokio::test]
async fn an_exempt_network_is_not_counted_but_the_accounts_it_asks_for_are() {
    let bed = TestBed::default();
    for number in 0..20 {
        refused(ask_exempt(&bed, &format!("nobody-{number}"), "wrong").await);
    }
    let network = NetworkKey::of(build::context().ip.unwrap());
    assert_eq!(bed.throttle.standing(CounterKey::LoginsFrom(network)), None);
    assert_eq!(bed.throttle.standing(CounterKey::FailuresFrom(network)), None);
    for _ in 0..5 {
        refused(ask_exempt(&bed, build::ALICE, "wrong").await);
    }
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    let standing = bed.throttle.standing(CounterKey::FailuresFor(account));
    assert_eq!(standing.map(|count| count.hits), Some(5));
    let refusal = refused(ask_exempt(&bed, build::ALICE, build::ALICE_PASSWORD).await);
    assert!(matches!(refusal, Refusal::Locked { .. }), "{refusal:?}");
}

/// What somebody does too often.
#[derive(Debug, Clone, Copy)]
enum Excess {
    LoginsFromOneAddress,
    LoginsOfOneAccount,
    FailuresOfOneAccount,
    FailuresFromOneAddress,
}

async fn exceed(bed: &TestBed, excess: Excess) {
    let good = password_form(build::ALICE, build::ALICE_PASSWORD);
    let wrong = password_form(build::ALICE, "wrong");
    match excess {
        Excess::LoginsFromOneAddress => {
            for _ in 0..6 {
                bed.ask(&good).await;
            }
        }
        Excess::LoginsOfOneAccount => {
            for number in 0..11 {
                bed.ask_from(from(number), &good).await;
            }
        }
        Excess::FailuresOfOneAccount => {
            for number in 0..6 {
                bed.ask_from(from(number), &wrong).await;
            }
        }
        Excess::FailuresFromOneAddress => {
            for number in 0..10 {
                bed.ask(&password_form(&format!("nobody-{number}"), "wrong"))
                    .await;
                bed.clock.advance(Seconds::new(12));
            }
            bed.ask(&wrong).await;
        }
    }
}

#[rstest]
#[case(Excess::LoginsFromOneAddress, Limit::LoginsByAddress, 60)]
#[case(Excess::LoginsOfOneAccount, Limit::LoginsByAccount, 3_600)]
#[case(Excess::FailuresOfOneAccount, Limit::FailuresByAccount, 900)]
#[case(Excess::FailuresFromOneAddress, Limit::FailuresByAddress, 888)]
#[tokio::test]
async fn the_trail_says_which_limit_was_reached_and_by_which_name(
    #[case] excess: Excess,
    #[case] limit: Limit,
    #[case] retry_after: u32,
) {
    let bed = TestBed::default();
    exceed(&bed, excess).await;
    let expected = AuditEvent::RateLimitExceeded {
        limit,
        grant_type: Some(GrantType::Password),
        login: Some(build::ALICE.to_owned()),
        retry_after: Seconds::new(retry_after),
    };
    assert_eq!(last_row(&bed).event, expected);
}

#[test]
fn what_the_trail_keeps_of_a_limit_is_an_object_without_what_is_unknown() {
    let mut event = AuditEvent::RateLimitExceeded {
        limit: Limit::LoginsByDevice,
        grant_type: Some(GrantType::Password),
        login: Some("alice".to_owned()),
        retry_after: Seconds::new(7),
    };
    let json = |event: &AuditEvent| serde_json::to_string(event).unwrap();
    assert_eq!(
        json(&event),
        r#"{"limit":"logins_by_device","grant_type":"password","login":"alice","retry_after":7}"#
    );
    event = AuditEvent::RateLimitExceeded {
        limit: Limit::RefreshesByAddress,
        grant_type: None,
        login: None,
        retry_after: Seconds::new(7),
    };
    assert_eq!(
        json(&event),
        r#"{"limit":"refreshes_by_address","retry_after":7}"#
    );
}

#[tokio::test]
async fn a_good_login_is_unharmed_by_an_exemption() {
    let bed = TestBed::default();
    for _ in 0..10 {
        granted(ask_exempt(&bed, build::ALICE, build::ALICE_PASSWORD).await);
    }
}
