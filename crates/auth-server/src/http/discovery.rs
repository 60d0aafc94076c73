//! What clients and services find out by themselves: the key set and the server's metadata.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use actix_web::web::{Bytes, Data, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use auth_domain::client::GrantType;
use auth_domain::ports::KeySet;
use auth_domain::token_service::{PasswordGrant, Policy};
use serde::Serialize;
use utoipa::ToSchema;

use super::incoming::Incoming;
use super::wire::ErrorResponse;
use super::{State, wire};
use crate::telemetry;

/// An hour: a new key is published for ten minutes longer than that before it signs.
const AN_HOUR: &str = "public, max-age=3600";
const JSON: &str = "application/json";

/// How a client says who it is, where a public one may ask as well.
const OF_ANY_CLIENT: [&str; 3] = ["none", "client_secret_basic", "client_secret_post"];
/// The same where only a confidential one may.
const BY_SECRET: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// The server's metadata (RFC 8414 section 2): only what works.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Metadata {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    grant_types_supported: Vec<&'static str>,
    response_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
}

impl Metadata {
    /// What this policy makes of it.
    pub(super) fn of(policy: &Policy) -> Self {
        let issuer = &policy.issuer.url;
        let under = |path: &str| format!("{}{path}", issuer.trim_end_matches('/'));
        let is_offered = |grant: &GrantType| match grant {
            GrantType::Password => policy.password_grant == PasswordGrant::Offered,
            GrantType::RefreshToken => true,
        };
        Self {
            issuer: issuer.clone(),
            token_endpoint: under("/oauth/token"),
            revocation_endpoint: under("/oauth/revoke"),
            introspection_endpoint: under("/oauth/introspect"),
            jwks_uri: under("/.well-known/jwks.json"),
            grant_types_supported: GrantType::ALL
                .iter()
                .filter(|grant| is_offered(grant))
                .map(|grant| grant.as_str())
                .collect(),
            // There is no authorization endpoint, but the member is required.
            response_types_supported: Vec::new(),
            token_endpoint_auth_methods_supported: OF_ANY_CLIENT.to_vec(),
            revocation_endpoint_auth_methods_supported: OF_ANY_CLIENT.to_vec(),
            introspection_endpoint_auth_methods_supported: BY_SECRET.to_vec(),
        }
    }
}

/// The published keys (RFC 7517 section 5).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "keySet",
    tag = "discovery",
    params((
        "If-None-Match" = Option<String>,
        Header,
        description = "The `ETag` of the version that the caller has."
    )),
    responses(
        (
            status = 200,
            description = "The keys by which tokens are verified. May be kept for an hour.",
            body = serde_json::Value,
            headers(("ETag" = String, description = "The version of the key set."))
        ),
        (
            status = 304,
            description = "The caller has this version.",
            headers(("ETag" = String, description = "The version of the key set."))
        ),
        (
            status = 503,
            description = "No key set can be had at the moment.",
            body = ErrorResponse,
            headers(("Retry-After" = u32, description = "Seconds until it is worth trying again."))
        )
    )
)]
pub(super) async fn key_set(
    request: HttpRequest,
    incoming: ReqData<Rc<Incoming>>,
    state: Data<State>,
) -> HttpResponse {
    let key_set = match state.services.signer.key_set() {
        Ok(key_set) => key_set,
        Err(outage) => {
            telemetry::outage(&outage, &incoming);
            return wire::unavailable(wire::OUTAGE_RETRY_AFTER).response();
        }
    };
    let etag = (ETAG, key_set.etag.as_str());
    if has_it(request.headers(), &key_set.etag) {
        return HttpResponse::NotModified()
            .insert_header((CACHE_CONTROL, AN_HOUR))
            .insert_header(etag)
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, AN_HOUR))
        .insert_header((CONTENT_TYPE, JSON))
        .insert_header(etag)
        .body(Bytes::from_owner(SharedJson(Arc::clone(&key_set))))
}

/// The path of a URL, without a slash at its end; empty for the root.
pub(super) fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').and_then(|start| after_scheme.get(start..));
    path.unwrap_or_default().trim_end_matches('/')
}

/// The bytes of a key set, shared with whoever else sends them.
struct SharedJson(Arc<KeySet>);

impl AsRef<[u8]> for SharedJson {
    fn as_ref(&self) -> &[u8] {
        &self.0.json
    }
}

/// Whether the caller has this version: `If-None-Match` compares weakly, and lists any number of tags
/// (RFC 9110 section 13.1.2).
pub(super) fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The server's metadata (RFC 8414 section 3).
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "metadata",
    tag = "discovery",
    responses((status = 200, description = "What this server can do.", body = Metadata))
)]
pub(super) async fn metadata(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, AN_HOUR))
        .insert_header((CONTENT_TYPE, JSON))
        .body(state.metadata.clone())
}
