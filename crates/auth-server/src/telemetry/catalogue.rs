//! The one table of metrics: their names, types, labels with every value these can have, and what they mean. What is
//! exported is made from it, and `docs/METRICS.md` is held to it by a test.

use auth_domain::client::{GrantType, WireProfile};
use auth_domain::revocation::Revoked;
use auth_domain::token_service::RotationResult;
use auth_storage::Pool;

use crate::http::route;

use Begins::{AtOnce, ByHand, Later, Partly};
use Kind::{Counter, Gauge, Histogram};
use Values::{Any, Of};

/// What is known about a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [(&'static str, Values)],
    /// When its series are there.
    pub begins: Begins,
    /// What it means.
    pub about: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names that Prometheus has for them")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// The values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// These, and no other.
    Of(&'static [&'static str]),
    /// A text of the server's own: one for each process.
    Any,
}

impl Values {
    /// All that are known beforehand.
    pub const fn known(self) -> &'static [&'static str] {
        match self {
            Of(values) => values,
            Any => &[],
        }
    }
}

/// When the series of a metric are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// From the beginning, all of them, at 0: a rate needs two points.
    AtOnce,
    /// Some of them from the beginning.
    Partly,
    /// When there is something to tell.
    Later,
    /// Whenever the metrics are read: the recorder does not keep it.
    ByHand,
}

/// A failed sign-in whose reason is nobody's business who reads metrics.
pub(super) const INVALID_CREDENTIALS: &str = "invalid_credentials";
/// A sign-in that was not looked at, since too many had failed.
pub(super) const LOCKED_OUT: &str = "locked";
/// A request that no grant could be read of.
pub(super) const UNKNOWN_GRANT: &str = "unknown";
/// What a revocation is counted as where grants are.
pub(super) const A_REVOCATION: &str = "revocation";

/// The grants, as [`TOKEN_REQUESTS`] counts them from the beginning.
pub(super) const GRANTS: [&str; 2] = [GrantType::Password.as_str(), GrantType::RefreshToken.as_str()];
/// How such a request ends as a rule.
pub(super) const USUAL_STATUSES: [&str; 5] = ["200", "400", "401", "429", "503"];

const GRANT_TYPES: Values = Of(&[
    GrantType::Password.as_str(),
    GrantType::RefreshToken.as_str(),
    UNKNOWN_GRANT,
]);
const LIMITED: Values = Of(&[
    GrantType::Password.as_str(),
    GrantType::RefreshToken.as_str(),
    A_REVOCATION,
    UNKNOWN_GRANT,
]);
const TOKEN_STATUSES: Values = Of(&[
    "200",
    "400",
    "401",
    "403",
    "415",
    "429",
    "431",
    "500",
    "503",
    OTHER_STATUS,
]);
const HTTP_STATUSES: Values = Of(&[
    "200",
    "204",
    "304",
    "308",
    "400",
    "401",
    "403",
    "404",
    "405",
    "415",
    "429",
    "431",
    "500",
    "503",
    OTHER_STATUS,
]);
/// Every route but the token endpoint, which is timed by itself.
const TIMED_ROUTES: &[&str] = match route::NAMES {
    [_token, others @ ..] => others,
    [] => &[],
};
const ROTATION_RESULTS: Values = Of(&[
    RotationResult::Rotated.as_str(),
    RotationResult::Repeated.as_str(),
    RotationResult::Reuse.as_str(),
    RotationResult::Refused.as_str(),
]);
const PROFILES: Values = Of(&[WireProfile::Rfc.as_str(), WireProfile::CodelabFlutter.as_str()]);
const REVOCATION_RESULTS: Values = Of(&[
    Revoked::Chain.as_str(),
    Revoked::EndedBefore.as_str(),
    Revoked::AccessToken.as_str(),
    Revoked::Expired.as_str(),
    Revoked::Unknown.as_str(),
    "refused",
    "unavailable",
]);
const POOLS: Values = Of(&[
    Pool::LookUps.as_str(),
    Pool::Reads.as_str(),
    Pool::Writes.as_str(),
    Pool::Rotations.as_str(),
    Pool::Patient.as_str(),
    Pool::Replica.as_str(),
]);
const GROUPING_POOLS: Values = Of(&[Pool::Writes.as_str(), Pool::Rotations.as_str()]);

