//! The pool: a few threads of low priority, a bounded queue before them, and the port in front of it.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use auth_domain::password::{HashScheme, LegacyHashes};
use auth_domain::ports::{Hashed, PasswordHasher, Random, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;
use tokio::sync::oneshot;

use crate::compute::{self, Computer};

/// How much hashing may cost.
#[derive(Debug, Clone)]
pub struct HashingSettings {
    /// How new passwords are hashed, and what an outdated hash is replaced by.
    pub scheme: HashScheme,
    /// What becomes of bcrypt hashes whose password is presented.
    pub legacy: LegacyHashes,
    /// How many hashes are computed at once; not more than there are cores.
    pub threads: NonZeroUsize,
    /// How many more may wait. About 0.15 s of work keeps an accepted login quick.
    pub queue: usize,
    /// How long each may wait. Whoever has waited for longer is turned away, and no work is done for them.
    pub deadline: Duration,
    /// What is said to those who are turned away.
    pub retry_after: Seconds,
}

/// Why the pool could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The scheme for new hashes is none that can be computed.
    #[error("passwords can't be hashed by the scheme that is set")]
    Scheme(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system gave no thread.
    #[error("a hashing thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// What the pool has done since its start, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashingFigures {
    /// Accepted, and neither computed nor dropped nor given up yet: waiting or being computed.
    pub pending: u64,
    /// As many as can be pending: those being computed, and those that wait.
    pub pending_max: u64,
    /// Verifications and new hashes computed.
    pub computed: u64,
    /// Dropped before they were computed, because nobody waited for them any more.
    pub dropped: u64,
    /// Given up because they had waited for too long.
    pub late: u64,
    /// Turned away at once.
    pub refused: u64,
}

/// Hashes and verifies passwords on threads of its own. Dropping it waits for the hashes being computed.
pub struct HashingPool {
    /// `None` only while the pool is being dropped.
    queue: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    tally: Arc<Tally>,
    deadline: Duration,
    retry_after: Seconds,
    pending_max: u64,
}

#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    computed: AtomicU64,
    dropped: AtomicU64,
    late: AtomicU64,
    refused: AtomicU64,
}

enum Job {
    Verify {
        password: Password,
        stored: Option<PasswordHash>,
        reply: Reply<Verified>,
    },
    Hash {
        password: Password,
        reply: Reply<Hashed>,
    },
}

/// Where the answer goes.
struct Reply<T> {
    claim: Claim,
    to: oneshot::Sender<Result<T, Unavailable>>,
}

