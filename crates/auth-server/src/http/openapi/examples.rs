//! The examples of requests and of answers that are no refusals. A test asks the server for each of them.

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::content::Content;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi as Document, RefOr};

/// A form's media type.
const FORM: &str = "application/x-www-form-urlencoded";

/// Adds examples to the operations that have some.
pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, api: &mut Document) {
        for (path, examples) in requests() {
            if let Some(content) = form_of(api, path) {
                content.examples.extend(examples.into_iter().map(named));
            }
        }
        for (path, status, examples) in answers() {
            if let Some(content) = answer_of(api, path, status) {
                content.example = None;
                content.examples.extend(examples.into_iter().map(named));
            }
        }
    }
}

/// A name, what it shows, and the thing itself.
type Named = (&'static str, &'static str, Value);

fn named((name, summary, value): Named) -> (String, RefOr<Example>) {
    let example = ExampleBuilder::new().summary(summary).value(Some(value));
    (name.to_owned(), example.build().into())
}

fn operation_of<'a>(api: &'a mut Document, path: &str) -> Option<&'a mut Operation> {
    let PathItem { get, post, .. } = api.paths.paths.get_mut(path)?;
    post.as_mut().or(get.as_mut())
}

fn form_of<'a>(api: &'a mut Document, path: &str) -> Option<&'a mut Content> {
    let body = inline(operation_of(api, path)?.request_body.as_mut()?)?;
    inline(body.content.get_mut(FORM)?)
}

fn answer_of<'a>(api: &'a mut Document, path: &str, status: &str) -> Option<&'a mut Content> {
    let responses = &mut operation_of(api, path)?.responses.responses;
    let response = inline(responses.get_mut(status)?)?;
    inline(response.content.values_mut().next()?)
}

/// What is not kept elsewhere in the document.
const fn inline<T>(part: &mut RefOr<T>) -> Option<&mut T> {
    match part {
        RefOr::T(part) => Some(part),
        RefOr::Ref(_) => None,
    }
}

