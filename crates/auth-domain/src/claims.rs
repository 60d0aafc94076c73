//! The claims of our tokens (RFC 7519 section 4, RFC 9068 section 2.2), and the rule by which they are accepted.

use serde::{Deserialize, Serialize};

use crate::client::AccessTokenType;
use crate::id::{ClientId, Jti, SessionId, Subject, UserId};
use crate::scope::Scope;
use crate::secret::Token;
use crate::session::SessionKey;
use crate::time::{Seconds, Timestamp};

/// The `typ` of a refresh token: its own, so that nothing takes it for another (RFC 8725 section 3.11).
pub const REFRESH_TOKEN_TYPE: &str = "rt+jwt";

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The issuer URL.
    pub iss: String,
    /// Whom the token speaks for.
    pub sub: Subject,
    /// For whose use it is.
    pub aud: String,
    /// The second at which it ceases to be valid.
    pub exp: NumericDate,
    /// The second at which it was issued.
    pub iat: NumericDate,
    /// The second before which it is not valid.
    pub nbf: NumericDate,
    /// Its identifier.
    pub jti: Jti,
    /// Always `access`.
    #[serde(rename = "type")]
    pub token_use: TokenUse,
    /// The client it was issued to.
    pub client_id: ClientId,
    /// What it is good for.
    pub scope: Scope,
    /// The session, for clients that ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
}

/// The claims of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    /// The issuer URL.
    pub iss: String,
    /// The user.
    pub sub: UserId,
    /// The issuer: a refresh token is for this server alone. Of the older service, the resource servers' name.
    pub aud: String,
    /// The second at which it ceases to be valid.
    pub exp: NumericDate,
    /// The second at which it was issued.
    pub iat: NumericDate,
    /// The second before which it is not valid.
    pub nbf: NumericDate,
    /// Its identifier.
    pub jti: Jti,
    /// Always `refresh`.
    #[serde(rename = "type")]
    pub token_use: TokenUse,
    /// The client it was issued to.
    pub client_id: ClientId,
    /// What was granted at sign-in.
    pub scope: Scope,
    /// The session: how the chain is found. None on a token of the older service, which knew no sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
}

/// Whole seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2), never a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumericDate(i64);

impl From<Timestamp> for NumericDate {
    fn from(moment: Timestamp) -> Self {
        Self(moment.unix_seconds())
    }
}

impl From<NumericDate> for Timestamp {
    fn from(date: NumericDate) -> Self {
        Self::from_unix_seconds(date.0)
    }
}

/// What a token is for; the claim `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUse {
    /// To be shown to a resource server.
    Access,
    /// To be shown to this server's token endpoint.
    Refresh,
}

/// Who issues tokens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer URL (`iss`).
    pub url: String,
    /// The resource servers' common name (`aud` of access tokens).
    pub audience: String,
    /// How long before `iat` the `nbf` lies: verifiers in the field allow no clock skew.
    pub not_before_leeway: Seconds,
    /// How far another machine's clock may be off when an access token's times are checked.
    pub clock_skew: Seconds,
}

/// Why claims under a good signature are refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    /// `iss` is another.
    #[error("issued by another server")]
    Issuer,
    /// `aud` is another.
    #[error("meant for another audience")]
    Audience,
    /// `type` is another.
    #[error("a token of another use")]
    Use,
    /// `exp` has come.
    #[error("expired")]
    Expired,
    /// `nbf` has not come.
    #[error("not valid yet")]
    NotYetValid,
}

impl RefreshClaims {
    /// Checks what does not depend on the chain: issuer, audience, use, and `nbf` within the clock skew.
    ///
    /// Expiry is left to [`redeem`](crate::rotation::redeem), which must tell a consumed token first.
    ///
    /// # Errors
    /// The first [`ClaimFault`] found.
    pub fn check(&self, issuer: &Issuer, now: Timestamp) -> Result<(), ClaimFault> {
        self.check_origin(issuer)?;
        check_not_before(self.nbf, issuer, now)
    }

    /// Checks what never changes: issuer, audience and use.
    ///
    /// # Errors
    /// The first [`ClaimFault`] found.
    pub fn check_origin(&self, issuer: &Issuer) -> Result<(), ClaimFault> {
        check_issuer(&self.iss, issuer)?;
        if self.aud != self.due_audience(issuer) {
            return Err(ClaimFault::Audience);
        }
        check_use(self.token_use, TokenUse::Refresh)
    }

