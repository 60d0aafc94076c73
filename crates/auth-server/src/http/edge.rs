//! What every response has, whatever became of the request: a correlation id, the security headers, an end of the
//! connection where the request has none, and, where a handler panicked, an answer at all.

use std::fmt;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use auth_domain::ports::Random;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::incoming::{CORRELATION_ID, Incoming};
use super::unread::Unread;
use super::wire;
use crate::telemetry;

/// As OWASP's lists for APIs have it: nothing here is ever to be framed, sniffed, or run by a browser.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];
const TWO_YEARS_OF_HTTPS: &str = "max-age=63072000; includeSubDomains";

/// The outermost layer of the application.
#[derive(Clone)]
pub(super) struct Edge {
    random: Arc<dyn Random>,
}

impl Edge {
    /// Draws correlation ids from this source.
    pub(super) fn new(random: Arc<dyn Random>) -> Self {
        Self { random }
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
            random: Arc::clone(&self.random),
        }))
    }
}

/// [`Edge`] around the rest of the application.
pub(super) struct EdgeService<S> {
    service: Rc<S>,
    random: Arc<dyn Random>,
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
        let incoming = Rc::new(Incoming::read(&request, &*self.random));
        let mark = Mark {
            incoming: Rc::clone(&incoming),
            unread: Unread::hold(&mut request),
        };
        request.extensions_mut().insert(incoming);
        let service = Rc::clone(&self.service);
        // What a panic leaves behind is dropped with the request: the services' own locks recover from poison.
        let work = AssertUnwindSafe(async move { service.call(request).await }).catch_unwind();
        Box::pin(async move {
            match work.await {
                Ok(Ok(response)) => {
                    let (request, response) = response.into_parts();
                    let response = mark.put_on(response.map_into_boxed_body());
                    Ok(ServiceResponse::new(request, response))
                }
                Ok(Err(error)) => {
                    let correlation_id = mark.correlation_id();
                    tracing::error!(event_type = "server_error", correlation_id, %error, "no handler answered");
                    Err(Broken(mark).into())
                }
                Err(_panic) => {
                    telemetry::panicked(mark.correlation_id());
                    Err(Broken(mark).into())
                }
            }
        })
    }
}

/// What distinguishes one response's surroundings from another's.
struct Mark {
    incoming: Rc<Incoming>,
    unread: Option<Unread>,
}

impl Mark {
    fn correlation_id(&self) -> &str {
        &self.incoming.context.correlation_id
    }

    fn put_on(&self, mut response: HttpResponse) -> HttpResponse {
        self.put_headers_on(response.headers_mut());
        match self.unread.clone() {
            Some(unread) => response.map_body(|_, body| unread.until_sent(body)),
            None => response,
        }
    }

    fn put_headers_on(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(self.correlation_id()) {
            headers.insert(CORRELATION_ID, value);
        }
        for (name, value) in SECURITY_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
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
    }
}

/// A request that no handler has answered; becomes the bare 500.
struct Broken(Mark);

impl fmt::Debug for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Broken")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the server failed to answer")
    }
}

impl ResponseError for Broken {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        self.0.put_on(wire::server_error().response())
    }
}
