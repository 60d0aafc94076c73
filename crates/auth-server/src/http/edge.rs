//! What every response has, whatever became of the request: a correlation id, the security headers, an end of the
//! connection where the request has none, and, where a handler panicked or took too long, an answer at all.

use std::fmt;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, PRAGMA, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use auth_domain::ports::Random;
use auth_domain::time::Seconds;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::PlainHttp;
use super::client_address::Trust;
use super::connections::{self, Going};
use super::cors::{Cors, Readers};
use super::in_hand::InHand;
use super::incoming::{CORRELATION_ID, Incoming};
use super::intake;
use super::route::{Asked, Paths};
use super::stopping::Stopping;
use super::unread::{Unread, until_sent};
use super::wire::{self, OUTAGE_RETRY_AFTER, Row};
use crate::telemetry::{Ending, Stopwatch, Telemetry};

/// As OWASP's lists for APIs have it: nothing here is ever to be framed, sniffed, or run by a browser. Made when the
/// program is compiled: each of their bytes is looked at, and every answer has all of them.
static SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ),
];
/// Of this host alone: what else its domain has below it is not ours to promise.
const TWO_YEARS_OF_HTTPS: &str = "max-age=63072000";

/// Headers longer than this are refused, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// What a field is taken to cost besides its name and value (RFC 9113 section 6.5.2).
const FIELD_BYTES: usize = 32;

/// What the edge goes by.
pub(super) struct Rules {
    /// By which paths the routes are found.
    pub(super) paths: Paths,
    /// Where correlation ids are drawn from.
    pub(super) random: Arc<dyn Random>,
    /// Whose word is taken about where a request came from.
    pub(super) trust: Trust,
    /// Which pages may read answers.
    pub(super) cors: Cors,
    /// How long a request may go without an answer.
    pub(super) request_timeout: Duration,
    /// What this worker has in hand.
    pub(super) in_hand: InHand,
    /// Whether secrets are taken over plain HTTP.
    pub(super) plain_http: PlainHttp,
    /// Done once it has been said that a proxy names no client.
    pub(super) nameless: Arc<Once>,
    /// Whether traces are sent.
    pub(super) is_traced: bool,
    /// Where each answered request goes on record.
    pub(super) telemetry: Arc<Telemetry>,
    /// Whether the server is about to stop.
    pub(super) stopping: Arc<Stopping>,
}

/// The outermost layer of the application.
#[derive(Clone)]
pub(super) struct Edge(Rc<Rules>);

impl Edge {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Rc::new(rules))
    }
}

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(EdgeService {
            service: Rc::new(service),
            rules: Rc::clone(&self.0),
        }))
    }
}

/// [`Edge`] around the rest of the application.
pub(super) struct EdgeService<S> {
    service: Rc<S>,
    rules: Rc<Rules>,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let mark = Mark::of(&mut request, &self.rules);
        if let Some((answer, ending)) = answer_without_handler(&request, &mark, &self.rules) {
            let answer = mark.put_on(mark.ended(answer, ending));
            return Box::pin(ready(Ok(request.into_response(answer))));
        }
        if let Some(retry_after) = mark.come_again {
            return Box::pin(async move {
                // What comes of it is taken, or the framework would hang up: a client that comes again by the same
                // connection costs less than one that has to open another.
                intake::pass_over(request.take_payload()).await;
                let answer = wire::turned_away(retry_after);
                let answer = mark.put_on(mark.ended(answer, Ending::TurnedAway));
                Ok(request.into_response(answer))
            });
        }
        request.extensions_mut().insert(Rc::clone(&mark.incoming));
        let service = Rc::clone(&self.service);
        // What a panic leaves behind is dropped with the request: the services' own locks recover from poison.
        let work = AssertUnwindSafe(async move { service.call(request).await }).catch_unwind();
        let limit = self.rules.request_timeout;
        Box::pin(async move {
            let (answer, ending) = match in_time(work, limit, &mark.incoming).await {
                Ok(Ok(Ok(response))) => {
                    let (request, response) = response.into_parts();
                    let response = mark.ended(response.map_into_boxed_body(), mark.ending());
                    return Ok(ServiceResponse::new(request, mark.put_on(response)));
                }
                Ok(Ok(Err(error))) => (wire::server_error(), Ending::Failed(error.to_string())),
                Ok(Err(_panic)) => (wire::server_error(), Ending::Panicked),
                Err(_late) => (wire::unavailable(OUTAGE_RETRY_AFTER), Ending::Late),
            };
            mark.record(answer.status, ending);
            Err(Unanswered { mark, answer }.into())
        })
    }
}

/// What work comes to within a time, or later where it has begun to change things: to be told that nothing was done is
/// to do it again, and who shows a consumed refresh token again is signed out. The parts that such work waits for have
/// limits of their own.
async fn in_time<T>(
    work: impl Future<Output = T>,
    limit: Duration,
    incoming: &Incoming,
) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match timeout(limit, &mut work).await {
        Err(_late) if incoming.is_begun.get() => Ok(work.await),
        outcome => outcome,
    }
}

