//! What makes an access token good. The rules and their order are those of `integrations/contracts`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::JwsVerifier as _;
use serde_json::{Map, Value};

use crate::keys::{KeySetCache, KeysUnavailable};
use crate::object;

/// The one algorithm that is accepted, whatever a header says (RFC 8725 section 3.1).
const ALGORITHM: &str = "RS256";
/// Longer tokens are not looked at, in bytes.
const MAX_LENGTH: usize = 8_192;
/// What `typ` may be (RFC 9068 section 2.1; `JWT` for clients that ask the server for it).
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];

/// Why a token is not accepted: for logs and metrics, not for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has not the form of a token.
    Malformed,
    /// Its header names another algorithm than RS256.
    Algorithm,
    /// Its header names no key of the key set.
    UnknownKey,
    /// The key did not make this signature.
    Signature,
    /// It is another kind of token.
    Type,
    /// Somebody else issued it.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// A claim is missing or of another kind than it must be.
    Claims,
    /// It is over.
    Expired,
    /// It has not begun.
    NotYetValid,
}

impl Refusal {
    /// The word that `integrations/contracts` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Whose tokens are good, and for whom.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The `iss` of good tokens, exactly.
    pub issuer: String,
    /// What `aud` is, or holds.
    pub audience: String,
    /// How far the clocks of the two machines may differ.
    pub leeway: Duration,
}

impl Policy {
    /// Tokens of an issuer for `codelab-api`, with five seconds of leeway.
    pub fn of(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: "codelab-api".to_owned(),
            leeway: Duration::from_secs(5),
        }
    }
}

/// Who is asking, and what for.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// The client that the user signed in by.
    pub client_id: String,
    /// What may be done, as it stands in the token: names with spaces between them.
    pub scope: String,
    /// When this ends, in seconds since 1970.
    pub expires_at: f64,
    /// All claims of the token.
    pub claims: Arc<Map<String, Value>>,
}

impl Identity {
    /// Whether all of these scopes are among those of the token.
    pub fn has_scopes(&self, needed: &[&str]) -> bool {
        needed
            .iter()
            .all(|scope| self.scope.split(' ').any(|own| own == *scope))
    }
}

/// What a token is found to be: a business fact, not an error.
pub type Verdict = Result<Identity, Refusal>;

/// Tells the time, in seconds since 1970.
pub type WallClock = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Judges access tokens of one issuer for one audience. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: KeySetCache,
    policy: Arc<Policy>,
    clock: WallClock,
}

impl TokenVerifier {
    /// Judges by the keys of a key set, and the system's clock.
    pub fn new(keys: KeySetCache, policy: Policy) -> Self {
        Self::by_clock(keys, policy, Arc::new(system_time))
    }

    /// Judges by another clock.
    pub fn by_clock(keys: KeySetCache, policy: Policy, clock: WallClock) -> Self {
        Self {
            keys,
            policy: Arc::new(policy),
            clock,
        }
    }

    /// Judges a token.
    ///
    /// # Errors
    /// [`KeysUnavailable`] where that can't be done for want of keys. That a token is not good is no error.
    pub async fn verify(&self, token: &str) -> Result<Verdict, KeysUnavailable> {
        let parsed = match Parsed::of(token) {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(key) = (match parsed.kid() {
            Some(kid) => self.keys.find(kid).await?,
            None => None,
        }) else {
            return Ok(Err(Refusal::UnknownKey));
        };
        if key.verify(parsed.signed.as_bytes(), &parsed.signature).is_err() {
            return Ok(Err(Refusal::Signature));
        }
        Ok(self.judge(parsed))
    }

    /// How long somebody may go on, leeway included: a WebSocket is to be closed then.
    pub fn time_left(&self, identity: &Identity) -> Duration {
        let left = identity.expires_at + self.policy.leeway.as_secs_f64() - (self.clock)();
        Duration::try_from_secs_f64(left).unwrap_or(Duration::ZERO)
    }

    fn judge(&self, parsed: Parsed<'_>) -> Verdict {
        let Parsed { header, claims, .. } = parsed;
        let is_access_type = |typ: &str| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if !text(&header, "typ").is_some_and(is_access_type) || text(&claims, "type") != Some("access") {
            return Err(Refusal::Type);
        }
        if text(&claims, "iss") != Some(&self.policy.issuer) {
            return Err(Refusal::Issuer);
        }
        let is_ours = |audience: &Value| audience == self.policy.audience.as_str();
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(audience) => is_ours(audience),
            None => false,
        };
        if !is_for_us {
            return Err(Refusal::Audience);
        }
        self.identify(claims)
    }

    fn identify(&self, claims: Map<String, Value>) -> Verdict {
        // What ends a text for other programs must not be in the middle of one.
        let whole = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.contains('\0'))
                .map(str::to_owned)
        };
        let name = |name| {
            claims
                .get(name)
                .and_then(whole)
                .filter(|name| !name.is_empty())
                .ok_or(Refusal::Claims)
        };
        let (user_id, client_id) = (name("sub")?, name("client_id")?);
        let scope = match claims.get("scope") {
            None => String::new(),
            Some(scope) => whole(scope).ok_or(Refusal::Claims)?,
        };
        let expires_at = number(&claims, "exp")?.ok_or(Refusal::Claims)?;
        let begins_at = number(&claims, "nbf")?;
        let (now, leeway) = ((self.clock)(), self.policy.leeway.as_secs_f64());
        if expires_at + leeway <= now {
            return Err(Refusal::Expired);
        }
        if begins_at.is_some_and(|begins_at| begins_at - leeway > now) {
            return Err(Refusal::NotYetValid);
        }
        Ok(Identity {
            user_id,
            client_id,
            scope,
            expires_at,
            claims: Arc::new(claims),
        })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenVerifier")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A token taken apart, and not trusted yet.
struct Parsed<'a> {
    /// What the signature is over (RFC 7515 section 5.2).
    signed: &'a str,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

impl<'a> Parsed<'a> {
    fn of(token: &'a str) -> Result<Self, Refusal> {
        let (signed, signature) = token
            .rsplit_once('.')
            .filter(|_| token.len() <= MAX_LENGTH)
            .ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let parsed = Self {
            signed,
            header: object(header)?,
            claims: object(claims)?,
            signature: decoded(signature)?,
        };
        // `crit` names what must be understood (RFC 7515 section 4.1.11), and we understand none of it.
        if parsed.header.contains_key("crit") {
            return Err(Refusal::Malformed);
        }
        if text(&parsed.header, "alg") != Some(ALGORITHM) {
            return Err(Refusal::Algorithm);
        }
        Ok(parsed)
    }

    fn kid(&self) -> Option<&str> {
        text(&self.header, "kid")
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    if bytes.is_empty() {
        Err(Refusal::Malformed)
    } else {
        Ok(bytes)
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Refusal> {
    object::parse(&decoded(part)?).map_err(|_| Refusal::Malformed)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str()
}

/// A NumericDate (RFC 7519 section 2).
fn number(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|number| number.abs() < 1e15)
            .map(Some)
            .ok_or(Refusal::Claims),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this crate asks the system for the time"
)]
fn system_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
