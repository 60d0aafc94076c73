//! The goals: what is to be reached in which case of which scenario, as it stands in the documents.

use super::figures::Figure;
use super::results::Results;
use super::scenario::{cores, half_load, rest, saturation, scale, storm};

/// A goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// What is to be reached, in words.
    pub what: &'static str,
    /// The scenario, by its name on the command line.
    pub scenario: &'static str,
    /// The case of it.
    pub case: String,
    /// The figure.
    pub figure: Figure,
    /// What the figure is to be.
    pub wanted: Wanted,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Nobody has measured it.
    NotMeasured,
    /// By this figure.
    Reached(f64),
    /// By this figure.
    Missed(f64),
}

/// All of them.
pub fn all() -> Vec<Goal> {
    [of_speed(), of_login(), of_storm(), of_rest()].concat()
}

impl Goal {
    fn new(
        what: &'static str,
        (scenario, case): (&'static str, impl Into<String>),
        figure: Figure,
        wanted: Wanted,
    ) -> Self {
        Self {
            what,
            scenario,
            case: case.into(),
            figure,
            wanted,
        }
    }

    /// What became of it, by the results of its scenario.
    pub fn verdict(&self, results: &Results) -> Verdict {
        let case = results.case(&self.case);
        match case.and_then(|case| case.median.figure(self.figure)) {
            None => Verdict::NotMeasured,
            Some(figure) if self.wanted.is_met_by(figure) => Verdict::Reached(figure),
            Some(figure) => Verdict::Missed(figure),
        }
    }

    /// What the figure is to be, in words.
    pub fn told(&self) -> String {
        match self.wanted {
            Wanted::AtLeast(least) => format!("at least {}", self.figure.told(least)),
            Wanted::AtMost(most) => format!("at most {}", self.figure.told(most)),
        }
    }
}

impl Wanted {
    fn is_met_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

/// What results of a scenario say about its goals: each goal that was missed, with what was measured.
pub fn missed(results: &Results) -> Vec<String> {
    let goals = all().into_iter().filter(|goal| goal.scenario == results.scenario);
    let missed = goals.filter_map(|goal| match goal.verdict(results) {
        Verdict::Missed(figure) => {
            let (what, wanted) = (goal.what, goal.told());
            Some(format!("{what}: {}, wanted {wanted}", goal.figure.told(figure)))
        }
        Verdict::Reached(_) | Verdict::NotMeasured => None,
    });
    missed.collect()
}

/// Whether results of a scenario can say anything about one of its goals.
pub fn is_judged(results: &Results) -> bool {
    let mut goals = all().into_iter().filter(|goal| goal.scenario == results.scenario);
    goals.any(|goal| goal.verdict(results) != Verdict::NotMeasured)
}

fn of_speed() -> Vec<Goal> {
    use Wanted::{AtLeast, AtMost};
    let connections = |scenario, count: u32| (scenario, format!("{count} connections"));
    vec![
        Goal::new(
            "refresh, 64 connections, of B",
            connections("refresh", 64),
            Figure::RatioToBound,
            AtLeast(0.80),
        ),
        Goal::new(
            "refresh, 16 connections, of B",
            connections("refresh", 16),
            Figure::RatioToBound,
            AtLeast(0.75),
        ),
        Goal::new(
            "two cores against one",
            ("cores", cores::TWO),
            Figure::RatioToOneCore,
            AtLeast(1.8),
        ),
        Goal::new(
            "refresh, PostgreSQL on the same core, of B",
            connections("refresh-pg", 64),
            Figure::RatioToBound,
            AtLeast(0.60),
        ),
        Goal::new(
            "refresh, ten million chains against none",
            ("scale", scale::case_name(10_000_000)),
            Figure::RatioToEmpty,
            AtLeast(0.90),
        ),
        Goal::new(
            "refresh at half load, p99",
            ("half-load", half_load::HALF),
            Figure::P99Ms,
            AtMost(5.0),
        ),
        Goal::new(
            "refreshes granted at four times the peak",
            ("saturation", saturation::case_name(4)),
            Figure::RatioToPeak,
            AtLeast(0.90),
        ),
        Goal::new(
            "key set, of the bare framework's rate",
            connections("jwks", 64),
            Figure::RatioToRaw,
            AtLeast(0.90),
        ),
    ]
}

fn of_login() -> Vec<Goal> {
    let login = || ("login", "4 connections");
    vec![
        Goal::new(
            "sign-in, of the bare rate of the hash",
            login(),
            Figure::RatioToRaw,
            Wanted::AtLeast(0.95),
        ),
        Goal::new("sign-in, p95", login(), Figure::P95Ms, Wanted::AtMost(200.0)),
    ]
}

fn of_storm() -> Vec<Goal> {
    use Wanted::{AtLeast, AtMost};
    vec![
        Goal::new(
            "refresh under a flood of sign-ins, p99 over the quiet one",
            ("storm", storm::REFRESH),
            Figure::P99OverQuiet,
            AtMost(2.0),
        ),
        Goal::new(
            "key set under a flood of sign-ins, p99 over the quiet one",
            ("storm", storm::KEY_SET),
            Figure::P99OverQuiet,
            AtMost(2.0),
        ),
        Goal::new(
            "sign-in in a flood, p95 of those that are granted",
            ("storm", storm::SIGN_INS),
            Figure::P95Ms,
            AtMost(200.0),
        ),
        Goal::new(
            "sign-in in a flood, p99 of those that are turned away",
            ("storm", storm::SIGN_INS),
            Figure::RefusedP99Ms,
            AtMost(50.0),
        ),
        // Four times too many: else it was no flood.
        Goal::new(
            "sign-ins of a flood that are turned away",
            ("storm", storm::SIGN_INS),
            Figure::RefusedShare,
            AtLeast(0.5),
        ),
    ]
}

fn of_rest() -> Vec<Goal> {
    use Wanted::AtMost;
    vec![
        Goal::new(
            "memory at rest",
            ("rest", rest::AT_REST),
            Figure::MemoryMib,
            AtMost(40.0),
        ),
        Goal::new(
            "memory under 1,000 connections, beside what hashing may have",
            ("rest", "1000 connections"),
            Figure::MemoryBesideHashingMib,
            AtMost(120.0),
        ),
        Goal::new(
            "start to first answer, existing database",
            ("rest", rest::START),
            Figure::StartMs,
            AtMost(100.0),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::figures::{Case, Run};

    fn results(ratio: f64) -> Results {
        let run = Run::default().with(Figure::RatioToBound, ratio);
        Results::sample("refresh", vec![Case::once("64 connections", 64, run)])
    }

    #[test]
    fn a_goal_is_reached_missed_or_not_measured() {
        let goal = &all()[0];
        assert_eq!(goal.told(), "at least 80.0 %");
        assert_eq!(goal.verdict(&results(0.8)), Verdict::Reached(0.8));
        assert_eq!(goal.verdict(&results(0.79)), Verdict::Missed(0.79));
        let nothing = Results::sample("refresh", Vec::new());
        assert_eq!(goal.verdict(&nothing), Verdict::NotMeasured);
    }

    #[test]
    fn what_is_missed_is_told_with_what_was_wanted() {
        let told = "refresh, 64 connections, of B: 79.0 %, wanted at least 80.0 %";
        assert_eq!(missed(&results(0.79)), [told]);
        assert!(missed(&results(0.81)).is_empty());
    }

    #[test]
    fn results_without_a_case_that_has_a_goal_are_not_judged() {
        assert!(is_judged(&results(0.79)));
        assert!(!is_judged(&Results::sample("refresh", Vec::new())));
        assert!(!is_judged(&Results::sample("revoke", results(0.79).cases)));
    }

    #[test]
    fn a_limit_holds_at_the_limit() {
        assert!(Wanted::AtMost(2.0).is_met_by(2.0));
        assert!(!Wanted::AtMost(2.0).is_met_by(2.01));
    }
}
