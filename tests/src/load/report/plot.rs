//! The two plots: shares beside their goals, and latencies.

use super::svg::{Anchor, Drawing};
use super::{Kept, verdicts};
use crate::load::figures::{Case, Figure, float};
use crate::load::goals::{Goal, Verdict, Wanted};

const WIDTH: f64 = 860.0;
/// Where the labels end and the scale begins, and where the scale ends.
const LEFT: f64 = 350.0;
const RIGHT: f64 = 790.0;
/// Above the first row.
const TOP: f64 = 40.0;
const ROW: f64 = 28.0;
/// The scenarios whose latencies are plotted.
const WITH_LATENCIES: [&str; 4] = ["half-load", "login", "saturation", "storm"];

/// The dots of a case, each with its class.
const DOTS: [(Figure, &str); 3] = [
    (Figure::P50Ms, "low"),
    (Figure::P95Ms, "mid"),
    (Figure::P99Ms, "high"),
];

/// A bar for each share that is a goal and was measured, with its lowest and highest run and a mark at the goal.
pub(super) fn of_goals(kept: &[Kept]) -> String {
    let shares: Vec<Share<'_>> = verdicts(kept)
        .into_iter()
        .filter_map(|(goal, verdict)| Share::of(goal, verdict, kept))
        .collect();
    let most = shares
        .iter()
        .map(|share| share.highest.max(share.wanted))
        .fold(1.0, f64::max);
    let scale = Scale::Linear(most);
    let mut drawing = framed(
        shares.len(),
        "Shares, each with its lowest and highest run; the upright mark is the goal",
    );
    for percent in (0..=float_up(most)).step_by(20) {
        let share = f64::from(percent) / 100.0;
        grid(
            &mut drawing,
            shares.len(),
            scale.place(share),
            &format!("{percent} %"),
        );
    }
    for (share, y) in shares.iter().zip(rows()) {
        share.draw(&mut drawing, scale, y);
    }
    drawing.finish()
}

/// Three dots for each case of a scenario whose latencies are of interest: p50, p95 and p99, on a logarithmic scale.
pub(super) fn of_latencies(kept: &[Kept]) -> String {
    let with_latencies = kept
        .iter()
        .filter(|kept| WITH_LATENCIES.contains(&kept.name.as_str()));
    let cases: Vec<(String, &Case)> = with_latencies
        .flat_map(|kept| {
            kept.results
                .cases
                .iter()
                .map(move |case| (format!("{}: {}", kept.name, case.name), case))
        })
        .filter(|(_, case)| case.median.figure(Figure::P50Ms).is_some())
        .collect();
    let mut drawing = framed(cases.len(), "Latencies in milliseconds, on a logarithmic scale");
    for power in [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        grid(
            &mut drawing,
            cases.len(),
            Scale::Logarithmic.place(power),
            &format!("{power} ms"),
        );
    }
    for (x, (figure, class)) in [620.0, 700.0, 780.0].into_iter().zip(DOTS) {
        let name = figure.label().trim_start_matches("latency ");
        drawing.dot(class, (x, 14.0));
        drawing.text("faint", (x + 10.0, 18.0), Anchor::Start, name);
    }
    for ((name, case), y) in cases.iter().zip(rows()) {
        drawing.text("name", (LEFT - 10.0, y + 4.0), Anchor::End, name);
        for (figure, class) in DOTS {
            if let Some(latency) = case.median.figure(figure) {
                drawing.dot(class, (Scale::Logarithmic.place(latency), y));
            }
        }
    }
    drawing.finish()
}

/// A goal that is a share, with what was measured of it.
struct Share<'a> {
    goal: Goal,
    wanted: f64,
    measured: f64,
    is_reached: bool,
    lowest: f64,
    highest: f64,
    case: &'a Case,
}

