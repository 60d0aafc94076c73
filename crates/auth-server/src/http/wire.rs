//! How outcomes look on the wire: the one table of status, code, description and headers.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, ContentType, HeaderMap, HeaderName, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use auth_domain::client::WireProfile;
use auth_domain::refusal::{Challenge, Refusal, RequestFault};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Outcome, Quota, TokenSet};
use serde::Serialize;
use utoipa::ToSchema;

const BASIC_CHALLENGE: &str = r#"Basic realm="codelab-auth", charset="UTF-8""#;
/// A 401 must challenge (RFC 9110 section 11.6.1), and any scheme but Basic keeps browsers from asking for a password.
const OTHER_CHALLENGE: &str = r#"Bearer realm="codelab-auth""#;
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// When to come back after an outage: soon, since it is mostly a restart.
pub const OUTAGE_RETRY_AFTER: Seconds = Seconds::new(5);

/// The type of the access tokens (RFC 6750).
const BEARER: &str = "bearer";

/// The answer to a token request that gets tokens (RFC 6749 section 5.1).
#[derive(Serialize, ToSchema)]
pub struct TokenResponse<'a> {
    /// A signed JWT (RFC 9068): show it to the services.
    access_token: &'a str,
    /// A signed JWT, good for one refresh at this server.
    refresh_token: &'a str,
    /// Always `bearer` (RFC 6750).
    token_type: &'static str,
    /// The lifetime of the access token in seconds.
    expires_in: u32,
    /// What the access token is good for: scope tokens, separated by spaces.
    scope: String,
}

/// An error (RFC 6749 section 5.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorResponse<'a> {
    /// A code for programs.
    pub error: &'a str,
    /// A sentence for the client's developer.
    pub error_description: &'a str,
}

/// A row of the table: how one refusal looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The status.
    pub status: StatusCode,
    /// The code.
    pub error: &'static str,
    /// The sentence: printable ASCII without `"` and `\` (RFC 6749 section 5.2).
    pub description: Cow<'static, str>,
    /// The `WWW-Authenticate` header.
    pub challenge: Option<&'static str>,
    /// The `Retry-After` header.
    pub retry_after: Option<Seconds>,
}

/// Renders what a request of the token endpoint or one of its siblings came to.
pub fn render<T>(answer: &Answer<T>, granted: impl FnOnce(&T) -> HttpResponse) -> HttpResponse {
    let profile = answer.facts.wire_profile.unwrap_or(WireProfile::Rfc);
    let mut response = match &answer.outcome {
        Outcome::Granted(content) => granted(content),
        Outcome::Refused(refusal) => row(*refusal, profile).response(),
        Outcome::Unavailable(_) => unavailable(OUTAGE_RETRY_AFTER).response(),
    };
    if let Some(quota) = &answer.facts.quota {
        tell_quota(response.headers_mut(), quota);
    }
    uncached(response)
}

/// What a limit lets through, and what it has left (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4), as
/// structured fields. Only a limit by address is told, never one by account.
fn tell_quota(headers: &mut HeaderMap, quota: &Quota) {
    let (name, window, room) = (quota.grant_type.as_str(), quota.window.get(), quota.room);
    let (remaining, resets_in) = (room.remaining, room.resets_in.get());
    let fields = [
        (
            RATE_LIMIT_POLICY,
            format!("\"{name}\";q={};w={window}", quota.limit),
        ),
        (RATE_LIMIT, format!("\"{name}\";r={remaining};t={resets_in}")),
    ];
    for (field, text) in fields {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(field, value);
        }
    }
}

/// How a refusal looks to a client of this profile. `codelab-flutter` differs in the status of `invalid_grant` alone.
pub fn row(refusal: Refusal, profile: WireProfile) -> Row {
    match refusal {
        Refusal::InvalidRequest(fault) => Row::new(
            if fault == RequestFault::ContentType {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            } else {
                StatusCode::BAD_REQUEST
            },
            "invalid_request",
            describe(fault),
        ),
        Refusal::InvalidClient(challenge) => Row::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "Client authentication failed.",
        )
        .challenging(match challenge {
            Challenge::Basic => BASIC_CHALLENGE,
            Challenge::Other => OTHER_CHALLENGE,
        }),
        Refusal::UnauthorizedClient => Row::new(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            "The client may not use this grant type.",
        ),
        Refusal::UnsupportedGrantType => Row::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            "The grant type is not supported.",
        ),
        Refusal::InvalidScope => Row::new(
            StatusCode::BAD_REQUEST,
            "invalid_scope",
            "The requested scope is malformed, not allowed, or wider than granted.",
        ),
        Refusal::InvalidGrant(_) => match profile {
            WireProfile::Rfc => invalid_grant(StatusCode::BAD_REQUEST),
            WireProfile::CodelabFlutter => {
                invalid_grant(StatusCode::UNAUTHORIZED).challenging(OTHER_CHALLENGE)
            }
        },
        Refusal::RateLimited { retry_after } => Row::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            "Too many requests. Try again later.",
        )
        .retrying(retry_after),
        Refusal::Locked { retry_after } => invalid_grant(StatusCode::TOO_MANY_REQUESTS).retrying(retry_after),
        Refusal::Saturated { retry_after } => unavailable(retry_after),
    }
}

