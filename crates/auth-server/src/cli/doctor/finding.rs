//! What the doctor has to say: one finding for each thing that was looked at, and what to do where it is not well.

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{Ending, Mark, Report, visible};

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and will not always or not for everybody.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// How verdicts look on a terminal.
const MARKS: &[Mark] = &[
    (
        "ok",
        Style::new().fg_color(Some(clap::builder::styling::Color::Ansi(AnsiColor::Green))),
    ),
    (
        "warn",
        Style::new()
            .bold()
            .fg_color(Some(clap::builder::styling::Color::Ansi(AnsiColor::Yellow))),
    ),
    (
        "fail",
        Style::new()
            .bold()
            .fg_color(Some(clap::builder::styling::Color::Ansi(AnsiColor::Red))),
    ),
];

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) subject: &'static str,
    /// How well it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) said: String,
    /// What to do about it.
    pub(super) mend: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(subject: &'static str, said: impl Into<String>) -> Self {
        Self {
            subject,
            verdict: Verdict::Ok,
            said: said.into(),
            mend: None,
        }
    }

    /// It works, but should be mended.
    pub(super) fn warn(subject: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            mend: Some(mend.into()),
            ..Self::ok(subject, said)
        }
    }

    /// It does not work.
    pub(super) fn fail(subject: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(subject, said, mend)
        }
    }

    /// It does not work, for a reason that commands tell as well.
    pub(super) fn of_failure(subject: &'static str, failure: Failure) -> Self {
        let (said, mend) = failure.into_parts();
        Self {
            verdict: Verdict::Fail,
            mend,
            ..Self::ok(subject, said)
        }
    }
}

/// All findings, for people and for programs; the exit code tells of the worst.
pub(super) fn report(findings: &[Finding]) -> Report {
    let worst = findings.iter().map(|finding| finding.verdict).max();
    let worst = worst.unwrap_or(Verdict::Ok);
    Report {
        ending: match worst {
            Verdict::Ok | Verdict::Warn => Ending::Good,
            Verdict::Fail => Ending::Bad,
        },
        marks: MARKS,
        ..Report::new(people(findings), programs(findings, worst))
    }
}

fn programs(findings: &[Finding], worst: Verdict) -> Value {
    json!({ "verdict": worst, "findings": findings })
}

fn people(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.len()).max();
    let width = width.unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for Finding {
        subject,
        verdict,
        said,
        mend,
    } in findings
    {
        let verdict = verdict.name();
        lines.push(format!(
            "{verdict:4}  {subject:width$}  {}",
            visible(&said.replace('\n', " "))
        ));
        let mend = mend.iter().flat_map(|mend| mend.lines());
        lines.extend(mend.map(|mend| format!("{:indent$}{}", "", visible(mend), indent = width + 8)));
    }
    let count = |wanted| {
        findings
            .iter()
            .filter(|finding| finding.verdict == wanted)
            .count()
    };
    lines.push(format!(
        "\n{} looked at: {} ok, {} to be warned of, {} failed.",
        findings.len(),
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[Finding::ok("a", "b")], Ending::Good, "ok")]
    #[case(&[Finding::ok("a", "b"), Finding::warn("a", "b", "c")], Ending::Good, "warn")]
    #[case(&[Finding::fail("a", "b", "c"), Finding::warn("a", "b", "c")], Ending::Bad, "fail")]
    #[case(&[], Ending::Good, "ok")]
    fn the_exit_code_tells_of_the_worst(
        #[case] findings: &[Finding],
        #[case] ending: Ending,
        #[case] verdict: &str,
    ) {
        let report = report(findings);
        assert_eq!(report.ending, ending);
        assert_eq!(report.programs["verdict"], verdict);
    }

    #[test]
    fn each_finding_is_a_line_and_what_to_do_stands_below_it() {
        let findings = [
            Finding::ok("keys", "well"),
            Finding::fail("database", "away\nfor good", "start it\nor another"),
        ];
        assert_eq!(
            people(&findings),
            "ok    keys      well\n\
             fail  database  away for good\n\
             \u{20}               start it\n\
             \u{20}               or another\n\n\
             2 looked at: 1 ok, 0 to be warned of, 1 failed."
        );
    }
}