/// A status that this server does not answer by.
const OTHER_STATUS: &str = "other";

macro_rules! metrics {
    ($($key:ident $name:literal $kind:ident $labels:expr, $begins:ident; $about:literal)+) => {
        $(#[doc = $about] pub(super) const $key: &str = $name;)+

        /// Every metric, in the order of the reference.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind,
            labels: &$labels,
            begins: $begins,
            about: $about,
        }),+];
    };
}

metrics! {
    TOKEN_REQUESTS "auth_token_requests_total" Counter [("grant_type", GRANT_TYPES), ("status", TOKEN_STATUSES)], Partly;
        "Token requests, by grant and HTTP status."
    DURATION "auth_token_request_duration_seconds" Histogram [("grant_type", GRANT_TYPES)], Later;
        "Seconds from reading a token request to its rendered answer."
    FAILED_LOGINS "auth_failed_login_attempts_total" Counter [("reason", Of(&[INVALID_CREDENTIALS, LOCKED_OUT]))], AtOnce;
        "Password grants that failed, by reason."
    PAST_THE_FLOOR "auth_failed_logins_past_floor_total" Counter [], AtOnce;
        "Failed sign-ins that took longer than FAILED_LOGIN_FLOOR: their time may tell what was looked at."
    ROTATIONS "auth_refresh_token_rotations_total" Counter [("result", ROTATION_RESULTS)], AtOnce;
        "Refresh tokens presented, by what became of them."
    REUSES "auth_refresh_token_reuse_total" Counter [], AtOnce;
        "Consumed refresh tokens that were presented again; chains were ended."
    LOCKED "auth_locked_total" Counter [], AtOnce;
        "Password grants refused because too many had failed."
    RATE_LIMITED "auth_rate_limited_total" Counter [("grant_type", LIMITED)], AtOnce;
        "Requests refused by a rate limit, by grant; a revocation is none."
    PROFILE_USES "auth_wire_profile_uses_total" Counter [("profile", PROFILES)], AtOnce;
        "Token requests of known clients, by wire profile."
    REVOCATIONS "auth_revocations_total" Counter [("result", REVOCATION_RESULTS)], AtOnce;
        "Requests to revoke a token, by what became of them."
    INTROSPECTIONS "auth_introspections_total" Counter [("result", Of(&["active", "inactive", "refused", "unavailable"]))], AtOnce;
        "Requests to introspect a token, by what was told."

    HTTP_REQUESTS "auth_http_requests_total" Counter [("route", Of(route::NAMES)), ("method", Of(route::METHODS)), ("status", HTTP_STATUSES)], Later;
        "Requests answered, by route, method and HTTP status."
    HTTP_DURATION "auth_http_request_duration_seconds" Histogram [("route", Of(TIMED_ROUTES))], Later;
        "Seconds from the head of a request to its rendered answer; token requests have a histogram of their own."
    REQUESTS_LATE "auth_http_requests_late_total" Counter [], AtOnce;
        "Requests that got no answer within REQUEST_TIMEOUT."
    TURNED_AWAY "auth_http_requests_turned_away_total" Counter [], AtOnce;
        "Requests about tokens that were told to come again before they were begun, since their worker had MAX_REQUESTS_IN_HAND."
    IN_HAND "auth_http_requests_in_hand" Gauge [], Later;
        "Requests about tokens that were being worked on when the metrics were read."
    IN_HAND_MAX "auth_http_requests_in_hand_max" Gauge [], Later;
        "As many as all workers take at a time; absent where MAX_REQUESTS_IN_HAND is 0."
    PANICS "auth_http_panics_total" Counter [], AtOnce;
        "Panics caught on their way out of a handler."
    CONNECTIONS "auth_http_connections" Gauge [], AtOnce;
        "Connections open on the main listener."
    CONNECTIONS_MAX "auth_http_connections_max" Gauge [], Later;
        "As many as it lets in."
    CONNECTIONS_REFUSED "auth_http_connections_refused_total" Counter [("reason", Of(&["full", "address", "handshake"]))], AtOnce;
        "Connections that were not let in: all are taken, the address has its share, TLS was not agreed on."
    CONNECTIONS_CUT "auth_http_connections_cut_total" Counter [("reason", Of(&["late_head", "untaken_answer", "idle"]))], AtOnce;
        "Connections that were ended because of their client, by what it did or did not do."
    CERTIFICATE_EXPIRES_AT "auth_tls_certificate_expiry_timestamp_seconds" Gauge [], Later;
        "When the certificate that is shown ends, in seconds since 1970; absent where plain HTTP is served."
    STOPPING "auth_stopping" Gauge [], AtOnce;
        "1 from the signal to stop until the process ends."

    HASHING_JOBS "auth_password_hashing_jobs_total" Counter [("result", Of(&["computed", "dropped", "late", "refused"]))], Later;
        "Passwords to be hashed: computed, dropped since nobody waited any more, late, refused at once."
    HASHING_PENDING "auth_password_hashing_pending" Gauge [], Later;
        "Passwords waiting to be hashed or being hashed."
    HASHING_PENDING_MAX "auth_password_hashing_pending_max" Gauge [], Later;
        "As many as there can be."
    SATURATED "auth_password_hashing_saturated_total" Counter [], AtOnce;
        "Password grants refused because too many were waiting."

    DATABASE_UP "auth_database_up" Gauge [], Later;
        "Whether the database answered when the metrics were read: 1 or 0."
    REPLICA_UP "auth_database_replica_up" Gauge [], Later;
        "Whether the replica answered when the metrics were read: 1 or 0; absent without one."
    POOL_CONNECTIONS "auth_database_pool_connections" Gauge [("pool", POOLS), ("state", Of(&["busy", "idle"]))], Later;
        "Connections to the database that are open, by what they do."
    POOL_MAX "auth_database_pool_connections_max" Gauge [("pool", POOLS)], Later;
        "How many connections can be busy at a time."
    POOL_WAITING "auth_database_pool_waiting" Gauge [("pool", POOLS)], Later;
        "Queries and transactions that wait for their turn."
    POOL_TIMEOUTS "auth_database_pool_timeouts_total" Counter [("pool", POOLS)], Later;
        "Queries and transactions given up because they had waited for too long, for their turn or for a connection."
    POOL_REFUSED "auth_database_pool_refused_total" Counter [("pool", POOLS)], Later;
        "Queries and transactions refused at once because too many were waiting."
    COMMITS "auth_database_commits_total" Counter [("pool", GROUPING_POOLS)], Later;
        "Groups of writes that were committed."
    COMMITTED_WRITES "auth_database_committed_writes_total" Counter [("pool", GROUPING_POOLS)], Later;
        "Writes in the groups that were committed."

    REDIS_UP "auth_redis_up" Gauge [], Later;
        "Whether Redis is there: 1 or 0; absent where none is configured."
    REDIS_INSTANCES "auth_redis_instances" Gauge [], Later;
        "How many instances share their counters through Redis, as of when it was last there."
    REDIS_FALLBACKS "auth_redis_fallbacks_total" Counter [], Later;
        "Requests judged by the counters in the process, since Redis was away."
    CACHE_LOOKUPS "auth_client_cache_lookups_total" Counter [("result", Of(&["hit", "miss", "unknown"]))], Later;
        "Clients looked for: found in the cache, found in the database, known to neither; absent without a cache."
    CACHE_INVALIDATIONS "auth_client_cache_invalidations_total" Counter [("reason", Of(&["client", "any_client", "subscribed"]))], Later;
        "Times that clients were forgotten: one that was changed, all at a change of any, all at a new subscription."
    CACHE_SUBSCRIBED "auth_client_cache_subscribed" Gauge [], Later;
        "Whether changes of clients are heard of through Redis: 1 or 0; absent without a cache or a Redis."

    KEYS "auth_signing_keys" Gauge [("state", Of(&["published", "active", "retiring"]))], Later;
        "Keys in the key set, by state."
    KEY_AGE "auth_signing_key_age_seconds" Gauge [], Later;
        "How long the active key has been signing; absent for a given key pair."
    KEY_END "auth_signing_key_end_timestamp_seconds" Gauge [], Later;
        "When the active key hands over to the next, in seconds since 1970; absent where keys are not rotated by themselves."
    KEY_DIRECTORY_UP "auth_signing_key_directory_up" Gauge [], Later;
        "Whether the folder of keys could be followed when it was last looked at: 1 or 0; absent for a given key pair."

    HOUSEKEEPING_DELETED "auth_housekeeping_deleted_total" Counter [("what", Of(&["ended_denials", "audit_rows", "refresh_tokens", "sessions"]))], Later;
        "Rows deleted because they need not be kept any more, by kind."
    HOUSEKEEPING_ACTIVE "auth_housekeeping_active" Gauge [], Later;
        "Whether this instance is the one that does the housekeeping now: 1 or 0."
    HOUSEKEEPING_OVERDUE "auth_housekeeping_overdue" Gauge [], AtOnce;
        "Whether this instance has missed several rounds in a row because something failed: 1 or 0."
    HOUSEKEEPING_FINISHED_AT "auth_housekeeping_finished_timestamp_seconds" Gauge [], Later;
        "When this instance last did all of the housekeeping, in seconds since 1970; absent until it has."
    HOUSEKEEPING_TOOK "auth_housekeeping_duration_seconds" Gauge [], Later;
        "How many seconds that took."

    BUILD "auth_build_info" Gauge [("version", Any)], Later;
        "Always 1; its label says which program this is."
    LOG_LINES_DROPPED "auth_log_lines_dropped_total" Counter [], AtOnce;
        "Log lines dropped because their writer was behind."
    SPANS_EXPORTED "auth_trace_spans_exported_total" Counter [], Later;
        "Spans that the collector has taken; absent where no traces are sent."
    SPANS_DROPPED "auth_trace_spans_dropped_total" Counter [("reason", Of(&["queue_full", "not_taken"]))], Later;
        "Spans lost because too many were waiting, or because the collector did not take them; absent where no traces are sent."
    CPU_SECONDS "process_cpu_seconds_total" Counter [], ByHand;
        "CPU time of the process in seconds, user and system."
    RESIDENT_MEMORY "process_resident_memory_bytes" Gauge [], ByHand;
        "Memory that is resident."
    VIRTUAL_MEMORY "process_virtual_memory_bytes" Gauge [], ByHand;
        "Address space in use."
    OPEN_FDS "process_open_fds" Gauge [], ByHand;
        "File descriptors that are open."
    MAX_FDS "process_max_fds" Gauge [], ByHand;
        "As many as may be open."
    THREADS "process_threads" Gauge [], ByHand;
        "Threads of the process."
    START_TIME "process_start_time_seconds" Gauge [], ByHand;
        "When the process started, in seconds since 1970."
}

