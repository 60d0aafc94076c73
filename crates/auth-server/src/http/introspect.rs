//! `POST /oauth/introspect`: parse, one call, render.

use std::rc::Rc;

use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use auth_domain::claims::{NumericDate, TokenUse};
use auth_domain::id::{Jti, SessionId, UserId};
use auth_domain::introspection::{ActiveToken, Introspection};
use auth_domain::request::AboutToken;
use auth_domain::token_service::Answer;
use futures::FutureExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::in_hand::{Begun, Kind};
use super::incoming::Incoming;
use super::openapi::AboutTokenForm;
use super::{State, in_hand, intake, wire};
use crate::telemetry::Stopwatch;

/// What a token stands for (RFC 7662 section 2.2). Of one that is not active nothing but that is told.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct IntrospectionResponse<'a> {
    /// Whether it is good, now.
    active: bool,
    /// What it is good for: scope tokens, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The client it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    /// The name of the user it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    /// `Bearer`; only access tokens have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The second at which it ceases to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    exp: Option<NumericDate>,
    /// The second at which it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    iat: Option<NumericDate>,
    /// The second before which it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    nbf: Option<NumericDate>,
    /// The user it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    sub: Option<UserId>,
    /// For whose use it is: of a refresh token, this server's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    /// Its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    jti: Option<Jti>,
    /// Its session, where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    sid: Option<SessionId>,
}

impl<'a> From<&'a ActiveToken> for IntrospectionResponse<'a> {
    fn from(token: &'a ActiveToken) -> Self {
        Self {
            active: true,
            scope: Some(token.scope.to_string()),
            client_id: Some(token.client_id.as_str()),
            username: Some(token.username.as_str()),
            token_type: match token.token_use {
                TokenUse::Access => Some("Bearer"),
                TokenUse::Refresh => None,
            },
            exp: Some(token.exp),
            iat: Some(token.iat),
            nbf: Some(token.nbf),
            sub: Some(token.sub),
            aud: Some(&token.aud),
            iss: Some(&token.iss),
            jti: Some(token.jti),
            sid: token.sid,
        }
    }
}

/// Says what a token stands for (RFC 7662).
#[utoipa::path(
    post,
    path = "/oauth/introspect",
    operation_id = "introspectToken",
    tag = "tokens",
    request_body(content = AboutTokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((
        status = 200,
        description = "What the token stands for; of one that is not active, nothing else. A refresh token is active to \
                       its own client alone, and is not consumed by being asked about.",
        body = IntrospectionResponse
    )),
    security((), ("client_secret_basic" = []))
)]
pub(super) async fn introspect(
    request: HttpRequest,
    body: Payload,
    incoming: ReqData<Rc<Incoming>>,
    state: Data<State>,
) -> HttpResponse {
    let stopwatch = Stopwatch::start();
    let incoming = incoming.into_inner();
    match intake::about_token(request.headers(), body).await {
        Ok(asked) => match in_hand::begin(&request, Kind::Other) {
            Ok(begun) => {
                intake::to_the_end(carry_out(asked, begun, incoming, state, stopwatch).boxed_local()).await
            }
            Err(retry_after) => intake::turn_away(&incoming, retry_after),
        },
        Err(refusal) => report(&Answer::unread(refusal), &incoming, &state, stopwatch),
    }
}

async fn carry_out(
    request: AboutToken,
    begun: Option<Begun>,
    incoming: Rc<Incoming>,
    state: Data<State>,
    stopwatch: Stopwatch,
) -> HttpResponse {
    let introspect = state.services.tokens.introspect(&request, &incoming.context);
    let answer = incoming.use_case("introspect", introspect).await;
    drop(begun);
    report(&answer, &incoming, &state, stopwatch)
}

fn report(
    answer: &Answer<Introspection>,
    incoming: &Incoming,
    state: &State,
    stopwatch: Stopwatch,
) -> HttpResponse {
    let response = wire::render(answer, told);
    let status = response.status().as_u16();
    state
        .telemetry
        .introspection_answered(answer, incoming, status, stopwatch.elapsed());
    response
}

fn told(introspection: &Introspection) -> HttpResponse {
    HttpResponse::Ok().json(match introspection {
        Introspection::Active(token) => IntrospectionResponse::from(&**token),
        Introspection::Inactive => IntrospectionResponse::default(),
    })
}
