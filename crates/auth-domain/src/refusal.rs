//! Refusals as data: everything a token request can be told instead of a token.

use crate::rotation::Refused;
use crate::time::Seconds;

/// Why a token request gets no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not one (RFC 6749 section 5.2, `invalid_request`).
    InvalidRequest(RequestFault),
    /// The client is unknown, disabled, or has not proved who it is (`invalid_client`).
    InvalidClient(Challenge),
    /// The client may not use this grant (`unauthorized_client`).
    UnauthorizedClient,
    /// There is no such grant here (`unsupported_grant_type`).
    UnsupportedGrantType,
    /// The scope is malformed, unknown, or wider than may be granted (`invalid_scope`).
    InvalidScope,
    /// The credentials or the refresh token are no good (`invalid_grant`).
    InvalidGrant(GrantFault),
    /// Too many requests.
    RateLimited {
        /// When to try again.
        retry_after: Seconds,
    },
    /// Too many failures; told as `invalid_grant`, by the status of a limit.
    Locked {
        /// When to try again.
        retry_after: Seconds,
    },
    /// No password can be checked just now.
    Saturated {
        /// When to try again.
        retry_after: Seconds,
    },
}

/// Which HTTP authentication scheme the client tried, and is to be challenged with (RFC 6749 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It used HTTP Basic.
    Basic,
    /// It used the form, or nothing.
    Other,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFault {
    /// The content type is another than `application/x-www-form-urlencoded`; answered by status 415.
    ContentType,
    /// The body is longer than the limit.
    TooLarge,
    /// The body is no form, or not UTF-8.
    Malformed,
    /// The `Authorization` header was sent more than once.
    RepeatedAuthorization,
    /// A parameter was sent more than once (RFC 6749 section 3.2).
    Repeated(Parameter),
    /// A required parameter is missing or empty.
    Missing(Parameter),
    /// A parameter is too long, or holds a NUL character.
    BadValue(Parameter),
    /// The client authenticated in the form and by HTTP Basic at once (RFC 6749 section 2.3).
    TwoAuthentications,
    /// `client_id` in the form and in HTTP Basic differ.
    TwoClients,
}

/// The parameters of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the parameter of its name")]
pub enum Parameter {
    GrantType,
    ClientId,
    ClientSecret,
    Username,
    Password,
    RefreshToken,
    Scope,
    Token,
    TokenTypeHint,
}

impl Parameter {
    /// Those of a token request (RFC 6749 sections 2.3.1, 4.3.2 and 6).
    pub const OF_TOKEN_REQUEST: &[Self] = &[
        Self::GrantType,
        Self::ClientId,
        Self::ClientSecret,
        Self::Username,
        Self::Password,
        Self::RefreshToken,
        Self::Scope,
    ];
    /// Those of a request about a token (RFC 7009 section 2.1, RFC 7662 section 2.1).
    pub const ABOUT_TOKEN: &[Self] = &[
        Self::ClientId,
        Self::ClientSecret,
        Self::Token,
        Self::TokenTypeHint,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantType => "grant_type",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
            Self::Username => "username",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::Scope => "scope",
            Self::Token => "token",
            Self::TokenTypeHint => "token_type_hint",
        }
    }
}

crate::name::named! {
    /// Why a grant is no good. For logs, metrics and audit only: a client is told `invalid_grant`, whatever it was.
    GrantFault {
        /// Nobody has that name.
        UnknownUser = "unknown_user",
        /// The password is another.
        WrongPassword = "wrong_password",
        /// The user is inactive.
        UserInactive = "user_inactive",
        /// The account changed while the password was being checked.
        Overtaken = "overtaken",
        /// The refresh token is not one that this server signed, or was altered.
        Forged = "forged",
        /// Its issuer, audience, use or `nbf` is wrong.
        WrongClaims = "wrong_claims",
        /// There is no such session (any more).
        UnknownSession = "unknown_session",
        /// It was issued to another client.
        ForeignClient = "foreign_client",
        /// Its chain has been revoked.
        Revoked = "revoked",
        /// It has expired.
        Expired = "expired",
        /// Its chain has reached its absolute lifetime.
        ChainExpired = "chain_expired",
        /// It was consumed before.
        Reuse = "reuse",
    } expected "the reason of an invalid_grant"
}

impl From<Refused> for GrantFault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ForeignClient => Self::ForeignClient,
            Refused::Revoked => Self::Revoked,
            Refused::UserInactive => Self::UserInactive,
            Refused::Expired => Self::Expired,
            Refused::ChainExpired => Self::ChainExpired,
        }
    }
}
