//! The recorder that keeps the metrics, and those that requests are counted by, which are at hand.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, Label};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::TelemetryError;
pub(super) use super::catalogue::*;
use super::families::Family;
use crate::http::route::{Asked, TOKEN};

/// Seconds. 0.2 is what operators are promised for 95 of 100 requests.
pub(super) const BUCKETS: [f64; 12] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0,
];

/// What every request is counted and timed by.
pub(super) struct Meters {
    requests: Family<Counter>,
    durations: Family<Histogram>,
    token_requests: Family<Counter>,
    token_durations: Family<Histogram>,
    profile_uses: Family<Counter>,
    rotations: Family<Counter>,
    turned_away: Family<Counter>,
}

impl Meters {
    pub(super) fn new() -> Self {
        let [requests, token_requests, profile_uses, rotations, turned_away] = [
            HTTP_REQUESTS,
            TOKEN_REQUESTS,
            PROFILE_USES,
            ROTATIONS,
            TURNED_AWAY,
        ]
        .map(Family::counters);
        let [durations, token_durations] = [HTTP_DURATION, DURATION].map(Family::histograms);
        Self {
            requests,
            durations,
            token_requests,
            token_durations,
            profile_uses,
            rotations,
            turned_away,
        }
    }

    /// Counts a request that was turned away.
    pub(super) fn turned_away(&self) {
        self.turned_away.with(&[], |counter| counter.increment(1));
    }

    /// Counts an answered request, whatever it was.
    pub(super) fn answered(&self, asked: Asked, status: u16, took: Duration) {
        let status = status_label(status);
        self.requests
            .with(&[asked.route, asked.method, status], |counter| {
                counter.increment(1);
            });
        if asked.route != TOKEN {
            self.durations
                .with(&[asked.route], |histogram| histogram.record(took));
        }
    }

    /// Counts a token request.
    pub(super) fn token_answered(&self, grant_type: &'static str, status: u16) {
        let status = status_label(status);
        self.token_requests
            .with(&[grant_type, status], |counter| counter.increment(1));
    }

    /// Times a token request.
    pub(super) fn token_took(&self, grant_type: &'static str, took: Duration) {
        self.token_durations
            .with(&[grant_type], |histogram| histogram.record(took));
    }

    /// Counts a token request of a known client.
    pub(super) fn profile_used(&self, profile: &'static str) {
        self.profile_uses.with(&[profile], |counter| counter.increment(1));
    }

    /// Counts a refresh token that was presented.
    pub(super) fn presented(&self, result: &'static str) {
        self.rotations.with(&[result], |counter| counter.increment(1));
    }
}

/// A recorder with our buckets.
pub(super) fn recorder() -> PrometheusRecorder {
    let histograms = ALL.iter().filter(|metric| metric.kind == Kind::Histogram);
    let mut builder = PrometheusBuilder::new();
    for metric in histograms {
        // The only error is an empty list of buckets.
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), &BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
    }
    let recorder = builder.build_recorder();
    metrics::with_local_recorder(&recorder, begin);
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

/// Says what each metric means, and makes those that are there from the beginning.
fn begin() {
    for metric in ALL {
        describe(metric);
        if metric.begins == Begins::AtOnce {
            begin_at_zero(metric);
        }
    }
    for grant_type in GRANTS {
        for status in USUAL_STATUSES {
            metrics::counter!(TOKEN_REQUESTS, "grant_type" => grant_type, "status" => status).absolute(0);
        }
    }
    metrics::gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn describe(metric: &'static Metric) {
    match metric.kind {
        _ if metric.begins == Begins::ByHand => {}
        Kind::Counter => metrics::describe_counter!(metric.name, metric.about),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.about),
        Kind::Histogram => metrics::describe_histogram!(metric.name, metric.about),
    }
}

/// Makes all series of a metric, before anything is counted.
pub(super) fn begin_at_zero(metric: &'static Metric) {
    for labels in combinations(metric.labels) {
        match metric.kind {
            Kind::Counter => metrics::counter!(metric.name, labels).increment(0),
            Kind::Gauge => metrics::gauge!(metric.name, labels).set(0.0),
            Kind::Histogram => {}
        }
    }
}

/// Every combination of the values of labels.
fn combinations(labels: &'static [(&'static str, Values)]) -> Vec<Vec<Label>> {
    let Some(((name, values), rest)) = labels.split_first() else {
        return vec![Vec::new()];
    };
    let rest = combinations(rest);
    let with = |value: &'static str| {
        let first = Label::from_static_parts(name, value);
        rest.iter()
            .map(move |rest| {
                std::iter::once(first.clone())
                    .chain(rest.iter().cloned())
                    .collect()
            })
            .collect::<Vec<_>>()
    };
    values.known().iter().flat_map(|value| with(value)).collect()
}

/// Makes the counters of spans before they first count.
pub(super) fn begin_traces() {
    for metric in [SPANS_EXPORTED, SPANS_DROPPED].into_iter().filter_map(find) {
        begin_at_zero(metric);
    }
}

/// Makes the cache's counters before they first count: a rate needs two points.
pub(super) fn begin_cache() {
    for metric in [CACHE_LOOKUPS, CACHE_INVALIDATIONS].into_iter().filter_map(find) {
        begin_at_zero(metric);
    }
}
