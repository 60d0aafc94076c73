//! Whether what an expression asks for is listed in docs/METRICS.md: names, labels, and values that these can have.

use std::collections::BTreeSet;

use auth_testkit::metrics::{Listed, Reference};

use super::promql::{Matcher, Selector};

/// Labels that Prometheus adds to whatever it reads.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];
/// The series that a histogram is made of.
const OF_A_HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

/// The list.
pub(crate) struct Catalogue(Reference);

impl Catalogue {
    pub(crate) fn read() -> Self {
        Self(Reference::read(include_str!("../../../../docs/METRICS.md")))
    }

    pub(crate) const fn reference(&self) -> &Reference {
        &self.0
    }

    /// All that is wrong with what an expression asks for.
    pub(crate) fn faults(&self, selector: &Selector) -> Vec<String> {
        let family = self.family(&selector.metric);
        let Some(listed) = self.0.metrics.get(family) else {
            return vec![format!("{} is not listed", selector.metric)];
        };
        let buckets = self.0.buckets.get(family);
        let is_right = |matcher: &Matcher| match &*matcher.label {
            "job" | "instance" => true,
            "le" => buckets.is_some_and(|bounds| bounds.contains(&matcher.value)),
            _ => is_a_value(listed, matcher),
        };
        let wrong = selector.matchers.iter().filter(|matcher| !is_right(matcher));
        wrong
            .map(|matcher| format!("{family} has no {}=\"{}\"", matcher.label, matcher.value))
            .collect()
    }

    /// Whether there is a label of that name.
    pub(crate) fn knows_label(&self, label: &str) -> bool {
        let mut metrics = self.0.metrics.values();
        OF_THE_SCRAPE.contains(&label)
            || label == "le"
            || metrics.any(|listed| listed.labels.contains_key(label))
    }

    /// The metric that a series belongs to.
    pub(crate) fn family<'a>(&self, name: &'a str) -> &'a str {
        let families = OF_A_HISTOGRAM.iter().filter_map(|part| name.strip_suffix(part));
        let mut histograms = families.filter(|family| self.0.buckets.contains_key(*family));
        histograms.next().unwrap_or(name)
    }
}

fn is_a_value(listed: &Listed, matcher: &Matcher) -> bool {
    let values: Option<&BTreeSet<String>> = listed.labels.get(&matcher.label);
    values.is_some_and(|values| values.is_empty() || matcher.every_alternative_is_in(values))
}
