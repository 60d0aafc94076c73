//! Answers where there is nothing to ask: unknown paths, and methods that a path does not know.

use actix_web::http::header::ALLOW;
use actix_web::{HttpResponse, Resource, web};

use super::wire;

/// Answers for a path that does not exist.
pub(super) async fn not_found() -> HttpResponse {
    wire::not_found().response()
}

/// Lets a resource answer every other method by 405, and name those it knows (RFC 9110 section 15.5.6).
pub(super) fn allowing(allow: &'static str, resource: Resource) -> Resource {
    resource.default_service(web::to(move || async move {
        let mut response = wire::method_not_allowed().response();
        let allow = actix_web::http::header::HeaderValue::from_static(allow);
        response.headers_mut().insert(ALLOW, allow);
        response
    }))
}