/// The metric of a name.
pub(super) fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

/// A status as a label.
pub(super) const fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        204 => "204",
        304 => "304",
        308 => "308",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        415 => "415",
        429 => "429",
        431 => "431",
        500 => "500",
        503 => "503",
        _ => OTHER_STATUS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CacheLookup, Cut, Invalidation, TurnedAway};

    #[test]
    fn every_status_of_a_label_is_the_label_of_that_status() {
        for values in [HTTP_STATUSES, TOKEN_STATUSES] {
            for label in values.known() {
                assert_eq!(status_label(label.parse().unwrap_or(0)), *label);
            }
        }
    }

    #[test]
    fn what_this_crate_counts_by_is_in_the_table() {
        let known = |name: &str, label: usize| find(name).unwrap().labels[label].1.known();
        assert_eq!(
            known(CONNECTIONS_REFUSED, 0),
            TurnedAway::ALL.map(TurnedAway::as_str)
        );
        assert_eq!(known(CONNECTIONS_CUT, 0), Cut::ALL.map(Cut::as_str));
        assert_eq!(known(CACHE_LOOKUPS, 0), CacheLookup::ALL.map(CacheLookup::as_str));
        assert_eq!(
            known(CACHE_INVALIDATIONS, 0),
            Invalidation::ALL.map(Invalidation::as_str)
        );
        assert_eq!(known(ROTATIONS, 0).len(), RotationResult::ALL.len());
        assert_eq!(known(PROFILE_USES, 0).len(), WireProfile::ALL.len());
        assert_eq!(known(TOKEN_REQUESTS, 0).len(), GrantType::ALL.len() + 1);
        assert_eq!(known(RATE_LIMITED, 0).len(), GrantType::ALL.len() + 2);
        assert_eq!(known(REVOCATIONS, 0).len(), Revoked::ALL.len() + 2);
    }
}
