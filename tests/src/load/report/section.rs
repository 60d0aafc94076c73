//! The section of the documents: goals, plots, and the figures of each file of results.

use super::{Kept, verdicts};
use crate::load::figures::{Case, Figure};
use crate::load::goals::{Goal, Verdict};
use crate::load::results::Results;

/// The plot of shares that are goals, beside the files of results.
pub(super) const PLOT_OF_GOALS: &str = "goals.svg";
/// The plot of latencies.
pub(super) const PLOT_OF_LATENCIES: &str = "latencies.svg";

/// The columns of a table, each there where a case has the figure.
const COLUMNS: &[Figure] = &[
    Figure::RequestsPerSecond,
    Figure::RatioToBound,
    Figure::RatioToRaw,
    Figure::RatioToEmpty,
    Figure::RatioToOneCore,
    Figure::RatioToPeak,
    Figure::OfferedPerSecond,
    Figure::RefusedShare,
    Figure::UnsentShare,
    Figure::P50Ms,
    Figure::P95Ms,
    Figure::P99Ms,
    Figure::MaxMs,
    Figure::RefusedP99Ms,
    Figure::P99OverQuiet,
    Figure::ServerCpuUsEach,
    Figure::DatabaseShareOfCpu,
    Figure::GeneratorShareOfCore,
    Figure::RoundTripsEach,
    Figure::WrittenBytesEach,
    Figure::WalBytesEach,
    Figure::PeakMemoryMib,
    Figure::MemoryMib,
    Figure::MemoryBesideHashingMib,
    Figure::StartMs,
    Figure::DatabaseMib,
    Figure::BoundPerSecond,
    Figure::RawPerSecond,
    Figure::RawCpuUsEach,
    Figure::OthersShare,
];

/// The whole section; without files of results, how to make some.
pub(super) fn of(kept: &[Kept]) -> String {
    if kept.is_empty() {
        return "Nothing has been measured yet by this program; `make bench ARGS=all` does.\n".to_owned();
    }
    let mut section = table_of_goals(kept);
    let plots = format!(
        "\n![The shares that are goals](performance/{PLOT_OF_GOALS})\n\n\
         ![Latencies](performance/{PLOT_OF_LATENCIES})\n"
    );
    section += &plots;
    let common = common_machine(kept);
    section.extend(common.as_ref().map(|machine| format!("\nMachine: {machine}.\n")));
    section.extend(kept.iter().map(|kept| match &common {
        Some(_) => of_one(kept, ""),
        None => of_one(kept, &format!("Machine: {}. ", machine(&kept.results))),
    }));
    section
}

/// A table of the goals.
pub(super) fn table_of_goals(kept: &[Kept]) -> String {
    let row = |(goal, verdict): (Goal, Verdict)| {
        let measured = measured(&goal, kept).unwrap_or_default();
        let outcome = match verdict {
            Verdict::NotMeasured => "not measured",
            Verdict::Reached(_) => "reached",
            Verdict::Missed(_) => "**missed**",
        };
        format!("| {} | {} | {measured} | {outcome} |\n", goal.what, goal.told())
    };
    let rows: String = verdicts(kept).into_iter().map(row).collect();
    format!("| goal | wanted | measured | |\n|---|---|---|---|\n{rows}")
}

/// A table of all figures: the name in JSON, the unit, and what it means.
pub(super) fn table_of_figures() -> String {
    let row = |figure: &Figure| {
        let name = serde_json::to_value(figure).unwrap_or_default();
        let unit = match figure.unit() {
            "%" => "share of 1",
            unit => unit,
        };
        let meaning = figure.meaning().trim();
        format!(
            "| `{}` | {unit} | {meaning} |\n",
            name.as_str().unwrap_or_default()
        )
    };
    let rows: String = Figure::ALL.iter().map(row).collect();
    format!("| figure | unit | |\n|---|---|---|\n{rows}")
}

/// What was measured of a goal: the median, with the lowest and the highest.
fn measured(goal: &Goal, kept: &[Kept]) -> Option<String> {
    let of_goal = kept.iter().find(|kept| kept.name == goal.scenario)?;
    let case = of_goal.results.case(&goal.case)?;
    case.told(goal.figure).map(|told| told + mark(case))
}

/// What a case is marked by where others took from it.
fn mark(case: &Case) -> &'static str {
    if case.median.is_disturbed { " †" } else { "" }
}

/// The machine of all of them, where it is one.
fn common_machine(kept: &[Kept]) -> Option<String> {
    let mut machines = kept.iter().map(|kept| machine(&kept.results));
    let first = machines.next()?;
    machines.all(|machine| machine == first).then_some(first)
}

