//! `POST /oauth/token`: parse, one call, render.

use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue};
use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use auth_domain::refusal::Refusal;
use auth_domain::request::{Grant, TokenRequest};
use auth_domain::token_service::{Answer, Outcome, TokenSet};
use futures::FutureExt as _;

use super::in_hand::{Begun, Kind};
use super::incoming::Incoming;
use super::openapi::TokenForm;
use super::wire::TokenResponse;
use super::{State, device_cookie, in_hand, intake, wire};
use crate::telemetry::{self, Stopwatch};

/// Issues tokens.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "issueToken",
    tag = "tokens",
    params((
        "__Host-codelab-device" = Option<String>,
        Cookie,
        description = "The note of a device that has signed in before. Over plain HTTP its name is `codelab-device`."
    )),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((
        status = 200,
        description = "Tokens.",
        body = TokenResponse,
        headers(
            (
                "Set-Cookie" = String,
                description = "After a sign-in, a note by which this device is known: send it back at the next one."
            ),
            ("RateLimit-Policy" = String, description = "What the limit of the client's address lets through."),
            ("RateLimit" = String, description = "What that limit has left.")
        )
    )),
    security((), ("client_secret_basic" = []))
)]
pub(super) async fn issue(
    request: HttpRequest,
    body: Payload,
    incoming: ReqData<Rc<Incoming>>,
    state: Data<State>,
) -> HttpResponse {
    let stopwatch = Stopwatch::start();
    let incoming = incoming.into_inner();
    match parse(request.headers(), body, &incoming).await {
        Ok(asked) => match in_hand::begin(&request, kind(&asked.grant)) {
            Ok(begun) => {
                incoming.is_begun.set(true);
                intake::to_the_end(carry_out(asked, begun, incoming, state, stopwatch).boxed_local()).await
            }
            Err(retry_after) => intake::turn_away(&incoming, retry_after),
        },
        Err(refusal) => report(&Answer::unread(refusal), &incoming, &state, stopwatch),
    }
}

fn kind(grant: &Grant) -> Kind {
    match grant {
        Grant::Password { .. } => Kind::SignIn,
        Grant::RefreshToken(_) => Kind::Other,
    }
}

async fn carry_out(
    request: TokenRequest,
    begun: Option<Begun>,
    incoming: Rc<Incoming>,
    state: Data<State>,
    stopwatch: Stopwatch,
) -> HttpResponse {
    // Not the time since the head came: a client could use that up by holding back the last byte of its body.
    let since_read = Stopwatch::start();
    let issue = state.services.tokens.issue(request, &incoming.context);
    let answer = incoming.use_case("grant", issue).await;
    let response = report(&answer, &incoming, &state, stopwatch);
    // Who waits takes none of the worker's time.
    drop(begun);
    wait_for(state.services.pace.earliest(&answer), since_read).await;
    response
}

/// Waits until so much time has gone by since the request was read, where it has not yet.
async fn wait_for(earliest: Duration, stopwatch: Stopwatch) {
    match earliest.checked_sub(stopwatch.elapsed()) {
        Some(rest) => tokio::time::sleep(rest).await,
        None if earliest.is_zero() => {}
        None => telemetry::answered_past_the_floor(),
    }
}

fn report(answer: &Answer, incoming: &Incoming, state: &State, stopwatch: Stopwatch) -> HttpResponse {
    let mut response = wire::render(answer, wire::granted);
    if let Outcome::Granted(TokenSet {
        device: Some(note), ..
    }) = &answer.outcome
    {
        device_cookie::put_on(response.headers_mut(), note, incoming.is_secure);
    }
    let status = response.status().as_u16();
    state
        .telemetry
        .token_answered(answer, incoming, status, stopwatch.elapsed());
    response
}

/// The request with the note of the device, if any came along.
async fn parse(headers: &HeaderMap, body: Payload, incoming: &Incoming) -> Result<TokenRequest, Refusal> {
    let (form, basic) = intake::form(headers, body).await?;
    let cookies = headers.get_all(COOKIE).map(HeaderValue::as_bytes);
    Ok(TokenRequest {
        device: device_cookie::find(cookies, incoming.is_secure),
        ..TokenRequest::parse(form, basic)?
    })
}
