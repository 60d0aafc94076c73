//! The refresh grant.

use auth_domain::audit::AuditEvent;
use auth_domain::claims::RefreshClaims;
use auth_domain::client::{Client, GrantType};
use auth_domain::id::{Jti, SessionId};
use auth_domain::ports::{Genuine, TokenSigner};
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::session::{RevocationReason, RevocationTarget, SessionState};
use auth_domain::throttle::Limit;
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{ReuseRevokes, RotationResult, TokenSet};
use auth_domain::user::{User, UserStatus};
use auth_testkit::bed::granted;
use auth_testkit::fake::FakeSigner;
use auth_testkit::{TestBed, build};
use rstest::rstest;
use uuid::Uuid;

use super::{client_with_window, events, last_row, refresh_form, refused, scope};

fn claims(bed: &TestBed, tokens: &TokenSet) -> RefreshClaims {
    match bed.signer.verify_refresh(&tokens.tokens.refresh).unwrap() {
        Genuine::Yes(claims) => claims,
        Genuine::No(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn a_refresh_consumes_its_token_and_issues_the_only_successor() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    bed.clock.advance(Seconds::new(10));
    let answer = bed.refresh(first.tokens.refresh.expose()).await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Rotated));
    assert_eq!(answer.facts.grant_type, Some(GrantType::RefreshToken));
    assert_eq!(answer.facts.user_id, Some(build::user_id(build::ALICE)));
    let second = granted(answer);
    let (before, after) = (claims(&bed, &first), claims(&bed, &second));
    assert_eq!(after.jti, Jti::successor_of(first.tokens.refresh.expose()));
    assert_eq!(
        (after.sid, after.sub, &after.scope),
        (before.sid, before.sub, &before.scope)
    );
    assert_eq!(
        Timestamp::from(after.exp),
        Timestamp::from(before.exp).plus(Seconds::new(10))
    );
    let session = bed.store.session(after.sid.unwrap()).unwrap();
    assert_eq!(
        (session.head, session.previous),
        (after.jti.hash(), Some(before.jti.hash()))
    );
    let history = bed.store.history(after.sid.unwrap());
    assert_eq!(history[1].parent, Some(before.jti.hash()));
    let row = last_row(&bed);
    let expected = AuditEvent::TokenRefresh {
        session_id: after.sid.unwrap(),
        scope: second.scope,
        repeated: false,
    };
    assert_eq!(row.event, expected);
    assert!(row.event.is_success());
}

