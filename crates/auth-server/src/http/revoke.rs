//! `POST /oauth/revoke`: parse, one call, render.

use std::rc::Rc;

use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use auth_domain::request::AboutToken;
use auth_domain::revocation::Revoked;
use auth_domain::token_service::Answer;
use futures::FutureExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::in_hand::{Begun, Kind};
use super::incoming::Incoming;
use super::openapi::AboutTokenForm;
use super::{State, in_hand, intake, wire};
use crate::telemetry::Stopwatch;

/// The answer to a revocation.
#[derive(Serialize, ToSchema)]
pub(super) struct RevocationResponse {
    /// Always true: the token is good for nothing, whatever it was before.
    revoked: bool,
}

/// Revokes a token (RFC 7009).
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    operation_id = "revokeToken",
    tag = "tokens",
    request_body(content = AboutTokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((
        status = 200,
        description = "The token is good for nothing: a refresh token has taken its whole chain along, an access token \
                       is denied until it expires, and of any other nothing was known.",
        body = RevocationResponse,
        headers(
            ("RateLimit-Policy" = String, description = "What the limit of the client's address lets through."),
            ("RateLimit" = String, description = "What that limit has left.")
        )
    )),
    security((), ("client_secret_basic" = []))
)]
pub(super) async fn revoke(
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
                incoming.is_begun.set(true);
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
    let revoke = state.services.tokens.revoke(&request, &incoming.context);
    let answer = incoming.use_case("revoke", revoke).await;
    drop(begun);
    report(&answer, &incoming, &state, stopwatch)
}

fn report(
    answer: &Answer<Revoked>,
    incoming: &Incoming,
    state: &State,
    stopwatch: Stopwatch,
) -> HttpResponse {
    let response = wire::render(answer, |_| {
        HttpResponse::Ok().json(RevocationResponse { revoked: true })
    });
    let status = response.status().as_u16();
    state
        .telemetry
        .revocation_answered(answer, incoming, status, stopwatch.elapsed());
    response
}
