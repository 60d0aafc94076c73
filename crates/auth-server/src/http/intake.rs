//! Takes a form in, for every endpoint that is asked by one: its type, its size, its time, its client's credentials.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use actix_web::web::Payload;
use auth_domain::client_auth::BasicCredentials;
use auth_domain::refusal::{Refusal, RequestFault};
use auth_domain::request::AboutToken;
use auth_domain::time::Seconds;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::incoming::Incoming;
use super::{basic, form, wire};
use crate::telemetry;

/// The longest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Names and values, as a form has them.
pub(super) type Pairs = Vec<(String, Zeroizing<String>)>;

/// The decoded form of a request, and the credentials of its `Authorization` header.
///
/// # Errors
/// `invalid_request` or `invalid_client`, before anything has been asked of the rules.
pub(super) async fn form(
    headers: &HeaderMap,
    body: Payload,
) -> Result<(Pairs, Option<BasicCredentials>), Refusal> {
    check_content_type(headers).map_err(Refusal::InvalidRequest)?;
    let body = read(headers, body).await.map_err(Refusal::InvalidRequest)?;
    let basic = basic::from_headers(headers.get_all(AUTHORIZATION).map(HeaderValue::as_bytes))?;
    let form = form::decode(&body).map_err(|fault| Refusal::InvalidRequest(fault.into()))?;
    Ok((form, basic))
}

/// A request about a token.
///
/// # Errors
/// As [`form()`], and where the form is no such request.
pub(super) async fn about_token(headers: &HeaderMap, body: Payload) -> Result<AboutToken, Refusal> {
    let (form, basic) = form(headers, body).await?;
    AboutToken::parse(form, basic)
}

/// Carries work to its end though the client hangs up meanwhile: what has been counted is corrected, what has been
/// refused is audited, and every request has its line in the log.
///
/// The work is some kilobytes long, and whatever it is handed through on its way to the runtime would copy them: so it
/// comes boxed.
pub(super) async fn to_the_end<T: 'static>(work: LocalBoxFuture<'static, T>) -> T {
    let (tell, told) = oneshot::channel();
    actix_web::rt::spawn(async move {
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        if let Err(Err(_panic)) = tell.send(ended) {
            telemetry::panicked_unseen();
        }
    });
    match told.await {
        Ok(Ok(done)) => done,
        // The edge answers it.
        Ok(Err(panic)) => resume_unwind(panic),
        // The worker itself is ending, and nobody is left to be answered.
        Err(_) => std::future::pending().await,
    }
}

/// The answer to a request for which there is no room any more once it has been read.
pub(super) fn turn_away(incoming: &Incoming, retry_after: Seconds) -> HttpResponse {
    incoming.is_turned_away.set(true);
    wire::turned_away(retry_after)
}

/// Lets the body of a request come and go, as far as one may be long and may take: nobody reads it.
pub(super) async fn pass_over(mut body: dev::Payload) {
    let all = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = body.next().await {
            length += chunk.len();
            if length > MAX_BODY_BYTES {
                return;
            }
        }
    };
    // Whatever is left of it, the connection ends with the answer.
    let _ = tokio::time::timeout(BODY_TIMEOUT, all).await;
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

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::*;
    use crate::telemetry::Telemetry;

    #[test]
    fn a_panic_that_nobody_waits_for_is_counted() {
        let (recorder, telemetry) = Telemetry::local();
        with_local_recorder(&recorder, || {
            actix_web::rt::System::new().block_on(async {
                let (go, wait) = oneshot::channel::<()>();
                let defect = async move {
                    let _ = wait.await;
                    panic!("a defect");
                };
                let mut work = Box::pin(to_the_end(defect.boxed_local()));
                assert!(futures::poll!(&mut work).is_pending());
                drop::<std::pin::Pin<Box<dyn Future<Output = ()>>>>(work);
                go.send(()).unwrap();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        });
        let metrics = telemetry.render();
        assert!(metrics.contains("auth_http_panics_total 1\n"), "{metrics}");
    }
}