#[tokio::test]
async fn a_second_use_is_refused_and_kills_the_chain_for_both() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let second = granted(bed.refresh(first.tokens.refresh.expose()).await);
    let other_chain = bed.sign_in().await;
    let replay = bed.refresh(first.tokens.refresh.expose()).await;
    assert_eq!(replay.facts.rotation, Some(RotationResult::Reuse));
    assert_eq!(refused(replay), Refusal::InvalidGrant(GrantFault::Reuse));
    let sid = claims(&bed, &first).sid.unwrap();
    let expected = AuditEvent::SecurityIncident {
        session_id: sid,
        revoked: RevocationTarget::Session(sid),
    };
    assert_eq!(last_row(&bed).event, expected);
    assert!(!expected.is_success());
    let state = bed.store.session(sid).unwrap().state;
    assert!(matches!(
        state,
        SessionState::Revoked {
            reason: RevocationReason::Reuse,
            ..
        }
    ));
    let refusal = refused(bed.refresh(second.tokens.refresh.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
    granted(bed.refresh(other_chain.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn the_trail_tells_of_a_dead_token_five_times_an_hour() {
    let bed = TestBed::default();
    let dead = bed.sign_in().await.tokens.refresh;
    granted(bed.refresh(dead.expose()).await);
    refused(bed.refresh(dead.expose()).await);
    let other = bed.sign_in().await.tokens.refresh;
    let rows = || bed.store.audit_trail().len();
    for told in [5, 0] {
        let before = rows();
        for _ in 0..20 {
            let refusal = refused(bed.refresh(dead.expose()).await);
            assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
        }
        assert_eq!(rows() - before, told);
    }
    let before = rows();
    granted(bed.refresh(other.expose()).await);
    bed.clock.advance(Seconds::new(3_600));
    refused(bed.refresh(dead.expose()).await);
    assert_eq!(rows() - before, 2);
}

#[tokio::test]
async fn where_the_policy_says_so_a_reuse_ends_every_chain_of_the_user_at_the_client() {
    let mut bed = TestBed::default();
    bed.policy.reuse_revokes = ReuseRevokes::UserClient;
    let first = bed.sign_in().await;
    let other = bed.sign_in().await;
    granted(bed.refresh(first.tokens.refresh.expose()).await);
    refused(bed.refresh(first.tokens.refresh.expose()).await);
    let refusal = refused(bed.refresh(other.tokens.refresh.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Revoked));
    let incident = bed
        .store
        .audit_trail()
        .into_iter()
        .find(|row| row.event.event_type() == "security_incident");
    let target =
        RevocationTarget::UserAtClient(build::user_id(build::ALICE), build::client_id(build::FLUTTER));
    assert!(
        matches!(incident.unwrap().event, AuditEvent::SecurityIncident { revoked, .. } if revoked == target)
    );
}

#[tokio::test]
async fn a_retry_within_the_window_gives_the_very_same_refresh_token() {
    let bed = TestBed::default();
    bed.store.put_client(client_with_window(30));
    let first = bed.sign_in().await;
    let second = granted(bed.refresh(first.tokens.refresh.expose()).await);
    bed.clock.advance(Seconds::new(29));
    let answer = bed.refresh(first.tokens.refresh.expose()).await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Repeated));
    let again = granted(answer);
    assert_eq!(again.tokens.refresh.expose(), second.tokens.refresh.expose());
    assert_ne!(again.tokens.access.expose(), second.tokens.access.expose());
    assert!(matches!(
        last_row(&bed).event,
        AuditEvent::TokenRefresh { repeated: true, .. }
    ));
    granted(bed.refresh(second.tokens.refresh.expose()).await);
    let late = bed.refresh(first.tokens.refresh.expose()).await;
    assert_eq!(refused(late), Refusal::InvalidGrant(GrantFault::Reuse));
}

#[tokio::test]
async fn a_retry_may_ask_for_another_scope_but_never_for_a_wider_one() {
    let bed = TestBed::default();
    bed.store.put_client(client_with_window(30));
    let first = bed.sign_in().await;
    granted(bed.refresh(first.tokens.refresh.expose()).await);
    let mut form = refresh_form(first.tokens.refresh.expose());
    form.push(("scope", "api:admin"));
    assert_eq!(refused(bed.ask(&form).await), Refusal::InvalidScope);
    form.pop();
    form.push(("scope", "api:read"));
    assert_eq!(granted(bed.ask(&form).await).scope, scope("api:read"));
}

#[tokio::test]
async fn narrowing_the_access_token_leaves_the_grant_whole() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let mut form = refresh_form(first.tokens.refresh.expose());
    form.push(("scope", "api:read"));
    let second = granted(bed.ask(&form).await);
    assert_eq!(second.scope, scope("api:read"));
    assert_eq!(claims(&bed, &second).scope, scope("api:read api:write"));
    let third = granted(bed.refresh(second.tokens.refresh.expose()).await);
    assert_eq!(third.scope, scope("api:read api:write"));
}

#[tokio::test]
async fn a_wider_scope_is_refused_and_consumes_nothing() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let mut form = refresh_form(first.tokens.refresh.expose());
    form.push(("scope", "api:read api:admin"));
    assert_eq!(refused(bed.ask(&form).await), Refusal::InvalidScope);
    granted(bed.refresh(first.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn what_the_client_may_no_longer_use_is_left_out_of_the_access_token() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    bed.store.put_client(Client {
        allowed_scopes: scope("api:read"),
        ..build::flutter_client()
    });
    let second = granted(bed.refresh(first.tokens.refresh.expose()).await);
    assert_eq!(second.scope, scope("api:read"));
    bed.store.put_client(Client {
        allowed_scopes: scope("other"),
        ..build::flutter_client()
    });
    assert_eq!(
        refused(bed.refresh(second.tokens.refresh.expose()).await),
        Refusal::InvalidScope
    );
}

#[tokio::test]
async fn another_clients_token_is_refused_audited_and_untouched() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", build::BACKEND),
        ("client_secret", build::BACKEND_SECRET),
        ("refresh_token", first.tokens.refresh.expose()),
    ];
    assert_eq!(
        refused(bed.ask(&form).await),
        Refusal::InvalidGrant(GrantFault::ForeignClient)
    );
    let sid = claims(&bed, &first).sid.unwrap();
    let row = last_row(&bed);
    assert_eq!(
        row.event,
        AuditEvent::TokenInvalid {
            reason: GrantFault::ForeignClient,
            session_id: Some(sid)
        }
    );
    assert!(!row.event.is_success());
    assert_eq!(row.client_id, Some(build::client_id(build::BACKEND)));
    granted(bed.refresh(first.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_forged_token_is_refused_and_leaves_no_row() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let forged = FakeSigner::with_key("thief").sign_refresh(&claims(&bed, &first));
    let access = first.tokens.access.expose();
    let rows = events(&bed).len();
    for token in [forged.expose(), access, "nonsense"] {
        let answer = bed.refresh(token).await;
        assert_eq!(answer.facts.rotation, Some(RotationResult::Refused));
        assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::Forged));
    }
    assert_eq!(events(&bed).len(), rows, "a stranger can't fill the audit trail");
}