/// A job belongs to whoever claims it first: a thread, to compute it, or the one who waits, to give it up.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether nobody has claimed it before.
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl HashingPool {
    /// Starts the threads. Salts are drawn from `random`.
    ///
    /// # Errors
    /// [`StartFault`], where the scheme is out of range or the system gives no thread.
    pub fn start(settings: &HashingSettings, random: &Arc<dyn Random>) -> Result<Self, StartFault> {
        compute::check_scheme(settings.scheme).map_err(|fault| StartFault::Scheme(fault.into()))?;
        let (queue, jobs) = sync_channel(settings.queue);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut pool = Self {
            queue: Some(queue),
            threads: Vec::with_capacity(settings.threads.get()),
            tally: Arc::new(Tally::default()),
            deadline: settings.deadline,
            retry_after: settings.retry_after,
            pending_max: u64::try_from(settings.threads.get().saturating_add(settings.queue))
                .unwrap_or(u64::MAX),
        };
        for number in 1..=settings.threads.get() {
            let worker = Worker {
                jobs: Arc::clone(&jobs),
                random: Arc::clone(random),
                tally: Arc::clone(&pool.tally),
                settings: settings.clone(),
                computer: computer(settings),
            };
            let thread = std::thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || worker.work())
                .map_err(StartFault::Thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// What the pool has done since its start.
    pub fn figures(&self) -> HashingFigures {
        // Read before `accepted`, so that a job which ends in between makes `pending` no less than it is.
        let computed = self.tally.computed.load(Ordering::Acquire);
        let dropped = self.tally.dropped.load(Ordering::Acquire);
        let late = self.tally.late.load(Ordering::Acquire);
        let accepted = self.tally.accepted.load(Ordering::Acquire);
        HashingFigures {
            pending: accepted.saturating_sub(computed + dropped + late),
            computed,
            dropped,
            late,
            refused: self.tally.refused.load(Ordering::Acquire),
            pending_max: self.pending_max,
        }
    }

    /// Has a job done, by the deadline if at all; `None` where the pool can't.
    async fn ask<T>(
        &self,
        what: &'static str,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<Option<T>, Unavailable> {
        let (to, mut answer) = oneshot::channel();
        let claim = Claim::default();
        let reply = Reply {
            claim: claim.clone(),
            to,
        };
        if !self.enqueue(job(reply), what)? {
            return Ok(None);
        }
        let answered = match tokio::time::timeout(self.deadline, &mut answer).await {
            Ok(answered) => answered,
            Err(_) if claim.is_first() => {
                self.tally.late.fetch_add(1, Ordering::AcqRel);
                return Ok(None);
            }
            // It is being computed: that ends soon.
            Err(_) => answer.await,
        };
        answered.map_err(|lost| Unavailable::new(what, lost))?.map(Some)
    }

    /// Whether there was room.
    fn enqueue(&self, job: Job, what: &'static str) -> Result<bool, Unavailable> {
        let Some(queue) = &self.queue else {
            return Err(Unavailable::new(what, "the hashing pool is shutting down"));
        };
        self.tally.accepted.fetch_add(1, Ordering::AcqRel);
        let Err(refused) = queue.try_send(job) else {
            return Ok(true);
        };
        self.tally.accepted.fetch_sub(1, Ordering::AcqRel);
        match refused {
            TrySendError::Full(_) => {
                self.tally.refused.fetch_add(1, Ordering::AcqRel);
                Ok(false)
            }
            TrySendError::Disconnected(_) => Err(Unavailable::new(what, "every hashing thread has died")),
        }
    }
}

#[async_trait]
impl PasswordHasher for HashingPool {
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        let (password, stored) = (password.clone(), stored.cloned());
        let job = |reply| Job::Verify {
            password,
            stored,
            reply,
        };
        let verified = self.ask("verify a password", job).await?;
        Ok(verified.unwrap_or(Verified::Saturated {
            retry_after: self.retry_after,
        }))
    }

    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable> {
        let password = password.clone();
        let job = |reply| Job::Hash { password, reply };
        let hashed = self.ask("hash a password", job).await?;
        Ok(hashed.unwrap_or(Hashed::Saturated {
            retry_after: self.retry_after,
        }))
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        // The threads end when the queue has no sender left and is empty; what still waits in it has lost its
        // listener together with the pool's last user, and is not computed.
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(event_type = "panic", "a hashing thread had panicked");
            }
        }
    }
}

struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    random: Arc<dyn Random>,
    tally: Arc<Tally>,
    settings: HashingSettings,
    computer: Computer,
}

const fn computer(settings: &HashingSettings) -> Computer {
    Computer::new(settings.scheme, settings.legacy)
}

impl Worker {
    fn work(mut self) {
        step_back();
        while let Some(job) = self.next_job() {
            match job {
                Job::Verify {
                    password,
                    stored,
                    reply,
                } => {
                    self.answer(reply, |worker| worker.computer.verify(&password, stored.as_ref()));
                }
                Job::Hash { password, reply } => {
                    self.answer(reply, |worker| worker.computer.hash(&password, &*worker.random));
                }
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    fn answer<T>(&mut self, reply: Reply<T>, compute: impl FnOnce(&mut Self) -> Result<T, Unavailable>) {
        if !reply.claim.is_first() {
            return;
        }
        if reply.to.is_closed() {
            self.tally.dropped.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| compute(self))).unwrap_or_else(|_| {
            // Whatever the panic left in the memory of the computation is not worth trusting.
            self.computer = computer(&self.settings);
            Err(Unavailable::new("compute a hash", "the computation panicked"))
        });
        self.tally.computed.fetch_add(1, Ordering::AcqRel);
        // Whoever asked may have gone while this was computed.
        drop(reply.to.send(answer));
    }
}

/// Lowers the priority of the calling thread. On Linux niceness belongs to the thread; where it belongs to the
/// process, nothing is done.
fn step_back() {
    /// Any other thread that wants the core gets most of it.
    #[cfg(target_os = "linux")]
    const NICENESS: i32 = 19;
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(event_type = "limits", cause = %error, "the hashing threads keep the priority of the rest");
    }
}
