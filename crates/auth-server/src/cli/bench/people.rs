//! What was measured, as a table, and what it lets expect, in a few sentences.

use clap::builder::styling::{AnsiColor, Color, Style};

use super::commits::{Sqlite, TOGETHER};
use super::estimate::{
    Commits, Machine, bound, refresh_alone, refreshes_of_all, refreshes_of_one_core, sign_ins,
};
use super::hashing::Hashing;
use super::report::{DATABASE, Database, Measured, PASSWORDS, REDIS, SIGNING};
use super::servers::Postgres;
use super::signing::Signing;
use super::stopwatch::Spread;
use crate::cli::output::{Mark, Table, visible};

const PART: Style = Style::new().bold();
const FAILED: Style = PART.fg_color(Some(Color::Ansi(AnsiColor::Red)));

/// How the first words of lines look on a terminal.
pub(super) const MARKS: &[Mark] = &[
    (SIGNING, PART),
    (PASSWORDS, PART),
    (DATABASE, PART),
    (REDIS, PART),
    ("failed", FAILED),
];

const ONE_CORE: &str = "processor time of one core";
const CAVEAT: &str = "HTTP, log and metrics are not in these figures: docs/PERFORMANCE.md says which share of B the whole server reaches,\n\
     and how that is measured. What else ran on this machine meanwhile makes them worse than they are.";
const UNOPTIMISED: &str = "This program was built without optimisation: a release does more.";

