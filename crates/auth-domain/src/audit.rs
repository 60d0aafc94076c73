//! The audit trail: one enum of everything that is worth a row, and the row.

use serde::Serialize;

use crate::client::GrantType;
use crate::context::RequestContext;
use crate::id::{ClientId, RowId, SessionId, UserId};
use crate::refusal::GrantFault;
use crate::scope::Scope;
use crate::session::{RevocationReason, RevocationTarget};
use crate::time::{Seconds, Timestamp};

/// Something that happened, with what is particular to it. Serializes to the row's `event_data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(
    missing_docs,
    reason = "the fields are named in full by the event they belong to"
)]
pub enum AuditEvent {
    /// Somebody signed in.
    LoginSuccess {
        session_id: SessionId,
        scope: Scope,
        rehashed: bool,
    },
    /// Somebody failed to sign in. `login` is what was typed as a name.
    LoginFailed { reason: GrantFault, login: String },
    /// A refresh token was consumed, or (`repeated`) its successor given again.
    TokenRefresh {
        session_id: SessionId,
        scope: Scope,
        repeated: bool,
    },
    /// Chains were ended on request.
    TokenRevoke {
        target: RevocationTarget,
        reason: RevocationReason,
    },
    /// An access token was denied before it expires.
    AccessTokenDenied { expires_at: i64 },
    /// A token under a good signature was refused.
    TokenInvalid {
        reason: GrantFault,
        session_id: SessionId,
    },
    /// A consumed refresh token was presented, and its chains were ended.
    SecurityIncident {
        session_id: SessionId,
        revoked: RevocationTarget,
    },
    /// A limit was reached.
    RateLimitExceeded {
        grant_type: GrantType,
        retry_after: Seconds,
    },
    /// A user was created.
    UserCreated { username: String },
    /// A user was deactivated.
    UserBlocked {},
    /// A user was activated.
    UserUnblocked {},
    /// A user was deleted.
    UserDeleted { username: String },
    /// A user's password was changed.
    PasswordChange {},
    /// A client was registered.
    ClientCreated { confidential: bool, scope: Scope },
    /// A client was changed.
    ClientUpdated {},
    /// A client got a new secret.
    ClientSecretRotated {},
    /// A client was switched off.
    ClientDisabled {},
    /// A client was switched on.
    ClientEnabled {},
    /// A client was deleted.
    ClientDeleted {},
    /// A signing key was published.
    KeyRotated { kid: String, activates_at: i64 },
}

impl AuditEvent {
    /// The name of the kind of event.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::LoginSuccess { .. } => "login_success",
            Self::LoginFailed { .. } => "login_failed",
            Self::TokenRefresh { .. } => "token_refresh",
            Self::TokenRevoke { .. } | Self::AccessTokenDenied { .. } => "token_revoke",
            Self::TokenInvalid { .. } => "token_invalid",
            Self::SecurityIncident { .. } => "security_incident",
            Self::RateLimitExceeded { .. } => "rate_limit_exceeded",
            Self::UserCreated { .. } => "user_created",
            Self::UserBlocked {} => "user_blocked",
            Self::UserUnblocked {} => "user_unblocked",
            Self::UserDeleted { .. } => "user_deleted",
            Self::PasswordChange {} => "password_change",
            Self::ClientCreated { .. } => "client_created",
            Self::ClientUpdated {} => "client_updated",
            Self::ClientSecretRotated {} => "client_secret_rotated",
            Self::ClientDisabled {} => "client_disabled",
            Self::ClientEnabled {} => "client_enabled",
            Self::ClientDeleted {} => "client_deleted",
            Self::KeyRotated { .. } => "key_rotated",
        }
    }

    /// Whether what was attempted succeeded.
    pub const fn is_success(&self) -> bool {
        !matches!(
            self,
            Self::LoginFailed { .. }
                | Self::TokenInvalid { .. }
                | Self::SecurityIncident { .. }
                | Self::RateLimitExceeded { .. }
        )
    }
}

/// A row of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Primary key, ordered by time.
    pub id: RowId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: AuditEvent,
    /// Whom it concerns, where that is known.
    pub user_id: Option<UserId>,
    /// Which client, where that is known.
    pub client_id: Option<ClientId>,
    /// From where.
    pub context: RequestContext,
}
