//! The probes that operators and their machines ask.

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use auth_server::http::MetricsPage;
use auth_testkit::TestBed;

use crate::rig::{PUBLIC, Rig};

#[actix_web::test]
async fn a_server_with_its_database_is_healthy() {
    insta::assert_snapshot!(Rig::default().get("/health").await.text());
}

#[actix_web::test]
async fn a_server_without_its_database_is_unhealthy() {
    let rig = Rig::default();
    rig.bed.store.outage.begin();
    insta::assert_snapshot!(rig.get("/health").await.text());
}

#[actix_web::test]
async fn a_server_that_can_serve_is_ready() {
    insta::assert_snapshot!(Rig::default().get("/ready").await.text());
}

#[actix_web::test]
async fn a_server_that_can_not_serve_says_what_is_missing() {
    let behind = Rig::default();
    behind.bed.store.set_readiness(StoreReadiness::MigrationsPending);
    let without_all = Rig::default();
    without_all.bed.store.outage.begin();
    without_all.bed.signer.outage.begin();
    let replies = [
        behind.get("/ready").await.text(),
        without_all.get("/ready").await.text(),
    ];
    insta::assert_snapshot!(replies.join("\n\n"));
}

#[actix_web::test]
async fn pending_migrations_do_not_make_it_unhealthy() {
    let rig = Rig::default();
    rig.bed.store.set_readiness(StoreReadiness::MigrationsPending);
    assert_eq!(rig.get("/health").await.status, 200);
}

/// A store that never answers.
struct Silent;

#[async_trait]
impl StoreProbe for Silent {
    async fn check(&self) -> Result<StoreReadiness, Unavailable> {
        std::future::pending().await
    }
}

#[actix_web::test]
async fn a_database_that_never_answers_is_given_up_on() {
    tokio::time::pause();
    let bed = TestBed::default();
    let signer = Arc::new(bed.signer.clone());
    let rig = Rig::with_ports(bed, Arc::new(Silent), signer);
    assert_eq!(rig.get("/health").await.status, 503);
    assert_eq!(rig.get("/ready").await.status, 503);
}

#[actix_web::test]
async fn a_server_that_answers_is_alive_whatever_it_has_lost() {
    let rig = Rig::default();
    rig.bed.store.outage.begin();
    rig.bed.signer.outage.begin();
    insta::assert_snapshot!(rig.get("/live").await.text());
}

#[actix_web::test]
async fn a_server_that_is_about_to_stop_is_not_ready_and_serves_what_comes() {
    let rig = Rig::default();
    assert_eq!(rig.get("/live").await.header("connection"), None);
    rig.begin_stopping();
    // Whatever else is missing: nobody is asked any more.
    rig.bed.store.outage.begin();
    insta::assert_snapshot!(rig.get("/ready").await.text());
    rig.bed.store.outage.end();
    assert_eq!(rig.get("/health").await.status, 200);
    rig.sign_in(PUBLIC).await;
    let metrics = rig.get("/metrics").await.body;
    assert!(metrics.contains("auth_stopping 1\n"), "{metrics}");
}

#[actix_web::test]
async fn operators_have_what_they_ask_for_on_a_listener_of_their_own_and_nothing_else() {
    let rig = Rig::default();
    for path in ["/metrics", "/health", "/ready", "/live"] {
        let reply = rig.ask_as_operator(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
    for path in [
        "/oauth/token",
        "/.well-known/jwks.json",
        "/openapi.json",
        "/docs",
        "/",
    ] {
        assert_eq!(rig.ask_as_operator(path).await.status, 404, "{path}");
    }
}

#[actix_web::test]
async fn metrics_that_are_elsewhere_are_not_here() {
    let rig = Rig::default().set(|settings| settings.metrics_page = MetricsPage::Elsewhere);
    assert_eq!(rig.get("/metrics").await.status, 404);
    for path in ["/health", "/ready", "/live"] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
    assert_eq!(rig.ask_as_operator("/metrics").await.status, 200);
}

#[actix_web::test]
async fn metrics_tell_whether_the_database_answers() {
    let rig = Rig::default();
    assert!(rig.get("/metrics").await.body.contains("auth_database_up 1\n"));
    rig.bed.store.outage.begin();
    assert!(rig.get("/metrics").await.body.contains("auth_database_up 0\n"));
}
