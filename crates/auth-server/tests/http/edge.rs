//! What every response has: a correlation id, the security headers, and an answer even where a handler panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::Method;
use actix_web::test::TestRequest;
use async_trait::async_trait;
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use auth_testkit::{TestBed, build};
use uuid::{Uuid, Version};

use crate::rig::{PUBLIC, Reply, Rig, form_request, login};

fn correlation_id(reply: &Reply) -> &str {
    reply.header("x-correlation-id").unwrap()
}

async fn ask_with_id(id: &str) -> String {
    let request = TestRequest::get()
        .uri("/health")
        .insert_header(("X-Correlation-ID", id));
    correlation_id(&Rig::default().send(request).await).to_owned()
}

#[actix_web::test]
async fn a_sane_correlation_id_comes_back() {
    let longest = "x".repeat(128);
    for id in ["a", "req-1.2:3_4", &longest] {
        assert_eq!(ask_with_id(id).await, id);
    }
}

#[actix_web::test]
async fn any_other_is_replaced_by_a_new_uuid() {
    let too_long = "x".repeat(129);
    for id in ["", "a b", "a\tb", "<script>", "a\"b", "{}", &too_long] {
        let new = ask_with_id(id).await;
        let version = Uuid::parse_str(&new).unwrap().get_version();
        assert_eq!(version, Some(Version::Random), "{id}");
    }
}

#[actix_web::test]
async fn each_request_without_one_gets_its_own() {
    let rig = Rig::default();
    let first = rig.send(TestRequest::get().uri("/health")).await;
    let second = rig.send(TestRequest::get().uri("/health")).await;
    assert_ne!(correlation_id(&first), correlation_id(&second));
}

#[actix_web::test]
async fn every_response_has_the_security_headers_and_the_correlation_id() {
    let rig = Rig::default();
    let mut replies = vec![
        rig.get("/health").await,
        rig.get("/.well-known/jwks.json").await,
        rig.get("/nothing").await,
        rig.get("/oauth/token").await,
        rig.post("").await,
        rig.post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
            .await,
        panicking_rig().get("/health").await,
    ];
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200, 404, 405, 400, 200, 500]);
    for reply in &mut replies {
        reply.headers.retain(|(name, _)| {
            !matches!(
                name.as_str(),
                "allow"
                    | "cache-control"
                    | "content-type"
                    | "etag"
                    | "pragma"
                    | "ratelimit"
                    | "ratelimit-policy"
            )
        });
    }
    let first = replies.first().unwrap().headers.clone();
    assert!(replies.iter().all(|reply| reply.headers == first), "{replies:#?}");
    insta::assert_debug_snapshot!(first);
}

#[actix_web::test]
async fn nothing_is_kept_by_anyone_unless_a_handler_says_so() {
    let rig = Rig::default();
    for path in ["/health", "/ready", "/nothing", "/oauth/token", "/metrics"] {
        assert_eq!(
            rig.get(path).await.header("cache-control"),
            Some("no-store"),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn an_unknown_path_and_an_unknown_method_are_told_in_json() {
    let rig = Rig::default();
    let by = |method: Method, path: &str| rig.send(TestRequest::default().method(method).uri(path));
    let replies = [
        by(Method::GET, "/nothing").await.text(),
        by(Method::GET, "/oauth/token").await.text(),
        by(Method::DELETE, "/oauth/token").await.text(),
        by(Method::OPTIONS, "/oauth/token").await.text(),
        by(Method::POST, "/.well-known/jwks.json").await.text(),
    ];
    insta::assert_snapshot!(replies.join("\n\n"));
}

/// A store whose first probe panics.
#[derive(Default)]
struct Panicking(AtomicBool);

#[async_trait]
impl StoreProbe for Panicking {
    async fn check(&self) -> Result<StoreReadiness, Unavailable> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a secret: hunter2");
        Ok(StoreReadiness::Ready)
    }
}

fn panicking_rig() -> Rig {
    let bed = TestBed::default();
    let signer = Arc::new(bed.signer.clone());
    Rig::with_ports(bed, Arc::new(Panicking::default()), signer)
}

#[actix_web::test]
async fn a_panic_is_answered_without_detail_and_counted_and_the_next_request_is_served() {
    let rig = panicking_rig();
    insta::assert_snapshot!(rig.get("/health").await.text());
    let metrics = rig.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.body.contains("auth_http_panics_total 1\n"),
        "{}",
        metrics.body
    );
    assert_eq!(rig.send(form_request("")).await.status, 400);
}