#[rstest]
#[case::issuer(|claims: &mut RefreshClaims| claims.iss = "https://evil.example".into())]
#[case::audience(|claims: &mut RefreshClaims| claims.aud = "codelab-api".into())]
#[tokio::test]
async fn a_signed_token_of_other_claims_is_refused(#[case] change: fn(&mut RefreshClaims)) {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let mut other = claims(&bed, &first);
    change(&mut other);
    let token = bed.signer.sign_refresh(&other);
    assert_eq!(
        refused(bed.refresh(token.expose()).await),
        Refusal::InvalidGrant(GrantFault::WrongClaims)
    );
}

#[tokio::test]
async fn a_token_whose_session_is_gone_is_refused() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let mut other = claims(&bed, &first);
    other.sid = Some(SessionId::from_uuid(Uuid::from_u128(404)));
    let token = bed.signer.sign_refresh(&other);
    assert_eq!(
        refused(bed.refresh(token.expose()).await),
        Refusal::InvalidGrant(GrantFault::UnknownSession)
    );
    assert!(matches!(last_row(&bed).event, AuditEvent::TokenInvalid { .. }));
}

#[tokio::test]
async fn a_token_expires_at_the_very_second() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let expiry = Timestamp::from(claims(&bed, &first).exp);
    bed.clock.set(expiry);
    let refusal = refused(bed.refresh(first.tokens.refresh.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::Expired));
    bed.clock.set(Timestamp::from_micros(expiry.as_micros() - 1));
    granted(bed.refresh(first.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn an_inactive_user_refreshes_nothing() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    bed.store.put_user(User {
        status: UserStatus::Inactive,
        ..build::user(build::ALICE)
    });
    let refusal = refused(bed.refresh(first.tokens.refresh.expose()).await);
    assert_eq!(refusal, Refusal::InvalidGrant(GrantFault::UserInactive));
}

#[tokio::test]
async fn refreshing_has_a_limit_of_its_own() {
    let mut bed = TestBed::default();
    let mut token = bed.sign_in().await.tokens.refresh;
    bed.policy.limits = bed.policy.limits.map(|mut limits| {
        limits.refreshes_per_network = 3;
        limits
    });
    for _ in 0..3 {
        token = granted(bed.refresh(token.expose()).await).tokens.refresh;
    }
    let refusal = refused(bed.refresh(token.expose()).await);
    assert_eq!(
        refusal,
        Refusal::RateLimited {
            retry_after: Seconds::new(60)
        }
    );
    let row = last_row(&bed).event;
    let expected = AuditEvent::RateLimitExceeded {
        limit: Limit::RefreshesByAddress,
        grant_type: Some(GrantType::RefreshToken),
        login: None,
        retry_after: Seconds::new(60),
    };
    assert_eq!(row, expected);
    bed.clock.advance(Seconds::new(60));
    granted(bed.refresh(token.expose()).await);
}

#[tokio::test]
async fn every_generation_of_a_chain_of_fifty_is_reuse() {
    for replayed in 0..50 {
        let bed = TestBed::without_limits();
        let mut tokens = vec![bed.sign_in().await.tokens.refresh];
        for generation in 0..50 {
            let next = granted(bed.refresh(tokens[generation].expose()).await);
            tokens.push(next.tokens.refresh);
        }
        let replay = refused(bed.refresh(tokens[replayed].expose()).await);
        assert_eq!(replay, Refusal::InvalidGrant(GrantFault::Reuse));
        let head = refused(bed.refresh(tokens[50].expose()).await);
        assert_eq!(head, Refusal::InvalidGrant(GrantFault::Revoked));
    }
}