fn requests() -> [(&'static str, Vec<Named>); 3] {
    [
        ("/oauth/token", token_requests()),
        ("/oauth/revoke", revocations()),
        ("/oauth/introspect", introspections()),
    ]
}

fn token_requests() -> Vec<Named> {
    vec![
        (
            "1_password",
            "Sign in with a public client",
            json!({
                "grant_type": "password",
                "client_id": "codelab-flutter-app",
                "username": "ada",
                "password": "Analytical-Engine-1843"
            }),
        ),
        (
            "2_refresh",
            "Refresh: the token is good for this once",
            json!({
                "grant_type": "refresh_token",
                "client_id": "codelab-flutter-app",
                "refresh_token": "eyJ…"
            }),
        ),
        (
            "3_narrower",
            "Refresh for an access token that may do less",
            json!({
                "grant_type": "refresh_token",
                "client_id": "codelab-flutter-app",
                "refresh_token": "eyJ…",
                "scope": "api:read"
            }),
        ),
        (
            "4_by_a_confidential_client",
            "Sign in with a confidential client, by e-mail address, for one scope",
            json!({
                "grant_type": "password",
                "client_id": "reporting",
                "client_secret": "example-secret-of-the-client",
                "username": "ada@example.com",
                "password": "Analytical-Engine-1843",
                "scope": "api:read"
            }),
        ),
    ]
}

fn revocations() -> Vec<Named> {
    vec![
        (
            "1_sign_out",
            "Sign out: the refresh token and its whole chain",
            json!({"client_id": "codelab-flutter-app", "token": "eyJ…"}),
        ),
        (
            "2_hinted",
            "The same with a hint, which is not needed",
            json!({"client_id": "codelab-flutter-app", "token": "eyJ…", "token_type_hint": "refresh_token"}),
        ),
    ]
}

fn introspections() -> Vec<Named> {
    vec![(
        "1_by_a_confidential_client",
        "Ask what a token stands for",
        json!({"client_id": "reporting", "client_secret": "example-secret-of-the-client", "token": "eyJ…"}),
    )]
}

fn answers() -> [(&'static str, &'static str, Vec<Named>); 10] {
    [
        ("/oauth/token", "200", tokens()),
        ("/oauth/revoke", "200", revoked()),
        ("/oauth/introspect", "200", told()),
        ("/.well-known/jwks.json", "200", key_set()),
        ("/.well-known/oauth-authorization-server", "200", metadata()),
        (
            "/health",
            "200",
            vec![
                (
                    "healthy",
                    "All is well",
                    health("healthy", "connected", "connected"),
                ),
                (
                    "without_redis",
                    "All is well, and no Redis is configured",
                    health("healthy", "connected", "disabled"),
                ),
                (
                    "degraded",
                    "Redis is away: counters are kept in the process",
                    health("degraded", "connected", "disconnected"),
                ),
            ],
        ),
        (
            "/health",
            "503",
            vec![(
                "unhealthy",
                "The database is away",
                health("unhealthy", "disconnected", "disabled"),
            )],
        ),
        (
            "/ready",
            "200",
            vec![("ready", "It can", json!({"status": "ready"}))],
        ),
        (
            "/ready",
            "503",
            vec![
                (
                    "not_ready",
                    "What is missing",
                    json!({"status": "not_ready", "missing": ["database", "signing_key"]}),
                ),
                (
                    "stopping",
                    "The server is about to stop",
                    json!({"status": "not_ready", "missing": ["stopping"]}),
                ),
            ],
        ),
        (
            "/live",
            "200",
            vec![("alive", "It answers", json!({"status": "alive"}))],
        ),
    ]
}

fn tokens() -> Vec<Named> {
    vec![(
        "tokens",
        "An access token for the services, and a refresh token for this server",
        json!({
            "access_token": "eyJ…",
            "refresh_token": "eyJ…",
            "token_type": "bearer",
            "expires_in": 900,
            "scope": "api:read api:write"
        }),
    )]
}

fn revoked() -> Vec<Named> {
    vec![(
        "revoked",
        "Also for a token that nobody knows",
        json!({"revoked": true}),
    )]
}

fn told() -> Vec<Named> {
    vec![
        (
            "access_token",
            "A good access token",
            json!({
                "active": true,
                "scope": "api:read api:write",
                "client_id": "codelab-flutter-app",
                "username": "ada",
                "token_type": "Bearer",
                "exp": 1_767_226_500,
                "iat": 1_767_225_600,
                "nbf": 1_767_225_595,
                "sub": "0198c9d4-6f0a-7000-8000-0123456789ab",
                "aud": "codelab-api",
                "iss": "https://auth.codelab.local",
                "jti": "5f1c2a6e-0d4b-4c1a-9a55-0123456789ab"
            }),
        ),
        (
            "refresh_token",
            "A good refresh token, asked about by its own client",
            json!({
                "active": true,
                "scope": "api:read",
                "client_id": "reporting",
                "username": "ada",
                "exp": 1_769_817_600,
                "iat": 1_767_225_600,
                "nbf": 1_767_225_595,
                "sub": "0198c9d4-6f0a-7000-8000-0123456789ab",
                "aud": "https://auth.codelab.local",
                "iss": "https://auth.codelab.local",
                "jti": "8d3b1f0a-52c7-4e19-8f6e-0123456789ab",
                "sid": "0198c9d4-6f0a-7abc-8000-0123456789ab"
            }),
        ),
        (
            "inactive",
            "Any other token, for whatever reason",
            json!({"active": false}),
        ),
    ]
}

fn key_set() -> Vec<Named> {
    vec![(
        "keys",
        "The key that signs, and those whose tokens are still about",
        json!({"keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": "u7Jm0vZ8ZkqW2h4xQe1b5g",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc…",
            "e": "AQAB"
        }]}),
    )]
}

fn metadata() -> Vec<Named> {
    vec![(
        "metadata",
        "With the password grant on offer",
        json!({
            "issuer": "https://auth.codelab.local",
            "token_endpoint": "https://auth.codelab.local/oauth/token",
            "revocation_endpoint": "https://auth.codelab.local/oauth/revoke",
            "introspection_endpoint": "https://auth.codelab.local/oauth/introspect",
            "jwks_uri": "https://auth.codelab.local/.well-known/jwks.json",
            "grant_types_supported": ["password", "refresh_token"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]
        }),
    )]
}

fn health(status: &str, database: &str, redis: &str) -> Value {
    json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "database": database,
        "redis": redis
    })
}
