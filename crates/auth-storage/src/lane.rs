//! Threads of our own behind a bounded queue: work past the bound is refused at once instead of piling up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use auth_domain::ports::Unavailable;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::tally::Tally;

/// The threads behind a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crew {
    /// What the threads are called.
    pub(crate) name: &'static str,
    /// How many there are.
    pub(crate) threads: u32,
    /// How many jobs may wait.
    pub(crate) queue: usize,
    /// How many waiting jobs one thread takes at once, at most.
    pub(crate) batch: usize,
}

/// The way into the threads that do one kind of work.
pub(crate) struct Lane<J> {
    entrance: Mutex<Option<SyncSender<J>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tally: Arc<Tally>,
}

impl<J> Lane<J> {
    /// A lane into threads that end when its entrance is closed and nothing waits any more. They tell the tally of each
    /// job that they take.
    pub(crate) fn new(entrance: SyncSender<J>, threads: Vec<JoinHandle<()>>, tally: Arc<Tally>) -> Self {
        Self {
            entrance: Mutex::new(Some(entrance)),
            threads: Mutex::new(threads),
            tally,
        }
    }

    /// What is counted of it.
    pub(crate) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Queues a job, or says at once why not.
    pub(crate) fn submit(&self, job: J) -> Result<(), StoreError> {
        let entrance = lock(&self.entrance);
        let entrance = entrance.as_ref().ok_or(StoreError::Closed)?;
        self.tally.comes();
        entrance.try_send(job).map_err(|refused| {
            self.tally.go(1);
            match refused {
                TrySendError::Full(_) => {
                    self.tally.refuse();
                    StoreError::Overloaded
                }
                TrySendError::Disconnected(_) => StoreError::Closed,
            }
        })
    }

    /// Lets nothing more in, and waits until what is in is done.
    pub(crate) fn close(&self) {
        drop(lock(&self.entrance).take());
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!(event_type = "panic", "a thread of the store has panicked");
            }
        }
    }
}

/// Where jobs wait, and what was last taken out.
struct Exit<J> {
    waiting: Receiver<J>,
    /// The least time from one taking to the next, where several came together.
    pace: Duration,
    /// Before when nothing is taken.
    opens: Option<Instant>,
}

