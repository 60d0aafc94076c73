//! Tokens of the older service: they know no session, and live on as any other token of their chain.

use auth_domain::audit::AuditEvent;
use auth_domain::claims::{AccessClaims, RefreshClaims, TokenUse};
use auth_domain::client::AccessTokenType;
use auth_domain::id::{Jti, SessionId};
use auth_domain::introspection::Introspection;
use auth_domain::ports::{Genuine, Sessions, TokenSigner};
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::revocation::Revoked;
use auth_domain::secret::Token;
use auth_domain::session::{
    Opened, Revocation, RevocationReason, RevocationTarget, Rotated, Rotation, SessionState,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{Answer, Outcome, RotationResult};
use auth_testkit::bed::granted;
use auth_testkit::clock::START;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use crate::grants::{client_with_window, events, last_row, refused};
use crate::revocation::{about, about_by_backend, access_claims, refresh_claims};

/// Ten years, as the older service gave them.
const LIFETIME: Seconds = Seconds::new(315_360_000);

/// A refresh token of the older service that stands for this text.
fn claims(text: &str) -> RefreshClaims {
    RefreshClaims {
        iss: build::issuer().url,
        sub: build::user_id(build::ALICE),
        aud: build::issuer().audience,
        exp: START.plus(LIFETIME).into(),
        iat: START.into(),
        nbf: START.into(),
        jti: Jti::from_uuid(build::uuid(text)),
        token_use: TokenUse::Refresh,
        client_id: build::client_id(build::FLUTTER),
        scope: build::scope("api:read api:write"),
        sid: None,
    }
}

fn token(bed: &TestBed, text: &str) -> Token {
    bed.signer.sign_refresh(&claims(text))
}

/// A bed with a chain that was taken over: its tokens stand for these texts, and the last of them is the head.
async fn taken_over(bed: &TestBed, texts: &[&str]) -> SessionId {
    let user = build::user(build::ALICE);
    let mut session = build::new_session("old", &user, &build::flutter_client());
    let id = session.id;
    let row = |text| {
        let mut row = build::token_row(text, START);
        row.jti_hash = claims(text).jti.hash();
        row.expires_at = START.plus(LIFETIME).whole_second();
        row
    };
    session.first = row(texts[0]);
    let note = |text: &str| build::audit(text, AuditEvent::PasswordChange {});
    let opened = bed.store.open(session, note("open")).await.unwrap();
    assert_eq!(opened, Opened::Opened);
    for pair in texts.windows(2) {
        let rotation = Rotation {
            session_id: id,
            from: claims(pair[0]).jti.hash(),
            to: row(pair[1]),
        };
        let rotated = bed.store.rotate(rotation, note(pair[1])).await.unwrap();
        assert_eq!(rotated, Rotated::Rotated);
    }
    for text in texts {
        bed.store.put_legacy_token(claims(text).jti.hash(), id);
    }
    id
}

fn state(bed: &TestBed, id: SessionId) -> SessionState {
    bed.store.session(id).unwrap().state
}

fn introspected(answer: Answer<Introspection>) -> Introspection {
    match answer.outcome {
        Outcome::Granted(told) => told,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        Outcome::Unavailable(outage) => panic!("unavailable: {outage:?}"),
    }
}

#[tokio::test]
async fn a_live_one_is_consumed_and_its_successor_is_of_our_own_form() {
    let bed = TestBed::default();
    let id = taken_over(&bed, &["one"]).await;
    let old = token(&bed, "one");
    bed.clock.advance(Seconds::new(10));
    let answer = bed.refresh(old.expose()).await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Rotated));
    assert_eq!(answer.facts.session_id, Some(id));
    let tokens = granted(answer).tokens;
    let fresh = refresh_claims(&bed, &tokens.refresh);
    let expected = RefreshClaims {
        aud: build::issuer().url,
        exp: START.plus(Seconds::new(2_592_010)).into(),
        iat: START.plus(Seconds::new(10)).into(),
        nbf: START.plus(Seconds::new(5)).into(),
        jti: Jti::successor_of(old.expose()),
        sid: Some(id),
        ..claims("one")
    };
    assert_eq!(fresh, expected);
    let row = last_row(&bed);
    assert!(matches!(row.event, AuditEvent::TokenRefresh { session_id, .. } if session_id == id));
    assert_eq!(row.user_id, Some(build::user_id(build::ALICE)));
    granted(bed.refresh(tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_window() {
    let bed = TestBed::default();
    bed.store.put_client(client_with_window(30));
    taken_over(&bed, &["one"]).await;
    let old = token(&bed, "one");
    let first = granted(bed.refresh(old.expose()).await).tokens;
    bed.clock.advance(Seconds::new(29));
    let answer = bed.refresh(old.expose()).await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Repeated));
    assert_eq!(granted(answer).tokens.refresh.expose(), first.refresh.expose());
    bed.clock.advance(Seconds::new(1));
    let late = refused(bed.refresh(old.expose()).await);
    assert_eq!(late, Refusal::InvalidGrant(GrantFault::Reuse));
}

