//! The names of the metrics, and the recorder that keeps them. Every label has a bounded set of values.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{CacheLookup, Cut, Invalidation, TelemetryError, TurnedAway};

pub(super) const REQUESTS: &str = "auth_token_requests_total";
pub(super) const DURATION: &str = "auth_token_request_duration_seconds";
pub(super) const FAILED_LOGINS: &str = "auth_failed_login_attempts_total";
pub(super) const ROTATIONS: &str = "auth_refresh_token_rotations_total";
pub(super) const REUSES: &str = "auth_refresh_token_reuse_total";
pub(super) const REVOCATIONS: &str = "auth_revocations_total";
pub(super) const INTROSPECTIONS: &str = "auth_introspections_total";
pub(super) const PROFILE_USES: &str = "auth_wire_profile_uses_total";
pub(super) const RATE_LIMITED: &str = "auth_rate_limited_total";
pub(super) const LOCKED: &str = "auth_locked_total";
pub(super) const SATURATED: &str = "auth_password_hashing_saturated_total";
pub(super) const REDIS_UP: &str = "auth_redis_up";
pub(super) const REDIS_INSTANCES: &str = "auth_redis_instances";
pub(super) const REDIS_FALLBACKS: &str = "auth_redis_fallbacks_total";
pub(super) const CACHE_LOOKUPS: &str = "auth_client_cache_lookups_total";
pub(super) const CACHE_INVALIDATIONS: &str = "auth_client_cache_invalidations_total";
pub(super) const CACHE_SUBSCRIBED: &str = "auth_client_cache_subscribed";
pub(super) const HASHING_JOBS: &str = "auth_password_hashing_jobs_total";
pub(super) const HASHING_PENDING: &str = "auth_password_hashing_pending";
pub(super) const PAST_THE_FLOOR: &str = "auth_failed_logins_past_floor_total";
pub(super) const PANICS: &str = "auth_http_panics_total";
pub(super) const HOUSEKEEPING_DELETED: &str = "auth_housekeeping_deleted_total";
pub(super) const HOUSEKEEPING_ACTIVE: &str = "auth_housekeeping_active";
pub(super) const HOUSEKEEPING_FINISHED_AT: &str = "auth_housekeeping_finished_timestamp_seconds";
pub(super) const HOUSEKEEPING_TOOK: &str = "auth_housekeeping_duration_seconds";
pub(super) const LOG_LINES_DROPPED: &str = "auth_log_lines_dropped_total";
pub(super) const CONNECTIONS_REFUSED: &str = "auth_http_connections_refused_total";
pub(super) const CONNECTIONS_CUT: &str = "auth_http_connections_cut_total";
pub(super) const REQUESTS_LATE: &str = "auth_http_requests_late_total";
pub(super) const CERTIFICATE_EXPIRES_AT: &str = "auth_tls_certificate_expiry_timestamp_seconds";
const BUILD: &str = "auth_build_info";

/// Seconds. 0.2 is what operators are promised for 95 of 100 requests.
const BUCKETS: [f64; 12] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0,
];

/// A recorder with our buckets.
pub(super) fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    // The only error is an empty list of buckets.
    let builder = builder
        .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BUCKETS)
        .unwrap_or_else(|_| PrometheusBuilder::new());
    let recorder = builder.build_recorder();
    metrics::with_local_recorder(&recorder, describe);
    recorder
}

/// The recorder of the process.
pub(super) fn global() -> Result<PrometheusHandle, TelemetryError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::RecorderTaken)?;
    *installed = Some(handle.clone());
    Ok(handle)
}