/// One sentence for every reason: which it was is nobody's business but the operator's.
fn invalid_grant(status: StatusCode) -> Row {
    Row::new(
        status,
        "invalid_grant",
        "The credentials or the refresh token are invalid, expired or revoked.",
    )
}

/// How it looks that we can't answer just now.
pub fn unavailable(retry_after: Seconds) -> Row {
    Row::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "The server can not answer at the moment. Try again later.",
    )
    .retrying(retry_after)
}

/// The answer to a request about a token that nothing has been begun for.
pub fn turned_away(retry_after: Seconds) -> HttpResponse {
    uncached(unavailable(retry_after).response())
}

fn describe(fault: RequestFault) -> Cow<'static, str> {
    let text = match fault {
        RequestFault::ContentType => "The content type must be application/x-www-form-urlencoded.",
        RequestFault::TooLarge => "The request body is too large.",
        RequestFault::Malformed => "The request body can not be read as a form in UTF-8.",
        RequestFault::RepeatedAuthorization => "The Authorization header was sent more than once.",
        RequestFault::TwoAuthentications => "The client authenticated by more than one method.",
        RequestFault::TwoClients => "The form and the Authorization header name different clients.",
        RequestFault::Repeated(parameter) => {
            return format!("The parameter {} was sent more than once.", parameter.as_str()).into();
        }
        RequestFault::Missing(parameter) => {
            return format!("The parameter {} is missing.", parameter.as_str()).into();
        }
        RequestFault::BadValue(parameter) => {
            return format!("The parameter {} is malformed or too long.", parameter.as_str()).into();
        }
    };
    text.into()
}

/// How it looks that there is nothing at a path.
pub fn not_found() -> Row {
    Row::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this path.",
    )
}

/// How it looks that a path does not know a method; the caller adds `Allow`.
pub fn method_not_allowed() -> Row {
    Row::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not support the method.",
    )
}

/// How it looks that the headers of a request are longer than any we ask for.
pub fn head_too_large() -> Row {
    Row::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "invalid_request",
        "The headers of the request are too large.",
    )
}

/// How a secret is refused that came over plain HTTP (RFC 6749 sections 3.2 and 10.9).
pub fn plain_http() -> Row {
    Row::new(
        StatusCode::FORBIDDEN,
        "invalid_request",
        "This server takes such requests over HTTPS only.",
    )
}

/// How a defect of ours looks.
pub fn server_error() -> Row {
    Row::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "The server failed to answer.",
    )
}

impl Row {
    fn new(status: StatusCode, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            challenge: None,
            retry_after: None,
        }
    }

    fn challenging(self, challenge: &'static str) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    fn retrying(self, retry_after: Seconds) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }

    /// The response.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(challenge) = self.challenge {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if let Some(retry_after) = self.retry_after {
            response.insert_header((RETRY_AFTER, retry_after.get().max(1)));
        }
        response.json(ErrorResponse {
            error: self.error,
            error_description: &self.description,
        })
    }
}

/// The answer that hands out tokens.
pub fn granted(granted: &TokenSet) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(token_response(granted))
}

/// [`TokenResponse`] as JSON. Nothing in it is ever escaped: tokens are base64url, and a scope has neither quotes nor
/// backslashes (RFC 6749 section 3.3). To look at each of their bytes for that would cost more than all the rest.
fn token_response(granted: &TokenSet) -> String {
    [
        r#"{"access_token":""#,
        granted.tokens.access.expose(),
        r#"","refresh_token":""#,
        granted.tokens.refresh.expose(),
        r#"","token_type":""#,
        BEARER,
        r#"","expires_in":"#,
        &granted.expires_in.get().to_string(),
        r#","scope":""#,
        &granted.scope.to_string(),
        r#""}"#,
    ]
    .concat()
}

/// No answer of the token endpoint or one of its siblings may be kept by anyone on the way (RFC 6749 section 5.1).
fn uncached(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use auth_domain::claims::SignedPair;
    use auth_domain::scope::Scope;
    use auth_domain::secret::Token;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_answer_with_tokens_is_written_as_a_writer_of_json_would(
            access in "[A-Za-z0-9_-]{1,40}(\\.[A-Za-z0-9_-]{1,40}){2}",
            refresh in "[A-Za-z0-9_-]{1,40}(\\.[A-Za-z0-9_-]{1,40}){2}",
            expires_in: u32,
            scope in "[!#-\\[\\]-~]{1,9}( [!#-\\[\\]-~]{1,9}){0,4}",
        ) {
            let scope = Scope::parse(&scope).unwrap();
            let told = TokenResponse {
                access_token: &access,
                refresh_token: &refresh,
                token_type: BEARER,
                expires_in,
                scope: scope.to_string(),
            };
            let told = serde_json::to_string(&told).unwrap();
            let tokens = SignedPair {
                access: Token::new(access.clone()),
                refresh: Token::new(refresh.clone()),
            };
            let expires_in = Seconds::new(expires_in);
            let granted = TokenSet { tokens, expires_in, scope, device: None };
            prop_assert_eq!(token_response(&granted), told);
        }
    }
}
