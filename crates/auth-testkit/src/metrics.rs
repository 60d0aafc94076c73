//! The metrics as `docs/METRICS.md` lists them, and as a server exports them: so that tests can hold each to the other.

use std::collections::{BTreeMap, BTreeSet};

/// A metric as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its type.
    pub kind: String,
    /// Its labels and the values of each; no values where it can be any.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// The tables of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// By name.
    pub metrics: BTreeMap<String, Listed>,
    /// The upper bounds of each histogram's buckets.
    pub buckets: BTreeMap<String, Vec<String>>,
}

impl Reference {
    /// Reads a document: tables of metrics have five columns (name, type, labels, when absent, meaning), those of
    /// buckets two.
    ///
    /// # Panics
    /// Where a row has another number of columns, or a metric is listed twice.
    pub fn read(document: &str) -> Self {
        let mut reference = Self::default();
        for row in document.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let name = bare(cells.first().copied().unwrap_or_default());
            let known = match &cells[..] {
                [_, kind, labels, _absent, _meaning] => {
                    let listed = Listed {
                        kind: (*kind).to_owned(),
                        labels: read_labels(labels),
                    };
                    reference.metrics.insert(name, listed).is_some()
                }
                [_, bounds] => {
                    let bounds = bounds.split(", ").map(str::to_owned).collect();
                    reference.buckets.insert(name, bounds).is_some()
                }
                _ => panic!("five columns, or two: {row}"),
            };
            assert!(!known, "listed twice: {row}");
        }
        reference
    }

    /// The names of all that is listed and not exported.
    pub fn absent_from(&self, exported: &[&Exported]) -> Vec<&str> {
        let is_there = |name: &str| exported.iter().any(|one| one.kinds.contains_key(name));
        let names = self.metrics.keys().map(String::as_str);
        names.filter(|name| !is_there(name)).collect()
    }
}

/// `` `label`: `one`, `other`; `label`: *any* ``
fn read_labels(cell: &str) -> BTreeMap<String, BTreeSet<String>> {
    if cell == "none" {
        return BTreeMap::new();
    }
    let labels = cell.split("; ").map(|label| {
        let (name, values) = label.split_once(": ").unwrap_or((label, ""));
        let values = values.split(", ").filter(|value| *value != "*any*");
        (bare(name), values.map(bare).collect())
    });
    labels.collect()
}

fn bare(text: &str) -> String {
    text.trim_matches('`').to_owned()
}

/// What a server exports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The type of each metric that has one.
    kinds: BTreeMap<String, String>,
    /// Each series, and its value.
    series: BTreeMap<Series, String>,
}

/// A series: the name of its metric, and its labels.
type Series = (String, BTreeMap<String, String>);

