//! Compares the clocks of those who have to agree on when a token ends.

use auth_domain::time::Timestamp;

use super::finding::Finding;

/// So far apart nobody notices, in seconds: services allow for that much, and answers take a moment.
const UNNOTICED: i64 = 2;
/// So far apart tokens are refused before they begin, or go on after their end.
const INTOLERABLE: i64 = 30;

/// A reading of another's clock, and of ours before and after it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) before: Timestamp,
    pub(super) theirs: Timestamp,
    pub(super) after: Timestamp,
}

impl Reading {
    /// By how many seconds the other is ahead; nothing where its time lies between ours.
    pub(super) fn ahead(self) -> i64 {
        let (before, theirs, after) = (
            self.before.as_micros(),
            self.theirs.as_micros(),
            self.after.as_micros(),
        );
        let micros = if theirs < before {
            theirs - before
        } else {
            (theirs - after).max(0)
        };
        micros / 1_000_000
    }
}

/// Judges how far another's clock is from this machine's.
pub(super) fn judge(subject: &'static str, whose: &str, ahead: i64) -> Finding {
    let said = match ahead {
        0 => return Finding::ok(subject, format!("the clock of {whose} is this machine's")),
        ahead if ahead > 0 => format!("the clock of {whose} is {ahead} s ahead of this machine's"),
        behind => format!("the clock of {whose} is {} s behind this machine's", behind.abs()),
    };
    let mend = "Let both follow the same time servers (`timedatectl status` tells whether this one does).";
    match ahead.abs() {
        0..=UNNOTICED => Finding::ok(subject, said),
        ..=INTOLERABLE => Finding::warn(subject, said, mend),
        _ => Finding::fail(subject, said, mend),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[rstest]
    #[case(0, Verdict::Ok)]
    #[case(2, Verdict::Ok)]
    #[case(-2, Verdict::Ok)]
    #[case(3, Verdict::Warn)]
    #[case(-30, Verdict::Warn)]
    #[case(31, Verdict::Fail)]
    #[case(-86_400, Verdict::Fail)]
    fn clocks_have_to_agree_within_seconds(#[case] ahead: i64, #[case] verdict: Verdict) {
        let finding = judge("x", "the database", ahead);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert_eq!(finding.mend.is_some(), verdict != Verdict::Ok);
    }

    #[rstest]
    #[case(10, 12, 11, 0)]
    #[case(10, 12, 10, 0)]
    #[case(10, 12, 7, -3)]
    #[case(10, 12, 15, 3)]
    fn the_time_that_asking_takes_is_nobodys_fault(
        #[case] before: i64,
        #[case] after: i64,
        #[case] theirs: i64,
        #[case] ahead: i64,
    ) {
        let at = Timestamp::from_unix_seconds;
        let reading = Reading {
            before: at(before),
            theirs: at(theirs),
            after: at(after),
        };
        assert_eq!(reading.ahead(), ahead);
    }
}
