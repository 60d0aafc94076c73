//! Introspection: who may ask, what is told, and that asking changes nothing.

use auth_domain::claims::{AccessClaims, NumericDate, RefreshClaims, TokenUse};
use auth_domain::client::{AccessTokenType, Client, ClientPolicy, ClientStatus};
use auth_domain::id::{SessionId, Subject};
use auth_domain::introspection::{ActiveToken, Introspection};
use auth_domain::ports::Sessions;
use auth_domain::refusal::{Challenge, Refusal};
use auth_domain::secret::Token;
use auth_domain::session::{Revocation, RevocationReason, RevocationTarget};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{Answer, Outcome, TokenSet};
use auth_domain::user::{User, UserStatus};
use auth_testkit::bed::granted;
use auth_testkit::clock::START;
use auth_testkit::fake::FakeSigner;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use crate::grants::{events, refused};
use crate::revocation::{about, about_by_backend, access_claims, refresh_claims};

async fn introspect(bed: &TestBed, token: &Token) -> Answer<Introspection> {
    bed.service()
        .introspect(&about_by_backend(token), &bed.context)
        .await
}

fn told(answer: Answer<Introspection>) -> Option<ActiveToken> {
    match answer.outcome {
        Outcome::Granted(Introspection::Active(token)) => Some(*token),
        Outcome::Granted(Introspection::Inactive) => None,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        Outcome::Unavailable(outage) => panic!("unavailable: {outage:?}"),
    }
}

async fn is_active(bed: &TestBed, token: &Token) -> bool {
    told(introspect(bed, token).await).is_some()
}

/// A sign-in at the confidential client, whose access tokens name their session.
async fn sign_in_at_backend(bed: &TestBed) -> TokenSet {
    let policy = ClientPolicy {
        session_id_in_access_token: true,
        ..ClientPolicy::default()
    };
    bed.store.put_client(Client {
        policy,
        ..build::confidential_client(build::BACKEND, build::BACKEND_SECRET)
    });
    let form = [
        ("grant_type", "password"),
        ("client_id", build::BACKEND),
        ("client_secret", build::BACKEND_SECRET),
        ("username", build::ALICE),
        ("password", build::ALICE_PASSWORD),
    ];
    granted(bed.ask(&form).await)
}

async fn refresh_at_backend(bed: &TestBed, token: &Token) -> Token {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", build::BACKEND),
        ("client_secret", build::BACKEND_SECRET),
        ("refresh_token", token.expose()),
    ];
    granted(bed.ask(&form).await).tokens.refresh
}

async fn end(bed: &TestBed, session: SessionId) {
    let revocation = Revocation {
        target: RevocationTarget::Session(session),
        reason: RevocationReason::Requested,
        at: START,
    };
    let audit = build::audit("end", auth_domain::audit::AuditEvent::UserBlocked {});
    bed.store.revoke(revocation, audit).await.unwrap();
}

fn seconds(from_start: i64) -> NumericDate {
    Timestamp::from_unix_seconds(START.unix_seconds() + from_start).into()
}

#[tokio::test]
async fn a_good_access_token_of_any_client_is_told_in_full() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    let answer = introspect(&bed, &token).await;
    assert_eq!(answer.facts.client_id, Some(build::client_id(build::BACKEND)));
    assert_eq!(answer.facts.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(answer.facts.quota, None);
    let expected = ActiveToken {
        token_use: TokenUse::Access,
        scope: build::scope("api:read api:write"),
        client_id: build::client_id(build::FLUTTER),
        username: build::user(build::ALICE).username,
        sub: build::user_id(build::ALICE),
        aud: "codelab-api".to_owned(),
        iss: "https://auth.codelab.local".to_owned(),
        jti: access_claims(&bed, &token).jti,
        exp: seconds(900),
        iat: seconds(0),
        nbf: seconds(-5),
        sid: None,
    };
    assert_eq!(told(answer), Some(expected));
}

#[tokio::test]
async fn a_good_refresh_token_is_told_to_its_own_client() {
    let bed = TestBed::default();
    let token = sign_in_at_backend(&bed).await.tokens.refresh;
    let claims = refresh_claims(&bed, &token);
    let answer = introspect(&bed, &token).await;
    assert_eq!(answer.facts.session_id, claims.sid);
    let expected = ActiveToken {
        token_use: TokenUse::Refresh,
        scope: build::scope("api:read api:write"),
        client_id: build::client_id(build::BACKEND),
        username: build::user(build::ALICE).username,
        sub: build::user_id(build::ALICE),
        aud: "https://auth.codelab.local".to_owned(),
        iss: "https://auth.codelab.local".to_owned(),
        jti: claims.jti,
        exp: seconds(2_592_000),
        iat: seconds(0),
        nbf: seconds(-5),
        sid: claims.sid,
    };
    assert_eq!(told(answer), Some(expected));
}

