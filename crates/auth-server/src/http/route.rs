//! The names of routes and methods in log lines, metrics and traces: a few, whatever strangers ask for. What they write
//! into a path may be a secret, so no path is ever recorded.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;

use super::{METADATA, docs};

/// What is asked for where no route is.
pub const OTHER: &str = "other";

/// Where tokens are asked for.
pub const TOKEN: &str = "/oauth/token";

const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";

/// Every route, by the path that its handler has; and [`OTHER`].
pub const NAMES: &[&str] = &[
    TOKEN,
    REVOKE,
    INTROSPECT,
    "/.well-known/jwks.json",
    METADATA,
    "/health",
    "/ready",
    "/live",
    "/metrics",
    "/openapi.json",
    docs::PAGE,
    OTHER,
];

/// The methods that have names; and [`OTHER`].
pub const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", OTHER,
];

/// How a request is named in all that is recorded of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The path of the route without any prefix, or [`OTHER`].
    pub route: &'static str,
    /// The method, or [`OTHER`].
    pub method: &'static str,
}

impl Asked {
    /// Whether it is about tokens, which costs a worker more than to hand out what is ready.
    pub(super) fn is_about_tokens(self) -> bool {
        self.method == "POST" && matches!(self.route, TOKEN | REVOKE | INTROSPECT)
    }

    /// Whether machines of operators ask this all the time: no trace is worth that.
    pub(super) fn is_by_operators(self) -> bool {
        matches!(self.route, "/health" | "/ready" | "/live" | "/metrics")
    }
}

/// By which prefixes and endings routes are found besides their own paths.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// What may stand before every path.
    pub(super) prefix: String,
    /// Where the metadata is as well (RFC 8414 section 3.1).
    pub(super) of_issuer: String,
}

impl Paths {
    /// The names of what a request asks for.
    pub(super) fn asked(&self, request: &ServiceRequest) -> Asked {
        // As the router reads it: percent-encoded letters are letters.
        let path = request.match_info().as_str();
        Asked {
            route: self.route(path).unwrap_or(OTHER),
            method: method(request.method()),
        }
    }

    fn route(&self, path: &str) -> Option<&'static str> {
        self.direct(path)
            .or_else(|| self.direct(path.strip_prefix(&self.prefix)?))
    }

    fn direct(&self, path: &str) -> Option<&'static str> {
        let path = match path {
            path if path == self.of_issuer => METADATA,
            path if docs::is_ours(path) => docs::PAGE,
            path => path,
        };
        NAMES.iter().copied().find(|route| *route == path)
    }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;

    use super::*;
    use crate::http::openapi;

    fn paths() -> Paths {
        Paths {
            prefix: "/auth".to_owned(),
            of_issuer: format!("{METADATA}/tenant"),
        }
    }

    #[rstest]
    #[case("/oauth/token", "/oauth/token")]
    #[case("/oauth/token?password=x", "/oauth/token")]
    #[case("/auth/oauth/token", "/oauth/token")]
    #[case("/oauth/%74oken", "/oauth/token")]
    #[case("/.well-known/oauth-authorization-server/tenant", METADATA)]
    #[case("/auth/.well-known/oauth-authorization-server/tenant", METADATA)]
    #[case("/docs/page.js", "/docs")]
    #[case("/auth/docs/", "/docs")]
    #[case("/docs/a-password", OTHER)]
    #[case("/auth/auth/health", OTHER)]
    #[case("/oauth/token/", OTHER)]
    #[case("/a-password", OTHER)]
    fn a_path_has_the_name_of_its_route(#[case] path: &str, #[case] route: &str) {
        let request = TestRequest::get().uri(path).to_srv_request();
        assert_eq!(paths().asked(&request).route, route);
    }

    #[test]
    fn a_method_that_somebody_made_up_has_no_name() {
        let made_up = Method::from_bytes(b"SECRET").unwrap();
        let request = TestRequest::default().method(made_up).to_srv_request();
        assert_eq!(paths().asked(&request).method, OTHER);
    }

    #[test]
    fn every_path_of_the_document_has_a_name() {
        let document: serde_json::Value = serde_json::from_str(&openapi::document().unwrap()).unwrap();
        for path in document["paths"].as_object().unwrap().keys() {
            assert_eq!(paths().route(path), Some(path.as_str()), "{path}");
        }
    }
}
