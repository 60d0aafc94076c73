//! Log lines and metrics, derived from what a request came to in one place. Never a secret in either: no token, no
//! password, no user name, no address of a mailbox.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auth_domain::client::GrantType;
use auth_domain::id::ClientId;
use auth_domain::introspection::Introspection;
use auth_domain::ports::Unavailable;
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::revocation::Revoked;
use auth_domain::time::Timestamp;
use auth_domain::token_service::{Answer, Facts, Outcome, RotationResult};
use auth_password::HashingFigures;
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};

use crate::http::incoming::{Incoming, Outage};

use meters::Meters;
use overload::Overload;

mod catalogue;
mod families;
mod figures;
mod log;
mod meters;
mod overload;
mod process;
mod request;
pub mod traces;

pub use catalogue::{ALL as METRICS, Begins, Kind, Metric, Values};
pub use figures::{
    connections, connections_max, database, database_up, in_hand, in_hand_max, key_directory, keys,
    replica_up, stopping,
};
pub use log::{LogFormat, LogGuard, LogLevels, TelemetryError, init};
pub use request::Ending;

/// How many observations are recorded between two sweeps of the histograms' raw samples. It bounds their memory
/// though nobody may ever scrape.
const OBSERVATIONS_PER_SWEEP: u32 = 4_096;

/// Where the metrics of this process are read from.
pub struct Telemetry {
    metrics: PrometheusHandle,
    meters: Meters,
    observations: AtomicU32,
    overload: Overload,
}

/// Measures how long something takes. Not a clock: it knows no time of day, only the time between two calls.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

impl Telemetry {
    /// The recorder of the process, installed by the first call.
    ///
    /// # Errors
    /// Where the process has a recorder already that is not ours.
    pub fn install() -> Result<Self, TelemetryError> {
        meters::global().map(Self::reading)
    }

    /// A recorder of its own, which the caller makes the current one of a thread: for tests that share a process.
    pub fn local() -> (PrometheusRecorder, Self) {
        let recorder = meters::recorder();
        let telemetry = Self::reading(recorder.handle());
        (recorder, telemetry)
    }

    fn reading(metrics: PrometheusHandle) -> Self {
        Self {
            metrics,
            meters: Meters::new(),
            observations: AtomicU32::new(0),
            overload: Overload::default(),
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        metrics::counter!(meters::LOG_LINES_DROPPED).absolute(log::dropped_lines());
        self.metrics.render() + &process::text()
    }

    /// The upper bounds of the buckets of every histogram, in seconds.
    pub const fn buckets() -> &'static [f64] {
        &meters::BUCKETS
    }

    /// Records what a token request came to: one log line, and its metrics.
    pub fn token_answered(&self, answer: &Answer, incoming: &Incoming, status: u16, took: Duration) {
        self.count(answer, status, took);
        write_line(answer, incoming, status, took);
        self.note_observation();
    }

    fn note_observation(&self) {
        let observations = self.observations.fetch_add(1, Ordering::Relaxed);
        if observations.is_multiple_of(OBSERVATIONS_PER_SWEEP) {
            self.metrics.run_upkeep();
        }
    }

    fn count(&self, answer: &Answer, status: u16, took: Duration) {
        let facts = &answer.facts;
        let grant_type = facts.grant_type.map_or(meters::UNKNOWN_GRANT, GrantType::as_str);
        self.meters.token_answered(grant_type, status);
        self.meters.token_took(grant_type, took);
        if let Some(profile) = facts.wire_profile {
            self.meters.profile_used(profile.as_str());
        }
        if let Some(result) = facts.rotation {
            self.meters.presented(result.as_str());
            if result == RotationResult::Reuse {
                metrics::counter!(meters::REUSES).increment(1);
            }
        }
        if let Outcome::Refused(refusal) = answer.outcome {
            count_refusal(refusal, facts, grant_type);
        }
    }

    /// Records what a revocation came to.
    pub fn revocation_answered(
        &self,
        answer: &Answer<Revoked>,
        incoming: &Incoming,
        status: u16,
        took: Duration,
    ) {
        let result = result_of(answer, |revoked| revoked.as_str());
        metrics::counter!(meters::REVOCATIONS, "result" => result).increment(1);
        if let Outcome::Refused(refusal) = answer.outcome {
            count_refusal(refusal, &answer.facts, meters::A_REVOCATION);
        }
        write_line_about(&REVOCATION, answer, result, incoming, (status, took));
    }