/// All of it.
pub(super) fn text(measured: &Measured) -> String {
    let failures = failures(measured);
    let expected = expectations(measured);
    let notes = if cfg!(debug_assertions) {
        format!("{CAVEAT}\n{UNOPTIMISED}")
    } else {
        CAVEAT.to_owned()
    };
    let parts = [table(measured).to_string(), failures, expected, notes];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn table(measured: &Measured) -> Table {
    let mut rows = Vec::new();
    if let Ok(signing) = &measured.signing {
        rows.extend(of_signing(signing));
    }
    if let Ok(hashing) = &measured.hashing {
        rows.extend(of_hashing(hashing));
    }
    match &measured.database {
        Ok(Database::Sqlite(sqlite)) => rows.extend(of_sqlite(sqlite)),
        Ok(Database::Postgres(postgres)) => rows.extend(of_postgres(postgres)),
        Err(_) => {}
    }
    if let Some(Ok(answer)) = &measured.redis {
        rows.push(Row::of_spread(REDIS, "an answer", answer, "to PING".to_owned()));
    }
    let mut table = Table::new(&["part", "what", "figure", "p99", "how"]);
    for row in rows {
        table.row([row.part.to_owned(), row.what, row.figure, row.p99, row.how]);
    }
    table
}

struct Row {
    part: &'static str,
    what: String,
    figure: String,
    p99: String,
    how: String,
}

impl Row {
    fn new(
        part: &'static str,
        what: impl Into<String>,
        figure: impl Into<String>,
        how: impl Into<String>,
    ) -> Self {
        Self {
            part,
            what: what.into(),
            figure: figure.into(),
            p99: String::new(),
            how: how.into(),
        }
    }

    fn of_spread(part: &'static str, what: impl Into<String>, spread: &Spread, how: String) -> Self {
        Self {
            p99: span(spread.p99.as_secs_f64()),
            ..Self::new(part, what, span(spread.p50.as_secs_f64()), how)
        }
    }
}

fn of_signing(signing: &Signing) -> [Row; 3] {
    let key = format!("RSA {}", signing.bits);
    [
        Row::new(SIGNING, format!("{key}, sign"), span(signing.sign), ONE_CORE),
        Row::new(SIGNING, format!("{key}, verify"), span(signing.verify), ONE_CORE),
        Row::new(
            SIGNING,
            "B, refreshes at most",
            format!("{}/s", whole(bound(signing))),
            "one core: 1 / (2 sign + verify)",
        ),
    ]
}

fn of_hashing(hashing: &Hashing) -> [Row; 2] {
    let memory = format!("{} MiB", hashing.memory_kib().div_ceil(1_024));
    let threads = format!("hashing threads: {}", hashing.threads);
    [
        Row::new(PASSWORDS, hashing.scheme(), span(hashing.cost), ONE_CORE),
        Row::new(PASSWORDS, "memory while hashing", memory, threads),
    ]
}

fn of_sqlite(sqlite: &Sqlite) -> [Row; 3] {
    let (folder, together) = (sqlite.folder.display(), &sqlite.together);
    let all = format!(
        "{}/s, each {} of processor time",
        whole(together.rate),
        span(together.cost)
    );
    let many = format!("a refresh of {TOGETHER}, stored");
    [
        Row::of_spread(DATABASE, "4 KiB, synced", &sqlite.synced, format!("in {folder}")),
        Row::of_spread(
            DATABASE,
            "a refresh, stored",
            &sqlite.alone,
            "SQLite, in a file of its own".to_owned(),
        ),
        Row::of_spread(DATABASE, many, &together.each, all),
    ]
}

fn of_postgres(postgres: &Postgres) -> [Row; 2] {
    [
        Row::of_spread(
            DATABASE,
            "an answer",
            &postgres.answer,
            "PostgreSQL, to SELECT 1".to_owned(),
        ),
        Row::of_spread(
            DATABASE,
            "a commit",
            &postgres.commit,
            "PostgreSQL, of an empty message in its log".to_owned(),
        ),
    ]
}

/// A paragraph for each part that could not be measured.
fn failures(measured: &Measured) -> String {
    let paragraphs = measured.failures().map(|(part, failure)| {
        let (error, advice) = failure.clone().into_parts();
        let mut lines = vec![format!("failed  {part}: {}", visible(&error))];
        let advice = advice.iter().flat_map(|advice| advice.lines());
        lines.extend(advice.map(|line| format!("        {}", visible(line))));
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

/// What to expect of the whole; nothing where too little could be measured.
fn expectations(measured: &Measured) -> String {
    let mut lines = Vec::new();
    if let Ok(signing) = &measured.signing {
        lines.extend(of_refreshes(signing, measured.commits(), measured.machine));
    }
    if let Ok(hashing) = &measured.hashing {
        let sign_ins = whole(sign_ins(hashing, measured.machine));
        lines.push(format!(
            "{sign_ins} sign-ins a second; whoever comes beyond that is told 503"
        ));
    }
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = lines.iter().map(|line| format!("  {line}")).collect();
    format!("Estimates, at best:\n{}", lines.join("\n"))
}

fn of_refreshes(signing: &Signing, commits: Option<Commits>, machine: Machine) -> Vec<String> {
    let one = whole(refreshes_of_one_core(signing, commits));
    let all = whole(refreshes_of_all(signing, commits, machine));
    let cores = format!("{} of its cores serve, of {}", machine.serving(), machine.cores);
    let mut lines = match commits.and_then(|commits| commits.storing) {
        Some(_) => vec![
            format!("one core signs, verifies and stores {one} refreshes a second"),
            format!("this machine {all}, of {TOGETHER} users at once ({cores})"),
        ],
        None => vec![
            format!("one core signs and verifies {one} refreshes a second"),
            format!("this machine {all} ({cores})"),
        ],
    };
    if let Some(commits) = commits {
        let alone = span(refresh_alone(signing, commits).as_secs_f64());
        let wait = span(commits.wait.as_secs_f64());
        lines.push(format!(
            "one refresh by itself takes {alone}, {wait} of it for the database"
        ));
    }
    lines
}

/// Seconds, in the unit that reads best, by three digits.
fn span(seconds: f64) -> String {
    let (value, unit) = match seconds {
        ..1e-3 => (seconds * 1e6, "µs"),
        1e-3..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match value {
        ..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A number without its fraction, by groups of three digits.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use auth_domain::password::HashScheme;
    use rstest::rstest;

    use super::super::commits::Together;
    use super::*;
    use crate::cli::failure::Failure;
    use crate::cli::output::Ending;

    fn spread(millis: u64) -> Spread {
        Spread {
            count: 100,
            p50: Duration::from_millis(millis),
            p99: Duration::from_millis(3 * millis),
        }
    }

    fn measured() -> Measured {
        Measured {
            seconds: 2.0,
            machine: Machine { cores: 4, workers: 2 },
            signing: Ok(Signing {
                bits: 2_048,
                sign: 240e-6,
                verify: 20e-6,
            }),
            hashing: Ok(Hashing {
                scheme: HashScheme::OWASP_ARGON2ID,
                cost: 0.016,
                threads: NonZeroUsize::MIN,
            }),
            database: Ok(Database::Sqlite(Sqlite {
                folder: "data".into(),
                synced: spread(1),
                alone: spread(4),
                together: Together {
                    each: spread(5),
                    rate: 12_800.4,
                    cost: 0.000_125,
                },
            })),
            redis: Some(Ok(spread(2))),
        }
    }

    #[test]
    fn all_that_was_measured_is_a_table_and_what_to_expect_stands_below_it() {
        let text = text(&measured());
        let (figures, caveat) = text.rsplit_once("\n\n").unwrap();
        assert!(caveat.contains("docs/PERFORMANCE.md"), "{caveat}");
        insta::assert_snapshot!(figures, @"
        part       what                      figure   p99      how
        signing    RSA 2048, sign            240 µs            processor time of one core
        signing    RSA 2048, verify          20.0 µs           processor time of one core
        signing    B, refreshes at most      2,000/s           one core: 1 / (2 sign + verify)
        passwords  argon2id m=19456 t=2 p=1  16.0 ms           processor time of one core
        passwords  memory while hashing      19 MiB            hashing threads: 1
        database   4 KiB, synced             1.00 ms  3.00 ms  in data
        database   a refresh, stored         4.00 ms  12.0 ms  SQLite, in a file of its own
        database   a refresh of 64, stored   5.00 ms  15.0 ms  12,800/s, each 125 µs of processor time
        redis      an answer                 2.00 ms  6.00 ms  to PING

        Estimates, at best:
          one core signs, verifies and stores 1,600 refreshes a second
          this machine 3,200, of 64 users at once (2 of its cores serve, of 4)
          one refresh by itself takes 4.50 ms, 4.00 ms of it for the database
          62 sign-ins a second; whoever comes beyond that is told 503
        ");
    }

    #[test]
    fn what_could_not_be_measured_is_said_and_the_rest_all_the_same() {
        let mut lacking = measured();
        lacking.database = Err(Failure::refused("away\u{1b}[2J").advise("start it\nor another"));
        lacking.redis = None;
        let report = lacking.report();
        assert_eq!(report.ending, Ending::Bad);
        assert!(
            report
                .people
                .contains("\n\nfailed  database: away\\u{1b}[2J\n        start it\n        or another\n\n"),
            "{}",
            report.people
        );
        assert!(
            report
                .people
                .contains("one core signs and verifies 2,000 refreshes"),
            "{}",
            report.people
        );
        assert_eq!(report.programs["failures"][0]["part"], "database");
        assert_eq!(report.programs["database"], serde_json::Value::Null);
    }

    #[test]
    fn where_nothing_could_be_measured_nothing_is_expected() {
        let away = || Failure::refused("away");
        let nothing = Measured {
            signing: Err(away()),
            hashing: Err(away()),
            database: Err(away()),
            redis: Some(Err(away())),
            ..measured()
        };
        let report = nothing.report();
        assert!(!report.people.contains("Estimates"), "{}", report.people);
        assert_eq!(report.programs["failures"].as_array().unwrap().len(), 4);
    }

    #[rstest]
    #[case(0.000_000_5, "0.50 µs")]
    #[case(0.000_016_6, "16.6 µs")]
    #[case(0.000_228_4, "228 µs")]
    #[case(0.001, "1.00 ms")]
    #[case(0.009_999, "10.0 ms")]
    #[case(0.218, "218 ms")]
    #[case(2.5, "2.50 s")]
    #[case(125.0, "125 s")]
    fn a_span_has_three_digits(#[case] seconds: f64, #[case] text: &str) {
        assert_eq!(span(seconds), text);
    }

    #[rstest]
    #[case(0.4, "0")]
    #[case(999.5, "1,000")]
    #[case(12_345.6, "12,346")]
    #[case(1_234_567.0, "1,234,567")]
    fn a_large_number_is_in_groups(#[case] number: f64, #[case] text: &str) {
        assert_eq!(whole(number), text);
    }
}
