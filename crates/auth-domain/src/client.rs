//! Clients (RFC 6749 section 2): what each may do, and how it is spoken to.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::id::{ClientId, RowId};
use crate::name::named;
use crate::scope::Scope;
use crate::secret::ClientSecretHash;
use crate::time::{Seconds, Timestamp};

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Primary key; nothing outside the store refers to it.
    pub id: RowId,
    /// The public identifier.
    pub client_id: ClientId,
    /// A name for people.
    pub name: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// How it proves who it is.
    pub authentication: ClientAuthentication,
    /// The most that its tokens may be good for.
    pub allowed_scopes: Scope,
    /// The grants it may use.
    pub allowed_grants: BTreeSet<GrantType>,
    /// Lifetimes and rotation of its tokens.
    pub policy: ClientPolicy,
    /// Deviations from the RFCs that this client's field versions need.
    pub wire_profile: WireProfile,
    /// Whether it may be used at all.
    pub status: ClientStatus,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How a client proves who it is (RFC 6749 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// It can't keep a secret, and has none.
    Public,
    /// It has a secret, of which this is the hash.
    Confidential(ClientSecretHash),
}

impl ClientAuthentication {
    /// Whether the client has a secret.
    pub const fn is_confidential(&self) -> bool {
        matches!(self, Self::Confidential(_))
    }
}

/// Whether a client may be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    /// It may.
    Active,
    /// An operator has switched it off: nothing of it works.
    Disabled,
}

/// Lifetimes and rotation of a client's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPolicy {
    /// How long an access token is valid.
    pub access_token_lifetime: Seconds,
    /// How long a refresh token is valid from its own issue.
    pub refresh_token_lifetime: Seconds,
    /// What becomes of a refresh token when it is used.
    pub rotation: RotationPolicy,
    /// How long a chain may live from its sign-in, however often it is refreshed; `None` is no limit.
    pub chain_lifetime: Option<Seconds>,
    /// The `typ` header of its access tokens.
    pub access_token_type: AccessTokenType,
    /// Whether its access tokens carry the session's id (`sid`).
    pub session_id_in_access_token: bool,
}

impl Default for ClientPolicy {
    fn default() -> Self {
        Self {
            access_token_lifetime: Seconds::new(900),
            refresh_token_lifetime: Seconds::new(2_592_000),
            rotation: RotationPolicy::Strict,
            chain_lifetime: None,
            access_token_type: AccessTokenType::AtJwt,
            session_id_in_access_token: false,
        }
    }
}

/// What becomes of a refresh token when it is used (RFC 9700 section 4.14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationPolicy {
    /// One use, and any second one is reuse.
    Strict,
    /// One use; the same client may have the same successor again for so long, while that is unused.
    RetryWindow(Seconds),
}

impl RotationPolicy {
    /// The policy for a stored window, where zero seconds mean none.
    pub const fn from_window(window: Seconds) -> Self {
        if window.get() == 0 {
            Self::Strict
        } else {
            Self::RetryWindow(window)
        }
    }

    /// The window to store; zero where there is none.
    pub const fn window(self) -> Seconds {
        match self {
            Self::Strict => Seconds::ZERO,
            Self::RetryWindow(window) => window,
        }
    }
}

named! {
    /// A way to a token (RFC 6749 section 1.3) that this server knows.
    GrantType {
        /// Resource owner password credentials (RFC 6749 section 4.3).
        Password = "password",
        /// Refreshing an access token (RFC 6749 section 6).
        RefreshToken = "refresh_token",
    } expected "password, refresh_token"
}

named! {
    /// How refusals look to a client on the wire.
    WireProfile {
        /// As RFC 6749 section 5.2 says.
        Rfc = "rfc",
        /// `invalid_grant` is answered by status 401, which the CodeLab Flutter application in the field needs.
        CodelabFlutter = "codelab-flutter",
    } expected "rfc, codelab-flutter"
}

named! {
    /// The `typ` header of an access token.
    AccessTokenType {
        /// RFC 9068 section 2.1.
        AtJwt = "at+jwt",
        /// For verifiers that know nothing else.
        Jwt = "JWT",
    } expected "at+jwt, JWT"
}
