//! Cross-origin requests: which pages of other origins may read our answers in a browser (Fetch standard,
//! section 3.3). Only origins that are listed exactly, and only where browsers have something to ask.
//!
//! It is not a layer of its own around the routes: the answers that the edge makes itself, such as that of a request
//! that took too long, must be readable by those pages as well.

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};

use super::METADATA;

/// What pages may read of an answer besides its body and the few headers that any may.
const EXPOSED: &str = "Retry-After, RateLimit, RateLimit-Policy, X-Correlation-ID";
/// What pages may send.
const ACCEPTED: &str = "Authorization, Content-Type, X-Correlation-ID, traceparent";
/// For how long a browser need not ask again, in seconds.
const REMEMBERED: &str = "3600";

/// The origins whose pages may read our answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// These, as browsers write them. Their pages may send cookies too.
    These(Vec<String>),
    /// All of them, without cookies.
    Any,
}

impl Default for AllowedOrigins {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// Who may read which answers.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    origins: AllowedOrigins,
    /// Where the routes are served as well.
    base_path: String,
}

impl Cors {
    pub(super) fn new(origins: AllowedOrigins, base_path: &str) -> Self {
        Self {
            origins,
            base_path: base_path.trim_end_matches('/').to_owned(),
        }
    }

    /// Who may read the answer to a request to this path.
    pub(super) fn readers(&self, path: &str, headers: &HeaderMap) -> Readers {
        if self.method_at(path).is_none() {
            return Readers::SameOrigin;
        }
        match &self.origins {
            AllowedOrigins::Any => Readers::Anybody,
            AllowedOrigins::These(origins) if origins.is_empty() => Readers::SameOrigin,
            AllowedOrigins::These(origins) => Readers::Listed(
                only(headers)
                    .filter(|given| origins.iter().any(|origin| origin.as_bytes() == given.as_bytes())),
            ),
        }
    }

    /// The answer to a browser that asks beforehand, for a page that may go on; `None` for all other requests.
    pub(super) fn preflight(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<HttpResponse> {
        let allowed = self.method_at(path)?;
        let is_asked = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let may_read = match self.readers(path, headers) {
            Readers::Anybody | Readers::Listed(Some(_)) => true,
            Readers::Listed(None) | Readers::SameOrigin => false,
        };
        (is_asked && may_read).then(|| {
            HttpResponse::build(StatusCode::NO_CONTENT)
                .insert_header((ACCESS_CONTROL_ALLOW_METHODS, allowed))
                .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, ACCEPTED))
                .insert_header((ACCESS_CONTROL_MAX_AGE, REMEMBERED))
                .finish()
        })
    }

    /// The method that browsers have a use for at this path; the rest is for servers.
    fn method_at(&self, path: &str) -> Option<&'static str> {
        let path = match path.strip_prefix(&self.base_path) {
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        };
        match path {
            "/oauth/token" | "/oauth/revoke" => Some("POST"),
            "/.well-known/jwks.json" => Some("GET"),
            // The path of the issuer may follow (RFC 8414 section 3.1).
            path if path.starts_with(METADATA) => Some("GET"),
            _ => None,
        }
    }
}

/// The one origin that a request names.
fn only(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(ORIGIN);
    match (given.next(), given.next()) {
        (Some(origin), None) => Some(origin.clone()),
        _ => None,
    }
}

/// Who may read an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    /// Pages of this very server.
    SameOrigin,
    /// Pages of listed origins, and if the request came from one, that one's.
    Listed(Option<HeaderValue>),
    /// Any page.
    Anybody,
}

impl Readers {
    /// Tells the browser.
    pub(super) fn put_on(&self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::SameOrigin => return,
            Self::Anybody => HeaderValue::from_static("*"),
            Self::Listed(origin) => {
                // Or a cache would give one origin the answer that another may read.
                headers.append(VARY, HeaderValue::from_static("Origin"));
                let Some(origin) = origin else { return };
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                origin.clone()
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
