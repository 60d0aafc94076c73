//! Series by labels whose values are all known: once one counts, it is found without a lock and without an allocation.

use std::sync::OnceLock;

use metrics::{Counter, Histogram, Label};

use super::catalogue::{self, Metric, Values};

/// The series of one metric, in the order of the values of its labels. The last value of each label stands for every
/// value that is not known.
pub(super) struct Family<T> {
    metric: Option<&'static Metric>,
    series: Box<[OnceLock<T>]>,
    make: fn(&'static str, Vec<Label>) -> T,
}

impl Family<Counter> {
    /// Of the counter of that name.
    pub(super) fn counters(name: &str) -> Self {
        Self::of(name, |name, labels| metrics::counter!(name, labels))
    }
}

impl Family<Histogram> {
    /// Of the histogram of that name.
    pub(super) fn histograms(name: &str) -> Self {
        Self::of(name, |name, labels| metrics::histogram!(name, labels))
    }
}

impl<T> Family<T> {
    fn of(name: &str, make: fn(&'static str, Vec<Label>) -> T) -> Self {
        let metric = catalogue::find(name);
        let labels = metric.map_or(&[][..], |metric| metric.labels);
        let combinations = labels.iter().map(|(_, values)| values.known().len()).product();
        let series = std::iter::repeat_with(OnceLock::new).take(combinations).collect();
        Self { metric, series, make }
    }

    /// Does something with the series of these values, which are in the order of the labels.
    pub(super) fn with(&self, values: &[&str], act: impl FnOnce(&T)) {
        let Some(metric) = self.metric else { return };
        let mut place = 0;
        for ((_, known), value) in metric.labels.iter().zip(values) {
            place = place * known.known().len() + place_of(*known, value);
        }
        if let Some(series) = self.series.get(place) {
            act(series.get_or_init(|| (self.make)(metric.name, labels(metric, values))));
        }
    }
}

fn labels(metric: &'static Metric, values: &[&str]) -> Vec<Label> {
    let labels = metric.labels.iter().zip(values);
    labels
        .filter_map(|((name, known), value)| {
            let value = known.known().get(place_of(*known, value))?;
            Some(Label::from_static_parts(name, value))
        })
        .collect()
}

fn place_of(values: Values, value: &str) -> usize {
    let known = values.known();
    let found = known.iter().position(|one| *one == value);
    found.unwrap_or(known.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Telemetry;
    use crate::telemetry::catalogue::TOKEN_REQUESTS;

    use super::*;

    #[test]
    fn a_series_is_found_by_its_values_and_an_unknown_value_counts_as_the_last() {
        let (recorder, telemetry) = Telemetry::local();
        metrics::with_local_recorder(&recorder, || {
            let family = Family::counters(TOKEN_REQUESTS);
            for (grant_type, status) in [("password", "200"), ("password", "200"), ("made-up", "299")] {
                family.with(&[grant_type, status], |counter| counter.increment(1));
            }
        });
        let text = telemetry.render();
        for line in [
            r#"auth_token_requests_total{grant_type="password",status="200"} 2"#,
            r#"auth_token_requests_total{grant_type="unknown",status="other"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
