//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::bound::Bound;
use super::machine::Conditions;
use super::process::Usage;
use super::users::{Scenario, Seen};

/// How the load was made, for whoever reads a figure without its program.
const LOAD: &str =
    "closed loop over kept connections: each user sends its next request on the answer to the last";
/// What an answered request promises.
const DURABILITY: &str = "the server's own settings untouched: commits are synced (SQLite, WAL, synchronous=FULL), log and audit on, limits off";

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// On what.
    pub conditions: Conditions,
    /// How the load was made.
    pub load: &'static str,
    /// What an answered request promises.
    pub durability: &'static str,
    /// Core of the server, and of its users.
    pub cores_used: [usize; 2],
    /// One entry for each scenario and number of connections.
    pub measured: Vec<Measured>,
}

/// One scenario at one number of connections.
#[derive(Debug, Serialize)]
pub struct Measured {
    scenario: Scenario,
    connections: usize,
    peak_memory_kib: u64,
    median: Run,
    runs: Vec<Run>,
}

/// One run, or the median of several in each figure by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    requests_per_second: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    max_us: f64,
    server_cpu_us_per_request: f64,
    /// How much of the server's core others had meanwhile: what a figure is worth.
    foreign_share_of_core: f64,
    bytes_written_per_request: f64,
    rsa_sign_us: f64,
    rsa_verify_us: f64,
    /// B: the most refreshes a second that the server's core could sign and verify.
    bound_per_second: f64,
    /// Requests per second over B, where the requests are refreshes.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_bound: Option<f64>,
    /// Processor time per request by the name of the server's thread.
    threads_us_per_request: BTreeMap<String, f64>,
}

impl Report {
    /// What was measured, under the conditions.
    pub const fn new(conditions: Conditions, cores_used: [usize; 2], measured: Vec<Measured>) -> Self {
        Self {
            conditions,
            load: LOAD,
            durability: DURABILITY,
            cores_used,
            measured,
        }
    }
}

impl Measured {
    /// Sums runs up.
    pub(super) fn new(scenario: Scenario, connections: usize, peak_memory_kib: u64, runs: Vec<Run>) -> Self {
        Self {
            scenario,
            connections,
            peak_memory_kib,
            median: Run::median(&runs),
            runs,
        }
    }
}

impl Run {
    /// What the users saw, what the server used for it, and the bound in those minutes.
    pub(super) fn new(
        scenario: Scenario,
        seen: &Seen,
        used: &Usage,
        core_at_work: Duration,
        bound: Bound,
    ) -> Self {
        let per_second = f64::from(seen.requests) / seen.seconds;
        let each = |total: f64| total / f64::from(seen.requests.max(1));
        let micros = |time: Duration| time.as_secs_f64() * 1_000_000.0;
        let latency = |quantile: f64| float(seen.latencies.value_at_quantile(quantile));
        let threads = used.threads.iter();
        Self {
            requests_per_second: per_second,
            p50_us: latency(0.5),
            p95_us: latency(0.95),
            p99_us: latency(0.99),
            max_us: float(seen.latencies.max()),
            server_cpu_us_per_request: each(micros(used.cpu)),
            foreign_share_of_core: core_at_work.saturating_sub(used.cpu).as_secs_f64() / seen.seconds,
            bytes_written_per_request: each(float(used.written)),
            rsa_sign_us: bound.sign_us,
            rsa_verify_us: bound.verify_us,
            bound_per_second: bound.refreshes_per_second(),
            ratio_to_bound: (scenario == Scenario::Refresh)
                .then(|| per_second / bound.refreshes_per_second()),
            threads_us_per_request: threads
                .map(|(name, cpu)| (name.clone(), each(micros(*cpu))))
                .collect(),
        }
    }

    fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        let names = runs.iter().flat_map(|run| run.threads_us_per_request.keys());
        let thread = |name: &String| {
            let figures = runs
                .iter()
                .filter_map(|run| run.threads_us_per_request.get(name).copied());
            (name.clone(), median(figures.collect()))
        };
        Self {
            requests_per_second: of(|run| run.requests_per_second),
            p50_us: of(|run| run.p50_us),
            p95_us: of(|run| run.p95_us),
            p99_us: of(|run| run.p99_us),
            max_us: of(|run| run.max_us),
            server_cpu_us_per_request: of(|run| run.server_cpu_us_per_request),
            foreign_share_of_core: of(|run| run.foreign_share_of_core),
            bytes_written_per_request: of(|run| run.bytes_written_per_request),
            rsa_sign_us: of(|run| run.rsa_sign_us),
            rsa_verify_us: of(|run| run.rsa_verify_us),
            bound_per_second: of(|run| run.bound_per_second),
            ratio_to_bound: runs
                .iter()
                .map(|run| run.ratio_to_bound)
                .collect::<Option<_>>()
                .map(median),
            threads_us_per_request: names.map(thread).collect(),
        }
    }
}

pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = figures.get(middle).copied().unwrap_or_default();
    if figures.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|index| figures.get(index));
    lower.map_or(upper, |lower| f64::midpoint(*lower, upper))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no figure here needs more than 15 digits"
)]
fn float(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = &self.conditions;
        let [server, users] = self.cores_used;
        writeln!(out, "processor    {}; cores: {}", on.cpu, on.cores)?;
        writeln!(
            out,
            "system       Linux {}, database on {}",
            on.kernel, on.file_system
        )?;
        writeln!(
            out,
            "build        {}; server on core {server}, its users on core {users}",
            on.profile
        )?;
        writeln!(out, "load         {}", self.load)?;
        writeln!(out, "durability   {}", self.durability)?;
        self.measured.iter().try_for_each(|measured| measured.fmt(out))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.runs.len();
        writeln!(
            out,
            "\n{:?}, {} connections, median of {runs} runs",
            self.scenario, self.connections
        )?;
        self.write_what_users_saw(out)?;
        self.write_what_the_server_used(out)?;
        self.write_bound(out)
    }
}

impl Measured {
    fn write_what_users_saw(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = &self.median;
        writeln!(
            out,
            "  requests/s          {:.0}   (runs: {})",
            median.requests_per_second,
            self.each_run(|run| format!("{:.0}", run.requests_per_second))
        )?;
        writeln!(
            out,
            "  latency ms          p50 {:.2}   p95 {:.2}   p99 {:.2}   max {:.2}",
            median.p50_us / 1_000.0,
            median.p95_us / 1_000.0,
            median.p99_us / 1_000.0,
            median.max_us / 1_000.0
        )
    }

    fn write_what_the_server_used(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = &self.median;
        let threads: Vec<String> = median
            .threads_us_per_request
            .iter()
            .filter(|(_, micros)| **micros >= 0.5)
            .map(|(name, micros)| format!("{name} {micros:.0}"))
            .collect();
        writeln!(
            out,
            "  server CPU us each  {:.0}   ({})",
            median.server_cpu_us_per_request,
            threads.join(", ")
        )?;
        let written = median.bytes_written_per_request;
        writeln!(out, "  bytes written each  {written:.0}")?;
        let peak = float(self.peak_memory_kib) / 1_024.0;
        writeln!(out, "  peak memory MiB     {peak:.1}")?;
        writeln!(
            out,
            "  others on the core  {}",
            self.each_run(|run| format!("{:.0} %", run.foreign_share_of_core * 100.0))
        )
    }

    fn write_bound(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = &self.median;
        writeln!(
            out,
            "  RSA-2048 CPU us     sign {:.1}   verify {:.1}   (on the server's core, before and after each run)",
            median.rsa_sign_us, median.rsa_verify_us
        )?;
        let Some(ratio) = median.ratio_to_bound else {
            return Ok(());
        };
        let bound = median.bound_per_second;
        writeln!(
            out,
            "  bound B             {bound:.0} refreshes/s = 1 / (2 sign + verify)"
        )?;
        let percent = |ratio: f64| format!("{:.1}", ratio * 100.0);
        writeln!(
            out,
            "  ratio to B          {} %   (runs: {})",
            percent(ratio),
            self.each_run(|run| run.ratio_to_bound.map_or_else(String::new, percent))
        )
    }

    fn each_run(&self, figure: impl Fn(&Run) -> String) -> String {
        let figures: Vec<String> = self.runs.iter().map(figure).collect();
        figures.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle_or_lies_between_the_two_middles() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }
}