#[rstest]
#[case::consumed_there(&["one", "two", "three"], "one")]
#[case::consumed_there_last(&["one", "two", "three"], "two")]
#[tokio::test]
async fn one_that_the_older_service_had_consumed_is_reuse_and_kills_the_chain(
    #[case] chain: &[&str],
    #[case] replayed: &str,
) {
    let bed = TestBed::default();
    // What the older service gave in its place can't be given again: it drew it at random.
    bed.store.put_client(client_with_window(30));
    let id = taken_over(&bed, chain).await;
    let answer = bed.refresh(token(&bed, replayed).expose()).await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Reuse));
    assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::Reuse));
    let expected = AuditEvent::SecurityIncident {
        session_id: id,
        revoked: RevocationTarget::Session(id),
    };
    assert_eq!(last_row(&bed).event, expected);
    let head = refused(bed.refresh(token(&bed, "three").expose()).await);
    assert_eq!(head, Refusal::InvalidGrant(GrantFault::Revoked));
}

#[tokio::test]
async fn one_that_was_consumed_here_is_reuse_and_kills_the_chain() {
    let bed = TestBed::default();
    let id = taken_over(&bed, &["one"]).await;
    let old = token(&bed, "one");
    let fresh = granted(bed.refresh(old.expose()).await).tokens;
    let replay = refused(bed.refresh(old.expose()).await);
    assert_eq!(replay, Refusal::InvalidGrant(GrantFault::Reuse));
    let reason = RevocationReason::Reuse;
    assert_eq!(state(&bed, id), SessionState::Revoked { at: START, reason });
    let head = refused(bed.refresh(fresh.refresh.expose()).await);
    assert_eq!(head, Refusal::InvalidGrant(GrantFault::Revoked));
}

#[tokio::test]
async fn it_lives_as_long_as_the_older_service_promised() {
    let bed = TestBed::default();
    taken_over(&bed, &["one"]).await;
    let old = token(&bed, "one");
    let expiry = Timestamp::from(claims("one").exp);
    bed.clock.set(expiry);
    let refusal = refused(bed.refresh(old.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Expired));
    bed.clock.set(Timestamp::from_micros(expiry.as_micros() - 1));
    granted(bed.refresh(old.expose()).await);
}

#[tokio::test]
async fn one_that_was_not_taken_over_is_refused_and_told_of_five_times_an_hour() {
    let bed = TestBed::default();
    taken_over(&bed, &["one"]).await;
    let rows = events(&bed).len();
    for _ in 0..20 {
        let answer = bed.refresh(token(&bed, "unknown").expose()).await;
        assert_eq!(answer.facts.session_id, None);
        assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::UnknownSession));
    }
    let expected = AuditEvent::TokenInvalid {
        reason: GrantFault::UnknownSession,
        session_id: None,
    };
    assert_eq!(last_row(&bed).event, expected);
    assert_eq!(events(&bed).len() - rows, 5);
    granted(bed.refresh(token(&bed, "one").expose()).await);
}

#[tokio::test]
async fn what_is_told_of_refused_ones_is_counted_by_their_session() {
    let bed = TestBed::default();
    let id = taken_over(&bed, &["one", "two", "three"]).await;
    refused(bed.refresh(token(&bed, "one").expose()).await);
    let rows = events(&bed).len();
    for text in ["one", "two", "three"] {
        for _ in 0..5 {
            let refusal = refused(bed.refresh(token(&bed, text).expose()).await);
            assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
        }
    }
    let expected = AuditEvent::TokenInvalid {
        reason: GrantFault::Revoked,
        session_id: Some(id),
    };
    assert_eq!(last_row(&bed).event, expected);
    assert_eq!(events(&bed).len() - rows, 5);
}

#[tokio::test]
async fn another_client_learns_and_changes_nothing() {
    let bed = TestBed::default();
    let id = taken_over(&bed, &["one", "two"]).await;
    for text in ["one", "two"] {
        let old = token(&bed, text);
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", build::BACKEND),
            ("client_secret", build::BACKEND_SECRET),
            ("refresh_token", old.expose()),
        ];
        let refusal = refused(bed.ask(&form).await);
        assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::ForeignClient));
        let revoking = bed.service().revoke(&about_by_backend(&old), &bed.context).await;
        assert_eq!(
            refused(revoking),
            Refusal::InvalidGrant(GrantFault::ForeignClient)
        );
        let told = bed
            .service()
            .introspect(&about_by_backend(&old), &bed.context)
            .await;
        assert_eq!(introspected(told), Introspection::Inactive);
        let expected = AuditEvent::TokenInvalid {
            reason: GrantFault::ForeignClient,
            session_id: Some(id),
        };
        assert_eq!(last_row(&bed).event, expected);
    }
    assert_eq!(state(&bed, id), SessionState::Live);
    granted(bed.refresh(token(&bed, "two").expose()).await);
}

