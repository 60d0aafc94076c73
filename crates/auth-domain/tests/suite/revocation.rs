//! Revocation: what ends, what stays, and that nothing is said to have ended that has not.

use auth_domain::audit::AuditEvent;
use auth_domain::claims::{AccessClaims, RefreshClaims};
use auth_domain::client::{AccessTokenType, Client, ClientPolicy, ClientStatus, GrantType};
use auth_domain::client_auth::{BasicCredentials, ClientCredentials};
use auth_domain::id::{ClientId, Jti, Subject};
use auth_domain::ports::{AccessStanding, AccessTokens, Genuine, TokenSigner};
use auth_domain::refusal::{Challenge, GrantFault, Refusal};
use auth_domain::request::AboutToken;
use auth_domain::revocation::Revoked;
use auth_domain::secret::{ClientSecret, Token};
use auth_domain::session::{RevocationReason, RevocationTarget, SessionState};
use auth_domain::throttle::{Limit, Limits};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{Answer, Outcome, TokenSet};
use auth_testkit::bed::granted;
use auth_testkit::clock::START;
use auth_testkit::fake::FakeSigner;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use crate::grants::{events, last_row, refused};

/// What the built-in public client asks about a token.
pub(crate) fn about(token: &Token) -> AboutToken {
    let client = ClientCredentials {
        client_id: build::FLUTTER.to_owned(),
        secret: None,
        challenge: Challenge::Other,
    };
    let token = token.clone();
    AboutToken { client, token }
}

/// What the confidential client asks about a token.
pub(crate) fn about_by_backend(token: &Token) -> AboutToken {
    let basic = BasicCredentials {
        client_id: build::BACKEND.to_owned(),
        secret: Some(ClientSecret::new(build::BACKEND_SECRET.to_owned())),
    };
    AboutToken {
        client: ClientCredentials::parse(None, None, Some(basic)).unwrap(),
        token: token.clone(),
    }
}

async fn revoke(bed: &TestBed, token: &Token) -> Answer<Revoked> {
    bed.service().revoke(&about(token), &bed.context).await
}

fn revoked(answer: Answer<Revoked>) -> Revoked {
    match answer.outcome {
        Outcome::Granted(revoked) => revoked,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        Outcome::Unavailable(outage) => panic!("unavailable: {outage:?}"),
    }
}

pub(crate) fn refresh_claims(bed: &TestBed, token: &Token) -> RefreshClaims {
    match bed.signer.verify_refresh(token).unwrap() {
        Genuine::Yes(claims) => claims,
        Genuine::No(reason) => panic!("{reason}"),
    }
}

pub(crate) fn access_claims(bed: &TestBed, token: &Token) -> AccessClaims {
    match bed.signer.verify_access(token).unwrap() {
        Genuine::Yes(claims) => claims,
        Genuine::No(reason) => panic!("{reason}"),
    }
}

fn sign_access(bed: &TestBed, claims: &AccessClaims) -> Token {
    bed.signer.sign_access(AccessTokenType::AtJwt, claims)
}

async fn is_denied(bed: &TestBed, claims: &AccessClaims) -> bool {
    let (jti, alice) = (claims.jti.hash(), build::user_id(build::ALICE));
    let standing = bed.store.standing(&jti, alice, &claims.client_id).await;
    standing.unwrap() == AccessStanding::Bad
}

async fn three_generations(bed: &TestBed) -> [TokenSet; 3] {
    let first = bed.sign_in().await;
    let second = granted(bed.refresh(first.tokens.refresh.expose()).await);
    let third = granted(bed.refresh(second.tokens.refresh.expose()).await);
    [first, second, third]
}

