//! `POST /oauth/token`: parse, one call, render.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use auth_domain::refusal::{Refusal, RequestFault};
use auth_domain::request::TokenRequest;
use auth_domain::token_service::{Answer, Facts, Outcome};
use futures::StreamExt;
use tokio::task::JoinError;
use zeroize::Zeroizing;

use super::incoming::Incoming;
use super::openapi::TokenForm;
use super::wire::TokenResponse;
use super::{State, basic, form, wire};
use crate::telemetry::{self, Stopwatch};

/// The longest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Issues tokens.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "issueToken",
    tag = "tokens",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((
        status = 200,
        description = "Tokens.",
        body = TokenResponse,
        example = json!({
            "access_token": "eyJ…",
            "expires_in": 900,
            "refresh_token": "eyJ…",
            "scope": "api:read api:write",
            "token_type": "bearer"
        })
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
    match parse(request.headers(), body).await {
        Ok(request) => to_the_end(carry_out(request, incoming, state, stopwatch)).await,
        Err(refusal) => {
            let answer = Answer {
                facts: Facts::default(),
                outcome: Outcome::Refused(refusal),
            };
            report(&answer, &incoming, &state, stopwatch)
        }
    }
}

async fn carry_out(
    request: TokenRequest,
    incoming: Rc<Incoming>,
    state: Data<State>,
    stopwatch: Stopwatch,
) -> HttpResponse {
    let answer = state.services.tokens.issue(request, &incoming.context).await;
    let response = report(&answer, &incoming, &state, stopwatch);
    wait_for(state.services.pace.earliest(&answer), stopwatch).await;
    response
}

/// Waits until so much time has gone by since the request came, where it has not yet.
async fn wait_for(earliest: Duration, stopwatch: Stopwatch) {
    match earliest.checked_sub(stopwatch.elapsed()) {
        Some(rest) => tokio::time::sleep(rest).await,
        None if earliest.is_zero() => {}
        None => telemetry::answered_past_the_floor(),
    }
}

fn report(answer: &Answer, incoming: &Incoming, state: &State, stopwatch: Stopwatch) -> HttpResponse {
    let response = wire::render(answer);
    let status = response.status().as_u16();
    state
        .telemetry
        .token_answered(answer, incoming, status, stopwatch.elapsed());
    response
}

/// Carries work to its end though the client hangs up meanwhile: what has been counted is corrected, what has been
/// refused is audited, and every request has its line in the log.
async fn to_the_end<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    match actix_web::rt::spawn(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        // The edge answers it.
        Err(Ok(panic)) => resume_unwind(panic),
        // The worker itself is ending, and nobody is left to be answered.
        Err(Err(_)) => std::future::pending().await,
    }
}

async fn parse(headers: &HeaderMap, body: Payload) -> Result<TokenRequest, Refusal> {
    check_content_type(headers).map_err(Refusal::InvalidRequest)?;
    let body = read(headers, body).await.map_err(Refusal::InvalidRequest)?;
    let basic = basic::from_headers(headers.get_all(AUTHORIZATION).map(HeaderValue::as_bytes))?;
    let form = form::decode(&body).map_err(|fault| Refusal::InvalidRequest(fault.into()))?;
    TokenRequest::parse(form, basic)
}

/// Exactly one media type, with any parameters, and no compression.
fn check_content_type(headers: &HeaderMap) -> Result<(), RequestFault> {
    let mut types = headers.get_all(CONTENT_TYPE);
    let essence = match (types.next(), types.next()) {
        (Some(only), None) => only.as_bytes().split(|byte| *byte == b';').next(),
        _ => None,
    };
    let is_form = essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    if is_form && !headers.contains_key(CONTENT_ENCODING) {
        Ok(())
    } else {
        Err(RequestFault::ContentType)
    }
}

/// The whole body, which holds a password or a token. This copy is wiped when dropped; the connection's own buffers,
/// from which the chunks come, are the framework's and are not.
async fn read(headers: &HeaderMap, body: Payload) -> Result<Zeroizing<Vec<u8>>, RequestFault> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|length| length.parse().ok());
    // Room for all that may come, so that the bytes never move and leave a copy behind.
    let room = announced.unwrap_or(MAX_BODY_BYTES);
    if room > MAX_BODY_BYTES {
        return Err(RequestFault::TooLarge);
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body, room))
        .await
        .map_err(|_| RequestFault::Malformed)?
}

async fn collect(mut body: Payload, room: usize) -> Result<Zeroizing<Vec<u8>>, RequestFault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| RequestFault::Malformed)?;
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(RequestFault::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
