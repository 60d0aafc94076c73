//! The OpenAPI document, written from the code: paths from the handlers, refusals from the one table of them.

use auth_domain::client::WireProfile;
use auth_domain::refusal::{Challenge, GrantFault, Parameter, Refusal, RequestFault};
use auth_domain::time::Seconds;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Ref, RefOr};
use utoipa::{Modify, OpenApi, ToSchema};

use everywhere::Everywhere;
use examples::Examples;

use super::introspect::IntrospectionResponse;
use super::revoke::RevocationResponse;
use super::wire::{self, ErrorResponse, Row, TokenResponse};
use super::{discovery, docs, introspect, operations, revoke, token};

mod everywhere;
mod examples;

/// The document as JSON, indented, the same bytes at each call.
///
/// # Errors
/// Where it can't be written as JSON.
pub fn document() -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&Api::openapi())?;
    text.push('\n');
    Ok(text)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "CodeLab Auth Service",
        description = "An OAuth 2.0 authorization server: signs users in, keeps them signed in, and publishes the \
                       keys by which services check tokens by themselves.\n\n\
                       What is asked for by POST is a form, `application/x-www-form-urlencoded`, of at most 16 KiB; a \
                       parameter sent twice is an error, an unknown one is passed over, an empty one counts as absent. \
                       A confidential client says who it is by `client_id` and `client_secret` in the form or by HTTP \
                       Basic, never by both; a public one by `client_id` alone.\n\n\
                       An unknown path is answered by 404, a method that a path does not know by 405 with `Allow`, \
                       either with an error like all others. HEAD is answered where GET is. Every answer has an \
                       `X-Correlation-ID`; quote it when you report a fault."
    ),
    servers((url = ".", description = "The server that this document was read from, under whatever prefix.")),
    tags(
        (name = "tokens", description = "Get tokens, give them back, ask what one stands for."),
        (name = "discovery", description = "What clients and services find out by themselves. May be kept for an hour."),
        (name = "operations", description = "For those who run the server, and for those who write against it.")
    ),
    paths(
        token::issue,
        revoke::revoke,
        introspect::introspect,
        discovery::key_set,
        discovery::metadata,
        operations::health,
        operations::ready,
        operations::live,
        operations::metrics,
        operations::openapi,
        docs::page,
    ),
    components(schemas(
        TokenForm,
        TokenResponse,
        AboutTokenForm,
        RevocationResponse,
        IntrospectionResponse,
        ErrorResponse
    )),
    modifiers(&ClientSecretByBasic, &Refusals, &Examples, &Everywhere)
)]
struct Api;

/// The parameters of a token request (RFC 6749 sections 4.3.2 and 6).
#[derive(ToSchema)]
pub struct TokenForm {
    /// What is offered for a token.
    #[schema(example = "password")]
    pub grant_type: GrantTypeName,
    /// The client, unless it authenticates by HTTP Basic.
    #[schema(example = "codelab-flutter-app")]
    pub client_id: Option<String>,
    /// A confidential client's secret, unless it authenticates by HTTP Basic.
    #[schema(format = Password)]
    pub client_secret: Option<String>,
    /// A user name or an e-mail address; for the grant `password`.
    #[schema(example = "ada", max_length = 1_020)]
    pub username: Option<String>,
    /// The user's password; for the grant `password`.
    #[schema(format = Password)]
    pub password: Option<String>,
    /// The refresh token; for the grant `refresh_token`. It is good for one refresh.
    #[schema(format = Password, max_length = 8_192)]
    pub refresh_token: Option<String>,
    /// What the access token shall be good for; without it, all that may be granted.
    #[schema(example = "api:read api:write")]
    pub scope: Option<String>,
}

/// The parameters of a request about a token (RFC 7009 section 2.1, RFC 7662 section 2.1).
#[derive(ToSchema)]
pub struct AboutTokenForm {
    /// The client, unless it authenticates by HTTP Basic.
    #[schema(example = "codelab-flutter-app")]
    pub client_id: Option<String>,
    /// A confidential client's secret, unless it authenticates by HTTP Basic.
    #[schema(format = Password)]
    pub client_secret: Option<String>,
    /// The token, of whatever kind.
    #[schema(format = Password, min_length = 1, max_length = 8_192)]
    pub token: String,
    /// What kind it may be; not needed, since a token tells that by itself.
    #[schema(example = "refresh_token")]
    pub token_type_hint: Option<String>,
}

/// The grants there are.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum GrantTypeName {
    /// A user's name and password.
    Password,
    /// A refresh token.
    RefreshToken,
}

struct ClientSecretByBasic;

impl Modify for ClientSecretByBasic {
    fn modify(&self, api: &mut Document) {
        let basic = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some(
                "The client id and the client secret, each form-encoded (RFC 6749 section 2.3.1).",
            ))
            .build();
        if let Some(components) = &mut api.components {
            components.add_security_scheme("client_secret_basic", SecurityScheme::Http(basic));
        }
    }
}

/// The rows, by name, that are told once a limit by address has been asked.
const TELL_A_QUOTA: [&str; 6] = [
    "invalid_grant",
    "invalid_grant_in_profile_codelab_flutter",
    "rate_limit_exceeded",
    "locked",
    "hashing_saturated",
    "storage_down",
];

/// Adds to each endpoint that is asked by a form an example of each refusal, under its status.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, api: &mut Document) {
        for (path, rows) in [
            ("/oauth/token", rows()),
            ("/oauth/revoke", rows_of_revocation()),
            (
                "/oauth/introspect",
                rows_of_any_form(Parameter::Token, Parameter::Token),
            ),
        ] {
            let operation = api.paths.paths.get_mut(path);
            if let Some(operation) = operation.and_then(|path| path.post.as_mut()) {
                add(&rows, operation);
            }
        }
    }
}

