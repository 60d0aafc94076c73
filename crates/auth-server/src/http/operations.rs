//! What operators and their machines ask: is it alive, can it serve, and how is it doing.

use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, ReqData};
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::incoming::Incoming;
use crate::clients::ClientNews;
use crate::telemetry;

/// How long the store may take to give a sign of life. Redis is not asked: a probe of its own watches it, and nobody
/// waits for that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the server is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
    version: &'static str,
    database: &'static str,
    redis: &'static str,
}

/// Whether requests can be served, and if not, what is missing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<&'static str>,
}

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Liveness {
    status: &'static str,
}

/// Tells whether the server is well.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "operations",
    responses(
        (status = 200, description = "It is, or it is degraded: Redis is away, and counters are kept in the process.", body = Health),
        (status = 503, description = "The database can not be reached.", body = Health)
    )
)]
pub(super) async fn health(incoming: ReqData<Rc<Incoming>>, state: Data<State>) -> HttpResponse {
    let database = probe(&*state.services.store, &incoming).await;
    // Known without asking: a probe beside the requests keeps watch.
    let services = &state.services;
    let news_are_heard = services.news.as_ref().is_none_or(ClientNews::is_heard);
    let redis = services
        .redis
        .as_ref()
        .map(|shared| shared.is_connected() && news_are_heard);
    let (code, status) = match (database, redis) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (Some(_), Some(false)) => (StatusCode::OK, "degraded"),
        (Some(_), Some(true) | None) => (StatusCode::OK, "healthy"),
    };
    HttpResponse::build(code).json(Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        database: connection(database.is_some()),
        redis: redis.map_or("disabled", connection),
    })
}

/// Tells whether requests can be served.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "ready",
    tag = "operations",
    responses(
        (status = 200, description = "They can.", body = Readiness),
        (status = 503, description = "Something is missing, or the server is about to stop.", body = Readiness)
    )
)]
pub(super) async fn ready(incoming: ReqData<Rc<Incoming>>, state: Data<State>) -> HttpResponse {
    if state.stopping.has_begun() {
        return readiness(vec!["stopping"]);
    }
    let mut missing = Vec::new();
    match probe(&*state.services.store, &incoming).await {
        Some(StoreReadiness::Ready) => {}
        Some(StoreReadiness::MigrationsPending) => missing.push("migrations"),
        None => missing.push("database"),
    }
    if let Err(outage) = state.services.signer.key_set() {
        telemetry::outage(&outage, &incoming);
        missing.push("signing_key");
    }
    readiness(missing)
}

fn readiness(missing: Vec<&'static str>) -> HttpResponse {
    let (code, status) = if missing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    HttpResponse::build(code).json(Readiness { status, missing })
}

/// Tells that the process answers.
///
/// Nothing else is looked at: a server that has lost its database is not mended by being started anew.
#[utoipa::path(
    get,
    path = "/live",
    operation_id = "live",
    tag = "operations",
    responses((status = 200, description = "It does.", body = Liveness))
)]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Liveness { status: "alive" })
}

/// All metrics, in the text format of Prometheus.
///
/// With the setting `METRICS_ADDR` they are on a listener of their own, and not here.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses((status = 200, description = "All metrics.", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(incoming: ReqData<Rc<Incoming>>, state: Data<State>) -> HttpResponse {
    let database = probe(&*state.services.store, &incoming);
    let (database, ()) = futures::join!(database, (state.services.gauges)());
    telemetry::database_up(database.is_some());
    telemetry::in_hand(state.in_hand.count());
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(state.telemetry.render())
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value))
)]
pub(super) async fn openapi(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(state.openapi.clone())
}

const fn connection(is_there: bool) -> &'static str {
    if is_there { "connected" } else { "disconnected" }
}

async fn probe(store: &dyn StoreProbe, incoming: &Incoming) -> Option<StoreReadiness> {
    let checked = tokio::time::timeout(PROBE_TIMEOUT, store.check())
        .await
        .unwrap_or_else(|late| Err(Unavailable::new("ask the store for a sign of life", late)));
    checked
        .inspect_err(|outage| telemetry::outage(outage, incoming))
        .ok()
}