fn machine(results: &Results) -> String {
    let on = &results.machine;
    let ifma = if on.has_ifma { "with" } else { "without" };
    let (cpu, cores, kernel, file_system, openssl) =
        (&on.cpu, on.cores, &on.kernel, &on.file_system, &on.openssl);
    format!("{cpu}, {ifma} AVX-512 IFMA, {cores} cores, Linux {kernel}, database on {file_system}, {openssl}")
}

fn of_one(kept: &Kept, machine: &str) -> String {
    let results = &kept.results;
    let (date, conditions) = (&results.date, conditions(results));
    let mut text = format!("\n### {}\n\n{date}. {machine}{conditions}\n\n", kept.name);
    text.push_str(&table(results));
    if results.cases.iter().any(|case| case.median.is_disturbed) {
        text.push_str("\n† In a run of it others had more than 5 % of the server's cores.\n");
    }
    text.extend(results.notes.iter().map(|note| format!("\nNote: {note}.\n")));
    text
}

fn conditions(results: &Results) -> String {
    let (on, by) = (&results.machine, &results.conditions);
    let postgresql = on.postgresql.as_ref();
    let postgresql = postgresql.map_or_else(String::new, |version| format!("PostgreSQL {version}, "));
    let settings = match by.settings.as_slice() {
        [] => String::new(),
        settings => format!(" Settings: `{}`.", settings.join("`, `")),
    };
    let (build, server, generator) = (&by.build, &by.server_cores, &by.generator_cores);
    let (runs, seconds, warm_up) = (by.runs, by.seconds, by.warm_up_seconds);
    let (sync, load, durability) = (on.fdatasync_ms, &by.load, &by.durability);
    format!(
        "{postgresql}fdatasync {sync:.2} ms; {build} build, server on cores {server:?}, generator on {generator:?}; {runs} \
         runs of {seconds} s after {warm_up} s of warm-up. Load: {load}. Durability: {durability}.{settings}"
    )
}

fn table(results: &Results) -> String {
    let has = |figure: &&Figure| {
        let mut cases = results.cases.iter();
        cases.any(|case| case.median.figure(**figure).is_some())
    };
    let columns: Vec<Figure> = COLUMNS.iter().filter(has).copied().collect();
    let title = |column: &Figure| match column.unit() {
        "" => format!(" {} |", column.label()),
        unit => format!(" {}, {unit} |", column.label()),
    };
    let head: String = columns.iter().map(title).collect();
    let line = format!("|{}\n", "---|".repeat(columns.len() + 1));
    let row = |case: &Case| {
        let cells = columns
            .iter()
            .map(|column| case.numbers(*column).unwrap_or_default());
        let cells: Vec<String> = cells.collect();
        format!("| {}{} | {} |\n", case.name, mark(case), cells.join(" | "))
    };
    let rows: String = results.cases.iter().map(row).collect();
    format!("| case |{head}\n{line}{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::kept;

    #[test]
    fn without_results_the_section_says_how_to_make_some() {
        assert!(of(&[]).contains("make bench ARGS=all"));
    }

    #[test]
    fn a_goal_is_told_with_what_was_measured_and_what_became_of_it() {
        let table = table_of_goals(&kept());
        for row in [
            "| refresh, 64 connections, of B | at least 80.0 % | 82.0 % (81.0, 83.0) | reached |",
            "| refresh at half load, p99 | at most 5.00 ms | 6.00 ms | **missed** |",
            "| memory at rest | at most 40.0 MiB |  | not measured |",
        ] {
            assert!(table.contains(row), "{row} in {table}");
        }
    }

    #[test]
    fn each_figure_is_told_by_its_name_in_json() {
        let table = table_of_figures();
        let row = "| `ratio_to_bound` | share of 1 | What was granted over B. |\n";
        assert!(table.contains(row), "{table}");
        assert_eq!(table.lines().count(), Figure::ALL.len() + 2);
    }

    #[test]
    fn results_of_several_machines_name_each_its_own() {
        let mut kept = kept();
        kept[1].results.machine.has_ifma = true;
        let section = of(&kept);
        for part in [
            "UTC. Machine: A processor, without",
            "UTC. Machine: A processor, with AVX",
        ] {
            assert!(section.contains(part), "{part} in {section}");
        }
    }

    #[test]
    fn a_table_has_the_columns_that_a_case_has_and_a_mark_where_it_was_disturbed() {
        let mut kept = kept();
        kept[1].results.cases[0].median.is_disturbed = true;
        let section = of(&kept);
        for part in [
            "| case | granted, /s | ratio to B, % |\n|---|---|---|\n| 64 connections † | 1600 (1600, 1600) | 82.0 (81.0, 83.0) |",
            "| case | latency p50, ms | latency p95, ms | latency p99, ms |",
            "† In a run",
            "\nMachine: A processor, without AVX-512 IFMA, 2 cores",
            "\n2026-01-01 00:00 UTC. fdatasync 0.25 ms; release build, server on cores [0]",
        ] {
            assert!(section.contains(part), "{part} in {section}");
        }
    }
}