impl Exported {
    /// Reads the text format of Prometheus.
    pub fn read(text: &str) -> Self {
        let mut exported = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or((kind, ""));
                exported.kinds.insert(name.to_owned(), kind.to_owned());
            } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
                exported.series.insert(read_series(series), value.to_owned());
            }
        }
        exported
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The value of a series, written as `name` or `name{label="value"}` with its labels in any order.
    pub fn value(&self, series: &str) -> Option<f64> {
        self.series.get(&read_series(series))?.parse().ok()
    }

    /// What of it is not as it is listed.
    pub fn strays(&self, reference: &Reference) -> Vec<String> {
        let kinds = self.kinds.iter().filter_map(|(name, kind)| {
            let listed = reference.metrics.get(name).map(|listed| listed.kind.as_str());
            (listed != Some(kind)).then(|| format!("{name} is a {kind}, and listed as {listed:?}"))
        });
        let series = self.series.keys().filter_map(|(name, labels)| {
            let fault = self.fault(reference, name, labels)?;
            Some(format!("{name}{labels:?} {fault}"))
        });
        let buckets = reference.buckets.iter().filter_map(|(name, bounds)| {
            let exported = self.bounds(name);
            let is_wrong = !exported.is_empty() && exported != bounds.iter().map(String::as_str).collect();
            is_wrong.then(|| format!("{name} has the buckets {exported:?}"))
        });
        kinds.chain(series).chain(buckets).collect()
    }

    fn fault(&self, reference: &Reference, name: &str, labels: &BTreeMap<String, String>) -> Option<String> {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|ending| name.strip_suffix(ending))
            .find(|family| self.kinds.get(*family).is_some_and(|kind| kind == "histogram"));
        let listed = reference.metrics.get(family.unwrap_or(name));
        let Some(Listed { labels: listed, .. }) = listed else {
            return Some("is not listed".to_owned());
        };
        let own = labels
            .iter()
            .filter(|(label, _)| family.is_none() || *label != "le");
        let own: BTreeMap<_, _> = own.collect();
        if !own.keys().copied().eq(listed.keys()) {
            return Some(format!("is listed with the labels {:?}", listed.keys()));
        }
        own.into_iter()
            .find(|(label, value)| {
                let values = listed.get(*label);
                values.is_some_and(|values| !values.is_empty() && !values.contains(*value))
            })
            .map(|(label, value)| format!("has a value of {label} that is not listed: {value}"))
    }

    /// The upper bounds of a histogram's buckets, but for the last, which has none.
    fn bounds(&self, histogram: &str) -> BTreeSet<&str> {
        let name = format!("{histogram}_bucket");
        let buckets = self.series.keys().filter(|(own, _)| *own == name);
        let bounds = buckets.filter_map(|(_, labels)| labels.get("le"));
        bounds
            .map(String::as_str)
            .filter(|bound| *bound != "+Inf")
            .collect()
    }
}

fn read_series(text: &str) -> Series {
    let (name, labels) = text.split_once('{').unwrap_or((text, ""));
    let labels = labels.trim_end_matches('}').split("\",");
    let labels = labels.filter_map(|label| label.split_once("=\""));
    let labels = labels.map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()));
    (name.to_owned(), labels.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
| Metric | Type | Labels | Absent | Meaning |
|---|---|---|---|---|
| `requests_total` | counter | `grant`: `password`, `other`; `status`: `200` | never | Requests. |
| `took_seconds` | histogram | none | never | How long. |
| `build_info` | gauge | `version`: *any* | never | Which. |

| Histogram | Buckets |
|---|---|
| `took_seconds` | 0.1, 1 |
";
    const TEXT: &str = "\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{grant=\"password\",status=\"200\"} 3

# TYPE took_seconds histogram
took_seconds_bucket{le=\"0.1\"} 1
took_seconds_bucket{le=\"1\"} 1
took_seconds_bucket{le=\"+Inf\"} 1
took_seconds_sum 0.05
took_seconds_count 1

# TYPE build_info gauge
build_info{version=\"1.2.3\"} 1
";

    #[test]
    fn what_is_exported_as_it_is_listed_has_no_fault() {
        let (reference, exported) = (Reference::read(DOCUMENT), Exported::read(TEXT));
        assert_eq!(exported.strays(&reference), [""; 0]);
        assert_eq!(reference.absent_from(&[&exported]), [""; 0]);
        assert_eq!(
            exported.value(r#"requests_total{status="200",grant="password"}"#),
            Some(3.0)
        );
        assert_eq!(exported.len(), 7);
    }

    #[test]
    fn every_difference_is_a_fault() {
        let reference = Reference::read(DOCUMENT);
        for (was, is, fault) in [
            ("requests_total", "others_total", "is not listed"),
            ("requests_total counter", "requests_total gauge", "is a gauge"),
            ("status=", "code=", "is listed with the labels"),
            ("grant=\"password\"", "grant=\"mine\"", "that is not listed: mine"),
            ("le=\"0.1\"", "le=\"0.2\"", "has the buckets"),
        ] {
            let strays = Exported::read(&TEXT.replace(was, is)).strays(&reference);
            assert!(
                strays.iter().any(|stray| stray.contains(fault)),
                "{fault}: {strays:?}"
            );
        }
        let less = Exported::read(&TEXT.replace("# TYPE build_info gauge\n", ""));
        assert_eq!(reference.absent_from(&[&less]), ["build_info"]);
    }
}