    /// The one audience that such a token has: the older service named the resource servers in both of its tokens.
    fn due_audience<'a>(&self, issuer: &'a Issuer) -> &'a str {
        match self.session_key() {
            SessionKey::Id(_) => &issuer.url,
            SessionKey::Legacy(_) => &issuer.audience,
        }
    }

    /// Each `typ` that a refresh token may have.
    pub const TYPES: [&str; 2] = [REFRESH_TOKEN_TYPE, AccessTokenType::Jwt.as_str()];

    /// The `typ` of a token with these claims. The older service gave both of its tokens the same.
    pub const fn token_type(&self) -> &'static str {
        match self.sid {
            Some(_) => REFRESH_TOKEN_TYPE,
            None => AccessTokenType::Jwt.as_str(),
        }
    }

    /// Whether these are the claims of a refresh token under a header of that `typ`.
    ///
    /// Asked by whoever verifies the signature: where the type tells nothing, the claims alone keep the two kinds apart.
    pub fn belong_under(&self, typ: &str) -> bool {
        typ == self.token_type() && self.token_use == TokenUse::Refresh
    }

    /// How the session is found that the token belongs to.
    pub fn session_key(&self) -> SessionKey {
        self.sid
            .map_or_else(|| SessionKey::Legacy(self.jti.hash()), SessionKey::Id)
    }
}

impl AccessClaims {
    /// Checks issuer, audience, use and times (RFC 7519 section 4.1; RFC 9068 section 4).
    ///
    /// # Errors
    /// The first [`ClaimFault`] found.
    pub fn check(&self, issuer: &Issuer, now: Timestamp) -> Result<(), ClaimFault> {
        self.check_origin(issuer)?;
        if now >= self.accepted_until(issuer) {
            return Err(ClaimFault::Expired);
        }
        check_not_before(self.nbf, issuer, now)
    }

    /// Checks what never changes: issuer, audience and use.
    ///
    /// # Errors
    /// The first [`ClaimFault`] found.
    pub fn check_origin(&self, issuer: &Issuer) -> Result<(), ClaimFault> {
        check_issuer(&self.iss, issuer)?;
        if self.aud != issuer.audience {
            return Err(ClaimFault::Audience);
        }
        check_use(self.token_use, TokenUse::Access)
    }

    /// Each `typ` that an access token may have.
    pub const TYPES: [&str; 2] = [AccessTokenType::AtJwt.as_str(), AccessTokenType::Jwt.as_str()];

    /// Whether these are the claims of an access token under a header of that `typ`.
    pub fn belong_under(&self, typ: &str) -> bool {
        Self::TYPES.contains(&typ) && self.token_use == TokenUse::Access
    }

    /// When it ceases to be accepted anywhere: its `exp` and the clock skew.
    pub fn accepted_until(&self, issuer: &Issuer) -> Timestamp {
        Timestamp::from(self.exp).plus(issuer.clock_skew)
    }
}

fn check_issuer(iss: &str, issuer: &Issuer) -> Result<(), ClaimFault> {
    if iss == issuer.url {
        Ok(())
    } else {
        Err(ClaimFault::Issuer)
    }
}

fn check_use(actual: TokenUse, due: TokenUse) -> Result<(), ClaimFault> {
    if actual == due {
        Ok(())
    } else {
        Err(ClaimFault::Use)
    }
}

fn check_not_before(not_before: NumericDate, issuer: &Issuer, now: Timestamp) -> Result<(), ClaimFault> {
    if now.plus(issuer.clock_skew) < Timestamp::from(not_before) {
        return Err(ClaimFault::NotYetValid);
    }
    Ok(())
}

/// The two tokens of an answer, before they are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPairClaims {
    /// The access token's claims.
    pub access: AccessClaims,
    /// The access token's `typ` header.
    pub access_type: AccessTokenType,
    /// The refresh token's claims.
    pub refresh: RefreshClaims,
}

/// The two tokens of an answer.
#[derive(Debug, Clone)]
pub struct SignedPair {
    /// The access token.
    pub access: Token,
    /// The refresh token.
    pub refresh: Token,
}
