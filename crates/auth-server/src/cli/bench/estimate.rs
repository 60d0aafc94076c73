//! What the measured parts let expect of the whole: a few sums, all of them bounds from above.

use std::time::Duration;

use super::hashing::Hashing;
use super::signing::Signing;

/// What there is to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// The cores that this process may use.
    pub(super) cores: usize,
    /// The threads that the server would serve with.
    pub(super) workers: usize,
}

impl Machine {
    /// How many cores can serve at once.
    pub(super) fn serving(&self) -> usize {
        self.workers.min(self.cores)
    }
}

/// What a database makes of a refresh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Commits {
    /// What storing takes of this machine; `None` where another one stores.
    pub(super) storing: Option<Storing>,
    /// How long the database keeps a refresh waiting that is alone.
    pub(super) wait: Duration,
}

/// What storing refreshes takes of this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storing {
    /// What one costs, in seconds of a core.
    pub(super) cost: f64,
    /// The most a second, however many cores sign: there is one disk, and one writer.
    pub(super) rate: f64,
}

/// B: the most refreshes a second that one core can sign and verify, two signatures and one verification each.
pub(super) fn bound(signing: &Signing) -> f64 {
    1.0 / (2.0 * signing.sign + signing.verify)
}

/// The most refreshes a second of one core that does what the database costs too.
pub(super) fn refreshes_of_one_core(signing: &Signing, commits: Option<Commits>) -> f64 {
    let cost = storing(commits).map(|storing| storing.cost);
    1.0 / (1.0 / bound(signing) + cost.unwrap_or_default())
}

/// The same of all that serve, as far as what they sign can be stored.
pub(super) fn refreshes_of_all(signing: &Signing, commits: Option<Commits>, machine: Machine) -> f64 {
    let of_all = refreshes_of_one_core(signing, commits) * count(machine.serving());
    storing(commits).map_or(of_all, |storing| of_all.min(storing.rate))
}

fn storing(commits: Option<Commits>) -> Option<Storing> {
    commits.and_then(|commits| commits.storing)
}

/// How long a refresh takes that nothing else delays.
pub(super) fn refresh_alone(signing: &Signing, commits: Commits) -> Duration {
    let computing = Duration::try_from_secs_f64(1.0 / bound(signing)).unwrap_or_default();
    computing.saturating_add(commits.wait)
}

/// The most sign-ins a second: no more are hashed at once than there are threads, nor than there are cores.
pub(super) fn sign_ins(hashing: &Hashing, machine: Machine) -> f64 {
    count(hashing.threads.get().min(machine.cores)) / hashing.cost
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use auth_domain::password::HashScheme;
    use rstest::rstest;

    use super::*;

    /// Two signatures and a verification in half a millisecond.
    const SIGNING: Signing = Signing {
        bits: 2_048,
        sign: 240e-6,
        verify: 20e-6,
    };
    const COMMITS: Commits = Commits {
        storing: Some(Storing {
            cost: 125e-6,
            rate: 8_000.0,
        }),
        wait: Duration::from_micros(4_500),
    };
    const TWO_CORES: Machine = Machine { cores: 2, workers: 2 };

    fn is_about(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < wanted * 1e-9
    }

    #[test]
    fn the_bound_is_two_signatures_and_one_verification() {
        assert!(is_about(bound(&SIGNING), 2_000.0));
        assert!(is_about(refreshes_of_one_core(&SIGNING, None), 2_000.0));
    }

    #[test]
    fn what_the_database_costs_this_machine_comes_off_and_what_it_costs_another_does_not() {
        assert!(is_about(refreshes_of_one_core(&SIGNING, Some(COMMITS)), 1_600.0));
        let elsewhere = Commits {
            storing: None,
            ..COMMITS
        };
        assert!(is_about(
            refreshes_of_one_core(&SIGNING, Some(elsewhere)),
            2_000.0
        ));
    }

    #[rstest]
    #[case(2, 2, 3_200.0)]
    #[case(2, 64, 3_200.0)]
    #[case(8, 1, 1_600.0)]
    #[case(64, 64, 8_000.0)]
    fn more_cores_serve_more_until_the_disk_and_its_one_writer_are_busy(
        #[case] cores: usize,
        #[case] workers: usize,
        #[case] wanted: f64,
    ) {
        let found = refreshes_of_all(&SIGNING, Some(COMMITS), Machine { cores, workers });
        assert!(is_about(found, wanted), "{found}");
    }

    #[test]
    fn a_refresh_waits_for_its_signatures_and_its_commit() {
        assert_eq!(refresh_alone(&SIGNING, COMMITS).as_micros(), 5_000);
    }

    #[rstest]
    #[case(1, 50.0)]
    #[case(2, 100.0)]
    #[case(8, 100.0)]
    fn threads_without_a_core_hash_nothing_more(#[case] threads: usize, #[case] wanted: f64) {
        let hashing = Hashing {
            scheme: HashScheme::OWASP_ARGON2ID,
            cost: 0.020,
            threads: NonZeroUsize::new(threads).unwrap(),
        };
        assert!(is_about(sign_ins(&hashing, TWO_CORES), wanted));
    }
}
