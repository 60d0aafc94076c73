//! The page at `/docs`: reads the OpenAPI document to people, and lets them try each endpoint. It is four small files of
//! our own in the binary; nothing of it comes from another host, and no script runs on it but its one file.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, LOCATION,
};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse};

use super::discovery::has_it;
use super::get;

/// Where the page is.
pub(super) const PAGE: &str = "/docs";
/// What a browser may do on it: draw it and talk to this server. Its script can't make markup or code out of text
/// either; a form that is sent without it would put a password into the address, so none is.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// A page that has opened this one can not reach into it.
const OPENER_POLICY: (HeaderName, &str) = (
    HeaderName::from_static("cross-origin-opener-policy"),
    "same-origin",
);
/// It may be kept, but not shown without asking: a page and a script of two versions do not fit together.
const ASK_FIRST: &str = "public, no-cache";

/// Whether the page is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DocsPage {
    /// It is.
    #[default]
    Served,
    /// There is nothing at its path.
    Absent,
}

/// A file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

static HTML: File = File {
    path: PAGE,
    content_type: "text/html; charset=utf-8",
    content: include_str!("../../assets/docs/page.html"),
};

/// What the page loads, by addresses below its own.
static PARTS: [File; 3] = [
    File {
        path: "/docs/page.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("../../assets/docs/page.js"),
    },
    File {
        path: "/docs/page.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../../assets/docs/page.css"),
    },
    File {
        path: "/docs/icon.svg",
        content_type: "image/svg+xml",
        content: include_str!("../../assets/docs/icon.svg"),
    },
];

/// The page's routes.
pub(super) fn routes(service: &mut ServiceConfig) {
    service
        .service(get(PAGE, page))
        .service(get("/docs/", without_slash));
    for part in &PARTS {
        service.service(get(part.path, move |request: HttpRequest| async move {
            part.answer(&request)
        }));
    }
}

/// Whether a path is one of the page's.
pub(super) fn is_ours(path: &str) -> bool {
    path == PAGE || path == "/docs/" || PARTS.iter().any(|part| part.path == path)
}

/// A page to read this document on, and to try it.
///
/// It comes with a content security policy of its own, and loads nothing from another host. The setting `DOCS_PAGE`
/// switches it off.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "docs",
    tag = "operations",
    params((
        "If-None-Match" = Option<String>,
        Header,
        description = "The `ETag` of the version that the caller has."
    )),
    responses(
        (
            status = 200,
            description = "The page.",
            body = String,
            content_type = "text/html",
            headers(
                ("ETag" = String, description = "The version of the page."),
                ("Content-Security-Policy" = String, description = "What a browser may do on it.")
            )
        ),
        (
            status = 304,
            description = "The caller has this version.",
            headers(
                ("ETag" = String, description = "The version of the page."),
                ("Content-Security-Policy" = String, description = "What a browser may do on it.")
            )
        ),
        (status = 404, description = "The page is switched off.", body = super::wire::ErrorResponse)
    )
)]
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    HTML.answer(&request)
}

/// The addresses on the page hold for its own path, not for one with a slash at its end.
async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "../docs"))
        .finish()
}

impl File {
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let tag = self.tag();
        let (status, body) = if has_it(request.headers(), &tag) {
            (StatusCode::NOT_MODIFIED, "")
        } else {
            (StatusCode::OK, self.content)
        };
        HttpResponse::build(status)
            .insert_header((CONTENT_TYPE, self.content_type))
            .insert_header((CACHE_CONTROL, ASK_FIRST))
            .insert_header((ETAG, tag))
            // With a 304 too: a browser takes its headers for those of what it has.
            .insert_header((CONTENT_SECURITY_POLICY, POLICY))
            .insert_header(OPENER_POLICY)
            .body(body)
    }

    /// Tells versions apart, no more.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.content.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}