    /// Records what an introspection came to.
    pub fn introspection_answered(
        &self,
        answer: &Answer<Introspection>,
        incoming: &Incoming,
        status: u16,
        took: Duration,
    ) {
        let result = result_of(answer, |told| match told {
            Introspection::Active(_) => "active",
            Introspection::Inactive => "inactive",
        });
        metrics::counter!(meters::INTROSPECTIONS, "result" => result).increment(1);
        write_line_about(&INTROSPECTION, answer, result, incoming, (status, took));
    }
}

/// What is said of requests about tokens.
struct Words {
    event_type: &'static str,
    granted: &'static str,
    refused: &'static str,
    failed: &'static str,
}

const REVOCATION: Words = Words {
    event_type: "token_revoke",
    granted: "token revoked",
    refused: "revocation refused",
    failed: "revocation failed",
};
const INTROSPECTION: Words = Words {
    event_type: "token_introspect",
    granted: "token introspected",
    refused: "introspection refused",
    failed: "introspection failed",
};

fn result_of<T>(answer: &Answer<T>, granted: impl FnOnce(&T) -> &'static str) -> &'static str {
    match &answer.outcome {
        Outcome::Granted(content) => granted(content),
        Outcome::Refused(_) => "refused",
        Outcome::Unavailable(_) => "unavailable",
    }
}

/// Notes that something the server needs did not answer a request other than for a token: its line will say so.
pub fn outage(outage: &Unavailable, incoming: &Incoming) {
    incoming.outage.replace(Some(Outage {
        operation: outage.what,
        cause: causes(outage),
    }));
}

/// Records whether Redis is there, and how many instances shared their counters there when it last was; only where one
/// is configured.
pub fn redis(is_connected: bool, instances: u32) {
    metrics::gauge!(meters::REDIS_UP).set(if is_connected { 1.0 } else { 0.0 });
    metrics::gauge!(meters::REDIS_INSTANCES).set(f64::from(instances));
    metrics::counter!(meters::REDIS_FALLBACKS).increment(0);
}

/// Records that a request was judged by the counters in the process, since Redis was away.
pub fn judged_without_redis() {
    metrics::counter!(meters::REDIS_FALLBACKS).increment(1);
}

/// What came of looking for a client in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLookup {
    /// It was there.
    Hit,
    /// The database knew it.
    Miss,
    /// There is no such client.
    Unknown,
}

impl CacheLookup {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Unknown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the cache has forgotten clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalidation {
    /// One was changed.
    Client,
    /// Any may have been.
    AnyClient,
    /// Changes may have been missed before they could be heard of.
    Subscribed,
}

impl Invalidation {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Client, Self::AnyClient, Self::Subscribed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::AnyClient => "any_client",
            Self::Subscribed => "subscribed",
        }
    }
}

/// Publishes that clients are remembered, and whether changes of them are heard of, where there is a Redis.
pub fn client_cache(is_told: Option<bool>) {
    meters::begin_cache();
    if let Some(is_told) = is_told {
        metrics::gauge!(meters::CACHE_SUBSCRIBED).set(f64::from(u8::from(is_told)));
    }
}

/// Records what came of looking for a client in the cache.
pub fn cache_asked(lookup: CacheLookup) {
    metrics::counter!(meters::CACHE_LOOKUPS, "result" => lookup.as_str()).increment(1);
}

/// Records that the cache has forgotten clients.
pub fn cache_invalidated(why: Invalidation) {
    metrics::counter!(meters::CACHE_INVALIDATIONS, "reason" => why.as_str()).increment(1);
}

/// Records that a refusal took longer than the time that was to hide what it took.
pub fn answered_past_the_floor() {
    metrics::counter!(meters::PAST_THE_FLOOR).increment(1);
}

/// Publishes what the hashing pool has done so far.
pub fn hashing(figures: HashingFigures) {
    let pending = u32::try_from(figures.pending).unwrap_or(u32::MAX);
    metrics::gauge!(meters::HASHING_PENDING).set(f64::from(pending));
    metrics::gauge!(meters::HASHING_PENDING_MAX)
        .set(f64::from(u32::try_from(figures.pending_max).unwrap_or(u32::MAX)));
    for (result, count) in [
        ("computed", figures.computed),
        ("dropped", figures.dropped),
        ("late", figures.late),
        ("refused", figures.refused),
    ] {
        metrics::counter!(meters::HASHING_JOBS, "result" => result).absolute(count);
    }
}

/// Records how many things of a kind housekeeping has deleted.
pub fn housekept(what: &'static str, deleted: u64) {
    metrics::counter!(meters::HOUSEKEEPING_DELETED, "what" => what).increment(deleted);
}

