//! What an expression of Prometheus asks for. Only as much of the language as says which names are metrics and which are
//! labels: whether it is an expression at all is Prometheus's to say.

use std::collections::BTreeSet;

/// Words between two operands.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
/// Words before a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A metric with the labels it is chosen by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// What a label is compared with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) value: String,
    is_pattern: bool,
}

/// What an expression names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) selectors: Vec<Selector>,
    /// Those that it groups or joins by.
    pub(crate) labels: Vec<String>,
}

impl Matcher {
    /// Whether each of its alternatives is one of these values, or a pattern that finds one.
    pub(crate) fn every_alternative_is_in(&self, values: &BTreeSet<String>) -> bool {
        let is_found = |wanted: &str| {
            values
                .iter()
                .any(|value| is_like(wanted.as_bytes(), value.as_bytes()))
        };
        if self.is_pattern {
            self.value.split('|').all(is_found)
        } else {
            values.contains(&self.value)
        }
    }
}

/// `.` is any character, `.*` any number of them.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'.', b'*', rest @ ..], _) => (0..=text.len()).any(|taken| is_like(rest, &text[taken..])),
        ([first, pattern @ ..], [character, text @ ..]) => {
            (*first == b'.' || first == character) && is_like(pattern, text)
        }
        _ => false,
    }
}

impl Names {
    pub(crate) fn of(expression: &str) -> Self {
        let mut names = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = rest[1..].split_once('"').unwrap().1;
            } else if first.is_ascii_digit() {
                // A number, or a span such as 5m.
                rest = rest.trim_start_matches(|part: char| part.is_ascii_alphanumeric() || part == '.');
            } else if is_of_a_name(first) {
                let end = rest.find(|part| !is_of_a_name(part)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                rest = names.take(word, after);
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        names
    }

    /// Takes a word for what it is by what comes after it, and gives back what is left.
    fn take<'a>(&mut self, word: &str, after: &'a str) -> &'a str {
        let next = after.trim_start();
        if BEFORE_LABELS.contains(&word) {
            let (labels, rest) = next.strip_prefix('(').unwrap().split_once(')').unwrap();
            let labels = labels.split(',').map(str::trim);
            self.labels
                .extend(labels.filter(|label| !label.is_empty()).map(str::to_owned));
            return rest;
        }
        let is_function = next.starts_with('(') || next.starts_with("by ") || next.starts_with("without ");
        if OPERATORS.contains(&word) || is_function {
            return after;
        }
        let (matchers, rest) = match next.strip_prefix('{') {
            Some(inside) => matchers(inside),
            None => (Vec::new(), after),
        };
        self.selectors.push(Selector {
            metric: word.to_owned(),
            matchers,
        });
        rest
    }
}

/// What stands between braces, and what comes after them.
fn matchers(mut inside: &str) -> (Vec<Matcher>, &str) {
    let mut matchers = Vec::new();
    loop {
        inside = inside.trim_start_matches([',', ' ', '\n']);
        if let Some(rest) = inside.strip_prefix('}') {
            return (matchers, rest);
        }
        let (left, rest) = inside.split_once('"').unwrap();
        let (value, rest) = rest.split_once('"').unwrap();
        matchers.push(Matcher {
            label: left.trim_end_matches(['=', '!', '~']).to_owned(),
            value: value.to_owned(),
            is_pattern: left.ends_with('~'),
        });
        inside = rest;
    }
}

fn is_of_a_name(part: char) -> bool {
    part.is_ascii_alphanumeric() || matches!(part, '_' | ':')
}

#[test]
fn metrics_are_told_from_functions_labels_and_spans() {
    let names = Names::of(
        "sum by (job) (rate(a_total{x=\"1\",y!~\"2|3.*\"}[5m] offset 1h)) and on (z) b:c > 0.5 * time() or up == 1e3",
    );
    let metrics: Vec<&str> = names.selectors.iter().map(|one| &*one.metric).collect();
    assert_eq!(metrics, ["a_total", "b:c", "up"]);
    assert_eq!(names.labels, ["job", "z"]);
    let matcher = |label: &str, value: &str, is_pattern| Matcher {
        label: label.to_owned(),
        value: value.to_owned(),
        is_pattern,
    };
    assert_eq!(
        names.selectors[0].matchers,
        [matcher("x", "1", false), matcher("y", "2|3.*", true)]
    );
}

#[test]
fn an_alternative_that_finds_nothing_is_a_fault() {
    let values = ["500", "/oauth/token"].map(str::to_owned).into();
    let matcher = |value: &str, is_pattern| Matcher {
        label: String::new(),
        value: value.to_owned(),
        is_pattern,
    };
    for (value, is_pattern, is_found) in [
        ("500", false, true),
        ("5..", true, true),
        ("5..", false, false),
        ("/oauth/.*|500", true, true),
        ("/oauth/.*|404", true, false),
        ("/oauth", true, false),
    ] {
        let found = matcher(value, is_pattern).every_alternative_is_in(&values);
        assert_eq!(found, is_found, "{value}");
    }
}
