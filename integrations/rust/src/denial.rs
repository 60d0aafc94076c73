//! What somebody is told who is not let in (RFC 6750), and where a request's token is.

use std::fmt;

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::keys::KeysUnavailable;
use crate::verifier::{Identity, TokenVerifier};

/// The subprotocol under which a browser, which can set no header of a WebSocket, brings its token.
const SUBPROTOCOL: &str = "bearer";
const REALM: &str = "codelab";
/// Seconds after which somebody may come again who could not be judged.
const RETRY_AFTER: &str = "5";

/// An answer to somebody who is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// Nobody has authenticated.
    NoToken,
    /// More than one token came.
    SeveralTokens,
    /// The token is not good; what is wrong with it is not told.
    BadToken,
    /// The token is good, and does not allow this.
    InsufficientScope(Vec<String>),
    /// There is no key to judge by.
    Unavailable,
}

impl Denial {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::SeveralTokens => StatusCode::BAD_REQUEST,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The headers of the answer, by name.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        match self {
            Self::Unavailable => headers.push(("retry-after", RETRY_AFTER.to_owned())),
            Self::NoToken | Self::SeveralTokens | Self::BadToken | Self::InsufficientScope(_) => {
                headers.push(("www-authenticate", self.challenge()));
            }
        }
        headers
    }

    /// The body of the answer, as JSON.
    pub fn body(&self) -> String {
        let (error, said) = (self.error().unwrap_or("unauthorized"), self.description());
        json!({ "error": error, "error_description": said }).to_string()
    }

    const fn error(&self) -> Option<&'static str> {
        match self {
            // RFC 6750 section 3.1: who has not authenticated gets no error.
            Self::NoToken => None,
            Self::SeveralTokens => Some("invalid_request"),
            Self::BadToken => Some("invalid_token"),
            Self::InsufficientScope(_) => Some("insufficient_scope"),
            Self::Unavailable => Some("temporarily_unavailable"),
        }
    }

    const fn description(&self) -> &'static str {
        match self {
            Self::NoToken => "A bearer token is needed.",
            Self::SeveralTokens => "The request brings more than one token.",
            Self::BadToken => "The access token is invalid or has expired.",
            Self::InsufficientScope(_) => "The access token does not allow this.",
            Self::Unavailable => "Tokens can not be checked at the moment.",
        }
    }

    /// A `WWW-Authenticate` of the scheme Bearer (RFC 6750 section 3).
    fn challenge(&self) -> String {
        let error = self.error().map(|error| format!(", error=\"{error}\""));
        let more = match self {
            Self::InsufficientScope(scopes) => format!(", scope=\"{}\"", scopes.join(" ")),
            Self::SeveralTokens | Self::BadToken => format!(", error_description=\"{}\"", self.description()),
            Self::NoToken | Self::Unavailable => String::new(),
        };
        format!("Bearer realm=\"{REALM}\"{}{more}", error.unwrap_or_default())
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.description())
    }
}

impl std::error::Error for Denial {}

impl From<KeysUnavailable> for Denial {
    fn from(_: KeysUnavailable) -> Self {
        Self::Unavailable
    }
}

impl Identity {
    /// Whether all of these scopes are among those of the token.
    ///
    /// # Errors
    /// The answer to somebody who lacks one.
    pub fn require(&self, scopes: &[&str]) -> Result<(), Denial> {
        if self.has_scopes(scopes) {
            return Ok(());
        }
        Err(Denial::InsufficientScope(
            scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ))
    }
}

impl TokenVerifier {
    /// Judges what a request brings.
    ///
    /// # Errors
    /// The answer to somebody who is not to be let in.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Denial> {
        let token = bearer(headers)?;
        self.verify(token).await?.map_err(|refusal| {
            tracing::info!(%refusal, "access token refused");
            Denial::BadToken
        })
    }
}

/// The one token that a request brings: in `Authorization` (RFC 6750 section 2.1), or, for a WebSocket, as the second of
/// the subprotocols `bearer, <token>`.
///
/// # Errors
/// [`Denial::NoToken`], [`Denial::SeveralTokens`].
pub fn bearer(headers: &HeaderMap) -> Result<&str, Denial> {
    let values = headers.get_all(AUTHORIZATION).into_iter();
    let mut tokens = values
        .filter_map(|value| of_scheme(value.as_bytes()))
        .chain(offered(headers));
    match (tokens.next(), tokens.next()) {
        (None, _) => Err(Denial::NoToken),
        (Some(_), Some(_)) => Err(Denial::SeveralTokens),
        // What is no text is no token either.
        (Some(token), None) => std::str::from_utf8(token).map_err(|_| Denial::BadToken),
    }
}

fn of_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(SUBPROTOCOL.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SUBPROTOCOL.as_bytes());
    (is_bearer && (token.is_empty() || token.starts_with(b" "))).then(|| token.trim_ascii())
}

fn offered(headers: &HeaderMap) -> Option<&[u8]> {
    let is_websocket = headers
        .get(UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let names = headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .filter(|_| is_websocket)?
        .as_bytes();
    let mut names = names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_bearer = names.next()?.eq_ignore_ascii_case(SUBPROTOCOL.as_bytes());
    is_bearer.then(|| names.next().unwrap_or_default())
}
