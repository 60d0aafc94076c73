//! For tower, and so for axum and hyper: a layer that lets nobody on without a good token. Handlers find whose it is among
//! the request's extensions.
//!
//! The body of the service's answers has to be one that is made from a `String`, as those of axum and `http-body-util` are.
//! That of tonic is not, and what a client of gRPC is to be told is no answer of HTTP either: in an interceptor of tonic's
//! call [`TokenVerifier::authenticate`].

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::denial::Denial;
use crate::verifier::TokenVerifier;

/// A layer: services behind it are reached with a good token alone, and find an [`Identity`](crate::Identity) among the
/// request's extensions.
#[derive(Debug, Clone)]
pub struct RequireToken(TokenVerifier);

impl RequireToken {
    /// Judges by this verifier.
    pub const fn by(verifier: TokenVerifier) -> Self {
        Self(verifier)
    }
}

impl<S> Layer<S> for RequireToken {
    type Service = Guard<S>;

    fn layer(&self, service: S) -> Guard<S> {
        Guard {
            service,
            verifier: self.0.clone(),
        }
    }
}

/// [`RequireToken`] before the rest of a service.
#[derive(Debug, Clone)]
pub struct Guard<S> {
    service: S,
    verifier: TokenVerifier,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The service that is ready is the one to be called; a clone of it may not be.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            match verifier.authenticate(request.headers()).await {
                Ok(identity) => {
                    request.extensions_mut().insert(identity);
                    service.call(request).await
                }
                Err(denial) => Ok(answer(&denial)),
            }
        })
    }
}

fn answer<R: From<String>>(denial: &Denial) -> Response<R> {
    let mut response = Response::new(R::from(denial.body()));
    *response.status_mut() = denial.status();
    for (name, value) in denial.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}
