//! What holds of every operation: headers that each answer has, and answers that each may give.

use actix_web::http::StatusCode;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Components, Type};
use utoipa::openapi::{OpenApi as Document, Ref, RefOr};

use super::{header, response};
use crate::http::wire;

const CORRELATION_ID: &str = "X-Correlation-ID";
const CACHE_CONTROL: &str = "Cache-Control";

/// Adds them.
pub(super) struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, api: &mut Document) {
        let components = api.components.get_or_insert_default();
        describe_headers(components);
        describe_answers(components);
        for operation in api.paths.paths.values_mut().flat_map(operations) {
            for answer in operation.responses.responses.values_mut() {
                if let RefOr::T(answer) = answer {
                    add_headers(answer);
                }
            }
            add_answers(operation);
        }
    }
}

fn describe_headers(components: &mut Components) {
    for (name, description) in [
        (
            CORRELATION_ID,
            "The caller's own value where it is at most 128 letters, digits and `._:-`, else a new UUID. It is in every \
             log line of the request.",
        ),
        (
            CACHE_CONTROL,
            "`no-store`, but for what may be kept: the key set and the metadata for an hour.",
        ),
    ] {
        let header = header(Type::String, description);
        components.headers.insert(name.to_owned(), header.into());
    }
}

fn describe_answers(components: &mut Components) {
    for (name, example, row) in [
        ("HeadTooLarge", "head_too_large", wire::head_too_large()),
        ("ServerError", "server_error", wire::server_error()),
        ("NotFound", "not_found", wire::not_found()),
        (
            "MethodNotAllowed",
            "method_not_allowed",
            wire::method_not_allowed(),
        ),
    ] {
        let mut answer = response(&[&(example, row.clone())]);
        answer.description = row.description.into_owned();
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = header(Type::String, "The methods that the path knows.");
            answer.headers.insert("Allow".to_owned(), allow.into());
        }
        add_headers(&mut answer);
        components.responses.insert(name.to_owned(), answer.into());
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [path.get.as_mut(), path.post.as_mut()].into_iter().flatten()
}

fn add_answers(operation: &mut Operation) {
    for (status, name) in [("431", "HeadTooLarge"), ("500", "ServerError")] {
        let answer = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.insert(status.to_owned(), answer);
    }
}

fn add_headers(answer: &mut Response) {
    for name in [CORRELATION_ID, CACHE_CONTROL] {
        let shared = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
        answer.headers.insert(name.to_owned(), shared);
    }
}