fn describe() {
    metrics::describe_counter!(REQUESTS, "Token requests, by grant and HTTP status.");
    metrics::describe_histogram!(
        DURATION,
        "Seconds from reading a token request to its rendered answer."
    );
    metrics::describe_counter!(FAILED_LOGINS, "Password grants that failed, by reason.");
    metrics::describe_counter!(ROTATIONS, "Refresh tokens presented, by what became of them.");
    metrics::describe_counter!(
        REUSES,
        "Consumed refresh tokens that were presented again; chains were ended."
    );
    metrics::describe_counter!(REVOCATIONS, "Requests to revoke a token, by what became of them.");
    metrics::describe_counter!(
        INTROSPECTIONS,
        "Requests to introspect a token, by what was told."
    );
    metrics::describe_counter!(PROFILE_USES, "Token requests of known clients, by wire profile.");
    metrics::describe_counter!(
        RATE_LIMITED,
        "Requests refused by a rate limit, by grant; a revocation is none."
    );
    metrics::describe_counter!(LOCKED, "Password grants refused because too many had failed.");
    metrics::describe_counter!(
        SATURATED,
        "Password grants refused because too many were waiting."
    );
    metrics::describe_gauge!(
        REDIS_UP,
        "Whether Redis is there: 1 or 0; absent where none is configured."
    );
    metrics::describe_gauge!(
        REDIS_INSTANCES,
        "How many instances share their counters through Redis, as of when it was last there."
    );
    metrics::describe_counter!(
        REDIS_FALLBACKS,
        "Requests judged by the counters in the process, since Redis was away."
    );
    metrics::describe_counter!(
        CACHE_LOOKUPS,
        "Clients looked for: found in the cache, found in the database, known to neither; absent without a cache."
    );
    metrics::describe_counter!(
        CACHE_INVALIDATIONS,
        "Times that clients were forgotten: one that was changed, all at a change of any, all at a new subscription."
    );
    metrics::describe_gauge!(
        CACHE_SUBSCRIBED,
        "Whether changes of clients are heard of through Redis: 1 or 0; absent without a cache or a Redis."
    );
    metrics::describe_counter!(
        HASHING_JOBS,
        "Passwords to be hashed: computed, dropped since nobody waited any more, late, refused at once."
    );
    metrics::describe_gauge!(HASHING_PENDING, "Passwords waiting to be hashed or being hashed.");
    metrics::describe_counter!(
        PAST_THE_FLOOR,
        "Failed sign-ins that took longer than FAILED_LOGIN_FLOOR: their time may tell what was looked at."
    );
    metrics::describe_counter!(PANICS, "Panics caught on their way out of a handler.");
    describe_housekeeping();
    metrics::describe_counter!(
        LOG_LINES_DROPPED,
        "Log lines dropped because their writer was behind."
    );
    metrics::describe_counter!(
        CONNECTIONS_REFUSED,
        "Connections that were not let in: all are taken, the address has its share, TLS was not agreed on."
    );
    metrics::describe_counter!(
        CONNECTIONS_CUT,
        "Connections that were ended because of their client, by what it did or did not do."
    );
    metrics::describe_counter!(
        REQUESTS_LATE,
        "Requests that got no answer within REQUEST_TIMEOUT."
    );
    metrics::describe_gauge!(
        CERTIFICATE_EXPIRES_AT,
        "When the certificate that is shown ends, in seconds since 1970; absent where plain HTTP is served."
    );
    metrics::describe_gauge!(BUILD, "Always 1; its label says which program this is.");
    // What alerts watch must be there before it first happens: a rate needs two points.
    for name in [
        REUSES,
        LOCKED,
        SATURATED,
        PAST_THE_FLOOR,
        PANICS,
        REQUESTS_LATE,
        LOG_LINES_DROPPED,
    ] {
        metrics::counter!(name).absolute(0);
    }
    for why in TurnedAway::ALL {
        metrics::counter!(CONNECTIONS_REFUSED, "reason" => why.as_str()).absolute(0);
    }
    for why in Cut::ALL {
        metrics::counter!(CONNECTIONS_CUT, "reason" => why.as_str()).absolute(0);
    }
    metrics::gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn describe_housekeeping() {
    metrics::describe_counter!(
        HOUSEKEEPING_DELETED,
        "Rows deleted because they need not be kept any more, by kind."
    );
    metrics::describe_gauge!(
        HOUSEKEEPING_ACTIVE,
        "Whether this instance is the one that does the housekeeping now: 1 or 0."
    );
    metrics::describe_gauge!(
        HOUSEKEEPING_FINISHED_AT,
        "When this instance last did all of the housekeeping, in seconds since 1970; absent until it has."
    );
    metrics::describe_gauge!(HOUSEKEEPING_TOOK, "How many seconds that took.");
}

/// Makes the cache's counters before they first count: a rate needs two points.
pub(super) fn begin_cache() {
    for lookup in CacheLookup::ALL {
        metrics::counter!(CACHE_LOOKUPS, "result" => lookup.as_str()).increment(0);
    }
    for why in Invalidation::ALL {
        metrics::counter!(CACHE_INVALIDATIONS, "reason" => why.as_str()).increment(0);
    }
}

/// The statuses this server answers by, as labels.
pub(super) const fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        400 => "400",
        401 => "401",
        415 => "415",
        429 => "429",
        503 => "503",
        _ => "other",
    }
}
