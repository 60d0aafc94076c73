//! Where requests come from, what they may weigh and how long they may take.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use actix_web::test::TestRequest;
use async_trait::async_trait;
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use auth_server::http::PlainHttp;
use auth_server::http::client_address::Trust;
use auth_server::http::cors::AllowedOrigins;
use auth_testkit::TestBed;

use crate::rig::Rig;

const HSTS: &str = "strict-transport-security";

/// The rig, with its own peer for a trusted proxy.
fn behind_a_proxy() -> Rig {
    Rig::default().set(|settings| {
        settings.trust = Trust {
            proxies: vec!["192.0.2.1/32".parse().unwrap()],
            ..Trust::default()
        }
    })
}

fn over(scheme: &'static str) -> TestRequest {
    TestRequest::get()
        .uri("/health")
        .insert_header(("X-Forwarded-For", "198.51.100.7"))
        .insert_header(("X-Forwarded-Proto", scheme))
}

#[actix_web::test]
async fn hsts_is_sent_wherever_a_trusted_proxy_says_https() {
    let rig = behind_a_proxy();
    let secure = rig.send(over("https")).await;
    assert_eq!(secure.header(HSTS), Some("max-age=63072000"));
    assert_eq!(rig.send(over("http")).await.header(HSTS), None);
}

#[actix_web::test]
async fn a_strangers_word_for_https_counts_for_nothing() {
    assert_eq!(Rig::default().send(over("https")).await.header(HSTS), None);
}

#[actix_web::test]
async fn secrets_are_refused_over_plain_http_where_they_are_not_to_be_taken() {
    let rig = behind_a_proxy().set(|settings| settings.plain_http = PlainHttp::Refused);
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        let over = |scheme: &'static str| {
            TestRequest::post()
                .uri(path)
                .insert_header(("X-Forwarded-For", "198.51.100.7"))
                .insert_header(("X-Forwarded-Proto", scheme))
                .set_form([("token", "a")])
        };
        let refused = rig.send(over("http")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.member("error").as_str()),
            (403, "invalid_request")
        );
        let direct = rig.send(TestRequest::post().uri(path)).await;
        assert_eq!(direct.status, 403, "{path}");
        assert_ne!(rig.send(over("https")).await.status, 403, "{path}");
    }
    assert_eq!(
        rig.send(over("http")).await.status,
        200,
        "what is public is served"
    );
}

#[actix_web::test]
async fn headers_longer_than_any_we_ask_for_are_refused_with_a_correlation_id() {
    let rig = Rig::default();
    let with = |length: usize| {
        TestRequest::get()
            .uri("/health")
            .insert_header(("X-Correlation-ID", "huge-1"))
            .insert_header(("X-Filler", "x".repeat(length)))
    };
    let refused = rig.send(with(32 * 1024)).await;
    assert_eq!(refused.status, 431);
    assert_eq!(refused.member("error"), "invalid_request");
    assert_eq!(refused.header("x-correlation-id"), Some("huge-1"));
    assert_eq!(rig.send(with(30 * 1024)).await.status, 200);
}

/// A store whose probe never ends.
struct Stuck;

#[async_trait]
impl StoreProbe for Stuck {
    async fn check(&self) -> Result<StoreReadiness, Unavailable> {
        pending().await
    }
}

#[actix_web::test]
async fn a_request_that_takes_too_long_is_told_to_come_again() {
    let bed = TestBed::default();
    let signer = Arc::new(bed.signer.clone());
    let rig = Rig::with_ports(bed, Arc::new(Stuck), signer).set(|settings| {
        settings.request_timeout = Duration::from_millis(20);
        settings.origins = AllowedOrigins::Any;
    });
    let late = rig.get("/health").await;
    assert_eq!(late.status, 503);
    assert_eq!(late.member("error"), "temporarily_unavailable");
    assert_eq!(late.header("retry-after"), Some("5"));
    assert_eq!(late.header("cache-control"), Some("no-store"));
    assert_eq!(late.header("x-correlation-id"), Some(crate::rig::CORRELATION));
}