#[rstest]
#[case::of_the_issuer(|claims: &mut RefreshClaims| claims.aud = build::issuer().url)]
#[case::of_another_audience(|claims: &mut RefreshClaims| claims.aud = "elsewhere".into())]
#[case::of_another_issuer(|claims: &mut RefreshClaims| claims.iss = "https://evil.example".into())]
#[tokio::test]
async fn one_of_other_claims_is_refused_though_its_signature_is_good(#[case] change: fn(&mut RefreshClaims)) {
    let bed = TestBed::default();
    taken_over(&bed, &["one"]).await;
    let mut other = claims("one");
    change(&mut other);
    let refusal = refused(bed.refresh(bed.signer.sign_refresh(&other).expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::WrongClaims));
    granted(bed.refresh(token(&bed, "one").expose()).await);
}

/// An access token of type `JWT` that speaks of the `jti` of a token that was taken over: the worst there could be.
#[tokio::test]
async fn an_access_token_of_its_type_is_no_refresh_token() {
    let bed = TestBed::default();
    taken_over(&bed, &["one"]).await;
    let fresh = granted(bed.refresh(token(&bed, "one").expose()).await).tokens;
    let access = AccessClaims {
        jti: claims("one").jti,
        ..access_claims(&bed, &fresh.access)
    };
    let disguised = bed.signer.sign_access(AccessTokenType::Jwt, &access);
    assert!(matches!(
        bed.signer.verify_refresh(&disguised).unwrap(),
        Genuine::No(_)
    ));
    let refusal = refused(bed.refresh(disguised.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Forged));
    let old = token(&bed, "one");
    assert!(matches!(bed.signer.verify_access(&old).unwrap(), Genuine::No(_)));
}

#[rstest]
#[case::the_head("two")]
#[case::a_consumed_one("one")]
#[tokio::test]
async fn revoking_any_of_a_chain_ends_it(#[case] text: &str) {
    let bed = TestBed::default();
    let id = taken_over(&bed, &["one", "two"]).await;
    let revoke = || async {
        let answer = bed
            .service()
            .revoke(&about(&token(&bed, text)), &bed.context)
            .await;
        assert_eq!(answer.facts.session_id, Some(id));
        match answer.outcome {
            Outcome::Granted(revoked) => revoked,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(revoke().await, Revoked::Chain);
    let reason = RevocationReason::Requested;
    assert_eq!(state(&bed, id), SessionState::Revoked { at: START, reason });
    assert_eq!(revoke().await, Revoked::EndedBefore);
    let refusal = refused(bed.refresh(token(&bed, "two").expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
}

#[tokio::test]
async fn revoking_one_that_was_not_taken_over_changes_nothing() {
    let bed = TestBed::default();
    taken_over(&bed, &["one"]).await;
    let rows = events(&bed).len();
    let answer = bed
        .service()
        .revoke(&about(&token(&bed, "unknown")), &bed.context)
        .await;
    assert!(matches!(answer.outcome, Outcome::Granted(Revoked::EndedBefore)));
    assert_eq!(events(&bed).len(), rows);
}

/// The claims of a token that the confidential client was issued by the older service.
fn backend_claims() -> RefreshClaims {
    RefreshClaims {
        client_id: build::client_id(build::BACKEND),
        ..claims("backend")
    }
}

async fn taken_over_for_backend(bed: &TestBed) -> SessionId {
    let client = build::confidential_client(build::BACKEND, build::BACKEND_SECRET);
    let mut session = build::new_session("backend", &build::user(build::ALICE), &client);
    let (id, jti_hash) = (session.id, backend_claims().jti.hash());
    session.first.jti_hash = jti_hash;
    session.first.expires_at = START.plus(LIFETIME).whole_second();
    let note = build::audit("backend", AuditEvent::PasswordChange {});
    bed.store.open(session, note).await.unwrap();
    bed.store.put_legacy_token(jti_hash, id);
    id
}

#[tokio::test]
async fn introspection_tells_a_live_one_as_it_is() {
    let bed = TestBed::default();
    let id = taken_over_for_backend(&bed).await;
    let old = bed.signer.sign_refresh(&backend_claims());
    let answer = bed
        .service()
        .introspect(&about_by_backend(&old), &bed.context)
        .await;
    assert_eq!(answer.facts.session_id, Some(id));
    let Introspection::Active(told) = introspected(answer) else {
        panic!("inactive");
    };
    assert_eq!(told.token_use, TokenUse::Refresh);
    assert_eq!((told.aud.as_str(), told.sid), ("codelab-api", None));
    assert_eq!(told.jti, backend_claims().jti);
}

#[tokio::test]
async fn introspection_tells_nothing_of_one_whose_chain_has_ended() {
    let bed = TestBed::default();
    let id = taken_over_for_backend(&bed).await;
    let old = bed.signer.sign_refresh(&backend_claims());
    let revocation = Revocation {
        target: RevocationTarget::Session(id),
        reason: RevocationReason::Requested,
        at: START,
    };
    let note = build::audit("end", AuditEvent::PasswordChange {});
    bed.store.revoke(revocation, note).await.unwrap();
    let answer = bed
        .service()
        .introspect(&about_by_backend(&old), &bed.context)
        .await;
    assert_eq!(introspected(answer), Introspection::Inactive);
}