impl<'a> Share<'a> {
    fn of(goal: Goal, verdict: Verdict, kept: &'a [Kept]) -> Option<Self> {
        let (measured, is_reached) = match verdict {
            Verdict::NotMeasured => return None,
            Verdict::Reached(measured) => (measured, true),
            Verdict::Missed(measured) => (measured, false),
        };
        let wanted = match goal.wanted {
            Wanted::AtLeast(wanted) if goal.figure.unit() == "%" => wanted,
            Wanted::AtLeast(_) | Wanted::AtMost(_) => return None,
        };
        let of_goal = kept.iter().find(|kept| kept.name == goal.scenario)?;
        let case = of_goal.results.case(&goal.case)?;
        let end = |of: &std::collections::BTreeMap<Figure, f64>| of.get(&goal.figure).copied();
        Some(Self {
            wanted,
            measured,
            is_reached,
            lowest: end(&case.lowest).unwrap_or(measured),
            highest: end(&case.highest).unwrap_or(measured),
            case,
            goal,
        })
    }

    fn draw(&self, drawing: &mut Drawing, scale: Scale, y: f64) {
        drawing.text("name", (LEFT - 10.0, y + 4.0), Anchor::End, self.goal.what);
        let class = if self.is_reached { "good" } else { "bad" };
        let end = scale.place(self.measured);
        drawing.rectangle(class, (LEFT, y - 7.0), (end - LEFT, 14.0));
        drawing.line(
            "range",
            (scale.place(self.lowest), y),
            (scale.place(self.highest), y),
        );
        let goal = scale.place(self.wanted);
        drawing.line("goal", (goal, y - 11.0), (goal, y + 11.0));
        let told = self.goal.figure.told(self.measured);
        let told = if self.case.median.is_disturbed {
            told + " †"
        } else {
            told
        };
        let beside = end.max(goal).max(scale.place(self.highest)) + 8.0;
        drawing.text("faint", (beside, y + 4.0), Anchor::Start, &told);
    }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
enum Scale {
    /// From nothing to the given value.
    Linear(f64),
    /// From a tenth of a millisecond to ten seconds.
    Logarithmic,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear(most) => value / most,
            Self::Logarithmic => (value.max(0.1).log10() + 1.0) / 5.0,
        };
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn framed(rows: usize, title: &str) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, below(rows) + 30.0, title);
    drawing.text("faint", (10.0, 18.0), Anchor::Start, title);
    drawing
}

fn grid(drawing: &mut Drawing, rows: usize, x: f64, label: &str) {
    let bottom = below(rows);
    drawing.line("grid", (x, TOP - 10.0), (x, bottom));
    drawing.text("faint", (x, bottom + 18.0), Anchor::Middle, label);
}

/// The middle of each row.
fn rows() -> impl Iterator<Item = f64> {
    (0_u32..).map(|row| TOP + ROW * (f64::from(row) + 0.5))
}

/// The lower end of so many rows.
fn below(rows: usize) -> f64 {
    TOP + ROW * float(u64::try_from(rows).unwrap_or_default())
}

/// A share in whole per cent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a few hundred per cent at most, and not below none"
)]
fn float_up(share: f64) -> u32 {
    (share * 100.0).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::kept;

    #[test]
    fn a_share_is_as_long_as_it_is_large() {
        assert!((Scale::Linear(1.0).place(0.0) - LEFT).abs() < 1e-9);
        assert!((Scale::Linear(2.0).place(1.0) - f64::midpoint(LEFT, RIGHT)).abs() < 1e-9);
        assert!((Scale::Linear(1.0).place(7.0) - RIGHT).abs() < 1e-9);
    }

    #[test]
    fn a_latency_stands_at_its_power_of_ten() {
        assert!((Scale::Logarithmic.place(0.1) - LEFT).abs() < 1e-9);
        assert!((Scale::Logarithmic.place(10_000.0) - RIGHT).abs() < 1e-9);
        let step = Scale::Logarithmic.place(10.0) - Scale::Logarithmic.place(1.0);
        assert!((step - (RIGHT - LEFT) / 5.0).abs() < 1e-9);
    }

    #[test]
    fn each_share_that_was_measured_has_a_bar_and_each_case_its_dots() {
        let goals = of_goals(&kept());
        assert_eq!(goals.matches("<rect class=\"good\"").count(), 1, "{goals}");
        assert!(goals.contains("refresh, 64 connections, of B"), "{goals}");
        let latencies = of_latencies(&kept());
        // Three of the case, and three that say what they are.
        assert_eq!(latencies.matches("<circle").count(), 6, "{latencies}");
        assert!(latencies.contains("half-load: half of the peak"), "{latencies}");
    }
}