/// Publishes whether this instance is the one that does the housekeeping.
pub fn housekeeping_begins_or_ends(is_active: bool) {
    metrics::gauge!(meters::HOUSEKEEPING_ACTIVE).set(f64::from(u8::from(is_active)));
}

/// Publishes whether several rounds of the housekeeping have been missed.
pub fn housekeeping_overdue(is_overdue: bool) {
    metrics::gauge!(meters::HOUSEKEEPING_OVERDUE).set(f64::from(u8::from(is_overdue)));
}

/// Publishes when all of the housekeeping was done, and how long it took.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for the next hundred million years"
)]
pub fn housekeeping_finished(at: Timestamp, took: Duration) {
    metrics::gauge!(meters::HOUSEKEEPING_FINISHED_AT).set(at.unix_seconds() as f64);
    metrics::gauge!(meters::HOUSEKEEPING_TOOK).set(took.as_secs_f64());
}

/// Publishes when the certificate that is shown ends, in seconds since 1970.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for the next hundred million years"
)]
pub fn certificate_expires_at(seconds: i64) {
    metrics::gauge!(meters::CERTIFICATE_EXPIRES_AT).set(seconds as f64);
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// There are as many as there may be.
    Full,
    /// Its address has as many as it may have.
    Address,
    /// It could not be made secure, or not in time.
    Handshake,
}

impl TurnedAway {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Address, Self::Handshake];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::Handshake => "handshake",
        }
    }
}

/// Why a connection was ended that its client would have gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The head of a request took too long to come.
    LateHead,
    /// An answer was not taken in time.
    UntakenAnswer,
    /// Nothing was asked for a long time.
    Idle,
}

impl Cut {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::LateHead, Self::UntakenAnswer, Self::Idle];

    const fn as_str(self) -> &'static str {
        match self {
            Self::LateHead => "late_head",
            Self::UntakenAnswer => "untaken_answer",
            Self::Idle => "idle",
        }
    }
}

/// Records that a connection was not let in.
pub fn turned_away(why: TurnedAway) {
    metrics::counter!(meters::CONNECTIONS_REFUSED, "reason" => why.as_str()).increment(1);
}

/// Records that a connection was ended because of its client.
pub fn cut(why: Cut) {
    metrics::counter!(meters::CONNECTIONS_CUT, "reason" => why.as_str()).increment(1);
}

/// Records a panic of work whose client has gone, so that nobody was answered.
pub fn panicked_unseen() {
    metrics::counter!(meters::PANICS).increment(1);
    tracing::error!(
        event_type = "panic",
        "a handler panicked after its client had gone"
    );
}

fn count_refusal(refusal: Refusal, facts: &Facts, grant_type: &'static str) {
    match refusal {
        // Why is nobody's business who reads the metrics: they tell no more than the answer about who exists. The log
        // and the audit trail know.
        Refusal::InvalidGrant(_) if facts.grant_type == Some(GrantType::Password) => {
            metrics::counter!(meters::FAILED_LOGINS, "reason" => meters::INVALID_CREDENTIALS).increment(1);
        }
        Refusal::Locked { .. } => {
            metrics::counter!(meters::FAILED_LOGINS, "reason" => meters::LOCKED_OUT).increment(1);
            metrics::counter!(meters::LOCKED).increment(1);
        }
        Refusal::RateLimited { .. } => {
            metrics::counter!(meters::RATE_LIMITED, "grant_type" => grant_type).increment(1);
        }
        Refusal::Saturated { .. } => metrics::counter!(meters::SATURATED).increment(1),
        Refusal::InvalidGrant(_)
        | Refusal::InvalidRequest(_)
        | Refusal::InvalidClient(_)
        | Refusal::UnauthorizedClient
        | Refusal::UnsupportedGrantType
        | Refusal::InvalidScope => {}
    }
}

/// The level is part of a macro's name, and the fields are the same at each.
macro_rules! line {
    ($level:ident, $event_type:expr, $answer:expr, $incoming:expr, $status:expr, $took:expr, $($own:tt)*) => {{
        let (facts, incoming) = (&$answer.facts, $incoming);
        incoming.has_line.set(true);
        tracing::$level!(
            target: request::HTTP_LINES,
            event_type = $event_type,
            correlation_id = &*incoming.context.correlation_id,
            trace_id = incoming.trace_id.as_deref(),
            span_id = incoming.span_id.as_deref(),
            client_id = facts.client_id.as_ref().map(ClientId::as_str),
            user_id = facts.user_id.map(tracing::field::display),
            session_id = facts.session_id.map(tracing::field::display),
            grant_type = facts.grant_type.map(GrantType::as_str),
            ip_address = incoming.context.ip.map(tracing::field::display),
            user_agent = incoming.context.user_agent.as_deref(),
            status = $status,
            duration_ms = $took.as_secs_f64() * 1_000.0,
            $($own)*
        )
    }};
}