impl<J> Exit<J> {
    /// Takes what waits, until there are so many; says whether more may come to join them.
    fn fill(&self, jobs: &mut Vec<J>, at_most: usize) -> bool {
        while jobs.len() < at_most {
            match self.waiting.try_recv() {
                Ok(job) => jobs.push(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        false
    }
}

impl<J: Send + 'static> Lane<J> {
    /// A lane into threads that do the same with whatever jobs they take. A panic costs the jobs at hand, and nothing
    /// else: what they hold, connections and the places for answers, is dropped while it unwinds.
    pub(crate) fn staffed(
        crew: Crew,
        tally: Arc<Tally>,
        work: impl Fn(Vec<J>) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::paced(crew, Duration::ZERO, tally, work)
    }

    /// The same where jobs are worth collecting: after several that came together, the next are given so much time to
    /// come together as well. Who comes alone is not kept waiting.
    pub(crate) fn paced(
        crew: Crew,
        pace: Duration,
        tally: Arc<Tally>,
        work: impl Fn(Vec<J>) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let (entrance, waiting) = sync_channel(crew.queue);
        let exit = Exit {
            waiting,
            pace,
            opens: None,
        };
        let (waiting, work) = (Arc::new(Mutex::new(exit)), Arc::new(work));
        let hire = |_| {
            let (waiting, work) = (Arc::clone(&waiting), Arc::clone(&work));
            let tally = Arc::clone(&tally);
            thread::Builder::new()
                .name(crew.name.to_owned())
                .spawn(move || {
                    while let Some(jobs) = next(&waiting, crew.batch) {
                        tally.go(jobs.len());
                        if catch_unwind(AssertUnwindSafe(|| work(jobs))).is_err() {
                            tracing::error!(
                                event_type = "panic",
                                thread = crew.name,
                                "work for the database has panicked"
                            );
                        }
                    }
                })
                .map_err(|error| StoreError::NoConnection(error.to_string()))
        };
        let threads = (0..crew.threads.max(1)).map(hire).collect::<Result<_, _>>()?;
        Ok(Self::new(entrance, threads, tally))
    }
}

/// What waits, at most so many; `None` once the lane is closed and empty.
fn next<J>(exit: &Mutex<Exit<J>>, at_most: usize) -> Option<Vec<J>> {
    let mut exit = lock(exit);
    let mut jobs = vec![exit.waiting.recv().ok()?];
    let can_grow = exit.fill(&mut jobs, at_most);
    if let Some(opens) = exit.opens
        && can_grow
    {
        wait_until(opens);
        exit.fill(&mut jobs, at_most);
    }
    exit.opens = (jobs.len() > 1 && !exit.pace.is_zero()).then(|| Instant::now() + exit.pace);
    Some(jobs)
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no event to wait for: the point is to let others come"
)]
fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// The outcome of a job that was queued, for the port whose operation it is.
pub(crate) async fn settle<T>(
    what: &'static str,
    queued: Result<(), StoreError>,
    outcome: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, Unavailable> {
    let settled = match queued {
        Ok(()) => outcome.await.unwrap_or(Err(StoreError::Panicked)),
        Err(refused) => Err(refused),
    };
    settled.map_err(|error| error.in_operation(what))
}

impl<J> Drop for Lane<J> {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Pool;

    #[test]
    fn past_the_bound_of_the_queue_a_job_is_refused_at_once() {
        let (entrance, waiting) = sync_channel(1);
        let lane = Lane::new(entrance, Vec::new(), Arc::default());
        lane.submit("one").unwrap();
        assert!(matches!(lane.submit("two"), Err(StoreError::Overloaded)));
        let figures = lane.tally().figures(Pool::Reads, 1);
        assert_eq!((figures.waiting, figures.refused), (1, 1));
        assert_eq!(waiting.recv(), Ok("one"));
        lane.submit("three").unwrap();
    }

    #[test]
    fn whoever_comes_alone_is_not_kept_waiting_for_company() {
        let crew = Crew {
            name: "alone",
            threads: 1,
            queue: 1,
            batch: 8,
        };
        let (done, seen) = sync_channel(1);
        let work = move |jobs: Vec<u32>| done.send(jobs).unwrap();
        let lane = Lane::paced(crew, Duration::from_hours(1), Arc::default(), work).unwrap();
        for job in 1..=3 {
            lane.submit(job).unwrap();
            assert_eq!(seen.recv(), Ok(vec![job]));
        }
    }

    #[test]
    fn what_can_not_grow_is_not_kept_waiting_for_company() {
        let (entrance, waiting) = sync_channel(8);
        let exit = Mutex::new(Exit {
            waiting,
            pace: Duration::from_hours(1),
            opens: None,
        });
        for job in 1..=5 {
            entrance.send(job).unwrap();
        }
        assert_eq!(next(&exit, 2), Some(vec![1, 2]));
        assert_eq!(next(&exit, 2), Some(vec![3, 4]), "there is no room for a third");
        drop(entrance);
        assert_eq!(next(&exit, 2), Some(vec![5]), "nobody else can come");
        assert_eq!(next(&exit, 2), None);
    }

    #[test]
    fn a_closed_lane_lets_nothing_in_and_finishes_what_is_in() {
        let (entrance, waiting) = sync_channel(1);
        let (done, seen) = sync_channel(1);
        let thread = thread::spawn(move || waiting.into_iter().for_each(|job| done.send(job).unwrap()));
        let lane = Lane::new(entrance, vec![thread], Arc::default());
        lane.submit("one").unwrap();
        lane.close();
        assert_eq!(seen.recv(), Ok("one"));
        assert!(matches!(lane.submit("two"), Err(StoreError::Closed)));
    }
}
