//! The probes that operators and their machines ask.

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use auth_testkit::TestBed;

use crate::rig::Rig;

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
