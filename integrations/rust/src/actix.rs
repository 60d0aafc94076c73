//! For actix-web: [`Identity`] as an extractor, and a middleware that lets nobody on without a good token.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::body::EitherBody;
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap as ActixHeaders;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::denial::Denial;
use crate::verifier::{Identity, TokenVerifier};

/// Work that belongs to one worker.
type Local<T> = std::pin::Pin<Box<dyn Future<Output = T>>>;

/// A middleware: handlers behind it are reached with a good token alone, and find whose it is by the extractor.
#[derive(Debug, Clone)]
pub struct RequireToken(TokenVerifier);

impl RequireToken {
    /// Judges by this verifier.
    pub const fn by(verifier: TokenVerifier) -> Self {
        Self(verifier)
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequireToken
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Guard<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Guard {
            service: Rc::new(service),
            verifier: self.0.clone(),
        }))
    }
}

/// [`RequireToken`] before the rest of an application.
#[derive(Debug)]
pub struct Guard<S> {
    service: Rc<S>,
    verifier: TokenVerifier,
}

impl<S, B> Service<ServiceRequest> for Guard<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Local<Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, verifier) = (Rc::clone(&self.service), self.verifier.clone());
        Box::pin(async move {
            let headers = headers(request.headers());
            match verifier.authenticate(&headers).await {
                Ok(identity) => {
                    request.extensions_mut().insert(identity);
                    Ok(service.call(request).await?.map_into_left_body())
                }
                Err(denial) => Ok(request
                    .into_response(denial.error_response())
                    .map_into_right_body()),
            }
        })
    }
}

/// Whoever the middleware has found; without it, judged by the [`TokenVerifier`] in the application's data.
impl FromRequest for Identity {
    type Error = Error;
    type Future = Local<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        let verifier = request.app_data::<Data<TokenVerifier>>().cloned();
        let headers = headers(request.headers());
        Box::pin(async move {
            match (found, verifier) {
                (Some(identity), _) => Ok(identity),
                (None, Some(verifier)) => Ok(verifier.authenticate(&headers).await?),
                (None, None) => Err(Denial::NoToken.into()),
            }
        })
    }
}

impl ResponseError for Denial {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        for header in self.headers() {
            answer.insert_header(header);
        }
        answer.body(self.body())
    }
}

/// The headers that a token may be in: actix-web has those of an older version of the library.
fn headers(given: &ActixHeaders) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in ["authorization", "upgrade", "sec-websocket-protocol"] {
        for value in given.get_all(name) {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
    }
    headers
}
