//! What a run is measured by: each figure has one name, one unit and one meaning, in JSON, in print and in the documents.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A run in which others had more of the server's cores than this is marked: it says too much about them.
pub const OTHERS_AT_MOST: f64 = 0.05;

/// A figure is a variant, its label in print, its unit, and how many digits stand behind the point.
macro_rules! figures {
    ($($(#[doc = $doc:literal])* $figure:ident: $label:literal, $unit:literal, $digits:literal;)*) => {
        /// What can be measured. Its name in JSON is the variant's in `snake_case`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Figure {
            $($(#[doc = $doc])* $figure,)*
        }

        impl Figure {
            /// All of them, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$figure,)*];

            /// What it is called in print.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$figure => $label,)* }
            }

            /// Its unit; `%` stands for a share of one.
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$figure => $unit,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$figure => concat!($($doc),*),)* }
            }

            const fn digits(self) -> usize {
                match self { $(Self::$figure => $digits,)* }
            }
        }
    };
}

figures! {
    /// Answers a second that grant what was asked for.
    RequestsPerSecond: "granted", "/s", 0;
    /// Requests a second that were due, where that does not depend on answers.
    OfferedPerSecond: "offered", "/s", 0;
    /// The share of the answers that turned somebody away (429 or 503).
    RefusedShare: "turned away", "%", 1;
    /// The share of what was due that could not be sent before the run was over.
    UnsentShare: "never sent", "%", 1;
    /// The median latency: from the last answer in a closed loop, from when it was due in an open one.
    P50Ms: "latency p50", "ms", 2;
    /// The latency that one of twenty exceeds.
    P95Ms: "latency p95", "ms", 2;
    /// The latency that one of a hundred exceeds.
    P99Ms: "latency p99", "ms", 2;
    /// The longest latency.
    MaxMs: "latency max", "ms", 2;
    /// The p99 from sending to the answer, in an open loop: what it was at the server alone.
    ServedP99Ms: "p99 from sending", "ms", 2;
    /// The p99 of those that were turned away.
    RefusedP99Ms: "p99 of 429 and 503", "ms", 2;
    /// The p99 as a multiple of the quiet one in the same run.
    P99OverQuiet: "p99 over the quiet one", "x", 2;
    /// Processor time of the server for each request.
    ServerCpuUsEach: "server CPU each", "us", 1;
    /// Processor time of PostgreSQL for each request.
    DatabaseCpuUsEach: "PostgreSQL CPU each", "us", 0;
    /// PostgreSQL's share of the processor time that it and the server used.
    DatabaseShareOfCpu: "PostgreSQL's share of that", "%", 1;
    /// Processor time of the generator for each request.
    GeneratorCpuUsEach: "generator CPU each", "us", 0;
    /// The share of one core that the generator used.
    GeneratorShareOfCore: "generator on its core", "%", 0;
    /// Bytes that the server caused to be written to storage, for each request.
    WrittenBytesEach: "bytes written each", "B", 0;
    /// Bytes of PostgreSQL's write-ahead log, for each request.
    WalBytesEach: "WAL each", "B", 0;
    /// Syncs of PostgreSQL's write-ahead log, for each request.
    WalSyncsEach: "syncs of the WAL each", "", 3;
    /// Transactions that PostgreSQL committed, for each request.
    CommitsEach: "commits each", "", 3;
    /// Statements sent to PostgreSQL for each request, counted on a server of its own.
    RoundTripsEach: "round trips each", "", 2;
    /// The most memory the server has had so far.
    PeakMemoryMib: "peak memory", "MiB", 1;
    /// The memory the server has.
    MemoryMib: "memory", "MiB", 1;
    /// What the settings allow hashing of that.
    HashingMemoryMib: "of that for hashing", "MiB", 1;
    /// The memory the server has beyond what hashing may have.
    MemoryBesideHashingMib: "memory beside hashing", "MiB", 1;
    /// From starting the program to its first answer.
    StartMs: "start to first answer", "ms", 1;
    /// The size of the database file.
    DatabaseMib: "database file", "MiB", 0;
    /// The share of the server's cores that others had meanwhile.
    OthersShare: "others on the cores", "%", 1;
    /// Processor time of one RSA-2048 signature.
    RsaSignUs: "RSA-2048 sign", "us", 1;
    /// Processor time of one RSA-2048 verification.
    RsaVerifyUs: "RSA-2048 verify", "us", 1;
    /// B: the most refreshes a second that the server's cores could sign and verify.
    BoundPerSecond: "bound B", "/s", 0;
    /// What was granted over B.
    RatioToBound: "ratio to B", "%", 1;
    /// The rate of the bare work: the hash by itself, the framework by itself.
    RawPerSecond: "the bare work", "/s", 1;
    /// Processor time of the bare work for each request.
    RawCpuUsEach: "the bare work's CPU each", "us", 1;
    /// What was granted over the rate of the bare work.
    RatioToRaw: "ratio to the bare work", "%", 1;
    /// Share of B over the share of B in the database that was empty.
    RatioToEmpty: "ratio to the empty one", "%", 1;
    /// Granted over what one core granted in the same run.
    RatioToOneCore: "ratio to one core", "x", 2;
    /// Granted over the peak in the same run.
    RatioToPeak: "ratio to the peak", "%", 1;
}