#[rstest]
#[case::consumed_long_ago(0)]
#[case::consumed(1)]
#[case::head(2)]
#[tokio::test]
async fn any_generation_of_a_chain_ends_the_whole_chain_and_no_other(#[case] generation: usize) {
    let bed = TestBed::without_limits();
    let other = bed.sign_in().await;
    let tokens = three_generations(&bed).await;
    let answer = revoke(&bed, &tokens[generation].tokens.refresh).await;
    let sid = refresh_claims(&bed, &tokens[0].tokens.refresh).sid.unwrap();
    assert_eq!(answer.facts.session_id, Some(sid));
    assert_eq!(answer.facts.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(answer.facts.client_id, Some(build::client_id(build::FLUTTER)));
    assert_eq!(revoked(answer), Revoked::Chain);
    let reason = RevocationReason::Requested;
    let state = bed.store.session(sid).unwrap().state;
    assert_eq!(state, SessionState::Revoked { at: START, reason });
    let refusal = refused(bed.refresh(tokens[2].tokens.refresh.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
    granted(bed.refresh(other.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_revocation_leaves_one_row_that_says_what_ended_and_who_asked() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    revoke(&bed, &token).await;
    let row = last_row(&bed);
    let expected = AuditEvent::TokenRevoke {
        target: RevocationTarget::Session(refresh_claims(&bed, &token).sid.unwrap()),
        reason: RevocationReason::Requested,
    };
    assert_eq!(row.event, expected);
    assert_eq!(row.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(row.client_id, Some(build::client_id(build::FLUTTER)));
    assert_eq!((row.at, &row.context), (START, &build::context()));
    assert_eq!(events(&bed), ["login_success", "token_revoke"]);
}

#[tokio::test]
async fn an_expired_refresh_token_still_ends_its_chain() {
    let bed = TestBed::default();
    let first = bed.sign_in().await.tokens.refresh;
    bed.clock.advance(Seconds::new(2_592_000 - 10));
    let second = granted(bed.refresh(first.expose()).await).tokens.refresh;
    bed.clock.advance(Seconds::new(100));
    assert_eq!(revoked(revoke(&bed, &first).await), Revoked::Chain);
    let refusal = refused(bed.refresh(second.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nobody_from_revoking() {
    let bed = TestBed::default();
    let TokenSet { tokens, .. } = bed.sign_in().await;
    bed.clock.set(START.minus(Seconds::new(100_000)));
    assert_eq!(revoked(revoke(&bed, &tokens.refresh).await), Revoked::Chain);
    assert_eq!(revoked(revoke(&bed, &tokens.access).await), Revoked::AccessToken);
}

#[tokio::test]
async fn revoking_again_is_as_good_says_that_it_was_over_and_fills_no_trail() {
    let bed = TestBed::default();
    let TokenSet { tokens, .. } = bed.sign_in().await;
    assert_eq!(revoked(revoke(&bed, &tokens.refresh).await), Revoked::Chain);
    assert_eq!(revoked(revoke(&bed, &tokens.access).await), Revoked::AccessToken);
    let rows = bed.store.audit_trail().len();
    assert_eq!(revoked(revoke(&bed, &tokens.refresh).await), Revoked::EndedBefore);
    assert_eq!(revoked(revoke(&bed, &tokens.access).await), Revoked::AccessToken);
    assert_eq!(bed.store.audit_trail().len(), rows);
}

#[tokio::test]
async fn an_access_token_is_denied_and_its_chain_lives_on() {
    let bed = TestBed::default();
    let TokenSet { tokens, .. } = bed.sign_in().await;
    let claims = access_claims(&bed, &tokens.access);
    let answer = revoke(&bed, &tokens.access).await;
    assert_eq!(answer.facts.user_id, Some(build::user_id(build::ALICE)));
    assert_eq!(answer.facts.session_id, None);
    assert_eq!(revoked(answer), Revoked::AccessToken);
    assert!(is_denied(&bed, &claims).await);
    let row = last_row(&bed);
    let expires_at = START.unix_seconds() + 900;
    assert_eq!(row.event, AuditEvent::AccessTokenDenied { expires_at });
    assert_eq!(row.user_id, Some(build::user_id(build::ALICE)));
    granted(bed.refresh(tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_denial_lasts_as_long_as_anybody_accepts_the_token() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    revoke(&bed, &token).await;
    let until = START.whole_second().plus(Seconds::new(900 + 60));
    assert_eq!(bed.store.forget_denials(until, 9).await.unwrap(), 0);
    let after = Timestamp::from_micros(until.as_micros() + 1);
    assert_eq!(bed.store.forget_denials(after, 9).await.unwrap(), 1);
}

#[rstest]
#[case(START.whole_second().plus(Seconds::new(960)).as_micros() - 1, Revoked::AccessToken)]
#[case(START.whole_second().plus(Seconds::new(960)).as_micros(), Revoked::Expired)]
#[tokio::test]
async fn an_access_token_that_nobody_accepts_any_more_needs_no_denial(
    #[case] now: i64,
    #[case] expected: Revoked,
) {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    bed.clock.set(Timestamp::from_micros(now));
    assert_eq!(revoked(revoke(&bed, &token).await), expected);
    let is_written = expected == Revoked::AccessToken;
    assert_eq!(events(&bed).contains(&"token_revoke"), is_written);
}

#[tokio::test]
async fn the_session_of_an_access_token_that_names_it_is_known() {
    let bed = TestBed::default();
    let policy = ClientPolicy {
        session_id_in_access_token: true,
        ..ClientPolicy::default()
    };
    bed.store.put_client(Client {
        policy,
        ..build::flutter_client()
    });
    let TokenSet { tokens, .. } = bed.sign_in().await;
    let answer = revoke(&bed, &tokens.access).await;
    let sid = refresh_claims(&bed, &tokens.refresh).sid.unwrap();
    assert_eq!(answer.facts.session_id, Some(sid));
}

#[tokio::test]
async fn a_clients_own_access_token_is_denied_without_a_user() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    let claims = AccessClaims {
        sub: Subject::Client(build::client_id(build::FLUTTER)),
        ..access_claims(&bed, &token)
    };
    let answer = revoke(&bed, &sign_access(&bed, &claims)).await;
    assert_eq!(answer.facts.user_id, None);
    assert_eq!(revoked(answer), Revoked::AccessToken);
    assert!(is_denied(&bed, &claims).await);
}

/// Tokens of which nothing is known here.
fn strangers(bed: &TestBed, set: &TokenSet) -> Vec<Token> {
    let refresh = refresh_claims(bed, &set.tokens.refresh);
    let access = access_claims(bed, &set.tokens.access);
    let elsewhere = || "https://elsewhere.example".to_owned();
    let foreign_key = FakeSigner::with_key("another");
    vec![
        Token::new("abc".to_owned()),
        Token::new("a.b.c".to_owned()),
        Token::new("\u{1f511}\r\n\u{1b}[2J".to_owned()),
        Token::new(set.tokens.refresh.expose().replacen('a', "b", 1)),
        foreign_key.sign_refresh(&refresh),
        foreign_key.sign_access(AccessTokenType::AtJwt, &access),
        bed.signer.sign_refresh(&RefreshClaims {
            iss: elsewhere(),
            ..refresh.clone()
        }),
        bed.signer.sign_refresh(&RefreshClaims {
            aud: elsewhere(),
            ..refresh.clone()
        }),
        bed.signer.sign_refresh(&RefreshClaims {
            token_use: access.token_use,
            ..refresh.clone()
        }),
        sign_access(
            bed,
            &AccessClaims {
                iss: elsewhere(),
                ..access.clone()
            },
        ),
        sign_access(
            bed,
            &AccessClaims {
                aud: elsewhere(),
                ..access.clone()
            },
        ),
        sign_access(
            bed,
            &AccessClaims {
                token_use: refresh.token_use,
                ..access
            },
        ),
    ]
}

#[tokio::test]
async fn a_token_of_which_nothing_is_known_is_no_error_and_changes_nothing() {
    let bed = TestBed::without_limits();
    let set = bed.sign_in().await;
    for token in strangers(&bed, &set) {
        let answer = revoke(&bed, &token).await;
        assert_eq!(answer.facts.session_id, None);
        assert_eq!(revoked(answer), Revoked::Unknown, "{}", token.expose());
    }
    assert_eq!(events(&bed), ["login_success"]);
    assert!(!is_denied(&bed, &access_claims(&bed, &set.tokens.access)).await);
    granted(bed.refresh(set.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_refused_and_untouched() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    let answer = bed
        .service()
        .revoke(&about_by_backend(&token), &bed.context)
        .await;
    assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::ForeignClient));
    let row = last_row(&bed);
    let session_id = refresh_claims(&bed, &token).sid;
    let reason = GrantFault::ForeignClient;
    assert_eq!(row.event, AuditEvent::TokenInvalid { reason, session_id });
    assert_eq!(row.client_id, Some(build::client_id(build::BACKEND)));
    granted(bed.refresh(token.expose()).await);
}

#[tokio::test]
async fn an_access_token_of_another_client_is_refused_and_untouched_though_it_has_expired() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    for wait in [0, 100_000] {
        bed.clock.advance(Seconds::new(wait));
        let answer = bed
            .service()
            .revoke(&about_by_backend(&token), &bed.context)
            .await;
        assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::ForeignClient));
    }
    let (reason, session_id) = (GrantFault::ForeignClient, None);
    assert_eq!(
        last_row(&bed).event,
        AuditEvent::TokenInvalid { reason, session_id }
    );
    assert!(!is_denied(&bed, &access_claims(&bed, &token)).await);
}

#[tokio::test]
async fn only_a_client_that_has_proved_who_it_is_may_revoke() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    let mut unproved = about_by_backend(&token);
    unproved.client.secret = None;
    let answer = bed.service().revoke(&unproved, &bed.context).await;
    assert_eq!(refused(answer), Refusal::InvalidClient(Challenge::Basic));
    bed.store.put_client(Client {
        status: ClientStatus::Disabled,
        ..build::flutter_client()
    });
    assert_eq!(
        refused(revoke(&bed, &token).await),
        Refusal::InvalidClient(Challenge::Other)
    );
    assert_eq!(events(&bed), ["login_success"]);
}

#[tokio::test]
async fn revocations_are_counted_with_the_refreshes_of_their_network() {
    let mut bed = TestBed::default();
    bed.policy.limits = Some(Limits {
        refreshes_per_network: 2,
        ..Limits::default()
    });
    let token = bed.sign_in().await.tokens.refresh;
    let next = granted(bed.refresh(token.expose()).await).tokens.refresh;
    let answer = revoke(&bed, &Token::new("abc".to_owned())).await;
    let quota = answer.facts.quota.expect("the limit has judged it");
    assert_eq!(
        (quota.grant_type, quota.room.remaining),
        (GrantType::RefreshToken, 0)
    );
    let retry_after = Seconds::new(60);
    assert_eq!(
        refused(revoke(&bed, &next).await),
        Refusal::RateLimited { retry_after }
    );
    let expected = AuditEvent::RateLimitExceeded {
        limit: Limit::RefreshesByAddress,
        grant_type: None,
        login: None,
        retry_after,
    };
    assert_eq!(last_row(&bed).event, expected);
}

#[tokio::test]
async fn with_the_nth_call_to_the_store_failing_nothing_is_said_to_be_revoked_that_is_not() {
    for n in 1..=6 {
        let bed = TestBed::without_limits();
        let TokenSet { tokens, .. } = bed.sign_in().await;
        let access = access_claims(&bed, &tokens.access);
        for token in [&tokens.access, &tokens.refresh] {
            bed.store.outage.fail_nth(n);
            let answer = revoke(&bed, token).await;
            bed.store.outage.end();
            let is_done = if token.expose() == tokens.access.expose() {
                is_denied(&bed, &access).await
            } else {
                let claims = refresh_claims(&bed, token);
                bed.store.session(claims.sid.unwrap()).unwrap().state != SessionState::Live
            };
            let is_said = matches!(answer.outcome, Outcome::Granted(_));
            assert_eq!(is_done, is_said, "call {n}: {answer:?}");
            assert_eq!(is_said, n > 2, "client, revocation");
        }
    }
}

#[tokio::test]
async fn a_verifier_that_is_away_is_an_outage_and_no_unknown_token() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.access;
    for n in 1..=2 {
        bed.signer.outage.fail_nth(n);
        let answer = revoke(&bed, &token).await;
        assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
    }
}

#[test]
fn what_a_revocation_came_to_has_a_name() {
    let names: Vec<_> = Revoked::ALL.iter().map(|revoked| revoked.as_str()).collect();
    assert_eq!(
        names,
        ["chain", "ended_before", "access_token", "expired", "unknown"]
    );
}

#[test]
fn what_the_trail_keeps_of_a_refused_token_is_an_object_without_what_is_unknown() {
    let (reason, session_id) = (GrantFault::ForeignClient, None);
    let json = serde_json::to_string(&AuditEvent::TokenInvalid { reason, session_id }).unwrap();
    assert_eq!(json, r#"{"reason":"foreign_client"}"#);
}

/// A token of a chain that the store does not know, as after the user was deleted.
#[tokio::test]
async fn a_token_of_a_chain_that_is_gone_is_over() {
    let bed = TestBed::default();
    let token = bed.sign_in().await.tokens.refresh;
    let claims = RefreshClaims {
        sid: Some(build::session_id("gone")),
        jti: Jti::successor_of("gone"),
        client_id: ClientId::parse(build::FLUTTER).unwrap(),
        ..refresh_claims(&bed, &token)
    };
    let orphan = bed.signer.sign_refresh(&claims);
    assert_eq!(revoked(revoke(&bed, &orphan).await), Revoked::EndedBefore);
}
