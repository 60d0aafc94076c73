//! What the audit trail calls things.

use std::collections::BTreeSet;

use auth_domain::audit::{AuditEvent, EventKind};
use auth_domain::client::GrantType;
use auth_domain::id::SessionId;
use auth_domain::key::KeyState;
use auth_domain::refusal::GrantFault;
use auth_domain::scope::Scope;
use auth_domain::session::{RevocationReason, RevocationTarget};
use auth_domain::throttle::Limit;
use auth_domain::time::Seconds;
use uuid::Uuid;

fn one_of_each() -> Vec<AuditEvent> {
    let session_id = SessionId::from_uuid(Uuid::from_u128(1));
    let scope = Scope::parse("api:read").unwrap();
    let (reason, username) = (GrantFault::WrongPassword, "alice".to_owned());
    let target = RevocationTarget::Session(session_id);
    vec![
        AuditEvent::LoginSuccess {
            session_id,
            scope: scope.clone(),
            rehashed: false,
        },
        AuditEvent::LoginFailed {
            reason,
            login: username.clone(),
        },
        AuditEvent::TokenRefresh {
            session_id,
            scope: scope.clone(),
            repeated: false,
        },
        AuditEvent::TokenRevoke {
            target: target.clone(),
            reason: RevocationReason::Requested,
        },
        AuditEvent::AccessTokenDenied { expires_at: 1 },
        AuditEvent::TokenInvalid {
            reason,
            session_id: Some(session_id),
        },
        AuditEvent::SecurityIncident {
            session_id,
            revoked: target,
        },
        AuditEvent::RateLimitExceeded {
            limit: Limit::LoginsByAddress,
            grant_type: Some(GrantType::Password),
            login: Some(username.clone()),
            retry_after: Seconds::new(1),
        },
        AuditEvent::UserCreated {
            username: username.clone(),
        },
        AuditEvent::UserBlocked {},
        AuditEvent::UserUnblocked {},
        AuditEvent::UserDeleted { username },
        AuditEvent::PasswordChange {},
        AuditEvent::ClientCreated {
            confidential: true,
            scope,
        },
        AuditEvent::ClientUpdated {},
        AuditEvent::ClientSecretRotated {},
        AuditEvent::ClientDisabled {},
        AuditEvent::ClientEnabled {},
        AuditEvent::ClientDeleted {},
        AuditEvent::KeyRotated {
            kid: "k".to_owned(),
            activates_at: 1,
        },
        AuditEvent::KeyRevoked {
            kid: "k".to_owned(),
            state: KeyState::Retiring,
        },
    ]
}

#[test]
fn every_kind_of_event_has_an_event_and_is_found_by_its_name() {
    let met: BTreeSet<_> = one_of_each().iter().map(AuditEvent::kind).collect();
    assert_eq!(met, EventKind::ALL.iter().copied().collect());
    for event in one_of_each() {
        assert_eq!(EventKind::parse(event.event_type()), Ok(event.kind()));
    }
}

#[test]
fn exactly_what_failed_says_why() {
    let failed: Vec<_> = one_of_each()
        .iter()
        .filter(|event| !event.is_success())
        .map(|event| (event.event_type(), event.error_message()))
        .collect();
    assert_eq!(
        failed,
        [
            ("login_failed", Some("wrong_password")),
            ("token_invalid", Some("wrong_password")),
            ("security_incident", Some("reuse")),
            ("rate_limit_exceeded", Some("rate_limit_exceeded")),
        ]
    );
    let good = one_of_each().into_iter().filter(AuditEvent::is_success);
    assert_eq!(good.filter_map(|event| event.error_message()).count(), 0);
}
