//! Sessions: a sign-in, and the head of the chain of refresh tokens that hangs on it.

use serde::Serialize;

use crate::id::{ClientId, Jti, JtiHash, RowId, SessionId, UserId};
use crate::scope::Scope;
use crate::secret::PasswordHash;
use crate::time::Timestamp;
use crate::user::UserStatus;

/// How the session of a refresh token is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionKey {
    /// By the id that the token carries.
    Id(SessionId),
    /// By the hash of the token's own `jti`: a token of the older service, which knew no sessions.
    Legacy(JtiHash),
}

/// What the rules need to know of a session when one of its tokens is presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// Whether that user may stay signed in, now.
    pub user_status: UserStatus,
    /// The client that the chain belongs to.
    pub client_id: ClientId,
    /// What was granted at sign-in; a refresh never changes it (RFC 6749 section 6).
    pub scope: Scope,
    /// The one token of the chain that has not been consumed.
    pub head: JtiHash,
    /// The token whose consumption brought the head forth; none before the first refresh.
    pub previous: Option<JtiHash>,
    /// When the head was issued, which is when `previous` was consumed.
    pub head_issued_at: Timestamp,
    /// When the head expires.
    pub expires_at: Timestamp,
    /// Whether the chain may still be used.
    pub state: SessionState,
    /// When the sign-in took place.
    pub created_at: Timestamp,
}

/// Whether a chain may still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Nobody has ended it.
    Live,
    /// It was ended, for good.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why.
        reason: RevocationReason,
    },
}

crate::name::named! {
    /// Why a chain was ended.
    RevocationReason {
        /// A consumed token was presented again (RFC 9700 section 4.14.2).
        Reuse = "reuse",
        /// The client or an operator asked for it (RFC 7009).
        Requested = "requested",
        /// The user was deactivated.
        UserDeactivated = "user_deactivated",
        /// The user's password was changed.
        PasswordChanged = "password_changed",
        /// The client was disabled.
        ClientDisabled = "client_disabled",
    } expected "reuse, requested, user_deactivated, password_changed, client_disabled"
}

crate::name::named! {
    /// How somebody authenticated (`amr`, RFC 8176 section 2).
    AuthenticationMethod {
        /// By a password.
        Password = "pwd",
    } expected "pwd"
}

/// A refresh token as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRow {
    /// Primary key, ordered by time.
    pub id: RowId,
    /// The token's name in the store.
    pub jti_hash: JtiHash,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A sign-in to be stored: the session with its first token, and what the sign-in does to the user.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The session's id.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// With which client.
    pub client_id: ClientId,
    /// What was granted.
    pub scope: Scope,
    /// How the user authenticated.
    pub amr: AuthenticationMethod,
    /// The first token of the chain.
    pub first: TokenRow,
    /// The hash that the password was verified against. The sign-in stands only while it is still the user's.
    pub verified_against: PasswordHash,
    /// A hash by the current policy to put in its place.
    pub rehashed: Option<PasswordHash>,
}

/// What became of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The session is stored.
    Opened,
    /// Nothing was stored: between the check of the password and now the password was changed or hashed anew, the user
    /// was deactivated or deleted, or the client was disabled or deleted.
    Overtaken,
}

/// One step of a chain: `from` is consumed, `to` becomes the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The session.
    pub session_id: SessionId,
    /// The head as it must still be.
    pub from: JtiHash,
    /// The successor.
    pub to: TokenRow,
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// This call, and no other, consumed the token.
    Rotated,
    /// Nothing was written: the head is another by now, or the chain has been revoked.
    Superseded,
}

/// Chains to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub target: RevocationTarget,
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}

/// Which chains a revocation ends. Those already revoked stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationTarget {
    /// One.
    Session(SessionId),
    /// Every chain of a user at a client.
    UserAtClient(UserId, ClientId),
    /// Every chain of a user.
    User(UserId),
    /// Every chain of a client.
    Client(ClientId),
}

/// The successor of a refresh token, as it is issued for the first time or given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor {
    /// Its `jti`.
    pub jti: Jti,
    /// Its `iat`, to the microsecond as stored.
    pub issued_at: Timestamp,
    /// Its `exp`.
    pub expires_at: Timestamp,
}
