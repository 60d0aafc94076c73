//! Threads of our own behind a bounded queue: work past the bound is refused at once instead of piling up.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::StoreError;

/// The way into the threads that do one kind of work.
pub(super) struct Lane<J> {
    entrance: Mutex<Option<SyncSender<J>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<J> Lane<J> {
    /// A lane into threads that end when its entrance is closed and nothing waits any more.
    pub(super) fn new(entrance: SyncSender<J>, threads: Vec<JoinHandle<()>>) -> Self {
        Self {
            entrance: Mutex::new(Some(entrance)),
            threads: Mutex::new(threads),
        }
    }

    /// Queues a job, or says at once why not.
    pub(super) fn submit(&self, job: J) -> Result<(), StoreError> {
        let entrance = lock(&self.entrance);
        let entrance = entrance.as_ref().ok_or(StoreError::Closed)?;
        entrance.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    /// Lets nothing more in, and waits until what is in is done.
    pub(super) fn close(&self) {
        drop(lock(&self.entrance).take());
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
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
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn past_the_bound_of_the_queue_a_job_is_refused_at_once() {
        let (entrance, waiting) = sync_channel(1);
        let lane = Lane::new(entrance, Vec::new());
        lane.submit("one").unwrap();
        assert!(matches!(lane.submit("two"), Err(StoreError::Overloaded)));
        assert_eq!(waiting.recv(), Ok("one"));
        lane.submit("three").unwrap();
    }

    #[test]
    fn a_closed_lane_lets_nothing_in_and_finishes_what_is_in() {
        let (entrance, waiting) = sync_channel(1);
        let (done, seen) = sync_channel(1);
        let thread = std::thread::spawn(move || waiting.into_iter().for_each(|job| done.send(job).unwrap()));
        let lane = Lane::new(entrance, vec![thread]);
        lane.submit("one").unwrap();
        lane.close();
        assert_eq!(seen.recv(), Ok("one"));
        assert!(matches!(lane.submit("two"), Err(StoreError::Closed)));
    }
}
