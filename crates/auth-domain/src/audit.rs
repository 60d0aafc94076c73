//! The audit trail: one enum of everything that is worth a row, and the row.

use serde::Serialize;

use crate::client::GrantType;
use crate::context::RequestContext;
use crate::id::{ClientId, RowId, SessionId, UserId};
use crate::key::KeyState;
use crate::refusal::GrantFault;
use crate::scope::Scope;
use crate::session::{RevocationReason, RevocationTarget};
use crate::throttle::Limit;
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
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<SessionId>,
    },
    /// A consumed refresh token was presented, and its chains were ended.
    SecurityIncident {
        session_id: SessionId,
        revoked: RevocationTarget,
    },
    /// A limit was reached. `login` is what was typed as a name, at a sign-in.
    RateLimitExceeded {
        limit: Limit,
        #[serde(skip_serializing_if = "Option::is_none")]
        grant_type: Option<GrantType>,
        #[serde(skip_serializing_if = "Option::is_none")]
        login: Option<String>,
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
    /// A signing key was taken out of the key set; `state` is the one it was in.
    KeyRevoked { kid: String, state: KeyState },
}

impl AuditEvent {
    /// Its kind.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::LoginSuccess { .. } => EventKind::LoginSuccess,
            Self::LoginFailed { .. } => EventKind::LoginFailed,
            Self::TokenRefresh { .. } => EventKind::TokenRefresh,
            Self::TokenRevoke { .. } | Self::AccessTokenDenied { .. } => EventKind::TokenRevoke,
            Self::TokenInvalid { .. } => EventKind::TokenInvalid,
            Self::SecurityIncident { .. } => EventKind::SecurityIncident,
            Self::RateLimitExceeded { .. } => EventKind::RateLimitExceeded,
            Self::UserCreated { .. } => EventKind::UserCreated,
            Self::UserBlocked {} => EventKind::UserBlocked,
            Self::UserUnblocked {} => EventKind::UserUnblocked,
            Self::UserDeleted { .. } => EventKind::UserDeleted,
            Self::PasswordChange {} => EventKind::PasswordChange,
            Self::ClientCreated { .. } => EventKind::ClientCreated,
            Self::ClientUpdated {} => EventKind::ClientUpdated,
            Self::ClientSecretRotated {} => EventKind::ClientSecretRotated,
            Self::ClientDisabled {} => EventKind::ClientDisabled,
            Self::ClientEnabled {} => EventKind::ClientEnabled,
            Self::ClientDeleted {} => EventKind::ClientDeleted,
            Self::KeyRotated { .. } => EventKind::KeyRotated,
            Self::KeyRevoked { .. } => EventKind::KeyRevoked,
        }
    }

    /// The name of its kind.
    pub const fn event_type(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Why what was attempted did not succeed, in a word.
    pub const fn error_message(&self) -> Option<&'static str> {
        match self {
            Self::LoginFailed { reason, .. } | Self::TokenInvalid { reason, .. } => Some(reason.as_str()),
            Self::SecurityIncident { .. } => Some("reuse"),
            Self::RateLimitExceeded { .. } => Some("rate_limit_exceeded"),
            Self::LoginSuccess { .. }
            | Self::TokenRefresh { .. }
            | Self::TokenRevoke { .. }
            | Self::AccessTokenDenied { .. }
            | Self::UserCreated { .. }
            | Self::UserBlocked {}
            | Self::UserUnblocked {}
            | Self::UserDeleted { .. }
            | Self::PasswordChange {}
            | Self::ClientCreated { .. }
            | Self::ClientUpdated {}
            | Self::ClientSecretRotated {}
            | Self::ClientDisabled {}
            | Self::ClientEnabled {}
            | Self::ClientDeleted {}
            | Self::KeyRotated { .. }
            | Self::KeyRevoked { .. } => None,
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

crate::name::named! {
    /// A kind of event, by the name that its rows carry.
    EventKind {
        /// Somebody signed in.
        LoginSuccess = "login_success",
        /// Somebody failed to sign in.
        LoginFailed = "login_failed",
        /// A refresh token was used.
        TokenRefresh = "token_refresh",
        /// Chains were ended, or an access token denied, on request.
        TokenRevoke = "token_revoke",
        /// A token under a good signature was refused.
        TokenInvalid = "token_invalid",
        /// A consumed refresh token was presented.
        SecurityIncident = "security_incident",
        /// A limit was reached.
        RateLimitExceeded = "rate_limit_exceeded",
        /// A user was created.
        UserCreated = "user_created",
        /// A user was deactivated.
        UserBlocked = "user_blocked",
        /// A user was activated.
        UserUnblocked = "user_unblocked",
        /// A user was deleted.
        UserDeleted = "user_deleted",
        /// A user's password was changed.
        PasswordChange = "password_change",
        /// A client was registered.
        ClientCreated = "client_created",
        /// A client was changed.
        ClientUpdated = "client_updated",
        /// A client got a new secret.
        ClientSecretRotated = "client_secret_rotated",
        /// A client was switched off.
        ClientDisabled = "client_disabled",
        /// A client was switched on.
        ClientEnabled = "client_enabled",
        /// A client was deleted.
        ClientDeleted = "client_deleted",
        /// A signing key was published.
        KeyRotated = "key_rotated",
        /// A signing key was taken out of the key set.
        KeyRevoked = "key_revoked",
    } expected "login_success, login_failed, token_refresh, token_revoke, token_invalid, security_incident, \
                rate_limit_exceeded, user_created, user_blocked, user_unblocked, user_deleted, password_change, \
                client_created, client_updated, client_secret_rotated, client_disabled, client_enabled, \
                client_deleted, key_rotated, key_revoked"
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