#[tokio::test]
async fn a_refresh_token_is_inactive_to_every_other_client() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    assert!(!is_active(&bed, &token).await);
    granted(bed.refresh(token.expose()).await);
}

#[tokio::test]
async fn asking_consumes_nothing_and_tells_no_reuse() {
    let bed = TestBed::default();
    let first = sign_in_at_backend(&bed).await.tokens.refresh;
    for _ in 0..3 {
        assert!(is_active(&bed, &first).await);
    }
    let second = refresh_at_backend(&bed, &first).await;
    for _ in 0..3 {
        assert!(!is_active(&bed, &first).await, "consumed");
        assert!(is_active(&bed, &second).await, "the head");
    }
    refresh_at_backend(&bed, &second).await;
    assert_eq!(events(&bed), ["login_success", "token_refresh", "token_refresh"]);
}

#[tokio::test]
async fn a_token_that_could_be_repeated_is_consumed_all_the_same() {
    let bed = TestBed::default();
    let first = sign_in_at_backend(&bed).await.tokens.refresh;
    bed.store.put_client(Client {
        policy: super::grants::client_with_window(60).policy,
        ..build::confidential_client(build::BACKEND, build::BACKEND_SECRET)
    });
    refresh_at_backend(&bed, &first).await;
    assert!(!is_active(&bed, &first).await);
}

/// What has become of a token, or of whom it speaks for.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Denied,
    SessionEnded,
    SessionGone,
    UserInactive,
    ClientDisabled,
    OneSecondTooOld,
    NotValidYet,
    OtherKey,
    OtherIssuer,
    OtherAudience,
    OtherUse,
    OfAClient,
}

async fn befall(bed: &TestBed, fate: Fate, set: &TokenSet) -> Token {
    let token = &set.tokens.access;
    let claims = access_claims(bed, token);
    let sign = |claims: &AccessClaims| bed.signer.sign_access(AccessTokenType::AtJwt, claims);
    let elsewhere = "https://elsewhere.example".to_owned();
    match fate {
        Fate::Denied => {
            let by_owner = about_by_backend(token);
            bed.service().revoke(&by_owner, &bed.context).await;
        }
        Fate::SessionEnded => end(bed, claims.sid.unwrap()).await,
        Fate::SessionGone => {
            let sid = Some(build::session_id("gone"));
            return sign(&AccessClaims { sid, ..claims });
        }
        Fate::UserInactive => bed.store.put_user(User {
            status: UserStatus::Inactive,
            ..build::user(build::ALICE)
        }),
        Fate::ClientDisabled => {
            bed.store.put_client(Client {
                status: ClientStatus::Disabled,
                ..build::public_client("gone")
            });
            let client_id = build::client_id("gone");
            return sign(&AccessClaims { client_id, ..claims });
        }
        Fate::OneSecondTooOld => bed.clock.set(START.whole_second().plus(Seconds::new(960))),
        Fate::NotValidYet => bed.clock.set(START.minus(Seconds::new(66))),
        Fate::OtherKey => {
            return FakeSigner::with_key("another").sign_access(AccessTokenType::AtJwt, &claims);
        }
        Fate::OtherIssuer => {
            return sign(&AccessClaims {
                iss: elsewhere,
                ..claims
            });
        }
        Fate::OtherAudience => {
            return sign(&AccessClaims {
                aud: elsewhere,
                ..claims
            });
        }
        Fate::OtherUse => {
            let token_use = TokenUse::Refresh;
            return sign(&AccessClaims { token_use, ..claims });
        }
        Fate::OfAClient => {
            let sub = Subject::Client(build::client_id(build::BACKEND));
            return sign(&AccessClaims { sub, ..claims });
        }
    }
    token.clone()
}

#[rstest]
#[case(Fate::Denied)]
#[case(Fate::SessionEnded)]
#[case(Fate::SessionGone)]
#[case(Fate::UserInactive)]
#[case(Fate::ClientDisabled)]
#[case(Fate::OneSecondTooOld)]
#[case(Fate::NotValidYet)]
#[case(Fate::OtherKey)]
#[case(Fate::OtherIssuer)]
#[case(Fate::OtherAudience)]
#[case(Fate::OtherUse)]
#[case(Fate::OfAClient)]
#[tokio::test]
async fn an_access_token_that_is_no_good_any_more_is_inactive(#[case] fate: Fate) {
    let bed = TestBed::without_limits();
    let set = sign_in_at_backend(&bed).await;
    assert!(is_active(&bed, &set.tokens.access).await);
    let token = befall(&bed, fate, &set).await;
    assert!(!is_active(&bed, &token).await);
}