impl Figure {
    /// A value of it, with its unit.
    pub fn told(self, value: f64) -> String {
        match self.unit() {
            "" => self.number(value),
            unit => format!("{} {unit}", self.number(value)),
        }
    }

    /// A value of it without its unit.
    pub fn number(self, value: f64) -> String {
        let value = if self.unit() == "%" { value * 100.0 } else { value };
        format!("{value:.*}", self.digits())
    }
}

/// What one run came to, or what several came to, each figure by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The figures that were measured.
    pub figures: BTreeMap<Figure, f64>,
    /// The server's processor time for each request by the name of the thread.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub threads_us_each: BTreeMap<String, f64>,
    /// Whether others had more than a twentieth of the server's cores meanwhile.
    pub is_disturbed: bool,
}

/// One number of connections, of chains, of instances, or whatever a scenario varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it is a case of.
    pub name: String,
    /// How many connections there were.
    pub connections: usize,
    /// The median of each figure over all runs.
    pub median: Run,
    /// The lowest of each.
    pub lowest: BTreeMap<Figure, f64>,
    /// The highest of each.
    pub highest: BTreeMap<Figure, f64>,
    /// The runs.
    pub runs: Vec<Run>,
}

impl Run {
    /// Adds a figure; one that is no number was not measured.
    pub fn put(&mut self, figure: Figure, value: f64) {
        if value.is_finite() {
            self.figures.insert(figure, value);
        }
    }

    /// The same, for building one.
    #[must_use]
    pub fn with(mut self, figure: Figure, value: f64) -> Self {
        self.put(figure, value);
        self
    }

    /// A figure, where it was measured.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).copied()
    }

    /// The quotient of two figures as a third, where both were measured.
    pub fn put_ratio(&mut self, ratio: Figure, of: Figure, over: Figure) {
        if let (Some(of), Some(over)) = (self.figure(of), self.figure(over)) {
            self.put(ratio, of / over);
        }
    }
}

