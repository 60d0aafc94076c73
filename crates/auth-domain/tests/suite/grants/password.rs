//! The password grant.

use std::net::IpAddr;

use auth_domain::audit::AuditEvent;
use auth_domain::client::{Client, ClientPolicy, ClientStatus, GrantType};
use auth_domain::ports::{Genuine, TokenSigner};
use auth_domain::refusal::{Challenge, GrantFault, Refusal};
use auth_domain::session::SessionState;
use auth_domain::throttle::{AccountKey, CounterKey, NetworkKey};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{Outcome, PasswordGrant};
use auth_domain::user::{User, UserStatus};
use auth_testkit::bed::granted;
use auth_testkit::clock::START;
use auth_testkit::fake::FakeHasher;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use super::{events, last_row, password_form, refused, scope};

#[tokio::test]
async fn a_good_login_opens_a_session_and_says_everything_the_client_needs() {
    let bed = TestBed::default();
    let answer = bed.ask(&password_form(build::ALICE, build::ALICE_PASSWORD)).await;
    let facts = answer.facts.clone();
    let tokens = granted(answer);
    assert_eq!(tokens.expires_in, Seconds::new(900));
    assert_eq!(tokens.scope, scope("api:read api:write"));
    assert_eq!(facts.grant_type, Some(GrantType::Password));
    assert_eq!(facts.client_id, Some(build::client_id(build::FLUTTER)));
    assert_eq!(facts.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(facts.rotation, None);

    let session = bed.store.session(facts.session_id.unwrap()).unwrap();
    assert_eq!(session.state, SessionState::Live);
    assert_eq!(session.scope, tokens.scope);
    assert_eq!(session.head_issued_at, START);
    assert_eq!(
        session.expires_at,
        START.whole_second().plus(Seconds::new(2_592_000))
    );
    assert_eq!(bed.store.history(facts.session_id.unwrap()).len(), 1);
}

#[tokio::test]
async fn the_tokens_of_a_login_say_the_same_as_its_session() {
    let bed = TestBed::default();
    let tokens = bed.sign_in().await.tokens;
    let Genuine::Yes(access) = bed.signer.verify_access(&tokens.access).unwrap() else {
        panic!("genuine")
    };
    let Genuine::Yes(refresh) = bed.signer.verify_refresh(&tokens.refresh).unwrap() else {
        panic!("genuine")
    };
    let issuer = build::issuer();
    access.check(&issuer, START).unwrap();
    refresh.check(&issuer, START).unwrap();
    assert_eq!(access.sub.to_string(), build::user_id(build::ALICE).to_string());
    assert_eq!(refresh.sub, build::user_id(build::ALICE));
    let second = START.whole_second();
    assert_eq!(Timestamp::from(access.iat), second);
    assert_eq!(Timestamp::from(access.nbf), second.minus(Seconds::new(5)));
    assert_eq!(Timestamp::from(access.exp), second.plus(Seconds::new(900)));
    assert_eq!(Timestamp::from(refresh.iat), second);
    assert_eq!(Timestamp::from(refresh.nbf), second.minus(Seconds::new(5)));
    assert_eq!(Timestamp::from(refresh.exp), second.plus(Seconds::new(2_592_000)));
    assert_eq!(access.sid, None);
    assert_ne!(access.jti, refresh.jti);
    assert_eq!(
        bed.store.session(refresh.sid.unwrap()).unwrap().head,
        refresh.jti.hash()
    );
}

#[tokio::test]
async fn an_access_token_carries_the_session_for_a_client_that_asks_for_it() {
    let bed = TestBed::default();
    let policy = ClientPolicy {
        session_id_in_access_token: true,
        ..ClientPolicy::default()
    };
    bed.store.put_client(Client {
        policy,
        ..build::flutter_client()
    });
    let tokens = bed.sign_in().await.tokens;
    let Genuine::Yes(access) = bed.signer.verify_access(&tokens.access).unwrap() else {
        panic!("genuine")
    };
    let Genuine::Yes(refresh) = bed.signer.verify_refresh(&tokens.refresh).unwrap() else {
        panic!("genuine")
    };
    assert_eq!(access.sid, refresh.sid);
}

#[rstest]
#[case(Some(60), 60)]
#[case(Some(5_000_000), 2_592_000)]
#[case(None, 2_592_000)]
#[tokio::test]
async fn the_first_token_does_not_outlive_the_chain(#[case] chain: Option<u32>, #[case] lifetime: u32) {
    let bed = TestBed::default();
    let policy = ClientPolicy {
        chain_lifetime: chain.map(Seconds::new),
        ..ClientPolicy::default()
    };
    bed.store.put_client(Client {
        policy,
        ..build::flutter_client()
    });
    let token = bed.sign_in().await.tokens.refresh;
    let Genuine::Yes(claims) = bed.signer.verify_refresh(&token).unwrap() else {
        panic!("genuine")
    };
    assert_eq!(
        Timestamp::from(claims.exp),
        START.whole_second().plus(Seconds::new(lifetime))
    );
}

#[tokio::test]
async fn a_login_is_audited_in_the_transaction_that_opens_its_session() {
    let bed = TestBed::default();
    bed.sign_in().await;
    let row = last_row(&bed);
    assert_eq!((row.at, row.context.clone()), (START, build::context()));
    assert_eq!(row.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(row.client_id, Some(build::client_id(build::FLUTTER)));
    assert!(row.event.is_success());
    assert!(matches!(
        row.event,
        AuditEvent::LoginSuccess { rehashed: false, .. }
    ));
}

#[tokio::test]
async fn an_email_address_signs_in_as_well_as_a_name_in_any_case() {
    let bed = TestBed::default();
    granted(
        bed.ask(&password_form("ALICE@Example.com", build::ALICE_PASSWORD))
            .await,
    );
}

#[tokio::test]
async fn a_requested_scope_is_granted_within_what_the_client_may() {
    let bed = TestBed::default();
    let mut form = password_form(build::ALICE, build::ALICE_PASSWORD);
    form.push(("scope", "api:read"));
    assert_eq!(granted(bed.ask(&form).await).scope, scope("api:read"));
    form.pop();
    form.push(("scope", "api:read api:admin"));
    assert_eq!(refused(bed.ask(&form).await), Refusal::InvalidScope);
    assert_eq!(
        bed.hasher.verifications(),
        1,
        "no password is hashed for a scope that can't be had"
    );
}

#[rstest]
#[case::unknown("nobody", build::ALICE_PASSWORD, GrantFault::UnknownUser)]
#[case::unknown_address("nobody@example.com", build::ALICE_PASSWORD, GrantFault::UnknownUser)]
#[case::wrong(build::ALICE, "wrong", GrantFault::WrongPassword)]
#[case::inactive("ivan", build::ALICE_PASSWORD, GrantFault::UserInactive)]
#[case::inactive_and_wrong("ivan", "wrong", GrantFault::WrongPassword)]
#[tokio::test]
async fn a_login_that_fails_costs_one_hash_and_is_audited(
    #[case] username: &str,
    #[case] password: &str,
    #[case] fault: GrantFault,
) {
    let bed = TestBed::default();
    bed.store.put_user(User {
        status: UserStatus::Inactive,
        ..build::user("ivan")
    });
    let refusal = refused(bed.ask(&password_form(username, password)).await);
    assert_eq!(refusal, Refusal::InvalidGrant(fault));
    assert_eq!(bed.hasher.verifications(), 1);
    let row = last_row(&bed);
    assert_eq!(
        row.event,
        AuditEvent::LoginFailed {
            reason: fault,
            login: username.to_owned()
        }
    );
    assert!(!row.event.is_success());
    assert_eq!(row.user_id.is_some(), fault != GrantFault::UnknownUser);
}

#[tokio::test]
async fn an_outdated_hash_is_replaced_at_a_good_login() {
    let bed = TestBed::default();
    let password_hash = FakeHasher::outdated_hash_of(build::ALICE_PASSWORD);
    bed.store.put_user(User {
        password_hash,
        ..build::user(build::ALICE)
    });
    bed.sign_in().await;
    assert!(matches!(
        last_row(&bed).event,
        AuditEvent::LoginSuccess { rehashed: true, .. }
    ));
    bed.sign_in().await;
    assert!(matches!(
        last_row(&bed).event,
        AuditEvent::LoginSuccess { rehashed: false, .. }
    ));
}

#[tokio::test]
async fn a_client_must_be_known_active_and_proved() {
    let bed = TestBed::without_limits();
    let ask = |client_id: &'static str, secret: Option<&'static str>| {
        let mut form = password_form(build::ALICE, build::ALICE_PASSWORD);
        form.retain(|(name, _)| *name != "client_id");
        form.push(("client_id", client_id));
        form.extend(secret.map(|secret| ("client_secret", secret)));
        let bed = bed.clone();
        async move { bed.ask(&form).await }
    };
    let invalid = Refusal::InvalidClient(Challenge::Other);
    assert_eq!(refused(ask("nobody-knows", None).await), invalid);
    assert_eq!(refused(ask("x", None).await), invalid);
    assert_eq!(refused(ask(build::BACKEND, None).await), invalid);
    assert_eq!(refused(ask(build::BACKEND, Some("wrong")).await), invalid);
    granted(ask(build::BACKEND, Some(build::BACKEND_SECRET)).await);
    bed.store.put_client(Client {
        status: ClientStatus::Disabled,
        ..build::flutter_client()
    });
    assert_eq!(refused(ask(build::FLUTTER, None).await), invalid);
    assert_eq!(bed.hasher.verifications(), 1);
}

#[tokio::test]
async fn a_client_may_use_only_its_grants() {
    let bed = TestBed::default();
    let allowed_grants = [GrantType::RefreshToken].into();
    bed.store.put_client(Client {
        allowed_grants,
        ..build::flutter_client()
    });
    let refusal = refused(bed.ask(&password_form(build::ALICE, build::ALICE_PASSWORD)).await);
    assert_eq!(refusal, Refusal::UnauthorizedClient);
}

#[tokio::test]
async fn the_password_grant_can_be_switched_off_as_a_whole_and_refreshing_goes_on() {
    let mut bed = TestBed::default();
    let tokens = bed.sign_in().await.tokens;
    bed.policy.password_grant = PasswordGrant::Off;
    let refusal = refused(bed.ask(&password_form(build::ALICE, build::ALICE_PASSWORD)).await);
    assert_eq!(refusal, Refusal::UnsupportedGrantType);
    granted(bed.refresh(tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_saturated_hasher_is_said_at_once_and_counts_as_no_failure() {
    let bed = TestBed::default();
    bed.hasher.saturate(Seconds::new(2));
    let refusal = refused(bed.ask(&password_form(build::ALICE, build::ALICE_PASSWORD)).await);
    assert_eq!(
        refusal,
        Refusal::Saturated {
            retry_after: Seconds::new(2)
        }
    );
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    let network = NetworkKey::of(build::context().ip.unwrap());
    assert_eq!(bed.throttle.standing(CounterKey::FailuresFor(account)), None);
    assert_eq!(bed.throttle.standing(CounterKey::FailuresFrom(network)), None);
    assert_eq!(bed.throttle.standing(CounterKey::LoginsFor(account)), None);
    assert!(events(&bed).is_empty());
}

#[tokio::test]
async fn five_logins_a_minute_from_one_address_and_no_more() {
    let bed = TestBed::default();
    for _ in 0..5 {
        bed.sign_in().await;
    }
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    let refusal = refused(bed.ask(&form).await);
    assert_eq!(
        refusal,
        Refusal::RateLimited {
            retry_after: Seconds::new(60)
        }
    );
    assert_eq!(bed.hasher.verifications(), 5);
    refused(bed.ask(&form).await);
    let told = events(&bed)
        .into_iter()
        .filter(|event| *event == "rate_limit_exceeded")
        .count();
    assert_eq!(told, 1, "a flood writes one row a window");
    assert!(!last_row(&bed).event.is_success());
    granted(bed.ask_from("198.51.100.7".parse().unwrap(), &form).await);
    bed.clock.advance(Seconds::new(60));
    bed.sign_in().await;
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let bed = TestBed::without_limits();
    for _ in 0..30 {
        refused(bed.ask(&password_form(build::ALICE, "wrong")).await);
    }
    bed.sign_in().await;
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    assert_eq!(bed.throttle.standing(CounterKey::FailuresFor(account)), None);
}

fn from(number: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, number])
}

#[tokio::test]
async fn five_failures_lock_the_account_under_its_name_and_its_address_alike() {
    let bed = TestBed::default();
    for number in 0..5 {
        let username = if number % 2 == 0 {
            build::ALICE
        } else {
            "alice@example.com"
        };
        let refusal = refused(
            bed.ask_from(from(number), &password_form(username, "wrong"))
                .await,
        );
        assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::WrongPassword));
    }
    let good = password_form(build::ALICE, build::ALICE_PASSWORD);
    let locked = Refusal::Locked {
        retry_after: Seconds::new(900),
    };
    assert_eq!(refused(bed.ask_from(from(9), &good).await), locked);
    assert_eq!(bed.hasher.verifications(), 5);
    bed.clock.advance(Seconds::new(900));
    granted(bed.ask_from(from(9), &good).await);
}

#[rstest]
#[case(build::ALICE, build::ALICE, true)]
#[case("nobody", "nobody", true)]
#[case(build::ALICE, "ALICE", false)]
#[case("nobody", "NOBODY", false)]
#[case("alice@example.com", "Alice@EXAMPLE.com", true)]
#[case("nobody@example.com", "Nobody@EXAMPLE.com", true)]
#[tokio::test]
async fn a_name_locks_in_the_same_spellings_whether_or_not_somebody_has_it(
    #[case] guessed: &str,
    #[case] spelled: &str,
    #[case] is_locked: bool,
) {
    let bed = TestBed::default();
    for number in 0..5 {
        refused(bed.ask_from(from(number), &password_form(guessed, "wrong")).await);
    }
    let refusal = refused(bed.ask_from(from(9), &password_form(spelled, "wrong")).await);
    assert_eq!(
        matches!(refusal, Refusal::Locked { .. }),
        is_locked,
        "{refusal:?}"
    );
}

#[derive(Debug, Clone, Copy)]
enum Away {
    Hasher,
    Rehash,
    Signer,
    Store,
}

#[rstest]
#[case(Away::Hasher)]
#[case(Away::Rehash)]
#[case(Away::Signer)]
#[case(Away::Store)]
#[tokio::test]
async fn a_right_password_during_an_outage_is_no_failed_guess(#[case] away: Away) {
    let bed = TestBed::default();
    let password_hash = FakeHasher::outdated_hash_of(build::ALICE_PASSWORD);
    bed.store.put_user(User {
        password_hash,
        ..build::user(build::ALICE)
    });
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    for number in 0..12 {
        match away {
            Away::Hasher => bed.hasher.outage.fail_nth(1),
            Away::Rehash => bed.hasher.outage.fail_nth(2),
            Away::Signer => bed.signer.outage.fail_nth(1),
            Away::Store => bed.store.outage.fail_nth(3),
        }
        let answer = bed.ask_from(from(number), &form).await;
        assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
        assert!(events(&bed).is_empty());
    }
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    assert_eq!(bed.throttle.standing(CounterKey::FailuresFor(account)), None);
    assert_eq!(bed.throttle.standing(CounterKey::LoginsFor(account)), None);
    assert_eq!(
        bed.throttle
            .standing(CounterKey::FailuresFrom(NetworkKey::of(from(0)))),
        None
    );
    granted(bed.ask_from(from(20), &form).await);
}

#[tokio::test]
async fn a_wrong_password_stays_counted_though_its_audit_row_could_not_be_written() {
    let bed = TestBed::default();
    bed.store.outage.fail_nth(3);
    let answer = bed.ask(&password_form(build::ALICE, "wrong")).await;
    assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    assert_eq!(
        bed.throttle
            .standing(CounterKey::FailuresFor(account))
            .unwrap()
            .hits,
        1
    );
}

#[tokio::test]
async fn a_good_login_forgets_the_failures_of_its_account_but_not_of_its_network() {
    let bed = TestBed::default();
    let address = from(1);
    let network = CounterKey::FailuresFrom(NetworkKey::of(address));
    let account = CounterKey::FailuresFor(AccountKey::of_user(build::user_id(build::ALICE)));
    for _ in 0..3 {
        refused(bed.ask_from(address, &password_form(build::ALICE, "wrong")).await);
    }
    granted(
        bed.ask_from(address, &password_form(build::ALICE, build::ALICE_PASSWORD))
            .await,
    );
    assert_eq!(bed.throttle.standing(account), None);
    assert_eq!(bed.throttle.standing(network).unwrap().hits, 3);
}

#[tokio::test]
async fn a_locked_user_goes_on_refreshing() {
    let bed = TestBed::default();
    let tokens = bed.sign_in().await.tokens;
    for number in 0..6 {
        refused(
            bed.ask_from(from(number), &password_form(build::ALICE, "wrong"))
                .await,
        );
    }
    granted(bed.refresh(tokens.refresh.expose()).await);
}