fn add(rows: &[(&'static str, Row)], operation: &mut Operation) {
    let is_limited = is_limited(operation);
    for (_, row) in rows {
        let status = row.status.as_u16().to_string();
        let of_status = rows.iter().filter(|(_, other)| other.status == row.status);
        let of_status: Vec<_> = of_status.collect();
        let mut response = response(&of_status);
        if is_limited && of_status.iter().any(|(name, _)| TELL_A_QUOTA.contains(name)) {
            tell_quota(&mut response);
        }
        operation.responses.responses.insert(status, response.into());
    }
}

/// Whether a limit by address holds for an operation: then its good answer tells what that has left.
fn is_limited(operation: &Operation) -> bool {
    let good = operation.responses.responses.get("200");
    matches!(good, Some(RefOr::T(good)) if good.headers.contains_key("RateLimit"))
}

fn tell_quota(response: &mut Response) {
    for (name, description) in [
        (
            "RateLimit-Policy",
            "What the limit of the client's address lets through.",
        ),
        ("RateLimit", "What that limit has left."),
    ] {
        let header = header(Type::String, description);
        response.headers.insert(name.to_owned(), header.into());
    }
}

/// An example of each row of the table, by a name.
pub fn rows() -> Vec<(&'static str, Row)> {
    let retry_after = Seconds::new(60);
    let mut rows = rows_of_any_form(Parameter::GrantType, Parameter::Username);
    rows.extend([
        ("unauthorized_client", rfc(Refusal::UnauthorizedClient)),
        ("unsupported_grant_type", rfc(Refusal::UnsupportedGrantType)),
        ("invalid_scope", rfc(Refusal::InvalidScope)),
        ("locked", rfc(Refusal::Locked { retry_after })),
        (
            "hashing_saturated",
            rfc(Refusal::Saturated {
                retry_after: Seconds::new(1),
            }),
        ),
    ]);
    rows.extend(rows_of_a_grant(GrantFault::WrongPassword));
    rows
}

fn rows_of_revocation() -> Vec<(&'static str, Row)> {
    let mut rows = rows_of_any_form(Parameter::Token, Parameter::Token);
    rows.extend(rows_of_a_grant(GrantFault::ForeignClient));
    rows
}

/// What is told of something that was issued, and where too much was asked.
fn rows_of_a_grant(fault: GrantFault) -> [(&'static str, Row); 3] {
    let refusal = Refusal::InvalidGrant(fault);
    let retry_after = Seconds::new(60);
    [
        ("invalid_grant", rfc(refusal)),
        (
            "invalid_grant_in_profile_codelab_flutter",
            wire::row(refusal, WireProfile::CodelabFlutter),
        ),
        ("rate_limit_exceeded", rfc(Refusal::RateLimited { retry_after })),
    ]
}

/// What every endpoint that is asked by a form may say of a parameter that it needs, and of one that may not be long.
fn rows_of_any_form(needed: Parameter, bounded: Parameter) -> Vec<(&'static str, Row)> {
    let invalid = |fault| rfc(Refusal::InvalidRequest(fault));
    let by = |challenge| rfc(Refusal::InvalidClient(challenge));
    vec![
        ("missing_parameter", invalid(RequestFault::Missing(needed))),
        ("repeated_parameter", invalid(RequestFault::Repeated(needed))),
        ("malformed_parameter", invalid(RequestFault::BadValue(bounded))),
        ("malformed_body", invalid(RequestFault::Malformed)),
        ("oversized_body", invalid(RequestFault::TooLarge)),
        (
            "repeated_authorization",
            invalid(RequestFault::RepeatedAuthorization),
        ),
        ("two_authentications", invalid(RequestFault::TwoAuthentications)),
        ("two_clients", invalid(RequestFault::TwoClients)),
        ("wrong_content_type", invalid(RequestFault::ContentType)),
        ("invalid_client", by(Challenge::Other)),
        ("invalid_client_by_basic", by(Challenge::Basic)),
        ("plain_http_in_production", wire::plain_http()),
        ("storage_down", wire::unavailable(wire::OUTAGE_RETRY_AFTER)),
    ]
}

fn rfc(refusal: Refusal) -> Row {
    wire::row(refusal, WireProfile::Rfc)
}

fn response(rows: &[&(&'static str, Row)]) -> Response {
    let examples = rows.iter().map(|(name, row)| {
        let value = json!({ "error": row.error, "error_description": row.description });
        let summary = name.replace('_', " ");
        (
            *name,
            ExampleBuilder::new().summary(summary).value(Some(value)).build(),
        )
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorResponse")))
        .examples_from_iter(examples)
        .build();
    let mut codes: Vec<_> = rows.iter().map(|(_, row)| row.error).collect();
    codes.dedup();
    let response = ResponseBuilder::new()
        .description(codes.join(", "))
        .content("application/json", content);
    with_headers(response, rows).build()
}

fn with_headers(mut response: ResponseBuilder, rows: &[&(&'static str, Row)]) -> ResponseBuilder {
    if rows.iter().any(|(_, row)| row.challenge.is_some()) {
        response = response.header(
            "WWW-Authenticate",
            header(
                Type::String,
                "How to authenticate: `Basic` where the client tried that, else `Bearer`.",
            ),
        );
    }
    if rows.iter().any(|(_, row)| row.retry_after.is_some()) {
        response = response.header(
            "Retry-After",
            header(Type::Integer, "Seconds until it is worth trying again."),
        );
    }
    response
}

fn header(of: Type, description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(of)))
        .description(Some(description))
        .build()
}