impl Case {
    /// Sums runs up.
    pub fn of(name: impl Into<String>, connections: usize, runs: Vec<Run>) -> Self {
        let each = |summed_up: fn(Vec<f64>) -> f64| {
            let figures = Figure::ALL.iter().filter_map(|figure| {
                let values: Vec<f64> = runs.iter().filter_map(|run| run.figure(*figure)).collect();
                (!values.is_empty()).then(|| (*figure, summed_up(values)))
            });
            figures.collect::<BTreeMap<_, _>>()
        };
        let names = runs.iter().flat_map(|run| run.threads_us_each.keys());
        let thread = |name: &String| {
            let values = runs
                .iter()
                .map(|run| run.threads_us_each.get(name).copied().unwrap_or_default());
            (name.clone(), median(values.collect()))
        };
        Self {
            name: name.into(),
            connections,
            median: Run {
                figures: each(median),
                threads_us_each: names.map(thread).collect(),
                is_disturbed: runs.iter().any(|run| run.is_disturbed),
            },
            lowest: each(|values| values.into_iter().fold(f64::INFINITY, f64::min)),
            highest: each(|values| values.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            runs,
        }
    }

    /// Of a single run.
    pub fn once(name: impl Into<String>, connections: usize, run: Run) -> Self {
        Self::of(name, connections, vec![run])
    }

    /// Adds a figure of the case as a whole; one that is no number was not measured.
    pub fn put(&mut self, figure: Figure, value: f64) {
        self.median.put(figure, value);
    }

    /// The median of a figure with its unit, and the lowest and the highest where there are several runs.
    pub fn told(&self, figure: Figure) -> Option<String> {
        let median = figure.told(self.median.figure(figure)?);
        Some(median + &self.range(figure))
    }

    /// The same without the unit.
    pub fn numbers(&self, figure: Figure) -> Option<String> {
        let median = figure.number(self.median.figure(figure)?);
        Some(median + &self.range(figure))
    }

    fn range(&self, figure: Figure) -> String {
        match (self.lowest.get(&figure), self.highest.get(&figure)) {
            (Some(lowest), Some(highest)) if self.runs.len() > 1 => {
                format!(" ({}, {})", figure.number(*lowest), figure.number(*highest))
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, connections) = (self.runs.len(), self.connections);
        let of = if runs > 1 {
            format!("; median of {runs} runs")
        } else {
            String::new()
        };
        writeln!(out, "\n{}; connections: {connections}{of}", self.name)?;
        for figure in Figure::ALL {
            if let Some(told) = self.told(*figure) {
                writeln!(out, "  {:<26}  {told}", figure.label())?;
            }
        }
        let threads = self.median.threads_us_each.iter();
        let threads: Vec<String> = threads
            .filter(|(_, micros)| **micros >= 0.5)
            .map(|(name, micros)| format!("{name} {micros:.0}"))
            .collect();
        if !threads.is_empty() {
            writeln!(out, "  {:<26}  {}", "server threads, us each", threads.join(", "))?;
        }
        let disturbed = self.runs.iter().filter(|run| run.is_disturbed).count();
        if disturbed > 0 {
            writeln!(
                out,
                "  DISTURBED                   in {disturbed} of {runs} runs others had more than 5 % of the server's cores"
            )?;
        }
        Ok(())
    }
}

/// The middle one, or what lies between the two middle ones.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or_default();
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|index| values.get(index));
    lower.map_or(upper, |lower| f64::midpoint(*lower, upper))
}

/// A count as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "no figure here needs more than 15 digits"
)]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(per_second: f64) -> Run {
        Run::default().with(Figure::RequestsPerSecond, per_second)
    }

    #[test]
    fn a_median_is_the_middle_or_lies_between_the_two_middles() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    #[test]
    fn a_case_tells_the_median_with_the_lowest_and_the_highest() {
        let case = Case::of("refresh", 64, vec![run(3.0), run(1.0), run(2.0)]);
        assert_eq!(case.told(Figure::RequestsPerSecond).unwrap(), "2 /s (1, 3)");
        assert_eq!(case.told(Figure::P50Ms), None);
        let once = Case::once("refresh", 64, run(3.0));
        assert_eq!(once.told(Figure::RequestsPerSecond).unwrap(), "3 /s");
    }

    #[test]
    fn a_ratio_is_there_where_both_of_its_figures_are_numbers() {
        let mut measured = run(600.0).with(Figure::BoundPerSecond, 800.0);
        measured.put_ratio(
            Figure::RatioToBound,
            Figure::RequestsPerSecond,
            Figure::BoundPerSecond,
        );
        assert_eq!(measured.figure(Figure::RatioToBound), Some(0.75));
        assert_eq!(Figure::RatioToBound.told(0.75), "75.0 %");
        measured.put_ratio(
            Figure::RatioToRaw,
            Figure::RequestsPerSecond,
            Figure::RawPerSecond,
        );
        measured.put(Figure::RatioToPeak, 1.0 / 0.0);
        assert_eq!(measured.figure(Figure::RatioToRaw), None);
        assert_eq!(measured.figure(Figure::RatioToPeak), None);
    }

    #[test]
    fn a_case_is_disturbed_where_one_of_its_runs_is() {
        let mut disturbed = run(1.0);
        disturbed.is_disturbed = true;
        let case = Case::of("refresh", 1, vec![run(1.0), disturbed]);
        assert!(case.median.is_disturbed);
        assert!(case.to_string().contains("in 1 of 2 runs"), "{case}");
    }

    #[test]
    fn a_case_is_the_same_after_json() {
        let mut measured = run(1.0);
        measured.threads_us_each.insert("writer".to_owned(), 2.0);
        let case = Case::of("refresh", 1, vec![measured, run(2.0)]);
        let json = serde_json::to_string(&case).unwrap();
        assert!(json.contains(r#""requests_per_second":1.5"#), "{json}");
        assert_eq!(serde_json::from_str::<Case>(&json).unwrap(), case);
    }
}
