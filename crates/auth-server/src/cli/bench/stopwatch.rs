//! How long things take: what a single one keeps its asker waiting, and what many cost a processor on average.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// So many are timed one by one at most, however short they are: it bounds memory, and what is written to a disk.
const MOST: usize = 50_000;

/// How long something is repeated, and how often at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    long: Duration,
    most: usize,
}

impl Limit {
    /// So long.
    pub(super) const fn of(long: Duration) -> Self {
        Self { long, most: MOST }
    }

    /// So long, and no more often than this.
    pub(super) fn at_most(self, most: usize) -> Self {
        Self {
            most: self.most.min(most),
            ..self
        }
    }

    /// The same for each of several who do it at once.
    pub(super) fn of_each(self, several: usize) -> Self {
        Self {
            most: self.most / several.max(1),
            ..self
        }
    }
}

/// How long each of many took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many were timed.
    pub(super) count: usize,
    /// What half of them did not exceed.
    pub(super) p50: Duration,
    /// What all but one in a hundred did not exceed.
    pub(super) p99: Duration,
}

impl Spread {
    /// What came of these; `None` where there are none.
    pub(super) fn of(mut spans: Vec<Duration>) -> Option<Self> {
        spans.sort_unstable();
        let rank = |share: usize| spans.get((spans.len() * share).div_ceil(100).checked_sub(1)?);
        Some(Self {
            count: spans.len(),
            p50: *rank(50)?,
            p99: *rank(99)?,
        })
    }

    /// The same for programs.
    pub(super) fn view(&self) -> Value {
        json!({ "count": self.count, "p50_ms": millis(self.p50), "p99_ms": millis(self.p99) })
    }
}

/// A span in milliseconds.
pub(super) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Does something over and over, one after the other, and times each. What comes first is not timed: it prepares what
/// the others find prepared.
///
/// # Errors
/// Those of what is done.
pub(super) async fn each<E>(
    limit: Limit,
    mut work: impl AsyncFnMut() -> Result<(), E>,
) -> Result<Vec<Duration>, E> {
    work().await?;
    let begun = Instant::now();
    let mut spans = Vec::new();
    while spans.is_empty() || (begun.elapsed() < limit.long && spans.len() < limit.most) {
        let since = Instant::now();
        work().await?;
        spans.push(since.elapsed());
    }
    Ok(spans)
}

/// Whose processor time is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The calling thread's.
    Thread,
    /// That of all threads of the process.
    Process,
}

impl Whose {
    /// How much it has used so far.
    pub(super) fn processor_time(self) -> Duration {
        let clock = match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        };
        Duration::try_from(clock_gettime(clock)).unwrap_or_default()
    }

    /// What something costs a core, in seconds: the mean of as often as it can be done in so long. What others do on the
    /// core meanwhile does not count.
    ///
    /// # Errors
    /// Those of what is done.
    pub(super) async fn cost<E>(
        self,
        long: Duration,
        mut work: impl AsyncFnMut() -> Result<(), E>,
    ) -> Result<f64, E> {
        work().await?;
        let (begun, used) = (Instant::now(), self.processor_time());
        let mut count = 0_u32;
        while count == 0 || begun.elapsed() < long {
            work().await?;
            count = count.saturating_add(1);
        }
        let used = self.processor_time().saturating_sub(used);
        Ok(used.as_secs_f64() / f64::from(count))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn half_and_all_but_one_in_a_hundred_are_found_whatever_the_order() {
        let spans = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(spans).unwrap();
        assert_eq!(spread.count, 200);
        assert_eq!((millis(spread.p50), millis(spread.p99)), (100.0, 198.0));
        let one = Spread::of(vec![Duration::from_secs(1)]).unwrap();
        assert_eq!(
            (one.p50, one.p99),
            (Duration::from_secs(1), Duration::from_secs(1))
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[tokio::test]
    async fn something_is_timed_however_little_time_there_is() {
        let mut done = 0;
        let count = async || -> Result<(), Infallible> {
            done += 1;
            Ok(())
        };
        let Ok(spans) = each(Limit::of(Duration::ZERO), count).await;
        assert_eq!((spans.len(), done), (1, 2));
    }

    #[tokio::test]
    async fn no_more_are_timed_than_memory_is_kept_for() {
        let limit = Limit::of(Duration::MAX).of_each(100);
        let Ok(spans) = each(limit, async || Ok::<_, Infallible>(())).await;
        assert_eq!(spans.len(), MOST / 100);
        let limit = Limit::of(Duration::MAX).at_most(3);
        let Ok(spans) = each(limit, async || Ok::<_, Infallible>(())).await;
        assert_eq!(spans.len(), 3);
    }

    #[tokio::test]
    async fn a_failure_ends_it() {
        let failed = each(Limit::of(Duration::MAX), async || Err("away")).await;
        assert_eq!(failed, Err("away"));
        let failed = Whose::Thread.cost(Duration::MAX, async || Err("away")).await;
        assert_eq!(failed, Err("away"));
    }

    #[tokio::test]
    async fn waiting_costs_a_core_less_than_it_takes() {
        const PAUSE: Duration = Duration::from_millis(20);
        let wait = async || -> Result<(), Infallible> {
            tokio::time::sleep(PAUSE).await;
            Ok(())
        };
        let Ok(cost) = Whose::Thread.cost(Duration::ZERO, wait).await;
        assert!(cost < PAUSE.as_secs_f64(), "{cost}");
    }
}