fn write_line(answer: &Answer, incoming: &Incoming, status: u16, took: Duration) {
    let event = event_type(answer);
    match &answer.outcome {
        Outcome::Granted(granted) => {
            line!(info, event, answer, incoming, status, took, scope = %granted.scope, "token issued");
        }
        Outcome::Refused(refusal) => {
            write_refusal(event, *refusal, answer, incoming, (status, took), "token refused");
        }
        Outcome::Unavailable(outage) => {
            write_failure(
                event,
                outage,
                answer,
                incoming,
                (status, took),
                "token request failed",
            );
        }
    }
}

/// The line of a request about a token: the circumstances are the same, the words are others.
fn write_line_about<T>(
    words: &Words,
    answer: &Answer<T>,
    result: &'static str,
    incoming: &Incoming,
    (status, took): (u16, Duration),
) {
    match &answer.outcome {
        Outcome::Granted(_) => {
            let (event, granted) = (words.event_type, words.granted);
            line!(info, event, answer, incoming, status, took, result, "{granted}");
        }
        Outcome::Refused(refusal) => {
            let event = match refusal {
                Refusal::InvalidGrant(_) => "token_invalid",
                Refusal::RateLimited { .. } | Refusal::Locked { .. } => "rate_limit_exceeded",
                Refusal::InvalidRequest(_)
                | Refusal::InvalidClient(_)
                | Refusal::UnauthorizedClient
                | Refusal::UnsupportedGrantType
                | Refusal::InvalidScope
                | Refusal::Saturated { .. } => "token_refused",
            };
            write_refusal(event, *refusal, answer, incoming, (status, took), words.refused);
        }
        Outcome::Unavailable(outage) => {
            let event = "unavailable";
            write_failure(event, outage, answer, incoming, (status, took), words.failed);
        }
    }
}

fn write_refusal<T>(
    event: &'static str,
    refusal: Refusal,
    answer: &Answer<T>,
    incoming: &Incoming,
    (status, took): (u16, Duration),
    said: &'static str,
) {
    let reason = reason(refusal);
    if is_alarming(refusal) {
        line!(warn, event, answer, incoming, status, took, reason, "{said}");
    } else {
        line!(info, event, answer, incoming, status, took, reason, "{said}");
    }
}

fn write_failure<T>(
    event: &'static str,
    outage: &Unavailable,
    answer: &Answer<T>,
    incoming: &Incoming,
    (status, took): (u16, Duration),
    said: &'static str,
) {
    let (operation, cause) = (outage.what, causes(outage));
    line!(
        error, event, answer, incoming, status, took, operation, cause, "{said}"
    );
}

/// The names are those of the audit trail where there is a row of that kind.
fn event_type(answer: &Answer) -> &'static str {
    let is_refresh = answer.facts.grant_type == Some(GrantType::RefreshToken);
    match &answer.outcome {
        Outcome::Granted(_) if is_refresh => "token_refresh",
        Outcome::Granted(_) => "login_success",
        Outcome::Refused(Refusal::InvalidGrant(GrantFault::Reuse)) => "security_incident",
        Outcome::Refused(Refusal::InvalidGrant(_)) if is_refresh => "token_invalid",
        Outcome::Refused(Refusal::InvalidGrant(_)) => "login_failed",
        Outcome::Refused(Refusal::RateLimited { .. } | Refusal::Locked { .. }) => "rate_limit_exceeded",
        Outcome::Refused(_) => "token_refused",
        Outcome::Unavailable(_) => "unavailable",
    }
}

const fn is_alarming(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::InvalidGrant(GrantFault::Reuse)
            | Refusal::RateLimited { .. }
            | Refusal::Locked { .. }
            | Refusal::Saturated { .. }
    )
}

const fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidRequest(_) => "invalid_request",
        Refusal::InvalidClient(_) => "invalid_client",
        Refusal::UnauthorizedClient => "unauthorized_client",
        Refusal::UnsupportedGrantType => "unsupported_grant_type",
        Refusal::InvalidScope => "invalid_scope",
        Refusal::InvalidGrant(fault) => fault.as_str(),
        Refusal::RateLimited { .. } => "rate_limited",
        Refusal::Locked { .. } => "locked",
        Refusal::Saturated { .. } => "saturated",
    }
}

/// An error's causes, the nearest first.
pub(crate) fn causes(outage: &Unavailable) -> String {
    let mut text = outage.source.to_string();
    let mut next = outage.source.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
