//! Tells the log that requests are turned away: at once, and then how many, now and again. A line for each would cost as
//! much as to turn it away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Stopwatch;
use super::request::HTTP_LINES;

/// How often it is told while it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The requests that were turned away.
pub(super) struct Overload {
    stopwatch: Stopwatch,
    /// From when on the next line is due, in milliseconds.
    due: AtomicU64,
    untold: AtomicU64,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            stopwatch: Stopwatch::start(),
            due: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }
}

impl Overload {
    /// One more was turned away.
    pub(super) fn turned_away(&self) {
        if let Some(requests) = self.count(self.stopwatch.elapsed()) {
            tracing::warn!(
                target: HTTP_LINES,
                event_type = "overload",
                requests,
                "more is asked for than can be done: requests are told to come again"
            );
        }
    }

    /// How many have not been told of, where it is time to tell.
    fn count(&self, now: Duration) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let now = milliseconds(now);
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(milliseconds(TOLD_EVERY));
        let is_ours = now >= due
            && self
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        is_ours.then(|| self.untold.swap(0, Ordering::Relaxed))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_of_at_once_and_the_rest_together_and_none_twice() {
        let overload = Overload::default();
        let at = |seconds| overload.count(Duration::from_secs(seconds));
        assert_eq!(at(3), Some(1));
        assert_eq!((at(4), at(5), at(12)), (None, None, None));
        assert_eq!(at(13), Some(4));
        assert_eq!(at(14), None);
        assert_eq!(at(1_000), Some(2));
    }
}