#[tokio::test]
async fn an_access_token_is_active_to_its_last_moment() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    let end = START.whole_second().plus(Seconds::new(960));
    bed.clock.set(Timestamp::from_micros(end.as_micros() - 1));
    assert!(is_active(&bed, &token).await);
}

#[tokio::test]
async fn the_session_of_an_access_token_may_have_moved_on() {
    let bed = TestBed::default();
    let TokenSet { tokens, .. } = sign_in_at_backend(&bed).await;
    refresh_at_backend(&bed, &tokens.refresh).await;
    let told = told(introspect(&bed, &tokens.access).await).expect("active");
    assert_eq!(told.sid, refresh_claims(&bed, &tokens.refresh).sid);
}

/// What has become of a refresh token's chain, or of the token.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoked,
    Gone,
    UserInactive,
    Expired,
    ChainExpired,
    NotValidYet,
    OtherIssuer,
    Forged,
}

async fn finish(bed: &TestBed, how: End, token: &Token) -> Token {
    let claims = refresh_claims(bed, token);
    match how {
        End::Revoked => end(bed, claims.sid.unwrap()).await,
        End::Gone => {
            let sid = Some(build::session_id("gone"));
            return bed.signer.sign_refresh(&RefreshClaims { sid, ..claims });
        }
        End::UserInactive => bed.store.put_user(User {
            status: UserStatus::Inactive,
            ..build::user(build::ALICE)
        }),
        End::Expired => bed.clock.set(claims.exp.into()),
        End::ChainExpired => bed.store.put_client(Client {
            policy: ClientPolicy {
                chain_lifetime: Some(Seconds::ZERO),
                ..ClientPolicy::default()
            },
            ..build::confidential_client(build::BACKEND, build::BACKEND_SECRET)
        }),
        End::NotValidYet => bed.clock.set(START.minus(Seconds::new(66))),
        End::OtherIssuer => {
            let iss = "https://elsewhere.example".to_owned();
            return bed.signer.sign_refresh(&RefreshClaims { iss, ..claims });
        }
        End::Forged => return FakeSigner::with_key("another").sign_refresh(&claims),
    }
    token.clone()
}

#[rstest]
#[case(End::Revoked)]
#[case(End::Gone)]
#[case(End::UserInactive)]
#[case(End::Expired)]
#[case(End::ChainExpired)]
#[case(End::NotValidYet)]
#[case(End::OtherIssuer)]
#[case(End::Forged)]
#[tokio::test]
async fn a_refresh_token_that_would_be_refused_is_inactive(#[case] how: End) {
    let bed = TestBed::default();
    let token = sign_in_at_backend(&bed).await.tokens.refresh;
    assert!(is_active(&bed, &token).await);
    let token = finish(&bed, how, &token).await;
    assert!(!is_active(&bed, &token).await);
}

#[tokio::test]
async fn a_public_client_may_not_ask() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    let answer = bed.service().introspect(&about(&token), &bed.context).await;
    assert_eq!(refused(answer), Refusal::InvalidClient(Challenge::Other));
    let mut unproved = about_by_backend(&token);
    unproved.client.secret = None;
    let answer = bed.service().introspect(&unproved, &bed.context).await;
    assert_eq!(refused(answer), Refusal::InvalidClient(Challenge::Basic));
}

#[tokio::test]
async fn with_the_nth_call_to_the_store_failing_nothing_is_said_to_be_inactive_that_is_not() {
    let bed = TestBed::without_limits();
    let TokenSet { tokens, .. } = sign_in_at_backend(&bed).await;
    for token in [&tokens.access, &tokens.refresh] {
        for n in 1..=6 {
            bed.store.outage.fail_nth(n);
            let answer = introspect(&bed, token).await;
            bed.store.outage.end();
            match answer.outcome {
                Outcome::Granted(Introspection::Active(_)) => assert!(n > 3, "client, session, standing"),
                Outcome::Unavailable(_) => assert!(n <= 3, "call {n}"),
                other => panic!("call {n}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_verifier_that_is_away_is_an_outage() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    bed.signer.outage.begin();
    let answer = introspect(&bed, &token).await;
    assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
}
