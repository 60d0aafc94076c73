//! The OpenAPI document, written from the code: paths from the handlers, refusals from the one table of them.

use auth_domain::client::WireProfile;
use auth_domain::refusal::{Challenge, GrantFault, Parameter, Refusal, RequestFault};
use auth_domain::time::Seconds;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Ref};
use utoipa::{Modify, OpenApi, ToSchema};

use super::wire::{self, ErrorResponse, Row, TokenResponse};
use super::{discovery, operations, token};

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
                       keys by which services check tokens by themselves."
    ),
    paths(
        token::issue,
        discovery::key_set,
        discovery::metadata,
        operations::health,
        operations::ready,
        operations::metrics,
        operations::openapi,
    ),
    components(schemas(TokenForm, TokenResponse, ErrorResponse)),
    modifiers(&ClientSecretByBasic, &Refusals)
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
    pub client_secret: Option<String>,
    /// A user name or an e-mail address; for the grant `password`.
    #[schema(example = "ada")]
    pub username: Option<String>,
    /// The user's password; for the grant `password`.
    #[schema(format = Password)]
    pub password: Option<String>,
    /// The refresh token; for the grant `refresh_token`.
    pub refresh_token: Option<String>,
    /// What the access token shall be good for; without it, all that may be granted.
    #[schema(example = "api:read api:write")]
    pub scope: Option<String>,
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

/// Adds to the token endpoint an example of each refusal, under its status.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, api: &mut Document) {
        let operation = api
            .paths
            .paths
            .get_mut("/oauth/token")
            .and_then(|path| path.post.as_mut());
        let Some(operation) = operation else { return };
        let rows = rows();
        for (_, row) in &rows {
            let status = row.status.as_u16().to_string();
            let of_status = rows.iter().filter(|(_, other)| other.status == row.status);
            let response = response(&of_status.collect::<Vec<_>>());
            operation.responses.responses.insert(status, response.into());
        }
    }
}

/// An example of each row of the table, by a name.
pub fn rows() -> Vec<(&'static str, Row)> {
    let invalid = |fault| wire::row(Refusal::InvalidRequest(fault), WireProfile::Rfc);
    let rfc = |refusal| wire::row(refusal, WireProfile::Rfc);
    let retry_after = Seconds::new(60);
    vec![
        (
            "missing_parameter",
            invalid(RequestFault::Missing(Parameter::GrantType)),
        ),
        (
            "repeated_parameter",
            invalid(RequestFault::Repeated(Parameter::Scope)),
        ),
        (
            "malformed_parameter",
            invalid(RequestFault::BadValue(Parameter::Username)),
        ),
        ("malformed_body", invalid(RequestFault::Malformed)),
        ("oversized_body", invalid(RequestFault::TooLarge)),
        (
            "repeated_authorization",
            invalid(RequestFault::RepeatedAuthorization),
        ),
        ("two_authentications", invalid(RequestFault::TwoAuthentications)),
        ("two_clients", invalid(RequestFault::TwoClients)),
        ("wrong_content_type", invalid(RequestFault::ContentType)),
        ("invalid_client", rfc(Refusal::InvalidClient(Challenge::Other))),
        (
            "invalid_client_by_basic",
            rfc(Refusal::InvalidClient(Challenge::Basic)),
        ),
        ("unauthorized_client", rfc(Refusal::UnauthorizedClient)),
        ("unsupported_grant_type", rfc(Refusal::UnsupportedGrantType)),
        ("invalid_scope", rfc(Refusal::InvalidScope)),
        (
            "invalid_grant",
            rfc(Refusal::InvalidGrant(GrantFault::WrongPassword)),
        ),
        (
            "invalid_grant_in_profile_codelab_flutter",
            wire::row(
                Refusal::InvalidGrant(GrantFault::WrongPassword),
                WireProfile::CodelabFlutter,
            ),
        ),
        ("rate_limit_exceeded", rfc(Refusal::RateLimited { retry_after })),
        ("locked", rfc(Refusal::Locked { retry_after })),
        (
            "hashing_saturated",
            rfc(Refusal::Saturated {
                retry_after: Seconds::new(1),
            }),
        ),
        ("storage_down", wire::unavailable(wire::OUTAGE_RETRY_AFTER)),
    ]
}

fn response(rows: &[&(&'static str, Row)]) -> Response {
    let examples = rows.iter().map(|(name, row)| {
        let value = json!({ "error": row.error, "error_description": row.description });
        (*name, ExampleBuilder::new().value(Some(value)).build())
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
        response = response.header("WWW-Authenticate", header(Type::String, "How to authenticate."));
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
