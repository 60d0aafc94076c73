//! When a group is complete: once the threads that might add to it have had nothing to do for a moment, or its time is
//! up.
//!
//! A commit costs nearly the same for one command as for twenty, and takes its time from the threads whose commands are
//! to come next. While those are busy, a group may as well grow: nobody is kept from work. As soon as they wait, so does
//! everybody for nothing. So a busy server writes in large groups, and an idle one at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What those who send commands tell the writer.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How many commands have been sent.
    arrivals: AtomicU64,
    /// How often somebody has begun what may come to a command.
    stirrings: AtomicU64,
    writer: OnceLock<Thread>,
}

impl Gathering {
    /// Whose gathering it is.
    pub(super) fn belongs_to(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    /// To be called by whoever begins what may come to a command.
    pub(super) fn stir(&self) {
        self.stirrings.fetch_add(1, Ordering::Relaxed);
    }

    /// To be called by whoever has sent a command: tells the writer where nothing else is to come.
    pub(super) async fn join(&self) {
        if self.is_last().await
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// Whether no other command has come by the time that this thread has done all it had to do at the moment: that is
    /// when the runtime returns to a task that has yielded.
    async fn is_last(&self) -> bool {
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::task::yield_now().await;
        self.arrivals.load(Ordering::Relaxed) == arrival
    }

    /// What there has been of all that may make a group grow.
    fn activity(&self) -> (u64, u64) {
        let seen = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (seen(&self.arrivals), seen(&self.stirrings))
    }

    /// Lets a group gather for a time at most. Once somebody has seen no more to come, a lull ends it: whoever stirs then
    /// may send nothing in the end, and would tell nobody.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever completes the group unparks the writer; the time is for groups that nobody completes"
    )]
    fn wait(&self, time: Duration) -> End {
        let begun = Instant::now();
        thread::park_timeout(time);
        while begun.elapsed() < time {
            let before = self.activity();
            thread::sleep(time / LULLS);
            if self.activity() == before {
                return End::Complete;
            }
        }
        End::TimeUp
    }
}

/// How long a group may gather, from the end of the commit before it.
///
/// It bounds what a busy server adds to the latency of a command, and is short until the server has been busy for a few
/// commits on end: half as much again after each group that was still growing when its time was up, half of it after
/// each that was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace(Duration);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(6);
/// So many lulls are in the time of a group. Between an answer and the next request of whoever got it a busy thread has
/// nothing to do either, for a moment; it is a lull when nothing has stirred for this part of the time.
const LULLS: u32 = 6;

/// Why a group was not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody else was about to come.
    Complete,
    /// Its time was up.
    TimeUp,
}

impl Pace {
    /// As it is where nobody has come for a while.
    pub(super) const QUIET: Self = Self(SHORTEST);

    /// Lets a group gather, and gives the pace of the next one.
    pub(super) fn wait(self, gathering: &Gathering) -> Self {
        let Self(time) = self;
        self.after(gathering.wait(time))
    }

    fn after(self, end: End) -> Self {
        let Self(time) = self;
        match end {
            End::Complete => Self((time / 2).max(SHORTEST)),
            End::TimeUp => Self((time + time / 2).min(LONGEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::atomic::AtomicBool;

    use tokio::join;

    use super::*;

    #[tokio::test]
    async fn only_the_last_to_come_completes_a_group() {
        let gathering = Gathering::default();
        assert!(gathering.is_last().await);
        let together = join!(gathering.is_last(), gathering.is_last(), gathering.is_last());
        assert_eq!(together, (false, false, true));
    }

    #[test]
    fn who_completes_a_group_lets_the_writer_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let gathering = Gathering::default();
        gathering.belongs_to(thread::current());
        runtime.block_on(gathering.join());
        // Would never return, had it not been told.
        thread::park();
    }

    #[test]
    fn a_group_is_complete_once_nothing_stirs() {
        let gathering = Gathering::default();
        thread::current().unpark();
        assert_eq!(gathering.wait(Duration::from_secs(4)), End::Complete);
        assert_eq!(gathering.wait(Duration::ZERO), End::TimeUp);
    }

    #[test]
    fn a_group_grows_while_somebody_is_at_work() {
        let (gathering, is_over) = (Gathering::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    gathering.stir();
                    thread::yield_now();
                }
            });
            thread::current().unpark();
            assert_eq!(gathering.wait(Duration::from_secs(1)), End::TimeUp);
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_server_that_stays_busy_reaches_the_longest_time_and_one_that_rests_the_shortest() {
        let paces = |end: End, from: Pace| -> Vec<u128> {
            iter::successors(Some(from), |pace| Some(pace.after(end)))
                .take(7)
                .map(|Pace(time)| time.as_micros())
                .collect()
        };
        let busy = paces(End::TimeUp, Pace::QUIET);
        assert_eq!(busy, [1_000, 1_500, 2_250, 3_375, 5_062, 6_000, 6_000]);
        let resting = paces(End::Complete, Pace(LONGEST));
        assert_eq!(resting, [6_000, 3_000, 1_500, 1_000, 1_000, 1_000, 1_000]);
    }
}
