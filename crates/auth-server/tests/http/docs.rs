//! The page at `/docs`: what is served, under which policy, and what it never refers to.

use actix_web::http::Method;
use actix_web::http::header::IF_NONE_MATCH;
use actix_web::test::TestRequest;
use auth_server::http::client_address::Trust;
use auth_server::http::docs::DocsPage;

use crate::rig::{Reply, Rig};

const PAGE: &str = "/docs";
const FILES: [(&str, &str, &str); 4] = [
    (
        PAGE,
        "text/html; charset=utf-8",
        include_str!("../../assets/docs/page.html"),
    ),
    (
        "/docs/page.js",
        "text/javascript; charset=utf-8",
        include_str!("../../assets/docs/page.js"),
    ),
    (
        "/docs/page.css",
        "text/css; charset=utf-8",
        include_str!("../../assets/docs/page.css"),
    ),
    (
        "/docs/icon.svg",
        "image/svg+xml",
        include_str!("../../assets/docs/icon.svg"),
    ),
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

#[actix_web::test]
async fn each_file_is_served_as_what_it_is_and_under_the_policy_of_the_page() {
    let rig = Rig::under("/auth");
    for (path, content_type, content) in FILES {
        for path in [path.to_owned(), format!("/auth{path}")] {
            let reply = rig.get(&path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.header("content-type"), Some(content_type), "{path}");
            assert_eq!(reply.header("content-security-policy"), Some(POLICY), "{path}");
            assert_eq!(
                reply.header("cross-origin-opener-policy"),
                Some("same-origin"),
                "{path}"
            );
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{path}");
            assert_eq!(reply.header("cache-control"), Some("public, no-cache"), "{path}");
            assert!(reply.body == content, "{path}");
        }
    }
}

#[actix_web::test]
async fn no_other_answer_has_the_policy_of_the_page() {
    let rig = Rig::default();
    for path in ["/health", "/openapi.json", "/nothing", "/docs/nothing"] {
        assert_eq!(
            rig.get(path).await.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'"),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn whoever_has_a_file_is_told_so_under_the_same_policy() {
    let rig = Rig::default();
    for (path, _, _) in FILES {
        let tag = rig.get(path).await.header("etag").unwrap().to_owned();
        let asked = |tag: &str| TestRequest::get().uri(path).insert_header((IF_NONE_MATCH, tag));
        let reply = rig.send(asked(&tag)).await;
        assert_eq!((reply.status.as_u16(), reply.body.as_str()), (304, ""), "{path}");
        assert_eq!(reply.header("etag"), Some(tag.as_str()), "{path}");
        assert_eq!(reply.header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(reply.header("cache-control"), Some("public, no-cache"), "{path}");
        assert_eq!(rig.send(asked("\"older\"")).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn no_two_files_have_the_same_tag() {
    let rig = Rig::default();
    let mut tags = Vec::new();
    for (path, _, _) in FILES {
        tags.push(rig.get(path).await.header("etag").unwrap().to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), FILES.len());
}

#[actix_web::test]
async fn head_is_answered_and_nothing_else_but_get() {
    let rig = Rig::default();
    for (path, _, _) in FILES {
        let by = |method| TestRequest::default().method(method).uri(path);
        assert_eq!(rig.send(by(Method::HEAD)).await.status, 200, "{path}");
        let posted = rig.send(by(Method::POST)).await;
        assert_eq!(
            (posted.status.as_u16(), posted.header("allow")),
            (405, Some("GET, HEAD")),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn over_https_the_page_promises_https() {
    let proxies = vec!["192.0.2.1/32".parse().unwrap()];
    let rig = Rig::default().set(|settings| {
        settings.trust = Trust {
            proxies,
            ..Trust::default()
        };
    });
    let over_https = TestRequest::get()
        .uri(PAGE)
        .insert_header(("X-Forwarded-For", "198.51.100.7"))
        .insert_header(("X-Forwarded-Proto", "https"));
    let reply = rig.send(over_https).await;
    assert_eq!(
        reply.header("strict-transport-security"),
        Some("max-age=63072000")
    );
}

#[actix_web::test]
async fn a_slash_too_many_leads_to_the_page_wherever_a_proxy_has_put_it() {
    let rig = Rig::under("/auth");
    for path in ["/docs/", "/auth/docs/"] {
        let reply = rig.get(path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (308, Some("../docs")),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn a_page_that_is_switched_off_leaves_nothing_behind_but_the_document() {
    let rig = Rig::under("/auth").set(|settings| settings.docs_page = DocsPage::Absent);
    for prefix in ["", "/auth"] {
        for path in FILES.map(|(path, _, _)| path).into_iter().chain(["/docs/"]) {
            let reply: Reply = rig.get(&format!("{prefix}{path}")).await;
            assert_eq!(reply.status, 404, "{prefix}{path}");
        }
        assert_eq!(rig.get(&format!("{prefix}/openapi.json")).await.status, 200);
    }
}

#[test]
fn the_files_name_no_other_host_and_no_path_from_the_root() {
    for (path, _, content) in FILES {
        let content = content.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for other in [
            "http://", "https://", "\"//", "'//", "href=\"/", "src=\"/", "@import",
        ] {
            assert!(!content.contains(other), "{path}: {other}");
        }
    }
}

#[test]
fn the_page_has_neither_script_nor_style_in_its_markup_and_its_script_makes_no_markup() {
    let [(_, _, html), (_, _, script), ..] = FILES;
    assert_eq!(html.matches("<script").count(), 1);
    for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "localStorage",
        "sessionStorage",
        "document.cookie",
    ] {
        assert!(!script.contains(sink), "{sink}");
    }
}