/// The answer to what no handler is to see: heads that are too long, secrets in the clear, and browsers that ask
/// whether they may.
fn answer_without_handler(
    request: &ServiceRequest,
    mark: &Mark,
    rules: &Rules,
) -> Option<(HttpResponse, Ending)> {
    if head_bytes(request) > MAX_HEAD_BYTES {
        return Some((wire::head_too_large().response(), Ending::Answered));
    }
    if may_hold_a_secret(request) {
        warn_of_nameless(request, mark, rules);
        if rules.plain_http == PlainHttp::Refused && !mark.incoming.is_secure {
            return Some((wire::plain_http().response(), Ending::PlainHttp));
        }
    }
    let preflight = rules
        .cors
        .preflight(request.method(), request.path(), request.headers());
    preflight.map(|answer| (answer, Ending::Answered))
}

/// Passwords, tokens and clients' secrets come in the bodies of forms; what is read by GET is public.
fn may_hold_a_secret(request: &ServiceRequest) -> bool {
    request.method() == Method::POST
}

/// A proxy that names no client makes one client of all of them, held to the limits of one.
fn warn_of_nameless(request: &ServiceRequest, mark: &Mark, rules: &Rules) {
    let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else {
        return;
    };
    if rules.trust.is_proxy(peer) && mark.incoming.context.ip == Some(peer) {
        rules.nameless.call_once(|| {
            tracing::warn!(
                event_type = "proxy",
                %peer,
                header = rules.trust.header.name(),
                "a trusted proxy names no client in the header that is read (CLIENT_ADDRESS_HEADER): all its clients are \
                 held to the limits of one address"
            );
        });
    }
}

fn head_bytes(request: &ServiceRequest) -> usize {
    let fields = request.headers().iter();
    let length: usize = fields
        .map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len())
        .sum();
    length + request.uri().path().len() + request.uri().query().map_or(0, str::len)
}

/// What distinguishes one response's surroundings from another's.
struct Mark {
    asked: Asked,
    since: Stopwatch,
    incoming: Rc<Incoming>,
    /// When to come again, where the worker had as much in hand as it takes and this would be more.
    come_again: Option<Seconds>,
    rules: Rc<Rules>,
    readers: Readers,
    unread: Option<Unread>,
    /// Only so that it lasts until the answer is sent.
    going: Option<Rc<Going>>,
}

impl Mark {
    fn of(request: &mut ServiceRequest, rules: &Rc<Rules>) -> Self {
        let since = Stopwatch::start();
        let going = connections::begin(request).map(Rc::new);
        let asked = rules.paths.asked(request);
        let mut incoming = Incoming::read(request, &*rules.random, &rules.trust);
        let come_again = if asked.is_about_tokens() {
            rules.in_hand.turn_away()
        } else {
            None
        };
        // What is refused because there is too much of it is not to cost a span.
        if rules.is_traced && !asked.is_by_operators() && come_again.is_none() {
            incoming.begin_trace(asked);
        }
        Self {
            asked,
            since,
            incoming: Rc::new(incoming),
            come_again,
            rules: Rc::clone(rules),
            readers: rules.cors.readers(request.path(), request.headers()),
            unread: Unread::hold(request),
            going,
        }
    }

    /// How a request came to the answer that its handler has made.
    fn ending(&self) -> Ending {
        if self.incoming.is_turned_away.get() {
            Ending::TurnedAway
        } else {
            Ending::Answered
        }
    }

    fn correlation_id(&self) -> &str {
        &self.incoming.context.correlation_id
    }

    /// The answer, once it is on record.
    fn ended(&self, answer: HttpResponse, ending: Ending) -> HttpResponse {
        self.record(answer.status(), ending);
        answer
    }

    fn record(&self, status: StatusCode, ending: Ending) {
        let took = self.since.elapsed();
        let (status, incoming) = (status.as_u16(), &self.incoming);
        let telemetry = &self.rules.telemetry;
        telemetry.request_answered(self.asked, ending, status, took, incoming);
    }

    fn put_on(&self, mut response: HttpResponse) -> HttpResponse {
        self.put_headers_on(response.headers_mut());
        if self.rules.stopping.has_begun() {
            // Whoever keeps the connection is to come back by another, which may lead elsewhere.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let kept = (self.unread.clone(), self.going.clone());
        match kept {
            (None, None) => response,
            kept => response.map_body(|_, body| until_sent(body, kept)),
        }
    }

    fn put_headers_on(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(self.correlation_id()) {
            headers.insert(CORRELATION_ID, value);
        }
        for (name, value) in &SECURITY_HEADERS {
            // A page has a policy of its own.
            if *name != CONTENT_SECURITY_POLICY || !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.incoming.is_secure {
            headers.insert(
                STRICT_TRANSPORT_SECURITY,
                HeaderValue::from_static(TWO_YEARS_OF_HTTPS),
            );
        }
        self.readers.put_on(headers);
    }
}

/// A request that no handler has answered, and what it is answered instead.
struct Unanswered {
    mark: Mark,
    answer: Row,
}

impl fmt::Debug for Unanswered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Unanswered")
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the server failed to answer")
    }
}

impl ResponseError for Unanswered {
    fn status_code(&self) -> StatusCode {
        self.answer.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.mark.put_on(self.answer.response());
        // It may have been the token endpoint's (RFC 6749 section 5.1).
        response
            .headers_mut()
            .insert(PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }
}
